package engine_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/diff"
	"bpcc-nats/diff/layout"
)

var (
	randomSteps = flag.Int("random.steps", 15, "steps of each tenant of TestRandomTenants; a step is a fault and some polls")
	randomSeed  = flag.Uint64("random.seed", 0, "an extra seed for TestRandomTenants; 0 for none")
	randomFault = flag.String("random.fault", "", "the only fault of TestRandomTenants, by name; empty for all")
)

// TestRandomTenants polls random contact centres whose source is wrong in the ways of the field. The
// time is simulated, so that a seed gives the same run each time. What is published must be true of
// the centre itself: see oracle.check.
func TestRandomTenants(t *testing.T) {
	t.Parallel()
	seeds := []uint64{1, 2, 7, 9, 10, 15}
	if *randomSeed != 0 {
		seeds = append(seeds, *randomSeed)
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			w := newRandomTenant(t, seed)
			for range *randomSteps {
				w.step()
			}
			w.settle()
			w.t.Logf("%d polls, %d events, %d durations, %d versions of the centre", w.polls, len(w.stream), w.durations, len(w.truth))
			if w.durations == 0 {
				w.t.Error("no event says how long a state lasted")
			}
		})
	}
}

// sourceFault is a way in which the source is wrong for some polls.
type sourceFault struct {
	name  string
	fault func(w *randomTenant) bpcctest.Fault
	polls int  // at most
	stale bool // responses may be older than those before
	still bool // all responses show one time
	used  bool // responses are used in spite of it
}

// sourceFaults are the ways that are drawn.
var sourceFaults = []sourceFault{
	{name: "unavailable", polls: 6, fault: func(*randomTenant) bpcctest.Fault { return bpcctest.Fault{Status: 503} }},
	{name: "truncated", polls: 6, fault: func(*randomTenant) bpcctest.Fault { return bpcctest.Fault{Truncate: true} }},
	{name: "error body", polls: 6, fault: func(*randomTenant) bpcctest.Fault { return bpcctest.Fault{Body: `{"error":"session expired"}`} }},
	{name: "foreign", polls: 2, fault: func(*randomTenant) bpcctest.Fault { return bpcctest.Fault{Foreign: true} }},
	{name: "empty", polls: 25, fault: func(*randomTenant) bpcctest.Fault { return bpcctest.Fault{EmptyGrids: true} }},
	{name: "one grid empty", polls: 25, used: true, fault: func(w *randomTenant) bpcctest.Fault {
		return bpcctest.Fault{Empty: []string{[]string{"agents", "services"}[w.random.IntN(2)]}}
	}},
	{name: "frozen", polls: 20, stale: true, fault: func(*randomTenant) bpcctest.Fault { return bpcctest.Fault{Frozen: true} }},
	{name: "lagging node", polls: 10, stale: true, fault: func(w *randomTenant) bpcctest.Fault {
		return bpcctest.Fault{Lag: time.Duration(5+w.random.IntN(10)) * time.Second, Every: 2}
	}},
	{name: "clock steps back", polls: 1, stale: true, fault: func(w *randomTenant) bpcctest.Fault {
		return bpcctest.Fault{Lag: time.Duration(5+w.random.IntN(10)) * time.Second}
	}},
	{name: "shuffled", polls: 10, used: true, fault: func(w *randomTenant) bpcctest.Fault { return bpcctest.Fault{Shuffle: true} }},
	{name: "rows missing", polls: 10, used: true, fault: func(w *randomTenant) bpcctest.Fault {
		return bpcctest.Fault{Rows: map[string]bpcctest.Row{w.anyAgent(): {Missing: true}, w.anyAgent(): {Missing: true}}}
	}},
	{name: "cut by a limit", polls: 25, used: true, fault: func(w *randomTenant) bpcctest.Fault { return bpcctest.Fault{Limit: 1 + w.random.IntN(12)} }},
	{name: "duplicate rows", polls: 10, used: true, fault: func(w *randomTenant) bpcctest.Fault {
		return bpcctest.Fault{Rows: map[string]bpcctest.Row{
			w.anyAgent(): {Duplicate: map[string]json.RawMessage{"acd_state": json.RawMessage(`"supervising"`), "reason": json.RawMessage(`"twice"`)}},
			w.anyAgent(): {Duplicate: map[string]json.RawMessage{"in_calls_handled_per_day": json.RawMessage(`"77"`)}},
		}}
	}},
}

// randomTenant is a simulated contact centre in simulated time, and the engine that polls it.
type randomTenant struct {
	*bridge
	random *rand.Rand
	tenant *bpcctest.Tenant
	floor  *bpcctest.Floor
	sub    bpcc.Subscription
	token  string

	polls      int
	lastCommit time.Time
	// awayAndBack is the agent that has left its state and come back to it since the last poll.
	awayAndBack string
	*oracle
}

