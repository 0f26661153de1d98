// Package svc defines the requests that the leading bridge of a tenant answers over NATS, and sends
// them: one request gives the published state of an entity, and how old it is.
//
//	bpcc.svc.<tenant>.availability   [AvailabilityRequest] → [AvailabilityReply] or [AvailabilitiesReply]
//	bpcc.svc.<tenant>.state          [StateRequest] → [StateReply]
//
// Only the bridge that leads the tenant subscribes to these subjects, and it answers while it holds
// the lease. If no bridge leads, the NATS server reports that there are no responders: [ErrNoLeader].
// A request that cannot be answered has the headers of the NATS service API: [Error].
//
// A reply says nothing of an entity that the stream does not hold. Only ages, and the times from which
// they count, may be newer than the last checkpoint.
package svc

import (
	"errors"
	"fmt"
	"net/http"

	"bpcc-nats/bridge/event"
)

// SubjectPrefix is the beginning of the subjects of requests; the tenant's token follows. The stream
// of events must not capture them: its acknowledgement would be taken as the reply.
const SubjectPrefix = "bpcc.svc"

// Endpoints are the last tokens of the subjects.
const (
	Availability = "availability"
	State        = "state"
)

// Subject returns the subject of an endpoint of a tenant.
func Subject(tenant, endpoint string) string {
	return SubjectPrefix + "." + event.Token(tenant) + "." + endpoint
}

// ErrNoLeader is returned when nobody answers requests about a tenant: no bridge leads it, or there is
// no such tenant.
var ErrNoLeader = errors.New("no bridge leads the tenant")

// ErrReply is returned for a reply that is not one of this package.
var ErrReply = errors.New("not a reply of the bridge")

// Headers of a reply to a request that cannot be answered, as the NATS service API defines them.
const (
	CodeHeader        = "Nats-Service-Error-Code"
	DescriptionHeader = "Nats-Service-Error"
)

// Codes of an [Error]. Others may follow.
const (
	// BadRequest is that of a request that cannot be read.
	BadRequest = http.StatusBadRequest
	// NotFound is that of an entity of which nothing is published, or that is gone.
	NotFound = http.StatusNotFound
	// TooLarge is that of a reply that is larger than the server accepts.
	TooLarge = http.StatusRequestEntityTooLarge
)

// Error is why a request cannot be answered.
type Error struct {
	Code        int
	Description string
}

// Errorf returns an error with this code.
func Errorf(code int, format string, args ...any) *Error {
	return &Error{code, fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.Code) }

// Is reports whether target is an Error with the same code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}
