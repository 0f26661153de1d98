package bridge

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/outage"
	"bpcc-nats/bridge/publish"
	"bpcc-nats/bridge/recovery"
	"bpcc-nats/bridge/scan"
	"bpcc-nats/bridge/stream"
)

// ErrFenced is returned when another writer has stored a checkpoint of this tenant: another
// instance has taken over. Nothing of the refused batch is stored, and this writer must step down.
var ErrFenced = errors.New("another instance writes this tenant's events")

// commit stores a batch and its checkpoints, and acknowledges to the engine what the stream has
// stored. It returns when all is stored, when the writer is fenced ([ErrFenced]), when the stream
// is missing, when the server is too old ([stream.ErrServerVersion]), or when ctx ends ([ErrUnfinished]).
// Until then the bridge neither polls nor queues: it waits for the stream.
func (b *Bridge) commit(ctx context.Context, batch *engine.Batch) error {
	began := b.now()
	err := b.commitChunks(ctx, batch)
	b.metrics.countCommit(b.config.Tenant, b.now().Sub(began), err)
	if err != nil {
		return err
	}
	b.lastCommit = b.now()
	if b.lastCommit.Sub(began) > b.config.BPCC.PollInterval {
		b.engine.Blocked(b.lastCommit)
	}
	return nil
}

// commitChunks stores a batch in as many atomic batches as necessary.
func (b *Bridge) commitChunks(ctx context.Context, batch *engine.Batch) error {
	buffer := b.shared.buffers.Get()
	defer b.shared.buffers.Put(buffer)
	for chunk := range b.engine.Chunks(batch, event.BatchLimit) {
		seq, err := b.publishChunk(ctx, chunk, buffer)
		if err != nil {
			return fmt.Errorf("commit poll %d, part %d of %d: %w", batch.Poll(), chunk.Part, chunk.Parts, err)
		}
		b.fence, b.checkpoint = seq, append(b.checkpoint[:0], buffer.Last()...)
		b.engine.Ack(chunk)
		b.updateAnswers(chunk.Events)
		b.logHead(chunk.Events)
		b.metrics.countStored(b.config.Tenant, chunk.Events)
	}
	return nil
}

// encode encodes the messages of a chunk, without the entities that have an event larger than the
// server accepts.
func (b *Bridge) encode(chunk *engine.Chunk, buffer *publish.Buffer) ([]*nats.Msg, error) {
	for {
		msgs, err := buffer.Encode(b.encoder, event.Prefix(b.config.Tenant), b.removalTTL, b.checkpoint, chunk.Events)
		if err != nil {
			return nil, err
		}
		if !b.omitOversize(chunk, msgs) {
			return msgs, publish.Sign(b.config.Events.SigningKey, msgs[len(msgs)-1])
		}
	}
}

// logHead logs the checkpoint of a chunk that is stored, as often as is configured.
func (b *Bridge) logHead(events []event.Event) {
	interval := b.config.Events.HeadLogInterval
	last := &events[len(events)-1]
	d, ok := last.Data.(*event.CheckpointData)
	if interval == 0 || !ok || b.now().Sub(b.headLogged) < interval {
		return
	}
	b.headLogged = b.now()
	b.log.Info("head", "id", last.MsgID(), "chain", d.Chain, "sequence", b.fence)
}

