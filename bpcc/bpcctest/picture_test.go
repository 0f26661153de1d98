package bpcctest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"bpcc-nats/bpcc/bpcctest"
)

// clocks asks for the agents with the clocks of their states, and for the services.
const clocks = `{"a":{"stats_totals":["agents_ready"],` +
	`"agent_grids":[{"id":"people","columns":[{"id":"1","stat_name":"login_id"},{"id":"2","stat_name":"acd_state"},{"id":"3","stat_name":"state_duration"},{"id":"4","stat_name":"in_calls_handled_per_day"}]}],` +
	`"service_grids":[{"id":"queues","columns":[{"id":"1","stat_name":"name"},{"id":"2","stat_name":"in_calls_waiting"}]}]}}`

// rows lists the rows of a grid as they come, the cells as JSON writes them.
func (x *rawClient) rows(body, section string) []string {
	x.Helper()
	var apps map[string]map[string]json.RawMessage
	var grids []struct{ Values []map[string]json.RawMessage }
	if err := json.Unmarshal([]byte(body), &apps); err != nil {
		x.Fatalf("%v in %s", err, body)
	}
	if err := json.Unmarshal(apps["a"][section], &grids); err != nil {
		x.Fatalf("%v in %s", err, body)
	}
	out := []string{}
	for _, row := range grids[0].Values {
		var cells []string
		for _, column := range []string{"1", "2", "3", "4"} {
			if cell, ok := row[column]; ok {
				cells = append(cells, strings.Trim(string(cell), `"`))
			}
		}
		out = append(out, strings.Join(cells, "|"))
	}
	return out
}

func (x *rawClient) agentRows() string {
	x.Helper()
	rows := x.rows(x.data(), "agent_grids")
	slices.Sort(rows)
	return strings.Join(rows, " ")
}

// startClocks is a tenant with ann, ready, and bob, busy, whose clock a test moves.
func startClocks(t *testing.T) (*rawClient, *fakeClock) {
	t.Helper()
	now := &fakeClock{time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)}
	x := startTester(t, bpcctest.Config{Now: now.Now, NotReadyPolls: -1})
	x.SetService(bpcctest.Service{Name: "Sales", Stats: map[string]string{"in_calls_waiting": "9"}})
	x.SetAgent(bpcctest.Agent{Login: "ann", State: "ready", Services: []string{"Sales"}})
	x.SetAgent(bpcctest.Agent{Login: "bob", State: "busy", Services: []string{"Sales"}})
	x.subscribe(clocks)
	return x, now
}

func (c *fakeClock) advance(d time.Duration) { c.now = c.now.Add(d) }

// Frozen responses are the same bytes, also to a subscription made meanwhile, and then the picture
// jumps.
func TestFrozen(t *testing.T) {
	t.Parallel()
	x, now := startClocks(t)
	now.advance(10 * time.Second)
	before := x.data()
	x.injectJSON(`{"frozen":true,"times":3}`)
	x.Inject(bpcctest.Fault{Services: []string{"Sales"}, Frozen: true})
	for range 2 {
		now.advance(5 * time.Second)
		x.SetState("ann", "not_ready", "Lunch")
		x.AddCalls("bob", 1, 0)
		x.SetServiceStat("Sales", "in_calls_waiting", "1")
		if got := x.data(); got != before {
			t.Errorf("frozen: %s, want %s", got, before)
		}
	}
	x.subscribe(agents)
	if got := x.data(); !strings.Contains(got, `"ready"`) {
		t.Errorf("frozen, to another subscription: %s", got)
	}
	x.subscribe(clocks)
	if got := x.agentRows(); got != "ann|not_ready|5|0 bob|busy|20|2" {
		t.Errorf("after the thaw: %s", got)
	}
	check := "/statsapi/info/check_available_agents?service=Sales"
	if frozen, live := x.do("GET", check, "").body, x.do("GET", check, "").body; !strings.Contains(frozen, "true") || !strings.Contains(live, "false") {
		t.Errorf("availability: frozen %s, live %s", frozen, live)
	}
}

