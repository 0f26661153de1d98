package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/lease"
	"bpcc-nats/bridge/outage"
	"bpcc-nats/bridge/rebalance"
	"bpcc-nats/bridge/recovery"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/bridge/trace"
	"bpcc-nats/bridge/view"
	"bpcc-nats/bridge/watchdog"
)

// A stopping bridge may take finishTimeout to finish the pending commit, and then stopTimeout to
// shut down: both, and the waits that do not end with a context, are within the ten seconds after
// which supervisors kill. sourceTimeout is the source's part of stopTimeout.
const (
	finishTimeout = 3 * time.Second
	stopTimeout   = 4 * time.Second
	sourceTimeout = 3 * time.Second
)

// clockFirst is how old the comparison with the NATS server's clock may be at the beginning of a term.
// The terms of many tenants begin at once, so they share one.
const clockFirst = time.Second

// Run publishes events until ctx ends, then publishes feed.stopped, deletes the subscription,
// releases the lease and returns nil. While another instance leads the tenant, or NATS is
// unavailable, it stands by without a BPCC session. It returns [ErrUnfinished] when it was stopped
// while the stream was not writable, and [ErrFenced] when another writer publishes the tenant's
// events without the lease, again and again. It ignores and logs foreign messages.
func (b *Bridge) Run(ctx context.Context) error {
	defer b.progress.pause()
	var unusable outage.Outage
	var fencedTerms []time.Time // when the last ones ended
	for staleReads := 0; ; {
		b.progress.note(b.now())
		b.setStandby()
		err := b.runTerm(ctx)
		var u *stream.UnusableError
		switch {
		case ctx.Err() != nil && errors.Is(err, lease.ErrLost):
			return nil // stopped, and another instance leads already
		case ctx.Err() != nil || err == nil:
			return err
		case errors.Is(err, errStaleRead) && staleReads < maxStaleReads:
			staleReads++
		case errors.Is(err, ErrFenced) && !errors.Is(err, errStaleRead):
			// Once, the other writer was the leader before, whose lease was lost with a majority of the
			// servers. The next term continues from what it has stored.
			staleReads = 0
			fencedTerms = append(fencedTerms, b.now())
			if n := len(fencedTerms) - maxFencedTerms; n > 0 && b.now().Sub(fencedTerms[n-1]) < fencedWindow {
				return err
			}
		case errors.Is(err, rebalance.ErrStepDown):
			staleReads = 0
			b.log.Info("rebalanced, standing by", "reason", err)
			continue
		case errors.Is(err, lease.ErrLost), errors.Is(err, errHistoryLost), errors.Is(err, stream.ErrTTLChanged):
			staleReads = 0
		case errors.As(err, &u):
			staleReads = 0
			hint := stream.Hint(b.config.Stream, u)
			b.setBlocked(stream.Explain(b.config.Stream, u))
			if lasts, due := unusable.Failed(b.now(), u.Error()); due {
				b.log.Error("NATS unusable, standing by", "err", u.Cause, "lasts", lasts, "hint", hint)
			}
			b.pauseAndRecreate(ctx, err)
			continue
		case errors.Is(err, stream.ErrUnavailable), errors.Is(err, ErrUnfinished):
			staleReads = 0
			b.setBlocked(stream.Explain(b.config.Stream, err))
			if lasts, due := unusable.Failed(b.now(), err.Error()); due {
				b.log.Warn("NATS unavailable, retrying", "err", err, "lasts", lasts, "hint", stream.Hint(b.config.Stream, err))
			}
			b.pauseAndRecreate(ctx, err)
			continue
		default:
			return err
		}
		unusable.End(b.now())
		b.log.Warn("stepping down", "err", err)
		b.warnHistoryLost(ctx, err)
	}
}

// runTerm waits for the lease and leads.
func (b *Bridge) runTerm(ctx context.Context) error {
	lease, err := b.openLease(ctx)
	if err != nil {
		return nilIfDone(ctx, stream.AsUnavailable(err))
	}
	m, err := b.waitForLease(ctx, lease)
	if err != nil {
		return nilIfDone(ctx, err)
	}
	return b.lead(ctx, lease, m)
}

