package bpcctest_test

import (
	"encoding/csv"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/bpcc/bpcctest"
)

// smallCentre is a small contact centre: two teams, two services.
func smallCentre(t *bpcctest.Tenant) {
	t.Update(func(w *bpcctest.World) {
		w.SetTeams("North", "South", "Empty")
		w.SetService(bpcctest.Service{Name: "Sales", Stats: map[string]string{"in_calls_waiting": "9"}})
		w.SetService(bpcctest.Service{Name: "Help", Stats: map[string]string{"in_calls_waiting": "10"}})
		w.SetAgent(bpcctest.Agent{Login: "ann", Team: "North", State: "ready", Services: []string{"Sales"}, Extension: "9"})
		w.SetAgent(bpcctest.Agent{Login: "bob", Team: "North", State: "busy", Services: []string{"Sales"}, Extension: "10"})
		w.SetAgent(bpcctest.Agent{Login: "cat", Team: "South", State: "busy", Services: []string{"Sales", "Help"}, Extension: "x"})
		w.SetAgent(bpcctest.Agent{Login: "dan", Team: "South", Services: []string{"Help"}})
	})
}

func TestRowsOfAgents(t *testing.T) {
	t.Parallel()
	tenant := bpcctest.New(bpcctest.Config{})
	smallCentre(tenant)
	north, south, help := bpcctest.TeamID("North"), bpcctest.TeamID("South"), bpcctest.ServiceID("Help")
	for _, c := range []struct {
		name, grid string
		want       string // logins, in order if the grid has one
		ordered    bool
	}{
		{"all", ``, "ann bob cat dan", false},
		{"logged in", `"logged_in_agents_only":"true"`, "ann bob cat", false},
		{"a team", `"team_ids":["` + south + `"]`, "cat dan", false},
		{"a team in lower case", `"team_ids":["` + strings.ToLower(south) + `"]`, "cat dan", false},
		{"an unknown team in addition", `"team_ids":["` + north + `","NONE"]`, "ann bob", false},
		{"only unknown teams", `"team_ids":["NONE"]`, "", false},
		{"a service", `"service_ids":["` + help + `"]`, "cat dan", false},
		{"empty lists", `"team_ids":[],"service_ids":[],"my_subteam_only":false`, "ann bob cat dan", false},
		{"EQ", `"filter_by":"s","filter_operation":"EQ","filter_value":"busy"`, "bob cat", false},
		{"NE nothing", `"filter_by":"s","filter_operation":"NE","filter_value":""`, "ann bob cat", false},
		{"LT by number", `"filter_by":"x","filter_operation":"LT","filter_value":"9.5"`, "ann dan", false},
		{"GE by number", `"filter_by":"x","filter_operation":"GE","filter_value":10`, "bob cat", false},
		{"GT", `"filter_by":"x","filter_operation":"GT","filter_value":"9"`, "bob cat", false},
		{"LE", `"filter_by":"l","filter_operation":"LE","filter_value":"bob"`, "ann bob", false},
		{"order by number", `"order_by":"x","order_dir":"ASC"`, "dan ann bob cat", true},
		{"order without direction", `"order_by":"l"`, "ann bob cat dan", true},
		{"order down", `"order":[{"by":"x","dir":"DESC"}]`, "cat bob ann dan", true},
		{"order by two", `"order":[{"by":"s","dir":"DESC"},{"by":"l","dir":"DESC"}]`, "ann cat bob dan", true},
		{"top 2", `"order":[{"by":"l","dir":"DESC"}],"limit":2`, "dan cat", true},
		{"limit as text", `"order":[{"by":"l","dir":"ASC"}],"limit":"1"`, "ann", true},
		{"filter, order and limit", `"order_by":"l","order_dir":"DESC","limit":1,"filter_by":"s","filter_operation":"EQ","filter_value":"busy"`, "cat", true},
	} {
		comma := ""
		if c.grid != "" {
			comma = ","
		}
		sub := parseSubscription(t, `{"a":{"agent_grids":[{"id":"g","columns":[{"id":"l","stat_name":"login_id"},{"id":"s","stat_name":"acd_state"},{"id":"x","stat_name":"extension"}]`+comma+c.grid+`}]}}`)
		got := parse(t, tenant.Snapshot(sub))["a"].Agents[0].column("l")
		if !c.ordered {
			slices.Sort(got)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.name, got, c.want)
		}
	}
}

