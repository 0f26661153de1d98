package bridge_test

import (
	"fmt"
	"maps"
	"math"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/check"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/natstest"
)

// embeddedEnv is a testEnv whose NATS server is the one inside the bridge.
type embeddedEnv struct {
	*testEnv
	config *config.Config
}

// newEmbeddedEnv starts the embedded server on dir, with more variables.
func newEmbeddedEnv(t *testing.T, dir string, more map[string]string) *embeddedEnv {
	t.Helper()
	w := newTenantEnv(t, bpcctest.Config{})
	w.env["BRIDGE_STORE_DIR"], w.env["BRIDGE_EMBEDDED_LISTEN"] = dir, "127.0.0.1:0"
	maps.Copy(w.env, more)
	e := &embeddedEnv{testEnv: w, config: w.config()}
	var err error
	if e.server, err = stream.StartEmbedded(e.t.Context(), e.config.Embedded, e.logger()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.server.Close)
	e.js = natstest.Connect(t, e.server.URL(), reconnecting()...)
	e.nc = e.js.Conn()
	return e
}

// run provisions the streams and runs the bridge, until stop or the test ends.
func (e *embeddedEnv) run() *runningFleet {
	e.t.Helper()
	e.provisioned()
	return e.runConfigs(e.js, e.config)
}

// provisioned provisions, and returns what became of the stream of events.
func (e *embeddedEnv) provisioned() stream.Provisioned {
	e.t.Helper()
	done, err := stream.Provision(e.t.Context(), e.js, e.config.Stream, e.config.Times(), e.server)
	if err != nil {
		e.t.Fatal(err)
	}
	return done[0]
}

func (e *embeddedEnv) stream(name string) *jetstream.StreamInfo {
	e.t.Helper()
	s, err := e.js.Stream(e.t.Context(), name)
	if err != nil {
		e.t.Fatal(err)
	}
	return s.CachedInfo()
}

// crew makes agents, or changes the state of all of them.
func (e *embeddedEnv) crew(n int, state string) {
	for i := range n {
		if name := fmt.Sprintf("agent%03d", i); state == "" {
			e.setAgent(name, "ready", "")
		} else {
			e.tenant.SetState(name, state, "")
		}
	}
}

// change changes all agents, once, and waits until the stream has it.
func (e *embeddedEnv) change(agents int, state string) {
	e.t.Helper()
	before := e.stream("BPCC_EVENTS").State.LastSeq
	e.crew(agents, state)
	e.waitUntil("events of every agent", func() bool { return e.stream("BPCC_EVENTS").State.LastSeq >= before+uint64(agents) })
}

// gauges scrapes the metrics of the store.
func gauges(t *testing.T, p *runningFleet) map[string]float64 {
	t.Helper()
	server := httptest.NewServer(p.fleet.Handler())
	defer server.Close()
	_, body := httpGet(t, server.URL+"/metrics")
	out := map[string]float64{}
	for line := range strings.Lines(body) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			out[strings.TrimPrefix(name, "bpcc_bridge_")] = n
		}
	}
	return out
}

// TestLargestStoreLimit: the server takes what the configuration allows.
func TestLargestStoreLimit(t *testing.T) {
	t.Parallel()
	e := newEmbeddedEnv(t, t.TempDir(), map[string]string{"BRIDGE_STORE_MAX": "4EiB"})
	e.crew(1, "")
	e.run()
	e.waitFor("totals.bridge.observed", 1)
	if got, want := e.stream("BPCC_EVENTS").Config.MaxBytes, int64(7)<<59; got != want {
		t.Errorf("max_bytes is %d, want %d", got, want)
	}
}

