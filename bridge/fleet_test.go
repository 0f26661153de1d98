package bridge_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
)

// runningFleet is a fleet that runs.
type runningFleet struct {
	fleet *bridge.Fleet
	stop  func()     // and wait
	ended chan error // what Run returned
}

// runFleet runs what `bridge run` does, on streams that are there, until stop or the
// end of the test.
func (w *testEnv) runFleet(js jetstream.JetStream, more ...*config.Config) *runningFleet {
	w.t.Helper()
	return w.runConfigs(js, append([]*config.Config{w.config()}, more...)...)
}

// runConfigs is runFleet with these configurations alone.
func (w *testEnv) runConfigs(js jetstream.JetStream, configs ...*config.Config) *runningFleet {
	w.t.Helper()
	f, err := bridge.NewFleet(configs, js, w.server, w.logger())
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	p := &runningFleet{fleet: f, ended: make(chan error, 1)}
	done := make(chan struct{})
	go func() { defer close(done); p.ended <- f.Run(ctx) }()
	p.stop = func() { cancel(); <-done }
	w.t.Cleanup(p.stop)
	return p
}

// multiTenantEnv is several simulated tenants and one NATS server.
type multiTenantEnv struct {
	*testEnv
	tenants map[string]*bpcctest.Server // by name
}

func newMultiTenantEnv(t *testing.T, n int) *multiTenantEnv {
	t.Helper()
	m := &multiTenantEnv{testEnv: newTestEnv(t, bpcctest.Config{}), tenants: map[string]*bpcctest.Server{}}
	var file []map[string]any
	for i := range n {
		name := fmt.Sprintf("centre%d", i)
		sim := bpcctest.NewServer(bpcctest.Config{})
		t.Cleanup(sim.Close)
		sim.SetAgent(bpcctest.Agent{Login: "anna", State: "ready"})
		m.tenants[name] = sim
		file = append(file, map[string]any{"tenant": name, "url": sim.URL})
	}
	m.tenantsFile(file)
	m.env["BRIDGE_LEASE_TTL"] = "3s"
	return m
}

func (m *multiTenantEnv) tenantsFile(tenants []map[string]any) {
	m.t.Helper()
	body, err := json.Marshal(tenants)
	if err != nil {
		m.t.Fatal(err)
	}
	m.env["BRIDGE_TENANTS_FILE"] = filepath.Join(m.t.TempDir(), "tenants.json")
	if err := os.WriteFile(m.env["BRIDGE_TENANTS_FILE"], body, 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *multiTenantEnv) newFleet() *bridge.Fleet {
	m.t.Helper()
	all, warnings, err := config.ParseAll(m.environ(), config.ForBridge)
	if err != nil || len(warnings) > 0 {
		m.t.Fatalf("configuration: %v, warnings %v", err, warnings)
	}
	if _, err := stream.Provision(m.t.Context(), m.js, all[0].Stream, all[0].Times(), nil); err != nil {
		m.t.Fatal(err)
	}
	for _, c := range all {
		c.Version = "1.2.3"
	}
	f, err := bridge.NewFleet(all, m.js, nil, m.logger())
	if err != nil {
		m.t.Fatal(err)
	}
	return f
}

// runFleet runs a fleet until stop.
func (m *multiTenantEnv) runFleet(f *bridge.Fleet) (stop func()) {
	return m.run(f, func(err error) {
		if err != nil {
			m.t.Errorf("fleet: %v", err)
		}
	})
}

// leadingTenants names the tenants whose feed a fleet leads, and sees.
func leadingTenants(f *bridge.Fleet) []string {
	var names []string
	for _, h := range f.Health() {
		if h.Role == "leader" && h.Status == "live" {
			names = append(names, h.Tenant)
		}
	}
	return names
}

// TestTenantsAreRebalanced runs six tenants in one process, then in two, then in
// the second alone. Every change is published once wherever its tenant is led.
func TestTenantsAreRebalanced(t *testing.T) {
	t.Parallel()
	m := newMultiTenantEnv(t, 6)
	names := slices.Sorted(maps.Keys(m.tenants))
	first, second := m.newFleet(), m.newFleet()
	stopFirst := m.runFleet(first)
	m.waitUntil("one process to lead all", func() bool { return len(leadingTenants(first)) == len(names) })
	m.runFleet(second)
	m.waitUntil("two processes to lead half each", func() bool { return len(leadingTenants(first)) == 3 && len(leadingTenants(second)) == 3 })
	both := slices.Sorted(slices.Values(append(leadingTenants(first), leadingTenants(second)...)))
	if diff := cmp.Diff(names, both); diff != "" {
		t.Errorf("tenants led by either (-want +got)\n%s", diff)
	}
	for _, sim := range m.tenants {
		sim.SetState("anna", "not_ready", "Lunch")
	}
	m.waitUntil("a change of every tenant", func() bool { return len(m.stateChangeSubjects()) == len(names) })
	stopFirst()
	m.waitUntil("the second process to lead all", func() bool { return len(leadingTenants(second)) == len(names) })
	for _, sim := range m.tenants {
		sim.SetState("anna", "ready", "")
	}
	m.waitUntil("a second change of every tenant", func() bool { return len(m.stateChangeSubjects()) == 2*len(names) })
	published := map[string]int{}
	for _, subject := range m.stateChangeSubjects() {
		published[subject]++
	}
	for subject, n := range published {
		if n != 2 {
			t.Errorf("%s was published %d times, anna changed twice", subject, n)
		}
	}
}

// stateChangeSubjects lists the subjects of all state changes in the stream.
func (m *multiTenantEnv) stateChangeSubjects() []string {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), testTimeout)
	defer cancel()
	consumer, err := m.js.OrderedConsumer(ctx, "BPCC_EVENTS", jetstream.OrderedConsumerConfig{FilterSubjects: []string{"bpcc.v1.*.agent.*.state_changed"}})
	if err != nil {
		m.t.Fatal(err)
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		m.t.Fatal(err)
	}
	var subjects []string
	for pending := info.NumPending; pending > 0; pending-- {
		msg, err := consumer.Next(jetstream.FetchMaxWait(testTimeout))
		if err != nil {
			m.t.Fatal(err)
		}
		subjects = append(subjects, msg.Subject())
	}
	return subjects
}

