// Package republish publishes stored events again, under another prefix of subjects.
package republish

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

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/cmd/bridge/internal/console"
	"bpcc-nats/cmd/bridge/internal/reader"
)

// SequenceHeader is the header of a replayed event, with its sequence in the stream. A
// live event has none.
const SequenceHeader = "Bpcc-Replay-Sequence"

// Publisher publishes stored events again under another subject prefix: the same
// bodies, so the original ids and times, and the same content type. If a stream
// captures that prefix it waits for its acknowledgements. It does not send
// Nats-Msg-Id, or the stream would drop a second replay as duplicate.
type Publisher struct {
	nc        *nats.Conn
	js        jetstream.JetStream // nil if no stream captures the prefix
	prefix    string
	stream    string
	published int
	timeout   time.Duration // for each acknowledgement
	inFlight  []jetstream.PubAckFuture
}

// New returns a publisher under a prefix. The error is [reader.ErrUsage] if nothing may be published
// there. timeout is that of each acknowledgement.
func New(ctx context.Context, c *config.Config, l *reader.Session, prefix string, timeout time.Duration) (*Publisher, error) {
	if l.Server != nil {
		return nil, fmt.Errorf("%w: no server to publish to: NATS_URL is not set, and no bridge with an embedded server runs", reader.ErrUsage)
	}
	tokens := strings.Split(prefix, ".")
	if bad := slices.ContainsFunc(tokens, func(t string) bool { return t == "" || strings.ContainsAny(t, "*> \t\r\n") }); bad || strings.HasPrefix(prefix, "$") || strings.HasPrefix(prefix, "_") {
		return nil, fmt.Errorf("%w: invalid subject prefix in --into: %q; want one such as bpcc-replay.v1", reader.ErrUsage, prefix)
	}
	var names []string
	err := reader.Retry(ctx, l.NC, timeout, func(ctx context.Context) error {
		names = nil
		list := l.JS.StreamNames(ctx, jetstream.WithStreamListSubject(prefix+".>"))
		for name := range list.Name() {
			names = append(names, name)
		}
		return list.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list streams that capture %s: %w", prefix, err)
	}
	r := &Publisher{nc: l.NC, prefix: prefix, timeout: timeout}
	for _, name := range names {
		if slices.Contains(stream.Names(c.Stream), name) {
			return nil, fmt.Errorf("%w: --into %s: stream %s captures this prefix and would store the replay as events; choose another, such as bpcc-replay.v1",
				reader.ErrUsage, prefix, name)
		}
		r.stream, r.js = name, l.JS
	}
	return r, nil
}

// ackWindow is how many messages may be without their acknowledgement.
const ackWindow = 256

// Publish publishes one event.
func (r *Publisher) Publish(ctx context.Context, m reader.Message) error {
	out := nats.NewMsg(r.prefix + strings.TrimPrefix(m.Subject, event.SubjectPrefix))
	out.Data = m.Body
	for name, values := range m.Header {
		if !strings.HasPrefix(name, "Nats-") { // these were instructions for the server that stored the original
			out.Header[name] = values
		}
	}
	out.Header.Set(SequenceHeader, strconv.FormatUint(m.Seq, 10))
	r.published++
	var future jetstream.PubAckFuture
	err := reader.Retry(ctx, r.nc, r.timeout, func(context.Context) (err error) {
		if r.js == nil {
			return r.nc.PublishMsg(out)
		}
		future, err = r.js.PublishMsgAsync(out)
		return err
	})
	if err != nil {
		return fmt.Errorf("publish sequence %d: %w", m.Seq, err)
	}
	if r.js == nil {
		return nil
	}
	if r.inFlight = append(r.inFlight, future); len(r.inFlight) < ackWindow {
		return nil
	}
	return r.waitAcks(ctx)
}

// waitAcks waits until the stream has acknowledged all that was sent.
func (r *Publisher) waitAcks(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	for _, future := range r.inFlight {
		select {
		case <-future.Ok():
		case err := <-future.Err():
			return fmt.Errorf("publish into %s: %w", r.stream, err)
		case <-ctx.Done():
			return reader.NoAnswer(r.nc, r.timeout, fmt.Errorf("publish into %s: no acknowledgement: %w", r.stream, ctx.Err()))
		}
	}
	r.inFlight = r.inFlight[:0]
	return nil
}

// Close waits until everything is sent and prints how much it was.
func (r *Publisher) Close(c *console.Console) error {
	err := errors.Join(r.waitAcks(context.Background()), r.nc.FlushTimeout(r.timeout))
	where := "to subscribers"
	if r.js != nil {
		where = "into stream " + r.stream
	}
	if err == nil {
		c.Printf("published %d events under %s.>, %s\n", r.published, r.prefix, where)
	}
	return err
}
