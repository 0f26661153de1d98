package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// viewInterval is how often the view is compared with the stream: often
	// beside viewPatience, and seldom beside polls, of which a quiet one costs
	// hardly more than this. While it is behind, viewSoon.
	viewInterval     = 10 * time.Second
	viewBusyInterval = 5 * time.Second
	// viewStallTimeout is how long a view may stand still behind the stream before
	// it is mended: a server needs 10 s to notice by itself.
	viewStallTimeout = 20 * time.Second
	// viewStepDownInterval is the least time between two attempts to mend it.
	viewStepDownInterval = time.Minute
)

// ViewLag is how far the view is behind the stream of events.
type ViewLag struct {
	// Events is how many messages the view has not taken yet.
	Events uint64 `json:"events"`
	// StalledFor is how long it has been behind without taking any; 0 = it moves.
	StalledFor time.Duration `json:"-"`
}

// viewMonitor measures how far the view is behind the stream, and mends it where
// it stands still: after its leader is killed a sourced stream can, and its own
// word for the lag is then 0. What the server has sourced is compared with what
// the stream holds instead.
type viewMonitor struct {
	js     jetstream.JetStream
	config *Config
	log    *slog.Logger
	now    func() time.Time

	// Of the goroutine of run.
	sourcedSeq    uint64    // the stream sequence up to which it has taken events
	lastProgress  time.Time // when that last changed, or it last had all
	lastStepDown  time.Time // when it was last tried to mend it
	stalledLogged bool      // that it stands still
	// since when the view, or the stream, is not there; zero = they are
	missingSince time.Time

	mu  sync.Mutex
	lag ViewLag // guarded by mu
}

// Lag is what was measured last.
func (v *viewMonitor) Lag() ViewLag {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.lag
}

// runMonitor measures until ctx ends.
func (v *viewMonitor) runMonitor(ctx context.Context) {
	for next := viewBusyInterval; ; next = viewInterval {
		if v.Lag().Events > 0 || !v.missingSince.IsZero() {
			next = viewBusyInterval
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
		} else if v.now().Sub(v.missingSince) >= recreateAfter {
			recreateStreams(ctx, v.js, v.config, v.log)
		}
		// A stream that cannot be looked at is told by whoever needs it.
		if err != nil && ctx.Err() == nil {
			v.log.Debug("view lag unknown", "err", err)
		}
	}
}

// measureLag measures once, and mends what has stood still for too long.
func (v *viewMonitor) measureLag(ctx context.Context) error {
	// The view first: what comes between the two is then never taken for less
	// lag than there is.
	sourcedSeq, replicas, err := v.fetchSourcedSeq(ctx)
	if err != nil {
		return err
	}
	_, last, err := streamEnd(ctx, v.js, v.config.Stream)
	if err != nil {
		return err
	}
	lag := ViewLag{Events: last - sourcedSeq}
	if sourcedSeq > last {
		lag.Events = last // the stream was made anew, and nothing of it taken
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

// fetchSourcedSeq is the sequence up to which the view has taken events, and on how many
// servers it is kept.
func (v *viewMonitor) fetchSourcedSeq(ctx context.Context) (sourcedSeq uint64, replicas int, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stream, err := v.js.Stream(ctx, viewStream(v.config))
	if err != nil {
		return 0, 0, fmt.Errorf("look at the view: %w", err)
	}
	info := stream.CachedInfo()
	for _, source := range info.Sources {
		if source != nil && source.Name == v.config.Stream {
			sourcedSeq = source.Seq
		}
	}
	return sourcedSeq, info.Config.Replicas, nil
}

// errStepDown is what a view's leader answers that does not step down.
var errStepDown = errors.New("the view's leader does not step down")

// stepDownLeader makes the view's leader step down: the next one takes up sourcing where
// the view ends. A view without replicas has nobody to hand over to.
func (v *viewMonitor) stepDownLeader(ctx context.Context, lag ViewLag, replicas int) error {
	v.log.Warn("KV view stalled: readers see old data",
		"events", lag.Events, "stalled_for", lag.StalledFor.Round(time.Second).String(), "stepping_down", replicas > 1)
	if replicas < 2 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	reply, err := v.js.Conn().RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+viewStream(v.config), nil)
	if err != nil {
		return fmt.Errorf("%w: %w", errStepDown, err)
	}
	if err := apiError(reply.Data); err != nil {
		return fmt.Errorf("%w: %w", errStepDown, err)
	}
	return nil
}

// apiError reads the error out of an answer of the JetStream API; nil if it
// tells of none.
func apiError(body []byte) error {
	var reply struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		return fmt.Errorf("read an answer of the JetStream API: %w", err)
	}
	if reply.Error == nil {
		return nil
	}
	return reply.Error
}
