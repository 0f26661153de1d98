package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
)

// A bridge that is told to stop may take finishTimeout to finish the commit
// that is under way, and then stopTimeout to say goodbye: both, and the waits
// that do not end with a context, within the ten seconds after which supervisors
// kill. Of stopTimeout, the source gets sourceTimeout.
const (
	finishTimeout = 3 * time.Second
	stopTimeout   = 4 * time.Second
	sourceTimeout = 3 * time.Second
)

// Run carries events until ctx ends, then says so in the stream, gives the
// subscription and the lease back and returns nil. While another instance leads
// the tenant, or NATS is away, it stands by without a BPCC session. It returns
// [ErrUnfinished] when it was stopped while the stream took nothing, and
// [ErrFenced] when somebody writes the tenant's events without the lease. What
// stands among the events and is none is passed over, and told of.
func (b *Bridge) Run(ctx context.Context) error {
	told := ""
	for stale := 0; ; {
		b.standBy()
		err := b.term(ctx)
		var u *unfit
		switch {
		case ctx.Err() != nil && errors.Is(err, errLeaseLost):
			return nil // it was to stop, and another instance leads already
		case ctx.Err() != nil || err == nil:
			return err
		case errors.Is(err, errStale) && stale < staleMost:
			stale++
		case errors.Is(err, errHandOver):
			stale = 0
			b.log.Info("rebalanced, standing by", "reason", err)
			continue
		case errors.Is(err, errLeaseLost), errors.Is(err, errMemoryLost), errors.Is(err, errTTLChanged):
			stale = 0
		case errors.As(err, &u):
			stale = 0
			hint := b.config.hint(u)
			b.hinder(strings.TrimSuffix(u.Error()+"; "+hint, "; "))
			if text := u.Error(); text != told {
				told = text
				b.log.Error("NATS cannot serve, standing by", "err", u.cause, "hint", hint)
			}
			b.mend(ctx, err)
			continue
		case errors.Is(err, errAway), errors.Is(err, ErrUnfinished):
			stale = 0
			b.hinder(err.Error())
			if text := err.Error(); text != told {
				told = text
				b.log.Warn("NATS unavailable, retrying", "err", err)
			}
			b.mend(ctx, err)
			continue
		default:
			return err
		}
		told = ""
		b.log.Warn("stepping down", "err", err)
	}
}

// term waits for the lease and leads by it.
func (b *Bridge) term(ctx context.Context) error {
	lease, err := b.openLease(ctx)
	if err != nil {
		return unlessDone(ctx, away(err))
	}
	m, err := b.await(ctx, lease)
	if err != nil {
		return unlessDone(ctx, err)
	}
	return b.lead(ctx, lease, m)
}

// errAway ends a term, or the wait for one, that NATS does not let begin or go
// on: no answer, no permission, no stream.
var errAway = errors.New("NATS unavailable")

// away is err as the reason why a term does not begin or go on.
func away(err error) error {
	if u := fitting(err); u != nil {
		return u
	}
	return fmt.Errorf("%w: %w", errAway, err)
}

// awayPause is how long to wait before the next try.
const awayPause = time.Second

// mend waits a moment after NATS was away, and makes anew the streams that were
// found missing.
func (b *Bridge) mend(ctx context.Context, err error) {
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrBucketNotFound) {
		remake(ctx, b.js, b.config, b.log)
	}
	select {
	case <-ctx.Done():
	case <-time.After(awayPause):
	}
}

// remake makes streams anew that somebody has deleted under the bridge, as at the
// start of the program and by the same rules.
func remake(ctx context.Context, js jetstream.JetStream, c *Config, log *slog.Logger) {
	done, err := Provision(ctx, js, c)
	for _, p := range done {
		if p.Created {
			log.Warn("stream was deleted; recreated it empty", "stream", p.Stream)
		}
	}
	if err != nil && ctx.Err() == nil {
		log.Error("cannot recreate a deleted stream, retrying", "err", err)
	}
}

// errStale ends a term at its first batch: what was read from the stream was not
// its last word. A replica that is behind answers so, and soon will not.
var errStale = errors.New("stream replica is stale: a newer checkpoint exists")

// staleMost is how many terms in a row may end so before somebody else must be
// writing without the lease.
const staleMost = 5

// openLease binds the bucket of leases. The error is [ErrServerVersion] or
// [ErrStream] if no lease can be held there.
func (b *Bridge) openLease(ctx context.Context) (*lease, error) {
	if err := checkServer(b.js.Conn()); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	before := b.js.Conn().LastError()
	ttl, err := b.limits.bucket.look(ctx, lookMoment)
	if fitting(err) != nil {
		return nil, err
	}
	var kv jetstream.KeyValue
	if err == nil {
		kv, err = b.js.KeyValue(ctx, b.config.LeaseBucket)
	}
	if err = permitted(b.js.Conn(), before, err); err != nil {
		return nil, fmt.Errorf("open the bucket of leases %s: %w", b.config.LeaseBucket, err)
	}
	return &lease{
		conn: b.js.Conn(), kv: kv, bucket: b.limits.bucket, key: event.Token(b.config.Tenant), instance: b.self.instance, log: b.log, now: b.now,
		ttl: ttl, retry: b.retryAfter(ttl), full: b.full, hinder: b.hinder,
		awake: make(chan struct{}, 1),
	}, nil
}

// retryAfter is how often a standby tries to take the lease. With many tenants
// the tries of all together must not weigh on the servers.
func (b *Bridge) retryAfter(ttl time.Duration) time.Duration {
	if b.balance != nil {
		return ttl / 4
	}
	return min(b.config.PollInterval, time.Second, ttl/4)
}

