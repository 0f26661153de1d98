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

// groupsMost is how many atomic batches a process has on their way at a time. A
// server takes 50 for a stream, from all processes, and refuses more.
const groupsMost = 4

// groupTimeout bounds a shared batch, which does not end with the context of any
// of its tenants. It must be short beside the time that a stop may take.
const groupTimeout = 3 * time.Second

// errApart is the answer to all who shared a batch that was refused: whose fault
// it was, each finds out alone.
var errApart = errors.New("shared batch refused")

// grouping publishes what the tenants of a process commit. The server makes files
// of its own for every batch and syncs them, so that a disk may take no more than
// some hundred a second; therefore what waits while others are on their way goes
// along in one batch. Each commit in it keeps its own checkpoint and fence. If a
// shared batch is refused, its commits go one by one: no tenant suffers from
// another's.
type grouping struct {
	js     jetstream.JetStream
	turn   chan struct{} // holds one for every batch on its way
	places []string      // of messages in a batch

	mu      sync.Mutex
	waiting []*submission // in the order of their coming
	lines   []*line       // those that carry no batch now
}

// submission is one tenant's commit.
type submission struct {
	msgs []*nats.Msg
	done chan struct{} // closed when what follows holds
	seq  uint64        // of the last message
	err  error
}

func newGrouping(js jetstream.JetStream) *grouping {
	return &grouping{js: js, turn: make(chan struct{}, groupsMost), places: batchPlaces()}
}

// publish stores messages in an atomic batch, once, and returns the sequence of the
// last. An error may leave it in doubt whether they are stored; but the messages are
// not used any more when it returns.
func (g *grouping) publish(ctx context.Context, msgs []*nats.Msg) (uint64, error) {
	s := &submission{msgs: msgs, done: make(chan struct{})}
	g.mu.Lock()
	g.waiting = append(g.waiting, s)
	g.mu.Unlock()
	select {
	case g.turn <- struct{}{}:
		if group := g.take(s); len(group) > 0 {
			g.send(ctx, group)
		}
		<-g.turn
		// If another has taken it along, that is soon over.
		<-s.done
	case <-s.done:
	case <-ctx.Done():
		if g.withdraw(s) {
			return 0, fmt.Errorf("wait for other tenants' batches: %w", ctx.Err())
		}
		<-s.done
	}
	if errors.Is(s.err, errApart) {
		return g.alone(ctx, msgs)
	}
	return s.seq, s.err
}

// alone publishes a commit that nobody goes along with.
func (g *grouping) alone(ctx context.Context, msgs []*nats.Msg) (uint64, error) {
	select {
	case g.turn <- struct{}{}:
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for other tenants' batches: %w", ctx.Err())
	}
	defer func() { <-g.turn }()
	return g.batch(ctx, msgs)
}

// take takes a commit that waits, and of the others as many as one batch holds.
// There are none if it does not wait any more.
func (g *grouping) take(s *submission) []*submission {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !slices.Contains(g.waiting, s) {
		return nil
	}
	group, size := []*submission{s}, len(s.msgs)
	g.waiting = slices.DeleteFunc(g.waiting, func(other *submission) bool {
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

// withdraw takes a commit back that still waits.
func (g *grouping) withdraw(s *submission) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(g.waiting)
	g.waiting = slices.DeleteFunc(g.waiting, func(other *submission) bool { return other == s })
	return len(g.waiting) < n
}

// send publishes a group in one batch and tells each of its members how it went.
func (g *grouping) send(ctx context.Context, group []*submission) {
	if len(group) == 1 {
		group[0].seq, group[0].err = g.batch(ctx, group[0].msgs)
		close(group[0].done)
		return
	}
	var all []*nats.Msg
	for _, s := range group {
		all = append(all, s.msgs...)
	}
	// One tenant's end must not be the others'.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), groupTimeout)
	defer cancel()
	last, err := g.batch(ctx, all)
	if api := (*jetstream.APIError)(nil); errors.As(err, &api) {
		err = fmt.Errorf("%w: %v", errApart, err)
	}
	for _, s := range slices.Backward(group) {
		if s.err = err; err == nil {
			s.seq = last
		}
		// Messages of a batch lie side by side in the stream.
		last -= uint64(len(s.msgs))
		close(s.done)
	}
}

// batch publishes one atomic batch.
func (g *grouping) batch(ctx context.Context, msgs []*nats.Msg) (seq uint64, err error) {
	l, err := g.takeLine()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	o := l.open(g.js.Conn(), g.places)
	for i, m := range msgs {
		if err = o.send(m, i == len(msgs)-1); err != nil {
			break
		}
	}
	if err == nil {
		seq, err = o.stored(ctx)
	}
	g.leaveLine(l, err)
	if err = permitted(o.nc, o.before, err); err != nil {
		return 0, fmt.Errorf("publish a batch: %w", err)
	}
	return seq, nil
}

// takeLine gives a line that carries no batch, a new one if there is none. There
// are never more of them than batches are on their way at a time.
func (g *grouping) takeLine() (*line, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(g.lines)
	if n == 0 {
		return newLine(g.js.Conn())
	}
	l := g.lines[n-1]
	g.lines = g.lines[:n-1]
	return l, nil
}

// leaveLine gives it back after a batch. If that was not answered, an answer may be
// on its way that the next one would take for its own: then the line ends.
func (g *grouping) leaveLine(l *line, err error) {
	var api *jetstream.APIError
	if err != nil && !errors.As(err, &api) {
		_ = l.answers.Unsubscribe() // or the connection is closed, and it has ended with that
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lines = append(g.lines, l)
}
