package check

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"bpcc-nats/bridge/capacity"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/natstest"
)

// TestFit compares what events take with limits: what is found, and what to do.
func TestFit(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	grown := func(retention time.Duration) capacity.Stream { // 2 GiB a day
		return capacity.Stream{Name: "S", Bytes: 6 << 30, Messages: 1e6, First: now.Add(-3 * day), Last: now, Retention: retention}
	}
	of := func(bytes int64) limit { return limit{"max_bytes of stream S", bytes, "raise max_bytes"} }
	tests := map[string]struct {
		events capacity.Stream
		agents int
		limits []limit
		want   Step
	}{
		"fits": {grown(30 * day), 0, []limit{of(100 << 30)},
			Step{"retention", OK, "events of 30 days take about 60 GiB (2.0 GiB a day, measured over 3 days) of 100 GiB: max_bytes of stream S", ""}},
		"does not fit": {grown(30 * day), 0, []limit{of(20 << 30)},
			Step{"retention", Warning, "room for about 10 days of events, not 30 days (2.0 GiB a day, measured over 3 days; 20 GiB: max_bytes of stream S)",
				"raise max_bytes (the events need 60 GiB), or set BRIDGE_RETENTION to 240h or less"}},
		"the lowest limit": {grown(30 * day), 0, []limit{of(100 << 30), {"the account", 1 << 30, "raise it"}},
			Step{"retention", Warning, "room for about 12 hours of events, not 30 days (2.0 GiB a day, measured over 3 days; 1.0 GiB: the account)",
				"raise it (the events need 60 GiB), or set BRIDGE_RETENTION to 12h or less"}},
		"nothing left": {grown(30 * day), 0, []limit{of(0)},
			Step{"retention", Warning, "room for about 0 minutes of events, not 30 days (2.0 GiB a day, measured over 3 days; 0 B: max_bytes of stream S)",
				"raise max_bytes (the events need 60 GiB), or set BRIDGE_RETENTION to 1m or less"}},
		"no limit": {grown(30 * day), 0, nil,
			Step{"retention", OK, "events of 30 days take about 60 GiB, counted before compression, and an eighth of that on disk (2.0 GiB a day, measured over 3 days); no limit is set", ""}},
		"for ever, to a limit": {grown(0), 0, []limit{of(20 << 30)},
			Step{"retention", OK, "events are kept until they reach a limit: about 10 days (2.0 GiB a day, measured over 3 days; 20 GiB: max_bytes of stream S)", ""}},
		"for ever, without one": {grown(0), 0, nil,
			Step{"retention", Warning, "events are kept until they reach a limit, and no limit is set: the stream grows until the disk is full (2.0 GiB a day, measured over 3 days)",
				"set max_age or max_bytes of stream S"}},
		"an empty stream without agents": {capacity.Stream{Retention: 30 * day}, 0, []limit{of(1)},
			Step{"retention", OK, "events are kept for 30 days; what its events take is not known before there are agents, or events of an hour", ""}},
	}
	for name, test := range tests {
		var got []Step
		(&checkRun{report: func(s Step) { got = append(got, s) }}).checkFit(test.events, test.agents, test.limits)
		if len(got) != 1 || got[0] != test.want {
			t.Errorf("%s:\n%+v, want\n%+v", name, got, test.want)
		}
	}
	var got Step
	(&checkRun{report: func(s Step) { got = s }}).checkFit(capacity.Stream{Retention: 30 * day}, 1000, []limit{of(10 << 30)})
	if got.Outcome != Warning || !strings.Contains(got.Found, "a day, estimated for 1000 agent(s) who are busy all day; 10 GiB") {
		t.Errorf("a new stream: %+v", got)
	}
}

// TestRetentionOfAnAccount checks streams of an account whose limit leaves less than max_bytes of the
// stream, before the streams are made and after.
func TestRetentionOfAnAccount(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir()})
	js := natstest.Connect(t, s.ClientURL())
	c, _, err := config.Parse([]string{"NATS_URL=" + s.ClientURL(), "BRIDGE_MAX_BYTES=1GiB"}, config.ForStream)
	if err != nil {
		t.Fatal(err)
	}
	find := func(agents int) (got Step) {
		t.Helper()
		Retention(t.Context(), c, js, agents, func(s Step) { got = s })
		return got
	}
	expect := func(when string, got Step, outcome Outcome, found, hint string) {
		t.Helper()
		if got.Outcome != outcome || !strings.Contains(got.Found, found) || !strings.Contains(got.Hint, hint) {
			t.Errorf("%s: %+v, want %s with %q and %q", when, got, outcome, found, hint)
		}
	}
	expect("no stream", find(1000), Warning, "1.0 GiB: max_bytes of stream BPCC_EVENTS", "raise BRIDGE_MAX_BYTES (the events need ")
	expect("no stream, few agents", find(1), OK, "of 1.0 GiB: max_bytes of stream BPCC_EVENTS", "")
	if _, err := stream.Provision(t.Context(), js, c.Stream, c.Times(), nil); err != nil {
		t.Fatal(err)
	}
	expect("a stream", find(1000), Warning, "1.0 GiB: max_bytes of stream BPCC_EVENTS", "raise max_bytes with nats stream edit BPCC_EVENTS (the events need ")
	if err := s.GlobalAccount().UpdateJetStreamLimits(map[string]server.JetStreamAccountLimits{
		"": {MaxMemory: -1, MaxStore: 512 << 20, MaxStreams: -1, MaxConsumers: -1},
	}); err != nil {
		t.Fatal(err)
	}
	expect("an account with less", find(1000), Warning, "512 MiB: what the account's storage leaves for each copy", "raise max_store of the account")
}

// TestStoreRetention checks the embedded server's store: of a new one, and of one in use.
func TestStoreRetention(t *testing.T) {
	t.Parallel()
	now := time.Now()
	running := func(maxBytes int64) *capacity.Stream { // 1 GiB a day
		return &capacity.Stream{Name: "BPCC_EVENTS", Bytes: 2 << 30, MaxBytes: maxBytes, Messages: 1e6, First: now.Add(-48 * time.Hour), Last: now, Retention: 720 * time.Hour}
	}
	tests := map[string]struct {
		max     string
		events  *capacity.Stream
		agents  int
		outcome Outcome
		found   string
	}{
		"a small limit":          {"64MiB", nil, 1000, Warning, "56 MiB: BRIDGE_STORE_MAX"},
		"a large one":            {"64MiB", nil, 0, OK, "not known before"},
		"few agents":             {"1GiB", nil, 1, OK, "of 896 MiB: BRIDGE_STORE_MAX"},
		"the disk":               {"", nil, 1e9, Warning, ": the disk)"},
		"a running bridge":       {"64MiB", running(56 << 20), 1, Warning, "measured over 2 days; 56 MiB: "},
		"max_bytes of a person":  {"1TiB", running(1 << 20), 1, Warning, "1.0 MiB: max_bytes of stream BPCC_EVENTS"},
		"more than the disk has": {"4EiB", nil, 1e9, Warning, ": the disk)"},
	}
	for name, test := range tests {
		c, _, err := config.Parse([]string{"BRIDGE_STORE_DIR=" + t.TempDir(), "BRIDGE_STORE_MAX=" + test.max}, config.ForStream)
		if err != nil {
			t.Fatal(err)
		}
		var got Step
		StoreRetention(c, test.events, test.agents, func(s Step) { got = s })
		if got.Outcome != test.outcome || !strings.Contains(got.Found, test.found) {
			t.Errorf("%s: %+v, want %s with %q", name, got, test.outcome, test.found)
		}
	}
}
