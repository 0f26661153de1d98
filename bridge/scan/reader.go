package scan

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrOtherTimeline is returned when a stream is not the one that was read before: it was deleted and
// created again, or restored from an older backup.
var ErrOtherTimeline = errors.New("the stream is not the one that was read before")

// ErrStop is returned by a handler that needs no more messages.
var ErrStop = errors.New("stop the scan")

// Reader reads the messages of a stream in order and each once, by consumers of its own: after the loss of
// the connection or of the consumer, another one continues after the last message. It passes over messages
// that the server cannot load. The ordered consumer of the client library recreates its consumer without a
// limit of time, and does not notice that the stream is another one. A Reader is used by one goroutine,
// for one reading.
type Reader struct {
	JS     jetstream.JetStream
	Stream string
	// Consumer says which messages are read, and where the reading begins.
	Consumer jetstream.OrderedConsumerConfig
	// Follow reports whether to continue with new messages at the end of the stream.
	Follow bool
	// Timeout bounds a request to the server.
	Timeout time.Duration
	// Patience is for how long failures that may pass are retried, such as those without a connection: 0
	// is not at all, less is for ever.
	Patience time.Duration
	// Opened is called with the stream before the first consumer is made, and may still change where to
	// begin; nil if nobody needs it.
	Opened func(context.Context, jetstream.Stream) error
	// CaughtUp is called whenever nothing is left to be read for now; nil if nobody needs it.
	CaughtUp func()
	// Unfinished reports, at the end of the stream, whether to wait some seconds for more; nil never does.
	Unfinished func() bool
	// Cause finds the cause of a request without a response; nil is [Refusal].
	Cause func(nc *nats.Conn, before, err error) error
	// Handle is called with each message. What it returns ends the reading.
	Handle func(context.Context, jetstream.Msg, *jetstream.MsgMetadata) error
	// Undeliverable is called where a message is that no consumer delivers, with the sequence of the message
	// before it. What it returns ends the reading; nil passes over it, as without Undeliverable.
	Undeliverable func(after uint64) error
	// Timeline is of the stream as it must be; zero if it is not known.
	Timeline Timeline

	begun  bool
	end    uint64 // the stream's last sequence at the beginning
	last   uint64 // sequence of the last message that was handled
	resume uint64 // where to begin after messages that the server cannot load
	left   bool   // the server counts messages at the end that it cannot load
	alive  time.Time
	// Of the present consumer: when it was made, or its last message handled, the number of reconnects
	// when it was made, and how many messages are left, by the server's last word.
	quietSince time.Time
	reconnects uint64
	pending    uint64
	delivered  uint64 // messages that it has delivered
	requested  bool   // it had a request for messages when it was last looked at
	// missed is the message before which the last consumer has lost one on the way; 0 if it has lost none.
	// What two consumers lose is a message that none delivers.
	missed uint64
}

// Reasons to replace a consumer by another one.
var (
	errGap    = errors.New("a message was lost on the way")
	errSilent = errors.New("no message arrives")
	errStuck  = errors.New("messages cannot be loaded")
)

// errEnd ends a reading to the present end of the stream.
var errEnd = errors.New("end of the stream")

// handlerError is an error of the handler, which ends the reading whatever it is.
type handlerError struct{ error }

const (
	// quietAfter is how long no message must arrive, although some are due, until the server is asked why: a
	// message that it cannot load counts as due for ever.
	quietAfter = 500 * time.Millisecond
	// idleCheck is how often a reader without messages looks at the connection, and consumerCheck how often
	// it asks whether its consumer is still there.
	idleCheck     = time.Second
	consumerCheck = 10 * time.Second
	// consumerIdle is when the server deletes a consumer without requests, such as that of a process that
	// was killed, or of a reader that is busy for long.
	consumerIdle = 30 * time.Second
	// pullMessages is how many messages a reading to the end requests at once. The server sends them while
	// earlier ones are handled.
	pullMessages = 2000
	// lastRequest is how long a request for the last messages of subjects lasts: at one that it cannot load
	// the server waits for the next request.
	lastRequest = 2 * time.Second
	// unfinishedWait is how long a reading waits at the end of the stream for what is unfinished.
	unfinishedWait = 2 * time.Second
	// lostAfter is how long a message is on its way until it is lost.
	lostAfter = time.Second
	// silence is how long no message must arrive, although some are on their way, until the reading has
	// failed: the server responds in tens of milliseconds.
	silence = 30 * time.Second

	retryPause    = 20 * time.Millisecond
	retryPauseMax = 2 * time.Second
)