// A lagging node behind a balancer shows the world as it was: clocks and states step back and forth.
func TestLag(t *testing.T) {
	t.Parallel()
	x, now := startClocks(t)
	now.advance(10 * time.Second)
	x.injectJSON(`{"lag":"4s","every":2,"times":-1}`)
	for i, c := range []struct {
		change func()
		want   string
	}{
		{func() {}, "ann|ready|10|0 bob|busy|10|0"},
		{func() {}, "ann|ready|6|0 bob|busy|6|0"}, // as old as is known
		{func() { now.advance(2 * time.Second); x.SetState("ann", "not_ready", "") }, "ann|not_ready|0|0 bob|busy|12|0"},
		{func() { x.RemoveAgent("bob") }, "ann|ready|8|0 bob|busy|8|0"},
		{func() { now.advance(3 * time.Second) }, "ann|not_ready|3|0"},
		{func() {}, "ann|ready|11|0 bob|busy|11|0"},
		{func() { now.advance(2 * time.Second) }, "ann|not_ready|5|0"},
		{func() {}, "ann|not_ready|1|0"},
	} {
		c.change()
		if got := x.agentRows(); got != c.want {
			t.Errorf("response %d: %s, want %s", i+1, got, c.want)
		}
	}
	x.ClearFaults()
	// A clock that steps back once.
	for i, want := range []string{"ann|not_ready|5|0", "ann|not_ready|3|0", "ann|not_ready|5|0"} {
		if i == 1 {
			x.Inject(bpcctest.Fault{Lag: 2 * time.Second})
		}
		if got := x.agentRows(); got != want {
			t.Errorf("stepping back once: %s, want %s", got, want)
		}
	}
}

// The floor steps over many events at once; a lagging node shows how it was after a step.
func TestLagOfFloor(t *testing.T) {
	t.Parallel()
	x := startTester(t, bpcctest.Config{NotReadyPolls: -1})
	floor := bpcctest.NewFloor(x.Tenant, bpcctest.FloorConfig{Agents: 20, Services: 2})
	x.subscribe(agents)
	x.Inject(bpcctest.Fault{Lag: time.Minute, Every: 2, Times: -1})
	earlier := x.data() // the live node's
	x.data()
	floor.Step(time.Minute)
	if got := x.data(); got == earlier {
		t.Error("nothing happens on the floor in a minute")
	}
	if got := x.data(); got != earlier {
		t.Errorf("a minute ago it was %s, not %s", earlier, got)
	}
}

func TestEmptyGrid(t *testing.T) {
	t.Parallel()
	x, _ := startClocks(t)
	for _, c := range []struct{ name, agents, services string }{
		{"people", "", "Sales|9"}, {"agent_grids", "", "Sales|9"},
		{"queues", "ann|ready|0|0 bob|busy|0|0", ""}, {"service_grids", "ann|ready|0|0 bob|busy|0|0", ""},
		{"other", "ann|ready|0|0 bob|busy|0|0", "Sales|9"},
	} {
		x.injectJSON(`{"empty":["` + c.name + `"]}`)
		body := x.data()
		got := x.rows(body, "agent_grids")
		slices.Sort(got)
		if a, s := strings.Join(got, " "), strings.Join(x.rows(body, "service_grids"), " "); a != c.agents || s != c.services || !strings.Contains(body, `"agents_ready":"1"`) {
			t.Errorf("%s: %s", c.name, body)
		}
	}
}

// Two rows of one key change places with each response; the other rows stay.
func TestDuplicateRows(t *testing.T) {
	t.Parallel()
	x, _ := startClocks(t)
	x.injectJSON(`{"rows":{"ann":{"duplicate":{"acd_state":"busy","in_calls_handled_per_day":"3"}},"Sales":{"duplicate":{}}},"times":4}`)
	for i := range 5 {
		body := x.data()
		ann := slices.DeleteFunc(x.rows(body, "agent_grids"), func(row string) bool { return strings.HasPrefix(row, "bob") })
		want := [][]string{{"ann|ready|0|0", "ann|busy|0|3"}, {"ann|busy|0|3", "ann|ready|0|0"}}[i%2]
		services := []string{"Sales|9", "Sales|9"}
		if i == 4 {
			want, services = []string{"ann|ready|0|0"}, services[:1]
		}
		if !slices.Equal(ann, want) || !slices.Equal(x.rows(body, "service_grids"), services) {
			t.Errorf("response %d: %s", i+1, body)
		}
	}
}

