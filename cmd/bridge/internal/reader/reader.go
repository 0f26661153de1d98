// Package reader is what the commands that read a stream share: the connection and what a
// signal means for it, the selection of messages by subject, time and sequence, the wait
// for the server, and a reader that loses and repeats nothing.
package reader

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Reader passes the messages of a range to Handle, in order and each once. After the
// loss of the connection or of the consumer it continues after the last message. It
// ends when the server has not responded for the timeout. It does not use the
// ordered consumer of the library, which recreates its consumer without a limit of
// time and without a context.
type Reader struct {
	Range
	JS      jetstream.JetStream
	Stream  string
	Timeout time.Duration       // how long the server may not respond
	Handle  func(Message) error // an error ends the reading

	last       Message   // passed to Handle; its sequence is 0 before the first one
	inBatch    bool      // the last message is not the end of its batch
	lastAnswer time.Time // of the server: a message, or any answer while no message is due
	gap        uint64    // the sequence before which a message was missing; 0 if none was

	// Of the current consumer: when it was made (zero before the first one), and the number of
	// reconnects then.
	made       time.Time
	reconnects uint64
}

// errHandler marks errors of Handle, which are not errors of the stream.
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

// Read returns at the end of the range, if it has one.
func (r *Reader) Read(ctx context.Context) error {
	pause := retryInterval(r.Timeout)
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
			return fmt.Errorf("read stream %s: stream not found; check BRIDGE_STREAM, and NATS_URL or BRIDGE_STORE_DIR", r.Stream)
		case !MayAnswer(err):
			return fmt.Errorf("read stream %s: %w", r.Stream, err)
		case time.Since(r.lastAnswer)+pause > r.Timeout:
			return NoAnswer(r.JS.Conn(), r.Timeout, fmt.Errorf("read stream %s: %w", r.Stream, cmp.Or(cause, err)))
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// consume reads by one consumer, until the range ends or the consumer is lost.
func (r *Reader) consume(ctx context.Context) error {
	callCtx, cancel := context.WithDeadline(ctx, r.lastAnswer.Add(r.Timeout))
	defer cancel()
	r.reconnects = r.JS.Conn().Stats().Reconnects
	consumer, err := r.JS.CreateConsumer(callCtx, r.Stream, r.config())
	if err != nil {
		return err
	}
	now := time.Now()
	if r.made.IsZero() || r.Follow {
		r.lastAnswer = now
	}
	r.made = now
	if consumer.CachedInfo().NumPending == 0 && !r.Follow {
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
		case nth != n && r.gap == m.Seq: // missed by two consumers, so not lost in transit
			return fmt.Errorf("%w after sequence %d: perhaps empty with a header Status, like a response of the server; skip it with --from-seq %d",
				errUndeliverable, r.last.Seq, m.Seq)
		case nth != n:
			r.gap = m.Seq
			return errGap
		case r.isPast(m) && !r.inBatch:
			return nil
		}
		if err := r.Handle(m); err != nil {
			return fmt.Errorf("%w: %w", errHandler, err)
		}
		r.last, r.lastAnswer = m, time.Now() // the time of Handle does not count
		r.inBatch = r.CompleteBatch && !strings.HasSuffix(m.Subject, ".feed.checkpoint")
		if m.Pending == 0 && !r.Follow && !r.inBatch {
			return nil
		}
	}
}

// config is the configuration of a consumer for the rest of the range.
func (r *Reader) config() jetstream.ConsumerConfig {
	c := jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: consumerIdle,
		FilterSubjects: r.Subjects,
	}
	if len(r.Subjects) == 1 { // a part of the subject of the request, for permissions
		c.FilterSubject, c.FilterSubjects = r.Subjects[0], nil
	}
	switch {
	case r.last.Seq > 0:
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, r.last.Seq+1
	case r.From > 0:
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, r.From
	case !r.Since.IsZero():
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &r.Since.Time
	}
	return c
}

// next waits for the next message of a consumer, for half the timeout. If no message
// is due it then checks that the consumer exists. If one is due, or after a
// reconnect, since a consumer does not deliver twice, it returns errSilent: the
// other half is for another consumer.
func (r *Reader) next(ctx context.Context, consumer jetstream.Consumer, messages jetstream.MessagesContext) (jetstream.Msg, error) {
	for {
		silent := r.lastAnswer.Add(r.Timeout / 2)
		if again := r.made.Add(r.Timeout / 2); again.After(silent) {
			silent = again
		}
		if r.inBatch && r.last.Pending == 0 && r.Timeout/2 > batchGrace {
			silent = r.lastAnswer.Add(batchGrace)
		}
		waitCtx, cancel := context.WithTimeout(ctx, min(time.Until(silent), time.Second))
		msg, err := messages.Next(jetstream.NextContext(waitCtx))
		late := waitCtx.Err() != nil
		cancel()
		switch {
		case err == nil || !late:
			return msg, err
		case ctx.Err() != nil, r.JS.Conn().Stats().Reconnects != r.reconnects:
			return nil, errSilent
		case time.Now().Before(silent):
			continue
		case !r.Follow:
			return nil, errSilent
		}
		callCtx, cancel := context.WithDeadline(ctx, r.lastAnswer.Add(r.Timeout))
		_, err = consumer.Info(callCtx)
		cancel()
		if err != nil {
			return nil, err
		}
		r.lastAnswer = time.Now()
	}
}

// parseMessage reads a message and its number among those of its consumer.
func parseMessage(msg jetstream.Msg) (m Message, nth uint64, err error) {
	meta, err := msg.Metadata()
	if err != nil {
		return Message{}, 0, err
	}
	header := msg.Headers()
	if header == nil {
		header = nats.Header{} // known to be empty, unlike that of an export without headers
	}
	return Message{meta.Sequence.Stream, meta.Timestamp, msg.Subject(), header, msg.Data(), meta.NumPending}, meta.Sequence.Consumer, nil
}