// TestTenantFailsAlone gives one of three tenants wrong credentials: the others do
// not notice, and neither do the probes.
func TestTenantFailsAlone(t *testing.T) {
	t.Parallel()
	m := newMultiTenantEnv(t, 2)
	var file []map[string]any
	for _, name := range slices.Sorted(maps.Keys(m.tenants)) {
		file = append(file, map[string]any{"tenant": name, "url": m.tenants[name].URL})
	}
	file = append(file, map[string]any{"tenant": "locked", "url": m.tenants["centre0"].URL, "client_id": "locked", "client_secret": "wrong"})
	m.tenantsFile(file)
	f := m.newFleet()
	m.runFleet(f)
	m.waitUntil("the two good tenants", func() bool { return len(leadingTenants(f)) == 2 })
	server := httptest.NewServer(f.Handler())
	t.Cleanup(server.Close)
	status, body := httpGet(t, server.URL+"/readyz")
	var health struct {
		Ready   bool
		Tenants []bridge.Health
	}
	if err := json.Unmarshal([]byte(body), &health); err != nil {
		t.Fatal(err)
	}
	if status != http.StatusOK || !health.Ready || len(health.Tenants) != 3 || health.Tenants[2].Ready {
		t.Errorf("probe: %d, %s", status, body)
	}
}

