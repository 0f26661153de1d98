package bridge_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/record"
	"bpcc-nats/internal/bridgetest"
)

// startRecorder runs a recorder to a file; stop ends it and waits.
func (w *testEnv) startRecorder() (file string, stop func()) {
	w.t.Helper()
	file = filepath.Join(w.t.TempDir(), "recording.ndjson.gz")
	f, err := os.Create(file)
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := record.NewRecorder(w.config(), f, slog.New(slog.NewTextHandler(logWriter{w.t}, nil)))
	if err != nil {
		w.t.Fatal(err)
	}
	return file, w.run(r, func(err error) {
		if err := errors.Join(err, f.Close()); err != nil {
			w.t.Errorf("recorder: %v", err)
		}
	})
}

// backtest runs recordings and returns the events with the summary.
func (w *testEnv) backtest(sets []record.RuleSet, recordings ...string) ([]storedEvent, *record.Summary) {
	w.t.Helper()
	b := record.Backtest{Sets: sets}
	if w.waitsDividedBy > 0 {
		b.Timing = bridgetest.Timing(w.waitsDividedBy, 1)
	}
	for _, name := range recordings {
		body, err := os.ReadFile(name)
		if err != nil {
			w.t.Fatal(err)
		}
		r, err := record.Open(name, bytes.NewReader(body))
		if err != nil {
			w.t.Fatal(err)
		}
		b.Recordings = append(b.Recordings, r)
	}
	var all []storedEvent
	b.Emit = func(subject string, body []byte) error {
		all = append(all, w.decode(storedEvent{Subject: strings.TrimPrefix(subject, "bpcc.v1.acme."), Body: body}))
		return nil
	}
	sum, err := b.Run(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return all, sum
}

// waitForRecorded waits until a backtest of a recording that is still being written
// has n events with a subject, and returns them.
func (w *testEnv) waitForRecorded(file, subject string, n int) []storedEvent {
	w.t.Helper()
	for deadline := time.Now().Add(testTimeout); time.Now().Before(deadline); w.waitTwoPolls() {
		body, err := os.ReadFile(file)
		if err != nil {
			w.t.Fatal(err)
		}
		if _, err := record.Open(file, bytes.NewReader(body)); err != nil {
			continue // its first line is being written
		}
		all, _ := w.backtest([]record.RuleSet{{Rules: w.config().Events.Rules}}, file)
		if found := withSubject(all, subject); len(found) >= n {
			return found
		}
	}
	w.t.Fatalf("waited in vain for %s in the recording", subject)
	return nil
}

// decompressed is what a recording says.
func decompressed(t *testing.T, file string) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(zip)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	return string(body)
}

// runScriptedDay drives a tenant through faults and changes; seen waits until n
// events with a subject are there to be seen.
func runScriptedDay(w *testEnv, seen func(subject string, n int)) {
	yes, no := true, false
	seen("totals.bridge.observed", 1)
	seen("availability.Voice.observed", 1)
	seen("directory.agents.changed", 1)
	w.tenant.SetState("anna", "not_ready", "Lunch")
	seen("agent.anna.state_changed", 1)
	w.tenant.SetAvailability("Voice", &no)
	seen("availability.Voice.changed", 1)
	changes := 1
	for _, fault := range []func(){
		w.tenant.ExpireTokens,
		w.tenant.DropSubscriptions,
		w.tenant.ReplaceSubscription,
		func() { w.tenant.Inject(bpcctest.Fault{Status: 404}) },
		func() { w.tenant.Inject(bpcctest.Fault{Status: 204, Times: 3}) },
		func() { w.tenant.Inject(bpcctest.Fault{Status: 503, RetryAfter: "1"}) },
		func() { w.tenant.Inject(bpcctest.Fault{Truncate: true}) },
		func() { w.tenant.Inject(bpcctest.Fault{Close: true}) },
		func() { w.tenant.Inject(bpcctest.Fault{EmptyGrids: true}) },
	} {
		fault()
		w.tenant.SetState("anna", []string{"ready", "not_ready"}[changes%2], "")
		changes++
		seen("agent.anna.state_changed", changes)
	}
	w.tenant.Update(func(world *bpcctest.World) {
		world.SetState("anna", "supervising", "")
		world.SetAgentStat("anna", "in_calls_handled_per_day", "8")
	})
	seen("agent.anna.stats_changed", 1)
	w.tenant.SetServiceStat("Voice", "in_calls_waiting", "6")
	seen("threshold.backlog.Voice.raised", 1)
	w.tenant.SetServiceStat("Voice", "in_calls_waiting", "1")
	seen("threshold.backlog.Voice.cleared", 1)
	w.tenant.SetAvailability("Voice", &yes)
	seen("availability.Voice.changed", 2)
	w.tenant.RemoveAgent("bob")
	seen("agent.bob.disappeared", 1)
	w.setAgent("bob", "ready", "")
	seen("agent.bob.appeared", 1)
	w.tenant.Inject(bpcctest.Fault{Status: 502, Times: -1})
	seen("feed.interrupted", 1)
	w.tenant.SetState("anna", "after_call_work", "")
	w.tenant.ClearFaults()
	seen("feed.resumed", 1)
	seen("agent.anna.state_changed", changes+2)
}