// TestStoreLimit fills a small store several times over. The oldest events leave
// it; the lease is renewed, the view and the watchdog are written, new events are
// stored, what is left is sound, and a restart publishes nothing twice.
func TestStoreLimit(t *testing.T) {
	t.Parallel()
	const agents, limit = 60, 1 << 20
	e := newEmbeddedEnv(t, t.TempDir(), map[string]string{"BRIDGE_STORE_MAX": "1MiB"})
	e.crew(agents, "")
	p := e.run()
	e.waitFor("totals.bridge.observed", 1)
	lease, err := e.js.KeyValue(t.Context(), "bpcc_lease")
	if err != nil {
		t.Fatal(err)
	}
	round := 0
	change := func() {
		e.change(agents, []string{"supervising", "ready"}[round%2])
		round++
	}
	// The oldest events may leave before the store was ever full.
	full := func() bool {
		s := e.stream("BPCC_EVENTS").State
		return s.Bytes >= limit || s.FirstSeq > 1
	}
	for !full() {
		change()
	}
	e.waitUntil("the oldest events to go", func() bool { return e.stream("BPCC_EVENTS").State.FirstSeq > 1 })
	first := e.stream("BPCC_EVENTS").State.FirstSeq
	for e.stream("BPCC_EVENTS").State.FirstSeq < 2*first {
		change()
	}

	held, err := lease.Get(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	e.waitUntil("the lease to be renewed", func() bool {
		now, err := lease.Get(t.Context(), "acme")
		return err == nil && now.Revision() > held.Revision() && string(now.Value()) == string(held.Value())
	})
	if h := p.fleet.Health()[0]; !h.Ready || h.Role != "leader" {
		t.Errorf("the bridge is %+v", h)
	}
	if s := e.viewFeed(); s.text("status") != "live" {
		t.Errorf("the view says %v", s.Data)
	}
	e.waitUntil("the view's room to be made", func() bool { return e.server.Used() <= 1<<20 })
	events := e.stream("BPCC_EVENTS")
	if total := e.server.Used(); total > 1<<20 || events.Config.MaxBytes >= 1<<20 || int64(events.State.Bytes) > events.Config.MaxBytes {
		t.Errorf("%d bytes are stored, %d of them events, max_bytes %d", total, events.State.Bytes, events.Config.MaxBytes)
	}
	if c := events.Config; !c.DenyDelete || !c.DenyPurge || c.Discard != jetstream.DiscardOld {
		t.Errorf("the stream was reshaped: %+v", c)
	}
	// The room of the events grows again once the other streams are measured with less.
	var g map[string]float64
	e.waitUntil("the store to be full, as measured", func() bool {
		change()
		g = gauges(t, p)
		return g["oldest_event_timestamp_seconds"] > 0 && g["store_used_bytes"] > 0.85*(1<<20) && g["store_used_bytes"] <= 1<<20
	})
	if g["store_limit_bytes"] != 1<<20 || g["retention_seconds"] != 720*3600 {
		t.Errorf("gauges %v", g)
	}
	e.waitUntil("max_bytes of the events to be measured", func() bool {
		return gauges(t, p)[`stream_max_bytes{content="events",stream="BPCC_EVENTS"}`] == float64(e.stream("BPCC_EVENTS").Config.MaxBytes)
	})
	if limit := g["account_storage_limit_bytes"]; !math.IsInf(limit, 1) {
		t.Errorf("the account has a limit of %v", limit)
	}
	if oldest := time.Unix(int64(g["oldest_event_timestamp_seconds"]), 0); time.Since(oldest) > time.Hour || time.Since(oldest) < 0 {
		t.Errorf("the oldest event is from %v", oldest)
	}
	p.stop()
	e.auditStream()

	before := lastSeqOf(e.readAllMessages())
	e.tenant.SetState("agent007", "not_ready", "Lunch")
	p = e.run()
	e.waitForUnvalidated("feed.started", 1)
	e.waitUntil("the change", func() bool {
		return len(withSubject(afterSeq(e.readEvents(), before), "agent.agent007.state_changed")) > 0
	})
	for _, s := range afterSeq(e.readEvents(), before) {
		if strings.HasPrefix(s.Subject, "agent.") && s.Subject != "agent.agent007.state_changed" {
			t.Errorf("a restart publishes %s", s.Subject)
		}
	}
	p.stop()
	e.auditStream()
}

// TestStorageOfAnotherServer: what streams and account of another server hold and may hold is measured,
// as of the embedded one.
func TestStorageOfAnotherServer(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir()})
	if err := s.GlobalAccount().UpdateJetStreamLimits(map[string]server.JetStreamAccountLimits{
		"": {MaxMemory: -1, MaxStore: 1 << 30, MaxStreams: -1, MaxConsumers: -1},
	}); err != nil {
		t.Fatal(err)
	}
	w := newTestEnvOn(t, bpcctest.Config{}, s.ClientURL())
	w.waitsDividedBy = 100
	w.env["BRIDGE_MAX_BYTES"], w.env["BRIDGE_RETENTION"] = "128MiB", "240h"
	w.setAgent("anna", "ready", "")
	w.provisionStreams()
	p := w.runFleet(w.js)
	w.waitForFeed("live")
	var g map[string]float64
	w.waitUntil("the events to be measured", func() bool {
		g = gauges(t, p)
		return g["oldest_event_timestamp_seconds"] > 0 && g[`stream_bytes{content="view",stream="KV_bpcc_state"}`] > 0
	})
	for name, want := range map[string]float64{
		`stream_max_bytes{content="events",stream="BPCC_EVENTS"}`:            128 << 20,
		`stream_max_bytes{content="view",stream="KV_bpcc_state"}`:            32 << 20,
		`stream_max_bytes{content="watchdog",stream="BPCC_EVENTS_WATCHDOG"}`: 4 << 20,
		`stream_max_bytes{content="leases",stream="KV_bpcc_lease"}`:          4 << 20,
		"account_storage_limit_bytes":                                        1 << 30,
		"retention_seconds":                                                  240 * 3600,
	} {
		if g[name] != want {
			t.Errorf("%s is %v, want %v", name, g[name], want)
		}
	}
	if events := g[`stream_bytes{content="events",stream="BPCC_EVENTS"}`]; events <= 0 || g["account_storage_used_bytes"] < events {
		t.Errorf("gauges %v", g)
	}
	if _, embedded := g["store_limit_bytes"]; embedded {
		t.Error("a store is reported that is not there")
	}
	p.stop()
	w.auditStream()
}

