package lease

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
)

// The TTL of a bucket of leases is checked again after recheckEvery TTLs, and before
// each term unless the last check is younger than recheckPause.
const (
	recheckEvery = 2
	recheckPause = time.Second
)

// Bucket checks the bucket of leases. The tenants of a process share one, so
// that the process sends one request for all of them.
type Bucket struct {
	js     jetstream.JetStream
	name   string
	stream string

	callTimeout time.Duration // bounds a check

	requestSem *semaphore.Weighted // of weight 1; guards the fields below
	checkedAt  time.Time           // when ttl was read; zero = never
	reconnects uint64              // of the connection, at that time
	ttl        time.Duration
}

func NewBucket(js jetstream.JetStream, c *config.Config) *Bucket {
	return &Bucket{js: js, name: c.LeaseBucket, stream: stream.LeaseStream(c), callTimeout: c.Times().CallTimeout, requestSem: semaphore.NewWeighted(1)}
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
		kv, err = k.js.KeyValue(ctx, k.name)
	}
	if err = stream.AsPermissionError(conn, prevErr, err); err != nil {
		return nil, fmt.Errorf("open lease bucket %s: %w", k.name, err)
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
	ttl, err := stream.LeaseTTL(info.Config)
	if err != nil {
		return 0, err
	}
	k.checkedAt, k.reconnects, k.ttl = time.Now(), reconnects, ttl
	return ttl, nil
}

// check returns why the lease can no longer be held or waited for: the server is too
// old, or the bucket has changed. It returns nil if that is unknown.
func (l *Lease) check(ctx context.Context) error {
	if err := stream.CheckServer(l.conn); err != nil {
		return &stream.UnusableError{Cause: err}
	}
	ttl, err := l.bucket.check(ctx, recheckEvery*l.ttl)
	if err == nil && ttl != l.ttl {
		err = fmt.Errorf("%w: from %v to %v", stream.ErrTTLChanged, l.ttl, ttl)
	}
	return stream.AsUnusable(err)
}

// Guard checks the lease's bucket and the server until ctx ends, and returns why the
// lease can no longer be held; nil when ctx ends.
func (l *Lease) Guard(ctx context.Context) error {
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
