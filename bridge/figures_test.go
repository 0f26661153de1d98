package bridge_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"bpcc-nats/bpcc/bpcctest"
)

// TestBusinessMetrics scrapes what a contact centre does: off by default, from the leader alone, and absent as
// soon as the feed is not live.
func TestBusinessMetrics(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.waitsDividedBy = 5
	w.env["BPCC_SERVICES"] = "Voice"
	w.setAgent("anna", "ready", "")
	w.tenant.SetService(bpcctest.Service{Name: "Voice", Stats: map[string]string{"in_calls_waiting": "3", "service_level": ""}})
	w.tenant.SetTotal("in_calls_waiting", "3")
	w.provisionStreams()
	off := w.config()
	w.env["BRIDGE_METRICS_STATS"] = "in_calls_waiting,service_*"
	leader := w.runFleet(w.js)
	w.waitFor("availability.Voice.observed", 1)
	standby := w.runFleet(w.js)
	scrape := func(p *runningFleet) string {
		server := httptest.NewServer(p.fleet.Handler())
		defer server.Close()
		status, body := httpGet(t, server.URL+"/metrics")
		if status != 200 {
			t.Fatalf("/metrics: %d %s", status, body)
		}
		return body
	}
	want := []string{
		`bpcc_agents{state="ready",team="Sales",tenant="acme"} 1`, `bpcc_agents{state="busy",team="Sales",tenant="acme"} 0`,
		`bpcc_service_in_calls_waiting{service="Voice",tenant="acme"} 3`, `bpcc_service_available{service="Voice",tenant="acme"} 1`,
		`bpcc_totals_in_calls_waiting{tenant="acme"} 3`, `bpcc_bridge_metrics_series_cut{tenant="acme"} 0`,
	}
	has := func(p *runningFleet) (n int) {
		body := scrape(p)
		for _, line := range want {
			if strings.Contains(body, line+"\n") {
				n++
			}
		}
		return n
	}
	w.waitUntil("all metrics of the leader", func() bool { return has(leader) == len(want) })
	if body := scrape(leader); strings.Contains(body, "bpcc_service_service_level") || strings.Contains(body, "bpcc_service_agents_busy") {
		t.Errorf("a statistic without a value, or one that is not chosen:\n%s", body)
	}
	if n := has(standby); n > 0 {
		t.Errorf("the standby has %d of the metrics", n)
	}
	w.tenant.SetServiceStat("Voice", "in_calls_waiting", "4")
	want[2] = `bpcc_service_in_calls_waiting{service="Voice",tenant="acme"} 4`
	w.waitUntil("the change", func() bool { return has(leader) == len(want) })

	w.tenant.Inject(bpcctest.Fault{Status: 500, Times: -1})
	want = want[:3]
	w.waitUntil("no number of a feed that is not live", func() bool { return has(leader) == 0 })
	w.tenant.ClearFaults()
	w.waitUntil("the numbers to be back", func() bool { return has(leader) == len(want) })
	leader.stop()
	w.waitUntil("the numbers of the next leader", func() bool { return has(standby) == len(want) })
	if len(off.Events.MetricsStats) > 0 {
		t.Error("metrics of statistics are on by default")
	}
}
