package scan

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// next waits for the next message of a consumer.
func (r *Reader) next(ctx context.Context, w *waiter, consumer jetstream.Consumer, messages jetstream.MessagesContext) (jetstream.Msg, error) {
	for {
		due := r.pending > 0
		msg, quiet, err := w.next(messages, due)
		switch {
		case err == nil:
			return msg, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case w.now.Err() == nil:
			return nil, fmt.Errorf("read messages: %w", err)
		case r.JS.Conn().Stats().Reconnects != r.reconnects: // what was on its way is lost
			return nil, errSilent
		case !due && !r.Follow && time.Since(r.quietSince) > unfinishedWait:
			return nil, errEnd
		case !quiet || !due && time.Since(r.quietSince) < r.checkInterval():
			continue
		}
		if err := r.judgeQuiet(ctx, consumer); err != nil {
			return nil, err
		}
	}
}

// checkInterval is how often a reader without messages asks whether its consumer is still there, and has a
// request for messages.
func (r *Reader) checkInterval() time.Duration {
	if !r.requested {
		return idleCheck
	}
	if r.Patience > 0 {
		return min(consumerCheck, r.Patience/2)
	}
	return consumerCheck
}

// waiter waits for messages. Those that follow each other share a context that ends after a while: making
// one costs as much as reading a message.
type waiter struct {
	ctx     context.Context
	now     context.Context
	cancel  context.CancelFunc
	arrived bool // a message has arrived since the present context was made
}

// next waits for a message, not as long if one is due. It reports whether none has arrived for as long as
// it waits.
func (w *waiter) next(messages jetstream.MessagesContext, due bool) (msg jetstream.Msg, quiet bool, err error) {
	if w.now == nil || w.now.Err() != nil || !due {
		w.stop()
		d := idleCheck
		if due {
			d = quietAfter
		}
		w.now, w.cancel = context.WithTimeout(w.ctx, d)
		w.arrived = false
	}
	msg, err = messages.Next(jetstream.NextContext(w.now))
	w.arrived = w.arrived || err == nil
	return msg, !w.arrived, err
}

func (w *waiter) stop() {
	if w.cancel != nil {
		w.cancel()
	}
}

// judgeQuiet asks the server why no message arrives. The error is errEnd if none is left that it can load,
// and errStuck if it cannot load a whole block of them.
func (r *Reader) judgeQuiet(ctx context.Context, consumer jetstream.Consumer) error {
	callCtx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	info, err := consumer.Info(callCtx)
	if err != nil {
		return fmt.Errorf("read consumer state: %w", err)
	}
	onItsWay := info.Delivered.Consumer > r.delivered
	if onItsWay && time.Since(r.quietSince) > min(r.Timeout, lostAfter) {
		if err := r.miss(info.Delivered.Stream); err != nil {
			return err
		}
		r.delivered, onItsWay = info.Delivered.Consumer, false
	}
	counted, requested := r.pending, r.requested
	r.pending, r.requested = info.NumPending, info.NumWaiting > 0
	if r.pending < counted { // one that cannot be loaded was passed over
		r.alive, r.left = time.Now(), true
	}
	switch {
	case onItsWay:
		r.pending = max(r.pending, 1)
	case info.NumPending == 0 && (r.requested || r.delivered > 0) && !r.Follow && !r.unfinished():
		return errEnd
	case !requested && !r.requested && time.Since(r.quietSince) > min(r.Timeout, lostAfter):
		// The request for messages was lost, as before all servers know which of them responds to it. nats.go
		// does not send it again.
		return errSilent
	case !r.requested && r.delivered == 0: // it is on its way
		r.pending = max(r.pending, 1)
	case info.NumPending == 0:
		r.quietSince = time.Now()
		r.alive = r.quietSince
		r.caughtUp()
	case r.lastOnly(): // until the next request
		if time.Since(r.alive) > silence {
			return errSilent
		}
	default:
		return r.judgeStuck(callCtx, max(r.last, r.resume, info.Delivered.Stream))
	}
	return nil
}

// judgeStuck returns errStuck if the server can load messages after one, and errEnd if it cannot.
func (r *Reader) judgeStuck(ctx context.Context, after uint64) error {
	next, err := NextReadable(ctx, r.JS, r.Stream, after)
	switch {
	case err != nil:
		return err
	case next == 0 && !r.Follow:
		r.left = true
		return errEnd
	case next == 0:
		r.quietSince = time.Now()
		r.caughtUp()
		return nil
	}
	r.resume, r.alive = next, time.Now()
	return errStuck
}

// checkBeginning tells the end of the stream from a beginning in a block that the server cannot load: a
// consumer that begins there does not count what comes after it either.
func (r *Reader) checkBeginning(ctx context.Context) error {
	c := r.config()
	begin := c.OptStartSeq
	if c.DeliverPolicy != jetstream.DeliverByStartSequencePolicy || begin > r.end {
		return errEnd
	}
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	next, err := NextReadable(ctx, r.JS, r.Stream, begin-1)
	switch {
	case err != nil:
		return err
	case next <= begin:
		r.left = next == 0
		return errEnd
	}
	r.resume = next
	return errStuck
}
