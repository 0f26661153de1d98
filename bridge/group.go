package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// maxBatchesInFlight is how many atomic batches a process has on their way at a time. A
// server takes 50 for a stream, from all processes, and refuses more.
const maxBatchesInFlight = 4

// groupTimeout bounds a shared batch, which does not end with the context of any
// of its tenants. It must be short beside the time that a stop may take.
const groupTimeout = 3 * time.Second

// errSharedBatchRefused is the answer to all who shared a batch that was refused: whose fault
// it was, each finds out alone.
var errSharedBatchRefused = errors.New("shared batch refused")

// batchPublisher publishes what the tenants of a process commit. The server makes files
// of its own for every batch and syncs them, so that a disk may take no more than
// some hundred a second; therefore what waits while others are on their way goes
// along in one batch. Each commit in it keeps its own checkpoint and fence. If a
// shared batch is refused, its commits go one by one: no tenant suffers from
// another's.
type batchPublisher struct {
	js        jetstream.JetStream
	slots     chan struct{} // holds one for every batch on its way
	seqValues []string      // of messages in a batch

	mu          sync.Mutex
	queue       []*batchRequest // in the order of their coming
	idleInboxes []*ackInbox     // those that carry no batch now
}

// batchRequest is one tenant's commit.
type batchRequest struct {
	msgs []*nats.Msg
	done chan struct{} // closed when what follows holds
	seq  uint64        // of the last message
	err  error
}

func newBatchPublisher(js jetstream.JetStream) *batchPublisher {
	return &batchPublisher{js: js, slots: make(chan struct{}, maxBatchesInFlight), seqValues: batchSeqValues()}
}

// publishBatch stores messages in an atomic batch, once, and returns the sequence of the
// last. An error may leave it in doubt whether they are stored; but the messages are
// not used any more when it returns.
func (g *batchPublisher) publishBatch(ctx context.Context, msgs []*nats.Msg) (uint64, error) {
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
		// If another has taken it along, that is soon over.
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

// publishUngrouped publishes a commit that nobody goes along with.
func (g *batchPublisher) publishUngrouped(ctx context.Context, msgs []*nats.Msg) (uint64, error) {
	select {
	case g.slots <- struct{}{}:
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for other tenants' batches: %w", ctx.Err())
	}
	defer func() { <-g.slots }()
	return g.publishAtomic(ctx, msgs)
}

// coalesce takes a commit that waits, and of the others as many as one batch holds.
// There are none if it does not wait any more.
func (g *batchPublisher) coalesce(s *batchRequest) []*batchRequest {
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
		if size+len(other.msgs) > batchLimit {
			return false
		}
		group, size = append(group, other), size+len(other.msgs)
		return true
	})
	return group
}

// removeQueued takes a commit back that still waits.
func (g *batchPublisher) removeQueued(s *batchRequest) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(g.queue)
	g.queue = slices.DeleteFunc(g.queue, func(other *batchRequest) bool { return other == s })
	return len(g.queue) < n
}

// publishGroup publishes a group in one batch and tells each of its members how it went.
func (g *batchPublisher) publishGroup(ctx context.Context, group []*batchRequest) {
	if len(group) == 1 {
		group[0].seq, group[0].err = g.publishAtomic(ctx, group[0].msgs)
		close(group[0].done)
		return
	}
	var produceAll []*nats.Msg
	for _, s := range group {
		produceAll = append(produceAll, s.msgs...)
	}
	// One tenant's end must not be the others'.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), groupTimeout)
	defer cancel()
	lastSeq, err := g.publishAtomic(ctx, produceAll)
	if api := (*jetstream.APIError)(nil); errors.As(err, &api) {
		err = fmt.Errorf("%w: %v", errSharedBatchRefused, err)
	}
	for _, s := range slices.Backward(group) {
		if s.err = err; err == nil {
			s.seq = lastSeq
		}
		// Messages of a batch lie side by side in the stream.
		lastSeq -= uint64(len(s.msgs))
		close(s.done)
	}
}

// publishAtomic publishes one atomic batch.
func (g *batchPublisher) publishAtomic(ctx context.Context, msgs []*nats.Msg) (seq uint64, err error) {
	l, err := g.acquireInbox()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
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
	if err = asPermissionError(o.nc, o.prevErr, err); err != nil {
		return 0, fmt.Errorf("publish a batch: %w", err)
	}
	return seq, nil
}

// acquireInbox gives a line that carries no batch, a new one if there is none. There
// are never more of them than batches are on their way at a time.
func (g *batchPublisher) acquireInbox() (*ackInbox, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(g.idleInboxes)
	if n == 0 {
		return newAckInbox(g.js.Conn())
	}
	l := g.idleInboxes[n-1]
	g.idleInboxes = g.idleInboxes[:n-1]
	return l, nil
}

// releaseInbox gives it back after a batch. If that was not answered, an answer may be
// on its way that the next one would take for its own: then the line ends.
func (g *batchPublisher) releaseInbox(l *ackInbox, err error) {
	var api *jetstream.APIError
	if err != nil && !errors.As(err, &api) {
		_ = l.acks.Unsubscribe() // or the connection is closed, and it has ended with that
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.idleInboxes = append(g.idleInboxes, l)
}
