// Package event defines the wire format: every event that the bridge publishes, its id, its subject
// and its key in the view. No other package reads or writes them.
//
// One rule names everything. An event of kind K and verb V about the entity with
// the ids I has
//
//	type    bpcc.<K>.<V>.v1
//	schema  <K>.<V>.json
//	subject bpcc.v1.<tenant>.<K>.<I…>.<V>
//	key     <tenant>.<K>.<I…>
//
// and its data is one of the structs of this package. [Encoder] writes events as
// CloudEvents in structured JSON, [Parse] reads them back.
package event

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"bpcc-nats/diff/image"
)

// ContentType is that of an event in structured JSON.
const ContentType = "application/cloudevents+json"

// Kinds of entities that have rows in the source's tables.
const (
	Agent   image.Kind = "agent"
	Service image.Kind = "service"
	Totals  image.Kind = "totals"
)

// Names of events that the engine and its readers handle specially.
const (
	StateChanged     = "agent.state_changed"
	Checkpoint       = "feed.checkpoint"
	Started          = "feed.started"
	Stopped          = "feed.stopped"
	Interrupted      = "feed.interrupted"
	Resumed          = "feed.resumed"
	Erased           = "feed.erased"
	ThresholdRaised  = "threshold.raised"
	ThresholdCleared = "threshold.cleared"
)

// Event is one CloudEvent.
type Event struct {
	// ID is its position among the tenant's events; zero until it is assigned.
	ID ID
	// Name is kind and verb, such as "agent.state_changed".
	Name string
	// Time is the CloudEvents time: when the response that showed the event was received, or, for
	// an event about the feed, when the event was created.
	Time time.Time
	// Data is a pointer to one of the Data structs of this package.
	Data Data
}

// Data is the content of an event.
type Data interface {
	// base returns what the data of every event begins with.
	base() *Base
}

// Base is the beginning of the data of every event.
type Base struct {
	// Tenant is the name of the tenant.
	Tenant string `json:"tenant"`
	// Poll is the number of the poll. It counts on over restarts and takeovers.
	Poll uint64 `json:"poll"`
}

func (b *Base) base() *Base { return b }

// EntityBase is the beginning of the data of every event about an entity with revisions.
type EntityBase struct {
	Base
	// Revision counts the events about the entity: 1, 2, 3 ….
	Revision uint64 `json:"revision"`
	// StateRevision counts the states of an agent: 1 is the first one, and agent.state_changed alone
	// raises it by one. It is 0 in events about other entities, and in those of early builds, which did
	// not count states.
	StateRevision uint64 `json:"state_revision,omitempty"`
	// Observed bounds the change.
	Observed Window `json:"observed"`
	// AfterGap reports whether the change is the net change over a gap.
	AfterGap bool `json:"after_gap,omitempty"`
}

func (e *EntityBase) entity() *EntityBase { return e }

// Kind is the first part of the name, such as "agent".
func (e *Event) Kind() string {
	kind, _, _ := strings.Cut(e.Name, ".")
	return kind
}

// Verb is the second part of the name, such as "state_changed".
func (e *Event) Verb() string {
	_, verb, _ := strings.Cut(e.Name, ".")
	return verb
}

// Tenant is the name of the tenant.
func (e *Event) Tenant() string { return e.Data.base().Tenant }

// Poll is the number of the poll in the data.
func (e *Event) Poll() uint64 { return e.Data.base().Poll }

// EntityBase returns the EntityBase of the data, nil for events without revisions.
func (e *Event) EntityBase() *EntityBase {
	if d, ok := e.Data.(interface{ entity() *EntityBase }); ok {
		return d.entity()
	}
	return nil
}

// Arrives reports whether the event is the first one about its entity since it is present.
func (e *Event) Arrives() bool {
	verb := e.Verb()
	return verb == "observed" || verb == "appeared"
}

// Restates reports whether the event states again what is published of a present entity, since the view
// had lost it. The first event of an entity has revision 1; one that comes back has appeared.
func (e *Event) Restates() bool {
	d := e.EntityBase()
	return d != nil && d.Revision > 1 && e.Verb() == "observed"
}