// publishChunk publishes a chunk as one atomic batch with the fence and returns the checkpoint's
// sequence. After any error it reads the last checkpoint of the stream. If it is this chunk's, the
// chunk is stored. If it is the previous one, the chunk is sent again. If it is another writer's,
// this writer is fenced. A foreign message only moves the fence.
func (b *Bridge) publishChunk(ctx context.Context, chunk *engine.Chunk, buffer *publish.Buffer) (uint64, error) {
	msgs, err := b.encode(chunk, buffer)
	if err != nil {
		return 0, err
	}
	var failing outage.Outage
	var missingSince time.Time // since when the stream is known to be missing
	foreignSkipped := 0        // retries because of foreign messages after the fence
	for backoff := 50 * time.Millisecond; ; backoff = min(2*backoff, 2*time.Second) {
		b.progress.note(b.now())
		seq, failed := b.publishOrConfirm(ctx, msgs)
		if failed == nil {
			b.endOutage(&failing)
			return seq, nil
		}
		switch {
		case errors.Is(failed.publish, stream.ErrServerVersion):
			return 0, stream.AsUnavailable(failed.publish) // the next term recovers what is stored
		case errors.Is(failed.confirm, ErrFenced):
			return 0, failed.confirm
		case ctx.Err() != nil, b.js.Conn().IsClosed():
			return 0, fmt.Errorf("%w: %v", ErrUnfinished, failed.publish)
		case errors.Is(failed.confirm, event.ErrForeign) && foreignSkipped < maxForeignSkips:
			foreignSkipped++
			continue
		case errors.Is(failed.confirm, errFenceUnreadable) && b.fence > 0:
			// After such a checkpoint the server expects 0.
			b.log.Warn("last checkpoint unreadable, continuing after it", "sequence", b.fence, "err", failed.confirm)
			b.fence = 0
			continue
		case errors.Is(failed.confirm, errHistoryLost) && publish.IsWrongSequence(failed.publish):
			// Both the write and the read report it, so it is not a replica that is behind.
			return 0, failed.confirm
		case b.anyOversize(msgs): // the limit was lowered
			b.setBlocked("")
			if msgs, err = b.encode(chunk, buffer); err != nil {
				return 0, err
			}
			continue
		case !errors.Is(failed.confirm, jetstream.ErrStreamNotFound):
			missingSince = time.Time{}
		case missingSince.IsZero():
			missingSince = b.now()
		case b.now().Sub(missingSince) >= b.config.Times().RecreateAfter:
			return 0, fmt.Errorf("%w: %w", stream.ErrUnavailable, failed.confirm)
		}
		b.reportFailed(&failing, failed.cause(), len(msgs))
		select {
		case <-ctx.Done():
		case <-time.After(backoff):
		}
	}
}

// endOutage ends the outage that the attempts to publish a chunk saw, if there was one.
func (b *Bridge) endOutage(failing *outage.Outage) {
	if lasted, was := failing.End(b.now()); was {
		b.setBlocked("")
		b.log.Info("publish succeeded again", "after", lasted)
	}
}

// reportFailed reports an attempt that failed and is repeated: in health, metrics, and the log.
func (b *Bridge) reportFailed(failing *outage.Outage, err error, messages int) {
	err = b.noteStorage(err)
	b.metrics.countFailed(b.config.Tenant)
	b.setBlocked("publish failed: " + stream.Explain(b.config.Stream, err))
	if lasts, due := failing.Failed(b.now(), err.Error()); due {
		b.log.Warn("publish failed, retrying the same batch", "err", err, "lasts", lasts, "messages", messages, "hint", stream.Hint(b.config.Stream, err))
	}
}

// maxForeignSkips is how many times in a row a batch is sent again at once because of foreign
// messages after the fence. After that the retries are delayed.
const maxForeignSkips = 3

// ErrUnfinished is returned by [Bridge.Run] when it was stopped while the stream was not writable.
// The next start publishes what is missing.
var ErrUnfinished = errors.New("shutdown: last batch was not acknowledged")

// failure is why a chunk is not stored: the error of the write, and what the stream says of it.
type failure struct{ publish, confirm error }

// cause is the one of the two errors that says more.
func (f *failure) cause() error {
	switch {
	case errors.Is(f.confirm, jetstream.ErrStreamNotFound), errors.Is(f.confirm, stream.ErrSubjectMissing),
		errors.Is(f.publish, jetstream.ErrNoStreamResponse) && !errors.Is(f.confirm, errNotStored):
		return f.confirm
	}
	return f.publish
}

// publishOrConfirm sends a chunk once. After an error it reads whether the stream holds the chunk nevertheless,
// unless the server is too old.
func (b *Bridge) publishOrConfirm(ctx context.Context, msgs []*nats.Msg) (uint64, *failure) {
	seq, err := b.publishOnce(ctx, msgs)
	if err == nil {
		return seq, nil
	}
	if errors.Is(err, stream.ErrServerVersion) {
		return 0, &failure{publish: err}
	}
	seq, confirmErr := b.confirmCheckpoint(ctx, msgs[len(msgs)-1])
	if confirmErr == nil {
		return seq, nil
	}
	return 0, &failure{publish: err, confirm: confirmErr}
}

