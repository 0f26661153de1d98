package stream

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
)

// leaseTTLLeast is the minimum TTL of a lease. A shorter lease would expire while a response is
// only a little late.
const leaseTTLLeast = time.Second

var (
	// errNoTTL is returned for a bucket of leases without a TTL, or with too short a one.
	errNoTTL = errors.New("a lease needs a TTL")
	// ErrTTLChanged ends a term whose lease was computed with another TTL.
	ErrTTLChanged = errors.New("the TTL of leases has changed")
)

// LeaseStream returns the name of the stream behind the bucket of leases.
func LeaseStream(c *config.Config) string { return "KV_" + c.LeaseBucket }

// LeaseTTL returns how long a lease lasts without renewal, by the configuration of the bucket's
// stream. The error is [ErrMismatch] if leases would not expire, or would expire too early to be
// held.
func LeaseTTL(config jetstream.StreamConfig) (time.Duration, error) {
	switch ttl := config.MaxAge; {
	case ttl <= 0:
		return 0, fmt.Errorf("%w: %w: stream %s has no max_age, so the lease of a crashed bridge would never end", ErrMismatch, errNoTTL, config.Name)
	case ttl < leaseTTLLeast:
		return 0, fmt.Errorf("%w: %w: max_age of stream %s is %v, the minimum is %v", ErrMismatch, errNoTTL, config.Name, ttl, leaseTTLLeast)
	default:
		return ttl, nil
	}
}
