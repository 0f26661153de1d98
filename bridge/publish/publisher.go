// Package publish stores the messages of commits in atomic batches. The tenants of a process share
// batches.
package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/stream"
)

// maxBatchesInFlight is the maximum number of atomic batches of a process in flight. A server
// accepts 50 for a stream, from all processes together.
const maxBatchesInFlight = 4

// groupTimeout bounds a shared batch, which does not end with the context of one of its tenants. It
// must be short compared with the time allowed for a shutdown.
const groupTimeout = 3 * time.Second

// errSharedBatchRefused is the result for all members of a refused shared batch: each finds out
// alone whether its own part is at fault.
var errSharedBatchRefused = errors.New("shared batch refused")

// Publisher publishes the commits of the tenants of a process. The server creates and syncs
// files for every batch, so a disk may allow no more than some hundred batches a second. Therefore
// the commits that wait while others are in flight are published in one shared batch. Each commit
// in it has its own checkpoint and fence. If a shared batch is refused, its commits are published
// one by one, so that no tenant is affected by another.
type Publisher struct {
	js        jetstream.JetStream
	timing    *config.Timing
	slots     chan struct{} // holds one for every batch in flight
	seqValues []string      // values of Nats-Batch-Sequence

	mu          sync.Mutex
	queue       []*batchRequest // in order of arrival
	idleInboxes []*ackInbox     // not in use by a batch
}

// batchRequest is one tenant's commit.
type batchRequest struct {
	msgs []*nats.Msg
	done chan struct{} // closed when the result is set
	seq  uint64        // of the last message
	err  error
}

// NewPublisher returns the publisher of a process.
func NewPublisher(js jetstream.JetStream, times *config.Timing) *Publisher {
	return &Publisher{js: js, timing: times, slots: make(chan struct{}, maxBatchesInFlight), seqValues: batchSeqValues()}
}

// Publish stores the messages of a part, once: a checkpoint without events by itself, others in an
// atomic batch. It returns the sequence of the last one. After an error it may be unknown whether they
// are stored; but the messages are not used any more when it returns.
func (g *Publisher) Publish(ctx context.Context, msgs []*nats.Msg) (uint64, error) {
	if len(msgs) == 1 {
		return g.publishSingle(ctx, msgs[0])
	}
	return g.publishBatch(ctx, msgs)
}

// publishSingle sends one message.
func (g *Publisher) publishSingle(ctx context.Context, m *nats.Msg) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, g.timing.CallTimeout)
	defer cancel()
	prevErr := g.js.Conn().LastError()
	ack, err := g.js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
	if err == nil && ack.Duplicate {
		err = stream.ErrDuplicateID
	}
	if err = stream.Cause(g.js.Conn(), prevErr, err); err != nil {
		return 0, fmt.Errorf("publish checkpoint: %w", err)
	}
	return ack.Sequence, nil
}

// publishBatch stores messages in an atomic batch, alone or together with those of other tenants.
func (g *Publisher) publishBatch(ctx context.Context, msgs []*nats.Msg) (uint64, error) {
	s := &batchRequest{msgs: msgs, done: make(chan struct{})}
	g.mu.Lock()
	g.queue = append(g.queue, s)
	g.mu.Unlock()
	select {
	case g.slots <- struct{}{}:
		if group := g.coalesce(s); len(group) > 0 {
			g.publishGroup(ctx, group)
		}
		<-g.slots
		// A group that includes it will finish soon.
		<-s.done
	case <-s.done:
	case <-ctx.Done():
		if g.removeQueued(s) {
			return 0, fmt.Errorf("wait for other tenants' batches: %w", ctx.Err())
		}
		<-s.done
	}
	if errors.Is(s.err, errSharedBatchRefused) {
		return g.publishUngrouped(ctx, msgs)
	}
	return s.seq, s.err
}