// pauseAndRecreate waits after NATS was unavailable, and recreates the streams that were found
// missing.
func (b *Bridge) pauseAndRecreate(ctx context.Context, err error) {
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrBucketNotFound) {
		stream.Recreate(ctx, b.js, b.config.Stream, b.config.Times(), b.shared.embedded, b.log)
	}
	select {
	case <-ctx.Done():
	case <-time.After(b.config.Times().UnavailablePause):
	}
}

// ErrReload is the cause with which a context ends a bridge whose configuration has changed.
var ErrReload = errors.New("configuration changed")

// errStaleRead ends a term at its first batch: what was read from the stream was not the latest
// state, because the replica was behind. That passes by itself.
var errStaleRead = errors.New("stream replica is stale: a newer checkpoint exists")

// maxStaleReads is how many successive terms may end like that before it counts as another writer
// without the lease.
const maxStaleReads = 5

// maxFencedTerms is how many terms another writer's checkpoint may end within fencedWindow, although
// this instance has the lease, before it counts as a writer without the lease.
const (
	maxFencedTerms = 2
	fencedWindow   = time.Minute
)

// openLease opens the tenant's lease. The error is [stream.ErrServerVersion] or [stream.ErrMismatch] if
// the bucket of leases cannot hold it.
func (b *Bridge) openLease(ctx context.Context) (*lease.Lease, error) {
	// With many tenants, attempts are less frequent, to limit the load on the servers.
	retryMax := time.Duration(0)
	if b.shared.rebalancer == nil {
		retryMax = min(b.config.BPCC.PollInterval, time.Second)
	}
	return b.shared.bucket.Open(ctx, lease.Options{
		Key: event.Token(b.config.Tenant), Instance: b.self.instance, Former: b.self.former, RetryMax: retryMax, AtCapacity: b.atCapacity, OnBlocked: b.noteAttempt, Log: b.log,
	})
}

// noteAttempt records an attempt to acquire the lease, and why it failed, "" if only because another instance leads.
func (b *Bridge) noteAttempt(fault string) {
	b.progress.note(b.now())
	b.setBlocked(fault)
}

// atCapacity reports whether this process leads its share of many tenants.
func (b *Bridge) atCapacity() bool {
	return b.shared.rebalancer != nil && b.shared.rebalancer.AtCapacity()
}

// countLeading counts this tenant among those that the process leads, until undo is called.
func (b *Bridge) countLeading() (undo func()) {
	if b.shared.rebalancer == nil {
		return func() {}
	}
	count := func(n int64) {
		b.shared.rebalancer.Count(n)
		b.shared.notifyRoleChange()
	}
	count(1)
	return func() { count(-1) }
}