func httpGet(t *testing.T, url string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// TestMetrics looks for every figure that alerts and dashboards rest on.
func TestMetrics(t *testing.T) {
	t.Parallel()
	m := newMultiTenantEnv(t, 1)
	delete(m.env, "BRIDGE_TENANTS_FILE")
	m.env["BRIDGE_THRESHOLDS"] = `[{"name":"waiting","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":1},"severity":"critical"}]`
	m.testEnv.setAgent("anna", "ready", "")
	m.testEnv.tenant.SetService(bpcctest.Service{Name: "Voice", Stats: map[string]string{"in_calls_waiting": "3"}})
	m.env["BPCC_SERVICES"] = "Voice"
	f := m.newFleet()
	stop := m.runFleet(f)
	m.waitFor("threshold.waiting.Voice.raised", 1)
	m.waitFor("availability.Voice.observed", 1)
	server := httptest.NewServer(f.Handler())
	t.Cleanup(server.Close)
	want := []string{
		`bpcc_bridge_build_info{goversion="go`,
		`bpcc_bridge_nats_connected 1`,
		`bpcc_bridge_nats_clock_offset_seconds `,
		`bpcc_bridge_view_lag_events 0`,
		`bpcc_bridge_view_stalled_seconds 0`,
		`bpcc_bridge_leader{tenant="acme"} 1`,
		`bpcc_bridge_ready{tenant="acme"} 1`,
		`bpcc_bridge_epoch{tenant="acme"} 1`,
		`bpcc_bridge_feed_status{status="live",tenant="acme"} 1`,
		`bpcc_bridge_feed_status{status="interrupted",tenant="acme"} 0`,
		`bpcc_bridge_observed_timestamp_seconds{tenant="acme"} 1.`,
		`bpcc_bridge_committed_timestamp_seconds{tenant="acme"} 1.`,
		`bpcc_bridge_polls_total{outcome="ok",tenant="acme"}`,
		`bpcc_bridge_availability_checks_total{outcome="ok",tenant="acme"}`,
		`bpcc_bridge_poll_duration_seconds_bucket{tenant="acme",le="0.001"}`,
		`bpcc_bridge_poll_bytes_total{tenant="acme"}`,
		`bpcc_bridge_entities{kind="agent",tenant="acme"} 1`,
		`bpcc_bridge_events_total{tenant="acme",type="agent.observed"} 1`,
		`bpcc_bridge_events_total{tenant="acme",type="threshold.raised"} 1`,
		`bpcc_bridge_commits_total{outcome="stored",tenant="acme"}`,
		`bpcc_bridge_commit_duration_seconds_count{tenant="acme"}`,
		`bpcc_bridge_thresholds_raised{rule="waiting",severity="critical",tenant="acme"} 1`,
		`bpcc_bridge_rows_skipped{reason="duplicate",tenant="acme"} 0`,
		`bpcc_bridge_rows_skipped{reason="limit",tenant="acme"} 0`,
		`go_goroutines`, `process_cpu_seconds_total`,
	}
	var missing []string
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("missing: %q", missing)
		}
	})
	m.waitUntil("the metrics", func() bool {
		_, body := httpGet(t, server.URL+"/metrics")
		missing = slices.DeleteFunc(slices.Clone(want), func(s string) bool { return strings.Contains(body, s) })
		return len(missing) == 0
	})
	stop()
	if strings.Contains(fmt.Sprint(missing), "bpcc") {
		t.Errorf("missing: %v", missing)
	}
}

// TestServiceIsAnnounced asks as `nats service stats` and a program would.
func TestServiceIsAnnounced(t *testing.T) {
	t.Parallel()
	m := newMultiTenantEnv(t, 1)
	delete(m.env, "BRIDGE_TENANTS_FILE")
	f := m.newFleet()
	m.runFleet(f)
	m.waitFor("totals.bridge.observed", 1)
	ask := func(subject string, into any) {
		t.Helper()
		response, err := m.nc.Request(subject, nil, testTimeout)
		if err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
		if err := json.Unmarshal(response.Data, into); err != nil {
			t.Fatalf("%s: %v in %s", subject, err, response.Data)
		}
	}
	var h bridge.Health
	ask("bpcc.svc.acme.health", &h)
	if h.Tenant != "acme" || h.Role != "leader" || h.Epoch != 1 {
		t.Errorf("health: %+v", h)
	}
	var stats struct {
		Name, Version string
		Metadata      map[string]string
		Endpoints     []struct {
			Subject string
			Data    bridge.Health
		}
	}
	m.waitUntil("the leader's role to show", func() bool {
		ask("$SRV.STATS.bpcc-bridge", &stats)
		return stats.Metadata["role"] == "leader"
	})
	if stats.Metadata["epoch"] != "1" || stats.Version != "1.2.3" || stats.Metadata["tenant"] != "acme" || len(stats.Endpoints) != 1 || stats.Endpoints[0].Data.Role != "leader" {
		t.Errorf("statistics: %+v", stats)
	}
}