// publishUngrouped publishes a commit alone.
func (g *Publisher) publishUngrouped(ctx context.Context, msgs []*nats.Msg) (uint64, error) {
	select {
	case g.slots <- struct{}{}:
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for other tenants' batches: %w", ctx.Err())
	}
	defer func() { <-g.slots }()
	return g.publishAtomic(ctx, msgs)
}

// coalesce removes a waiting commit from the queue, with as many of the others as fit into one
// batch. It returns none if the commit is not waiting any more.
func (g *Publisher) coalesce(s *batchRequest) []*batchRequest {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !slices.Contains(g.queue, s) {
		return nil
	}
	group, size := []*batchRequest{s}, len(s.msgs)
	g.queue = slices.DeleteFunc(g.queue, func(other *batchRequest) bool {
		if other == s {
			return true
		}
		if size+len(other.msgs) > event.BatchLimit {
			return false
		}
		group, size = append(group, other), size+len(other.msgs)
		return true
	})
	return group
}

// removeQueued removes a commit that is still waiting from the queue.
func (g *Publisher) removeQueued(s *batchRequest) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(g.queue)
	g.queue = slices.DeleteFunc(g.queue, func(other *batchRequest) bool { return other == s })
	return len(g.queue) < n
}

// publishGroup publishes a group in one batch and sets the result of each member.
func (g *Publisher) publishGroup(ctx context.Context, group []*batchRequest) {
	if len(group) == 1 {
		group[0].seq, group[0].err = g.publishAtomic(ctx, group[0].msgs)
		close(group[0].done)
		return
	}
	var all []*nats.Msg
	for _, s := range group {
		all = append(all, s.msgs...)
	}
	// A member's context must not end the others' batch.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), groupTimeout)
	defer cancel()
	lastSeq, err := g.publishAtomic(ctx, all)
	if api := (*jetstream.APIError)(nil); errors.As(err, &api) {
		err = fmt.Errorf("%w: %v", errSharedBatchRefused, err)
	}
	for _, s := range slices.Backward(group) {
		if s.err = err; err == nil {
			s.seq = lastSeq
		}
		// Messages of a batch are adjacent in the stream.
		lastSeq -= uint64(len(s.msgs))
		close(s.done)
	}
}

// publishAtomic publishes one atomic batch.
func (g *Publisher) publishAtomic(ctx context.Context, msgs []*nats.Msg) (seq uint64, err error) {
	l, err := g.acquireInbox()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, g.timing.CallTimeout)
	defer cancel()
	o := l.newBatch(g.js.Conn(), g.seqValues)
	for i, m := range msgs {
		if err = o.writeMessage(m, i == len(msgs)-1); err != nil {
			break
		}
	}
	if err == nil {
		seq, err = o.waitCommitted(ctx)
	}
	g.releaseInbox(l, err)
	if errors.Is(err, nats.ErrNoResponders) {
		err = fmt.Errorf("%w: %w", jetstream.ErrNoStreamResponse, err)
	}
	if err = stream.Cause(o.nc, o.prevErr, err); err != nil {
		return 0, fmt.Errorf("publish a batch: %w", err)
	}
	return seq, nil
}

// acquireInbox returns an inbox that no batch uses, a new one if there is none. There are never
// more inboxes than batches in flight.
func (g *Publisher) acquireInbox() (*ackInbox, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(g.idleInboxes)
	if n == 0 {
		return newAckInbox(g.js.Conn(), g.timing.AckTimeout)
	}
	l := g.idleInboxes[n-1]
	g.idleInboxes = g.idleInboxes[:n-1]
	return l, nil
}

// releaseInbox returns an inbox after a batch. If the batch was not acknowledged, a late
// acknowledgement could be mistaken for that of the next batch: then the inbox is closed.
func (g *Publisher) releaseInbox(l *ackInbox, err error) {
	var api *jetstream.APIError
	if err != nil && !errors.As(err, &api) {
		_ = l.acks.Unsubscribe() // fails only if the connection is closed, which ends the subscription too
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.idleInboxes = append(g.idleInboxes, l)
}