// lead runs one term: from acquiring the lease to its release or loss. The error is [lease.ErrLost],
// errHistoryLost, [stream.ErrTTLChanged], errStaleRead, [stream.ErrUnavailable] or
// [stream.UnusableError] where another term may follow. m is what a standby has read, nil if nothing.
func (b *Bridge) lead(ctx context.Context, l *lease.Lease, m *recovery.Recovery) error {
	defer b.countLeading()()
	b.term = term{}
	termCtx, endTerm := context.WithCancelCause(ctx)
	var background sync.WaitGroup
	background.Go(func() {
		if err := l.Hold(termCtx); err != nil {
			endTerm(err)
		}
	})
	background.Go(func() {
		if err := l.Guard(termCtx); err != nil {
			endTerm(err)
		}
	})
	background.Go(func() { b.purgeRemovals(termCtx) })
	background.Go(func() {
		select {
		case <-b.stepDown:
			endTerm(rebalance.ErrStepDown)
		case <-termCtx.Done():
		}
	})
	err := b.serve(termCtx, m, l)
	cause := context.Cause(termCtx)
	if errors.Is(err, lease.ErrLost) {
		cause, err = err, nil
	}
	endTerm(nil)
	background.Wait()
	if errors.Is(err, ErrFenced) && !errors.Is(cause, lease.ErrLost) {
		if l.Confirm(ctx) != nil {
			// The fence reported it before the lease, as after a pause of the process.
			cause = fmt.Errorf("%w: another instance writes", lease.ErrLost)
		}
	}
	if errors.Is(cause, lease.ErrLost) {
		// Another instance may have subscribed as the same user: unsubscribing would delete its
		// subscription.
		b.loop.Abandon()
		return errors.Join(cause, dropFenced(err))
	}
	var u *stream.UnusableError
	if errors.As(cause, &u) {
		err = errors.Join(err, u) // so that feed.stopped is not published
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	reason := "shutdown"
	switch {
	case errors.Is(cause, rebalance.ErrStepDown):
		reason = "handover"
	case errors.Is(cause, ErrReload):
		reason = "reload"
	}
	err = errors.Join(err, b.shutdown(stopCtx, err, reason))
	l.Release(stopCtx)
	if err == nil && errors.Is(cause, rebalance.ErrStepDown) {
		return cause
	}
	return err
}

// dropFenced removes ErrFenced, which a writer that has lost its lease must expect.
func dropFenced(err error) error {
	if errors.Is(err, ErrFenced) {
		return nil
	}
	return err
}

// serve recovers the state from the stream, starts the feed, publishes events and answers requests until
// ctx ends. It wakes the lease after each poll.
func (b *Bridge) serve(ctx context.Context, m *recovery.Recovery, l *lease.Lease) error {
	commitCtx, cancel := commitContext(ctx)
	defer cancel()
	prevErr := b.js.Conn().LastError()
	b.progress.pause() // a large stream takes long to read
	m, err := b.catchUp(ctx, m)
	b.progress.note(b.now())
	var info *jetstream.StreamInfo
	if err == nil {
		info, err = stream.EventsInfo(ctx, b.js, b.config.Stream)
	}
	if err != nil {
		return nilIfDone(ctx, stream.AsUnavailable(stream.Cause(b.js.Conn(), prevErr, err)))
	}
	var background sync.WaitGroup
	defer background.Wait()
	sideCtx, stopSide := context.WithCancel(ctx)
	defer stopSide()
	b.term = term{
		engine: m.Engine, answers: m.Answers, maxCheckAge: b.config.BPCC.UnknownAfter(b.config.BPCC.AvailabilityInterval),
		watchdog: watchdog.New(b.config, b.js, b.shared.embedded, b.log), fence: m.Fence, checkpoint: m.Checkpoint,
		view: viewRepair{recovered: m.View, restated: map[string]time.Time{}}, background: &background,
		removalTTL: view.RemovalTTL(info.Config),
	}
	b.metrics.viewMissing.WithLabelValues(b.config.Tenant).Set(0)
	defer b.metrics.viewMissing.DeleteLabelValues(b.config.Tenant)
	b.shared.clock.Now(ctx, clockFirst)
	if offset, known := b.shared.clock.Offset(); known {
		if ahead := m.CorrectClock(ctx, b.js, offset); ahead > 0 {
			b.log.Warn("clock of the last leader was ahead", "by", ahead.Round(time.Millisecond).String(),
				"hint", "synchronize the clocks of all machines that run bridges, as with NTP: times in events are those of the bridge that wrote them")
		}
	}
	started := b.engine.Start(b.now())
	b.loop.SeedServices(b.engine.KnownAvailability())
	s := b.engine.Stats()
	if b.blockedAfter(s.ObservedUntil) {
		b.engine.BlockedBefore()
	}
	b.log.Info("leading", "epoch", s.Epoch, "poll", s.Poll, "instance", b.self.instance,
		"agents", s.Entities[event.Agent], "services", s.Entities[event.Service])
	if err := b.watchdog.MarkTerm(ctx, s.Epoch); err != nil {
		b.log.Warn("cannot note the term", "err", err,
			"hint", "ids may be given a second time if an older backup of the stream is restored while the view is behind; grant publishing to bpcc.watchdog.<tenant>.term")
	}
	// Another instance may have begun a term since the lease ended. A start that follows what it has written would
	// fence it.
	if !l.Held() {
		return fmt.Errorf("%w: it ended before the stream was read", lease.ErrLost)
	}
	if err := b.commit(commitCtx, started); err != nil {
		if errors.Is(err, ErrFenced) {
			return fmt.Errorf("%w: %w", errStaleRead, err)
		}
		return err
	}
	b.updateHealth()
	defer b.answerRequests(l)()
	return b.loop.Run(ctx, b.engine, func(o engine.Observation, result *engine.Batch) error {
		defer l.Wake()
		decoded := b.now()
		b.progress.note(decoded)
		b.maxCheckAge = cmp.Or(o.AvailabilityUnknownAfter, b.config.BPCC.UnknownAfter(b.config.BPCC.AvailabilityInterval))
		b.noteFailure(result.Err)
		err := b.commitIfDue(commitCtx, result)
		if b.shared.tracer != nil && !errors.Is(o.Err, engine.ErrPending) {
			b.tracePoll(&o, result, decoded, err)
		}
		if err != nil || result.Err != nil {
			return err
		}
		return b.repairView(commitCtx, sideCtx)
	})
}

// tracePoll exports a poll that was decoded at an instant and then perhaps committed.
func (b *Bridge) tracePoll(o *engine.Observation, result *engine.Batch, decoded time.Time, commitErr error) {
	p := &trace.Poll{
		Tenant: b.config.Tenant, Epoch: b.engine.Stats().Epoch, Number: result.Poll(), Events: result.Len(),
		Began: o.Began, Sent: o.Sent, Received: o.Received, RequestErr: o.Err, Compared: o.At, Decoded: decoded, SnapshotErr: result.Err,
		Done: b.now(), Committed: !b.lastCommit.Before(decoded), CommitErr: commitErr,
	}
	if o.Err != nil {
		p.SnapshotErr = nil // it is the same
	}
	b.shared.tracer.Poll(p)
}

// nilIfDone returns err, or nil if the end of ctx caused it.
func nilIfDone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// commitContext returns a context for commits: it outlives ctx for a short time, so that a batch in
// flight when ctx ends can be acknowledged.
func commitContext(ctx context.Context) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(finishTimeout, cancel) })
	return out, func() { stop(); cancel() }
}

