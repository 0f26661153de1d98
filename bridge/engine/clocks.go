package engine

import (
	"errors"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/diff"
)

var (
	// ErrFrozen is the error of a snapshot in which the clock of every agent who is logged in has
	// stood still for FrozenAfter: the source sends an old picture.
	ErrFrozen = errors.New("source is frozen: running clocks stand still")
	// ErrOutdated is the error of a snapshot that is older than one before it: clocks that must run
	// have gone back. One of several servers is behind.
	ErrOutdated = errors.New("snapshot is older than the last one: running clocks went back")
)

// clockTolerance allows for the whole seconds of two values of state_duration, and for the unknown
// time of the sample within the request.
const clockTolerance = 2 * time.Second

// request is when a request was sent and when its response was received.
type request struct{ sent, received time.Time }

// sighting is when the source's picture was seen.
type sighting struct {
	// at is the request that first showed the picture; it is this poll's unless all running clocks
	// have stood still, and nothing else has changed, for longer than clockTolerance.
	at request
	// still reports whether the running clocks stand still.
	still bool
	// clockSet reports whether the clocks cannot be compared with the last ones.
	clockSet bool
}

// checkClocks judges a snapshot by its clocks before it is compared. The error is [ErrFrozen] or
// [ErrOutdated].
func (e *Engine) checkClocks(snap *diff.Snapshot, o Observation) (sighting, error) {
	seen, now := &e.observed, request{o.Sent, o.Received}
	clocks := e.published.state.Clocks(snap, event.StateStats())
	if e.isOutdated(clocks, o) {
		if seen.outdatedSince.IsZero() {
			seen.outdatedSince = o.Received
		}
		if o.Received.Sub(seen.outdatedSince) < e.options.OutdatedHold {
			return sighting{}, ErrOutdated
		}
		return sighting{at: now, clockSet: true}, nil
	}
	if clocks.Moved || !anyRunning(clocks) {
		return sighting{at: now}, nil
	}
	if e.options.FrozenAfter > 0 && o.Received.Sub(seen.clocks.received) >= e.options.FrozenAfter {
		// What earlier polls showed after the first sight was not new either.
		seen.until, seen.lastGoodPoll = seen.clocks.sent, seen.clocks.received
		return sighting{}, ErrFrozen
	}
	if o.Received.Sub(seen.picture.received) > clockTolerance {
		return sighting{at: seen.picture, still: true}, nil
	}
	return sighting{at: now, still: true}, nil
}

// accept records the sighting of a snapshot that was compared.
func (o *observed) accept(s sighting, poll request, changed bool) {
	o.shown, o.outdatedSince = s.at, time.Time{}
	if !s.still {
		o.clocks = poll
	}
	if !s.still || changed {
		o.picture = poll
	}
}

// pictureAt is when the picture that the source shows was new.
func (o *observed) pictureAt() time.Time {
	if o.polledOnce && o.lastGoodPoll.Before(o.shown.received) {
		return o.lastGoodPoll // the source is frozen
	}
	return o.shown.received
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
		if !view.OneOf(event.ACDState, event.LoggedOutTexts()) {
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
func (e *Engine) evaluationTime(o Observation, changes *diff.Changes) Observation {
	if changes.Len() == 0 {
		o.Received = e.observed.shown.received
	}
	return o
}
