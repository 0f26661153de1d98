// Package rebalance spreads tenants over the processes that run them.
package rebalance

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

// ErrStepDown ends a term so that another instance can lead the tenant.
var ErrStepDown = errors.New("rebalancing: another instance has capacity")

// Rebalancer spreads tenants over the instances that run them. Each instance keeps a heartbeat key
// in the bucket of leases; the number of these keys gives its share. An instance that leads more
// than its share hands tenants over. One that leads its share lets others acquire a free lease
// first. Leases and fences do not depend on it.
type Rebalancer struct {
	instance string
	former   []string
	tenants  int
	log      *slog.Logger

	leading atomic.Int64 // tenants that this instance leads now
	share   atomic.Int64 // maximum number of tenants to lead while there are other instances; 0 = not known yet
}

// heartbeatPrefix begins the heartbeat keys. Leases are keys of one token, so the two cannot
// collide.
const heartbeatPrefix = "instances."

// New returns the rebalancer of an instance that runs a number of tenants. The former instances have ended for certain.
func New(instance string, former []string, tenants int, log *slog.Logger) *Rebalancer {
	return &Rebalancer{instance: instance, former: former, tenants: tenants, log: log}
}

// Leading returns how many tenants the instance leads. It may be called from any goroutine.
func (s *Rebalancer) Leading() int64 { return s.leading.Load() }

// Count adds to the number of tenants that the instance leads. It may be called from any goroutine.
func (s *Rebalancer) Count(n int64) { s.leading.Add(n) }

// AtCapacity reports whether this instance should let others acquire a free lease first.
func (s *Rebalancer) AtCapacity() bool {
	share := s.share.Load()
	return share > 0 && s.leading.Load() >= share
}

// Run renews the heartbeat and the share until ctx ends. The channels request of the leader of a tenant, which
// receives, that it hands over.
func (s *Rebalancer) Run(ctx context.Context, l *lease.Lease, stepDown []chan struct{}) {
	key := heartbeatPrefix + event.Token(s.instance)
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
				requestStepDown(stepDown, s.leading.Load()-share)
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
func (s *Rebalancer) countInstances(ctx context.Context, l *lease.Lease, key string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, config.CallTimeout)
	defer cancel()
	if _, err := l.KV().Put(ctx, key, []byte(s.instance)); err != nil {
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
func (s *Rebalancer) ended(key string) bool {
	return slices.ContainsFunc(s.former, func(instance string) bool { return key == heartbeatPrefix+event.Token(instance) })
}

// requestStepDown requests that some of the leaders hand over: a quarter of the excess at a
// time, so that the other instances can follow.
func requestStepDown(stepDown []chan struct{}, excess int64) {
	for i, n := 0, (excess+3)/4; i < len(stepDown) && n > 0; i++ {
		select {
		case stepDown[i] <- struct{}{}:
			n--
		default: // does not lead, or is requested already
		}
	}
}
