// Package times compares the times of a tenant's events with each other, and with those at which they were stored.
package times

import (
	"fmt"
	"time"

	"bpcc-nats/bridge/event"
)

const (
	// Tolerance is by how much two times of one clock may differ for no other reason than that it is corrected.
	Tolerance = time.Second
	// ClockDifference is by how much the clock of a bridge and that of the NATS servers may differ.
	ClockDifference = 5 * time.Minute
	// pictureReach is how far windows and watermarks go back without an interruption, as after a source that has
	// repeated a picture: to the request that first showed it. The picture must have been the same for two
	// seconds, and BPCC_TIMEOUT is at most five minutes.
	pictureReach = 5*time.Minute + 2*time.Second + Tolerance
)

// Code is the code of a finding.
type Code string

// Codes.
const (
	Clock     Code = "clock"
	Time      Code = "time"
	Stored    Code = "stored"
	Watermark Code = "watermark"
	Window    Code = "window"
	Pending   Code = "since"
)

// Finding is what is wrong with the times of an event, or is worth a note.
type Finding struct {
	Code Code
	Text string
	// Note says that it is no fault.
	Note bool
	// UnlessSet says that it is no fault if the checkpoint of the batch, or the one before, states that the clock
	// was set.
	UnlessSet bool
}

// Store compares the times at which messages were stored, in the order of the stream. The zero Store is ready for
// use.
type Store struct{ last time.Time }

// Add adds the next message: the time of its event, and when it was stored.
func (s *Store) Add(at, stored time.Time) []Finding {
	var found findings
	if at.Sub(stored) > ClockDifference {
		found.fault(Stored, "stored at %s, before its time %s", event.Floor(stored), event.Floor(at))
	}
	if s.last.Sub(stored) > ClockDifference {
		found.fault(Stored, "stored at %s, after a message that was stored at %s", event.Floor(stored), event.Floor(s.last))
	}
	s.last = stored
	return found
}

// Tenant compares the times of one tenant's events, in the order of the stream. Where events are missing, it
// compares what is there. It begins with [New].
type Tenant struct {
	epoch  uint64
	clocks int       // counts the clocks: each term's, until it is set
	set    time.Time // when the present one may have been set in this term; zero = it was not
	begins bool      // the first checkpoint of the term is still to come

	poll    *poll
	by      time.Time // the window of an earlier poll ends then, by the same clock
	latest  time.Time // of the events since the last checkpoint
	entries map[string]entry

	// Of the last checkpoint.
	at             time.Time
	until, missing time.Time
	foreign        bool // until is by another clock, of an earlier term or before this one was set

	takenBack event.Time // the watermark of an interruption since the last checkpoint
	gapFrom   time.Time  // of an open gap
	gapClocks int        // when it began
}

// poll is what the events of one poll share.
type poll struct {
	number, epoch uint64
	by, appeared  event.Time // of the windows of its rows and rules, and where those of its new rows begin
	received      event.Time // when its response was received, by what is always new in it
	sent          time.Time  // zero if it is not known
}

// entry is the last event about an entity, or of a directory.
type entry struct {
	poll     *poll
	clocks   int
	after    event.Time
	seen     bool // the poll showed the entity
	absent   bool
	pending  event.Time // of a rule that is raised
	revision uint64
}

// New returns a Tenant without events.
func New() *Tenant { return &Tenant{poll: &poll{}, entries: map[string]entry{}} }

// NewClock says that the following events may be by another clock, as after a checkpoint that is missing.
func (t *Tenant) NewClock() {
	t.clocks++
	t.foreign, t.set, t.latest, t.by = true, t.at, time.Time{}, time.Time{}
}

// Clocks counts the clocks so far.
func (t *Tenant) Clocks() int { return t.clocks }

// Add compares the next event. key is that of its entity in the view, "" for an event without revisions; its window is
// nil if it has none.
func (t *Tenant) Add(e *event.Event, key string, w *event.Window) []Finding {
	var found findings
	if e.ID.Epoch != t.epoch {
		t.begin(e, &found)
	}
	if p := t.poll; p.number != e.ID.Poll || p.epoch != t.epoch {
		t.poll = &poll{number: e.ID.Poll, epoch: t.epoch}
	}
	if e.Time.After(t.latest) {
		t.latest = e.Time
	}
	if w != nil {
		t.window(e, key, *w, &found)
	}
	switch d := e.Data.(type) {
	case *event.CheckpointData:
		t.checkpoint(e, d, &found)
	case *event.FeedData:
		t.feed(e, d)
	}
	return found
}

