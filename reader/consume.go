package reader

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/scan"
	"bpcc-nats/reader/internal/lookup"
)

// Handler does the work for a batch. The batch is done when it returns nil; else it is handed over again.
// The events of a batch decode without an error.
type Handler func(ctx context.Context, b Batch) error

// Each returns a handler that does the work for one event after the other. When a batch is handed over
// again in this process, it goes on with the event that failed. The handler is for one [Reader.Consume].
func Each(handle func(ctx context.Context, e *Event) error) Handler {
	var done event.ID
	return func(ctx context.Context, b Batch) error {
		for _, e := range b.Events {
			if e.ID.Compare(done) <= 0 {
				continue
			}
			if err := handle(ctx, e); err != nil {
				return err
			}
			done = e.ID
		}
		return nil
	}
}

// ConsumeOptions say what a durable consumer hands over, and what happens when a handler fails.
type ConsumeOptions struct {
	// Subjects are those of the events to hand over, below the tenant, as in [EventsOptions]. None are all.
	// With subjects, batches without such an event and without a note are not handed over.
	Subjects []string
	// From is where the consumer begins when it does not exist yet. The first batch is that of the first
	// checkpoint from there on, and it is whole.
	From Start
	// After is the id of the last event whose work is done, as the handler has stored it with the work.
	// Events up to it are not handed over. The zero ID is before all events.
	After event.ID
	// AckWait is how long the server waits for a sign of life until it hands the batch to another process
	// that consumes by the same name; 0 is 30 s. While a handler works, there is such a sign every third of
	// it. It is that of a consumer that is made, not of one that exists.
	AckWait time.Duration
	// OnFailure is called when a handler has failed. It reports whether to give the batch up: it counts as
	// done then. If it is nil, no batch is given up.
	OnFailure func(Failure) (giveUp bool)
}

// Failure is a batch whose handler has failed.
type Failure struct {
	Batch Batch
	// Attempt counts the times that this process has handed the batch over, from 1.
	Attempt int
	// Err is what the handler returned.
	Err error
}

// Waits of a consumer.
const (
	defaultAckWait = 30 * time.Second
	requestCheck   = time.Second      // without a delivery, until the server is asked whether it has a request for one
	deliveryCheck  = 10 * time.Second // and from then on, why it delivers nothing
	retryPause     = 100 * time.Millisecond
	retryPauseMax  = 30 * time.Second
)

// Consume hands over the batches of the tenant, in their order, to the handler, until ctx ends or the
// handler cannot be served. Its progress is on the server, in the durable consumer of that name: it is the
// last checkpoint whose batch is done. The consumer is made if it does not exist. An account that may
// not make consumers can have one made by its administrator: on the subject feed.checkpoint of the tenant,
// with explicit acknowledgement and max_ack_pending 1.
//
// A batch is acknowledged after the handler has returned nil. How often it is handed over:
//
//   - Within a process once, unless the handler fails: also when the server delivers it again since an
//     acknowledgement was lost. After a failure it is handed over again, after 100 ms, and twice as long
//     each time, up to 30 s.
//   - After the process, the connection or the server ended between the work and the acknowledgement, once
//     more. A handler that stores the id of the last event in one transaction with its work, and gives it
//     back as After, gets no event twice, since ids rise. So does one whose work is the same the second
//     time.
//
// Several processes may consume by the same name. One of them has a batch at a time, so that the order is
// kept; if it ends, another one goes on after AckWait. It does not know the After of the other: there the
// handler must ask its own store.
//
// The error is that of the context when the context ends; [ErrOptions]; [ErrOtherTimeline] if the stream
// was replaced; [ErrUndeliverable]; or one of NATS. After the loss of the connection it goes on by itself.
func (r *Reader) Consume(ctx context.Context, durable string, handle Handler, o ConsumeOptions) error {
	o.AckWait = cmp.Or(o.AckWait, defaultAckWait)
	c := consumption{r: r, name: durable, handle: handle, options: o}
	err := checkSubjects(o.Subjects)
	switch {
	case err != nil:
	case durable == "":
		err = fmt.Errorf("%w: no name for the durable consumer", ErrOptions)
	case o.AckWait < time.Second:
		err = fmt.Errorf("%w: AckWait is %v; want at least 1s, or 0 for the default", ErrOptions, o.AckWait)
	default:
		defer c.stop()
		err = c.run(ctx)
	}
	if err != nil {
		return fmt.Errorf("consume %s: %w", durable, err)
	}
	return nil
}

