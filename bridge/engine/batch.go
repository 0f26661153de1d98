package engine

import (
	"iter"
	"slices"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/diff"
	"bpcc-nats/diff/image"
)

// Batch is the result of one observation: the events to publish, and the state that holds once all
// of them are stored.
type Batch struct {
	// Err is why there was no good poll; nil after one.
	Err error
	// Problems lists what is wrong with a snapshot that is used nevertheless.
	Problems []string
	// Unreadable lists the rules that the snapshot shows a text which they cannot read, each once a
	// term.
	Unreadable []UnreadableText
	// SkippedRows counts the rows of the snapshot that are skipped, by reason; nil without a
	// snapshot.
	SkippedRows map[string]int

	poll       uint64
	at         time.Time
	received   time.Time // when the response with the changes was received
	gap        bool      // the poll ended a gap
	changes    []diff.Change
	forgotten  map[image.Kind]bool // see [observed]
	pending    []pendingEvent
	status     string
	watermarks // that hold once all is stored
	observing  []image.Kind
	lastGap    event.Gap // that the stream holds

	index uint64          // of the last event that has an id
	omit  map[string]bool // entities of which an event is omitted
}

// Poll is the number of the poll.
func (b *Batch) Poll() uint64 { return b.poll }

// Len counts the events, checkpoints not included.
func (b *Batch) Len() int { return len(b.pending) }

// At is the time of the observation.
func (b *Batch) At() time.Time { return b.at }

// add adds events that are already built.
func (b *Batch) add(events ...event.Event) {
	for i := range events {
		b.pending = append(b.pending, pendingEvent{built: &events[i]})
	}
}

// Chunk is the part of a batch that one atomic batch stores.
type Chunk struct {
	// Events are valid until the next chunk is requested. The checkpoint is the last one.
	Events []event.Event
	// Part of Parts is its number.
	Part, Parts int

	batch *Batch
	first uint64 // index of the first event
}

// Poll is the number of the poll.
func (c *Chunk) Poll() uint64 { return c.batch.poll }

// Chunks yields a batch in chunks of at most size events, the checkpoint included; at least one.
// Each must be acknowledged by [Engine.Ack] before the next one is requested.
func (e *Engine) Chunks(b *Batch, size int) iter.Seq[*Chunk] {
	return func(yield func(*Chunk) bool) {
		e.takeBuilder()
		defer e.putBuilder()
		most := size - 1
		parts := max(1, (len(b.pending)+most-1)/most)
		for part := 1; part <= parts; part++ {
			from := (part - 1) * most
			c := &Chunk{Part: part, Parts: parts, batch: b, first: b.index + 1}
			c.Events = e.build(b, b.pending[from:min(from+most, len(b.pending))])
			e.close(c)
			if !yield(c) {
				return
			}
		}
	}
}

// takeBuilder makes the builder of an earlier batch ready for another one, if the garbage collector
// has not freed it.
func (e *Engine) takeBuilder() {
	if s, ok := e.idleBuilder.Get().(*builder); ok {
		e.builder = *s
	}
}

// putBuilder releases the builder's memory, of which a large batch needs much.
func (e *Engine) putBuilder() {
	s := &e.builder
	clear(s.events)
	clear(s.agents)
	e.idleBuilder.Put(&builder{events: s.events[:0], agents: s.agents[:0]})
	e.builder = builder{}
}

// Omit removes the entities of some events from a chunk and from the later chunks of its batch, as
// if they had not been observed: a later event would follow on one that no reader has. The
// checkpoint stays.
func (e *Engine) Omit(c *Chunk, events ...*event.Event) {
	if c.batch.omit == nil {
		c.batch.omit = map[string]bool{}
	}
	for _, ev := range events {
		c.batch.omit[entityKey(ev)] = true
	}
	c.Events = c.Events[:len(c.Events)-1]
	e.close(c)
}

// close removes omitted entities, adds the checkpoint and numbers the events.
func (e *Engine) close(c *Chunk) {
	b := c.batch
	if len(b.omit) > 0 {
		c.Events = slices.DeleteFunc(c.Events, func(ev event.Event) bool { return b.omits(&ev) })
	}
	c.Events = append(c.Events, e.checkpoint(b, c.Events, c.Part, c.Parts))
	for i := range c.Events {
		c.Events[i].ID = event.ID{Epoch: e.epoch, Poll: b.poll, Index: c.first + uint64(i)}
	}
	b.index = c.first + uint64(len(c.Events)) - 1
}

// omits reports whether an event is omitted: its entity is, or the one that its alert is about.
func (b *Batch) omits(ev *event.Event) bool {
	if d, ok := ev.Data.(*event.ThresholdData); ok && b.omit[event.RowKey(image.Kind(d.Entity.Kind), d.Entity.ID)] {
		return true
	}
	return b.omit[entityKey(ev)]
}

// entityKey identifies the chain that an event belongs to.
func entityKey(ev *event.Event) string {
	if key := ev.ViewKey(); key != "" {
		return key
	}
	return ev.CESubject()
}

// Ack applies the events of a chunk that the stream has stored.
func (e *Engine) Ack(c *Chunk) {
	for i := range c.Events {
		e.published.apply(&c.Events[i])
	}
	e.observed.clockSet = 0
	if c.Part < c.Parts {
		return
	}
	e.observed.watermarks = c.batch.watermarks
}
