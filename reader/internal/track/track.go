// Package track finds the holes among the events of a tenant.
package track

import (
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"bpcc-nats/bridge/event"
)

// Message is a message of a stream.
type Message struct {
	Seq     uint64
	Stored  time.Time
	Subject string
	Header  nats.Header
	Body    []byte
	Pending uint64 // messages to read that were stored after it
}

// ID is the Nats-Msg-Id of the message.
func (m *Message) ID() string { return m.Header.Get(nats.MsgIdHdr) }

// Checkpoint is what a checkpoint says of its batch.
type Checkpoint struct {
	ID  event.ID
	Seq uint64
	// Follows is the id of the checkpoint before.
	Follows string
}

// Hole says that events are missing between two others.
type Hole struct {
	// Key is the entity of which events are missing; "" where all subjects are read.
	Key string
	// After and Before are the events around the hole, AfterSeq and BeforeSeq their sequences, 0 if not known.
	After, Before       event.ID
	AfterSeq, BeforeSeq uint64
	// Missing is how many events are missing, or at least are.
	Missing uint64
	AtLeast bool
}

// Tracker compares each event, in the order of the stream, with those before. Where all subjects of the
// tenant are read it finds holes by the ids, which are positions; else by the revisions of each entity. It
// is used by one goroutine.
type Tracker struct {
	// MaxAge is after which time events leave the stream; 0 = never.
	MaxAge time.Duration

	tenant   string
	patterns [][]string // the tokens of each subject that is read; none = all

	last    event.ID // of the last event
	lastSeq uint64   // its sequence; 0 = not known
	begun   bool     // last is known
	// Of the batch that is not closed yet: whether there is one, how many of its events were read, and the
	// first of them.
	open     bool
	count    int
	first    event.ID
	firstSeq uint64
	// checkpoint is the last checkpoint, and its sequence; closed is false before the first one.
	checkpoint    event.ID
	checkpointSeq uint64
	closed        bool
	holes         []Hole // since the last checkpoint
	chains        map[string]chain
}

// chain is the end of an entity's chain of events.
type chain struct {
	last   event.ID
	seq    uint64
	by     chainKind
	number uint64 // of the chain's kind
	stored time.Time
}

// chainKind is what proves an entity's chain complete.
type chainKind int

const (
	byNothing       chainKind = iota + 1
	byRevision                // all events about the entity are read
	byStateRevision           // all changes of an agent's state are read
)

// New returns a tracker of the events on some subjects below the tenant; none are all.
func New(tenant string, subjects []string) *Tracker {
	t := &Tracker{tenant: tenant, chains: map[string]chain{}}
	for _, s := range subjects {
		if s == ">" {
			t.patterns = nil
			return t
		}
		t.patterns = append(t.patterns, strings.Split(s, "."))
	}
	return t
}

// whole reports whether all subjects of the tenant are read.
func (t *Tracker) whole() bool { return len(t.patterns) == 0 }

// StartAfter makes the tracker expect what follows an event. seq is its sequence, 0 if the event is not in
// the stream any more.
func (t *Tracker) StartAfter(id event.ID, seq uint64, isCheckpoint bool) {
	t.last, t.lastSeq, t.begun = id, seq, true
	if t.open = !isCheckpoint && seq > 0; !t.open {
		t.checkpoint, t.checkpointSeq, t.closed = id, seq, true
	}
}

// StartWith makes the tracker expect what follows the last event about an entity.
func (t *Tracker) StartWith(key string, id event.ID, seq, revision uint64, at time.Time) {
	t.chains[key] = chain{id, seq, byRevision, revision, at}
}

// Last returns the id of the last event, and whether there was one.
func (t *Tracker) Last() (event.ID, bool) { return t.last, t.begun }

// Batch returns how many events were read since the last checkpoint, and the first of them.
func (t *Tracker) Batch() (count int, first event.ID) { return t.count, t.first }

// Find returns the holes that a message shows.
func (t *Tracker) Find(h *Head, m *Message, checkpoint *Checkpoint) []Hole {
	var holes []Hole
	if t.whole() {
		if hole := t.holeBefore(h, m); hole != nil {
			holes = append(holes, *hole)
		}
	} else if hole := t.holeInChain(h, m); hole != nil {
		holes = append(holes, *hole)
	}
	if checkpoint == nil || !t.ReadsCheckpoints() {
		return holes
	}
	if hole := t.holeBeforeBatch(checkpoint, append(t.holes, holes...)); hole != nil {
		holes = append(holes, *hole)
	}
	return holes
}

// holeBefore compares the position of an event with that of the event before. The index counts the events
// of a poll, checkpoints included.
func (t *Tracker) holeBefore(h *Head, m *Message) *Hole {
	hole := Hole{After: t.last, AfterSeq: t.lastSeq, Before: h.ID, BeforeSeq: m.Seq}
	switch {
	case !t.begun:
		return nil
	case h.ID.Epoch == t.last.Epoch && h.ID.Poll == t.last.Poll:
		hole.Missing = h.ID.Index - t.last.Index - 1
	case t.open: // the checkpoint of the batch before is missing, and perhaps more before it
		hole.Missing, hole.AtLeast = h.ID.Index, true
	default:
		hole.Missing = h.ID.Index - 1
	}
	if hole.Missing == 0 {
		return nil
	}
	return &hole
}

