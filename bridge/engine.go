package bridge

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/diff"
)

// Kinds of entities, as they stand in subjects and checkpoints.
const (
	kindAgent   diff.Kind = "agent"
	kindService diff.Kind = "service"
	kindTotals  diff.Kind = "totals"
)

// emptyHold and massHold are how long a suddenly empty grid, and a sudden mass
// departure, must last to be believed.
const (
	emptyHold = 30 * time.Second
	massHold  = 30 * time.Second
)

// observation is what one look at the source brought.
type observation struct {
	answer   bpcc.Answer // valid if err is nil
	err      error
	at       time.Time // when the look ended
	checks   []check   // availability checks done since the look before
	listings []listing // directories listed since the look before
}

// engine turns observations into events. It has no clock, no network and no
// goroutine: time comes in with the observations, and what it believes to be
// published moves only by acknowledge. So the same observations give the same
// events, live or from a recording.
type engine struct {
	tenant, instance, version string
	layout                    *diff.Layout
	disappearAfter            int
	silence                   time.Duration // without a good poll for longer, the feed is interrupted
	debounce                  time.Duration // how long availability must have flipped to be told
	rebaseline                time.Duration // after which a directory is told whole again
	thresholds                *thresholds
	pseudonyms                *pseudonyms // nil = people keep their names
	redacted                  func(stat string) bool
	chatApps                  []string // plain app ids, by index of layout.Lists

	// What the stream holds; moved by acknowledge and, at start, by recall.
	epoch         uint64
	status        string
	previous      string // id of the last checkpoint, "" if there is none
	cause         string // of the interruption that feed.interrupted told, "" if none is open
	observedUntil time.Time
	missingSince  time.Time // when the first of the rows was last seen that are missing unbelieved; zero = none
	state         diff.State
	revisions     map[string]uint64 // by view key, of what state does not know
	baseline      map[diff.Kind]bool
	availability  map[string]availability
	directories   map[string]directory
	chat          toldIDs

	// What is seen but not for the stream; moved by observe.
	poll          uint64
	recalledUntil time.Time // until when each entity was surely seen by the terms before
	sighted       bool      // a good poll was seen since the start
	held          time.Time // until when the stream kept the bridge from looking
	lastSight     time.Time // when the last good poll was received; before the first, the start
	emptySince    time.Time
	lastBody      []byte // of the last good poll: what the state reads its rows from
	freeBody      []byte // one that nobody reads any more once the batch is done with, until it is given back
	lastWindow    boundWindow
	encoder       *encoder
	agents        agentReader
	desks         *sync.Pool // of *desk
	trouble       error      // the last failure since the last good poll that says why
}

// batch is what one observation gives: the events, and what holds once all of
// them are stored.
type batch struct {
	poll          uint64
	at            time.Time
	received      time.Time     // when the answer was that the changes are from
	gap           bool          // it ended a time without sight
	changes       *diff.Changes // that drafts come of; good until the batch is done with
	events        []draft
	status        string
	observedUntil time.Time
	missingSince  time.Time
	baseline      []diff.Kind
	err           error          // why the source was not seen, for the log
	warning       string         // what is wrong with a snapshot that is used all the same
	leftOut       map[string]int // rows of it that are not used, by reason; nil without a snapshot
}

// started claims the feed for this instance's term.
func (e *engine) started(now time.Time) batch {
	e.poll++
	e.lastSight, e.recalledUntil = now, e.observedUntil
	if !e.missingSince.IsZero() && e.missingSince.Before(e.observedUntil) {
		e.recalledUntil = e.missingSince
	}
	b := e.batch(now)
	b.status = statusInterrupted // until the first good poll, nobody sees the source
	b.events = ready([]event{e.feed("feed.started", now, feedData{Version: e.version})})
	return b
}

// stopped ends the term.
func (e *engine) stopped(now time.Time, reason string) batch {
	e.poll++
	b := e.batch(now)
	b.status = statusStopped
	b.events = ready([]event{e.feed("feed.stopped", now, feedData{Reason: reason})})
	return b
}

