package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"bpcc-nats/bridge/stream"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// lease lets one of several instances lead a tenant. It decides who polls, not who may write: if
// two instances believe that they lead, the fence decides. The bucket's TTL ends a lease that is
// not renewed; a TTL of the key would be lost at the first renewal.
//
// Election libraries for JetStream exist, but none of them is maintained; this is the part of one
// that is needed.
type lease struct {
	conn          *nats.Conn
	kv            jetstream.KeyValue
	bucket        *leaseBucket
	key           string
	instance      string
	ttl           time.Duration
	callTimeout   time.Duration // bounds each request
	retryInterval time.Duration // how often a standby tries
	atCapacity    func() bool   // whether others should acquire a free lease first
	onBlocked     func(string)  // is called with the reason why the lease cannot be acquired, "" when it can
	log           *slog.Logger
	now           func() time.Time

	freeSince    time.Time // since when the lease is free and left to others
	revision     uint64    // of the key, while held
	renewedAt    time.Time // when the request that last renewed it was sent
	firstUnacked time.Time // when the first request since then without a response was sent; zero = none

	wakeC chan struct{} // holds one when the process has woken up for a poll
}

// wake signals that the process is awake: a renewal that is due soon is sent now, because waking up
// is more expensive than the renewal.
func (l *lease) wake() {
	select {
	case l.wakeC <- struct{}{}:
	default:
	}
}

// errLeaseLost ends a term whose lease was not renewed in time.
var errLeaseLost = errors.New("the lease is lost")

// acquire waits until this instance has the lease or ctx ends. The error is errUnavailable if the
// bucket is missing, and [stream.UnusableError] if the bucket cannot hold leases.
func (l *lease) acquire(ctx context.Context) error {
	lastLogged := ""
	for {
		err := l.tryAcquire(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if missingErr := l.bucketMissing(ctx, err); missingErr != nil {
			return missingErr
		}
		if err := l.check(ctx); err != nil {
			return err
		}
		// A change of the reason is logged, not every attempt.
		reason, fault := l.blockedReason(ctx, err)
		if reason != lastLogged {
			lastLogged = reason
			if fault {
				l.log.Warn("cannot acquire the leader lease", "err", reason)
			} else {
				l.log.Info("standing by", "reason", reason)
			}
		}
		if !fault {
			reason = ""
		}
		l.onBlocked(reason)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(l.retryInterval):
		}
	}
}

// errAtCapacity is why a free lease is not acquired.
var errAtCapacity = errors.New("at capacity: leaving this tenant to an instance with room")

// tryAcquire acquires the lease, or leaves it to others for some time if this instance leads its
// share already.
func (l *lease) tryAcquire(ctx context.Context) error {
	if err := stream.CheckServer(l.conn); err != nil {
		return err
	}
	if l.atCapacity() && !l.unclaimed(ctx) {
		return errAtCapacity
	}
	return l.createKey(ctx)
}

// unclaimed reports whether the lease has been free for so long that no instance with capacity will
// acquire it.
func (l *lease) unclaimed(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, l.callTimeout)
	defer cancel()
	_, err := l.kv.Get(ctx, l.key)
	if !errors.Is(err, jetstream.ErrKeyNotFound) {
		l.freeSince = time.Time{}
		return false
	}
	if l.freeSince.IsZero() {
		l.freeSince = l.now()
	}
	return l.now().Sub(l.freeSince) >= 2*l.ttl
}

func (l *lease) createKey(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.callTimeout)
	defer cancel()
	prevErr := l.conn.LastError()
	sent := l.now()
	revision, err := l.kv.Create(ctx, l.key, []byte(l.instance))
	if errors.Is(err, jetstream.ErrKeyExists) {
		// The key may still be this instance's: the response to a request came too late, or the
		// lease was lost only because responses were missing. Then it need not wait.
		if owner, _ := l.isOwner(ctx); owner {
			revision, err = l.kv.Update(ctx, l.key, []byte(l.instance), l.revision)
		}
	}
	if err = stream.AsPermissionError(l.conn, prevErr, err); err != nil {
		return fmt.Errorf("acquire lease: %w", err)
	}
	l.revision, l.renewedAt, l.freeSince, l.firstUnacked = revision, sent, time.Time{}, time.Time{}
	l.onBlocked("")
	return nil
}

// bucketMissing returns errUnavailable if the lease cannot be acquired because its bucket is
// missing.
func (l *lease) bucketMissing(ctx context.Context, err error) error {
	if !errors.Is(err, jetstream.ErrNoStreamResponse) && !errors.Is(err, nats.ErrNoResponders) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, l.callTimeout)
	defer cancel()
	if _, err := l.bucket.js.Stream(ctx, l.bucket.stream); errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("%w: bucket of leases: %w", stream.ErrUnavailable, err)
	}
	return nil
}

