package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"
)

// leaseTTLLeast is the shortest TTL of a lease: a shorter one ends before an answer
// that is a little late is in.
const leaseTTLLeast = time.Second

var (
	// errNoTTL tells of a bucket of leases without a TTL, or with too short a one.
	errNoTTL = errors.New("a lease needs a TTL")
	// errTTLChanged ends a term whose lease was counted by another TTL.
	errTTLChanged = errors.New("the TTL of leases has changed")
)

func leaseStream(c *Config) string { return "KV_" + c.LeaseBucket }

// leaseTTL is how long a lease lasts that is not renewed, by the configuration of
// its bucket. Where no lease would ever end by itself, or none could be held, the
// error is [ErrStream].
func leaseTTL(config jetstream.StreamConfig) (time.Duration, error) {
	switch ttl := config.MaxAge; {
	case ttl <= 0:
		return 0, fmt.Errorf("%w: %w: stream %s has no max_age, so that the lease of a bridge that died would never end", ErrStream, errNoTTL, config.Name)
	case ttl < leaseTTLLeast:
		return 0, fmt.Errorf("%w: %w: max_age of stream %s is %v, the least is %v", ErrStream, errNoTTL, config.Name, ttl, leaseTTLLeast)
	default:
		return ttl, nil
	}
}

// leaseBucket is the bucket of leases as the server last described it. Tenants of a
// process share it, so that the server is asked once for all of them.
type leaseBucket struct {
	js     jetstream.JetStream
	stream string
	now    func() time.Time

	asking     *semaphore.Weighted // of one, which guards what follows
	asked      time.Time           // when ttl was seen; zero = never
	reconnects uint64              // of the connection, by then
	ttl        time.Duration
}

func newLeaseBucket(js jetstream.JetStream, c *Config) *leaseBucket {
	return &leaseBucket{js: js, stream: leaseStream(c), now: time.Now, asking: semaphore.NewWeighted(1)}
}

// check is the TTL of leases, as it was seen no longer than within ago and since the
// last reconnect. The error is [ErrStream] or [ErrServerVersion] where the bucket
// cannot serve, else that of the request.
func (k *leaseBucket) check(ctx context.Context, within time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := k.asking.Acquire(ctx, 1); err != nil {
		return 0, fmt.Errorf("wait for another tenant's look at the bucket of leases: %w", err)
	}
	defer k.asking.Release(1)
	reconnects := k.js.Conn().Stats().Reconnects
	if !k.asked.IsZero() && k.now().Sub(k.asked) < within && k.reconnects == reconnects {
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
	k.asked, k.reconnects, k.ttl = k.now(), reconnects, ttl
	return ttl, nil
}

// A bucket that is in use is looked at again after lookEvery TTLs, and before each
// term, unless that was done a moment ago for another tenant.
const (
	checkInterval = 2
	maxCheckAge   = time.Second
)

// unfit is why the lease cannot be held or waited for any longer: the server is too
// old, or the bucket is another one by now. It is nil while that is not known.
func (l *lease) unfit(ctx context.Context) error {
	if err := checkServer(l.conn); err != nil {
		return &unfit{err}
	}
	ttl, err := l.bucket.check(ctx, checkInterval*l.ttl)
	if err == nil && ttl != l.ttl {
		err = fmt.Errorf("%w: from %v to %v", errTTLChanged, l.ttl, ttl)
	}
	return fitting(err)
}

// guard waits until the lease cannot be held any longer for what has become of
// NATS, and returns why; nil when ctx ends.
func (l *lease) guard(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(l.ttl): // soon after a reconnect, too
		}
		if err := l.unfit(ctx); err != nil {
			return err
		}
	}
}