// observe is one poll: response → rows → changes → events.
func (e *engine) observe(o observation) batch {
	e.poll++
	b := e.batch(o.at)
	gap := e.gap(o.answer.Received)
	snap, changes, err := e.compare(o, gap)
	if err != nil {
		b.err = err
		e.blind(&b, o, err)
		return b
	}
	if gap {
		e.thresholds.restart()
	}
	b.received, b.gap = o.answer.Received, gap
	b.changes = changes
	b.events = slices.Grow(b.events, changes.Len())
	b.events = append(b.events, ready(slices.Concat(e.absence(o, gap), e.resumption(o), e.directoryEvents(o.listings)))...)
	b.events = e.draft(b.events, kindAgent, changes)
	b.events = e.draft(b.events, kindService, changes)
	b.events = append(b.events, ready(e.availabilityEvents(o.checks))...)
	b.events = e.draft(b.events, kindTotals, changes)
	b.events = append(b.events, ready(slices.Concat(e.thresholdEvents(o.answer, gap), e.chatEvents(snap, o.answer, gap)))...)
	b.status, b.observedUntil, b.missingSince, b.baseline = statusLive, o.answer.Sent, e.missing(), e.layout.Kinds()
	b.warning = e.warning(snap)
	b.leftOut = map[string]int{"unnamed": snap.Unnamed, "duplicate": snap.Duplicates, "oversized": snap.Oversized}
	e.sighted, e.lastSight, e.trouble = true, o.answer.Received, nil
	return b
}

// missing is since when rows are missing whose departure is not believed yet.
func (e *engine) missing() time.Time {
	since, any := e.state.Missing()
	if any && since.IsZero() {
		return e.recalledUntil
	}
	return since
}

// warning says what is wrong with a snapshot that is used all the same.
func (e *engine) warning(snap *diff.Snapshot) string {
	var parts []string
	if snap.Unnamed > 0 {
		parts = append(parts, fmt.Sprintf("%d row(s) with an empty key are left out: is BRIDGE_AGENT_KEY right?", snap.Unnamed))
	}
	if snap.Duplicates > 0 {
		parts = append(parts, fmt.Sprintf("%d row(s) with the key of another are left out", snap.Duplicates))
	}
	if snap.Oversized > 0 {
		parts = append(parts, fmt.Sprintf("%d row(s) with a key of more than 512 bytes are left out", snap.Oversized))
	}
	if snap.Cut > 0 {
		parts = append(parts, fmt.Sprintf("%d text(s) of more than 4096 bytes are cut there", snap.Cut))
	}
	for _, kind := range e.layout.Kinds() {
		if n := e.state.Held(kind); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s row(s) are gone at once; believed when it has lasted %v", n, kind, massHold))
		}
	}
	return strings.Join(parts, "; ")
}

// meanwhile is a tick during which the source has not answered yet.
func (e *engine) meanwhile(o observation) batch {
	e.poll++
	b := e.batch(o.at)
	e.blind(&b, o, errSlow)
	return b
}

// blind tells what there is to tell without a snapshot.
func (e *engine) blind(b *batch, o observation, err error) {
	interruption := e.interruption(err, o.at)
	if len(interruption) > 0 {
		b.status = statusInterrupted
	}
	b.events = ready(slices.Concat(interruption, e.directoryEvents(o.listings), e.availabilityEvents(o.checks)))
}

var errSlow = errors.New("the source has not answered yet")

// batch begins a batch that leaves the feed as it is.
func (e *engine) batch(at time.Time) batch {
	return batch{poll: e.poll, at: at, status: e.status, observedUntil: e.observedUntil, missingSince: e.missingSince}
}

