package view

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/scan"
	"bpcc-nats/bridge/stream"
)

const (
	// viewStallTimeout is how long the view may stay behind without progress until its leader must
	// step down: a server needs 10 s to notice by itself.
	viewStallTimeout = 20 * time.Second
	// viewStepDownInterval is the minimum time between two such requests.
	viewStepDownInterval = time.Minute
)

// Lag is how far the view is behind the stream of events.
type Lag struct {
	// Events is how many messages of the stream are not in the view yet.
	Events uint64 `json:"events"`
	// StalledFor is how long the view has been behind without progress; 0 = it makes progress.
	StalledFor time.Duration `json:"-"`
}

// Stalled reports whether the view has been behind for so long without progress that it is not catching up.
func (l Lag) Stalled() bool { return l.StalledFor >= viewStallTimeout }

// StallHint returns what a person can do about a view that has stalled.
func StallHint(c config.Stream) string {
	name := stream.ViewStream(c)
	return "read the stream itself meanwhile; a view with one copy is rebuilt after 3m; if it lasts: nats stream cluster step-down " + name + ", and check its sources with nats stream info " + name
}

// Monitor measures how far the view is behind the stream, and makes its leader step down when
// it stalls: a sourced stream can stall after its leader was killed, and then reports a lag of 0.
// So the monitor compares what the server has sourced with what the stream holds.
type Monitor struct {
	js       jetstream.JetStream
	config   config.Stream
	timing   *config.Timing
	embedded *stream.Server // nil = another server
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
	lag Lag // guarded by mu
}

// NewMonitor returns a monitor of the view of a configuration. embedded is the NATS server inside
// the process; nil for another one.
func NewMonitor(js jetstream.JetStream, c config.Stream, timing *config.Timing, embedded *stream.Server, log *slog.Logger) *Monitor {
	return &Monitor{js: js, config: c, timing: timing, embedded: embedded, log: log, now: time.Now}
}

// Lag returns the last measurement.
func (v *Monitor) Lag() Lag {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.lag
}

// Run measures until ctx ends.
func (v *Monitor) Run(ctx context.Context) {
	for next := v.timing.ViewBusyInterval; ; next = v.timing.ViewInterval {
		if v.Lag().Events > 0 || !v.missingSince.IsZero() {
			next = v.timing.ViewBusyInterval
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
		} else if v.now().Sub(v.missingSince) >= v.timing.RecreateAfter {
			stream.Recreate(ctx, v.js, v.config, v.timing, v.embedded, v.log)
		}
		// Other code reports a stream that cannot be read.
		if err != nil && ctx.Err() == nil {
			v.log.Debug("view lag unknown", "err", err)
		}
	}
}

// measureLag measures once, and makes the leader of a stalled view step down. A lag that is not known
// counts as none: nothing is done about it.
func (v *Monitor) measureLag(ctx context.Context) error {
	sourced, lag, err := v.fetchLag(ctx)
	if err != nil {
		return err
	}
	now := v.now()
	if lag.Events == 0 || sourced.seq != v.sourcedSeq || v.lastProgress.IsZero() {
		v.sourcedSeq, v.lastProgress = sourced.seq, now
	}
	lag.StalledFor = now.Sub(v.lastProgress)
	if v.stalledLogged && lag.Events == 0 {
		v.stalledLogged = false
		v.log.Info("KV view caught up")
	}
	v.mu.Lock()
	v.lag = lag
	v.mu.Unlock()
	if !lag.Stalled() || v.now().Sub(v.lastStepDown) < viewStepDownInterval {
		return nil
	}
	v.lastStepDown, v.stalledLogged = v.now(), true
	return v.stepDownLeader(ctx, lag, sourced.replicas)
}

// viewPosition is how far a view has sourced the stream of events.
type viewPosition struct {
	seq      uint64 // sequence of the stream up to which it has
	known    bool   // seq is known
	replicas int    // of the view
}

// viewLookback is how many of the view's last messages are read to find one of the stream of events.
const viewLookback = 100

// fetchLag measures how far the view is behind the stream.
func (v *Monitor) fetchLag(ctx context.Context) (viewPosition, Lag, error) {
	// The view is read first: events stored between the two reads can only increase the measured
	// lag.
	sourced, err := v.fetchPosition(ctx)
	if err != nil || !sourced.known {
		return sourced, Lag{}, err
	}
	last, err := scan.LastSeq(ctx, v.js, v.config.Name)
	if err != nil {
		return sourced, Lag{}, err
	}
	switch {
	case sourced.seq == last:
		return sourced, Lag{}, nil
	case sourced.seq > last: // the stream was recreated, and nothing of it is sourced
		sourced.seq = 0
	}
	if last, err = v.lastSourced(ctx, sourced.seq, last); err != nil {
		return sourced, Lag{}, err
	}
	return sourced, Lag{Events: last - sourced.seq}, nil
}

