// Package engine turns polls of the source into events. It has no clock, no network and no
// goroutine: time comes with the observations, and only [Engine.Ack] and [Engine.Recover] change
// the published state. So the same observations give the same events, live or from a recording.
package engine

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/rule"
	"bpcc-nats/diff"
	"bpcc-nats/diff/image"
	"bpcc-nats/diff/layout"
)

// ErrPending is the error of an observation made while a request is still pending.
var ErrPending = errors.New("the source has not answered yet")

// Options configure an engine. The comments say what a zero duration means.
type Options struct {
	// Tenant, Instance and Version are written into events.
	Tenant, Instance, Version string
	// Layout is the layout of the snapshots.
	Layout *layout.Layout
	// ChatApps are the plain app ids of Layout.Lists, by index.
	ChatApps []string
	// DisappearAfter is the number of successive snapshots that a row must be missing from.
	DisappearAfter int
	// InterruptAfter is how long the source may go without a good poll before the feed is
	// interrupted.
	InterruptAfter time.Duration
	// FrozenAfter is how long the picture must be the same, and the clock of every agent who is logged
	// in stand still, until the source counts as frozen; 0 is never.
	FrozenAfter time.Duration
	// EmptyHold and MassHold are how long an emptied grid, and a departure of more than half of a
	// kind at once, must last until they are published; 0 is 30 s.
	EmptyHold, MassHold time.Duration
	// AvailabilityDebounce is how long availability must have changed until the change is
	// published. AvailabilityUnknownAfter is how old the last good check of a service must be until
	// its availability is published as unknown; 0 is 6 s.
	AvailabilityDebounce, AvailabilityUnknownAfter time.Duration
	// RebaselineAfter is the interval at which a directory is published in full.
	RebaselineAfter time.Duration
	// Rules are the threshold rules.
	Rules []rule.Rule
	// Pseudonyms replace what identifies an agent; nil replaces nothing.
	Pseudonyms *event.Pseudonyms
	// Explain returns the error for a response that cannot be used with what the server says in it; nil
	// returns the error as it is.
	Explain func(err error, body []byte) error
	// Redacted reports whether a field of chat messages must not be published; nil redacts none.
	Redacted func(field string) bool
}

// Observation is the result of one poll, or of one tick without a response.
type Observation struct {
	// Body is the response, if Err is nil. The engine owns it until [Engine.ReclaimBody] returns it.
	Body []byte
	// Began is when the poll began, before a login that it needed; the engine does not use it.
	Began time.Time
	// Sent and Received are when the request was sent and its response received.
	Sent, Received time.Time
	// Err is why there is no response.
	Err error
	// Cause is Err as feed.interrupted names it; "" if Err does not explain why the source is not
	// observed, such as "not ready".
	Cause string
	// At is when the observation was complete. It goes back within a term only if the clock does.
	At time.Time
	// Refused holds the statistics that the server refuses, by kind: no response shows them.
	Refused map[image.Kind][]string
	// Availability and Directories are the results since the previous observation. The checks of a
	// service come in their order.
	Availability []AvailabilityResult
	Directories  []DirectorySnapshot
	// AvailabilityUnknownAfter replaces that of the options where it is not 0, as when checks must be
	// less frequent than configured.
	AvailabilityUnknownAfter time.Duration
}

// Engine is the engine of one tenant. It is not safe for concurrent use.
type Engine struct {
	options   Options
	rules     rules
	epoch     uint64 // of this term; 0 before Start
	published *published
	observed  observed
	reader    *event.AgentReader
	builder   builder
	// idleBuilder holds the builder between two batches.
	idleBuilder sync.Pool
	lastWindow  cachedWindow
}

