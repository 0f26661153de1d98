package report

import (
	"strings"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/reader/past"
)

// Fold sums up the events of a tenant, in the order of the stream. All of them must be added, from the
// beginning of the stream on. It is used by one goroutine.
type Fold struct {
	zone                *time.Location
	since, until, first int64
	openEnd             bool // until is the last observation
	calendar            *calendar

	agents    *event.AgentReader
	decoder   event.Decoder
	timelines map[string]*timeline
	pending   []pending // since the last checkpoint

	whole, begun bool // the first checkpoint follows nothing; there was one with an observation
	checkpoints  int
	last         *event.CheckpointData // with the last observation
	made         int64                 // when that was made
	missing      int64                 // since when rows are missing; never = none are
	// When the source was not seen, when rows were not, and when availabilities were not checked.
	gaps, rows, checks spans
	terms              spans // the times between two terms, in which no bridge ran
	holes              []hole
	// Events that are missing, and messages that no bridge wrote. Those hide nothing: the ids of the events prove
	// whether any is missing.
	lost, foreign uint64
}

// pending is an event whose batch is not closed yet.
type pending struct {
	key  string
	seq  uint64
	body []byte
}

// hole is where events are missing, or cannot be decoded.
type hole struct {
	key      string // of the entity; "" = any
	before   uint64 // the sequence of the event after it
	from, to int64  // to is forever until the next checkpoint
}

// New returns a fold.
func New(o Options) *Fold {
	f := &Fold{
		zone: o.Zone, since: never, until: forever, openEnd: o.Until.IsZero(), first: never,
		agents: event.NewAgentReader(), timelines: map[string]*timeline{}, missing: never,
	}
	if f.zone == nil {
		f.zone = time.UTC
	}
	if !o.Since.IsZero() {
		f.since = nanos(o.Since)
	}
	if !f.openEnd {
		f.until = nanos(o.Until)
	}
	return f
}

// event adds an event, by its key in the view below the tenant, as it is stored at a sequence. Events about
// the feed and about what a report does not have are passed over.
func (f *Fold) event(key string, seq uint64, body []byte) {
	kind, _, _ := strings.Cut(key, ".")
	switch kind {
	case "agent", "service", "availability", "threshold":
		f.pending = append(f.pending, pending{key, seq, body})
	}
}

// gap adds a gap that has ended.
func (f *Fold) gap(d *event.ResumedData) {
	from, to := nanos(d.Observed.After.Time), nanos(d.Observed.By.Time)
	if d.Observed.After.IsZero() {
		from = never
	}
	f.gaps.add(from, to)
	f.rows.add(from, to)
	if d.BridgeAway {
		f.checks.add(from, to)
	}
	for i := len(f.terms) - 1; i >= 0 && f.terms[i].to > from; i-- { // the source was away before a bridge was
		f.checks.add(max(from, f.terms[i].from), min(to, f.terms[i].to))
	}
}

// hole adds a hole of at least so many events before the next event, which has this sequence.
func (f *Fold) hole(missing, before uint64) {
	f.lost += missing
	h := hole{before: before, from: never, to: forever}
	if f.last != nil {
		h.from = nanos(f.last.ObservedUntil.Time)
	}
	f.holes = append(f.holes, h)
}

// holesBetween returns the time of the holes that may have held events about an entity after one event and
// before another; 0 is the end of the stream.
func (f *Fold) holesBetween(t *timeline, after, before uint64) (from, to int64, found bool) {
	from, to = forever, never
	for i := len(f.holes) - 1; i >= 0 && f.holes[i].before > after; i-- {
		h := &f.holes[i]
		if (h.key == "" || f.timelines[h.key] == t) && (before == 0 || h.before <= before) {
			from, to, found = min(from, h.from), max(to, h.to), true
		}
	}
	return from, to, found
}