// compare reads the snapshot and compares it with what is published.
func (e *engine) compare(o observation, gap bool) (*diff.Snapshot, *diff.Changes, error) {
	if o.err != nil {
		return nil, nil, o.err
	}
	e.freeBody = o.answer.Body // unless the state takes it
	snap, err := e.state.Parse(e.layout, o.answer.Body)
	if err != nil {
		return nil, nil, err
	}
	snap.Sent, snap.Received = o.answer.Sent, o.answer.Received
	options := diff.Options{DisappearAfter: e.disappearAfter, MassHold: massHold, Baseline: e.baseline}
	if !gap && e.sighted && !snap.Again() {
		options.Notable = e.roundTrip(o.answer)
	}
	changes, err := e.state.Compare(e.layout, snap, options)
	if errors.Is(err, diff.ErrEmpty) {
		if e.emptySince.IsZero() {
			e.emptySince = o.answer.Received
		}
		if o.answer.Received.Sub(e.emptySince) < emptyHold {
			return nil, nil, err
		}
		options.AcceptEmpty = true
		changes, err = e.state.Compare(e.layout, snap, options)
	} else {
		e.emptySince = time.Time{}
	}
	if err == nil {
		e.freeBody, e.lastBody = e.lastBody, o.answer.Body
	}
	return snap, changes, err
}

// gap tells whether the poll now received ends a time without sight: the first
// after a start, after an interruption, or later than the feed may be silent.
func (e *engine) gap(received time.Time) bool {
	return !e.observedUntil.IsZero() && (!e.sighted || e.cause != "" || received.Sub(e.lastSight) > e.silence)
}

// thresholdEvents runs the rules over the latest pictures.
func (e *engine) thresholdEvents(a bpcc.Answer, gap bool) []event {
	var out []event
	for _, v := range e.thresholds.evaluate(&e.state, a.Received) {
		name := "threshold.cleared"
		if v.raised {
			name = "threshold.raised"
		}
		_, verb, _ := strings.Cut(name, ".")
		ev := event{
			name:    name,
			subject: "threshold." + Token(v.key.rule) + "." + Token(v.key.entity.ID) + "." + verb,
			about:   "threshold/" + v.key.rule + "/" + v.key.entity.ID,
			at:      a.Received,
		}
		var entity entityData
		entity, ev.revision = e.revise(ev.subject, between(e.observedUntil, a.Received), gap)
		v.data.entityData, v.data.ClearedBy = entity, v.clearedBy
		ev.data = v.data
		ev.applied = func(e *engine) { e.thresholds.apply(v) }
		out = append(out, ev)
	}
	return out
}

// revise numbers the one event of a batch about an entity.
func (e *engine) revise(subject string, w window, gap bool) (entityData, revision) {
	key := viewKey(subject)
	d := e.entity(w, gap)
	d.Revision = e.revisions[key] + 1
	return d, revision{key, d.Revision}
}

// acknowledge makes true what the stream now holds: a part of a batch, and
// with the last part the rest of it.
func (e *engine) acknowledge(b batch, part []outcome, last bool) {
	for i := range part {
		ev := &part[i]
		switch {
		case ev.told.kind == "":
			if ev.revision.key != "" {
				e.revisions[ev.revision.key] = ev.revision.number
			}
		case ev.told.after.IsZero():
			e.state.Set(ev.told.kind, ev.told.id, ev.told.after, 0)
			// The key is kept for long, and a part of a longer text.
			e.revisions[strings.Clone(ev.revision.key)] = ev.revision.number
		default:
			e.state.Set(ev.told.kind, ev.told.id, ev.told.after, ev.revision.number)
		}
		if ev.applied != nil {
			ev.applied(e)
		}
	}
	if !last {
		return
	}
	e.state.Rest()
	e.status, e.observedUntil, e.missingSince = b.status, b.observedUntil, b.missingSince
	for _, kind := range b.baseline {
		e.baseline[kind] = true
	}
}

// pass takes note of a batch that need not go out: what its poll saw is what
// the stream holds, so that the next change happened after it.
func (e *engine) pass(b batch) {
	e.observedUntil, e.missingSince = b.observedUntil, b.missingSince
	e.state.Rest()
}

// takeFree gives the memory of a body that nobody reads any more, nil if there is
// none. The batch of the last observation must be done with.
func (e *engine) takeFree() []byte {
	free := e.freeBody
	e.freeBody = nil
	return free
}

// due tells whether a batch must go out now: it has something to tell, if only
// that the feed is live again.
func (e *engine) due(b batch) bool { return len(b.events) > 0 || b.status != e.status }

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
