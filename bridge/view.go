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
	viewInterval = 10 * time.Second
	viewSoon     = 5 * time.Second
	// viewPatience is how long a view may stand still behind the stream before
	// it is mended: a server needs 10 s to notice by itself.
	viewPatience = 20 * time.Second
	// viewMendAgain is the least time between two attempts to mend it.
	viewMendAgain = time.Minute
)

// ViewLag is how far the view is behind the stream of events.
type ViewLag struct {
	// Events is how many messages the view has not taken yet.
	Events uint64 `json:"events"`
	// Still is how long it has been behind without taking any; 0 = it moves.
	Still time.Duration `json:"-"`
}

// viewWatch measures how far the view is behind the stream, and mends it where
// it stands still: after its leader is killed a sourced stream can, and its own
// word for the lag is then 0. What the server has sourced is compared with what
// the stream holds instead.
type viewWatch struct {
	js     jetstream.JetStream
	config *Config
	log    *slog.Logger
	now    func() time.Time

	// Of the goroutine of run.
	taken  uint64    // the stream sequence up to which it has taken events
	moved  time.Time // when that last changed, or it last had all
	mended time.Time // when it was last tried to mend it
	told   bool      // that it stands still
	// since when the view, or the stream, is not there; zero = they are
	missing time.Time

	mu  sync.Mutex
	lag ViewLag // guarded by mu
}

// Lag is what was measured last.
func (v *viewWatch) Lag() ViewLag {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.lag
}

// run measures until ctx ends.
func (v *viewWatch) run(ctx context.Context) {
	for next := viewSoon; ; next = viewInterval {
		if v.Lag().Events > 0 || !v.missing.IsZero() {
			next = viewSoon
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(next):
		}
		err := v.look(ctx)
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			v.missing = time.Time{}
		} else if v.missing.IsZero() {
			v.missing = v.now()
		} else if v.now().Sub(v.missing) >= goneAfter {
			remake(ctx, v.js, v.config, v.log)
		}
		// A stream that cannot be looked at is told by whoever needs it.
		if err != nil && ctx.Err() == nil {
			v.log.Debug("view lag unknown", "err", err)
		}
	}
}

// look measures once, and mends what has stood still for too long.
func (v *viewWatch) look(ctx context.Context) error {
	// The view first: what comes between the two is then never taken for less
	// lag than there is.
	taken, replicas, err := v.sourced(ctx)
	if err != nil {
		return err
	}
	_, last, err := lastSequence(ctx, v.js, v.config.Stream)
	if err != nil {
		return err
	}
	lag := ViewLag{Events: last - taken}
	if taken > last {
		lag.Events = last // the stream was made anew, and nothing of it taken
	}
	now := v.now()
	if lag.Events == 0 || taken != v.taken || v.moved.IsZero() {
		v.taken, v.moved = taken, now
	}
	lag.Still = now.Sub(v.moved)
	if v.told && lag.Events == 0 {
		v.told = false
		v.log.Info("KV view caught up")
	}
	v.mu.Lock()
	v.lag = lag
	v.mu.Unlock()
	if lag.Still < viewPatience || v.now().Sub(v.mended) < viewMendAgain {
		return nil
	}
	v.mended, v.told = v.now(), true
	return v.mend(ctx, lag, replicas)
}

// sourced is the sequence up to which the view has taken events, and on how many
// servers it is kept.
func (v *viewWatch) sourced(ctx context.Context) (taken uint64, replicas int, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stream, err := v.js.Stream(ctx, viewStream(v.config))
	if err != nil {
		return 0, 0, fmt.Errorf("look at the view: %w", err)
	}
	info := stream.CachedInfo()
	for _, source := range info.Sources {
		if source != nil && source.Name == v.config.Stream {
			taken = source.Seq
		}
	}
	return taken, info.Config.Replicas, nil
}

// errStepDown is what a view's leader answers that does not step down.
var errStepDown = errors.New("the view's leader does not step down")

// mend makes the view's leader step down: the next one takes up sourcing where
// the view ends. A view without replicas has nobody to hand over to.
func (v *viewWatch) mend(ctx context.Context, lag ViewLag, replicas int) error {
	v.log.Warn("KV view stalled: readers see old data",
		"events", lag.Events, "stalled_for", lag.Still.Round(time.Second).String(), "stepping_down", replicas > 1)
	if replicas < 2 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := v.js.Conn().RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+viewStream(v.config), nil)
	if err != nil {
		return fmt.Errorf("%w: %w", errStepDown, err)
	}
	if err := apiError(answer.Data); err != nil {
		return fmt.Errorf("%w: %w", errStepDown, err)
	}
	return nil
}

// apiError reads the error out of an answer of the JetStream API; nil if it
// tells of none.
func apiError(body []byte) error {
	var answer struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("read an answer of the JetStream API: %w", err)
	}
	if answer.Error == nil {
		return nil
	}
	return answer.Error
}