// startOfRandomTenant is when the simulated time begins.
var startOfRandomTenant = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

func newRandomTenant(t *testing.T, seed uint64) *randomTenant {
	t.Helper()
	w := &randomTenant{random: rand.New(rand.NewPCG(seed, 0))}
	limit := 0
	if w.random.IntN(3) == 0 {
		limit = 5 + w.random.IntN(30) // hides rows, or just does not
	}
	w.bridge = start(t, func(o *engine.Options) { o.Layout, o.FrozenAfter = layoutOf(limit), o.InterruptAfter })
	w.tenant = bpcctest.New(bpcctest.Config{NotReadyPolls: -1, TokenTTL: 1000 * time.Hour, Now: func() time.Time { return startOfRandomTenant }})
	w.floor = bpcctest.NewFloor(w.tenant, bpcctest.FloorConfig{Agents: 12 + w.random.IntN(16), Services: 3, Seed: seed, Start: startOfRandomTenant})
	w.now = startOfRandomTenant
	w.oracle = newOracle(t, w.options.Layout)
	w.sub = subscriptionOf(w.options.Layout)
	w.logIn()
	// Clocks that are older than any fault, of states whose beginning the oracle knows roughly.
	for range 300 {
		w.floor.Step(2 * time.Second)
		w.look(w.now, w.now.Add(2*time.Second))
		w.now = w.now.Add(2 * time.Second)
	}
	w.poll(sourceFault{})
	return w
}

// subscriptionOf is the subscription whose responses have that layout.
func subscriptionOf(l *layout.Layout) bpcc.Subscription {
	var app bpcc.App
	for _, g := range l.Grids {
		grid := bpcc.Grid{ID: g.ID, Limit: g.Limit}
		for _, c := range g.Columns {
			grid.Columns = append(grid.Columns, bpcc.Column{ID: c.ID, StatName: c.Stat})
		}
		switch g.Kind {
		case event.Agent:
			app.AgentGrids = append(app.AgentGrids, grid)
		case event.Service:
			app.ServiceGrids = append(app.ServiceGrids, grid)
		default:
			for _, c := range g.Columns {
				app.StatsTotals = append(app.StatsTotals, c.Stat)
			}
		}
	}
	app.ChatMessages = &bpcc.ChatQuery{Limit: 5}
	return bpcc.Subscription{"app": app}
}