// full tells whether this process leads its share of many tenants.
func (b *Bridge) full() bool { return b.balance != nil && b.balance.full() }

// leads counts this tenant among those that the process leads, until undone.
func (b *Bridge) leads() (undo func()) {
	if b.balance == nil {
		return func() {}
	}
	count := func(n int64) {
		b.balance.led.Add(n)
		b.limits.turn()
	}
	count(1)
	return func() { count(-1) }
}

// lead is one term: from the lease's taking to its release or loss. The error
// is errLeaseLost, errMemoryLost, errTTLChanged, errStale, errAway or [unfit] where another term may
// follow. m is what a standby has read, nil if nothing.
func (b *Bridge) lead(ctx context.Context, l *lease, m *recovery) error {
	defer b.leads()()
	term, end := context.WithCancelCause(ctx)
	var aside sync.WaitGroup
	aside.Go(func() {
		if err := l.hold(term); err != nil {
			end(err)
		}
	})
	aside.Go(func() {
		if err := l.guard(term); err != nil {
			end(err)
		}
	})
	aside.Go(func() {
		select {
		case <-b.yield:
			end(errHandOver)
		case <-term.Done():
		}
	})
	err := b.serve(term, m, l.rouse)
	lost := context.Cause(term)
	end(nil)
	aside.Wait()
	if errors.Is(err, ErrFenced) && !errors.Is(lost, errLeaseLost) {
		if mine, look := l.mine(ctx); look != nil || !mine {
			// The fence was quicker to tell than the lease, as after a pause.
			lost = fmt.Errorf("%w: another instance writes", errLeaseLost)
		}
	}
	if errors.Is(lost, errLeaseLost) {
		// Another instance may have subscribed as the same user by now:
		// deleting "the" subscription would delete its.
		b.source.abandon()
		return errors.Join(lost, notFenced(err))
	}
	var u *unfit
	if errors.As(lost, &u) {
		err = errors.Join(err, u) // so that nothing is published any more
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	reason := "shutdown"
	if errors.Is(lost, errHandOver) {
		reason = "handover"
	}
	err = errors.Join(err, b.stop(ending, err, reason))
	l.release(ending)
	if err == nil && errors.Is(lost, errHandOver) {
		return lost
	}
	return err
}

// notFenced leaves out the fence's refusal, which is what a writer that has lost
// its lease must expect.
func notFenced(err error) error {
	if errors.Is(err, ErrFenced) {
		return nil
	}
	return err
}

// serve takes back what the stream holds, claims the feed and carries events
// until ctx ends. It calls rouse after each.
func (b *Bridge) serve(ctx context.Context, m *recovery, rouse func()) error {
	commits, cancel := finishing(ctx)
	defer cancel()
	b.watchdog = newWatchdog(b.config, b.js, b.log)
	before := b.js.Conn().LastError()
	m, err := b.recollect(ctx, m)
	if err != nil {
		return unlessDone(ctx, away(permitted(b.js.Conn(), before, err)))
	}
	b.engine, b.fence = m.engine, m.fence
	started := b.engine.Start(b.now())
	if b.availability != nil {
		b.availability.expect(b.engine.KnownAvailability())
	}
	s := b.engine.Stats()
	b.log.Info("leading", "epoch", s.Epoch, "poll", s.Poll, "instance", b.self.instance,
		"agents", s.Entities[event.Agent], "services", s.Entities[event.Service])
	if err := b.commit(commits, started); err != nil {
		if errors.Is(err, ErrFenced) {
			return fmt.Errorf("%w: %w", errStale, err)
		}
		return err
	}
	b.report()
	return b.watch(ctx, func(_ engine.Observation, done *engine.Batch) error {
		defer rouse()
		return b.carry(commits, done)
	})
}

// unlessDone is err, or nil if it came of ctx's end.
func unlessDone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// finishing is a context for commits: it outlives ctx by a moment, so that a
// batch in flight when ctx ends is not left in doubt.
func finishing(ctx context.Context) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(finishTimeout, cancel) })
	return out, func() { stop(); cancel() }
}

// stop says goodbye: to BPCC, and to the stream unless the term ended in doubt.
// A source that hangs does not keep the stream from hearing it.
func (b *Bridge) stop(ctx context.Context, doubt error, reason string) error {
	left := make(chan error, 1)
	go func() {
		leaving, cancel := context.WithTimeout(ctx, sourceTimeout)
		defer cancel()
		left <- b.source.leave(leaving)
	}()
	var err error
	if doubt == nil && b.engine.Stats().Epoch > 0 {
		err = b.farewell(ctx, reason)
	} // else in doubt: the next start finds out
	if err := <-left; err != nil {
		b.log.Warn("subscription not deleted", "err", err)
	}
	return err
}

// farewell ends the feed in the stream.
func (b *Bridge) farewell(ctx context.Context, reason string) error {
	err := b.commit(ctx, b.engine.Stop(b.now(), reason))
	switch {
	case errors.Is(err, ErrFenced):
		b.log.Info("feed.stopped not published: another instance leads")
	case err != nil:
		return fmt.Errorf("publish feed.stopped: %w", err)
	default:
		b.log.Info("stopped", "poll", b.engine.Stats().Poll)
		if err := b.watchdog.disarm(ctx); err != nil {
			b.log.Warn("watchdog not disarmed", "err", err, "hint", "the view will change from stopped to stale")
		}
	}
	return nil
}
