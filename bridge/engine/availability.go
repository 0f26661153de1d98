package engine

import (
	"errors"
	"time"

	"bpcc-nats/bridge/event"
)

// ErrServiceRemoved is the result for a service that the tenant does not list any more. Its
// availability becomes unknown.
var ErrServiceRemoved = errors.New("tenant no longer lists the service")

// AvailabilityResult is one availability check of one service.
type AvailabilityResult struct {
	Service   string
	Available bool // if Err is nil
	Err       error
	// Sent and Received are when the request was sent and its response received.
	Sent, Received time.Time
}

// availabilityPoll is the state of the checks of a service.
type availabilityPoll struct {
	lastGood     time.Time // when the last good check was sent
	failingSince time.Time // since when checks fail; zero = they do not
	fresh        bool      // checked since the start of this term
	change       availabilityChange
}

// availabilityChange is a value that differs from the published one, until the debounce has passed.
type availabilityChange struct {
	value *bool
	after time.Time // when the last check that showed the old value was sent
	by    time.Time // when the first one that showed the new value was received; zero = there is no change
	gap   bool
}

// availabilityEvents publishes the changes that the checks show.
func (e *Engine) availabilityEvents(results []AvailabilityResult) []event.Event {
	var out []event.Event
	for _, r := range results {
		poll := e.observed.availability[r.Service]
		last, published := e.published.availability[r.Service]
		if published && event.SameAvailability(last.value, poll.change.value) {
			poll.change = availabilityChange{} // already published
		}
		value, ok := e.availabilityOf(r, poll)
		switch {
		case !ok:
		case published && event.SameAvailability(last.value, value):
			poll.change = availabilityChange{}
		case poll.change.by.IsZero() || !event.SameAvailability(poll.change.value, value):
			poll.change = availabilityChange{value, poll.lastGood, r.Received, published && !poll.fresh}
		}
		if c := poll.change; !c.by.IsZero() && (!published || r.Received.Sub(c.by) >= e.options.AvailabilityDebounce) {
			out = append(out, e.availabilityEvent(r, c, last.value, published))
		}
		if r.Err == nil {
			poll.lastGood, poll.failingSince, poll.fresh = r.Sent, time.Time{}, true
		} else if poll.failingSince.IsZero() {
			poll.failingSince = r.Sent
		}
		e.observed.availability[r.Service] = poll
	}
	return out
}

// availabilityOf evaluates a check: the value, unknown (nil) after failing for long enough, or ok
// false for a failure that does not count yet.
func (e *Engine) availabilityOf(r AvailabilityResult, poll availabilityPoll) (value *bool, ok bool) {
	if r.Err == nil {
		return &r.Available, true
	}
	if errors.Is(r.Err, ErrServiceRemoved) {
		return nil, true
	}
	return nil, !poll.failingSince.IsZero() && r.Received.Sub(poll.failingSince) >= e.options.AvailabilityUnknownAfter
}

func (e *Engine) availabilityEvent(r AvailabilityResult, c availabilityChange, previous *bool, published bool) event.Event {
	d := event.AvailabilityObservedData{
		EntityBase: event.EntityBase{Base: e.base(), Observed: event.Window{By: event.Ceil(c.by)}, AfterGap: c.gap},
		Service:    r.Service, Available: c.value,
	}
	ev := event.Event{Name: "availability.observed", Time: r.Received, Data: &d}
	if published {
		d.Observed = event.Between(c.after, c.by)
		ev.Name, ev.Data = "availability.changed", &event.AvailabilityChangedData{AvailabilityObservedData: d, Previous: previous}
	}
	return e.numbered(ev)
}

// numbered sets the revision of an event that is the batch's only one about its entity.
func (e *Engine) numbered(ev event.Event) event.Event {
	ev.EntityBase().Revision = e.published.revisions[ev.ViewKey()] + 1
	return ev
}
