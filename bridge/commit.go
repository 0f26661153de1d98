package bridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrFenced is returned when somebody else has written a checkpoint of this
// tenant: another bridge has taken over. Nothing of the refused batch is
// stored, and this writer must step down.
var ErrFenced = errors.New("another instance writes this tenant's events")

// contentType is that of an event in structured-mode JSON.
const contentType = "application/cloudevents+json"

// batchLimit is the most messages that a server takes in one atomic batch; the
// last one is the checkpoint.
const batchLimit = 1000

// commit stores a batch and its checkpoint, and moves the engine as far as the
// stream acknowledges. It returns when all is stored, when the writer is fenced
// ([ErrFenced]), when the stream is gone, or when ctx ends ([ErrUnfinished]);
// until then the bridge neither polls nor queues: it waits for the stream.
func (b *Bridge) commit(ctx context.Context, batch batch) error {
	begun := b.now()
	err := b.engine.deliver(batch, b.config.source(), func(p *part) error {
		seq, err := b.store(ctx, p)
		if err != nil {
			return err
		}
		b.fence = seq
		b.metrics.stored(b.config.Tenant, p.outcomes)
		return nil
	})
	b.metrics.committed(b.config.Tenant, b.now().Sub(begun), err)
	if err != nil {
		return err
	}
	b.committed = b.now()
	if b.committed.Sub(begun) > b.config.PollInterval {
		// The time without sight is not the source's fault.
		b.engine.held = b.committed
	}
	return nil
}

// store publishes a part as one atomic batch behind the fence and returns the
// checkpoint's sequence. Whatever goes wrong, the stream is asked what it holds:
// ours, then it is stored; the checkpoint before, then it is sent again; another's,
// then we are fenced. What is no checkpoint at all moves the fence and nothing else.
func (b *Bridge) store(ctx context.Context, p *part) (uint64, error) {
	told := map[string]bool{}
	var gone time.Time // since when the stream is known not to be there
	passed := 0        // how many times strays stood before the fence
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		seq, err := b.publish(ctx, p)
		if err == nil {
			if len(told) > 0 {
				b.hinder("")
				b.log.Info("the stream takes events again")
			}
			return seq, nil
		}
		b.forgo(p)
		var large *tooLarge
		if errors.As(err, &large) {
			return 0, b.leaveOut(p, large.limit)
		}
		checkpoint, wrong := p.checkpoint()
		if wrong != nil {
			return 0, wrong
		}
		seq, held := b.resolve(ctx, checkpoint)
		switch {
		case held == nil:
			if len(told) > 0 {
				b.hinder("")
			}
			return seq, nil
		case errors.Is(held, ErrFenced):
			return 0, held
		case ctx.Err() != nil:
			return 0, fmt.Errorf("%w: %v", ErrUnfinished, err)
		case errors.Is(held, errStray) && passed < straysPassed:
			passed++
			continue
		case errors.Is(held, errMemoryLost) && wrongSequence(err):
			// Both the write and the read say so: no replica that is behind.
			return 0, held
		case oversized(p, b.largest()):
			// The limit has shrunk.
			b.hinder("")
			return 0, b.leaveOut(p, b.largest())
		case !errors.Is(held, jetstream.ErrStreamNotFound):
			gone = time.Time{}
		case gone.IsZero():
			gone, err = b.now(), held
		case b.now().Sub(gone) >= goneAfter:
			return 0, fmt.Errorf("%w: %w", errAway, held)
		default:
			err = held
		}
		if text := err.Error(); !told[text] {
			told[text] = true
			advice := mendStream(b.config, err)
			b.hinder("the stream does not take events: " + text + "; " + advice)
			b.log.Warn("the stream does not take events; holding the batch and trying again",
				"err", err, "messages", p.size(), "advice", advice)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// straysPassed is how many times in a row a batch is sent again at once since
// strays stood before the fence. Whoever publishes more of them is waited for.
const straysPassed = 3

// ErrUnfinished is returned by [Bridge.Run] when it was asked to stop while the
// stream took nothing. The next start tells what is missing.
var ErrUnfinished = errors.New("stopped before the stream took the last batch")

// goneAfter is how long a stream must be missing to be made anew.
const goneAfter = 5 * time.Second

// ackTimeout bounds the wait for the answer to a batch's first message. It must be
// short beside finishTimeout.
const ackTimeout = 2 * time.Second

// publish sends a part once. A checkpoint alone needs no batch.
func (b *Bridge) publish(ctx context.Context, p *part) (seq uint64, err error) {
	switch {
	case p.ahead != nil:
		o := p.ahead
		p.ahead = nil
		return b.limits.batches.close(ctx, o, b.closing(p))
	case p.size() > 1:
		return b.limits.batches.publish(ctx, p.size(), b.mail(p))
	}
	err = b.mail(p)(func(m *nats.Msg, _ bool) error {
		seq, err = b.publishAlone(ctx, m)
		return err
	})
	return seq, err
}

// publishAlone sends one message.
func (b *Bridge) publishAlone(ctx context.Context, m *nats.Msg) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	before := b.js.Conn().LastError()
	ack, err := b.js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
	if err == nil && ack.Duplicate {
		err = errKnown
	}
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		err = fmt.Errorf("%w: %w", err, nats.ErrNoResponders)
	}
	if err = permitted(b.js.Conn(), before, err); err != nil {
		return 0, fmt.Errorf("publish a checkpoint: %w", err)
	}
	return ack.Sequence, nil
}

