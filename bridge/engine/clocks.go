package engine

import (
	"errors"
	"slices"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/diff"
)

var (
	// ErrFrozen is the error of a snapshot in which the clock of every agent who is logged in has
	// stood still, and nothing else has changed, for FrozenAfter: the source sends an old picture.
	ErrFrozen = errors.New("source is frozen: nothing changes, and running clocks stand still")
	// ErrOutdated is the error of a snapshot that is older than one before it: clocks that must run
	// have gone back. One of several servers is behind.
	ErrOutdated = errors.New("snapshot is older than the last one: running clocks went back")
)

// clockTolerance allows for the whole seconds of two values of state_duration, and for the unknown
// time of the sample within the request.
const clockTolerance = 2 * time.Second

// outdatedHold is how long snapshots must be older than one before them until they are believed, as
// after the source's clock was set.
const outdatedHold = 30 * time.Second

// request is when a request was sent and when its response was received.
type request struct{ sent, received time.Time }

// sighting is when the source's picture was seen.
type sighting struct {
	// at is the request that first showed the picture; it is this poll's unless the picture has been
	// the same for longer than clockTolerance.
	at request
	// same reports whether the picture is that of the last snapshot: nothing has changed, and clocks
	// that must run stand still.
	same bool
	// clocksStand reports whether clocks that must run stand still, whatever else has changed.
	clocksStand bool
	// clockSet reports whether the clocks cannot be compared with the last ones.
	clockSet bool
}

// checkClocks judges a snapshot by its clocks before it is compared. The error is [ErrFrozen] or
// [ErrOutdated].
func (e *Engine) checkClocks(snap *diff.Snapshot, o Observation) (sighting, error) {
	seen := &e.observed
	s := sighting{at: request{o.Sent, o.Received}}
	clocks := e.published.state.Clocks(snap)
	if e.isOutdated(clocks, o) {
		if seen.outdatedSince.IsZero() {
			seen.outdatedSince = o.Received
		}
		if o.Received.Sub(seen.outdatedSince) < outdatedHold {
			return s, ErrOutdated
		}
		s.clockSet = true
		return s, nil
	}
	s.clocksStand = !clocks.Moved && anyRunning(clocks)
	if s.same = s.clocksStand && !snap.Differs(); !s.same {
		return s, nil
	}
	lasted := o.Received.Sub(seen.picture.received)
	if e.options.FrozenAfter > 0 && (lasted >= e.options.FrozenAfter || e.published.cause == causeFrozen) {
		// What earlier polls showed after the first sight was not new either.
		seen.until, seen.lastGoodPoll = earlier(seen.until, seen.picture.sent), earlier(seen.lastGoodPoll, seen.picture.received)
		return s, ErrFrozen
	}
	if o.Sent.Sub(seen.picture.received) > clockTolerance {
		s.at = seen.picture
	}
	return s, nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// accept records the sighting of a snapshot that was compared.
func (o *observed) accept(s sighting, poll request) {
	o.shown, o.outdatedSince = s.at, time.Time{}
	if !s.clocksStand {
		o.clocksSince = poll.received
	}
	if !s.same {
		o.picture = poll
	}
}

// pictureAt is when the picture that the source shows was new, by its clocks.
func (o *observed) pictureAt() time.Time {
	at := o.lastGoodPoll // goes back when the source is frozen
	if !o.polledOnce || at.Sub(o.clocksSince) > clockTolerance {
		return o.clocksSince
	}
	return at
}

// isOutdated reports whether a snapshot is older than the last one: more clocks go back than forward,
// and the clock of an agent goes back who was in the state before the last poll. In an older snapshot
// the clock of an agent who has left the state and come back goes forward.
func (e *Engine) isOutdated(clocks diff.Clocks, o Observation) bool {
	return clocks.Back > clocks.Forward && clocks.SetBack >= 0 &&
		time.Duration(clocks.SetBack)*time.Second > o.Received.Sub(e.observed.shown.sent)+clockTolerance
}

// anyRunning reports whether a clock that has not moved is one that must run: that of an agent who
// is logged in.
func anyRunning(clocks diff.Clocks) bool {
	for view := range clocks.Still() {
		if !slices.Contains(event.LoggedOutTexts(), view.Text(event.ACDState)) {
			return true
		}
	}
	return false
}

// sinceIn returns when a state began, zero if that cannot be true: the change of state, or what was
// seen first, happened within the window.
func sinceIn(w event.Window, since time.Time) time.Time {
	if since.After(w.By.Add(clockTolerance)) || !w.After.IsZero() && since.Before(w.After.Add(-clockTolerance)) {
		return time.Time{}
	}
	return since
}

// evaluationTime is an observation at the time for which rules are evaluated. What has not changed
// while the source's clocks stand still is known only until the first sight of it.
func (e *Engine) evaluationTime(o Observation, changes []diff.Change) Observation {
	if len(changes) == 0 {
		o.Received = e.observed.shown.received
	}
	return o
}
