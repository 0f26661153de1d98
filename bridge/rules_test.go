package bridge_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/internal/bridgetest"
)

// logEntries are the entries of a log with a message.
func logEntries(t *testing.T, log *bridgetest.Buffer, message string) (entries []map[string]any) {
	t.Helper()
	for line := range strings.Lines(log.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		if entry["msg"] == message {
			entries = append(entries, entry)
		}
	}
	return entries
}

// TestRefusedStatisticOfRule: a server that refuses a rule's statistic after a restart ends what the
// rule had raised, and the warning names the rule.
func TestRefusedStatisticOfRule(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BRIDGE_THRESHOLDS"] = `[
		{"name":"backlog","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":5}},
		{"name":"busy","kind":"service","stat":"agents_busy","raise":{"op":">=","value":1}}]`
	var refuse atomic.Bool
	w.refuseSubscriptions(func(body string) bool {
		_, grids, _ := strings.Cut(body, `"service_grids"`)
		return refuse.Load() && strings.Contains(grids, `"in_calls_waiting"`)
	})
	w.tenant.SetService(bpcctest.Service{Name: "Voice", Stats: map[string]string{"in_calls_waiting": "7", "agents_busy": "1"}})
	stop := w.startBridge()
	w.waitFor("threshold.backlog.Voice.raised", 1)
	w.waitFor("threshold.busy.Voice.raised", 1)
	stop()
	refuse.Store(true)
	log := w.startWithLog()
	cleared := w.waitFor("threshold.backlog.Voice.cleared", 1)[0]
	if cleared.text("cleared_by") != "stat_unavailable" || cleared.field("value") != nil {
		t.Errorf("cleared: %v", cleared.Data)
	}
	w.waitTwoPolls()
	if all := w.events(); len(withSubject(all, "threshold.busy.Voice.cleared")) > 0 {
		t.Error("a rule on another statistic was cleared")
	}
	warnings := logEntries(t, log, "statistics refused by the server")
	if len(warnings) != 1 || warnings[0]["rules"] != "backlog" {
		t.Errorf("warnings: %v; want one that names the rule backlog", warnings)
	}
}

// TestUnreadableStatistic: a rule on a text that is no number is reported once, and counted.
func TestUnreadableStatistic(t *testing.T) {
	t.Parallel()
	m := newMultiTenantEnv(t, 1)
	delete(m.env, "BRIDGE_TENANTS_FILE")
	m.env["BRIDGE_THRESHOLDS"] = `[
		{"name":"level","kind":"service","stat":"service_level","raise":{"op":"<","value":80}},
		{"name":"level in percent","kind":"service","stat":"service_level","parse":"percent","raise":{"op":"<","value":80}}]`
	m.testEnv.tenant.SetService(bpcctest.Service{Name: "Voice", Stats: map[string]string{"service_level": "70%\x1b[2J"}})
	m.testEnv.tenant.SetService(bpcctest.Service{Name: "Chat", Stats: map[string]string{"service_level": "70%"}})
	f := m.newFleet()
	m.runFleet(f)
	m.waitFor("threshold.level=20in=20percent.Chat.raised", 1)
	server := httptest.NewServer(f.Handler())
	t.Cleanup(server.Close)
	m.waitUntil("the metrics", func() bool {
		_, body := httpGet(t, server.URL+"/metrics")
		return strings.Contains(body, `bpcc_bridge_rule_values_unreadable{rule="level",tenant="acme"} 2`) &&
			strings.Contains(body, `bpcc_bridge_rule_values_unreadable{rule="level in percent",tenant="acme"} 1`)
	})
}

// TestUnreadableStatisticIsLogged once a term, with the text.
func TestUnreadableStatisticIsLogged(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BRIDGE_THRESHOLDS"] = `[{"name":"level","kind":"service","stat":"service_level","raise":{"op":"<","value":80}}]`
	w.tenant.SetService(bpcctest.Service{Name: "Voice", Stats: map[string]string{"service_level": "70%"}})
	log := w.startWithLog()
	w.waitFor("service.Voice.observed", 1)
	w.tenant.SetServiceStat("Voice", "service_level", "71%")
	w.waitFor("service.Voice.stats_changed", 1)
	entries := logEntries(t, log, "rule cannot read its statistic")
	if len(entries) != 1 {
		t.Fatalf("%d warnings, want 1: %v", len(entries), entries)
	}
	for key, want := range map[string]string{"level": "WARN", "rule": "level", "stat": "service_level", "entity": "Voice", "text": "70%"} {
		if entries[0][key] != want {
			t.Errorf("%s is %v, want %s", key, entries[0][key], want)
		}
	}
	if hint := fmt.Sprint(entries[0]["hint"]); !strings.Contains(hint, "parse") {
		t.Errorf("hint %s", hint)
	}
}