// request sends the tenant a request.
func (w *randomTenant) request(method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if strings.HasSuffix(path, "/token") {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r.Header.Set("Authorization", "Bearer "+w.token)
	out := httptest.NewRecorder()
	w.tenant.ServeHTTP(out, r)
	return out
}

func (w *randomTenant) logIn() {
	w.t.Helper()
	var token struct {
		AccessToken string `json:"access_token"`
	}
	login := w.request("POST", "/configapi/v2/oauth/token", "grant_type=client_credentials&client_id=sim&client_secret=sim-secret")
	if err := json.Unmarshal(login.Body.Bytes(), &token); err != nil {
		w.t.Fatal(err)
	}
	w.token = token.AccessToken
	sub, err := json.Marshal(w.sub)
	if err != nil {
		w.t.Fatal(err)
	}
	if a := w.request("POST", "/statsapi/subscription", string(sub)); a.Code != http.StatusOK {
		w.t.Fatalf("subscribe: %d %s", a.Code, a.Body)
	}
}

// advance lets the centre live for d, and the oracle look at it all the time.
func (w *randomTenant) advance(d time.Duration) {
	const lookEvery = 400 * time.Millisecond
	for d > 0 {
		by := min(d, lookEvery)
		w.floor.Step(by)
		w.look(w.now, w.now.Add(by))
		w.now, d = w.now.Add(by), d-by
	}
}

// change changes the centre at once.
func (w *randomTenant) change(do func(*bpcctest.World)) {
	w.tenant.Update(do)
	w.look(w.now, w.now)
}

func (w *randomTenant) look(from, since time.Time) {
	w.see(from, since, w.tenant.Snapshot(withoutLimits(w.sub)))
}

// withoutLimits is the subscription that shows all rows.
func withoutLimits(sub bpcc.Subscription) bpcc.Subscription {
	app := sub["app"]
	app.AgentGrids = slices.Clone(app.AgentGrids)
	for i := range app.AgentGrids {
		app.AgentGrids[i].Limit = 0
	}
	return bpcc.Subscription{"app": app}
}

// anyAgent draws one of the agents.
func (w *randomTenant) anyAgent() string {
	ids := w.present(event.Agent)
	return ids[w.random.IntN(len(ids))]
}

// live lets the centre live for the time between two polls, and now and then do what floors do not.
func (w *randomTenant) live(m sourceFault) {
	before := time.Duration(w.random.Int64N(int64(interval - 200*time.Millisecond)))
	w.advance(before)
	login := fmt.Sprintf("guest%d", w.random.IntN(3))
	agent := w.anyAgent()
	switch w.random.IntN(40) {
	case 0:
		w.change(func(c *bpcctest.World) { c.RemoveAgent(login) })
	case 1, 2:
		state := []string{"ready", "", "not_ready"}[w.random.IntN(3)]
		w.change(func(c *bpcctest.World) { c.SetAgent(bpcctest.Agent{Login: login, State: state}) })
	case 3:
		w.change((*bpcctest.World).ResetDaily)
	case 4:
		w.change(func(c *bpcctest.World) { c.AddCalls(agent, -1, 0) })
	case 5:
		w.change(func(c *bpcctest.World) { c.AddCalls(agent, 1, 0) })
	case 6, 7: // away and back
		var a bpcctest.Agent
		w.change(func(c *bpcctest.World) { a, _ = c.Agent(agent); c.SetState(agent, "supervising", "") })
		w.advance(100 * time.Millisecond)
		w.change(func(c *bpcctest.World) { c.SetState(agent, a.State, a.Reason) })
		w.awayAndBack = agent
	case 8: // a clock is corrected
		// Where a fault hides the other rows, nothing shows that this is not an older picture.
		if clock := w.last.clocks[agent]; clock > 20 && m.fault == nil {
			w.change(func(c *bpcctest.World) { c.SetStateDuration(agent, time.Duration(clock-4)*time.Second) })
		}
	}
	w.advance(interval - 100*time.Millisecond - before)
}

// step lets the source be wrong for a while, and right after it.
func (w *randomTenant) step() {
	n := w.random.IntN(len(sourceFaults))
	if *randomFault != "" {
		n = slices.IndexFunc(sourceFaults, func(m sourceFault) bool { return m.name == *randomFault })
	}
	if n < 0 {
		w.t.Fatalf("there is no fault %q", *randomFault)
	}
	m := sourceFaults[n]
	w.t.Logf("from poll %d on: %s", w.polls+1, m.name)
	if w.random.IntN(8) == 0 {
		w.restart()
		w.lastPoll = time.Time{}
		w.poll(sourceFault{}) // an older picture cannot be noticed before
	}
	f := m.fault(w)
	f.Times = -1
	if w.random.IntN(4) == 0 && f.Every == 0 {
		f.Every = 2
	}
	w.tenant.Inject(f)
	m.still = f.Frozen && f.Every == 0
	polls := 1 + w.random.IntN(m.polls)
	if m.stale && !m.still {
		polls = min(polls, 8) // some rows must be as they were, so that their clocks show what is older
	}
	for range polls {
		w.poll(m)
	}
	w.tenant.ClearFaults()
	for range 1 + w.random.IntN(5) {
		w.poll(sourceFault{})
	}
	if w.random.IntN(6) == 0 {
		w.settle()
	}
}

// settle lets the source be right for longer than anything is held back. All must be published then.
func (w *randomTenant) settle() {
	w.t.Helper()
	for range 19 {
		w.poll(sourceFault{})
	}
	w.lastCommit = time.Time{}
	w.poll(sourceFault{})
	w.checkSettled()
}

// poll polls the tenant, an interval after the poll before, and checks what that publishes.
func (w *randomTenant) poll(m sourceFault) {
	w.t.Helper()
	w.live(m)
	w.polls++
	faults, first := w.tenant.Counts().Faults, len(w.stream)
	sent := w.now
	w.advance(50 * time.Millisecond)
	response := w.request("GET", "/statsapi/subscription/data", "")
	w.advance(50 * time.Millisecond)
	o := engine.Observation{Sent: sent, Received: w.now, At: w.now}
	if response.Code == http.StatusOK {
		o.Body = response.Body.Bytes()
	} else {
		o.Err, o.Cause = errSource, "source"
	}
	body := slices.Clone(o.Body)
	w.batch = w.engine.OnPoll(o)
	a := answer{
		sent: sent, received: w.now, accepted: w.batch.Err == nil,
		stale: m.stale && w.tenant.Counts().Faults > faults, still: m.still,
	}
	if a.accepted || errors.Is(w.batch.Err, diff.ErrEmpty) {
		a.rows, a.clocks = w.rowsOf(body)
	}
	if w.engine.NeedsCommit(w.batch) || w.now.Sub(w.lastCommit) >= 10*time.Second {
		w.lastCommit = w.now
		w.commit(w.batch)
	} else {
		w.engine.Skip(w.batch)
	}
	if m.used && !a.accepted {
		w.t.Errorf("poll %d: %s: the response is not used: %v", w.polls, m.name, w.batch.Err)
	}
	w.checkRoundTrip(w.stream[first:], a)
	w.check(w.stream[first:], a)
}
