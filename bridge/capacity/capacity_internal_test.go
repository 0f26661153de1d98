package capacity

import (
	"log/slog"
	"math"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/bridgetest"
	"bpcc-nats/internal/natstest"
)

// TestMeasure measures the streams of an account with a limit: before they are made, empty, and with
// events.
func TestMeasure(t *testing.T) {
	t.Parallel()
	const limit = 1 << 30
	s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir()})
	if err := s.GlobalAccount().UpdateJetStreamLimits(map[string]server.JetStreamAccountLimits{
		"": {MaxMemory: -1, MaxStore: limit, MaxStreams: -1, MaxConsumers: -1},
	}); err != nil {
		t.Fatal(err)
	}
	js := natstest.Connect(t, s.ClientURL())
	c, _, err := config.Parse([]string{"NATS_URL=" + s.ClientURL(), "BRIDGE_MAX_BYTES=128MiB", "BRIDGE_RETENTION=24h"}, config.ForStream)
	if err != nil {
		t.Fatal(err)
	}
	measure := func() Use {
		t.Helper()
		use, err := Measure(t.Context(), js, c.Stream, c.Times())
		if err != nil {
			t.Fatal(err)
		}
		return use
	}
	if use := measure(); len(use.Streams) != 0 || use.Account != (Account{Limit: limit}) {
		t.Errorf("without streams: %+v", use)
	}
	if _, err := stream.Provision(t.Context(), js, c.Stream, c.Times(), nil); err != nil {
		t.Fatal(err)
	}
	contents := map[Content]int64{Events: 128 << 20, View: 32 << 20, Watchdog: 4 << 20, Leases: 4 << 20}
	use := measure()
	for content, maxBytes := range contents {
		if s, ok := use.Find(content); !ok || s.MaxBytes != maxBytes || s.Messages != 0 || !s.First.IsZero() {
			t.Errorf("%s, empty: %+v", content, s)
		}
	}
	before := time.Now()
	for range 2 {
		if _, err := js.Publish(t.Context(), "bpcc.v1.acme.feed.checkpoint", make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	use = measure()
	events, _ := use.Find(Events)
	if events.Messages != 2 || events.Bytes < 2000 || events.Bytes > 2200 || events.Retention != 24*time.Hour || events.Replicas != 1 ||
		events.Last.Sub(before).Abs() > time.Minute || !events.First.Before(events.Last) {
		t.Errorf("with events: %+v", events)
	}
	if use.Account.Used < events.Bytes || use.Account.Limit != limit {
		t.Errorf("the account: %+v", use.Account)
	}

	timing := bridgetest.Timing(1000, 20)
	m := NewMonitor(js, c.Stream, timing, slog.New(slog.DiscardHandler))
	done := make(chan struct{})
	go func() { defer close(done); m.Run(t.Context()) }()
	bridgetest.WaitUntil(t, "a measurement", func() bool { return len(m.Use().Streams) == 4 })
	s.Shutdown()
	bridgetest.WaitUntil(t, "the end of what was measured of a server that is away", func() bool { return len(m.Use().Streams) == 0 })
}

// TestAccount reads limits of an account, and of a tier, whose limit counts one copy.
func TestAccount(t *testing.T) {
	t.Parallel()
	limited := func(used uint64, limit int64) jetstream.Tier {
		return jetstream.Tier{Store: used, Limits: jetstream.AccountLimits{MaxStore: limit}}
	}
	tests := map[string]struct {
		info     jetstream.AccountInfo
		replicas int
		want     Account
	}{
		"no limit":         {jetstream.AccountInfo{Tier: limited(5, -1)}, 3, Account{Used: 5}},
		"a limit":          {jetstream.AccountInfo{Tier: limited(5, 100)}, 3, Account{Used: 5, Limit: 100}},
		"tiers":            {jetstream.AccountInfo{Tier: limited(80, 0), Tiers: map[string]jetstream.Tier{"R1": limited(20, 100), "R3": limited(60, 200)}}, 3, Account{Used: 60, Limit: 600}},
		"no limit of tier": {jetstream.AccountInfo{Tiers: map[string]jetstream.Tier{"R1": limited(20, -1)}}, 1, Account{Used: 20}},
	}
	for name, test := range tests {
		if got := newAccount(&test.info, test.replicas); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

// TestRate measures how fast a stream grows, and estimates what that takes.
func TestRate(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)
	grown := func(bytes int64, messages uint64, span time.Duration) Stream {
		return Stream{Bytes: bytes, Messages: messages, First: began, Last: began.Add(span)}
	}
	for name, s := range map[string]Stream{
		"empty": {}, "one message": grown(100, 1, 0), "minutes": grown(1e6, 1000, 59*time.Minute), "a clock set back": grown(1e6, 1000, -48*time.Hour),
	} {
		if r, ok := MeasuredRate(s); ok {
			t.Errorf("%s: %+v", name, r)
		}
	}
	r, ok := MeasuredRate(grown(3e9, 1000, 12*time.Hour))
	if !ok || r.BytesADay != 6e9 || r.Span != 12*time.Hour {
		t.Errorf("half a day: %+v, %v", r, ok)
	}
	if got := r.Need(30 * day); got != 180e9 {
		t.Errorf("30 days need %d", got)
	}
	if got := r.Keeps(60e9); got != 10*day {
		t.Errorf("60 GB keep %v", got)
	}
	if got := (Rate{BytesADay: 1e18}).Need(100 * day); got != math.MaxInt64 {
		t.Errorf("more than can be counted: %d", got)
	}
	if got := (Rate{BytesADay: 1}).Keeps(math.MaxInt64); got != math.MaxInt64 {
		t.Errorf("longer than can be counted: %d", got)
	}
	if got := (Rate{}).Keeps(1); got != math.MaxInt64 {
		t.Errorf("without events: %d", got)
	}
	if e := EstimatedRate(1000); e.Span != 0 || e.BytesADay != 1000*bytesPerAgentDay {
		t.Errorf("1,000 agents: %+v", e)
	}
}