// comparableEvent is what an event says, less what depends on the instant.
func comparableEvent(s storedEvent) map[string]any {
	m := map[string]any{"subject": s.Subject, "type": s.Type}
	for _, name := range []string{
		"revision", "from", "to", "changed", "available", "previous", "after_gap", "reentered", "reset", "agent", "service", "app",
		"rule", "severity", "entity", "stat", "value", "limit", "op", "for", "cleared_by", "cause", "error", "added", "removed", "renamed", "version",
	} {
		if v, ok := s.Data[name]; ok {
			m[name] = v
		}
	}
	for _, name := range []string{"before", "after"} {
		if image, ok := s.field(name).(map[string]any); ok {
			for stat, v := range image {
				if stat != "state_duration" && stat != "login_time" && stat != "in_max_wait_time" && !strings.HasPrefix(stat, "agent_total_") {
					m[name+"."+stat] = v
				}
			}
		}
	}
	return m
}

// comparableEvents sorts events by what they are about: availability and directories
// are polled on their own clocks, so their place among the others is chance.
func comparableEvents(all []storedEvent) map[string][]map[string]any {
	out := map[string][]map[string]any{}
	for _, s := range all {
		key := entityKey(s.Subject)
		switch {
		case s.Subject == "feed.checkpoint":
			continue
		case key == "":
			key = s.Subject
		}
		out[key] = append(out[key], comparableEvent(s))
	}
	return out
}

// TestBacktestMatchesTheBridge drives one scripted day twice, once under
// a live bridge and once under a recorder, and compares what was published with
// what the recording gives.
func TestBacktestMatchesTheBridge(t *testing.T) {
	t.Parallel()
	prepare := func(t *testing.T) *testEnv {
		w := newTestEnv(t, bpcctest.Config{})
		w.waitsDividedBy = 2
		delete(w.env, "BPCC_SERVICES")
		w.env["BPCC_DIRECTORY_INTERVAL"] = "1h"
		w.env["BRIDGE_THRESHOLDS"] = `[{"name":"backlog","kind":"service","stat":"in_calls_waiting",
			"raise":{"op":">=","value":5},"clear":{"op":"<=","value":2},"for":"300ms"}]`
		w.setAgent("anna", "ready", "")
		w.setAgent("bob", "", "")
		w.tenant.SetService(bpcctest.Service{Name: "Voice", Stats: map[string]string{"in_calls_waiting": "0"}})
		yes := true
		w.tenant.SetAvailability("Voice", &yes)
		return w
	}
	var want, got map[string][]map[string]any
	t.Run("both", func(t *testing.T) {
		t.Run("live", func(t *testing.T) {
			t.Parallel()
			w := prepare(t)
			stop := w.startBridge()
			runScriptedDay(w, func(subject string, n int) { w.waitFor(subject, n) })
			stop()
			want = comparableEvents(w.events())
		})
		t.Run("recorded", func(t *testing.T) {
			t.Parallel()
			w := prepare(t)
			file, stop := w.startRecorder()
			runScriptedDay(w, func(subject string, n int) { w.waitForRecorded(file, subject, n) })
			stop()
			all, sum := w.backtest([]record.RuleSet{{Rules: w.config().Events.Rules}}, file)
			got = comparableEvents(all)
			if len(sum.Warnings) > 0 || len(sum.Gaps) != 1 || sum.GoodPolls == 0 || sum.GoodPolls >= sum.Polls {
				t.Errorf("summary: %+v", sum)
			}
			if w.tenant.Counts().Deletes < 2 {
				t.Error("the recorder has not given the subscription back")
			}
		})
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-live +backtest)\n%s", diff)
	}
}