// blockedReason returns why the lease could not be acquired, and whether that is a fault; it is
// none that another instance has the lease.
func (l *lease) blockedReason(ctx context.Context, err error) (reason string, fault bool) {
	if errors.Is(err, errAtCapacity) {
		return err.Error(), false
	}
	if !errors.Is(err, jetstream.ErrKeyExists) {
		return err.Error(), true
	}
	ctx, cancel := context.WithTimeout(ctx, l.callTimeout)
	defer cancel()
	if entry, err := l.kv.Get(ctx, l.key); err == nil {
		return string(entry.Value()) + " leads", false
	}
	return "another instance leads", false
}

// hold renews the lease until ctx ends (nil) or it is lost ([errLeaseLost]).
func (l *lease) hold(ctx context.Context) error {
	for {
		// The interval counts from the sending of the last renewal, so a slow renewal is followed
		// soon by the next. That leaves time for two more requests, and is a little longer than the
		// default interval between polls.
		next := l.renewedAt.Add(21 * l.ttl / 50).Sub(l.now())
		select {
		case <-ctx.Done():
			return nil
		case <-l.wakeC:
			if l.now().Sub(l.renewedAt) < l.ttl/4 {
				continue
			}
		case <-time.After(max(next, l.ttl/20)):
		}
		deadline := l.renewedAt.Add(l.ttl)
		err := l.renew(ctx, deadline)
		switch {
		case err == nil || ctx.Err() != nil:
		case errors.Is(err, errLeaseLost):
			return err
		case !l.now().Before(deadline):
			return fmt.Errorf("%w: not renewed for %v: %w", errLeaseLost, l.ttl, err)
		}
	}
}

// renewal is the result of one request to renew the lease.
type renewal struct {
	sent     time.Time
	revision uint64
	err      error
}

// renew sends requests until one succeeds or the lease ends at deadline: again after some time,
// since a response may be lost, while earlier requests stay pending, since their responses may be
// late. A failed request ends it, unless others are pending.
func (l *lease) renew(ctx context.Context, deadline time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, max(deadline.Sub(l.now()), time.Millisecond))
	var requests sync.WaitGroup
	defer requests.Wait()
	defer cancel()
	const maxPending = 4 // the lease ends before a fifth request
	renewals := make(chan renewal, maxPending)
	pending := 0
	prevErr, lastRevision := l.conn.LastError(), l.revision
	send := func() {
		pending++
		sent := l.now()
		if l.firstUnacked.IsZero() {
			l.firstUnacked = sent
		}
		requests.Go(func() {
			revision, err := l.kv.Update(ctx, l.key, []byte(l.instance), lastRevision)
			renewals <- renewal{sent, revision, stream.AsPermissionError(l.conn, prevErr, err)}
		})
	}
	send()
	for ticker := time.NewTicker(l.ttl / 4); ; {
		select {
		case <-ticker.C:
			if pending < maxPending {
				send()
			}
			continue
		case a := <-renewals:
			pending--
			switch {
			case a.err == nil:
				ticker.Stop()
				l.revision, l.renewedAt, l.firstUnacked = a.revision, a.sent, time.Time{}
				return nil
			case errors.Is(a.err, jetstream.ErrKeyRevisionMismatch):
				ticker.Stop()
				return l.confirmOwner(ctx)
			case pending == 0:
				ticker.Stop()
				return fmt.Errorf("renew lease: %w", a.err)
			}
		}
	}
}

// confirmOwner finds out who has changed the lease: a request of this instance whose response was
// lost or is late, sent no earlier than the first unacknowledged one, or another instance.
func (l *lease) confirmOwner(ctx context.Context) error {
	owner, err := l.isOwner(ctx)
	switch {
	case err != nil:
		return err
	case !owner:
		return fmt.Errorf("%w: another instance has it", errLeaseLost)
	}
	l.renewedAt, l.firstUnacked = l.firstUnacked, time.Time{}
	return nil
}

// isOwner reports whether the key is still this instance's: a renewal whose response was lost has
// changed the revision.
func (l *lease) isOwner(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, l.callTimeout)
	defer cancel()
	entry, err := l.kv.Get(ctx, l.key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read lease: %w", err)
	case string(entry.Value()) != l.instance:
		return false, nil
	}
	l.revision = entry.Revision()
	return true, nil
}

// release deletes the lease, so that a standby need not wait for its end. A lease of another
// instance is not touched.
func (l *lease) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, l.callTimeout)
	defer cancel()
	err := l.kv.Delete(ctx, l.key, jetstream.LastRevision(l.revision))
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		// The last renewal was cut off by the end of the term after it was sent, or the lease is
		// another instance's.
		var owner bool
		if owner, err = l.isOwner(ctx); owner {
			err = l.kv.Delete(ctx, l.key, jetstream.LastRevision(l.revision))
		}
	}
	if err != nil {
		l.log.Warn("lease not released", "err", err, "ttl", l.ttl)
	}
}