// Rows, columns and cells that are not as the rest.
func TestChangedRows(t *testing.T) {
	t.Parallel()
	x, _ := startClocks(t)
	for _, c := range []struct{ rows, want string }{
		{`"ann":{"missing":true}`, "bob|busy|0|0"},
		{`"ann":{"cells":{"acd_state":["ready","busy"],"in_calls_handled_per_day":null}}`, `ann|["ready","busy"]|0|null bob|busy|0|0`},
		{`"ann":{"cells":{"login_id":""}}`, `bob|busy|0|0 |ready|0|0`},
		{`"*":{"without":["login_id","state_duration"]}`, "busy|0 ready|0"},
		{`"*":{"without":["state_duration"]},"bob":{"cells":{"acd_state":"away"}}`, "ann|ready|0 bob|away|0|0"},
		{`"*":{"missing":true},"bob":{}`, "bob|busy|0|0"},
	} {
		x.injectJSON(`{"rows":{` + c.rows + `}}`)
		if got := x.agentRows(); got != c.want {
			t.Errorf("%s: %s, want %s", c.rows, got, c.want)
		}
	}
}

// A limit cuts: the first rows stay, or other ones each time. A grid with an order keeps it.
func TestLimitAndShuffle(t *testing.T) {
	t.Parallel()
	x := startTester(t, bpcctest.Config{NotReadyPolls: -1})
	for i := range 20 {
		x.SetAgent(bpcctest.Agent{Login: fmt.Sprintf("agent%02d", i)})
	}
	limited := func(more string) { x.subscribe(strings.Replace(agents, `"id":"g",`, `"id":"g",`+more, 1)) }
	x.subscribe(agents)
	all := x.rows(x.data(), "agent_grids")
	x.injectJSON(`{"limit":5,"times":2}`)
	for range 2 {
		if got := x.rows(x.data(), "agent_grids"); !slices.Equal(got, all[:5]) {
			t.Errorf("the first 5: %v, want %v", got, all[:5])
		}
	}
	limited(`"limit":3,`)
	x.injectJSON(`{"limit":5}`)
	if got := x.rows(x.data(), "agent_grids"); len(got) != 3 {
		t.Errorf("limit 3 of the subscription: %v", got)
	}
	x.injectJSON(`{"shuffle":true,"times":-1}`)
	shown := map[string]bool{}
	for range 40 {
		got := x.rows(x.data(), "agent_grids")
		if len(got) != 3 {
			t.Fatalf("limit 3: %v", got)
		}
		for _, row := range got {
			shown[row] = true
		}
	}
	if len(shown) != 20 {
		t.Errorf("%d of 20 agents were shown in 40 responses of 3", len(shown))
	}
	limited(`"limit":3,"order":[{"by":"1","dir":"DESC"}],`)
	if got := strings.Join(x.rows(x.data(), "agent_grids"), " "); got != "agent19| agent18| agent17|" {
		t.Errorf("top 3: %s", got)
	}
}

// Checks of named services hang until the client gives up, or fail; the others are answered.
func TestChecksOfServices(t *testing.T) {
	t.Parallel()
	x, _ := startClocks(t)
	x.injectJSON(`{"services":["Help","Sales"],"hang":true,"every":2,"times":-1}`)
	check := func(service string) (int, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, "GET", x.URL+"/statsapi/info/check_available_agents?service="+service, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := x.http.Do(req)
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	}
	for i, service := range []string{"Sales", "Other", "Help", "Other"} {
		status, err := check(service)
		if hangs := i == 2; hangs != (err != nil) || !hangs && status != 200 {
			t.Errorf("%s: %d, %v", service, status, err)
		}
	}
	if body := x.data(); !strings.Contains(body, "ann") {
		t.Errorf("data: %s", body)
	}
	x.ClearFaults()
	x.Inject(bpcctest.Fault{Services: []string{"Sales"}, Status: 403, Times: -1})
	for service, want := range map[string]int{"Sales": 403, "Other": 200} {
		if status, err := check(service); status != want || err != nil {
			t.Errorf("%s: %d, %v, want %d", service, status, err, want)
		}
	}
}

