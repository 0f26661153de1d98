package reader

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/event"
)

// batch returns what the checkpoint at a sequence closes.
func (c *consumption) batch(ctx context.Context, seq uint64, d *event.CheckpointData) (Batch, error) {
	if c.batches == nil || c.batches.past >= seq {
		c.stop()
		// A batch is stored at once, so that its events are just before its checkpoint.
		from := AtSequence(seq - min(uint64(d.Events), seq-1))
		if c.floor.seq >= seq {
			c.floor.id = event.ID{}
		}
		if !c.floor.seen {
			from.floor = c.floor
		}
		c.batches = c.r.readBatches(ctx, from, c.options.Subjects)
	}
	b, err := c.batches.until(seq)
	if err != nil {
		c.stop()
		return Batch{}, err
	}
	if !c.floor.seen && c.floor.seq > 0 && c.floor.id == (event.ID{}) {
		h := &Hole{Before: b.Checkpoint.ID, BeforeSeq: b.Checkpoint.Seq, Missing: 1, AtLeast: true, Cause: HoleExpired}
		b.Notes = append([]Item{h}, b.Notes...)
	}
	c.floor.seen = true
	c.trim(&b)
	return b, nil
}

// trim leaves what is to be handed over: the events that are not done, and that decode, so that none can
// make a handler fail for ever.
func (c *consumption) trim(b *Batch) {
	b.Events = slices.DeleteFunc(b.Events, func(e *Event) bool {
		if e.ID.Compare(c.options.After) <= 0 {
			return true
		}
		decoded, err := e.Decode()
		if err != nil {
			b.Notes = append(b.Notes, &Foreign{e.Seq, e.Stored, e.Subject, e.Body, err})
			return true
		}
		e.decoded = &decoded
		return false
	})
}

// errEnded is returned when a reading that follows the stream ends without an error.
var errEnded = errors.New("the reading has ended")

// batchReader reads one batch after the other.
type batchReader struct {
	pull func() (Batch, error, bool)
	stop func()
	past uint64 // the checkpoint of the last batch that was returned
	held *Batch // one that was read too early
}

// readBatches reads batches from a place in the stream on, with the events on some subjects.
func (r *Reader) readBatches(ctx context.Context, from Start, subjects []string) *batchReader {
	all := r.Events(ctx, from, EventsOptions{Subjects: withCheckpoints(subjects), Follow: true})
	pull, stop := iter.Pull2(Batches(all))
	return &batchReader{pull: pull, stop: stop}
}

// until returns the batch that the checkpoint at a sequence closes, and passes over those before it, which
// another process has done. It is an empty batch if the checkpoint is a copy of an older one.
func (b *batchReader) until(seq uint64) (Batch, error) {
	b.past = seq
	for {
		if b.held == nil {
			batch, err, ok := b.pull()
			switch {
			case !ok:
				return Batch{}, errEnded
			case err != nil:
				return Batch{}, err
			}
			b.held = &batch
		}
		batch := *b.held
		if batch.Checkpoint.Seq > seq {
			return Batch{Checkpoint: batch.Checkpoint}, nil
		}
		b.held = nil
		if batch.Checkpoint.Seq == seq {
			return batch, nil
		}
	}
}

// withCheckpoints returns subjects that include the checkpoints.
func withCheckpoints(subjects []string) []string {
	if t := newTracker("", subjects, nil); t.ReadsCheckpoints() {
		return subjects
	}
	return append(slices.Clone(subjects), event.Checkpoint)
}

// work hands a batch over until the handler returns nil, or the batch is given up.
func (c *consumption) work(ctx context.Context, msg jetstream.Msg, b Batch) error {
	if len(c.options.Subjects) > 0 && len(b.Events)+len(b.Notes) == 0 {
		return nil
	}
	stop := c.keepAlive(ctx, msg)
	defer stop()
	pause := retryPause
	for attempt := 1; ; attempt++ {
		err := c.handle(ctx, b)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case c.options.OnFailure != nil && c.options.OnFailure(Failure{b, attempt, err}):
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
		pause = min(2*pause, retryPauseMax)
	}
}

// keepAlive tells the server that a batch is worked on, until stop is called.
func (c *consumption) keepAlive(ctx context.Context, msg jetstream.Msg) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(c.options.AckWait / 3)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				_ = msg.InProgress() // if it is lost, the batch may come again
			}
		}
	}()
	return func() { cancel(); <-done }
}
