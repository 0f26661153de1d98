package bridge

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/diff"
)

// Feed states, as they stand in checkpoints.
const (
	statusLive        = "live"
	statusInterrupted = "interrupted"
	statusStopped     = "stopped"
)

// interruption tells, once, that the source has been silent for too long.
func (e *engine) interruption(err error, now time.Time) []event {
	// "Not ready" and "no answer yet" are what a source does on its way back
	// from the failure that is to be told.
	if e.trouble == nil || !errors.Is(err, bpcc.ErrNotReady) && !errors.Is(err, errSlow) {
		e.trouble = err
	}
	since := e.lastSight
	if e.held.After(since) {
		since = e.held
	}
	if e.cause != "" || now.Sub(since) < e.silence {
		return nil
	}
	err = e.trouble
	cause := causeOf(err)
	ev := e.feed("feed.interrupted", now, feedData{Cause: cause, Error: err.Error()})
	ev.applied = func(e *engine) { e.cause = cause }
	return []event{ev}
}

// resumption tells that an interruption is over, and its width.
func (e *engine) resumption(o observation) []event {
	if e.cause == "" {
		return nil
	}
	return []event{e.resumed(o, e.cause, false)}
}

// absence tells of a time without sight that nobody could tell of while it
// lasted: no bridge was there, or the stream took nothing.
func (e *engine) absence(o observation, gap bool) []event {
	if !gap || e.cause != "" || o.answer.Received.Sub(e.observedUntil) <= e.silence {
		return nil
	}
	ev := e.feed("feed.interrupted", o.answer.Received, feedData{
		Cause: "source", BridgeAway: true,
		Error: "the source was not seen: no bridge was there, or the stream took no events",
	})
	return []event{ev, e.resumed(o, "source", true)}
}

func (e *engine) resumed(o observation, cause string, away bool) event {
	return event{
		name: "feed.resumed", subject: "feed.resumed", about: "feed", at: o.answer.Received,
		data: resumedData{
			common: e.common(), Epoch: e.epoch, Instance: e.instance, Cause: cause, BridgeAway: away,
			Observed: between(e.observedUntil, o.answer.Received),
		},
		applied: func(e *engine) { e.cause = "" },
	}
}

// causeOf sorts an error into the causes that feed.interrupted knows.
func causeOf(err error) string {
	is := func(targets ...error) bool {
		return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
	}
	switch {
	case is(bpcc.ErrAuth, bpcc.ErrForbidden):
		return "auth"
	case is(bpcc.ErrNoSubscription, bpcc.ErrLimit, diff.ErrForeign):
		return "subscription_lost"
	case is(bpcc.ErrMalformed, bpcc.ErrTooLarge, diff.ErrMalformed):
		return "truncated"
	case is(diff.ErrEmpty):
		return "empty"
	}
	return "source"
}

func (e *engine) common() common { return common{Tenant: e.tenant, Poll: e.poll} }

// feed makes an event about the feed itself.
func (e *engine) feed(name string, now time.Time, d feedData) event {
	d.common, d.Epoch, d.Instance, d.ObservedUntil = e.common(), e.epoch, e.instance, stampOrNull(e.observedUntil)
	return event{name: name, subject: name, about: "feed", at: now, data: d}
}

// checkpoint closes a part of a batch. Only the last part moves the watermark:
// before it, not all of what was seen is stored.
func (e *engine) checkpoint(b batch, part []outcome, n, of int) event {
	d := checkpointData{
		common: common{e.tenant, b.poll}, Status: e.status, Epoch: e.epoch, Part: n, Parts: of, Events: len(part),
		ObservedUntil: stampOrNull(e.observedUntil), MissingSince: stampOrNull(e.missingSince), Instance: e.instance, Observing: []string{},
		Agents: e.state.Len(kindAgent), Services: e.state.Len(kindService),
		Follows: e.previous,
	}
	for _, ev := range part {
		d.Agents += headcount(ev.name, "agent.")
		d.Services += headcount(ev.name, "service.")
	}
	observing := maps.Clone(e.baseline)
	if n == of {
		d.Status, d.ObservedUntil, d.MissingSince = b.status, stampOrNull(b.observedUntil), stampOrNull(b.missingSince)
		for _, kind := range b.baseline {
			observing[kind] = true
		}
	}
	for _, kind := range sortedKeys(observing) {
		d.Observing = append(d.Observing, string(kind))
	}
	return event{name: checkpointSubject, subject: checkpointSubject, about: "feed", at: b.at, data: d}
}

// headcount is what an event of a kind adds to the number of its entities.
func headcount(name, kind string) int {
	switch strings.TrimPrefix(name, kind) {
	case "observed", "appeared":
		return 1
	case "disappeared":
		return -1
	}
	return 0
}
