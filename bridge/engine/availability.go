package engine

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"bpcc-nats/bridge/event"
)

// Results for services that are not checked any more. Their availability becomes unknown at once.
var (
	// ErrServiceRemoved is the result for a service that the tenant does not list any more.
	ErrServiceRemoved = errors.New("tenant no longer lists the service")
	// ErrNotConfigured is the result for a service that the configuration does not name any more.
	ErrNotConfigured = errors.New("configuration no longer names the service")
)

// Reasons of an unknown availability that the engine itself gives. All others come with the results.
const (
	reasonUnavailable = "unavailable" // of a failure without a reason
	reasonNotChecked  = "not_checked" // no check has ended since the last good one
)

// defaultUnknownAfter is three availability intervals of the default configuration.
const defaultUnknownAfter = 6 * time.Second

// AvailabilityResult is one availability check of one service.
type AvailabilityResult struct {
	Service   string
	Available bool // if Err is nil
	Err       error
	// Reason is Err as events name it in `reason`.
	Reason string
	// Sent and Received are when the request was sent and its response received.
	Sent, Received time.Time
}

// availabilityPoll is the state of the checks of a service.
type availabilityPoll struct {
	lastGood time.Time // when the last good check was sent; zero = none is known
	yes, no  lastShown // the last good checks that showed these values
	asked    time.Time // when the first check was sent, where none was good
	fresh    bool      // checked since the start of this term
	reason   string    // why the checks fail, "" after a good one
	removed  bool      // not checked any more
	change   availabilityChange
}

// lastShown is the last good check that showed a value.
type lastShown struct {
	sent time.Time // zero = none is known
	own  bool      // made in this term; the time of another one is by the clock of its leader
}

// availabilityChange is a value that differs from the published one, until the debounce has passed.
type availabilityChange struct {
	value *bool
	after time.Time // when the last check that showed the old value was sent
	by    time.Time // when the first one that showed the new value was received; zero = there is no change
	last  time.Time // when the last one that showed it was received
	gap   bool
}

// availabilityEvents publishes the changes that the checks show, and the services whose last good
// check is too old. It also sets until when all known availabilities are checked.
func (e *Engine) availabilityEvents(b *Batch, o Observation) []event.Event {
	services, listed := make([]string, 0, len(e.observed.availability)), map[string]bool{}
	for _, r := range o.Availability {
		e.addCheck(r)
		if !listed[r.Service] {
			listed[r.Service] = true
			services = append(services, r.Service)
		}
	}
	for _, service := range slices.Sorted(maps.Keys(e.observed.availability)) {
		if !listed[service] {
			services = append(services, service)
		}
	}
	var out []event.Event
	b.availabilityUntil = time.Time{}
	for _, service := range services {
		poll := e.observed.availability[service]
		last, published := e.published.availability[service]
		if published && event.SameAvailability(last.value, poll.change.value) {
			poll.change = availabilityChange{} // published meanwhile
		}
		known, until := published && last.value != nil, poll.lastGood
		if ev, ok := e.unknownEvent(service, poll, b, o); ok {
			out, known, poll.change = append(out, ev), false, availabilityChange{}
		} else if ev, ok := e.changedEvent(service, poll); ok {
			out, known = append(out, ev), true
		} else if !poll.change.by.IsZero() {
			until = poll.change.after // the last check that showed what is published
		}
		if known && (b.availabilityUntil.IsZero() || until.Before(b.availabilityUntil)) {
			b.availabilityUntil = until
		}
		e.observed.availability[service] = poll
	}
	return out
}

// addCheck adds the result of a check.
func (e *Engine) addCheck(r AvailabilityResult) {
	poll := e.observed.availability[r.Service]
	defer func() { e.observed.availability[r.Service] = poll }()
	switch {
	case errors.Is(r.Err, ErrServiceRemoved), errors.Is(r.Err, ErrNotConfigured):
		poll.removed, poll.reason = true, r.Reason
		return
	case r.Err != nil:
		if !poll.removed {
			poll.reason = cmp.Or(r.Reason, reasonUnavailable)
		}
		if poll.asked.IsZero() {
			poll.asked = r.Sent
		}
		return
	}
	last, published := e.published.availability[r.Service]
	value := &r.Available
	switch {
	case published && event.SameAvailability(last.value, value):
		poll.change = availabilityChange{}
	case poll.change.by.IsZero() || !event.SameAvailability(poll.change.value, value):
		poll.change = availabilityChange{value: value, after: poll.lastGood, by: r.Received, last: r.Received, gap: published && !poll.fresh}
	default:
		poll.change.last = r.Received
	}
	poll.lastGood, poll.fresh, poll.reason, poll.removed = r.Sent, true, "", false
	poll.show(r.Available)
}

