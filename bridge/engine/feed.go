package engine

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/diff"
	"bpcc-nats/diff/image"
	"bpcc-nats/diff/layout"
)

// interruption publishes, once, that there was no good poll for too long.
func (e *Engine) interruption(o Observation) []event.Event {
	seen := &e.observed
	// "Not ready" and "no answer yet" are how a source recovers from the failure that the event must name.
	if seen.lastFailure == nil || o.Cause != "" {
		seen.lastFailure, seen.lastCause = o.Err, o.Cause
	}
	since := seen.lastGoodPoll
	if seen.blockedUntil.After(since) {
		since = seen.blockedUntil
	}
	if e.published.cause != "" || o.At.Sub(since) < e.options.InterruptAfter {
		return nil
	}
	cause := cmp.Or(seen.lastCause, causeSource)
	return []event.Event{e.feedEvent(event.Interrupted, o.At, event.FeedData{Cause: cause, Error: seen.lastFailure.Error()})}
}

// Causes of interruptions: causeSource is that of one without a known cause, causeNATS that of one in which the
// stream accepted nothing.
const (
	causeSource = "source"
	causeFrozen = "frozen"
	causeNATS   = "nats"
)

// SnapshotCause is the cause of an interruption by responses that cannot be used, or by anything else.
func SnapshotCause(err error) string {
	switch {
	case errors.Is(err, layout.ErrForeign):
		return "subscription_lost"
	case errors.Is(err, layout.ErrMalformed):
		return "truncated"
	case errors.Is(err, diff.ErrEmpty):
		return "empty"
	case errors.Is(err, ErrFrozen):
		return causeFrozen
	case errors.Is(err, ErrOutdated):
		return "outdated"
	}
	return causeSource
}

// resumption publishes that an interruption is over, and the window of the gap.
func (e *Engine) resumption(o Observation) []event.Event {
	if e.published.cause == "" {
		return nil
	}
	return []event.Event{e.resumed(o, e.published.cause, false)}
}

// backfilledInterruption publishes a gap that could not be published while it lasted: no bridge was
// running, or the stream was not writable.
func (e *Engine) backfilledInterruption(o Observation, gap bool) []event.Event {
	if !gap || e.published.cause != "" || o.Received.Sub(e.observed.until) <= e.options.InterruptAfter {
		return nil
	}
	cause, text := causeSource, "no polls in this period: no bridge was running, or the stream was not writable"
	if seen := &e.observed; seen.polledOnce && seen.blockedUntil.After(seen.until) || !seen.polledOnce && seen.blockedBefore {
		cause, text = causeNATS, "no polls in this period: NATS was not available, or the stream was not writable"
	}
	return []event.Event{
		e.feedEvent(event.Interrupted, o.Received, event.FeedData{Cause: cause, BridgeAway: true, Error: text}),
		e.resumed(o, cause, true),
	}
}

func (e *Engine) resumed(o Observation, cause string, away bool) event.Event {
	return event.Event{Name: event.Resumed, Time: o.Received, Data: &event.ResumedData{
		Base: e.base(), Epoch: e.epoch, Instance: e.options.Instance, Cause: cause, BridgeAway: away,
		Observed: event.Between(e.observed.until, o.Received),
	}}
}

func (e *Engine) base() event.Base {
	return event.Base{Tenant: e.options.Tenant, Poll: e.observed.poll}
}

// feedEvent returns an event about the feed itself.
func (e *Engine) feedEvent(name string, now time.Time, d event.FeedData) event.Event {
	d.Base, d.Epoch, d.Instance, d.ObservedUntil = e.base(), e.epoch, e.options.Instance, event.Floor(e.observed.until)
	return event.Event{Name: name, Time: now, Data: &d}
}

// checkpoint returns the event that closes a part of a batch. Only the last part advances the
// watermark: before it, some of the observed changes are not stored.
func (e *Engine) checkpoint(b *Batch, events []event.Event, part, parts int) event.Event {
	p, marks := e.published, e.observed.watermarks
	d := &event.CheckpointData{
		Base: event.Base{Tenant: e.options.Tenant, Poll: b.poll}, Status: p.status, Epoch: e.epoch, Part: part, Parts: parts, Events: len(events),
		Instance: e.options.Instance, Observing: []string{}, ClockSet: e.observed.clockSet,
		Agents: p.state.Len(event.Agent), Services: p.state.Len(event.Service), Follows: p.checkpoint,
	}
	for i := range events {
		added := 0
		switch ev := &events[i]; {
		case ev.Arrives() && !ev.Restates():
			added = 1
		case ev.Removes():
			added = -1
		}
		switch image.Kind(events[i].Kind()) {
		case event.Agent:
			d.Agents += added
		case event.Service:
			d.Services += added
		}
	}
	observing := maps.Clone(p.observing)
	if part == parts {
		d.Status, marks = b.status, b.watermarks
		for _, kind := range b.observing {
			observing[kind] = true
		}
	}
	d.ObservedUntil, d.MissingSince, d.AvailabilityUntil = event.Floor(marks.until), event.Floor(marks.missingSince), event.Floor(marks.availabilityUntil)
	for _, kind := range slices.Sorted(maps.Keys(observing)) {
		d.Observing = append(d.Observing, string(kind))
	}
	return event.Event{Name: event.Checkpoint, Time: b.at, Data: d}
}

// StaleCheckpoint is the checkpoint that the server publishes to the view if this bridge stops
// without a word. Its index is one that no batch uses.
func (e *Engine) StaleCheckpoint(now time.Time) event.Event {
	b := e.batch(now)
	b.status = event.StatusStale
	ev := e.checkpoint(b, nil, 1, 1)
	ev.ID = event.ID{Epoch: e.epoch, Poll: b.poll}
	return ev
}

// Erase begins a term that does nothing but state erasures, and returns its batch. The recovered events
// must be those that remain.
func (e *Engine) Erase(now time.Time, erasures []event.ErasedData) *Batch {
	b := e.Start(now)
	for i := range erasures {
		d := &erasures[i]
		d.Base, d.Epoch, d.Instance = e.base(), e.epoch, e.options.Instance
		b.add(event.Event{Name: event.Erased, Time: now, Data: d})
	}
	b.status = event.StatusStopped
	b.add(e.feedEvent(event.Stopped, now, event.FeedData{Reason: "erasure"}))
	return b
}