// observed is the result of the polls since the start. It is lost with the term.
type observed struct {
	poll           uint64
	started        time.Time      // when the term began
	at             time.Time      // of the last observation
	clockSet       event.Duration // by how much the clock was set since the last checkpoint
	watermarks                    // of what the stream holds, with the polls that had nothing to publish
	recoveredUntil time.Time      // until when earlier terms have observed every entity
	polledOnce     bool           // there was a good poll
	// forgotten holds the kinds of which neither stream nor view has all entities that the last
	// checkpoint counts: what the first good poll shows in addition need not have appeared.
	forgotten     map[image.Kind]bool
	blockedUntil  time.Time // until when the stream kept the bridge from polling
	blockedBefore bool      // NATS did so before this term
	lastGoodPoll  time.Time // when the last good poll was received; before the first, the start
	shown         request   // the one that first showed the picture of the last good snapshot
	clocksSince   time.Time // when the first snapshot that showed the present clocks was received
	picture       request   // the first one that showed them, and all else as it is now
	outdatedSince time.Time // when the first snapshot was received that was older; zero = the last was not
	currentBody   []byte    // of the last good poll: the state refers to its rows
	spareBody     []byte    // not read any more
	lastFailure   error     // the last one since the last good poll that has a cause
	lastCause     string
	availability  map[string]availabilityPoll
	directories   map[string]directoryPoll
	pending       map[alertKey]time.Time // since when the conditions of rules hold that do not fire yet; zero = since the next poll that shows them
	unseen        map[alertKey]time.Time // until when rows or columns of rules were seen that are not shown now
	unreadable    []unreadable           // by rule
}

// New returns an engine without published state.
func New(o Options) *Engine {
	if o.EmptyHold == 0 {
		o.EmptyHold = 30 * time.Second
	}
	if o.MassHold == 0 {
		o.MassHold = 30 * time.Second
	}
	if o.AvailabilityUnknownAfter == 0 {
		o.AvailabilityUnknownAfter = defaultUnknownAfter
	}
	if o.Redacted == nil {
		o.Redacted = func(string) bool { return false }
	}
	if o.Explain == nil {
		o.Explain = func(err error, _ []byte) error { return err }
	}
	return &Engine{
		options: o, rules: newRules(o.Rules), published: newPublished(), reader: event.NewAgentReader(),
		observed: observed{
			availability: map[string]availabilityPoll{}, directories: map[string]directoryPoll{}, pending: map[alertKey]time.Time{},
			unseen: map[alertKey]time.Time{}, unreadable: make([]unreadable, len(o.Rules)),
		},
	}
}

// Recover applies an event that the stream holds, before [Engine.Start]. Events of one entity must
// come in the order of the stream. Events that a later one replaces may be missing. The engine
// keeps the event's data.
func (e *Engine) Recover(ev *event.Event) { e.published.apply(ev) }

// RecoverEpoch tells that an epoch was used, before [Engine.Start].
func (e *Engine) RecoverEpoch(epoch uint64) { e.published.epoch = max(e.published.epoch, epoch) }

// SetBack sets the recovered times back, after the last [Engine.Recover] and before [Engine.Start]: the clock of
// the bridge that wrote them was ahead. The times until which polls observed the source and those of
// availability checks may be of different bridges.
func (e *Engine) SetBack(polls, checks time.Duration) {
	p := e.published
	setBack := func(at *time.Time, by time.Duration) {
		if !at.IsZero() {
			*at = at.Add(-by)
		}
	}
	setBack(&p.until, polls)
	setBack(&p.missingSince, polls)
	setBack(&p.availabilityUntil, checks)
	for service, a := range p.availability {
		setBack(&a.after, checks)
		p.availability[service] = a
	}
	p.agentStates.ForgetBeginnings() // times of two clocks give no duration
}

// Resume returns an engine that continues from another one as after a restart.
func (e *Engine) Resume(o Options) *Engine {
	next := New(o)
	p := *e.published
	p.state = diff.State{}
	for _, kind := range []image.Kind{event.Agent, event.Service, event.Totals} {
		for _, id := range e.published.state.IDs(kind) {
			image, revision := e.published.state.Published(kind, id)
			p.state.Set(kind, id, image, revision)
		}
	}
	next.published = &p
	return next
}

