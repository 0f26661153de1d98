package bridge

import (
	"context"
	"errors"
	"log/slog"
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
	instance string
	tenants  int
	log      *slog.Logger

	leading atomic.Int64 // tenants that this instance leads now
	share   atomic.Int64 // maximum number of tenants to lead while there are other instances; 0 = not known yet
}

// heartbeatPrefix begins the heartbeat keys. Leases are keys of one token, so the two cannot
// collide.
const heartbeatPrefix = "instances."

func newRebalancer(instance string, tenants int, log *slog.Logger) *rebalancer {
	return &rebalancer{instance: instance, tenants: tenants, log: log}
}

// atCapacity reports whether this instance should let others acquire a free lease first.
func (s *rebalancer) atCapacity() bool {
	share := s.share.Load()
	return share > 0 && s.leading.Load() >= share
}

// runRebalancing renews the heartbeat and the share until ctx ends.
func (s *rebalancer) runRebalancing(ctx context.Context, l *lease.Lease, bridges []*Bridge) {
	key := heartbeatPrefix + event.Token(s.instance)
	tick := time.NewTicker(l.TTL() / 3)
	defer tick.Stop()
	lastLogged := int64(0)
	for {
		instances, err := s.countInstances(ctx, l.KV(), key)
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

// countInstances renews this instance's heartbeat and counts all heartbeats.
func (s *rebalancer) countInstances(ctx context.Context, kv jetstream.KeyValue, key string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, config.CallTimeout)
	defer cancel()
	if _, err := kv.Put(ctx, key, []byte(s.instance)); err != nil {
		return 0, err
	}
	keys, err := kv.ListKeysFiltered(ctx, heartbeatPrefix+"*")
	if err != nil {
		return 0, err
	}
	instances := 0
	for range keys.Keys() {
		instances++
	}
	return max(instances, 1), nil
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