// consumption is one call of [Reader.Consume].
type consumption struct {
	r       *Reader
	name    string
	handle  Handler
	options ConsumeOptions
	batches *batchReader // nil until a checkpoint is delivered
	last    event.ID     // the checkpoint of the last batch that is done
	floor   floor        // where an earlier process ended
	line    scan.Timeline
}

// floor is the last checkpoint that was acknowledged before this process began.
type floor struct {
	seq  uint64   // 0 = none
	id   event.ID // zero if that checkpoint is not in the stream any more
	seen bool     // the first batch after it was read
}

func (c *consumption) stop() {
	if c.batches != nil {
		c.batches.stop()
		c.batches = nil
	}
}

// run consumes until ctx ends, or what is wrong does not pass.
func (c *consumption) run(ctx context.Context) error {
	for pause := retryPause; ; pause = min(2*pause, 2*time.Second) {
		before, last := c.r.js.Conn().LastError(), c.last
		err := c.consume(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case c.r.js.Conn().IsClosed():
			return nats.ErrConnectionClosed
		}
		if err = scan.Refusal(c.r.js.Conn(), before, err); !scan.MayPass(err) {
			return err
		}
		if c.last != last {
			pause = retryPause
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// consume opens the consumer and reads it until something fails.
func (c *consumption) consume(ctx context.Context) error {
	consumer, err := c.open(ctx)
	if err != nil {
		return err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("read consumer: %w", err)
	}
	defer giveBack(messages)
	for quiet, wait := time.Now(), requestCheck; ; {
		waitCtx, cancel := context.WithTimeout(ctx, wait)
		msg, err := messages.Next(jetstream.NextContext(waitCtx))
		late := waitCtx.Err() != nil
		cancel()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && !late:
			return fmt.Errorf("read consumer: %w", err)
		case err != nil:
			if err := c.checkDelivery(ctx, consumer, quiet); err != nil {
				return err
			}
			wait = deliveryCheck
			continue
		}
		if err := c.take(ctx, msg); err != nil {
			_ = msg.Nak() // without it, the batch is handed over again after AckWait
			return err
		}
		quiet = time.Now()
	}
}

// giveBack ends a reading. What the server has delivered meanwhile goes to the next reader at once, and not
// only after AckWait.
func giveBack(messages jetstream.MessagesContext) {
	messages.Drain()
	for {
		msg, err := messages.Next(jetstream.NextMaxWait(time.Second))
		if err != nil {
			return
		}
		_ = msg.Nak()
	}
}

// open returns the consumer, and makes it if it does not exist.
func (c *consumption) open(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*c.r.options.Timeout)
	defer cancel()
	stream, err := c.r.js.Stream(ctx, c.r.options.Stream)
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", c.r.options.Stream, err)
	}
	if err := c.line.Check(ctx, stream); err != nil {
		return nil, fmt.Errorf("read stream %s: %w", c.r.options.Stream, err)
	}
	consumer, err := stream.Consumer(ctx, c.name)
	switch {
	case err == nil:
		if err := c.checkConsumer(consumer.CachedInfo().Config); err != nil {
			return nil, err
		}
		return consumer, c.findFloor(ctx, stream, consumer.CachedInfo().AckFloor.Stream)
	case !errors.Is(err, jetstream.ErrConsumerNotFound):
		return nil, fmt.Errorf("open consumer: %w", err)
	}
	wanted := jetstream.ConsumerConfig{
		Durable: c.name, Description: "Progress of a reader of " + c.r.tenant, FilterSubject: c.r.prefix + event.Checkpoint,
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: c.options.AckWait, MaxAckPending: 1,
	}
	from := c.options.From
	if c.last != (event.ID{}) { // the consumer was deleted meanwhile
		from = After(c.last)
	}
	switch {
	case from.now:
		wanted.DeliverPolicy = jetstream.DeliverNewPolicy
	case !from.since.IsZero():
		wanted.DeliverPolicy, wanted.OptStartTime = jetstream.DeliverByStartTimePolicy, &from.since
	case from.after != event.ID{}:
		found, err := lookup.Find(ctx, stream, c.r.tenant, from.after)
		if err != nil {
			return nil, err
		}
		wanted.DeliverPolicy, wanted.OptStartSeq = jetstream.DeliverByStartSequencePolicy, found.Next
	case from.sequence > 0:
		wanted.DeliverPolicy, wanted.OptStartSeq = jetstream.DeliverByStartSequencePolicy, from.sequence
	}
	if consumer, err = stream.CreateConsumer(ctx, wanted); err != nil {
		return nil, fmt.Errorf("create consumer: %w", err)
	}
	return consumer, nil
}

