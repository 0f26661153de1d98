package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// reader passes the messages of a range to handle, in order and each once. After the
// loss of the connection or of the consumer it continues after the last message. It
// ends when the server has not responded for the timeout. It does not use the
// ordered consumer of the library, which recreates its consumer without a limit of
// time and without a context.
type reader struct {
	streamRange
	js      jetstream.JetStream
	stream  string
	timeout time.Duration
	handle  func(message) error

	last       message   // passed to handle; its sequence is 0 before the first one
	inBatch    bool      // the last message is not the end of its batch
	lastAnswer time.Time // of the server: a message, or any answer while no message is due
	gap        uint64    // the sequence before which a message was missing; 0 if none was

	// Of the current consumer: when it was made (zero before the first one), and the number of
	// reconnects then.
	made       time.Time
	reconnects uint64
}

// errHandler marks errors of handle, which are not errors of the stream.
var errHandler = errors.New("cannot continue")

// Reasons to replace a consumer by another one.
var (
	errSilent = errors.New("no message arrives")
	errGap    = errors.New("a message is missing")
)

// errUndeliverable is returned at a message that no consumer delivers.
var errUndeliverable = errors.New("message cannot be read")

const (
	// batchGrace is how long to wait for the end of a batch: it is being stored, or
	// does not exist.
	batchGrace = 2 * time.Second
	// consumerIdle is how long the server keeps a consumer without requests.
	consumerIdle = 5 * time.Minute
)

