// Package lease decides which of several instances leads a tenant: by a key in a KV bucket that expires
// unless it is renewed.
package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/outage"
	"bpcc-nats/bridge/stream"
)

// Lease lets one of several instances lead a tenant. It decides who polls, not who may write: if
// two instances believe that they lead, the fence decides. The bucket's TTL ends a lease that is
// not renewed; a TTL of the key would be lost at the first renewal.
//
// Election libraries for JetStream exist, but none of them is maintained; this is the part of one
// that is needed.
type Lease struct {
	options       Options
	conn          *nats.Conn
	kv            jetstream.KeyValue
	bucket        *Bucket
	ttl           time.Duration
	callTimeout   time.Duration // bounds each request
	retryInterval time.Duration // how often a standby tries
	now           func() time.Time

	freeSince time.Time                 // since when the lease is free and left to others
	revision  uint64                    // of the key, while held
	renewedAt time.Time                 // when the request that last renewed it was sent
	held      atomic.Pointer[time.Time] // the same for [Lease.Held]; nil = not held

	wakeC chan struct{} // holds one when the process has woken up for a poll
}

// Options are what a [Lease] needs.
type Options struct {
	// Key is the key in the bucket, Instance the name of the instance, which is its value.
	Key, Instance string
	// Former are the names of instances that have ended for certain. Their lease need not end first.
	Former []string
	// RetryMax bounds the interval at which a standby tries to acquire the lease, which is a quarter of
	// the TTL; 0 = no bound.
	RetryMax time.Duration
	// AtCapacity reports whether others should acquire a free lease first.
	AtCapacity func() bool
	// OnBlocked is called with the reason why the lease cannot be acquired, "" when it can.
	OnBlocked func(string)
	Log       *slog.Logger
}

func newLease(k *Bucket, kv jetstream.KeyValue, ttl time.Duration, o Options) *Lease {
	retryInterval := ttl / 4
	if o.RetryMax > 0 {
		retryInterval = min(retryInterval, o.RetryMax)
	}
	return &Lease{
		options: o, conn: k.js.Conn(), kv: kv, bucket: k, ttl: ttl, callTimeout: k.callTimeout, retryInterval: retryInterval, now: time.Now,
		wakeC: make(chan struct{}, 1),
	}
}

// KV returns the bucket of leases.
func (l *Lease) KV() jetstream.KeyValue { return l.kv }

// TTL returns how long the lease lasts without renewal.
func (l *Lease) TTL() time.Duration { return l.ttl }

// Expired reports whether an entry of the bucket is older than leases last: see [Bucket.Expired].
func (l *Lease) Expired(entry jetstream.KeyValueEntry) bool { return l.bucket.Expired(entry) }

// RetryInterval returns how often a standby tries to acquire the lease.
func (l *Lease) RetryInterval() time.Duration { return l.retryInterval }

// Wake signals that the process is awake: a renewal that is due soon is sent now, because waking up
// is more expensive than the renewal.
func (l *Lease) Wake() {
	select {
	case l.wakeC <- struct{}{}:
	default:
	}
}

// ErrLost ends a term whose lease was not renewed in time.
var ErrLost = errors.New("the lease is lost")

// Acquire waits until this instance has the lease or ctx ends. The error is [stream.ErrUnavailable] if the
// bucket is missing, and [stream.UnusableError] if the bucket cannot hold leases.
func (l *Lease) Acquire(ctx context.Context) error {
	lastStandby := ""
	var blocked outage.Outage
	for {
		err := l.TryAcquire(ctx)
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
		// Not every attempt is logged.
		reason, fault := l.blockedReason(ctx, err)
		if fault {
			lastStandby = ""
			if lasts, due := blocked.Failed(l.now(), reason); due {
				l.options.Log.Warn("cannot acquire the leader lease", "err", reason, "lasts", lasts)
			}
		} else {
			blocked.End(l.now())
			if reason != lastStandby {
				lastStandby = reason
				l.options.Log.Info("standing by", "reason", reason)
			}
			reason = ""
		}
		l.options.OnBlocked(reason)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(l.retryInterval):
		}
	}
}

// errLate is returned for a lease that is over when its holder learns that it has it.
var errLate = errors.New("the response came after the end of the lease")

// errAtCapacity is why a free lease is not acquired.
var errAtCapacity = errors.New("at capacity: leaving this tenant to an instance with room")

// TryAcquire acquires the lease, or leaves it to others for some time if this instance leads its
// share already.
func (l *Lease) TryAcquire(ctx context.Context) error {
	// Without a connection it is not known which server will take the request.
	if l.conn.IsReconnecting() {
		return fmt.Errorf("acquire lease: %w", stream.Cause(l.conn, l.conn.LastError(), nats.ErrConnectionReconnecting))
	}
	if err := stream.CheckServer(l.conn); err != nil {
		return err
	}
	if l.options.AtCapacity() && !l.unclaimed(ctx) {
		return errAtCapacity
	}
	return l.createKey(ctx)
}