// lastSourced returns the sequence of the last message, of those after one sequence and up to another,
// that the view sources; the former if there is none. The stream may end with foreign messages on other
// subjects.
func (v *Monitor) lastSourced(ctx context.Context, after, last uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, v.timing.CallTimeout)
	defer cancel()
	events, err := v.js.Stream(ctx, v.config.Name)
	if err != nil {
		return 0, fmt.Errorf("read stream %s: %w", v.config.Name, err)
	}
	for n := 0; last > after && n < viewLookback; n, last = n+1, last-1 {
		msg, err := events.GetMsg(ctx, last)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue // deleted, or damaged
		}
		if err != nil {
			return 0, fmt.Errorf("read stream %s: %w", v.config.Name, err)
		}
		if isSourced(msg.Subject) {
			break
		}
	}
	return last, nil
}

// isSourced reports whether the view sources the messages on a subject, as [viewConfig] says.
func isSourced(subject string) bool {
	rest, ok := strings.CutPrefix(subject, event.SubjectPrefix+".")
	tokens := strings.Count(rest, ".") + 1
	return ok && (tokens == 4 || tokens == 5 || tokens == 3 && strings.HasSuffix(rest, "."+event.Checkpoint))
}

// fetchPosition returns how far the view has sourced the stream of events. Servers report it from
// 2.15 on. Before, the view's last messages say it: each holds the sequence that it has in the stream.
func (v *Monitor) fetchPosition(ctx context.Context) (viewPosition, error) {
	ctx, cancel := context.WithTimeout(ctx, v.timing.CallTimeout)
	defer cancel()
	view, err := v.js.Stream(ctx, stream.ViewStream(v.config))
	if err != nil {
		return viewPosition{}, fmt.Errorf("read view: %w", err)
	}
	info := view.CachedInfo()
	p := viewPosition{replicas: info.Config.Replicas}
	if p.seq = stream.SourcedUpTo(info, v.config.Name); p.seq > 0 {
		p.known = true
		return p, nil
	}
	seq := info.State.LastSeq
	for n := 0; n < viewLookback && seq > 0 && seq >= info.State.FirstSeq; n, seq = n+1, seq-1 {
		msg, err := view.GetMsg(ctx, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue // a newer message has replaced it
		}
		if err != nil {
			return viewPosition{}, fmt.Errorf("read view: %w", err)
		}
		// The view also sources the watchdog.
		if name, source, err := scan.ParseSource(msg.Header); err == nil && name == v.config.Name {
			p.seq, p.known = source, true
			return p, nil
		}
	}
	p.known = info.State.Msgs == 0
	return p, nil
}

// errStepDown is returned when the view's leader does not step down.
var errStepDown = errors.New("leader of the view does not step down")

// stepDownLeader makes the view's leader step down: the next one continues sourcing where the view
// ends. A view without replicas has no other leader: the leader of a tenant rebuilds it if it has stalled for long.
func (v *Monitor) stepDownLeader(ctx context.Context, lag Lag, replicas int) error {
	v.log.Warn("KV view stalled: readers see old data",
		"events", lag.Events, "stalled_for", lag.StalledFor.Round(time.Second).String(), "stepping_down", replicas > 1,
		"hint", StallHint(v.config))
	if replicas < 2 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, v.timing.CallTimeout)
	defer cancel()
	reply, err := v.js.Conn().RequestWithContext(ctx, apiSubject(v.js, "STREAM.LEADER.STEPDOWN."+stream.ViewStream(v.config)), nil)
	if err != nil {
		return fmt.Errorf("%w: %w", errStepDown, err)
	}
	if err := apiError(reply.Data); err != nil {
		return fmt.Errorf("%w: %w", errStepDown, err)
	}
	return nil
}

// apiSubject returns the subject of a request of the JetStream API that the library does not offer.
func apiSubject(js jetstream.JetStream, request string) string {
	o := js.Options()
	if o.Domain != "" {
		return "$JS." + o.Domain + ".API." + request
	}
	return cmp.Or(strings.TrimSuffix(o.APIPrefix, "."), "$JS.API") + "." + request
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
