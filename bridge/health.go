package bridge

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"bpcc-nats/bridge/answer"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/source"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/diff/image"
)

// Roles of an instance.
const (
	roleStandby = "standby"
	roleLeader  = "leader"
)

// Health is the state of an instance for people and probes.
type Health struct {
	Tenant   string `json:"tenant"`
	Instance string `json:"instance"`
	// Role is "leader", or "standby" while another instance leads or the lease cannot be acquired.
	Role string `json:"role"`
	// Warm reports whether a standby has read the stream and could lead at once.
	Warm bool `json:"warm,omitempty"`
	// Epoch is the leader's term; 0 for a standby.
	Epoch uint64 `json:"epoch,omitempty"`
	// Status is the status of the feed: live, interrupted or stopped; empty for a standby.
	Status string `json:"status,omitempty"`
	// ObservedUntil is until when all changes are in the stream.
	ObservedUntil *time.Time `json:"observed_until,omitempty"`
	// Committed is when the stream last acknowledged anything.
	Committed *time.Time `json:"committed,omitempty"`
	// Ready reports whether this instance can be relied upon: a leader with a fresh feed, or a warm
	// standby.
	Ready bool `json:"ready"`
	// Reason is why it is not ready.
	Reason string `json:"reason,omitempty"`
	// Warning is what an operator should change, though the instance works.
	Warning string `json:"warning,omitempty"`

	failure string // why the last poll was not good, and what to do; "" = it was, or that is not known
}

// healthState is what [Bridge.Health] reads while the bridge's goroutine runs.
type healthState struct {
	mu          sync.Mutex
	last        Health
	leaderStats leaderStats
	blockedBy   string              // why the instance cannot work; "" = it can
	blockedAt   time.Time           // when that was last stored
	coldBecause string              // why a standby that is not warm cannot read the stream; "" = it reads
	storage     stream.StorageCause // why NATS stored nothing when it last said so; reset with blockedBy
}

// leaderStats are the values of a leader for metrics, in addition to its health. They are replaced,
// never changed.
type leaderStats struct {
	pictureAt time.Time
	answers   *answer.State // what is published in this term
	entities  map[image.Kind]int
	raised    map[engine.FiringRule]int
	// unreadable counts the entities with a text that a rule cannot read, by rule.
	unreadable map[string]int
}

// set stores the health. It reports whether the role or the term has changed.
func (h *healthState) set(v Health, f leaderStats) (changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	changed = h.last.Role != v.Role || h.last.Epoch != v.Epoch
	h.last, h.leaderStats = v, f
	return changed
}

func (h *healthState) get() (last Health, f leaderStats, blockedBy, coldBecause string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last, h.leaderStats, h.blockedBy, h.coldBecause
}

// setBlocked stores why the instance cannot work, "" if it can.
func (b *Bridge) setBlocked(reason string) {
	b.health.mu.Lock()
	defer b.health.mu.Unlock()
	b.health.blockedBy = reason
	if reason == "" {
		b.health.storage = ""
	} else {
		b.health.blockedAt = b.now()
	}
}

// blockedAfter reports whether this instance was running at a time, and could not work since because of NATS.
func (b *Bridge) blockedAfter(t time.Time) bool {
	b.health.mu.Lock()
	defer b.health.mu.Unlock()
	return b.created.Before(t) && b.health.blockedAt.After(t)
}

// SetBlocked stores for all tenants why they cannot work yet, "" if they can. It may be called before
// [Fleet.Run].
func (f *Fleet) SetBlocked(reason string) {
	for _, b := range f.bridges {
		b.setBlocked(reason)
	}
}

// setHealth replaces the health of the instance.
func (b *Bridge) setHealth(h Health, f leaderStats) {
	if b.health.set(h, f) {
		b.shared.notifyRoleChange()
	}
}

// setStandby records that the instance does not lead.
func (b *Bridge) setStandby() {
	b.setHealth(Health{Tenant: b.config.Tenant, Instance: b.self.instance, Role: roleStandby}, leaderStats{})
}

// setWarm stores whether a standby could lead at once, and why it cannot read the stream, "" if it can.
func (b *Bridge) setWarm(yes bool, coldBecause string) {
	b.health.mu.Lock()
	defer b.health.mu.Unlock()
	b.health.last.Warm, b.health.coldBecause = yes, coldBecause
}

// noteFailure stores why a poll was not good; nil if it was. An error that explains nothing, such as "not ready",
// changes nothing.
func (b *Bridge) noteFailure(err error) {
	if cause := source.InterruptCause(err); cause != "" {
		b.failure = cause + ": " + err.Error() + "; " + source.Hint(err)
	} else if err == nil {
		b.failure = ""
	}
}

// updateHealth updates the health of the leader after each observation.
func (b *Bridge) updateHealth() {
	s := b.engine.Stats()
	h := Health{
		Tenant: b.config.Tenant, Instance: b.self.instance, Role: roleLeader,
		Epoch: s.Epoch, Status: s.Status, failure: b.failure,
	}
	if !s.ObservedUntil.IsZero() {
		h.ObservedUntil = &s.ObservedUntil
	}
	if !b.lastCommit.IsZero() {
		committed := b.lastCommit
		h.Committed = &committed
	}
	b.setHealth(h, leaderStats{pictureAt: s.PictureAt, answers: b.answers, entities: s.Entities, raised: s.Firing, unreadable: s.Unreadable})
}

// Health returns the present health. It may be called from any goroutine.
func (b *Bridge) Health() Health {
	h, _, blockedBy, coldBecause := b.health.get()
	h.Warning = b.shared.bucket.Warning()
	blockedBy = b.storageReason(blockedBy)
	// Between two checkpoints nothing is published while nothing changes.
	stale := b.config.Stream.CheckpointInterval + b.config.InterruptAfter()
	switch err := b.hung(); {
	case err != nil:
		h.Reason = err.Error()
	case blockedBy != "":
		h.Reason = blockedBy
	case h.Role == roleStandby:
		h.Ready = h.Warm
		if !h.Warm {
			h.Reason = strings.TrimSuffix("recovering state from the stream: "+coldBecause, ": ")
		}
	case h.Status != event.StatusLive:
		h.Reason = strings.TrimSuffix("the feed is "+h.Status+": "+h.failure, ": ")
	case h.Committed == nil || b.now().Sub(*h.Committed) > stale:
		h.Reason = fmt.Sprintf("no acknowledgement from the stream for more than %v", stale)
	default:
		h.Ready = true
	}
	return h
}

// leaderStats returns the leader's values for metrics; none on a standby.
func (b *Bridge) leaderStats() leaderStats {
	_, f, _, _ := b.health.get()
	return f
}
