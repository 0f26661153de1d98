package bridge

import (
	"context"
	"fmt"
	"slices"
	"time"

	"bpcc-nats/bridge/recovery"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/bridge/view"
)

const (
	// restateInterval is how long the same entity is not published again for the view's sake, and a view
	// with an old event, or one that has stalled, not rebuilt again.
	restateInterval = 10 * time.Minute
	// viewExamples is how many keys a log message names.
	viewExamples = 5
)

// viewRepair is what a leader knows about the view of its tenant. It belongs to the goroutine of Run, but
// for the check that is under way.
type viewRepair struct {
	recovered recovery.View
	compared  bool // what the recovery found is dealt with
	nextCheck time.Time
	checking  chan view.Comparison // nil = no check is under way
	restated  map[string]time.Time // when an entity was last published again, by its key
	missing   []string             // that were logged
	servers   string               // of the last complete comparison

	// rebuiltAt is when the view was last rebuilt for an old event, or because it had stalled: a view whose
	// configuration somebody has changed stays so.
	rebuiltAt time.Time
}

// repairView keeps the view in step with the stream, after a good poll is stored. A view of another
// timeline, or with outdated keys, is rebuilt; what the view lacks is published again. A check of the view ends with checkCtx.
func (b *Bridge) repairView(ctx, checkCtx context.Context) error {
	v := &b.view
	if !v.compared {
		v.compared = true
		if err := b.compareRecovered(ctx); err != nil {
			return err
		}
	}
	if v.checking == nil {
		if b.now().Before(v.nextCheck) {
			return nil
		}
		v.nextCheck = b.now().Add(b.config.Times().ViewCheckInterval)
		v.checking = make(chan view.Comparison, 1)
		keys, epoch, checkpoint, servers, result := b.engine.ViewKeys(), b.engine.Stats().Epoch, b.fence, v.servers, v.checking
		b.background.Go(func() {
			found, err := view.Compare(checkCtx, b.js, b.config, keys, epoch, checkpoint, servers)
			if err != nil && checkCtx.Err() == nil {
				b.log.Debug("view not compared", "err", err) // other code reports a view that cannot be read
				found = view.Comparison{}
			}
			result <- found
		})
		return nil
	}
	select {
	case found := <-v.checking:
		v.checking = nil
		return b.handleViewCheck(ctx, found)
	default:
		return nil
	}
}

// compareRecovered rebuilds the view if the recovery has read one of another timeline. What only the view
// has is published again before.
func (b *Bridge) compareRecovered(ctx context.Context) error {
	v := &b.view
	if !v.recovered.Suspicious() {
		return nil
	}
	events, err := b.js.Stream(ctx, b.config.Stream.Name)
	var reason string
	if err == nil {
		// The fence is certain: the server has stored the checkpoint there.
		reason, err = v.recovered.OtherTimeline(ctx, events, b.fence)
	}
	if err != nil {
		b.log.Warn("view not compared with the stream", "err", err)
		return nil
	}
	if reason == "" {
		return nil
	}
	if err := b.restate(ctx, v.recovered.Only); err != nil {
		return err
	}
	b.rebuildView(ctx, v.recovered.Created, reason)
	return nil
}

// handleViewCheck does what the result of a check calls for.
func (b *Bridge) handleViewCheck(ctx context.Context, found view.Comparison) error {
	v := &b.view
	reason := found.Outdated
	if stalled := b.shared.view.Lag().StalledFor; !found.CaughtUp && found.OneCopy && stalled >= b.config.Times().ViewRebuildAfter {
		reason = fmt.Sprintf("it has taken nothing for %v", stalled.Round(time.Second))
	}
	switch {
	case found.OtherTimeline != "":
		b.rebuildView(ctx, found.Created, found.OtherTimeline)
		return nil
	case reason != "" && (v.rebuiltAt.IsZero() || b.now().Sub(v.rebuiltAt) >= restateInterval):
		v.rebuiltAt = b.now()
		b.rebuildView(ctx, found.Created, reason)
		return nil
	}
	if !found.CaughtUp {
		v.nextCheck = b.now().Add(b.config.Times().ViewBusyInterval)
		return nil
	}
	v.servers = found.Servers
	b.metrics.viewMissing.WithLabelValues(b.config.Tenant).Set(float64(len(found.Missing)))
	if !slices.Equal(found.Missing, v.missing) {
		if v.missing = found.Missing; len(found.Missing) == 0 {
			b.log.Info("view complete again")
		} else {
			b.log.Warn("view lacks published entities, publishing them again", "count", len(found.Missing),
				"keys", found.Missing[:min(len(found.Missing), viewExamples)],
				"hint", fmt.Sprintf("find out who purges or deletes from %s; thresholds return with their next event", stream.ViewStream(b.config.Stream)))
		}
	}
	if len(found.Missing) == 0 {
		return nil
	}
	v.nextCheck = b.now().Add(b.config.Times().ViewBusyInterval)
	var due []string
	for _, key := range found.Missing {
		if at, ok := v.restated[key]; !ok || b.now().Sub(at) >= restateInterval {
			due = append(due, key)
		}
	}
	if len(due) == 0 {
		v.nextCheck = b.now().Add(b.config.Times().ViewCheckInterval)
	}
	return b.restate(ctx, due)
}

// restate publishes again what is published of the entities with these keys.
func (b *Bridge) restate(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	for _, key := range keys {
		b.view.restated[key] = b.now()
	}
	batch := b.engine.Restate(keys, b.now())
	if batch == nil {
		return nil
	}
	return b.commit(ctx, batch)
}

// rebuildView deletes and creates the view. If it cannot, the next check finds it again.
func (b *Bridge) rebuildView(ctx context.Context, created time.Time, reason string) {
	b.view.nextCheck = b.now().Add(b.config.Times().ViewBusyInterval)
	rebuilt, err := view.Rebuild(ctx, b.js, b.config, created)
	switch {
	case err != nil:
		b.view.nextCheck = b.now().Add(b.config.Times().ViewCheckInterval)
		b.log.Warn("view not rebuilt, retrying", "reason", reason, "err", err,
			"hint", fmt.Sprintf("grant the deletion and creation of stream %s, or delete it yourself", stream.ViewStream(b.config.Stream)))
	case rebuilt:
		b.metrics.viewRebuilds.WithLabelValues(b.config.Tenant).Inc()
		b.log.Warn("view did not match the stream, rebuilt it", "stream", stream.ViewStream(b.config.Stream), "reason", reason,
			"hint", "the stream was restored, recreated, or has lost its end, or a server has lost a part of the view or stopped filling it; the view is filled from the stream as it is now")
	}
}
