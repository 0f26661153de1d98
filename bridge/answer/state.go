// Package answer answers requests about the published state of one tenant from memory; package svc
// defines the requests. The memory is a fold of the events that the stream holds, as the published
// state of the engine is, so a reply says nothing of an entity that the stream does not hold.
package answer

import (
	"sync"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/svc"
	"bpcc-nats/diff/image"
)

// Kinds that have no rows in the source's tables.
const (
	availabilityKind = "availability"
	thresholdKind    = "threshold"
)

// State is the published state of a tenant. The bridge's goroutine writes to it; any goroutine may
// ask it.
type State struct {
	tenant string

	mu           sync.RWMutex // guards the fields below
	feed         Feed
	rows         map[image.Kind]map[string]*row // by id
	thresholds   map[thresholdKey]*threshold
	availability map[string]*availability // by service

	recovered map[image.Kind]image.Image // the last image of each kind that was recovered
}

// Feed is the state of the feed after a batch was stored, or after a poll that had nothing to store.
type Feed struct {
	Status, Cause string
	Epoch, Poll   uint64
	Instance      string
	// ObservedUntil is until when all changes are in the stream; MissingSince is as in a checkpoint.
	ObservedUntil, MissingSince time.Time
	// MaxAge is the age of ObservedUntil above which the state is not fresh, MaxCheckAge that of a check
	// above which an availability is not.
	MaxAge, MaxCheckAge time.Duration
}

// thresholdKey identifies a threshold: its rule, and the entity that the rule is about.
type thresholdKey struct{ rule, entity string }

// lastEvent is what the last event about an entity says of itself.
type lastEvent struct {
	id                      event.ID
	name                    string
	time, observedAfter     instant
	observedBy              instant
	revision, stateRevision uint64
	afterGap                bool
}

// instant is a time in milliseconds since 1970; 0 is none. There are several for each entity, and it
// takes a third of the memory of a time.
type instant int64

func instantOf(t event.Time) instant {
	if t.IsZero() {
		return 0
	}
	return instant(t.UnixMilli())
}

func (i instant) time() event.Time {
	if i == 0 {
		return event.Time{}
	}
	return event.Floor(time.UnixMilli(int64(i)))
}

// row is an agent, a service or totals. There may be many, so it holds no more than a reply needs.
type row struct {
	lastEvent
	image image.Image
}

// threshold is a rule about an entity.
type threshold struct {
	lastEvent
	data event.ThresholdData
}

// availability is the availability of a service.
type availability struct {
	lastEvent
	value     *bool
	reason    string
	checkedAt time.Time // when the last good check that showed value was sent; zero = not known
	own       bool      // checkedAt is of this term, by the clock of this machine
}

// NewState returns the state of a tenant of which nothing is published.
func NewState(tenant string) *State {
	return &State{
		tenant: tenant, rows: map[image.Kind]map[string]*row{}, thresholds: map[thresholdKey]*threshold{},
		availability: map[string]*availability{}, recovered: map[image.Kind]image.Image{},
	}
}

// Recover applies an event that was read from the stream, before the first [State.Update]. The events of
// an entity must come in their order.
func (s *State) Recover(ev *event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.apply(ev)
	if r == nil {
		return
	}
	// Each image that was read has names of its own.
	kind := image.Kind(ev.Kind())
	r.image = r.image.Like(s.recovered[kind])
	s.recovered[kind] = r.image
}

// Update applies events that the stream has stored, and the state of the feed with them. checkedAt returns
// when the last good check of a service was sent that showed its published availability, zero if that is
// not known, and whether that check was made in this term.
func (s *State) Update(events []event.Event, f Feed, checkedAt func(service string) (sent time.Time, own bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range events {
		s.apply(&events[i])
	}
	for service, a := range s.availability {
		a.checkedAt, a.own = checkedAt(service)
	}
	s.feed, s.recovered = f, nil
}

// apply applies an event. The event's data is not kept. It returns the row that the event is about; nil if
// it is about none, or the row is gone. Needs mu.
func (s *State) apply(ev *event.Event) *row {
	switch d := ev.Data.(type) {
	case *event.AgentData:
		return s.applyRow(ev, event.Agent, d.Agent.ID, d.After)
	case *event.ServiceData:
		return s.applyRow(ev, event.Service, d.Service, d.After)
	case *event.TotalsData:
		return s.applyRow(ev, event.Totals, d.App, d.After)
	case *event.ThresholdData:
		s.thresholds[thresholdKey{d.Rule, d.Entity.ID}] = &threshold{last(ev), *d}
		return nil
	}
	if d := ev.Availability(); d != nil {
		a := s.availability[d.Service]
		if a == nil {
			a = &availability{}
			s.availability[d.Service] = a
		}
		a.lastEvent, a.value, a.reason = last(ev), d.Available, d.Reason
	}
	return nil
}

// applyRow applies an event about a row.
func (s *State) applyRow(ev *event.Event, kind image.Kind, id string, after image.Image) *row {
	rows := s.rows[kind]
	if rows == nil {
		rows = map[string]*row{}
		s.rows[kind] = rows
	}
	if after.IsZero() {
		delete(rows, id)
		return nil
	}
	r := rows[id]
	if r == nil {
		r = &row{}
		rows[id] = r
	}
	r.lastEvent, r.image = last(ev), after
	return r
}

func last(ev *event.Event) lastEvent {
	d := ev.EntityBase()
	return lastEvent{
		id: ev.ID, name: ev.Name, time: instantOf(event.Ceil(ev.Time)), observedAfter: instantOf(d.Observed.After), observedBy: instantOf(d.Observed.By),
		revision: d.Revision, stateRevision: d.StateRevision, afterGap: d.AfterGap,
	}
}

// age returns how long ago something was, by the clock that shows more: the monotonic one does not go on
// while the machine is suspended, and the other can be set back.
func age(now, then time.Time) svc.Age {
	if then.IsZero() {
		return svc.NoAge
	}
	return svc.Age(max(now.Sub(then), now.Round(0).Sub(then.Round(0)), 0))
}