// StateRevisionAfter returns the number of an agent's state after an event, given the number before
// it. 0 means that the number is not known.
func (e *Event) StateRevisionAfter(before uint64) uint64 {
	switch d := e.EntityBase(); {
	case d.StateRevision > 0:
		return d.StateRevision
	case e.Name == StateChanged: // of a version that did not count states
		return 0
	}
	return before
}

// Removes reports whether the event removes its key from the view.
func (e *Event) Removes() bool { return strings.HasSuffix(e.Name, ".disappeared") }

// MsgID is the CloudEvents id, which is also the message's Nats-Msg-Id.
func (e *Event) MsgID() string { return string(e.ID.Append(nil, e.Tenant())) }

// ids returns the ids of the entity, in the order of the subject, in buf.
func (e *Event) ids(buf *[2]string) []string {
	switch d := e.Data.(type) {
	case *AgentData:
		buf[0] = d.Agent.ID
	case *ServiceData:
		buf[0] = d.Service
	case *TotalsData:
		buf[0] = d.App
	case *AvailabilityObservedData:
		buf[0] = d.Service
	case *AvailabilityChangedData:
		buf[0] = d.Service
	case *DirectoryData:
		buf[0] = d.Kind
	case *ThresholdData:
		buf[0], buf[1] = d.Rule, d.Entity.ID
		return buf[:]
	default:
		return nil
	}
	return buf[:1]
}

// EntityID is the id of the entity within its kind, such as "john.smith", or the ids with "/" between them, such as
// "backlog/Voice" of a threshold; "" for events about no entity.
func (e *Event) EntityID() string {
	var buf [2]string
	return strings.Join(e.ids(&buf), "/")
}

// CESubject is the CloudEvents subject: kind and ids, such as "agent/john.smith". CloudEvents allow no control
// characters in it, so these are written as in a [Token].
func (e *Event) CESubject() string { return string(e.appendCESubject(nil)) }

func (e *Event) appendCESubject(b []byte) []byte {
	var buf [2]string
	b = append(b, e.Kind()...)
	for _, id := range e.ids(&buf) {
		b = appendPrintable(append(b, '/'), id)
	}
	if d, ok := e.Data.(*ChatData); ok {
		b = appendPrintable(append(b, '/'), d.Message.ID)
	}
	return b
}

// ID is an event's position among all events of its tenant. No two events of a tenant have the same
// ID, and a retried event keeps its ID.
type ID struct {
	// Epoch counts the terms of leading instances, from 1.
	Epoch uint64
	// Poll is the poll of the event's data.
	Poll uint64
	// Index counts the events of a poll, checkpoints included, from 1.
	Index uint64
}

// Compare orders ids as they are in the stream.
func (id ID) Compare(other ID) int {
	return cmp.Or(cmp.Compare(id.Epoch, other.Epoch), cmp.Compare(id.Poll, other.Poll), cmp.Compare(id.Index, other.Index))
}

// Append writes the id of a tenant's event: tenant, epoch, poll and index.
func (id ID) Append(b []byte, tenant string) []byte { return id.appendNumbers(append(b, tenant...)) }

func (id ID) appendNumbers(b []byte) []byte {
	for _, n := range [...]uint64{id.Epoch, id.Poll, id.Index} {
		b = strconv.AppendUint(append(b, '-'), n, 10)
	}
	return b
}

// ErrID is returned for a text that is not an event id of the tenant.
var ErrID = errors.New("not an event id")

// ParseID parses an event id of a tenant. The error is [ErrID].
func ParseID(tenant, text string) (ID, error) {
	rest, ok := strings.CutPrefix(text, tenant+"-")
	if !ok {
		return ID{}, fmt.Errorf("%w: %q does not begin with the tenant %q", ErrID, text, tenant)
	}
	var n [3]uint64
	for i := range n {
		number, after, more := strings.Cut(rest, "-")
		var err error
		if n[i], err = strconv.ParseUint(number, 10, 64); err != nil || more != (i < len(n)-1) {
			return ID{}, fmt.Errorf("%w: %q is not tenant, epoch, poll and index", ErrID, text)
		}
		rest = after
	}
	return ID{n[0], n[1], n[2]}, nil
}