// A request with a body hangs until the client gives up, too.
func TestHangOfLogin(t *testing.T) {
	t.Parallel()
	x := startTester(t, bpcctest.Config{})
	x.Inject(bpcctest.Fault{Path: "/oauth/token", Hang: true})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", x.URL+"/configapi/v2/oauth/token", strings.NewReader("grant_type=client_credentials"))
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := x.http.Do(req); err == nil {
		t.Errorf("answered with %d", resp.StatusCode)
		resp.Body.Close()
	}
	x.login("sim", "sim-secret")
}

func TestExpiresIn(t *testing.T) {
	t.Parallel()
	x := startTester(t, bpcctest.Config{})
	token := func() map[string]json.RawMessage {
		t.Helper()
		a := x.expectStatus(200, "POST", "/configapi/v2/oauth/token", "grant_type=client_credentials&client_id=sim&client_secret=sim-secret",
			"Content-Type", "application/x-www-form-urlencoded")
		var out map[string]json.RawMessage
		if err := json.Unmarshal([]byte(a.body), &out); err != nil {
			t.Fatalf("%v in %s", err, a.body)
		}
		return out
	}
	for _, value := range []string{`0`, `-1`, `"3600.5"`, `3600.0`, `1e10`, `"soon"`, `""`, `null`, `true`, `[3600]`} {
		x.injectJSON(`{"expires_in":` + value + `}`)
		if got := token(); string(got["expires_in"]) != value || len(got["access_token"]) != 66 {
			t.Errorf("%s: %s", value, got)
		}
	}
	x.injectJSON(`{"expires_in":"none"}`)
	if got := token(); got["expires_in"] != nil || len(got) != 3 {
		t.Errorf("without: %s", got)
	}
	if got := token(); string(got["expires_in"]) != `"3600"` && string(got["expires_in"]) != `"3599"` {
		t.Errorf("afterwards: %s", got)
	}
}

func TestOddBodies(t *testing.T) {
	t.Parallel()
	x, _ := startClocks(t)
	body := x.data()
	x.injectJSON(`{"body":"{\"error\":\"session expired\"}"}`)
	if a := x.expectStatus(200, "GET", data, ""); a.body != `{"error":"session expired"}` || a.Header.Get("Content-Type") != "application/json" {
		t.Errorf("error in a body: %v %s", a.Header, a.body)
	}
	x.injectJSON(`{"bom":true,"times":2}`)
	if got := x.data(); got != "\ufeff"+body {
		t.Errorf("byte order mark: %q", got)
	}
	if a := x.expectStatus(200, "GET", data, "", "Accept-Encoding", "gzip"); a.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("compressed: %v", a.Header)
	}
	x.Inject(bpcctest.Fault{Path: "/oauth/token", BOM: true})
	a := x.do("POST", "/configapi/v2/oauth/token", "")
	if a.StatusCode != 401 || !strings.HasPrefix(a.body, "\ufeff{") {
		t.Errorf("refused login: %d %q", a.StatusCode, a.body)
	}
}

// A clock is set back, and a counter is corrected.
func TestCorrections(t *testing.T) {
	t.Parallel()
	x, now := startClocks(t)
	now.advance(50 * time.Minute)
	x.SetStateDuration("ann", 49*time.Minute+56*time.Second)
	x.AddCalls("bob", 41, 0)
	if got := x.agentRows(); got != "ann|ready|2996|0 bob|busy|3000|41" {
		t.Errorf("got %s", got)
	}
	now.advance(2 * time.Second)
	x.AddCalls("bob", -1, 0)
	if got := x.agentRows(); got != "ann|ready|2998|0 bob|busy|3002|40" {
		t.Errorf("got %s", got)
	}
	x.AddCalls("bob", -50, -1)
	if got := x.agentRows(); got != "ann|ready|2998|0 bob|busy|3002|0" {
		t.Errorf("got %s", got)
	}
	for _, bad := range []string{`{"every":-1}`, `{"limit":-1}`, `{"lag":"-1s"}`, `{"delay":"-1s"}`, `{"empty":"agents"}`} {
		if err := json.Unmarshal([]byte(bad), new(bpcctest.Fault)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