// findFloor finds out where an earlier process ended.
func (c *consumption) findFloor(ctx context.Context, stream jetstream.Stream, seq uint64) error {
	if c.floor.seen || seq == 0 {
		return nil
	}
	c.floor.seq = seq
	msg, err := stream.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read message %d: %w", seq, err)
	}
	if msg.Subject != c.r.prefix+event.Checkpoint {
		return nil // where messages were purged, the server says the first one that is left
	}
	if c.floor.id, err = event.ParseID(c.r.tenant, msg.Header.Get(nats.MsgIdHdr)); err != nil {
		c.floor.seq = 0 // a foreign message
	}
	return nil
}

// checkConsumer refuses a consumer that does not keep the order.
func (c *consumption) checkConsumer(got jetstream.ConsumerConfig) error {
	filters := got.FilterSubjects
	if got.FilterSubject != "" {
		filters = []string{got.FilterSubject}
	}
	want := c.r.prefix + event.Checkpoint
	switch {
	case got.AckPolicy != jetstream.AckExplicitPolicy, got.MaxAckPending != 1, !slices.Equal(filters, []string{want}):
		return fmt.Errorf("%w: the consumer exists with other settings; delete it, or give another name: want filter %s, ack policy explicit, max_ack_pending 1",
			ErrOptions, want)
	case got.MaxDeliver > 0:
		return fmt.Errorf("%w: the consumer has max_deliver %d, after which the server drops a batch that is not done; set it to -1", ErrOptions, got.MaxDeliver)
	}
	return nil
}

// checkDelivery asks the server why it has delivered nothing for a while; another process may have a batch.
func (c *consumption) checkDelivery(ctx context.Context, consumer jetstream.Consumer, since time.Time) error {
	ctx, cancel := c.r.call(ctx)
	defer cancel()
	info, err := consumer.Info(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("read consumer: %w", err)
	case info.NumWaiting == 0: // nats.go does not send it again
		return fmt.Errorf("read consumer: the request for messages was lost: %w", nats.ErrNoResponders)
	case info.NumPending == 0, info.NumAckPending > 0, time.Since(since) < 2*deliveryCheck:
		return nil
	}
	return fmt.Errorf("%w after message %d; delete the consumer, and start again with From a later sequence", ErrUndeliverable, info.Delivered.Stream)
}

// take does what a delivered checkpoint closes, and acknowledges it.
func (c *consumption) take(ctx context.Context, msg jetstream.Msg) error {
	meta, err := msg.Metadata()
	if err != nil {
		return fmt.Errorf("read consumer: %w", err)
	}
	seq, msgID := meta.Sequence.Stream, msg.Headers().Get(nats.MsgIdHdr)
	e, err := c.r.decoder.Parse(c.r.tenant, msg.Subject(), msgID, msg.Data())
	d, ok := e.Data.(*event.CheckpointData)
	if err != nil || !ok {
		return c.ack(ctx, msg) // foreign; the next batch notes it
	}
	// What was done, is done: an acknowledgement was lost.
	if e.ID.Compare(c.last) > 0 && e.ID.Compare(c.options.After) > 0 {
		b, err := c.batch(ctx, seq, d)
		if err != nil {
			return err
		}
		if err := c.work(ctx, msg, b); err != nil {
			return err
		}
	}
	if e.ID.Compare(c.last) > 0 {
		c.last, c.line.Seq, c.line.MsgID = e.ID, seq, msgID
	}
	return c.ack(ctx, msg)
}

// ack acknowledges a message, and waits until the server knows it.
func (c *consumption) ack(ctx context.Context, msg jetstream.Msg) error {
	ctx, cancel := c.r.call(ctx)
	defer cancel()
	if err := msg.DoubleAck(ctx); err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	return nil
}