// read returns at the end of the range, if it has one.
func (r *reader) read(ctx context.Context) error {
	pause := retryInterval(r.timeout)
	r.lastAnswer = time.Now()
	var cause error // the last one that is not just a timeout
	for {
		err := r.consume(ctx)
		if !errors.Is(err, context.DeadlineExceeded) {
			cause = err
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, errHandler):
			return err
		case errors.Is(err, jetstream.ErrStreamNotFound):
			return fmt.Errorf("read stream %s: stream not found; check BRIDGE_STREAM, and NATS_URL or BRIDGE_STORE_DIR", r.stream)
		case !mayAnswer(err):
			return fmt.Errorf("read stream %s: %w", r.stream, err)
		case time.Since(r.lastAnswer)+pause > r.timeout:
			return noAnswer(r.timeout, fmt.Errorf("read stream %s: %w", r.stream, cmp.Or(cause, err)), hintNoAnswer(r.js.Conn()))
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// retry repeats a call until the server responds, no longer than the timeout.
func retry(ctx context.Context, nc *nats.Conn, timeout time.Duration, call func(context.Context) error) error {
	callCtx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var cause error // the last one that is not just a timeout
	for {
		err := call(callCtx)
		if err == nil || ctx.Err() != nil || !mayAnswer(err) {
			return err
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			cause = err
		}
		if callCtx.Err() != nil {
			return noAnswer(timeout, cmp.Or(cause, err), hintNoAnswer(nc))
		}
		select {
		case <-callCtx.Done():
		case <-time.After(retryInterval(timeout)):
		}
	}
}

// retryInterval is the pause between a call and its repetition.
func retryInterval(timeout time.Duration) time.Duration { return min(timeout/10, 100*time.Millisecond) }

// mayAnswer reports whether a call that failed may succeed when it is repeated:
// without a connection, a leader, or this consumer.
func mayAnswer(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.ErrorCode != jetstream.JSErrCodeJetStreamNotEnabled && api.ErrorCode != jetstream.JSErrCodeJetStreamNotEnabledForAccount &&
			api.Code >= http.StatusInternalServerError
	}
	for _, transient := range []error{
		errSilent, errGap, context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected, nats.ErrConnectionReconnecting, nats.ErrReconnectBufExceeded,
		jetstream.ErrNoHeartbeat, jetstream.ErrConsumerNotFound, jetstream.ErrConsumerDeleted, jetstream.ErrConsumerLeadershipChanged, jetstream.ErrServerShutdown,
	} {
		if errors.Is(err, transient) {
			return true
		}
	}
	return false
}

// hintNoAnswer is what to check when the server does not respond.
func hintNoAnswer(nc *nats.Conn) string {
	if !nc.IsConnected() {
		return hintUnreachable
	}
	return "check that JetStream is enabled, that the stream has a leader, and that this user may read it"
}

// consume reads by one consumer, until the range ends or the consumer is lost.
func (r *reader) consume(ctx context.Context) error {
	callCtx, cancel := context.WithDeadline(ctx, r.lastAnswer.Add(r.timeout))
	defer cancel()
	r.reconnects = r.js.Conn().Stats().Reconnects
	consumer, err := r.js.CreateConsumer(callCtx, r.stream, r.config())
	if err != nil {
		return err
	}
	now := time.Now()
	if r.made.IsZero() || r.follow {
		r.lastAnswer = now
	}
	r.made = now
	if consumer.CachedInfo().NumPending == 0 && !r.follow {
		return nil
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	for n := uint64(1); ; n++ {
		msg, err := r.next(ctx, consumer, messages)
		if err != nil {
			return err
		}
		m, nth, err := parseMessage(msg)
		switch {
		case err != nil:
			return err
		case nth != n && r.gap == m.seq: // missed by two consumers, so not lost in transit
			return fmt.Errorf("%w after sequence %d: perhaps empty with a header Status, like a response of the server; skip it with --from-seq %d",
				errUndeliverable, r.last.seq, m.seq)
		case nth != n:
			r.gap = m.seq
			return errGap
		case r.isPast(m) && !r.inBatch:
			return nil
		}
		if err := r.handle(m); err != nil {
			return fmt.Errorf("%w: %w", errHandler, err)
		}
		r.last, r.lastAnswer = m, time.Now() // the time of handle does not count
		r.inBatch = r.completeBatch && !strings.HasSuffix(m.subject, ".feed.checkpoint")
		if m.pending == 0 && !r.follow && !r.inBatch {
			return nil
		}
	}
}

// config is the configuration of a consumer for the rest of the range.
func (r *reader) config() jetstream.ConsumerConfig {
	c := jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: consumerIdle,
		FilterSubjects: r.subjects,
	}
	if len(r.subjects) == 1 { // a part of the subject of the request, for permissions
		c.FilterSubject, c.FilterSubjects = r.subjects[0], nil
	}
	switch {
	case r.last.seq > 0:
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, r.last.seq+1
	case r.from > 0:
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, r.from
	case !r.since.IsZero():
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &r.since.Time
	}
	return c
}

// next waits for the next message of a consumer, for half the timeout. If no message
// is due it then checks that the consumer exists. If one is due, or after a
// reconnect, since a consumer does not deliver twice, it returns errSilent: the
// other half is for another consumer.
func (r *reader) next(ctx context.Context, consumer jetstream.Consumer, messages jetstream.MessagesContext) (jetstream.Msg, error) {
	for {
		silent := r.lastAnswer.Add(r.timeout / 2)
		if again := r.made.Add(r.timeout / 2); again.After(silent) {
			silent = again
		}
		if r.inBatch && r.last.pending == 0 && r.timeout/2 > batchGrace {
			silent = r.lastAnswer.Add(batchGrace)
		}
		waitCtx, cancel := context.WithTimeout(ctx, min(time.Until(silent), time.Second))
		msg, err := messages.Next(jetstream.NextContext(waitCtx))
		late := waitCtx.Err() != nil
		cancel()
		switch {
		case err == nil || !late:
			return msg, err
		case ctx.Err() != nil, r.js.Conn().Stats().Reconnects != r.reconnects:
			return nil, errSilent
		case time.Now().Before(silent):
			continue
		case !r.follow:
			return nil, errSilent
		}
		callCtx, cancel := context.WithDeadline(ctx, r.lastAnswer.Add(r.timeout))
		_, err = consumer.Info(callCtx)
		cancel()
		if err != nil {
			return nil, err
		}
		r.lastAnswer = time.Now()
	}
}

// parseMessage reads a message and its number among those of its consumer.
func parseMessage(msg jetstream.Msg) (m message, nth uint64, err error) {
	meta, err := msg.Metadata()
	if err != nil {
		return message{}, 0, err
	}
	header := msg.Headers()
	if header == nil {
		header = nats.Header{} // known to be empty, unlike that of an export without headers
	}
	return message{meta.Sequence.Stream, meta.Timestamp, msg.Subject(), header, msg.Data(), meta.NumPending}, meta.Sequence.Consumer, nil
}