// Read returns nil at the present end of the stream, unless the reader follows it.
func (r *Reader) Read(ctx context.Context) error {
	r.alive = time.Now()
	causeOf := r.Cause
	if causeOf == nil {
		causeOf = Refusal
	}
	var cause error // the last one that is not just a timeout
	for pause := retryPause; ; pause = min(2*pause, retryPauseMax) {
		before, last := r.JS.Conn().LastError(), r.last
		err := r.consume(ctx)
		var own handlerError
		switch {
		case errors.Is(err, errEnd):
			return nil
		case errors.As(err, &own):
			return own.error
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		goesOn := r.goesOn(err)
		if err = causeOf(r.JS.Conn(), before, err); !errors.Is(err, context.DeadlineExceeded) {
			cause = err
		}
		if !goesOn || errors.Is(err, nats.ErrPermissionViolation) {
			return cmp.Or(cause, err)
		}
		if r.last != last {
			pause, cause = retryPause, nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// goesOn reports whether the reading goes on after an error.
func (r *Reader) goesOn(err error) bool {
	waited := time.Since(r.alive)
	switch {
	case errors.Is(err, errGap), errors.Is(err, errStuck), errors.Is(err, errSilent), consumerLost(err):
		return r.Patience < 0 || waited < max(r.Patience, silence)
	case !MayPass(err):
		return false
	}
	return r.Patience < 0 || waited < r.Patience
}

// consumerLost reports whether another consumer can go on.
func consumerLost(err error) bool {
	return errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrConsumerDoesNotExist) ||
		errors.Is(err, jetstream.ErrConsumerLeadershipChanged) || errors.Is(err, jetstream.ErrNoHeartbeat)
}

// Left reports whether the server counts messages at the end of what was read that it cannot load, and
// returns the sequences between which they are.
func (r *Reader) Left() (first, last uint64, ok bool) { return r.last + 1, r.end, r.left }

// open looks at the stream, and makes a consumer.
func (r *Reader) open(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	stream, err := r.JS.Stream(ctx, r.Stream)
	if err != nil {
		return nil, fmt.Errorf("read info of stream %s: %w", r.Stream, err)
	}
	if err := r.Timeline.Check(ctx, stream); err != nil {
		return nil, fmt.Errorf("read stream %s: %w", r.Stream, err)
	}
	if !r.begun {
		if r.Opened != nil {
			if err := r.Opened(ctx, stream); err != nil {
				return nil, err
			}
		}
		r.end, r.begun = stream.CachedInfo().State.LastSeq, true
	}
	c := r.config() // also for an empty stream, so that a missing permission is noticed
	consumer, err := stream.CreateConsumer(ctx, c)
	if err != nil {
		if ctx.Err() != nil { // the server may make it nevertheless
			r.deleteConsumer(ctx, c.Name)
		}
		return nil, fmt.Errorf("create consumer: %w", err)
	}
	return consumer, nil
}

// lastOnly reports whether the last messages of subjects are read.
func (r *Reader) lastOnly() bool {
	return r.Consumer.DeliverPolicy == jetstream.DeliverLastPerSubjectPolicy
}

// config is that of a consumer for the rest of what is to be read.
func (r *Reader) config() jetstream.ConsumerConfig {
	o := r.Consumer
	c := jetstream.ConsumerConfig{
		Name: "reader-" + rand.Text(), AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: consumerIdle,
		FilterSubjects: o.FilterSubjects, DeliverPolicy: o.DeliverPolicy, OptStartSeq: o.OptStartSeq, OptStartTime: o.OptStartTime, HeadersOnly: o.HeadersOnly,
	}
	if len(o.FilterSubjects) == 1 { // then it is a part of the subject of the request, for permissions
		c.FilterSubject, c.FilterSubjects = o.FilterSubjects[0], nil
	}
	if r.last > 0 || r.resume > 0 {
		c.DeliverPolicy, c.OptStartSeq, c.OptStartTime = jetstream.DeliverByStartSequencePolicy, max(r.last+1, r.resume), nil
	}
	return c
}

// consume reads with one consumer.
func (r *Reader) consume(ctx context.Context) error {
	consumer, err := r.open(ctx)
	if err != nil {
		return err
	}
	// Until it expires, it counts towards the limit of consumers, which many tenants could exhaust.
	defer r.deleteConsumer(ctx, consumer.CachedInfo().Name)
	if r.quietSince = time.Now(); r.Follow {
		r.alive = r.quietSince
	}
	r.reconnects = r.JS.Conn().Stats().Reconnects
	r.pending = consumer.CachedInfo().NumPending
	if r.pending == 0 {
		r.caughtUp()
	}
	if r.pending == 0 && !r.Follow {
		return r.checkBeginning(ctx)
	}
	var options []jetstream.PullMessagesOpt
	if !r.Follow {
		options = append(options, jetstream.PullMaxMessages(pullMessages))
	}
	if r.lastOnly() {
		options = append(options, jetstream.PullExpiry(lastRequest))
	}
	messages, err := consumer.Messages(options...)
	if err != nil {
		return fmt.Errorf("read messages: %w", err)
	}
	defer messages.Stop()
	wait := waiter{ctx: ctx}
	defer wait.stop()
	for r.delivered, r.requested = 0, false; ; {
		msg, err := r.next(ctx, &wait, consumer, messages)
		if err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return fmt.Errorf("read messages: %w", err)
		}
		if meta.Sequence.Consumer != r.delivered+1 {
			if err := r.miss(meta.Sequence.Stream); err != nil {
				return err
			}
		}
		r.delivered = meta.Sequence.Consumer
		if err := r.Handle(ctx, msg, meta); err != nil {
			return handlerError{err}
		}
		r.last, r.pending = meta.Sequence.Stream, meta.NumPending
		if !r.lastOnly() {
			r.Timeline.Seq, r.Timeline.MsgID = r.last, msg.Headers().Get(nats.MsgIdHdr)
		}
		r.alive = time.Now() // the time of the handler does not count
		r.quietSince = r.alive
		if r.pending == 0 {
			r.caughtUp()
		}
		// Of the last message of each subject one may be replaced while they are read; the later one comes at
		// the end.
		if !r.Follow && (meta.NumPending == 0 || r.last >= r.end && !r.lastOnly()) && !r.unfinished() {
			r.left = r.left || meta.NumPending > 0 // or they are new
			return errEnd
		}
	}
}

func (r *Reader) caughtUp() {
	if r.CaughtUp != nil {
		r.CaughtUp()
	}
}

// unfinished reports whether to wait for more at the end of the stream.
func (r *Reader) unfinished() bool { return r.Unfinished != nil && r.Unfinished() }

// miss decides what to do about a message that was lost on the way, before another one or at the end: the
// first time another consumer is made. What that one does not deliver either is passed over: nats.go takes
// an empty message with a header Status for a response of the server.
func (r *Reader) miss(before uint64) error {
	if r.missed != before {
		r.missed = before
		return errGap
	}
	if r.Undeliverable != nil {
		return r.Undeliverable(r.last)
	}
	return nil
}

// deleteConsumer deletes a consumer that is not needed any more. A request may be lost with the
// connection, so it is repeated.
func (r *Reader) deleteConsumer(ctx context.Context, name string) {
	for range 3 {
		callCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(r.Timeout, time.Second)/2)
		err := r.JS.DeleteConsumer(callCtx, r.Stream, name)
		cancel()
		if err == nil || !errors.Is(err, context.DeadlineExceeded) {
			return
		}
	}
}

// Timeline is how a stream is known again: when it was created, and a message that was read.
type Timeline struct {
	Created time.Time // zero = not known
	Seq     uint64    // 0 = none
	MsgID   string
}

// Check returns [ErrOtherTimeline] if a stream is not the one that was read before. It takes over when the
// stream was created, if that is not known yet.
func (l *Timeline) Check(ctx context.Context, stream jetstream.Stream) error {
	info := stream.CachedInfo()
	if l.Created.IsZero() {
		l.Created = info.Created
	}
	switch {
	case !info.Created.Equal(l.Created):
		return fmt.Errorf("%w: it was created at %s", ErrOtherTimeline, info.Created.Format(time.RFC3339Nano))
	case l.Seq > info.State.LastSeq:
		return fmt.Errorf("%w: it ends at %d, before message %d", ErrOtherTimeline, info.State.LastSeq, l.Seq)
	case l.Seq == 0 || l.Seq < info.State.FirstSeq:
		return nil
	}
	same, err := SameMessage(ctx, stream, l.Seq, l.MsgID)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound): // deleted, or damaged
		return nil
	case err != nil:
		return err
	case !same:
		return fmt.Errorf("%w: message %d is not %q", ErrOtherTimeline, l.Seq, l.MsgID)
	}
	return nil
}

