package reader

import (
	"fmt"
	"time"

	"bpcc-nats/bridge/event"
)

// StatusUnknown is the status of a feed of which nothing certain is known: there is no picture yet, the
// stream is missing or not the one of the picture, or a foreign message hides the last checkpoint. The
// other statuses are those of package event. Others may follow.
const StatusUnknown = "unknown"

// Freshness says how old the picture of a view is. Times are those of the NATS server, so that the clock of
// this machine may be wrong. That of the bridge must be right: the bridge compares it with the server's.
type Freshness struct {
	// Status is live, interrupted, stopped, stale, or unknown. It is live only if the last observation is
	// not older than [Options.StaleAfter].
	Status string
	// Reason says why the view must not be relied on; "" if it may be.
	Reason string
	// ObservedUntil is until when all changes are in the picture; zero if nothing was observed yet.
	ObservedUntil time.Time
	// Age is how long ago that was.
	Age time.Duration
	// AvailabilityUntil is until when all availabilities are checked that are true or false; zero if none
	// is.
	AvailabilityUntil time.Time
	// AvailabilityAge is how long ago that was.
	AvailabilityAge time.Duration
	// ViewBehind is how many messages the server's view, the KV bucket, is behind the picture, which
	// follows the stream.
	ViewBehind uint64
}

// Fresh reports whether the picture may be relied on.
func (f Freshness) Fresh() bool { return f.Status == event.StatusLive }

// Answer is what to do with a call.
type Answer struct {
	// Route reports whether a call may be sent to the service now, and Reason why, or why not.
	Route  bool
	Reason string
	// Available is the value that is published; nil if it is unknown, or if nothing is published. It may be
	// old unless Route is true.
	Available *bool
	Freshness Freshness
}

// Available reports whether a call may be sent to a service now: its availability is published as true, the
// feed is live, and neither is too old.
func (v *View) Available(service string) Answer {
	v.mu.Lock()
	defer v.mu.Unlock()
	a := Answer{Freshness: v.freshness()}
	known, ok := v.picture.Availability(service)
	a.Available = known.Available
	switch f := a.Freshness; {
	case !f.Fresh():
		a.Reason = f.Reason
	case !ok:
		a.Reason = "nothing is published about the service"
	case known.Available == nil && known.Reason == "":
		a.Reason = "availability is unknown"
	case known.Available == nil:
		a.Reason = "availability is unknown: " + known.Reason
	case f.AvailabilityAge > v.r.options.AvailabilityStaleAfter:
		a.Reason = fmt.Sprintf("availability was last checked more than %v ago", v.r.options.AvailabilityStaleAfter)
	case !*known.Available:
		a.Reason = "no agent is available"
	default:
		a.Route, a.Reason = true, "an agent is available"
	}
	return a
}

// Freshness says how old the picture is now.
func (v *View) Freshness() Freshness {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.freshness()
}

// freshness is [View.Freshness] for callers that hold the mutex.
func (v *View) freshness() Freshness {
	f := Freshness{Status: StatusUnknown}
	c := v.picture.Checkpoint
	if c != nil {
		now := v.clock.now()
		f.ObservedUntil, f.Age = c.ObservedUntil.Time, age(now, c.ObservedUntil.Time, v.picture.Stored)
		f.AvailabilityUntil, f.AvailabilityAge = c.AvailabilityUntil.Time, age(now, c.AvailabilityUntil.Time, v.picture.Stored)
		if v.viewSeq > 0 && v.viewSeq < v.picture.Seq {
			f.ViewBehind = v.picture.Seq - v.viewSeq
		}
	}
	switch {
	case v.closed:
		f.Reason = "the view is closed"
	case v.problem != nil:
		f.Reason = v.problem.Error()
	case v.hidden:
		f.Reason = "a foreign message hides the last checkpoint"
	case c == nil && v.cause != nil:
		f.Reason = v.cause.Error()
	case c == nil:
		f.Reason = "no checkpoint of the tenant was seen yet"
	case !v.stale.Before(v.picture.Stored):
		f.Status, f.Reason = event.StatusStale, "the feed is stale: no bridge confirms it"
	case c.Status != event.StatusLive:
		f.Status, f.Reason = c.Status, "the feed is "+c.Status
	case f.ObservedUntil.IsZero():
		f.Status, f.Reason = event.StatusStale, "nothing was observed yet"
	case f.Age > v.r.options.StaleAfter:
		f.Status, f.Reason = event.StatusStale, fmt.Sprintf("the feed is older than %v", v.r.options.StaleAfter)
	default:
		f.Status = event.StatusLive
	}
	return f
}

// age is how long ago something was observed that a checkpoint states. A bridge whose clock is ahead must
// not make it younger than the checkpoint.
func age(now, observed, stored time.Time) time.Duration {
	if observed.After(stored) {
		observed = stored
	}
	return now.Sub(observed)
}

// serverClock is the clock of the NATS server, as far as a request has shown it. The zero serverClock is
// that of this machine.
type serverClock struct {
	server time.Time // what it showed at the earliest when the request was sent
	sent   time.Time
}

// now is the present time at the server, or a little later. A machine that was suspended has a monotonic
// clock that stood still; one whose clock was set has a wall clock that jumped: the longer time counts.
func (c serverClock) now() time.Time {
	now := time.Now()
	if c.server.IsZero() {
		return now
	}
	return c.server.Add(max(now.Sub(c.sent), now.Round(0).Sub(c.sent.Round(0))))
}