// Start begins a term and returns the batch that publishes it.
func (e *Engine) Start(now time.Time) *Batch {
	p, o := e.published, &e.observed
	e.epoch = p.epoch + 1
	o.poll, o.started, o.watermarks = p.lastPoll+1, now, p.watermarks
	o.lastGoodPoll, o.recoveredUntil = now, o.until
	if !o.missingSince.IsZero() && o.missingSince.Before(o.until) {
		o.recoveredUntil = o.missingSince
	}
	o.forgotten = map[image.Kind]bool{}
	for kind, n := range p.counted {
		o.forgotten[kind] = p.state.Len(kind) < n
	}
	for service, a := range p.availability {
		poll := availabilityPoll{lastGood: p.checkedUntil(a)}
		if a.value != nil {
			poll.show(*a.value)
		}
		o.availability[service] = poll
	}
	for kind, d := range p.directories {
		o.directories[kind] = directoryPoll{seen: d.time}
	}
	b := e.batch(now)
	b.status = event.StatusInterrupted // until the first good poll
	b.add(e.feedEvent(event.Started, now, event.FeedData{Version: e.options.Version}))
	return b
}

// Stop ends the term and returns the batch that publishes it.
func (e *Engine) Stop(now time.Time, reason string) *Batch {
	e.observed.poll++
	b := e.batch(now)
	b.status = event.StatusStopped
	b.add(e.feedEvent(event.Stopped, now, event.FeedData{Reason: reason}))
	return b
}

// OnPoll processes one poll: response → rows → changes → events.
func (e *Engine) OnPoll(o Observation) *Batch {
	e.observed.poll++
	gap := e.EndsGap(o.Received)
	snap, changes, err := e.compare(o, gap)
	b := e.batch(o.At)
	if err != nil {
		if o.Err == nil {
			o.Err, o.Cause = err, SnapshotCause(err)
		}
		if errors.Is(err, diff.ErrEmpty) {
			e.restartPending() // a response that shows no rows, unlike a poll without a response
		}
		e.withoutSnapshot(b, o)
		return b
	}
	if gap {
		e.restartPending()
	}
	b.received, b.gap, b.changes = o.Received, gap, changes
	if !e.observed.polledOnce {
		b.forgotten = e.observed.forgotten
	}
	b.pending = slices.Grow(b.pending, len(changes))
	b.add(e.backfilledInterruption(o, gap)...)
	b.add(e.resumption(o)...)
	b.add(e.directoryEvents(o.Directories)...)
	e.addChanges(b, event.Agent)
	e.addChanges(b, event.Service)
	b.add(e.availabilityEvents(b, o)...)
	e.addChanges(b, event.Totals)
	b.add(e.thresholdEvents(b, e.evaluationTime(o, changes))...)
	b.add(e.chatEvents(snap, o, gap)...)
	b.status, b.until, b.missingSince, b.observing = event.StatusLive, snap.Sent, e.missing(), e.options.Layout.Kinds()
	b.Problems = e.problems(snap)
	b.SkippedRows = e.skippedRows(snap)
	e.observed.polledOnce, e.observed.lastGoodPoll, e.observed.lastFailure = true, o.Received, nil
	return b
}

// OnTick processes a tick during which the source has not responded yet.
func (e *Engine) OnTick(o Observation) *Batch {
	e.observed.poll++
	b := e.batch(o.At)
	if o.Err == nil {
		o.Err = ErrPending
	}
	e.withoutSnapshot(b, o)
	return b
}

// withoutSnapshot adds the events that need no snapshot.
func (e *Engine) withoutSnapshot(b *Batch, o Observation) {
	b.Err = o.Err
	interruption := e.interruption(o)
	if len(interruption) > 0 {
		b.status = event.StatusInterrupted
	}
	b.add(interruption...)
	b.add(e.directoryEvents(o.Directories)...)
	b.add(e.availabilityEvents(b, o)...)
}

