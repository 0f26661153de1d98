package clock

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/bridgetest"
	"bpcc-nats/internal/natstest"
)

// machine is a machine whose clock can be set, beside a real server.
type machine struct {
	js     jetstream.JetStream
	config *config.Config
	ahead  atomic.Int64 // of the server
	log    bytes.Buffer
	clock  *Clock
}

// now has no monotonic reading: that of the machine does not change when its clock is set.
func (m *machine) now() time.Time {
	return time.Now().Round(0).Add(time.Duration(m.ahead.Load()))
}

func newMachine(t *testing.T, ahead time.Duration) *machine {
	t.Helper()
	c, _, err := config.Parse([]string{"NATS_URL=nats://elsewhere"}, config.ForStream)
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{js: natstest.Connect(t, natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir()}).ClientURL()), config: c}
	if _, err := stream.Provision(t.Context(), m.js, c.Stream, c.Times(), nil); err != nil {
		t.Fatal(err)
	}
	m.ahead.Store(int64(ahead))
	m.clock = New(m.js, c.Stream, c.Times(), m.now, slog.New(slog.NewTextHandler(&m.log, nil)))
	return m
}

// checkNow checks that the server's time is estimated, not early and not much too late.
func (m *machine) checkNow(t *testing.T, within time.Duration) {
	t.Helper()
	before := time.Now()
	got := m.clock.Now(t.Context(), within)
	if got.Before(before) || time.Until(got) > 2*time.Second {
		t.Errorf("the server's time is %v off", got.Sub(before))
	}
}

// checkOffset checks the last measurement.
func (m *machine) checkOffset(t *testing.T, want time.Duration) {
	t.Helper()
	if got, known := m.clock.Offset(); !known || (got-want).Abs() > time.Second {
		t.Errorf("the offset is %v (known: %v), want %v", got, known, want)
	}
}

// TestOffset compares clocks that differ in every way with a real server's.
func TestOffset(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		ahead  time.Duration
		differ bool
	}{
		{0, false}, {400 * time.Millisecond, false}, {-400 * time.Millisecond, false},
		{20 * time.Second, true}, {-20 * time.Second, true}, {3 * time.Hour, true}, {-400 * 24 * time.Hour, true},
	} {
		t.Run(test.ahead.String(), func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, test.ahead)
			if offset, known := m.clock.Offset(); known {
				t.Errorf("an offset of %v before it was measured", offset)
			}
			m.checkNow(t, 0)
			m.checkNow(t, 0)
			m.checkNow(t, time.Hour)
			m.checkOffset(t, -test.ahead)
			text := m.log.String()
			if n := strings.Count(text, "clock differs from the NATS server's"); (n == 1) != test.differ || n > 1 {
				t.Errorf("logged %d times:\n%s", n, text)
			}
			if test.differ && (!strings.Contains(text, "NTP") || !strings.Contains(text, "uncertainty=") || !strings.Contains(text, "level=WARN")) {
				t.Errorf("the log has no hint:\n%s", text)
			}
			m.ahead.Store(0)
			m.checkNow(t, time.Hour)
			if n := strings.Count(m.log.String(), "clock agrees with the NATS server's again"); (n == 1) != test.differ || n > 1 {
				t.Errorf("logged %d times that it is right again:\n%s", n, m.log.String())
			}
		})
	}
}

// TestClockIsSet sets the machine's clock while nothing is due to be measured.
func TestClockIsSet(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{20 * time.Second, -20 * time.Second, time.Second, -time.Second} {
		t.Run(step.String(), func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, 0)
			m.checkNow(t, 0)
			m.ahead.Store(int64(step))
			m.checkNow(t, time.Hour)
			m.checkOffset(t, -step)
			if n := strings.Count(m.log.String(), "clock of this machine was set"); n != 1 {
				t.Errorf("logged %d times:\n%s", n, m.log.String())
			}
		})
	}
}

