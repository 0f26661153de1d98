package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
)

const (
	// viewStallTimeout is how long the view may stay behind without progress until its leader must
	// step down: a server needs 10 s to notice by itself.
	viewStallTimeout = 20 * time.Second
	// viewStepDownInterval is the minimum time between two such requests.
	viewStepDownInterval = time.Minute
)

// ViewLag is how far the view is behind the stream of events.
type ViewLag struct {
	// Events is how many messages of the stream are not in the view yet.
	Events uint64 `json:"events"`
	// StalledFor is how long the view has been behind without progress; 0 = it makes progress.
	StalledFor time.Duration `json:"-"`
}

// ViewMonitor measures how far the view is behind the stream, and makes its leader step down when
// it stalls: a sourced stream can stall after its leader was killed, and then reports a lag of 0.
// So the monitor compares what the server has sourced with what the stream holds.
type ViewMonitor struct {
	js       jetstream.JetStream
	config   *config.Config
	embedded *Server // nil = another server
	log      *slog.Logger
	now      func() time.Time

	// Used by the goroutine of Run.
	sourcedSeq    uint64    // the stream sequence up to which the view has sourced events
	lastProgress  time.Time // when that last changed, or the view was last complete
	lastStepDown  time.Time // when the leader was last asked to step down
	stalledLogged bool      // the stall was logged
	// since when the view, or the stream, is missing; zero = they exist
	missingSince time.Time

	mu  sync.Mutex
	lag ViewLag // guarded by mu
}

// NewViewMonitor returns a monitor of the view of a configuration. embedded is the NATS server inside
// the process; nil for another one.
func NewViewMonitor(js jetstream.JetStream, c *config.Config, embedded *Server, log *slog.Logger) *ViewMonitor {
	return &ViewMonitor{js: js, config: c, embedded: embedded, log: log, now: time.Now}
}

// Lag returns the last measurement.
func (v *ViewMonitor) Lag() ViewLag {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.lag
}

// Run measures until ctx ends.
func (v *ViewMonitor) Run(ctx context.Context) {
	times := v.config.Times()
	for next := times.ViewBusyInterval; ; next = times.ViewInterval {
		if v.Lag().Events > 0 || !v.missingSince.IsZero() {
			next = times.ViewBusyInterval
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(next):
		}
		err := v.measureLag(ctx)
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			v.missingSince = time.Time{}
		} else if v.missingSince.IsZero() {
			v.missingSince = v.now()
		} else if v.now().Sub(v.missingSince) >= times.RecreateAfter {
			Recreate(ctx, v.js, v.config, v.embedded, v.log)
		}
		// Other code reports a stream that cannot be read.
		if err != nil && ctx.Err() == nil {
			v.log.Debug("view lag unknown", "err", err)
		}
	}
}

// measureLag measures once, and makes the leader of a stalled view step down.
func (v *ViewMonitor) measureLag(ctx context.Context) error {
	// The view is read first: events stored between the two reads can only increase the measured
	// lag.
	sourcedSeq, replicas, err := v.fetchSourcedSeq(ctx)
	if err != nil {
		return err
	}
	last, err := FetchLastSeq(ctx, v.js, v.config.Stream)
	if err != nil {
		return err
	}
	lag := ViewLag{Events: last - sourcedSeq}
	if sourcedSeq > last {
		lag.Events = last // the stream was recreated, and nothing of it is sourced
	}
	now := v.now()
	if lag.Events == 0 || sourcedSeq != v.sourcedSeq || v.lastProgress.IsZero() {
		v.sourcedSeq, v.lastProgress = sourcedSeq, now
	}
	lag.StalledFor = now.Sub(v.lastProgress)
	if v.stalledLogged && lag.Events == 0 {
		v.stalledLogged = false
		v.log.Info("KV view caught up")
	}
	v.mu.Lock()
	v.lag = lag
	v.mu.Unlock()
	if lag.StalledFor < viewStallTimeout || v.now().Sub(v.lastStepDown) < viewStepDownInterval {
		return nil
	}
	v.lastStepDown, v.stalledLogged = v.now(), true
	return v.stepDownLeader(ctx, lag, replicas)
}

// fetchSourcedSeq returns the sequence up to which the view has sourced events, and its number of
// replicas.
func (v *ViewMonitor) fetchSourcedSeq(ctx context.Context) (sourcedSeq uint64, replicas int, err error) {
	ctx, cancel := context.WithTimeout(ctx, v.config.Times().CallTimeout)
	defer cancel()
	stream, err := v.js.Stream(ctx, ViewStream(v.config))
	if err != nil {
		return 0, 0, fmt.Errorf("read view: %w", err)
	}
	info := stream.CachedInfo()
	return sourcedUpTo(info, v.config.Stream), info.Config.Replicas, nil
}

// sourcedUpTo is the sequence up to which the view has taken events of a stream.
func sourcedUpTo(view *jetstream.StreamInfo, stream string) uint64 {
	for _, source := range view.Sources {
		if source != nil && source.Name == stream {
			return source.Seq
		}
	}
	return 0
}

// errStepDown is returned when the view's leader does not step down.
var errStepDown = errors.New("leader of the view does not step down")

// stepDownLeader makes the view's leader step down: the next one continues sourcing where the view
// ends. A view without replicas has no other leader.
func (v *ViewMonitor) stepDownLeader(ctx context.Context, lag ViewLag, replicas int) error {
	v.log.Warn("KV view stalled: readers see old data",
		"events", lag.Events, "stalled_for", lag.StalledFor.Round(time.Second).String(), "stepping_down", replicas > 1)
	if replicas < 2 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, v.config.Times().CallTimeout)
	defer cancel()
	reply, err := v.js.Conn().RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+ViewStream(v.config), nil)
	if err != nil {
		return fmt.Errorf("%w: %w", errStepDown, err)
	}
	if err := apiError(reply.Data); err != nil {
		return fmt.Errorf("%w: %w", errStepDown, err)
	}
	return nil
}

// apiError returns the error in a response of the JetStream API; nil if there is none.
func apiError(body []byte) error {
	var reply struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		return fmt.Errorf("parse response of the JetStream API: %w", err)
	}
	if reply.Error == nil {
		return nil
	}
	return reply.Error
}
