package past

import (
	"time"

	"bpcc-nats/bridge/event"
)

// margin is by how much a checkpoint must be older than the instant for its batch to be before it: the end of
// a window is rounded up.
const margin = 2 * time.Millisecond

// IsBefore reports whether all that a checkpoint closes was before an instant. The checkpoint was made at
// the other one.
func IsBefore(made, at time.Time) bool { return !made.Add(margin).After(at) }

// Fold collects the events of a tenant around an instant, in the order of the stream, and decides what is
// known of it. All of them may be added, or of an entity those around the instant with the checkpoints and
// the gaps there. It is used by one goroutine.
type Fold struct {
	at time.Time

	chains  map[string]*chain
	pending []pending // since the last checkpoint
	passed  bool      // a checkpoint after the instant was seen

	first, then, next, last checkpoint // of those that were added; then is the last by the instant, next the one after it
	begins                  bool       // first follows nothing
	firstGood               time.Time  // when the first checkpoint with an observation was made
	missing                 time.Time  // since when rows were missing around the instant; zero = none were
	clockSet                bool

	gapBefore, gapAt, gapAfter *event.ResumedData

	unreadable uint64 // messages since the last event

	holes   []hole
	foreign map[string]uint64 // messages by key
}

type pending struct {
	key string
	m   Message
}

// checkpoint is a checkpoint, and where it is.
type checkpoint struct {
	data *event.CheckpointData
	id   event.ID
	seq  uint64
	time time.Time
}

// chain holds the events about one entity that matter.
type chain struct {
	base  *Message // the last one of a poll before the instant
	later []change
	done  bool // the last one began after the instant
	seq   uint64
}

// hole is where events are missing.
type hole struct {
	reason   Reason
	messages uint64
	before   uint64 // sequence of the event after it
	from, to time.Time
}

// New returns a fold for an instant.
func New(at time.Time) *Fold {
	return &Fold{at: at, chains: map[string]*chain{}, foreign: map[string]uint64{}}
}

// Event adds an event about an entity, by its key in the view below the tenant.
func (f *Fold) Event(key string, m Message) {
	f.unreadable = 0
	f.pending = append(f.pending, pending{key, m})
}

// Checkpoint adds a checkpoint that closes the events since the one before. The time is that of the event.
func (f *Fold) Checkpoint(d *event.CheckpointData, id event.ID, seq uint64, made time.Time) {
	c := checkpoint{d, id, seq, made}
	f.unreadable = 0
	if f.first.data == nil {
		f.first, f.begins = c, d.Follows == ""
	}
	for i := range f.holes {
		if f.holes[i].to.IsZero() {
			f.holes[i].to = made
		}
	}
	before := IsBefore(made, f.at)
	if before && f.passed {
		f.clockSet = true
	}
	if f.firstGood.IsZero() && !d.ObservedUntil.IsZero() {
		f.firstGood = made
	}
	if before && !f.passed {
		f.then, f.missing = c, d.MissingSince.Time
	} else if !f.passed {
		f.passed, f.next = true, c
		if since := d.MissingSince.Time; !since.IsZero() && since.Before(f.at) {
			f.missing = since
		}
	}
	for _, p := range f.pending {
		f.take(p, before && !f.clockSet)
	}
	f.pending, f.last = f.pending[:0], c
}

// take adds an event to the chain of its entity.
func (f *Fold) take(p pending, before bool) {
	c := f.chains[p.key]
	if c == nil {
		c = &chain{}
		f.chains[p.key] = c
	}
	c.seq = p.m.Seq
	switch {
	case before:
		c.base = &p.m
		return
	case c.done:
		return
	}
	decoded, err := p.m.Source.Decode()
	if err != nil || decoded.EntityBase() == nil {
		f.Foreign(p.key)
		return
	}
	c.later = append(c.later, change{p.m, decoded})
	// What comes later is of windows that begin later, too.
	c.done = !decoded.EntityBase().Observed.After.Before(f.at)
}

// Gap adds a gap that has ended. Gaps may overlap: one in which the source was frozen begins where its statistics
// were first seen, and there may have been others since.
func (f *Fold) Gap(d *event.ResumedData) {
	w := d.Observed
	switch {
	case !w.By.After(f.at):
		if f.gapBefore == nil || f.gapBefore.Observed.By.Before(w.By.Time) {
			f.gapBefore = d
		}
	case w.After.Before(f.at):
		if f.gapAt == nil || !f.gapAt.Observed.After.Before(w.After.Time) {
			f.gapAt = d
		}
	case f.gapAfter == nil || w.After.Before(f.gapAfter.Observed.After.Time):
		f.gapAfter = d
	}
}

// Hole adds a hole before the next event, which has this sequence.
func (f *Fold) Hole(reason Reason, messages, before uint64) {
	h := hole{reason: reason, messages: messages, before: before}
	if f.last.data != nil {
		h.from = f.last.data.ObservedUntil.Time
	}
	f.holes = append(f.holes, h)
}

// Foreign adds a message that no bridge wrote on the subjects of an entity.
func (f *Fold) Foreign(key string) { f.foreign[key]++ }

// Has reports whether an event about an entity was added.
func (f *Fold) Has(key string) bool { return f.chains[key] != nil }

// Holes reports whether a hole was added.
func (f *Fold) Holes() bool { return len(f.holes) > 0 }

// Begins reports whether the stream holds the tenant's first checkpoint.
func (f *Fold) Begins() bool { return f.begins }

// Unreadable adds messages that the server cannot load. Where they are of the tenant, a hole follows, unless
// the stream ends.
func (f *Fold) Unreadable(first, last uint64) { f.unreadable = last - first + 1 }