// show records what the last good check showed.
func (p *availabilityPoll) show(available bool) {
	shown := lastShown{p.lastGood, p.fresh}
	if available {
		p.yes = shown
	} else {
		p.no = shown
	}
}

// changedEvent returns the event for a change that has lasted for the debounce. The first value,
// which is no change, waits for none.
func (e *Engine) changedEvent(service string, poll availabilityPoll) (event.Event, bool) {
	_, published := e.published.availability[service]
	c := poll.change
	if c.by.IsZero() || published && c.last.Sub(c.by) < e.options.AvailabilityDebounce {
		return event.Event{}, false
	}
	d := event.AvailabilityObservedData{Service: service, Available: c.value}
	d.AfterGap = c.gap
	return e.availabilityEvent(d, c.after, c.by, c.last), true
}

// unknownEvent returns the event for a service whose last good check is too old, or that is not
// checked any more.
func (e *Engine) unknownEvent(service string, poll availabilityPoll, b *Batch, o Observation) (event.Event, bool) {
	last, published := e.published.availability[service]
	switch {
	case published && last.value == nil:
		return event.Event{}, false
	case poll.removed:
		if !published {
			return event.Event{}, false
		}
	case o.At.Sub(e.checkedSince(poll, b)) < e.unknownAfter(o):
		return event.Event{}, false
	}
	d := event.AvailabilityObservedData{Service: service, Reason: cmp.Or(poll.reason, reasonNotChecked)}
	d.AfterGap = published && !poll.fresh
	return e.availabilityEvent(d, poll.lastGood, o.At, o.At), true
}

// unknownAfter is how old the last good check of a service may be.
func (e *Engine) unknownAfter(o Observation) time.Duration {
	if o.AvailabilityUnknownAfter > 0 {
		return o.AvailabilityUnknownAfter
	}
	return e.options.AvailabilityUnknownAfter
}

// checkedSince returns the time from which the age of a service's checks counts. Before the first
// good poll of a term the feed is not live, so checks of earlier terms count until then as made at
// the start of this one: a short restart makes no service unknown.
func (e *Engine) checkedSince(poll availabilityPoll, b *Batch) time.Time {
	since, started := poll.lastGood, e.observed.started
	if since.IsZero() {
		since = poll.asked
	}
	live := e.observed.polledOnce || !b.received.IsZero()
	if since.IsZero() || !live && since.Before(started) {
		return started
	}
	return since
}

// CheckedAt returns when the last good check of a service was sent that showed its published availability
// or, if that is unknown, when the last good check was sent; zero if none is known. It reports whether that
// check was made in this term; if not, the time is by the clock of a former leader.
func (e *Engine) CheckedAt(service string) (sent time.Time, own bool) {
	poll, value := e.observed.availability[service], e.published.availability[service].value
	switch {
	case value == nil:
		return poll.lastGood, poll.fresh
	case *value:
		return poll.yes.sent, poll.yes.own
	}
	return poll.no.sent, poll.no.own
}

// availabilityEvent completes an event: it was found at a time, for a window.
func (e *Engine) availabilityEvent(d event.AvailabilityObservedData, after, by, at time.Time) event.Event {
	d.Base, d.Observed = e.base(), event.Window{By: event.Ceil(by)}
	last, published := e.published.availability[d.Service]
	ev := event.Event{Name: "availability.observed", Time: at, Data: &d}
	if published {
		d.Observed = event.Between(after, by)
		ev.Name, ev.Data = "availability.changed", &event.AvailabilityChangedData{AvailabilityObservedData: d, Previous: last.value}
	}
	return e.numbered(ev)
}

// numbered sets the revision of an event that is the batch's only one about its entity.
func (e *Engine) numbered(ev event.Event) event.Event {
	ev.EntityBase().Revision = e.published.revisions[ev.ViewKey()] + 1
	return ev
}