// TestNoAnswer has no server that could tell its time.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	m := newMachine(t, -time.Hour)
	m.clock.times = &config.Timing{CallTimeout: 50 * time.Millisecond, ClockInterval: time.Hour}
	name := m.clock.stream
	m.clock.stream = "NO_SUCH_STREAM"
	if got, want := m.clock.Now(t.Context(), 0), m.now(); want.Sub(got) > time.Minute || got.After(want) {
		t.Errorf("never measured, it is %v, want %v", got, want)
	}
	if m.clock.due(0) {
		t.Error("it is due again at once after a failure")
	}
	m.clock.stream, m.clock.triedAt = name, time.Time{}
	m.checkNow(t, 0)
	m.clock.stream = "NO_SUCH_STREAM"
	m.checkNow(t, 0) // the last measurement still holds
	m.checkOffset(t, time.Hour)
}

// TestElapsed carries a measurement on, on a machine that was suspended or whose clock was set since.
func TestElapsed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		wall, monotonic, want time.Duration
		stepped               bool
	}{
		"as usual":                 {time.Minute, time.Minute, time.Minute, false},
		"suspended":                {time.Hour, time.Minute, time.Hour, true},
		"set back":                 {-time.Hour, time.Minute, time.Minute, true},
		"put ahead":                {time.Hour + time.Minute, time.Minute, time.Hour + time.Minute, true},
		"corrected by small steps": {time.Minute - 50*time.Millisecond, time.Minute, time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := time.Date(2026, 11, 29, 2, 0, 0, 0, time.UTC)
			c := sample{server: at.Add(20 * time.Second), wall: at, monotonic: at, uncertainty: 100 * time.Millisecond}
			if got := c.serverTime(at.Add(test.wall), at.Add(test.monotonic)).Sub(c.server) - c.uncertainty; got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
			if stepped := c.stepped(at.Add(test.wall), at.Add(test.monotonic)).Abs() >= stepLeast; stepped != test.stepped {
				t.Errorf("counts as set: %v", stepped)
			}
		})
	}
}

// TestUncertainty does not warn of a difference that a slow response explains.
func TestUncertainty(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 29, 2, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		offset, uncertainty time.Duration
		warns               bool
	}{
		{1100 * time.Millisecond, 50 * time.Millisecond, true}, {-1100 * time.Millisecond, 50 * time.Millisecond, true},
		{1900 * time.Millisecond, time.Second, false}, {-1900 * time.Millisecond, time.Second, false}, {time.Second, 0, false},
	} {
		var log bytes.Buffer
		c := New(nil, config.Stream{}, config.DefaultTiming(), time.Now, slog.New(slog.NewTextHandler(&log, nil)))
		c.logOffset(sample{server: at.Add(test.offset), wall: at, uncertainty: test.uncertainty})
		if warned := log.Len() > 0; warned != test.warns {
			t.Errorf("%v ± %v: %s", test.offset, test.uncertainty, log.String())
		}
	}
}

// TestManyCallers share one request.
func TestManyCallers(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 0)
	requests := m.js.Conn().Stats().OutMsgs
	var callers sync.WaitGroup
	for range 20 {
		callers.Go(func() { m.clock.Now(t.Context(), time.Minute) })
	}
	callers.Wait()
	if n := m.js.Conn().Stats().OutMsgs - requests; n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

// TestHostileTime puts every kind of wrong value in every place of the response.
func TestHostileTime(t *testing.T) {
	t.Parallel()
	c, r := bridgetest.StreamConfig(t, 1), natstest.NewRelay(t)
	if _, err := stream.Provision(t.Context(), r.Direct, c.Stream, c.Times(), nil); err != nil {
		t.Fatal(err)
	}
	r.Try(t, "STREAM.INFO", func(ctx context.Context) {
		clock := New(r.JetStream, c.Stream, c.Times(), time.Now, slog.New(slog.DiscardHandler))
		clock.Now(ctx, 0)
		clock.Offset()
	})
}
