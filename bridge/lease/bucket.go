package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
)

// recheckPause is how long a check of the bucket of leases holds. It is made again once in the time that a
// lease lasts, and at each try to acquire one.
const recheckPause = time.Second

// Bucket checks the bucket of leases. The tenants of a process share one, so
// that the process sends one request for all of them.
type Bucket struct {
	js     jetstream.JetStream
	config config.Lease
	stream string
	log    *slog.Logger

	callTimeout time.Duration // bounds a check

	requestSem *semaphore.Weighted // of weight 1; guards the writing of the fields below

	mu         sync.Mutex
	checkedAt  time.Time     // when the bucket was last checked; zero = never
	reconnects uint64        // of the connection, at that time
	ttl        time.Duration // how long leases last
	serverTime time.Time     // the server's clock at checkedAt, or a little before
	warning    string        // what an operator should change in the bucket; "" = nothing
}

// NewBucket returns the bucket of a configuration, which has not been checked yet.
func NewBucket(js jetstream.JetStream, c config.Lease, timing *config.Timing, log *slog.Logger) *Bucket {
	return &Bucket{js: js, config: c, stream: stream.LeaseStream(c), log: log, callTimeout: timing.CallTimeout, requestSem: semaphore.NewWeighted(1)}
}

// Warning returns what an operator should change in the bucket, though leases can be held in it; ""
// if nothing. It may be called from any goroutine.
func (k *Bucket) Warning() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.warning
}

// Expired reports whether an entry is older than leases last, by the server's clock. The server deletes
// such an entry, unless the bucket has lost its TTL or has a longer one.
func (k *Bucket) Expired(entry jetstream.KeyValueEntry) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.serverTime.IsZero() && k.serverTime.Add(time.Since(k.checkedAt)).Sub(entry.Created()) > k.ttl
}

// Open opens a lease in the bucket; nobody has it yet. The error is [stream.ErrServerVersion] or
// [stream.ErrMismatch] if the bucket cannot hold it.
func (k *Bucket) Open(ctx context.Context, o Options) (*Lease, error) {
	conn := k.js.Conn()
	if err := stream.CheckServer(conn); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, k.callTimeout)
	defer cancel()
	prevErr := conn.LastError()
	ttl, err := k.check(ctx, recheckPause)
	if stream.AsUnusable(err) != nil {
		return nil, err
	}
	var kv jetstream.KeyValue
	if err == nil {
		kv, err = k.js.KeyValue(ctx, k.config.Bucket)
	}
	if err = stream.AboutStream(k.stream, stream.Cause(conn, prevErr, err)); err != nil {
		return nil, fmt.Errorf("open lease bucket %s: %w", k.config.Bucket, err)
	}
	return newLease(k, kv, ttl, o), nil
}

// check returns the TTL of leases. A value read within this time, on the same connection to a
// server, is not read again. The error is [stream.ErrMismatch] or [stream.ErrServerVersion] if the bucket cannot be
// used, else that of the request.
func (k *Bucket) check(ctx context.Context, within time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, k.callTimeout)
	defer cancel()
	if err := k.requestSem.Acquire(ctx, 1); err != nil {
		return 0, fmt.Errorf("wait for the check of the bucket of leases: %w", err)
	}
	defer k.requestSem.Release(1)
	reconnects := k.js.Conn().Stats().Reconnects
	if !k.checkedAt.IsZero() && time.Since(k.checkedAt) < within && k.reconnects == reconnects {
		return k.ttl, nil
	}
	s, err := k.js.Stream(ctx, k.stream)
	if err != nil {
		return 0, err
	}
	info := s.CachedInfo()
	if err := stream.CheckLeader(info); err != nil {
		return 0, err
	}
	ttl, warning, err := k.leaseTTL(info.Config)
	if err != nil {
		return 0, err
	}
	k.logWarning(warning)
	k.mu.Lock()
	defer k.mu.Unlock()
	// The server has taken its time before the response arrived, so no lease counts as too old.
	k.checkedAt, k.reconnects, k.ttl, k.serverTime, k.warning = time.Now(), reconnects, ttl, info.TimeStamp, warning
	return ttl, nil
}

// leaseTTL returns how long leases last in a bucket, and what an operator should change in it. Leases
// last no longer than is configured, since their holders renew them and their age is known. So a
// bucket that has lost its TTL can still be used, but not one that never had any: the leases of other
// bridges there would never end.
func (k *Bucket) leaseTTL(have jetstream.StreamConfig) (ttl time.Duration, warning string, err error) {
	ttl, err = stream.LeaseTTL(have)
	configured := k.config.TTL
	switch {
	case errors.Is(err, stream.ErrNoTTL) && have.MaxAge <= 0 && !k.checkedAt.IsZero():
		return configured, fmt.Sprintf("stream %s has lost its max_age; %s", k.stream, stream.Hint(config.Stream{Lease: k.config}, err)), nil
	case err != nil:
		return 0, "", err
	case ttl == configured:
		return ttl, "", nil
	}
	warning = fmt.Sprintf("max_age of stream %s is %v, not %v (BRIDGE_LEASE_TTL): leases last the shorter of both; nats kv edit %s --ttl %v, or set BRIDGE_LEASE_TTL",
		k.stream, ttl, configured, k.config.Bucket, configured)
	return min(ttl, configured), warning, nil
}

// logWarning logs a change of the warning.
func (k *Bucket) logWarning(warning string) {
	switch had := k.Warning(); {
	case warning == had:
	case warning != "":
		k.log.Warn("bucket of leases should be changed", "bucket", k.config.Bucket, "err", warning)
	default:
		k.log.Info("bucket of leases is right again", "bucket", k.config.Bucket)
	}
}

// check returns why the lease can no longer be held or waited for: the server is too
// old, or the bucket has changed. It returns nil if that is unknown.
func (l *Lease) check(ctx context.Context) error {
	if err := stream.CheckServer(l.conn); err != nil {
		return &stream.UnusableError{Cause: err}
	}
	ttl, err := l.bucket.check(ctx, recheckPause)
	if err == nil && ttl != l.ttl {
		err = fmt.Errorf("%w: from %v to %v", stream.ErrTTLChanged, l.ttl, ttl)
	}
	return stream.AsUnusable(err)
}

// Guard checks the lease's bucket and the server once in the time that a lease lasts, until ctx ends. It
// returns why the lease can no longer be held; nil when ctx ends. A bucket whose TTL gets shorter than
// renewals are apart ends the lease by itself.
func (l *Lease) Guard(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(l.ttl):
		}
		if err := l.check(ctx); err != nil {
			return err
		}
	}
}