// Rows come in an order that is neither sorted nor the same for all
// subscriptions, and stays from poll to poll.
func TestOrderOfRowsIsHashed(t *testing.T) {
	t.Parallel()
	tenant := bpcctest.New(bpcctest.Config{})
	for i := range 20 {
		tenant.SetAgent(bpcctest.Agent{Login: fmt.Sprintf("agent%02d", i)})
	}
	logins := func(app string) []string {
		sub := parseSubscription(t, strings.Replace(agents, `"a"`, `"`+app+`"`, 1))
		return parse(t, tenant.Snapshot(sub))[app].Agents[0].column("1")
	}
	one, two := logins("one"), logins("two")
	if slices.IsSorted(one) || slices.Equal(one, two) || !slices.Equal(one, logins("one")) {
		t.Errorf("one %v\ntwo %v", one, two)
	}
}

// What an API user supervises decides what it sees.
func TestScope(t *testing.T) {
	t.Parallel()
	x := startTester(t, bpcctest.Config{NotReadyPolls: -1})
	smallCentre(x.Tenant)
	x.AddUser("north", "n", "North")
	x.AddUser("both", "b", "South", "North")
	x.AddUser("lost", "l", "Empty")
	grids := func(more string) string {
		return `{"a":{"stats_totals":["agents_logged","in_calls_waiting"],"agent_grids":[{"id":"a","columns":[{"id":"1","stat_name":"login_id"}]` + more +
			`}],"service_grids":[{"id":"s","columns":[{"id":"1","stat_name":"name"},{"id":"2","stat_name":"agents_logged"}]` + more + `}]}}`
	}
	south := `,"team_ids":["` + bpcctest.TeamID("South") + `"]`
	for _, c := range []struct{ user, secret, more, agents, services, teams, total string }{
		{"sim", "sim-secret", "", "ann bob cat dan", "Help=1 Sales=3", "Empty North South", "3/19"},
		{"sim", "sim-secret", south, "cat dan", "Help=1 Sales=3", "Empty North South", "3/19"},
		{"north", "n", "", "ann bob", "Sales=3", "North", "2/9"},
		{"north", "n", south, "", "", "North", "2/9"},
		{"both", "b", "", "ann bob cat dan", "Help=1 Sales=3", "North South", "3/19"},
		{"both", "b", `,"my_subteam_only":true`, "cat dan", "Help=1 Sales=3", "North South", "3/19"},
		{"lost", "l", "", "", "", "Empty", "0/0"},
	} {
		x.login(c.user, c.secret)
		x.expectStatus(200, "POST", "/statsapi/subscription", grids(c.more))
		got := parse(t, []byte(x.data()))["a"]
		var services []string
		for _, row := range got.Services[0].Values {
			services = append(services, row["1"]+"="+row["2"])
		}
		slices.Sort(services)
		logins := got.Agents[0].column("1")
		slices.Sort(logins)
		if a, s := strings.Join(logins, " "), strings.Join(services, " "); a != c.agents || s != c.services {
			t.Errorf("%s%s sees %q and %q, want %q and %q", c.user, c.more, a, s, c.agents, c.services)
		}
		if total := got.Totals["agents_logged"] + "/" + got.Totals["in_calls_waiting"]; total != c.total {
			t.Errorf("%s%s: totals %s, want %s", c.user, c.more, total, c.total)
		}
		body := x.expectStatus(200, "GET", "/statsapi/cfg/teams", "").body
		for _, team := range []string{"North", "South", "Empty"} {
			if strings.Contains(body, bpcctest.TeamID(team)) != strings.Contains(c.teams, team) {
				t.Errorf("%s: teams %s, want %s", c.user, body, c.teams)
			}
		}
		body = x.expectStatus(200, "GET", "/statsapi/cfg/services", "").body
		if strings.Contains(body, `"Help"`) != (c.user == "sim" || c.user == "both") {
			t.Errorf("%s: services %s", c.user, body)
		}
	}
}