// publishOnce sends a chunk once, the last message with the fence, but not to a server that is too
// old.
func (b *Bridge) publishOnce(ctx context.Context, msgs []*nats.Msg) (uint64, error) {
	if err := stream.CheckServer(b.js.Conn()); err != nil {
		return 0, err
	}
	checkpoint := msgs[len(msgs)-1]
	checkpoint.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(b.fence, 10))
	return b.shared.publisher.Publish(ctx, msgs)
}

var (
	errNotStored = errors.New("batch not stored")
	// errHistoryLost is returned when the last checkpoint is missing: the stream was purged or
	// recreated, or the message was deleted.
	errHistoryLost = errors.New("stream lost its last checkpoint")
	// errFenceUnreadable is returned when the stream holds the last checkpoint and the server cannot load
	// it.
	errFenceUnreadable = errors.New("server cannot load the last checkpoint")
)

// confirmCheckpoint reads the stream to find out whether it holds this checkpoint. It returns nil
// and the sequence if so, [ErrFenced] if another writer's newer checkpoint is there.
func (b *Bridge) confirmCheckpoint(ctx context.Context, checkpoint *nats.Msg) (uint64, error) {
	// A stream without a leader never responds, and the next attempt reads again: a longer wait
	// would only delay the next poll.
	ctx, cancel := context.WithTimeout(ctx, b.config.Times().AckTimeout)
	defer cancel()
	prevErr := b.js.Conn().LastError()
	events, err := b.js.Stream(ctx, b.config.Stream.Name)
	if err = stream.Cause(b.js.Conn(), prevErr, err); err != nil {
		return 0, fmt.Errorf("read last checkpoint: %w", err)
	}
	b.streamMaxMsgSize = int(events.CachedInfo().Config.MaxMsgSize)
	last, err := events.GetLastMsgForSubject(ctx, checkpoint.Subject)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound) && b.fence > 0:
		info, err := events.Info(ctx, jetstream.WithSubjectFilter(checkpoint.Subject))
		if err == nil && info.State.Subjects[checkpoint.Subject] > 0 {
			return 0, errFenceUnreadable
		}
		return 0, errHistoryLost
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return 0, cmp.Or(stream.CheckSubjects(b.config.Stream, events.CachedInfo()), errNotStored)
	case err != nil:
		return 0, fmt.Errorf("read last checkpoint: %w", err)
	case bytes.Equal(last.Data, checkpoint.Data):
		return last.Sequence, nil
	case last.Sequence < b.fence:
		return 0, errHistoryLost
	case last.Sequence > b.fence:
		return b.scanPastFence(ctx, checkpoint)
	}
	// Sending again is safe because of the fence.
	return 0, cmp.Or(stream.CheckSubjects(b.config.Stream, events.CachedInfo()), errNotStored)
}

// scanPastFence reads the messages on the checkpoints' subject after the fence, from the first on.
// If one is this checkpoint, it returns its sequence. If one is another checkpoint, this writer is
// fenced. A foreign message is neither: the fence moves to it, and event.ErrForeign says that the
// batch may be sent again. All messages there are read, so a checkpoint after a foreign message
// still fences.
func (b *Bridge) scanPastFence(ctx context.Context, checkpoint *nats.Msg) (seq uint64, err error) {
	result := errNotStored
	err = scan.All(ctx, b.js, b.config.Stream.Name, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{checkpoint.Subject},
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:    b.fence + 1,
	}, func(msg jetstream.Msg, seqHere uint64) error {
		if bytes.Equal(msg.Data(), checkpoint.Data) {
			seq, result = seqHere, nil
			return scan.ErrStop
		}
		e, err := recovery.ParseMessage(nil, b.config.Tenant, msg)
		if err == nil {
			result = fmt.Errorf("%w: found checkpoint %s", ErrFenced, e.MsgID())
			return scan.ErrStop
		}
		b.foreignLog.LogMessage(b.config.Stream.Name, msg, seqHere, err)
		b.fence, result = seqHere, fmt.Errorf("%w on %s at sequence %d", event.ErrForeign, checkpoint.Subject, seqHere)
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("read checkpoints after the fence: %w", err)
	}
	return seq, result
}