// checkpoint adds a checkpoint that closes the events since the one before. The time is that of the event.
func (f *Fold) checkpoint(d *event.CheckpointData, made time.Time) {
	if f.checkpoints++; f.checkpoints == 1 {
		f.whole = d.Follows == ""
	}
	for i := len(f.holes) - 1; i >= 0 && f.holes[i].to == forever; i-- {
		f.holes[i].to = nanos(made)
	}
	if d.ObservedUntil.IsZero() {
		return
	}
	if f.last != nil && d.Epoch != f.last.Epoch {
		f.terms.add(f.checkedUntil(), nanos(made))
	}
	until := nanos(d.ObservedUntil.Time)
	if !f.begun {
		f.begun, f.first = true, until
		if !f.whole { // a part of the batch may be gone
			f.first = nanos(made)
		}
		f.calendar = newCalendar(f.zone, max(f.first, f.since))
	}
	if f.missing != never {
		f.rows.add(f.missing, until)
	}
	if f.missing = never; !d.MissingSince.IsZero() {
		f.missing = nanos(d.MissingSince.Time)
		f.rows.add(f.missing, until)
	}
	f.last, f.made = d, nanos(made)
	before := f.since != never && past.IsBefore(made, time.Unix(0, f.since))
	for i, p := range f.pending {
		// State and statistics that change in one poll are two events of one change.
		more := i+1 < len(f.pending) && f.pending[i+1].key == p.key
		f.take(p, before, more)
	}
	f.pending = f.pending[:0]
}

// take adds an event of a closed batch. Of those before the report the last one about an entity counts. More
// reports whether the next event is of the same entity.
func (f *Fold) take(p pending, before, more bool) {
	t := f.timelines[p.key]
	if t == nil {
		t = &timeline{days: map[int]*ledger{}}
		f.timelines[p.key] = t
	}
	if t.done {
		return
	}
	if before && t.revision == 0 {
		t.seq, t.body = p.seq, p.body
		return
	}
	f.decodeBase(p.key, t)
	if e, ok := f.decode(p.key, t, p.seq, p.body); ok {
		f.apply(t, &e, p.seq, more)
	}
}

// decodeBase decodes the last event before the report.
func (f *Fold) decodeBase(key string, t *timeline) {
	if t.body == nil {
		return
	}
	if e, ok := f.decode(key, t, t.seq, t.body); ok {
		f.start(t, &e)
	}
	t.body = nil
}

// decode decodes an event about an entity that the report has.
func (f *Fold) decode(key string, t *timeline, seq uint64, body []byte) (event.Event, bool) {
	_, e, err := f.decoder.Decode(body)
	row := e.Row()
	if err != nil || e.EntityBase() == nil || e.ViewKey() != key || row != nil && row.After.IsZero() && !e.Removes() {
		f.foreign++
		f.holes = append(f.holes, hole{key: key, before: seq, from: never, to: f.made})
		return e, false
	}
	if !counts(&e) {
		t.done = true
		return e, false
	}
	t.kind = e.Kind()
	t.id, t.rule = id(&e)
	switch t.kind {
	case "availability":
		t.sights = &f.checks
	case "threshold":
		t.sights = &f.gaps
	default:
		t.sights = &f.rows
	}
	return e, true
}

// checkedUntil is until when availabilities were checked, by the last checkpoint.
func (f *Fold) checkedUntil() int64 {
	if until := f.last.AvailabilityUntil; !until.IsZero() {
		return nanos(until.Time)
	}
	return nanos(f.last.ObservedUntil.Time)
}

// end counts what is after the last checkpoint.
func (f *Fold) end() {
	observed := nanos(f.last.ObservedUntil.Time)
	if f.openEnd {
		f.until = f.made
	}
	f.gaps.add(observed, forever)
	f.rows.add(observed, forever)
	if f.missing != never {
		f.rows.add(f.missing, forever)
	}
	f.checks.add(f.checkedUntil(), forever)
	for key, t := range f.timelines {
		f.decodeBase(key, t)
		f.finish(t)
	}
}