// Every statistic of the vendor's list has a value in its scope.
func TestAllStatistics(t *testing.T) {
	t.Parallel()
	file, err := os.Open("testdata/statistics.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r := csv.NewReader(file)
	r.LazyQuotes = true // the list has quotes in unquoted fields
	lines, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var agent, service bpcc.Grid
	var totals []string
	units := map[string]string{}
	for _, line := range lines[1:] {
		scope, name := line[0], line[1]
		units[name] = line[2]
		switch scope {
		case "agent":
			agent.Columns = append(agent.Columns, bpcc.Column{ID: name, StatName: name})
		case "service":
			service.Columns = append(service.Columns, bpcc.Column{ID: name, StatName: name})
		case "total":
			totals = append(totals, name)
		}
	}
	if len(units) != 45 {
		t.Errorf("%d names in the list, want 45", len(units))
	}
	sub := bpcc.Subscription{"a": {StatsTotals: totals, AgentGrids: []bpcc.Grid{agent}, ServiceGrids: []bpcc.Grid{service}}}

	now := &fakeClock{time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)}
	x := startTester(t, bpcctest.Config{Now: now.Now, RefuseUnknownStats: true, NotReadyPolls: -1})
	client, err := bpcc.New(bpcc.Config{URL: x.URL, ClientID: "sim", ClientSecret: "sim-secret"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.AccessToken(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := client.Subscribe(t.Context(), sub); err != nil {
		t.Fatalf("a listed statistic is refused: %v", err)
	}
	floor := bpcctest.NewFloor(x.Tenant, bpcctest.FloorConfig{})
	floor.Step(time.Minute)
	response, err := client.Data(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if snapshot := string(x.Snapshot(sub)); snapshot != string(response.Body) {
		t.Error("Snapshot differs from the response to the data request")
	}
	got := parse(t, response.Body)["a"]
	rows := append(slices.Concat(got.Agents[0].Values, got.Services[0].Values), got.Totals)
	for name, unit := range units {
		filled := 0
		for _, row := range rows {
			switch v := row[name]; {
			case v == "":
			case unit != "text" && strings.Trim(v, "0123456789.") != "", unit == "seconds" && strings.Contains(v, "."):
				t.Errorf("%s (%s) is %q", name, unit, v)
			default:
				filled++
			}
		}
		if filled == 0 && name != "acd_next_state" {
			t.Errorf("%s has no value anywhere", name)
		}
	}
}

func TestUnknownStatistics(t *testing.T) {
	t.Parallel()
	strange := strings.Replace(agents, "acd_state", "mood", 1)
	x := startTester(t, bpcctest.Config{RefuseUnknownStats: true})
	x.login("sim", "sim-secret")
	if a := x.expectStatus(400, "POST", "/statsapi/subscription", strange); !strings.Contains(a.body, `\"mood\"`) {
		t.Errorf("refused without saying what: %s", a.body)
	}
	x.expectStatus(400, "POST", "/statsapi/subscription", `{"a":{"stats_totals":["mood"]}}`)
	x.expectStatus(400, "POST", "/statsapi/subscription", `{"a":{"service_grids":[{"id":"g","columns":[{"id":"1","stat_name":"acd_state"}]}]}}`)
	x.SetAgentStat("ann", "mood", "sunny")
	x.expectStatus(200, "POST", "/statsapi/subscription", strange)
	if got := parse(t, x.Snapshot(parseSubscription(t, strange)))["a"].Agents[0].column("2"); got[0] != "sunny" {
		t.Errorf("mood is %q", got)
	}
}