// shutdown unsubscribes at BPCC, and publishes feed.stopped unless the state of the stream is
// unknown. Both run concurrently, so a source without a response does not delay feed.stopped.
func (b *Bridge) shutdown(ctx context.Context, termErr error, reason string) error {
	unsubscribed := make(chan error, 1)
	go func() {
		sourceCtx, cancel := context.WithTimeout(ctx, sourceTimeout)
		defer cancel()
		unsubscribed <- b.loop.Unsubscribe(sourceCtx)
	}()
	var err error
	if termErr == nil && b.engine != nil {
		err = b.publishStopped(ctx, reason)
	} // else unknown: the next start finds out
	if err := <-unsubscribed; err != nil {
		b.log.Warn("subscription not deleted", "err", err)
	}
	return err
}

// publishStopped publishes the end of the feed.
func (b *Bridge) publishStopped(ctx context.Context, reason string) error {
	err := b.commit(ctx, b.engine.Stop(b.now(), reason))
	switch {
	case errors.Is(err, ErrFenced):
		b.log.Info("feed.stopped not published: another instance leads")
	case err != nil:
		return fmt.Errorf("publish feed.stopped: %w", err)
	default:
		b.log.Info("stopped", "poll", b.engine.Stats().Poll)
		if err := b.watchdog.Disarm(ctx); err != nil {
			b.log.Warn("watchdog not disarmed", "err", err, "hint", "the view will change from stopped to stale")
		}
	}
	return nil
}