// Refusal returns why the server has not responded, if the connection has learned it since a call began: it
// drops a request for which the user has no permission without a response. before is the last error of the
// connection at that time.
func Refusal(nc *nats.Conn, before, err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) {
		if last := nc.LastError(); last != before && errors.Is(last, nats.ErrPermissionViolation) { //nolint:errorlint // another value
			return fmt.Errorf("%w: %w", last, err)
		}
	}
	return err
}

// MayPass reports whether what failed may succeed when it is repeated: without a connection, a leader, or
// this consumer.
func MayPass(err error) bool {
	if errors.Is(err, nats.ErrPermissionViolation) {
		return false
	}
	for _, value := range [...]error{
		errGap, errSilent, errStuck, context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected,
		nats.ErrConnectionReconnecting, nats.ErrNoServers, nats.ErrStaleConnection, nats.ErrReconnectBufExceeded,
		jetstream.ErrNoStreamResponse, jetstream.ErrServerShutdown, jetstream.ErrMaximumConsumersLimit,
	} {
		if errors.Is(err, value) {
			return true
		}
	}
	var api *jetstream.APIError
	return consumerLost(err) || errors.As(err, &api) && api.Code >= 500 && !errors.Is(err, jetstream.ErrOverlappingFilterSubjects)
}
