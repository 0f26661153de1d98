package bridge_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge"
	"bpcc-nats/bridge/check"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/bridgetest"
)

// startWithLog runs a bridge as startBridge does, and hands out its log, one JSON object a line.
func (w *testEnv) startWithLog() *bridgetest.Buffer {
	w.t.Helper()
	c := w.config()
	if _, err := stream.Provision(w.t.Context(), w.js, c.Stream, c.Times(), nil); err != nil {
		w.t.Fatal(err)
	}
	var log bridgetest.Buffer
	b, err := bridge.New(c, w.js, slog.New(slog.NewJSONHandler(&log, nil)))
	if err != nil {
		w.t.Fatal(err)
	}
	w.run(b, func(err error) {
		if err != nil {
			w.t.Errorf("bridge: %v", err)
		}
	})
	return &log
}

// refusedStats are the entries of a log at level WARN that name what is refused.
func refusedStats(log *bridgetest.Buffer) (refused []string) {
	for line := range strings.Lines(log.String()) {
		var entry struct{ Level, Refused string }
		if err := json.Unmarshal([]byte(line), &entry); err == nil && entry.Level == "WARN" && entry.Refused != "" {
			refused = append(refused, entry.Refused)
		}
	}
	return refused
}

// refuseSubscriptions stands before a tenant and refuses subscriptions whose body it dislikes.
func (w *testEnv) refuseSubscriptions(refuse func(body string) bool) {
	gate := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.URL.Path == "/statsapi/subscription" {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				w.t.Error(err)
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			if refuse(string(body)) {
				http.Error(rw, `{"error_code":"not this"}`, http.StatusBadRequest)
				return
			}
		}
		w.tenant.ServeHTTP(rw, r)
	}))
	w.t.Cleanup(gate.Close)
	w.env["BPCC_URL"] = gate.URL
}

// image is an event's image after it, as names and texts in order of names.
func image(s storedEvent) []string {
	after, _ := s.field("after").(map[string]any)
	var out []string
	for _, name := range slices.Sorted(maps.Keys(after)) {
		out = append(out, fmt.Sprintf("%s=%v", name, after[name]))
	}
	return out
}

// columnsOf writes columns with the ids 1, 2, ….
func columnsOf(stats ...string) string {
	columns := make([]string, len(stats))
	for i, s := range stats {
		columns[i] = fmt.Sprintf(`{"id":"%d","stat_name":%q}`, i+1, s)
	}
	return "[" + strings.Join(columns, ",") + "]"
}

// sixteenColumns is an agent grid of sixteen columns, one of them unknown.
var sixteenColumns = columnsOf("login_id", "user_id", "first_last_name", "team_name", "extension", "acd_state", "acd_next_state", "reasn",
	"state_duration", "login_time", "in_calls_handled_per_day", "out_calls_handled_per_day",
	"agent_total_ready_time", "agent_total_busy_time", "agent_total_ACW_time", "agent_total_break_time")

func TestUnknownStatisticIsSkipped(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{RefuseUnknownStats: true})
	w.writeSubscription(`{"wall":{"agent_grids":[{"id":"agents","columns":` + sixteenColumns + `}]}}`)
	w.setAgent("anna", "ready", "")
	log := w.startWithLog()
	first := w.waitFor("agent.anna.observed", 1)[0]
	if after := image(first); len(after) != 15 || slices.ContainsFunc(after, func(s string) bool { return strings.HasPrefix(s, "reasn=") }) {
		t.Errorf("the image is not the other fifteen columns: %v", after)
	}
	want := []string{`"reasn" (app "wall", agent grid "agents", column "8")`}
	if diff := cmp.Diff(want, refusedStats(log)); diff != "" {
		t.Errorf("warnings (-want +got)\n%s", diff)
	}
	// The first, the key alone, all others, two for each halving of fifteen, the last.
	counts := w.tenant.Counts()
	if maxCount := 3 + 2*4 + 1; counts.Subscribes > maxCount || counts.Deletes > maxCount {
		t.Errorf("%d subscriptions and %d deletions, want at most %d", counts.Subscribes, counts.Deletes, maxCount)
	}

	w.tenant.DropSubscriptions()
	w.tenant.SetState("anna", "busy", "")
	w.waitFor("agent.anna.state_changed", 1)
	if again := w.tenant.Counts().Subscribes - counts.Subscribes; again != 1 {
		t.Errorf("%d subscriptions after the first was lost, want 1", again)
	}
	if got := refusedStats(log); len(got) != 1 {
		t.Errorf("warned %d times", len(got))
	}
}

