package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bpcc-nats/bridge/config"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"
)

// leaseTTLLeast is the minimum TTL of a lease. A shorter lease would expire while a response is
// only a little late.
const leaseTTLLeast = time.Second

// The TTL of a bucket of leases is checked again after recheckEvery TTLs, and before
// each term unless the last check is younger than recheckPause.
const (
	recheckEvery = 2
	recheckPause = time.Second
)

var (
	// errNoTTL is returned for a bucket of leases without a TTL, or with too short a one.
	errNoTTL = errors.New("a lease needs a TTL")
	// errTTLChanged ends a term whose lease was computed with another TTL.
	errTTLChanged = errors.New("the TTL of leases has changed")
)

func leaseStream(c *config.Config) string { return "KV_" + c.LeaseBucket }

// leaseTTL returns how long a lease lasts without renewal, by the configuration of the bucket's
// stream. The error is [ErrStream] if leases would not expire, or would expire too early to be
// held.
func leaseTTL(config jetstream.StreamConfig) (time.Duration, error) {
	switch ttl := config.MaxAge; {
	case ttl <= 0:
		return 0, fmt.Errorf("%w: %w: stream %s has no max_age, so the lease of a crashed bridge would never end", ErrStream, errNoTTL, config.Name)
	case ttl < leaseTTLLeast:
		return 0, fmt.Errorf("%w: %w: max_age of stream %s is %v, the minimum is %v", ErrStream, errNoTTL, config.Name, ttl, leaseTTLLeast)
	default:
		return ttl, nil
	}
}

// leaseBucket checks the bucket of leases. The tenants of a process share one, so
// that the process sends one request for all of them.
type leaseBucket struct {
	js     jetstream.JetStream
	stream string

	callTimeout time.Duration // bounds a check

	requestSem *semaphore.Weighted // of weight 1; guards the fields below
	checkedAt  time.Time           // when ttl was read; zero = never
	reconnects uint64              // of the connection, at that time
	ttl        time.Duration
}

func newLeaseBucket(js jetstream.JetStream, c *config.Config) *leaseBucket {
	return &leaseBucket{js: js, stream: leaseStream(c), callTimeout: c.Times().CallTimeout, requestSem: semaphore.NewWeighted(1)}
}

// check returns the TTL of leases. A value read within this time, on the same connection to a
// server, is not read again. The error is [ErrStream] or [ErrServerVersion] if the bucket cannot be
// used, else that of the request.
func (k *leaseBucket) check(ctx context.Context, within time.Duration) (time.Duration, error) {
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
	stream, err := k.js.Stream(ctx, k.stream)
	if err != nil {
		return 0, err
	}
	info := stream.CachedInfo()
	if err := checkLeader(info); err != nil {
		return 0, err
	}
	ttl, err := leaseTTL(info.Config)
	if err != nil {
		return 0, err
	}
	k.checkedAt, k.reconnects, k.ttl = time.Now(), reconnects, ttl
	return ttl, nil
}

// check returns why the lease can no longer be held or waited for: the server is too
// old, or the bucket has changed. It returns nil if that is unknown.
func (l *lease) check(ctx context.Context) error {
	if err := checkServer(l.conn); err != nil {
		return &unusable{err}
	}
	ttl, err := l.bucket.check(ctx, recheckEvery*l.ttl)
	if err == nil && ttl != l.ttl {
		err = fmt.Errorf("%w: from %v to %v", errTTLChanged, l.ttl, ttl)
	}
	return asUnusable(err)
}

// guard checks the lease's bucket and the server until ctx ends, and returns why the
// lease can no longer be held; nil when ctx ends.
func (l *lease) guard(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(l.ttl): // so that a reconnect is noticed soon
		}
		if err := l.check(ctx); err != nil {
			return err
		}
	}
}
