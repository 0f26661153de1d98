package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge"
	"bpcc-nats/bridge/event"
)

// replaySequence is the header that tells a replayed event from a live one: the
// sequence under which the stream holds it.
const replaySequence = "Bpcc-Replay-Sequence"

// republisher publishes stored events again under another subject root: the
// same bodies, so the original ids and times, and the same content type. Where a
// stream captures that root it waits for its acknowledgements. It leaves out
// Nats-Msg-Id: a second replay within the stream's window would be swallowed.
type republisher struct {
	nc        *nats.Conn
	js        jetstream.JetStream // nil if no stream captures the root
	root      string
	stream    string
	published int
	timeout   time.Duration // how long it waits for the server
	inFlight  []jetstream.PubAckFuture
}

func newRepublisher(ctx context.Context, c *bridge.Config, l *natsSession, root string, timeout time.Duration) (*republisher, error) {
	if l.server != nil {
		return nil, fmt.Errorf("%w: nobody could hear it: no bridge runs with the server inside, and NATS_URL is not set", errUsage)
	}
	tokens := strings.Split(root, ".")
	if bad := slices.ContainsFunc(tokens, func(t string) bool { return t == "" || strings.ContainsAny(t, "*> \t\r\n") }); bad || strings.HasPrefix(root, "$") || strings.HasPrefix(root, "_") {
		return nil, fmt.Errorf("%w: --into %q is no subject prefix; bpcc-replay.v1 is one", errUsage, root)
	}
	var names []string
	err := retry(ctx, l.nc, timeout, func(ctx context.Context) error {
		names = nil
		list := l.js.StreamNames(ctx, jetstream.WithStreamListSubject(root+".>"))
		for name := range list.Name() {
			names = append(names, name)
		}
		return list.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("look for streams that capture %s: %w", root, err)
	}
	r := &republisher{nc: l.nc, root: root, timeout: timeout}
	for _, name := range names {
		if slices.Contains(bridge.StreamNames(c), name) {
			return nil, fmt.Errorf("%w: --into %s: stream %s captures it, and would hold the replay for the truth; choose another, such as bpcc-replay.v1",
				errUsage, root, name)
		}
		r.stream, r.js = name, l.js
	}
	return r, nil
}

// ackWindow is how many messages may wait for their acknowledgement.
const ackWindow = 256

func (r *republisher) publish(ctx context.Context, m message) error {
	out := nats.NewMsg(r.root + strings.TrimPrefix(m.subject, event.SubjectPrefix))
	out.Data = m.body
	for name, values := range m.header {
		if !strings.HasPrefix(name, "Nats-") { // which are orders to the server that took the original
			out.Header[name] = values
		}
	}
	out.Header.Set(replaySequence, strconv.FormatUint(m.seq, 10))
	r.published++
	var future jetstream.PubAckFuture
	err := retry(ctx, r.nc, r.timeout, func(context.Context) (err error) {
		if r.js == nil {
			return r.nc.PublishMsg(out)
		}
		future, err = r.js.PublishMsgAsync(out)
		return err
	})
	if err != nil {
		return fmt.Errorf("publish sequence %d: %w", m.seq, err)
	}
	if r.js == nil {
		return nil
	}
	if r.inFlight = append(r.inFlight, future); len(r.inFlight) < ackWindow {
		return nil
	}
	return r.waitAcks(ctx)
}

// waitAcks waits until the stream has taken all that was sent.
func (r *republisher) waitAcks(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	for _, future := range r.inFlight {
		select {
		case <-future.Ok():
		case err := <-future.Err():
			return fmt.Errorf("publish into %s: %w", r.stream, err)
		case <-ctx.Done():
			return noAnswer(r.timeout, fmt.Errorf("publish into %s: no acknowledgement: %w", r.stream, ctx.Err()), hintNoAnswer(r.nc))
		}
	}
	r.inFlight = r.inFlight[:0]
	return nil
}

// close waits until everything is on its way and says how much it was.
func (r *republisher) close(c *console) error {
	err := errors.Join(r.waitAcks(context.Background()), r.nc.FlushTimeout(r.timeout))
	where := "to whoever listens"
	if r.js != nil {
		where = "into stream " + r.stream
	}
	if err == nil {
		c.printf("published %d events under %s.>, %s\n", r.published, r.root, where)
	}
	return err
}
