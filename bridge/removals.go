package bridge

import (
	"context"
	"time"

	"bpcc-nats/bridge/stream"
	"bpcc-nats/bridge/view"
)

// purgeRemovalsInterval is how often a leader looks for removals in the view that have no TTL.
const purgeRemovalsInterval = 24 * time.Hour

// purgeRemovals purges removals from the view that are older than any event, at the start of a term and
// from time to time, until ctx ends.
func (b *Bridge) purgeRemovals(ctx context.Context) {
	for {
		maxAge, err := b.purgeRemovalsOnce(ctx)
		if err != nil && ctx.Err() == nil {
			b.log.Warn("old removals not purged from the view", "err", err, "hint", "the keys of entities that are gone stay in the view until this succeeds")
		}
		next := purgeRemovalsInterval
		if maxAge > 0 {
			next = min(next, maxAge)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(next):
		}
	}
}

// purgeRemovalsOnce returns the age from which on removals are purged.
func (b *Bridge) purgeRemovalsOnce(ctx context.Context) (maxAge time.Duration, err error) {
	if err := b.shared.recoveries.Acquire(ctx, 1); err != nil { // it reads as a recovery does
		return b.config.Stream.Retention, err
	}
	defer b.shared.recoveries.Release(1)
	info, err := stream.EventsInfo(ctx, b.js, b.config.Stream)
	if err != nil {
		return b.config.Stream.Retention, err
	}
	maxAge = info.Config.MaxAge
	n, err := view.PurgeRemovals(ctx, b.js, b.config, maxAge)
	if n > 0 {
		b.log.Info("old removals purged from the view", "keys", n)
	}
	return maxAge, err
}
