package bridge_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"iter"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bpcc"
	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/internal/variants"
)

var (
	propertyRounds = flag.Int("property.rounds", 0, "rounds of each world of TestReplayRebuildsTheTenant; a round is two polls or more; 0 is 20, and 40 with "+variants.Variable)
	propertySeed   = flag.Uint64("property.seed", 0, "an extra seed for TestReplayRebuildsTheTenant; 0 takes a new one")
)

// regressionSeeds are worlds that once failed, or that cover something of their own.
var regressionSeeds = []uint64{1, 2, 3, 4, 5, 6, 7}

// snapshot is what a tenant shows, or what a replay knows: kind, id, statistic.
type snapshot map[string]map[string]map[string]string

// tenantVersion is a state of the tenant and when it was there: possibly from, surely since.
type tenantVersion struct {
	from, since time.Time
	snapshot    snapshot
}

// TestReplayRebuildsTheTenant lets random contact centres live under random
// faults and restarts. At every checkpoint of the stream, replaying it from its
// start must give exactly what the tenant showed between the request and the
// answer of that poll, less running clocks; and in the end the view must be the
// replay.
func TestReplayRebuildsTheTenant(t *testing.T) {
	t.Parallel()
	extra, rounds := *propertySeed, *propertyRounds
	if extra == 0 {
		extra = rand.Uint64()
	}
	if rounds == 0 {
		rounds = 20
		if variants.RunAll() {
			rounds = 40
		}
	}
	for _, seed := range append(slices.Clone(regressionSeeds), extra) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			runRandomTenant(t, seed, rounds)
		})
	}
}

func runRandomTenant(t *testing.T, seed uint64, rounds int) {
	random := rand.New(rand.NewPCG(seed, 0))
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BRIDGE_DISAPPEAR_AFTER"] = "1" // what is gone is gone at once, so that pictures compare
	w.env["BRIDGE_CHECKPOINT_INTERVAL"] = "300ms"
	w.env["BPCC_TIMEOUT"] = "400ms"
	w.pollInterval = 50 * time.Millisecond
	w.waitsDividedBy = 25 // so that faults do not last for long, and interrupt the feed all the same
	w.simulatedTime = true
	floor := bpcctest.NewFloor(w.tenant.Tenant, bpcctest.FloorConfig{Agents: 12 + random.IntN(20), Services: 3, Seed: seed})
	sub := w.config().BPCC.Subscription
	history := []tenantVersion{{snapshot: w.tenantSnapshot(sub)}}
	change := func(do func()) {
		from := time.Now()
		do()
		history = append(history, tenantVersion{from, time.Now(), w.tenantSnapshot(sub)})
	}
	stop := w.startBridge()
	// Before the first snapshot an empty grid cannot be distinguished from an empty floor.
	w.waitFor("totals.bridge.observed", 1)
	for range rounds {
		change(func() { floor.Step(time.Duration(random.IntN(8000)) * time.Millisecond) })
		w.waitTwoPolls()
		switch random.IntN(12) {
		case 0:
			w.tenant.ExpireTokens()
		case 1:
			w.tenant.DropSubscriptions()
		case 2:
			w.tenant.ReplaceSubscription()
		case 3:
			stop()
			change(func() { floor.Step(30 * time.Second) })
			stop = w.startBridge()
		case 4:
			login := fmt.Sprintf("guest%d", random.IntN(3))
			change(func() { w.tenant.RemoveAgent(login) })
		case 5:
			login := fmt.Sprintf("guest%d", random.IntN(3))
			change(func() { w.setAgent(login, []string{"ready", "", "not_ready"}[random.IntN(3)], "") })
		case 6:
			change(floor.ResetDaily)
		default:
			w.tenant.Inject(randomFault(random))
		}
	}
	w.tenant.ClearFaults()
	changes := len(withSubject(w.events(), "feed.checkpoint"))
	w.waitForEvents("a checkpoint after all faults", func(all []storedEvent) bool {
		checkpoints := withSubject(all, "feed.checkpoint")
		return len(checkpoints) > changes+2 && checkpoints[len(checkpoints)-1].text("status") == "live"
	})
	stop()
	all := w.events()
	compareReplay(t, all, history)
	w.comparePast(random, history)
	w.compareView(all)
}

func randomFault(random *rand.Rand) bpcctest.Fault {
	faults := []bpcctest.Fault{
		{Status: 502}, {Status: 404}, {Status: 401}, {Status: 429, RetryAfter: "1"}, {Close: true}, {Truncate: true},
		{EmptyGrids: true}, {Foreign: true}, {Delay: 600 * time.Millisecond}, {Status: 204},
		{Status: 200, Body: "<html>", ContentType: "text/html"},
		{Empty: []string{"agents"}}, {Empty: []string{"services"}}, {Shuffle: true}, {BOM: true}, {Body: `{"error":"session expired"}`},
	}
	f := faults[random.IntN(len(faults))]
	f.Times = 1 + random.IntN(3)
	return f
}

