// Package reader is what the commands that read a stream share: the connection and what a
// signal means for it, the selection of messages by subject, time and sequence, the wait
// for the server, and a reader that loses and repeats nothing.
package reader

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/scan"
	"bpcc-nats/bridge/stream"
)

// ErrUsage is wrapped by errors of the command line or the configuration.
var ErrUsage = errors.New("wrong usage")

// Reader passes the messages of a range to Handle, in order and each once. After the
// loss of the connection or of the consumer it continues after the last message. It
// ends when the server has not responded for the timeout.
type Reader struct {
	Range
	JS      jetstream.JetStream
	Stream  string
	Timeout time.Duration       // how long the server may not respond
	Handle  func(Message) error // an error ends the reading
	// Unreadable is called with the sequences, in order, of messages that the server cannot load; nil if
	// nobody wants to know. Of a range of some subjects alone it is called at the end, if at all.
	Unreadable func(sequences []uint64)
	// Whole says that Subjects are all those of the stream.
	Whole bool
	// Unfiltered says that a consumer of the whole stream may be created without a filter. The permission to
	// create a consumer is for a filter, and without permissions none is needed. With a filter, the server
	// counts what is to come, and loads up to half of the stream for that.
	Unfiltered bool

	next    uint64 // the sequence that comes next in a whole stream; 0 = not known
	first   uint64 // the sequence of the first message
	inBatch bool   // the last message is not the end of its batch
}

// errHandler marks errors of Handle, which are not errors of the stream.
var errHandler = errors.New("cannot continue")

// errUndeliverable is returned at a message that no consumer delivers.
var errUndeliverable = errors.New("message cannot be read")

// Read returns at the end of the range, if it has one.
func (r *Reader) Read(ctx context.Context) error {
	s := scan.Reader{
		JS: r.JS, Stream: r.Stream, Consumer: r.config(), Follow: r.Follow, Timeout: r.Timeout, Patience: r.Timeout, Cause: stream.Cause,
		Opened: r.opened, Unfinished: func() bool { return r.inBatch },
		Undeliverable: func(after uint64) error {
			return fmt.Errorf("%w after sequence %d: perhaps empty with a header Status, like a response of the server; skip it with --from-seq %d",
				errUndeliverable, after, after+2)
		},
	}
	s.Handle = func(ctx context.Context, msg jetstream.Msg, meta *jetstream.MsgMetadata) error {
		return r.handle(ctx, newMessage(msg, meta))
	}
	err := s.Read(ctx)
	if err == nil {
		err = r.finish(ctx, &s)
	}
	err = stream.AboutStream(r.Stream, err)
	switch {
	case err == nil, errors.Is(err, scan.ErrStop):
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, errHandler), errors.Is(err, errNoAnswer):
		return err
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("read stream %s: stream not found; check BRIDGE_STREAM, and NATS_URL or BRIDGE_STORE_DIR", r.Stream)
	case !MayAnswer(err):
		return fmt.Errorf("read stream %s: %w", r.Stream, err)
	}
	return NoAnswer(r.JS.Conn(), r.Timeout, fmt.Errorf("read stream %s: %w", r.Stream, err))
}

// opened finds out where a whole stream begins.
func (r *Reader) opened(_ context.Context, s jetstream.Stream) error {
	if r.Whole && r.Since.IsZero() {
		r.next = max(r.From, s.CachedInfo().State.FirstSeq)
	}
	return nil
}

// handle takes the next message of the stream.
func (r *Reader) handle(ctx context.Context, m Message) error {
	before := m.Seq
	if r.To > 0 {
		before = min(before, r.To+1)
	}
	if err := r.report(ctx, before); err != nil {
		return err
	}
	if r.isPast(m) && !r.inBatch {
		return scan.ErrStop
	}
	if err := r.Handle(m); err != nil {
		return fmt.Errorf("%w: %w", errHandler, err)
	}
	if r.first == 0 {
		r.first = m.Seq
	}
	r.inBatch = r.CompleteBatch && !strings.HasSuffix(m.Subject, ".feed.checkpoint")
	return nil
}

// report reports the messages before a sequence that a whole stream has and the server did not
// deliver.
func (r *Reader) report(ctx context.Context, before uint64) error {
	from := r.next
	r.next = before + 1
	if !r.Whole || r.Unreadable == nil || from == 0 || from >= before {
		return nil
	}
	return r.retry(ctx, func(ctx context.Context) ([]uint64, error) {
		return scan.Undelivered(ctx, r.JS, r.Stream, from, before-1)
	})
}

// retry repeats a search for unreadable messages until the server responds, and reports what it finds.
func (r *Reader) retry(ctx context.Context, find func(context.Context) ([]uint64, error)) error {
	var found []uint64
	err := Retry(ctx, r.JS.Conn(), r.Timeout, func(ctx context.Context) (err error) {
		found, err = find(ctx)
		return err
	})
	if err == nil && len(found) > 0 {
		r.Unreadable(found)
	}
	return err
}

// unreadableLimit is how many messages on some subjects of a stream are named that cannot be loaded.
const unreadableLimit = 1000

// finish reports what cannot be loaded at the end of the stream, or of its part on some subjects.
func (r *Reader) finish(ctx context.Context, s *scan.Reader) error {
	_, end, left := s.Left()
	if r.To > 0 {
		end = min(end, r.To)
	}
	switch {
	case r.Unreadable == nil:
	case r.Whole:
		return r.report(ctx, end+1)
	case r.To == 0 && left && len(r.Subjects) == 1:
		// The server counts more than it has delivered.
		from := r.first
		if r.Since.IsZero() {
			from = max(r.From, 1)
		}
		return r.retry(ctx, func(ctx context.Context) ([]uint64, error) {
			return scan.FindUnreadable(ctx, r.JS, r.Stream, r.Subjects[0], from, end, unreadableLimit)
		})
	}
	return nil
}

// config says which messages are read, and where the reading begins.
func (r *Reader) config() jetstream.OrderedConsumerConfig {
	c := jetstream.OrderedConsumerConfig{FilterSubjects: r.Subjects}
	if r.Whole && r.Unfiltered {
		c.FilterSubjects = nil
	}
	switch {
	case r.From > 0:
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, r.From
	case !r.Since.IsZero():
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &r.Since.Time
	}
	return c
}

// newMessage is a message as a consumer delivers it.
func newMessage(msg jetstream.Msg, meta *jetstream.MsgMetadata) Message {
	header := msg.Headers()
	if header == nil {
		header = nats.Header{} // known to be empty, unlike that of an export without headers
	}
	return Message{meta.Sequence.Stream, meta.Timestamp, msg.Subject(), header, msg.Data(), meta.NumPending}
}
