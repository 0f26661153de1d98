// Package clock compares the clock of this machine with that of the NATS server.
package clock

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
)

const (
	// offsetMax is the offset beyond which the clocks count as different, offsetAgree that up to which
	// they agree again.
	offsetMax   = time.Second
	offsetAgree = time.Second / 2
	// stepLeast is by how much this machine's clock must leave its own monotonic clock to count as
	// set. Clocks that are kept right by small corrections stay far below.
	stepLeast = 250 * time.Millisecond
	// requestTimeout bounds one measurement.
	requestTimeout = 2 * time.Second
)

// errNoTime is returned for a response without the time of the server.
var errNoTime = errors.New("the response has no time")

// Clock estimates the present time by the clock of the NATS server. An instant that a server
// compares with its own clock must come from it: the clock of this machine may differ. It measures
// the server that leads the watchdog's stream. The tenants of a process share one.
type Clock struct {
	js     jetstream.JetStream
	stream string
	times  *config.Timing
	log    *slog.Logger
	now    func() time.Time // this machine's clock, which can be set

	requestSem *semaphore.Weighted // of weight 1: one request serves all who wait
	differ     bool                // guarded by requestSem: that the clocks differ is logged

	mu      sync.Mutex
	last    sample    // guarded by mu; zero = never measured
	triedAt time.Time // guarded by mu: when the last measurement ended
}

// sample is one moment by three clocks.
type sample struct {
	server      time.Time     // by the server's, ± uncertainty
	wall        time.Time     // by this machine's, without a monotonic reading
	monotonic   time.Time     // by the monotonic one
	uncertainty time.Duration // half of the round trip
	reconnects  uint64        // of the connection until then
}

// offset is by how much the server's clock is ahead of this machine's.
func (c sample) offset() time.Duration { return c.server.Sub(c.wall) }

// stepped is by how much this machine's clock has been set since, or how long the machine was
// suspended, while its monotonic clock stood still.
func (c sample) stepped(wall, monotonic time.Time) time.Duration {
	return wall.Sub(c.wall) - monotonic.Sub(c.monotonic)
}

// serverTime is the time by the server's clock now, late by up to the round trip.
func (c sample) serverTime(wall, monotonic time.Time) time.Time {
	// The two differ if the clock was set or the machine was suspended, and no measurement has
	// succeeded since. Then the later one is returned, which does no harm.
	elapsed := max(wall.Sub(c.wall), monotonic.Sub(c.monotonic))
	return c.server.Add(elapsed + c.uncertainty)
}

// New returns a clock that has not been measured yet. now is the clock of this machine.
func New(js jetstream.JetStream, c config.Stream, times *config.Timing, now func() time.Time, log *slog.Logger) *Clock {
	return &Clock{js: js, stream: stream.WatchdogStream(c), times: times, log: log, now: now, requestSem: semaphore.NewWeighted(1)}
}

// Run measures at intervals until ctx ends.
func (s *Clock) Run(ctx context.Context) {
	for {
		s.Now(ctx, s.times.ClockInterval)
		select {
		case <-ctx.Done():
			return
		case <-time.After(s.times.ClockInterval):
		}
	}
}

// Now returns the present time by the server's clock, late by up to the round trip but not early. It
// measures anew unless the last measurement is younger than within, was made on the same connection,
// and this machine's clock has not been set since. Without any measurement it returns the time of
// this machine.
func (s *Clock) Now(ctx context.Context, within time.Duration) time.Time {
	if s.due(within) {
		s.measure(ctx, within)
	}
	wall, monotonic := s.now().Round(0), time.Now()
	last, known := s.lastSample()
	if !known {
		return wall
	}
	return last.serverTime(wall, monotonic)
}

// Offset returns by how much the server's clock was ahead of this machine's at the last measurement;
// negative if it was behind. known is false before the first one.
func (s *Clock) Offset() (offset time.Duration, known bool) {
	last, known := s.lastSample()
	return last.offset(), known
}

func (s *Clock) lastSample() (last sample, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, !s.last.monotonic.IsZero()
}

// due reports whether to measure anew.
func (s *Clock) due(within time.Duration) bool {
	wall, monotonic := s.now().Round(0), time.Now()
	reconnects := s.js.Conn().Stats().Reconnects
	s.mu.Lock()
	defer s.mu.Unlock()
	age := monotonic.Sub(s.last.monotonic)
	if !s.last.monotonic.IsZero() && age < within && reconnects == s.last.reconnects && s.last.stepped(wall, monotonic).Abs() < stepLeast {
		return false
	}
	// A server without a response must not delay every caller.
	return s.triedAt.IsZero() || s.triedAt.Equal(s.last.monotonic) || monotonic.Sub(s.triedAt) >= s.times.ClockInterval/5
}

// measure measures once, unless another caller has done so while this one waited.
func (s *Clock) measure(ctx context.Context, within time.Duration) {
	if s.requestSem.Acquire(ctx, 1) != nil {
		return
	}
	defer s.requestSem.Release(1)
	if !s.due(within) {
		return
	}
	next, err := s.request(ctx)
	last, known := s.lastSample()
	s.mu.Lock()
	s.triedAt = time.Now()
	if err == nil {
		s.last, s.triedAt = next, next.monotonic
	}
	s.mu.Unlock()
	if err != nil {
		// Other code reports a stream that cannot be read.
		s.log.Debug("clock of the NATS server unknown", "err", err)
		return
	}
	if step := last.stepped(next.wall, next.monotonic); known && step.Abs() >= stepLeast {
		s.log.Info("clock of this machine was set", "by", step.Round(time.Millisecond).String())
	}
	s.logOffset(next)
}

// request asks the server for its time.
func (s *Clock) request(ctx context.Context) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, min(requestTimeout, s.times.CallTimeout))
	defer cancel()
	reconnects := s.js.Conn().Stats().Reconnects
	sent := time.Now()
	info, err := s.js.Stream(ctx, s.stream)
	received, wall := time.Now(), s.now().Round(0)
	if err != nil {
		return sample{}, fmt.Errorf("read the clock of the NATS server: %w", err)
	}
	server := info.CachedInfo().TimeStamp
	if server.IsZero() {
		return sample{}, fmt.Errorf("read the clock of the NATS server: %w", errNoTime)
	}
	// The server has taken its time at an unknown moment of the round trip.
	half := received.Sub(sent) / 2
	return sample{server: server.Add(half), wall: wall, monotonic: received, uncertainty: half, reconnects: reconnects}, nil
}

// logOffset logs once that the clocks differ, and once that they agree again.
func (s *Clock) logOffset(c sample) {
	offset := c.offset()
	keys := []any{"offset", offset.Round(time.Millisecond).String(), "uncertainty", c.uncertainty.Round(time.Millisecond).String()}
	switch {
	case !s.differ && offset.Abs()-c.uncertainty > offsetMax:
		s.differ = true
		s.log.Warn("clock differs from the NATS server's", append(keys, "hint",
			"synchronize the clocks of this machine and of the NATS servers, as with NTP: times in events are this machine's, the times at which they are stored are the server's")...)
	case s.differ && offset.Abs() <= offsetAgree:
		s.differ = false
		s.log.Info("clock agrees with the NATS server's again", keys...)
	}
}