// TestStoreSmallerThanASnapshot gives the store less than the first snapshot takes. The
// log says so, and the view has all of the snapshot nevertheless.
func TestStoreSmallerThanASnapshot(t *testing.T) {
	t.Parallel()
	const agents = 1500
	e := newEmbeddedEnv(t, t.TempDir(), map[string]string{"BRIDGE_STORE_MAX": "1MiB"})
	e.crew(agents, "")
	p := e.run()
	e.waitUntil("all agents in the view", func() bool { return e.stream("KV_bpcc_state").State.Msgs >= agents })
	if view := e.stream("KV_bpcc_state").State; view.Bytes < 1<<20 {
		t.Errorf("the view has %d bytes, less than the limit", view.Bytes)
	}
	e.waitUntil("the limit to be logged as too low", func() bool { return strings.Contains(e.log.String(), "store limit too low") })
	e.change(agents, "supervising")
	if n := strings.Count(e.log.String(), "store limit too low"); n != 1 {
		t.Errorf("logged %d times that the limit is too low", n)
	}
	p.stop()
	e.auditStream()
}

// TestFormerStoreLimit starts on a store that a server with a limit of its own has
// filled until it refused the lease too. Whatever the limit is now, the bridge works.
func TestFormerStoreLimit(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]string{"follows the disk": "", "lower than what is there": "1MiB", "higher": "16MiB"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const agents = 60
			dir := t.TempDir()
			s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: dir, JetStreamMaxStore: 1 << 20})
			w := newTestEnvOn(t, bpcctest.Config{}, s.ClientURL())
			w.env["BRIDGE_LEASE_TTL"] = "1s"
			former := &embeddedEnv{testEnv: w}
			former.crew(agents, "")
			w.provisionStreams()
			b := w.startBridgeHandle(w.js)
			w.waitFor("totals.bridge.observed", 1)
			turns := 0
			w.waitUntil("the former limit to be reached", func() bool {
				former.crew(agents, []string{"supervising", "ready"}[turns/10%2]) // every tenth of a second
				turns++
				return strings.Contains(b.Health().Reason, "insufficient resources")
			})
			full := former.stream("BPCC_EVENTS").State
			w.nc.Close()
			s.Shutdown()
			s.WaitForShutdown()

			e := newEmbeddedEnv(t, dir, map[string]string{"BRIDGE_STORE_MAX": limit})
			for i := range agents {
				e.setAgent(fmt.Sprintf("agent%03d", i), "not_ready", "")
			}
			changed := e.provisioned().Changed
			now := e.stream("BPCC_EVENTS")
			if want := fmt.Sprintf("max_bytes is %d, not -1", now.Config.MaxBytes); changed != want {
				t.Errorf("provisioning says %q, want %q", changed, want)
			}
			p := e.run()
			e.waitUntil("new events", func() bool {
				return len(withSubject(afterSeq(e.readEvents(), full.LastSeq), "agent.agent059.state_changed")) > 0
			})
			e.waitForFeed("live")
			lower := limit == "1MiB"
			if lower { // when the view has what it could not take before
				e.waitUntil("the oldest events to go", func() bool { return e.stream("BPCC_EVENTS").State.FirstSeq > full.FirstSeq && e.server.Used() <= 1<<20 })
			} else if first := e.stream("BPCC_EVENTS").State.FirstSeq; first != full.FirstSeq {
				t.Errorf("the first event was %d and is %d", full.FirstSeq, first)
			}
			if lower != strings.Contains(e.log.String(), "dropping the oldest events") {
				t.Errorf("that events are dropped is not logged, or logged without cause:\n%s", e.log.String())
			}
			p.stop()
			e.auditStream()
		})
	}
}