// unclaimed reports whether the lease has been free for so long that no instance with capacity will
// acquire it.
func (l *Lease) unclaimed(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, l.callTimeout)
	defer cancel()
	entry, err := l.kv.Get(ctx, l.options.Key)
	free := errors.Is(err, jetstream.ErrKeyNotFound) || err == nil && l.bucket.Expired(entry)
	if !free {
		l.freeSince = time.Time{}
		return false
	}
	if l.freeSince.IsZero() {
		l.freeSince = l.now()
	}
	return l.now().Sub(l.freeSince) >= 2*l.ttl
}

func (l *Lease) createKey(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.callTimeout)
	defer cancel()
	prevErr := l.conn.LastError()
	sent := l.now()
	revision, err := l.kv.Create(ctx, l.options.Key, []byte(l.options.Instance))
	if errors.Is(err, jetstream.ErrKeyExists) {
		if entry, getErr := l.kv.Get(ctx, l.options.Key); getErr == nil && l.takeable(entry) {
			taken, updateErr := l.kv.Update(ctx, l.options.Key, []byte(l.options.Instance), entry.Revision())
			if !errors.Is(updateErr, jetstream.ErrKeyRevisionMismatch) { // else another instance was faster
				revision, err = taken, updateErr
			}
		}
	}
	if err = stream.AboutStream(l.bucket.stream, stream.Cause(l.conn, prevErr, err)); err != nil {
		return fmt.Errorf("acquire lease: %w", err)
	}
	l.revision, l.freeSince = revision, time.Time{}
	l.setRenewed(sent)
	if !l.Held() {
		return fmt.Errorf("acquire lease: %w", errLate)
	}
	l.options.OnBlocked("")
	return nil
}

// takeable reports whether this instance need not wait for the end of a lease. It may still be this
// instance's: the response to a request came too late, or the lease was lost only because responses
// were missing. Its holder may have ended for certain. Or it is too old, and the server has not deleted
// it. If another instance takes or renews it meanwhile, its revision changes.
func (l *Lease) takeable(entry jetstream.KeyValueEntry) bool {
	holder := string(entry.Value())
	return holder == l.options.Instance || slices.Contains(l.options.Former, holder) || l.bucket.Expired(entry)
}

// bucketMissing returns [stream.ErrUnavailable] if the lease cannot be acquired because its bucket is
// missing.
func (l *Lease) bucketMissing(ctx context.Context, err error) error {
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
func (l *Lease) blockedReason(ctx context.Context, err error) (reason string, fault bool) {
	if errors.Is(err, errAtCapacity) {
		return err.Error(), false
	}
	if !errors.Is(err, jetstream.ErrKeyExists) {
		return stream.Explain(config.Stream{Lease: l.bucket.config}, err), true
	}
	ctx, cancel := context.WithTimeout(ctx, l.callTimeout)
	defer cancel()
	if entry, err := l.kv.Get(ctx, l.options.Key); err == nil {
		return string(entry.Value()) + " leads", false
	}
	return "another instance leads", false
}

// setRenewed records when the request was sent that last renewed the lease.
func (l *Lease) setRenewed(sent time.Time) {
	l.renewedAt = sent
	l.held.Store(&sent)
}

// Held reports whether this instance certainly has the lease: it was renewed less than the TTL ago, by
// the monotonic clock, and by the wall clock, which alone shows that the machine was suspended. It may
// be called from any goroutine.
func (l *Lease) Held() bool {
	renewed, now := l.held.Load(), l.now()
	return renewed != nil && now.Sub(*renewed) < l.ttl && now.Round(0).Sub(renewed.Round(0)) < l.ttl
}

// Hold renews the lease until ctx ends (nil) or it is lost ([ErrLost]).
func (l *Lease) Hold(ctx context.Context) error {
	for {
		// The interval counts from the sending of the last renewal, so a slow renewal is followed
		// soon by the next.
		next := l.renewedAt.Add(l.renewInterval()).Sub(l.now())
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
		case errors.Is(err, ErrLost):
			l.held.Store(nil)
			return err
		case !l.now().Before(deadline):
			return fmt.Errorf("%w: not renewed for %v: %w", ErrLost, l.ttl, err)
		}
	}
}

// Release deletes the lease, so that a standby need not wait for its end. A lease of another
// instance is not touched.
func (l *Lease) Release(ctx context.Context) {
	l.held.Store(nil)
	ctx, cancel := context.WithTimeout(ctx, l.callTimeout)
	defer cancel()
	err := l.kv.Delete(ctx, l.options.Key, jetstream.LastRevision(l.revision))
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		// The last renewal was cut off by the end of the term after it was sent, or the lease is
		// another instance's.
		var revision uint64
		if revision, err = l.readOwn(ctx); err == nil {
			err = l.kv.Delete(ctx, l.options.Key, jetstream.LastRevision(revision))
		}
		if errors.Is(err, ErrLost) {
			return
		}
	}
	if err != nil {
		l.options.Log.Warn("lease not released", "err", err, "ttl", l.ttl)
	}
}