// TestActiveItemMediaType: the built-in subscription asks for what an agent handles now, and a tenant that
// does not know that statistic is read without it.
func TestActiveItemMediaType(t *testing.T) {
	t.Parallel()
	const stat = "active_item_media_type"
	for name, refused := range map[string]bool{"known": false, "refused": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTestEnv(t, bpcctest.Config{})
			w.refuseSubscriptions(func(body string) bool { return refused && strings.Contains(body, stat) })
			w.setAgent("anna", "ready", "")
			log := w.startWithLog()
			w.waitFor("agent.anna.observed", 1)
			w.tenant.SetState("anna", "busy", "")
			columns, changes := 17, []any{stat}
			if refused {
				columns = 16
				w.tenant.SetAgentStat("anna", "extension", "7")
				changes = []any{"extension"}
			}
			change := w.waitFor("agent.anna.stats_changed", 1)[0]
			if after := image(change); len(after) != columns || slices.Contains(after, stat+"=voice") == refused {
				t.Errorf("the image is %v", after)
			}
			if d := cmp.Diff(changes, change.field("changed")); d != "" {
				t.Errorf("changed (-want +got)\n%s", d)
			}
			if got := refusedStats(log); (len(got) == 1) != refused {
				t.Errorf("refused are said to be %v", got)
			}
		})
	}
}

func TestUnknownStatisticsOfSeveralSections(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{RefuseUnknownStats: true})
	w.env["BPCC_POLL_INTERVAL"] = "5s" // the probes take seconds on a busy machine, and are no interruption
	w.writeSubscription(`{
		"a":{"agent_grids":[{"id":"1","columns":[{"id":"x","stat_name":"shoe_size"},{"id":"s","stat_name":"acd_state"}],"order_by":"x"}],
			"stats_totals":["agents_ready","in_cals_waiting","agents_logged"]},
		"b":{"agent_grids":[{"id":"1","columns":[{"id":"x","stat_name":"shoe_size"},{"id":"r","stat_name":"reason"}]}],
			"service_grids":[{"id":"2","columns":` + columnsOf("name", "in_calls_waiting", "Agents_busy", "agents_logged") + `}]},
		"c":{"stats_totals":["in_cals_waiting"],"stats_totals_service_ids":["` + bpcctest.ServiceID("Voice") + `"]}}`)
	w.setAgent("anna", "not_ready", "Lunch")
	w.tenant.SetService(bpcctest.Service{Name: "Voice", Stats: map[string]string{"in_calls_waiting": "4"}})
	log := w.startWithLog()
	all := w.waitForEvents("the first snapshot", func(all []storedEvent) bool { return len(withSubject(all, "totals.a.observed")) > 0 })
	if diff := cmp.Diff([]string{"feed.started", "agent.anna.observed", "service.Voice.observed", "totals.a.observed"}, subjectsOf(all)); diff != "" {
		t.Errorf("subjects (-want +got)\n%s", diff)
	}
	for subject, want := range map[string][]string{
		"agent.anna.observed":    {"acd_state=not_ready", "reason=Lunch"},
		"service.Voice.observed": {"agents_logged=1", "in_calls_waiting=4", "name=Voice"},
		"totals.a.observed":      {"agents_logged=1", "agents_ready=0"},
	} {
		if diff := cmp.Diff(want, image(withSubject(all, subject)[0])); diff != "" {
			t.Errorf("%s (-want +got)\n%s", subject, diff)
		}
	}
	want := []string{`"shoe_size" (app "a", agent grid "1", column "x"; app "b", agent grid "1", column "x"), ` +
		`"in_cals_waiting" (app "a", stats_totals; app "c", stats_totals), "Agents_busy" (app "b", service grid "2", column "3")`}
	if diff := cmp.Diff(want, refusedStats(log)); diff != "" {
		t.Errorf("warnings (-want +got)\n%s", diff)
	}
	if got, maxCount := w.tenant.Counts().Subscribes, 3+2*3*3+1; got > maxCount {
		t.Errorf("%d subscriptions, want at most %d", got, maxCount)
	}
}