// batch returns a new batch that does not change the status of the feed.
func (e *Engine) batch(at time.Time) *Batch {
	e.observed.clockSet, e.observed.at = e.observed.clockSet+event.ClockSet(e.observed.at, at), at
	return &Batch{
		poll: e.observed.poll, at: at, status: e.published.status, watermarks: e.observed.watermarks, lastGap: e.published.agentStates.Gap(),
	}
}

// compare parses the snapshot and compares it with the published state.
func (e *Engine) compare(o Observation, gap bool) (*diff.Snapshot, []diff.Change, error) {
	if o.Err != nil {
		return nil, nil, o.Err
	}
	seen, state, layout := &e.observed, &e.published.state, e.options.Layout
	seen.spareBody = o.Body // unless the state keeps it
	snap, err := state.Parse(layout, o.Body)
	if err != nil {
		return nil, nil, e.options.Explain(err, o.Body)
	}
	sighting, err := e.checkClocks(snap, o)
	if err != nil {
		return nil, nil, err
	}
	// If an earlier term found the source frozen, the second snapshot shows whether it still is.
	undecided := e.published.cause == causeFrozen && seen.picture == (request{})
	if undecided {
		sighting.at.sent = seen.until
	}
	snap.Sent, snap.Received = sighting.at.sent, o.Received
	options := diff.Options{
		DisappearAfter: e.options.DisappearAfter, EmptyHold: e.options.EmptyHold, MassHold: e.options.MassHold,
		Baseline: e.published.observing,
	}
	if !gap && seen.polledOnce && !snap.Repeated() && !sighting.clockSet {
		options.ReentryTest = e.reentryTest(o)
	}
	changes, err := state.Compare(layout, snap, options)
	if err != nil {
		return nil, nil, err
	}
	seen.spareBody, seen.currentBody = seen.currentBody, o.Body
	if undecided {
		err = ErrFrozen
	}
	seen.accept(sighting, request{o.Sent, o.Received})
	return snap, changes, err
}

// EndsGap reports whether a good poll received at that time ends a gap: the first poll after a
// start, after an interruption, or after more than InterruptAfter.
func (e *Engine) EndsGap(received time.Time) bool {
	o := &e.observed
	return !o.until.IsZero() && (!o.polledOnce || e.published.cause != "" || received.Sub(o.lastGoodPoll) > e.options.InterruptAfter)
}

// missing returns since when rows are missing that are not published as disappeared yet.
func (e *Engine) missing() time.Time {
	since, any := e.published.state.MissingSince()
	if any && since.IsZero() {
		return e.observed.recoveredUntil
	}
	return since
}

// NeedsCommit reports whether a batch must be committed now: it has events, or the feed's status changes.
func (e *Engine) NeedsCommit(b *Batch) bool {
	return len(b.pending) > 0 || b.status != e.published.status
}

// Skip ends a batch that is not committed. The stream already holds what its poll showed, so the
// next change happened after it.
func (e *Engine) Skip(b *Batch) {
	e.observed.watermarks = b.watermarks
}

// Blocked records that the stream kept the bridge from polling until now: the gap is not the
// source's fault.
func (e *Engine) Blocked(until time.Time) { e.observed.blockedUntil = until }

// BlockedBefore records that NATS kept the bridge from polling since before this term.
func (e *Engine) BlockedBefore() { e.observed.blockedBefore = true }

// ReclaimBody returns the memory of a body that is not read any more, nil if there is none.
func (e *Engine) ReclaimBody() []byte {
	free := e.observed.spareBody
	e.observed.spareBody = nil
	return free
}

// KnownAvailability lists the services whose published availability is true or false.
func (e *Engine) KnownAvailability() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(e.published.availability)) {
		if e.published.availability[name].value != nil {
			names = append(names, name)
		}
	}
	return names
}

// Status is the published status of the feed.
func (e *Engine) Status() string { return e.published.status }