// TestRecordedFaultsHaveTheirCauses lets every fault of the source last until it
// is reported, and looks for its cause in the backtest.
func TestRecordedFaultsHaveTheirCauses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fault bpcctest.Fault
		cause string
	}{
		"server error":    {bpcctest.Fault{Status: 502}, "source"},
		"premature close": {bpcctest.Fault{Close: true}, "source"},
		"throttled":       {bpcctest.Fault{Status: 429, RetryAfter: "1"}, "source"},
		"cut body":        {bpcctest.Fault{Truncate: true}, "truncated"},
		"HTML":            {bpcctest.Fault{Status: 200, Body: "<html>log in</html>", ContentType: "text/html"}, "truncated"},
		"foreign data":    {bpcctest.Fault{Foreign: true}, "subscription_lost"},
		"no subscription": {bpcctest.Fault{Status: 404}, "subscription_lost"},
		"unauthorized":    {bpcctest.Fault{Status: 401}, "auth"},
		"forbidden":       {bpcctest.Fault{Status: 403}, "auth"},
		"suddenly empty":  {bpcctest.Fault{EmptyGrids: true}, "empty"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTestEnv(t, bpcctest.Config{})
			w.waitsDividedBy = 2 // the source answers within 2.5 s on a busy machine, too
			w.setAgent("anna", "ready", "")
			file, stop := w.startRecorder()
			w.waitForRecorded(file, "totals.bridge.observed", 1)
			test.fault.Times = -1
			w.tenant.Inject(test.fault)
			interrupted := w.waitForRecorded(file, "feed.interrupted", 1)[0]
			if got := interrupted.text("cause"); got != test.cause {
				t.Errorf("cause %q, want %q (%s)", got, test.cause, interrupted.text("error"))
			}
			stop()
			if _, sum := w.backtest(nil, file); len(sum.Gaps) != 1 || !sum.Gaps[0].To.IsZero() {
				t.Errorf("gaps: %v, want one without an end", sum.Gaps)
			}
		})
	}
}

// TestRecordedReasons: a recording keeps why checks failed and that a service was removed, so that a
// backtest gives the same events.
func TestRecordedReasons(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	delete(w.env, "BPCC_SERVICES")
	w.waitsDividedBy = 25
	w.env["BPCC_AVAILABILITY_UNKNOWN_AFTER"], w.env["BPCC_DIRECTORY_INTERVAL"], w.env["BRIDGE_REDACT_STATS"] = "1s", "100ms", "extension"
	for _, service := range []string{"Voice", "Chat", "Mail", "Fax"} {
		w.tenant.SetService(bpcctest.Service{Name: service})
	}
	file, stop := w.startRecorder()
	for _, service := range []string{"Voice", "Chat", "Mail", "Fax"} {
		w.waitForRecorded(file, "availability."+service+".observed", 1)
	}
	w.tenant.Inject(bpcctest.Fault{Services: []string{"Voice"}, Delay: time.Minute, Times: -1})
	w.tenant.Inject(bpcctest.Fault{Services: []string{"Chat"}, Status: 403, Times: -1})
	w.tenant.Inject(bpcctest.Fault{Services: []string{"Fax"}, Body: "<html>", Times: -1})
	w.tenant.RemoveService("Mail")
	for service, want := range map[string]string{"Voice": "timeout", "Chat": "refused", "Mail": "service_removed", "Fax": "malformed"} {
		changed := w.waitForRecorded(file, "availability."+service+".changed", 1)[0]
		if changed.field("available") != nil || changed.text("reason") != want {
			t.Errorf("%s: %v, want the reason %s", service, changed.Data, want)
		}
	}
	stop()
}

// TestKilledRecorderLeavesAReadableFile cuts a recording everywhere: what is
// before the cut is what the whole recording begins with.
func TestKilledRecorderLeavesAReadableFile(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	for i := range 5 {
		w.setAgent(fmt.Sprintf("agent%d", i), "ready", "")
	}
	file, stop := w.startRecorder()
	for i := range 5 {
		w.tenant.SetState(fmt.Sprintf("agent%d", i), "supervising", "")
		w.waitForRecorded(file, "totals.bridge.observed", 1)
		w.waitTwoPolls()
	}
	stop()
	complete, sum := w.backtest(nil, file)
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	plain, cut := filepath.Join(t.TempDir(), "plain"), filepath.Join(t.TempDir(), "cut")
	if err := os.WriteFile(plain, []byte(decompressed(t, file)), 0o600); err != nil {
		t.Fatal(err)
	}
	if all, _ := w.backtest(nil, plain); !cmp.Equal(complete, all) {
		t.Error("the uncompressed recording gives other events")
	}
	maxCount := 0
	for end := len(body) - 1; end > 0; end -= 101 {
		_, err := record.Open(cut, bytes.NewReader(body[:end]))
		if errors.Is(err, record.ErrInvalid) {
			break // it is cut in its first line
		}
		if err := os.WriteFile(cut, body[:end], 0o600); err != nil {
			t.Fatal(err)
		}
		all, part := w.backtest(nil, cut)
		if len(all) > len(complete) || !cmp.Equal(complete[:len(all)], all) {
			t.Fatalf("cut at %d of %d: other events", end, len(body))
		}
		if end < len(body)-40 && len(part.Warnings) == 0 || part.Polls > sum.Polls {
			t.Errorf("cut at %d of %d: %+v", end, len(body), part)
		}
		maxCount = max(maxCount, part.Polls)
	}
	if maxCount < sum.Polls-1 {
		t.Errorf("of %d polls only %d can be read from a file without its tail", sum.Polls, maxCount)
	}
}