// tenantSnapshot reads what the tenant shows, with plain maps.
func (w *testEnv) tenantSnapshot(sub bpcc.Subscription) snapshot {
	w.t.Helper()
	var apps map[string]struct {
		Totals   map[string]string `json:"stats_totals"`
		Agents   []table           `json:"agent_grids"`
		Services []table           `json:"service_grids"`
	}
	if err := json.Unmarshal(w.tenant.Snapshot(sub), &apps); err != nil {
		w.t.Fatal(err)
	}
	p := snapshot{"agent": {}, "service": {}, "totals": {"bridge": withoutClocks(apps["bridge"].Totals)}}
	for kind, tables := range map[string][]table{"agent": apps["bridge"].Agents, "service": apps["bridge"].Services} {
		grids := sub["bridge"].AgentGrids
		if kind == "service" {
			grids = sub["bridge"].ServiceGrids
		}
		for _, row := range tables[0].Values {
			stats := map[string]string{}
			for _, c := range grids[0].Columns {
				stats[c.StatName] = row[c.ID]
			}
			p[kind][row["1"]] = withoutClocks(stats)
		}
	}
	return p
}

type table struct {
	ID     string
	Values []map[string]string
}

// withoutClocks leaves the running clocks out.
func withoutClocks(stats map[string]string) map[string]string {
	out := map[string]string{}
	for name, text := range stats {
		total, _ := path.Match("agent_total_*_time", name)
		if !total && !slices.Contains([]string{"state_duration", "login_time", "in_max_wait_time"}, name) {
			out[name] = text
		}
	}
	return out
}

// compareReplay folds the stream and compares at every checkpoint.
func compareReplay(t *testing.T, all []storedEvent, history []tenantVersion) {
	t.Helper()
	replay := snapshot{"agent": {}, "service": {}, "totals": {}}
	compared := 0
	for _, s := range all {
		if s.Subject == "feed.checkpoint" {
			if s.text("status") == "live" && s.field("part") == s.field("parts") {
				compareAtCheckpoint(t, s, replay, history)
				compared++
			}
			continue
		}
		kind, _, _ := strings.Cut(s.Subject, ".")
		if replay[kind] == nil {
			continue
		}
		_, id, _ := strings.Cut(s.text("subject"), "/")
		if id == "" {
			id = s.text("agent", "id") + s.text("service") + s.text("app")
		}
		after, ok := s.field("after").(map[string]any)
		if !ok {
			delete(replay[kind], id)
			continue
		}
		stats := map[string]string{}
		for name, text := range after {
			stats[name] = text.(string)
		}
		replay[kind][id] = withoutClocks(stats)
	}
	t.Logf("%d checkpoints compared, %d events, %d pictures", compared, len(all), len(history))
	if compared < 3 {
		t.Errorf("only %d checkpoints: the world did not live", compared)
	}
}

func compareAtCheckpoint(t *testing.T, s storedEvent, replay snapshot, history []tenantVersion) {
	t.Helper()
	sent, err := time.Parse(time.RFC3339, s.text("observed_until"))
	if err != nil {
		t.Fatalf("%s: %v", s.ID, err)
	}
	// Rows that are missing are as they were when they were seen last.
	missingSince := sent
	if text := s.text("missing_since"); text != "" {
		if missingSince, err = time.Parse(time.RFC3339, text); err != nil {
			t.Fatalf("%s: %v", s.ID, err)
		}
	}
	nearest := ""
	for h := range versionsBetween(history, sent, s.Time) {
		held := func(kind string) bool {
			for old := range versionsBetween(history, missingSince, s.Time) {
				if cmp.Equal(old[kind], replay[kind]) {
					return true
				}
			}
			return false
		}
		differ := slices.DeleteFunc([]string{"agent", "service", "totals"}, func(kind string) bool { return cmp.Equal(h[kind], replay[kind]) })
		if len(differ) == 0 || missingSince.Before(sent) && len(differ) == 1 && differ[0] != "totals" && held(differ[0]) {
			return
		}
		nearest = cmp.Diff(h, replay)
	}
	t.Errorf("%s at sequence %d: the replay is no state that the tenant showed between %v and %v (-last +replay)\n%s",
		s.ID, s.Seq, sent, s.Time, nearest)
}

// versionsBetween yields what the tenant showed at any time between the two.
func versionsBetween(history []tenantVersion, after, by time.Time) iter.Seq[snapshot] {
	return func(yield func(snapshot) bool) {
		for i, h := range history {
			// A watermark is stamped when it is written; what it vouches for is the
			// snapshot of the poll, which began at observed_until.
			if h.from.After(by) || i+1 < len(history) && history[i+1].since.Before(after) {
				continue
			}
			if !yield(h.snapshot) {
				return
			}
		}
	}
}