// TestUnfixableSubscriptions: a fault that omitting statistics does not correct is
// logged once, with its reason, and retried slowly.
func TestUnfixableSubscriptions(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		subscription string
		refuse       func(body string) bool
		maxCount     int // subscriptions
		want         []string
	}{
		"unknown key": {
			`{"wall":{"agent_grids":[{"id":"agents","columns":` + columnsOf("login_id", "acd_state", "reason") + `}],"stats_totals":["agents_ready"]}}`,
			func(body string) bool { return strings.Contains(body, "login_id") }, 4,
			[]string{`unknown to the server: \"login_id\" (app \"wall\", agent grid \"agents\", column \"1\")`, "BRIDGE_AGENT_KEY=login_id or user_id"},
		},
		"unknown filter": {
			`{"wall":{"agent_grids":[{"id":"agents","columns":` + columnsOf("login_id", "ready", "reason") + `,"filter_by":"2","filter_operation":"EQ","filter_value":"1"}]}}`,
			func(body string) bool { return strings.Contains(body, `"ready"`) }, 5,
			[]string{`unknown to the server: \"ready\"`, "remove the filter, the limit or the grid"},
		},
		"all unknown": {
			`{"wall":{"agent_grids":[{"id":"agents","columns":` + columnsOf("a", "b", "c", "d", "e", "f", "g", "h") + `}]}}`,
			nil, 2 + 2*8,
			[]string{"server rejects every statistic", "read the server's response"},
		},
		"another reason": {
			`{"wall":{"agent_grids":[{"id":"agents","columns":` + sixteenColumns + `,"team_ids":["nobody"]}]}}`,
			func(body string) bool { return strings.Contains(body, "nobody") }, 4,
			[]string{"server rejects even the columns that identify rows", "check team_ids"},
		},
		"too many at once": {
			`{"wall":{"agent_grids":[{"id":"agents","columns":` + columnsOf("login_id", "acd_state", "reason", "team_name", "extension") + `}]}}`,
			func(body string) bool { return strings.Count(body, "stat_name") > 4 }, 6,
			[]string{"server accepts each statistic, but not all of them at once"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTestEnv(t, bpcctest.Config{RefuseUnknownStats: true})
			w.writeSubscription(test.subscription)
			var tries syncCounter
			refuse := test.refuse
			if refuse == nil {
				refuse = func(string) bool { return false }
			}
			w.refuseSubscriptions(func(body string) bool { tries.add(); return refuse(body) })
			w.setAgent("anna", "ready", "")
			log := w.startWithLog()
			wantLog := "BPCC request failed"
			w.waitUntil(wantLog, func() bool { return strings.Contains(log.String(), wantLog) })
			<-time.After(500 * time.Millisecond) // five polls, in which nothing may be tried
			text := log.String()
			for _, want := range append(test.want, wantLog, `"retry_in":"3`) {
				if !strings.Contains(text, want) {
					t.Errorf("the log lacks %q", want)
				}
			}
			if n := strings.Count(text, wantLog); n != 1 || t.Failed() {
				t.Errorf("logged %d times:\n%s", n, text)
			}
			if got := tries.get(); got > test.maxCount {
				t.Errorf("%d subscriptions, want at most %d", got, test.maxCount)
			}
			if all := w.events(); len(withSubject(all, "agent.anna.observed")) > 0 {
				t.Error("something was published all the same")
			}
		})
	}
}

// TestBisectionResumesAfterErrors throttles every sixth subscription: what was found out before is not asked for again.
func TestBisectionResumesAfterErrors(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{RefuseUnknownStats: true})
	w.writeSubscription(`{"wall":{"agent_grids":[{"id":"agents","columns":` + sixteenColumns + `}]}}`)
	w.setAgent("anna", "ready", "")
	var tries syncCounter
	w.refuseSubscriptions(func(string) bool {
		if tries.add()%6 == 0 {
			w.tenant.Inject(bpcctest.Fault{Path: "/subscription", Status: 503})
		}
		return false
	})
	log := w.startWithLog()
	w.waitFor("agent.anna.observed", 1)
	if got := refusedStats(log); len(got) != 1 {
		t.Errorf("warned %d times: %v", len(got), got)
	}
	if n := strings.Count(log.String(), "searching for the statistic"); n != 1 {
		t.Errorf("began to look %d times", n)
	}
	if got := tries.get(); got > 12+2*2 {
		t.Errorf("%d subscriptions", got)
	}
}

func TestCheckNamesRefusedStatistics(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{RefuseUnknownStats: true})
	w.env["BPCC_POLL_INTERVAL"] = "10s" // or a slow answer is something to look at
	w.writeSubscription(`{"wall":{"agent_grids":[{"id":"agents","columns":` + sixteenColumns + `}],"stats_totals":["agents_redy"]},"hall":{"stats_totals":["agents_ready"]}}`)
	w.setAgent("anna", "ready", "")
	var out strings.Builder
	_, err := check.Source(t.Context(), w.config(), func(s check.Step) {
		fmt.Fprintf(&out, "%s %s: %s → %s\n", s.Outcome, s.Name, s.Found, s.Hint)
	})
	if !errors.Is(err, check.ErrFailed) {
		t.Errorf("Check: %v, want %v", err, check.ErrFailed)
	}
	for _, want := range []string{
		`fail subscribe: the server rejects "reasn" (app "wall", agent grid "agents", column "8") → remove it`,
		`fail subscribe: the server rejects "agents_redy" (app "wall", stats_totals) → remove it`,
		"ok snapshot: ", "ok agent: 1 row(s)", "ok agents: 1 ready",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

// syncCounter counts over goroutines.
type syncCounter struct {
	mu sync.Mutex
	n  int
}

func (c *syncCounter) add() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return c.n
}

func (c *syncCounter) get() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// TestStopDuringBisection: a bridge that is stopped between two probes stops,
// and leaves no try's subscription behind.
func TestStopDuringBisection(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{RefuseUnknownStats: true})
	w.writeSubscription(`{"wall":{"agent_grids":[{"id":"agents","columns":` + sixteenColumns + `}]}}`)
	var tries syncCounter
	w.refuseSubscriptions(func(string) bool { tries.add(); return false })
	stop := w.startBridge()
	w.waitUntil("two tries", func() bool { return tries.get() >= 2 })
	stop()
	if got := tries.get(); got > 4 {
		t.Errorf("went on for %d tries", got)
	}
	if c := w.tenant.Counts(); c.Deletes != c.Subscribes+1 {
		t.Errorf("%d subscriptions and %d deletions, want one more", c.Subscribes, c.Deletes)
	}
}