// holeBeforeBatch compares what a checkpoint follows with the checkpoint before: only that shows that
// whole polls are missing. It returns nil if another hole shows it already.
func (t *Tracker) holeBeforeBatch(c *Checkpoint, found []Hole) *Hole {
	if !t.closed || c.Follows == "" {
		return nil
	}
	follows, err := event.ParseID(t.tenant, c.Follows)
	if err != nil || follows == t.checkpoint {
		return nil
	}
	before, beforeSeq := c.ID, c.Seq
	if t.whole() && t.count > 0 {
		before, beforeSeq = t.first, t.firstSeq
	}
	for _, hole := range found {
		if hole.After.Compare(follows) < 0 && follows.Compare(hole.Before) < 0 {
			return nil
		}
	}
	return &Hole{
		Key: t.checkpointKey(), After: t.checkpoint, AfterSeq: t.checkpointSeq, Before: before, BeforeSeq: beforeSeq, Missing: 1, AtLeast: true,
	}
}

// checkpointKey is the Key of a hole among the checkpoints.
func (t *Tracker) checkpointKey() string {
	if t.whole() {
		return ""
	}
	return event.ViewKey(event.Checkpoint)
}

// ReadsCheckpoints reports whether all checkpoints are read.
func (t *Tracker) ReadsCheckpoints() bool {
	return t.whole() || t.covered(strings.Split(event.Checkpoint, "."), false)
}

// covered reports whether a subject is read; with anyVerb, whether it is read with any last token.
func (t *Tracker) covered(subject []string, anyVerb bool) bool {
	return slices.ContainsFunc(t.patterns, func(p []string) bool {
		for i, token := range p {
			switch {
			case token == ">":
				return i < len(subject)
			case i >= len(subject):
				return false
			case token == "*":
			case token != subject[i] || anyVerb && i == len(subject)-1:
				return false
			}
		}
		return len(p) == len(subject)
	})
}

// chainOf returns the entity of an event, and what proves its chain complete. Where all subjects are read
// the ids prove it.
func (t *Tracker) chainOf(h *Head) (string, chainKind) {
	if t.whole() || h.Revision == 0 {
		return "", byNothing
	}
	key := h.Rest[:strings.LastIndexByte(h.Rest, '.')]
	if c, ok := t.chains[key]; ok {
		return key, c.by
	}
	tokens := strings.Split(h.Rest, ".")
	if t.covered(tokens, true) {
		return key, byRevision
	}
	tokens[len(tokens)-1] = "state_changed"
	if tokens[0] == string(event.Agent) && t.covered(tokens, false) {
		return key, byStateRevision
	}
	return key, byNothing
}

// holeInChain compares the number of an event with that of the event before about the same entity.
func (t *Tracker) holeInChain(h *Head, m *Message) *Hole {
	key, kind := t.chainOf(h)
	c, known := t.chains[key]
	if !known || kind == byNothing {
		return nil
	}
	number, want := h.Revision, c.number+1
	if kind == byStateRevision {
		if h.State == 0 || c.number == 0 {
			return nil // of a version that did not count states
		}
		number = h.State
		if h.Name != event.StateChanged {
			want = c.number
		}
	}
	// The numbers of an entity begin again when it comes back after its last event has expired.
	if number <= want && (number == want || number == 1 && t.MaxAge > 0 && m.Stored.Sub(c.stored) >= t.MaxAge) {
		return nil
	}
	hole := &Hole{Key: key, After: c.last, AfterSeq: c.seq, Before: h.ID, BeforeSeq: m.Seq}
	if number > want {
		hole.Missing = number - want
	} else {
		hole.Missing, hole.AtLeast = 1, true
	}
	return hole
}

// Advance takes the message as the last one.
func (t *Tracker) Advance(h *Head, m *Message, checkpoint *Checkpoint, holes []Hole) {
	if key, kind := t.chainOf(h); kind != byNothing {
		number := h.Revision
		if kind == byStateRevision {
			number = h.State
		}
		t.chains[key] = chain{h.ID, m.Seq, kind, number, m.Stored}
	}
	t.last, t.lastSeq, t.begun = h.ID, m.Seq, true
	if t.open = checkpoint == nil; !t.open {
		t.checkpoint, t.checkpointSeq, t.closed = h.ID, m.Seq, true
		t.count, t.first, t.holes = 0, event.ID{}, t.holes[:0]
		return
	}
	if t.count == 0 {
		t.first, t.firstSeq = h.ID, m.Seq
	}
	t.count++
	if t.whole() {
		t.holes = append(t.holes, holes...)
	}
}