// TestStoreMaxChanges starts on one store with other limits. The bridge follows,
// and leaves a limit alone that someone else has set.
func TestStoreMaxChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	with := func(limit string, do func(e *embeddedEnv)) {
		t.Helper()
		e := newEmbeddedEnv(t, dir, map[string]string{"BRIDGE_STORE_MAX": limit})
		do(e)
		if text := e.log.String(); strings.Contains(text, "NATS server") {
			t.Errorf("a server that starts on a store logs\n%s", text)
		}
		e.nc.Close()
		e.server.Close()
	}
	expect := func(limit string, want int64, changed string, differs int) {
		t.Helper()
		with(limit, func(e *embeddedEnv) {
			t.Helper()
			p := e.provisioned()
			if got := e.stream("BPCC_EVENTS").Config.MaxBytes; got != want || p.Changed != changed || len(p.Differs) != differs {
				t.Errorf("%s: max_bytes %d, want %d; %+v", limit, got, want, p)
			}
			var found []string
			if err := check.Streams(t.Context(), e.config, e.nc, e.js, func(s check.Step) {
				if s.Outcome != check.OK {
					found = append(found, s.Found)
				}
			}); err != nil || len(found) != differs {
				t.Errorf("%s: a check finds %v, %v", limit, found, err)
			}
		})
	}
	expect("1GiB", 896<<20, "", 0)
	expect("1GiB", 896<<20, "", 0)
	expect("2GiB", 1792<<20, "max_bytes is 1879048192, not 939524096", 0)
	expect("512MiB", 448<<20, "max_bytes is 469762048, not 1879048192", 0)
	with("512MiB", func(e *embeddedEnv) {
		e.updateStream("BPCC_EVENTS", func(c *jetstream.StreamConfig) { c.MaxBytes = 3 << 20 })
	})
	expect("1GiB", 3<<20, "", 1)
	with("1GiB", func(e *embeddedEnv) {
		e.updateStream("BPCC_EVENTS", func(c *jetstream.StreamConfig) { c.MaxBytes = -1 })
	})
	expect("1GiB", 896<<20, "max_bytes is 939524096, not -1", 0)
	with("", func(e *embeddedEnv) {
		p := e.provisioned()
		free := e.server.StoreMax()
		if got := e.stream("BPCC_EVENTS").Config.MaxBytes; p.Changed == "" || got < int64(free)*13/16 || got > int64(free)*15/16 {
			t.Errorf("max_bytes %d of %v, %+v", got, free, p)
		}
		if again := e.provisioned(); again.Changed != "" {
			t.Errorf("it changes again: %+v", again)
		}
	})
}
