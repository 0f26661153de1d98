package bridge

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// ErrHung is returned by [Fleet.Hung] when a bridge makes no progress, which only a restart of the process ends.
var ErrHung = errors.New("no progress")

// progress is when the goroutine of [Bridge.Run] last did something. It never waits for anything without a bound:
// while BPCC, NATS or another leader keeps it waiting, each attempt is progress.
type progress struct {
	at atomic.Pointer[time.Time] // nil = none is expected: the bridge does not run, or reads the stream
}

// note records progress.
func (p *progress) note(now time.Time) { p.at.Store(&now) }

// pause ends the expectation of progress until the next note.
func (p *progress) pause() { p.at.Store(nil) }

// hangAfter is how long a bridge may make no progress: some polls, the requests of one that logs in again, and an
// attempt to acquire the lease, beside the calls of NATS.
func (b *Bridge) hangAfter() time.Duration {
	c := b.config
	return c.Times().HangAfter + 3*c.BPCC.PollInterval + 4*c.BPCC.Timeout + c.Stream.Lease.TTL
}

// hung returns [ErrHung] if the bridge has made no progress for too long.
func (b *Bridge) hung() error {
	at, limit := b.progress.at.Load(), b.hangAfter()
	if at == nil {
		return nil
	}
	if still := b.now().Sub(*at); still > limit {
		return fmt.Errorf("%w for %v, at most %v are normal", ErrHung, still.Round(100*time.Millisecond), limit)
	}
	return nil
}

// Hung returns [ErrHung] if a bridge has made no progress for too long. It may be called from any goroutine.
func (f *Fleet) Hung() error {
	for _, b := range f.bridges {
		if err := b.hung(); err != nil {
			return fmt.Errorf("tenant %s: %w", b.config.Tenant, err)
		}
	}
	return nil
}
