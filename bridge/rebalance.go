package bridge

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/lease"
)

// errRebalanced ends a term so that another instance can lead the tenant.
var errRebalanced = errors.New("rebalancing: another instance has capacity")

// rebalancer spreads tenants over the instances that run them. Each instance keeps a heartbeat key
// in the bucket of leases; the number of these keys gives its share. An instance that leads more
// than its share hands tenants over. One that leads its share lets others acquire a free lease
// first. Leases and fences do not depend on it.
type rebalancer struct {
	self    identity
	tenants int
	log     *slog.Logger

	leading atomic.Int64 // tenants that this instance leads now
	share   atomic.Int64 // maximum number of tenants to lead while there are other instances; 0 = not known yet
}

// heartbeatPrefix begins the heartbeat keys. Leases are keys of one token, so the two cannot
// collide.
const heartbeatPrefix = "instances."

func newRebalancer(self identity, tenants int, log *slog.Logger) *rebalancer {
	return &rebalancer{self: self, tenants: tenants, log: log}
}

// atCapacity reports whether this instance should let others acquire a free lease first.
func (s *rebalancer) atCapacity() bool {
	share := s.share.Load()
	return share > 0 && s.leading.Load() >= share
}

// runRebalancing renews the heartbeat and the share until ctx ends.
func (s *rebalancer) runRebalancing(ctx context.Context, l *lease.Lease, bridges []*Bridge) {
	key := heartbeatPrefix + event.Token(s.self.instance)
	tick := time.NewTicker(l.TTL() / 3)
	defer tick.Stop()
	lastLogged := int64(0)
	for {
		instances, err := s.countInstances(ctx, l, key)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			s.log.Warn("cannot count instances, not rebalancing", "err", err)
		default:
			share := int64((s.tenants + instances - 1) / instances)
			s.share.Store(share)
			if share != lastLogged {
				lastLogged = share
				s.log.Info("rebalanced tenants", "instances", instances, "tenants", s.tenants, "share", share)
			}
			if instances > 1 {
				requestStepDown(bridges, s.leading.Load()-share)
			}
		}
		select {
		case <-ctx.Done():
			deleteCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			if err := l.KV().Delete(deleteCtx, key); err != nil {
				s.log.Debug("heartbeat key not deleted", "err", err)
			}
			return
		case <-tick.C:
		}
	}
}

// countInstances renews this instance's heartbeat and counts all heartbeats that have not expired.
func (s *rebalancer) countInstances(ctx context.Context, l *lease.Lease, key string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, config.CallTimeout)
	defer cancel()
	if _, err := l.KV().Put(ctx, key, []byte(s.self.instance)); err != nil {
		return 0, err
	}
	heartbeats, err := l.KV().Watch(ctx, heartbeatPrefix+"*", jetstream.IgnoreDeletes(), jetstream.MetaOnly())
	if err != nil {
		return 0, err
	}
	defer heartbeats.Stop()
	instances := 0
	for {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case entry := <-heartbeats.Updates():
			switch {
			case entry == nil: // these were all
				return max(instances, 1), nil
			case !l.Expired(entry) && !s.ended(entry.Key()):
				instances++
			}
		}
	}
}

// ended reports whether a heartbeat is that of an instance that has ended for certain.
func (s *rebalancer) ended(key string) bool {
	return slices.ContainsFunc(s.self.former, func(instance string) bool { return key == heartbeatPrefix+event.Token(instance) })
}

// requestStepDown requests that some of the leading bridges hand over: a quarter of the excess at a
// time, so that the other instances can follow.
func requestStepDown(bridges []*Bridge, excess int64) {
	for i, n := 0, (excess+3)/4; i < len(bridges) && n > 0; i++ {
		select {
		case bridges[i].stepDown <- struct{}{}:
			n--
		default: // does not lead, or is requested already
		}
	}
}