// mail hands on the messages of a part, the last one with the fence, as often as it
// is called. The error is [tooLarge] where the server would refuse one.
func (b *Bridge) mail(p *part) mail {
	return func(send func(m *nats.Msg, last bool) error) error {
		if err := b.events(p)(send); err != nil {
			return err
		}
		return b.closing(p)(send)
	}
}

// events is mail without the last message.
func (b *Bridge) events(p *part) mail {
	limit := b.largest()
	return func(send func(m *nats.Msg, last bool) error) error {
		return p.events(func(_ []event, msgs []*nats.Msg) error {
			for _, m := range msgs {
				if exceeds(m, limit) {
					return &tooLarge{limit}
				}
				if err := send(m, false); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// closing is the last message alone. While the server stores the part, which takes it
// as long as writing another, the events of the next one are sent.
func (b *Bridge) closing(p *part) mail {
	fence := strconv.FormatUint(b.fence, 10)
	return func(send func(m *nats.Msg, last bool) error) error {
		_, m, err := p.close()
		if err != nil {
			return err
		}
		m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, fence)
		if err := send(m, true); err != nil {
			return err
		}
		if next := p.next(); next != nil && !p.doubted {
			next.ahead = b.limits.batches.open(b.events(next))
		}
		return nil
	}
}

// forgo gives up what was sent ahead of a part that is not stored: it rests on that.
// The next try goes step by step.
func (b *Bridge) forgo(p *part) {
	p.doubted = true
	if next := p.behind; next != nil && next.ahead != nil {
		b.limits.batches.abandon(next.ahead)
		next.ahead = nil
	}
}

// Codes of the server for what keeps a stream from taking a batch.
const (
	codeNoStorage     jetstream.ErrorCode = 10047 // this server's disk
	codeAccountFull   jetstream.ErrorCode = 10002
	codeNoResources   jetstream.ErrorCode = 10023
	codeStoreFailed   jetstream.ErrorCode = 10077 // its max_bytes or max_msgs, with discard new
	codeSealed        jetstream.ErrorCode = 10109
	codeAtomicOff     jetstream.ErrorCode = 10174
	codeBatchTooLarge jetstream.ErrorCode = 10199
	codeDuplicate     jetstream.ErrorCode = 10201
)

// mendStream says what a person can do about a stream that takes no events.
func mendStream(c *Config, err error) string {
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Sprintf("it is made anew, empty, when it has been missing for %v; to restore a backup, stop the bridges first", goneAfter)
	}
	if errors.Is(err, nats.ErrNoResponders) {
		return fmt.Sprintf("give stream %s the subject %s.> back, or JetStream to the account", c.Stream, SubjectPrefix)
	}
	theirs := fmt.Sprintf("somebody has published the bridge's ids; it ends with the duplicate window of stream %s", c.Stream)
	if errors.Is(err, errKnown) {
		return theirs
	}
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return "it goes on by itself when the NATS servers answer"
	}
	switch api.ErrorCode {
	case codeStoreFailed:
		return fmt.Sprintf("raise or lift max_bytes and max_msgs of stream %s", c.Stream)
	case codeNoStorage, codeNoResources, codeAccountFull:
		return "JetStream is full: free disk, or raise the limits of the server or the account"
	case codeSealed:
		return fmt.Sprintf("stream %s is sealed, for ever: choose another name in BRIDGE_STREAM", c.Stream)
	case codeAtomicOff:
		return fmt.Sprintf("switch allow_atomic of stream %s on again", c.Stream)
	case jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return fmt.Sprintf("raise or lift max_msg_size of stream %s", c.Stream)
	case codeBatchTooLarge:
		return fmt.Sprintf("raise the server's limit of messages in a batch to %d", batchLimit)
	case codeDuplicate:
		return theirs
	}
	return "see what the NATS servers log"
}

var (
	// errKnown is why a single message was not stored: its id is in the window.
	// That is ours, sent twice, or somebody else's.
	errKnown     = errors.New("a message with this id is stored already")
	errNotStored = errors.New("the batch is not stored")
	// errMemoryLost is returned when the checkpoint that the fence rests on is
	// gone: somebody has deleted, purged or recreated the stream.
	errMemoryLost = errors.New("the stream has lost its last checkpoint")
)

// resolve asks the stream whether it holds this checkpoint: nil and its
// sequence if so, [ErrFenced] if a newer one by another writer stands there.
func (b *Bridge) resolve(ctx context.Context, checkpoint *nats.Msg) (uint64, error) {
	// A question put to a stream without a leader is never answered, and the next
	// try asks again: waiting longer would only keep the feed blind.
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	stream, err := b.js.Stream(ctx, b.config.Stream)
	if err != nil {
		return 0, fmt.Errorf("look for the last checkpoint: %w", err)
	}
	b.msgLimit = int(stream.CachedInfo().Config.MaxMsgSize)
	last, err := stream.GetLastMsgForSubject(ctx, checkpoint.Subject)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound) && b.fence > 0:
		return 0, errMemoryLost
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return 0, errNotStored
	case err != nil:
		return 0, fmt.Errorf("look for the last checkpoint: %w", err)
	case bytes.Equal(last.Data, checkpoint.Data):
		return last.Sequence, nil
	case last.Sequence < b.fence:
		return 0, errMemoryLost
	case last.Sequence > b.fence:
		return b.sift(ctx, checkpoint)
	}
	return 0, errNotStored // sending again is safe, for the fence judges it
}

