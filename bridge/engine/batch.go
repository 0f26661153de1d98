package engine

import (
	"iter"
	"slices"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/diff"
)

// Batch is what one observation gives: the events to publish, and what holds once
// all of them are stored.
type Batch struct {
	// Err is why the source was not seen; nil after a good poll.
	Err error
	// Problems say what is wrong with a snapshot that is used all the same.
	Problems []string
	// SkippedRows counts the rows of the snapshot that are not used, by reason;
	// nil without a snapshot.
	SkippedRows map[string]int

	poll          uint64
	at            time.Time
	received      time.Time     // when the answer was that the changes are from
	gap           bool          // it ended a time without sight
	changes       *diff.Changes // which pending events come of; good until the batch is done with
	pending       []pendingEvent
	status        string
	observedUntil time.Time
	missingSince  time.Time
	observing     []diff.Kind

	index uint64          // of the last event that was given an id
	omit  map[string]bool // entities of which an event is left out
}

// Poll is the number of the observation.
func (b *Batch) Poll() uint64 { return b.poll }

// Len counts the events, checkpoints not included.
func (b *Batch) Len() int { return len(b.pending) }

// At is when the observation was made.
func (b *Batch) At() time.Time { return b.at }

// add adds events that are built already.
func (b *Batch) add(events ...event.Event) {
	for i := range events {
		b.pending = append(b.pending, pendingEvent{built: &events[i]})
	}
}

// Chunk is the part of a batch that is stored at once.
type Chunk struct {
	// Events are good until the next chunk is asked for. The checkpoint is the
	// last one.
	Events []event.Event
	// Part of Parts is which one it is.
	Part, Parts int

	batch *Batch
	first uint64 // index of the first event
}

// Poll is that of the batch.
func (c *Chunk) Poll() uint64 { return c.batch.poll }

// Chunks gives a batch in as many chunks of at most size events as it takes, the
// checkpoint included; one at least. Each must be acknowledged by [Engine.Ack]
// before the next one is asked for.
func (e *Engine) Chunks(b *Batch, size int) iter.Seq[*Chunk] {
	return func(yield func(*Chunk) bool) {
		// What a large batch needed is not kept for the small ones after it.
		defer func() { e.builder = builder{} }()
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

// Omit leaves the entities of some events out of a chunk and of those that come
// after it, as if they had not been seen: a later event would join on to one that
// no reader has. The checkpoint stays.
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

// close leaves out what must be left out, adds the checkpoint and numbers all.
func (e *Engine) close(c *Chunk) {
	b := c.batch
	if len(b.omit) > 0 {
		c.Events = slices.DeleteFunc(c.Events, func(ev event.Event) bool { return b.omit[entityKey(&ev)] })
	}
	c.Events = append(c.Events, e.checkpoint(b, c.Events, c.Part, c.Parts))
	for i := range c.Events {
		c.Events[i].ID = event.ID{Epoch: e.epoch, Poll: b.poll, Index: c.first + uint64(i)}
	}
	b.index = c.first + uint64(len(c.Events)) - 1
}

// entityKey names what an event joins on to.
func entityKey(ev *event.Event) string {
	if key := ev.ViewKey(); key != "" {
		return key
	}
	return ev.CESubject()
}

// Ack takes note that the stream holds a chunk.
func (e *Engine) Ack(c *Chunk) {
	for i := range c.Events {
		e.published.apply(&c.Events[i])
	}
	if c.Part < c.Parts {
		return
	}
	e.published.state.Release()
	e.observed.until, e.observed.missingSince = c.batch.observedUntil, c.batch.missingSince
}
