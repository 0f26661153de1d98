package bridge

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Roles of an instance.
const (
	roleStandby = "standby"
	roleLeader  = "leader"
)

// Health is how an instance is, for people and probes.
type Health struct {
	Tenant   string `json:"tenant"`
	Instance string `json:"instance"`
	// Role is "leader", or "standby" while another instance leads or the lease
	// cannot be had.
	Role string `json:"role"`
	// Warm tells that a standby has read the stream and could lead at once.
	Warm bool `json:"warm,omitempty"`
	// Epoch is the leader's term; 0 for a standby.
	Epoch uint64 `json:"epoch,omitempty"`
	// Status is the feed's: live, interrupted or stopped; empty for a standby.
	Status string `json:"status,omitempty"`
	// ObservedUntil is the instant up to which all changes are in the stream.
	ObservedUntil *time.Time `json:"observed_until,omitempty"`
	// Committed is when the stream last acknowledged anything.
	Committed *time.Time `json:"committed,omitempty"`
	// Ready tells whether traffic may rely on this instance: a leader with a
	// fresh feed, or a warm standby.
	Ready bool `json:"ready"`
	// Reason says why it is not ready.
	Reason string `json:"reason,omitempty"`
}

// health is what [Bridge.Health] reads while the bridge's own goroutine works.
type health struct {
	mu   sync.Mutex
	last Health
}

func (h *health) set(v Health) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = v
}

// standBy notes that the instance does not lead.
func (b *Bridge) standBy() {
	b.health.set(Health{Tenant: b.config.Tenant, Instance: b.instance, Role: roleStandby})
}

// warm notes whether a standby could lead at once.
func (b *Bridge) warm(yes bool) {
	b.health.mu.Lock()
	defer b.health.mu.Unlock()
	b.health.last.Warm = yes
}

// report notes how the leader is, after each observation.
func (b *Bridge) report() {
	h := Health{
		Tenant: b.config.Tenant, Instance: b.instance, Role: roleLeader,
		Epoch: b.engine.epoch, Status: b.engine.status,
	}
	if !b.engine.observedUntil.IsZero() {
		until := b.engine.observedUntil
		h.ObservedUntil = &until
	}
	if !b.committed.IsZero() {
		committed := b.committed
		h.Committed = &committed
	}
	b.health.set(h)
}

// Health tells how the bridge is now. It may be called from any goroutine.
func (b *Bridge) Health() Health {
	b.health.mu.Lock()
	h := b.health.last
	b.health.mu.Unlock()
	// Between watermarks nothing is published, and nothing need be.
	stale := b.config.CheckpointInterval + b.config.silence()
	switch {
	case h.Role == roleStandby:
		h.Ready = h.Warm
		if !h.Warm {
			h.Reason = "reading the stream"
		}
	case h.Status != statusLive:
		h.Reason = "the feed is " + h.Status
	case h.Committed == nil || b.now().Sub(*h.Committed) > stale:
		h.Reason = fmt.Sprintf("the stream has acknowledged nothing for more than %v", stale)
	default:
		h.Ready = true
	}
	return h
}

// Handler serves /healthz, which answers 200 while the process is alive, and
// /readyz, which answers 503 while the instance is not ready. Both say in JSON
// how it is.
func (b *Bridge) Handler() http.Handler {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, status func(Health) int) {
		h := b.Health()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status(h))
		// The reader has gone if this fails; nobody is left to tell.
		_ = json.NewEncoder(w).Encode(h)
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, func(Health) int { return http.StatusOK })
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, func(h Health) int {
			if h.Ready {
				return http.StatusOK
			}
			return http.StatusServiceUnavailable
		})
	})
	return mux
}