// sift looks at what stands on the checkpoints' subject beyond the fence, from
// the first on: this checkpoint, then its sequence is returned; another one, then
// we are fenced. A stray is neither: the fence moves to it, and errStray tells
// that the batch may be sent again. Every message there has been looked at, so
// that a checkpoint behind a stray still fences.
func (b *Bridge) sift(ctx context.Context, checkpoint *nats.Msg) (seq uint64, err error) {
	held := errNotStored
	err = visit(ctx, b.js, b.config.Stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{checkpoint.Subject},
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:    b.fence + 1,
	}, func(msg jetstream.Msg, at uint64) error {
		if bytes.Equal(msg.Data(), checkpoint.Data) {
			seq, held = at, nil
			return errEnough
		}
		s, err := readOn(b.config.Tenant, checkpointSubject, msg.Headers(), msg.Data())
		if err == nil {
			held = fmt.Errorf("%w: checkpoint %s is theirs", ErrFenced, s.ID)
			return errEnough
		}
		b.strays.tell(stray{where: "subject " + checkpoint.Subject + " of stream " + b.config.Stream, seq: at, err: err, advice: mendStray})
		b.fence, held = at, fmt.Errorf("%w on %s at sequence %d", errStray, checkpoint.Subject, at)
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return 0, fmt.Errorf("look at the checkpoints beyond the fence: %w", err)
	}
	return seq, held
}

// wrongSequence tells whether the server refused a batch at the fence. Of the
// two codes, replicated streams use the second under concurrency.
func wrongSequence(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}