// feed notes what an interruption says.
func (t *Tenant) feed(e *event.Event, d *event.FeedData) {
	if e.Name != event.Interrupted {
		return
	}
	t.takenBack = d.ObservedUntil
	if t.gapFrom.IsZero() {
		t.gapFrom, t.gapClocks = d.ObservedUntil.Time, t.clocks
	}
}

// begin begins a term.
func (t *Tenant) begin(e *event.Event, found *findings) {
	switch back := t.at.Sub(e.Time); {
	case t.at.IsZero():
	case back > 2*ClockDifference:
		found.fault(Clock, "the term begins at %s, after a checkpoint of %s", event.Floor(e.Time), event.Floor(t.at))
	case back > Tolerance:
		found.note("the term begins at %s, after a checkpoint of %s: the clock of its machine is behind", event.Floor(e.Time), event.Floor(t.at))
	}
	t.at = e.Time
	t.NewClock()
	t.epoch, t.begins, t.set = e.ID.Epoch, true, time.Time{}
}

// checkpoint compares a checkpoint with the events that it closes and with the one before.
func (t *Tenant) checkpoint(e *event.Event, d *event.CheckpointData, found *findings) {
	if t.latest.Sub(e.Time) > Tolerance {
		found.unlessSet(Time, "its time %s is before %s, that of an event of its batch", event.Floor(e.Time), event.Floor(t.latest))
	}
	if t.at.Sub(e.Time) > Tolerance {
		found.unlessSet(Clock, "its time %s is before %s, that of the checkpoint before", event.Floor(e.Time), event.Floor(t.at))
	}
	foreign := t.begins || t.foreign && d.ObservedUntil.Equal(t.until) // no poll of the term has observed the source
	latest, fall := Tolerance, pictureReach
	if foreign {
		latest = 2 * ClockDifference
	}
	if t.foreign {
		fall += 2 * ClockDifference
	}
	for _, until := range []struct {
		name   string
		at     event.Time
		latest time.Duration
	}{{"observed_until", d.ObservedUntil, latest}, {"missing_since", d.MissingSince, 2 * ClockDifference}, {"availability_until", d.AvailabilityUntil, 2 * ClockDifference}} {
		if until.at.Sub(e.Time) > until.latest {
			found.unlessSet(Watermark, "%s %s is after its time %s", until.name, until.at, event.Floor(e.Time))
		}
	}
	switch back := t.until.Sub(d.ObservedUntil.Time); {
	case d.ObservedUntil.IsZero() || back <= Tolerance:
	case back > fall:
		found.unlessSet(Clock, "observed_until falls from %s to %s", event.Floor(t.until), d.ObservedUntil)
	case !d.ObservedUntil.Equal(t.takenBack.Time): // a source that stood still is stated by an interruption
		found.note("observed_until falls from %s to %s: did the source stand still, or is it the clock of another machine?", event.Floor(t.until), d.ObservedUntil)
	}
	t.at, t.latest, t.begins, t.takenBack = e.Time, time.Time{}, false, event.Time{}
	if !d.ObservedUntil.IsZero() {
		t.until, t.missing, t.foreign = d.ObservedUntil.Time, d.MissingSince.Time, foreign
		if d.Part == d.Parts && d.Status == event.StatusLive {
			t.poll.sent = t.until
		}
	}
	if d.ClockSet != 0 {
		found.note("the clock of the machine was set by %v", time.Duration(d.ClockSet))
		t.NewClock()
	}
}

// findings are those of one event.
type findings []Finding

func (f *findings) fault(code Code, format string, args ...any) {
	*f = append(*f, Finding{Code: code, Text: fmt.Sprintf(format, args...)})
}

// unlessSet adds a fault that is none if the clock was set.
func (f *findings) unlessSet(code Code, format string, args ...any) {
	*f = append(*f, Finding{Code: code, Text: fmt.Sprintf(format, args...), UnlessSet: true})
}

func (f *findings) note(format string, args ...any) {
	*f = append(*f, Finding{Code: Clock, Text: fmt.Sprintf(format, args...), Note: true})
}
