package stream

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
)

// leaseTTLLeast is the minimum TTL of a lease. A shorter lease would expire while a response is
// only a little late.
const leaseTTLLeast = time.Second

var (
	// ErrNoTTL is returned for a bucket of leases without a TTL, or with too short a one.
	ErrNoTTL = errors.New("a lease needs a TTL")
	// ErrTTLChanged ends a term whose lease was computed with another TTL.
	ErrTTLChanged = errors.New("the TTL of leases has changed")
)

// LeaseStream returns the name of the stream behind the bucket of leases.
func LeaseStream(c config.Lease) string { return config.BucketStream(c.Bucket) }

// LeaseTTL returns how long a lease lasts without renewal, by the configuration of the bucket's
// stream. The error is [ErrMismatch] if the bucket cannot hold leases, or they would not expire, or
// would expire too early to be held.
func LeaseTTL(have jetstream.StreamConfig) (time.Duration, error) {
	want := leaseConfig(config.Stream{Lease: config.Lease{Bucket: strings.TrimPrefix(have.Name, config.BucketStream(""))}})
	want.AllowRollup = have.AllowRollup // only a purge needs it, which the server excludes with deny_purge; leases are deleted
	if fatal, _ := compareStreams(want, have); len(fatal) > 0 {
		return 0, AboutStream(have.Name, fmt.Errorf("%w: stream %s cannot hold leases: %s", ErrMismatch, have.Name, strings.Join(fatal, "; ")))
	}
	switch ttl := have.MaxAge; {
	case ttl <= 0:
		return 0, fmt.Errorf("%w: %w: stream %s has no max_age, so the lease of a crashed bridge would never end", ErrMismatch, ErrNoTTL, have.Name)
	case ttl < leaseTTLLeast:
		return 0, fmt.Errorf("%w: %w: max_age of stream %s is %v, the minimum is %v", ErrMismatch, ErrNoTTL, have.Name, ttl, leaseTTLLeast)
	default:
		return ttl, nil
	}
}
