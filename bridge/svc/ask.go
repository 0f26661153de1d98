package svc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// DefaultTimeout bounds a request whose context has no deadline.
const DefaultTimeout = time.Second

// AskAvailability asks the leading bridge of a tenant for the availability of a service. The ages in
// the reply are those at its arrival or larger, whatever the clocks of the two machines show. The error
// is [ErrNoLeader], an [Error], [ErrReply], or that of the connection or of ctx.
func AskAvailability(ctx context.Context, nc *nats.Conn, tenant, service string) (AvailabilityReply, error) {
	var r AvailabilityReply
	elapsed, err := ask(ctx, nc, tenant, Availability, AvailabilityRequest{&service}, &r)
	if err == nil && (r.Tenant != tenant || r.Service != service) {
		err = fmt.Errorf("%w: about service %q of tenant %q", ErrReply, r.Service, r.Tenant)
	}
	if err != nil {
		return AvailabilityReply{}, fmt.Errorf("ask for the availability of service %q: %w", service, err)
	}
	r.grow(elapsed)
	r.Feed.Age = r.Feed.Age.plus(elapsed)
	return r, nil
}

// AskAvailabilities is [AskAvailability] for all services.
func AskAvailabilities(ctx context.Context, nc *nats.Conn, tenant string) (AvailabilitiesReply, error) {
	var r AvailabilitiesReply
	elapsed, err := ask(ctx, nc, tenant, Availability, AvailabilityRequest{}, &r)
	if err == nil && (r.Tenant != tenant || r.Services == nil) {
		err = fmt.Errorf("%w: about tenant %q", ErrReply, r.Tenant)
	}
	if err != nil {
		return AvailabilitiesReply{}, fmt.Errorf("ask for the availability of all services: %w", err)
	}
	for i := range r.Services {
		r.Services[i].grow(elapsed)
	}
	r.Feed.Age = r.Feed.Age.plus(elapsed)
	return r, nil
}

// AskState asks the leading bridge of a tenant for the state of an entity. Ages and errors are as
// those of [AskAvailability].
func AskState(ctx context.Context, nc *nats.Conn, tenant string, request StateRequest) (StateReply, error) {
	var r StateReply
	elapsed, err := ask(ctx, nc, tenant, State, request, &r)
	if err == nil && (r.Tenant != tenant || r.StateRequest != request) {
		err = fmt.Errorf("%w: about %s %q of tenant %q", ErrReply, r.Kind, r.ID, r.Tenant)
	}
	if err != nil {
		return StateReply{}, fmt.Errorf("ask for the state of %s %q: %w", request.Kind, request.ID, err)
	}
	r.grow(elapsed)
	r.Feed.Age = r.Feed.Age.plus(elapsed)
	return r, nil
}

// grow adds the time since the request was sent to the age: the reply was made after that.
func (f *Freshness) grow(elapsed time.Duration) {
	f.Age = f.Age.plus(elapsed)
	f.Fresh = f.Fresh && f.Age.Within(f.MaxAge)
}

// ask sends a request and reads its reply. It returns the time that this took.
func ask(ctx context.Context, nc *nats.Conn, tenant, endpoint string, request, reply any) (elapsed time.Duration, err error) {
	if tenant == "" {
		return 0, Errorf(BadRequest, "the tenant is empty")
	}
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DefaultTimeout)
		defer cancel()
	}
	body, err := json.Marshal(request)
	if err != nil {
		return 0, err
	}
	sent := time.Now()
	msg, err := nc.RequestWithContext(ctx, Subject(tenant, endpoint), body)
	elapsed = time.Since(sent)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return elapsed, fmt.Errorf("%w: %w", ErrNoLeader, err)
	case err != nil:
		return elapsed, err
	}
	if text := msg.Header.Get(CodeHeader); text != "" {
		code, err := strconv.Atoi(text)
		if err != nil {
			return elapsed, fmt.Errorf("%w: %s %q", ErrReply, CodeHeader, text)
		}
		return elapsed, &Error{code, msg.Header.Get(DescriptionHeader)}
	}
	if err := json.Unmarshal(msg.Data, reply); err != nil {
		return elapsed, fmt.Errorf("%w: %w", ErrReply, err)
	}
	return elapsed, nil
}
