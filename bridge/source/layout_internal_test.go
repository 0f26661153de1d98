package source

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/event"
)

// TestIdentityColumns reads subscriptions that do not ask, or not plainly, for
// what names their rows: the bridge asks for it and publishes only what was
// asked for.
func TestIdentityColumns(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		subscription, key string
		want              map[string][]string // last image by key of the view
	}{
		"agents without login_id": {
			`{"wall":{"agent_grids":[{"id":"agents","columns":` + testColumns("acd_state", "reason") + `}]}}`, "login_id",
			map[string][]string{
				"agent.anna": {"acd_state=ready", "reason="},
				"agent.bob":  {"acd_state=not_ready", "reason=Lunch"},
			},
		},
		"a column that has the id of the added one": {
			`{"wall":{"agent_grids":[{"id":"agents","columns":[{"id":"key","stat_name":"acd_state"},{"id":"key_","stat_name":"reason"}]}]}}`, "login_id",
			map[string][]string{
				"agent.anna": {"acd_state=ready", "reason="},
				"agent.bob":  {"acd_state=not_ready", "reason=Lunch"},
			},
		},
		"agents by user_id": {
			`{"wall":{"agent_grids":[{"id":"agents","columns":` + testColumns("login_id", "acd_state") + `}]}}`, "user_id",
			map[string][]string{
				"agent." + bpcctest.UserID("anna"): {"acd_state=ready", "login_id=anna"},
				"agent." + bpcctest.UserID("bob"):  {"acd_state=not_ready", "login_id=bob"},
			},
		},
		"several app ids": {
			`{"1":{"agent_grids":[{"id":"1","columns":` + testColumns("acd_state") + `}]},
			  "2":{"agent_grids":[{"id":"1","columns":` + testColumns("reason", "login_id") + `},{"id":"2","columns":` + testColumns("extension") + `}]},
			  "3":{"stats_totals":["agents_logged"]}, "4":{"stats_totals":["agents_logged","agents_ready"]}}`, "login_id",
			map[string][]string{
				"agent.anna": {"acd_state=ready", "extension=7", "login_id=anna", "reason="},
				"agent.bob":  {"acd_state=not_ready", "extension=", "login_id=bob", "reason=Lunch"},
				"totals.3":   {"agents_logged=2"},
				"totals.4":   {"agents_logged=2", "agents_ready=1"},
			},
		},
		"services without a name": {
			`{"wall":{"service_grids":[{"id":"services","columns":` + testColumns("in_calls_waiting", "agents_logged") + `}]}}`, "login_id",
			map[string][]string{
				"service.Voice":         {"agents_logged=2", "in_calls_waiting=3"},
				"service.Chat=20=26=2E": {"agents_logged=0", "in_calls_waiting=0"},
			},
		},
		"numbers as ids": {
			`{"7":{"agent_grids":[{"id":3,"columns":[{"id":12,"statName":"acd_state"},{"id":5,"statName":"login_id"}],
				"order_by":5,"limit":"100","filter_by":12,"filter_operation":"NE","filter_value":""}]}}`, "login_id",
			map[string][]string{
				"agent.anna": {"acd_state=ready", "login_id=anna"},
				"agent.bob":  {"acd_state=not_ready", "login_id=bob"},
			},
		},
		"dispositions in several columns": {
			`{"wall":{"agent_grids":[{"id":"agents","columns":[
				{"id":"1","stat_name":"calls_dispositions_per_day","dispositions":["Sale"]},
				{"id":"2","stat_name":"calls_dispositions_per_day","dispositions":["No answer","Busy"]},
				{"id":"3","stat_name":"calls_dispositions_per_day"}]}]}}`, "login_id",
			map[string][]string{
				"agent.anna": {"calls_dispositions_per_day=3", "calls_dispositions_per_day[No answer,Busy]=1", "calls_dispositions_per_day[Sale]=2"},
				"agent.bob":  {"calls_dispositions_per_day=0", "calls_dispositions_per_day[No answer,Busy]=0", "calls_dispositions_per_day[Sale]=0"},
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOffline(t, map[string]string{"BPCC_SUBSCRIPTION": test.subscription, "BRIDGE_AGENT_KEY": test.key})
			o.tenant.Update(func(world *bpcctest.World) {
				world.SetAgent(bpcctest.Agent{Login: "anna", Services: []string{"Voice"}, State: "ready"})
				world.SetAgent(bpcctest.Agent{Login: "bob", Services: []string{"Voice"}, State: "not_ready", Reason: "Lunch"})
				world.SetService(bpcctest.Service{Name: "Voice", Stats: map[string]string{"in_calls_waiting": "3"}})
				world.SetService(bpcctest.Service{Name: "Chat &."})
				world.SetAgentStat("anna", "extension", "7")
				world.AddDisposition("anna", "Sale")
				world.AddDisposition("anna", "Sale")
				world.AddDisposition("anna", "Busy")
			})
			got := map[string][]string{}
			for _, e := range slices.Concat(o.poll(), o.poll()) {
				if got[e.ViewKey()] != nil {
					t.Errorf("%s is published a second time", e.subject)
				}
				got[e.ViewKey()] = e.after()
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("images (-want +got)\n%s", diff)
			}
		})
	}
}

// TestLimitedGrids: whoever drops out of the top of a grid has not left, and whoever
// enters it was there before.
func TestLimitedGrids(t *testing.T) {
	t.Parallel()
	for name, columns := range map[string]string{
		"with its key":    testColumns("in_calls_handled_per_day", "login_id"),
		"without its key": testColumns("in_calls_handled_per_day"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOffline(t, map[string]string{
				"BPCC_SUBSCRIPTION": `{"wall":{"agent_grids":[{"id":"best","columns":` + columns + `,"order_by":"1","order_dir":"DESC","limit":2}]}}`,
			})
			handled := func(calls ...int) []offlineEvent {
				o.tenant.Update(func(world *bpcctest.World) {
					for i, login := range []string{"anna", "bob", "cleo"} {
						world.SetAgent(bpcctest.Agent{Login: login, State: "ready", Stats: map[string]string{"in_calls_handled_per_day": fmt.Sprint(calls[i])}})
					}
				})
				return o.poll()
			}
			expect := func(what string, events []offlineEvent, want ...string) {
				t.Helper()
				if d := cmp.Diff(want, offlineSubjects(events)); d != "" {
					t.Errorf("%s (-want +got)\n%s", what, d)
				}
			}
			expect("the first snapshot", handled(3, 2, 1), "agent.anna.observed", "agent.bob.observed")
			events := handled(3, 2, 5)
			expect("one enters", events, "agent.cleo.observed")
			if d, ok := events[0].Data.(*event.AgentData); !ok || !d.Observed.After.IsZero() || !d.Before.IsZero() {
				t.Errorf("who enters the top is published as a change: %s", events[0].body)
			}
			for range 4 {
				if events := o.poll(); len(events) > 0 {
					t.Errorf("%v: nothing has changed", offlineSubjects(events))
				}
			}
			expect("others are the best", handled(6, 7, 5), "agent.anna.stats_changed", "agent.bob.stats_changed")
		})
	}
}

// TestUserIDs: where agents are known by their user ids, one with another login id and
// another team is the same agent. A service that looks like a number is a text.
func TestUserIDs(t *testing.T) {
	t.Parallel()
	o := newOffline(t, map[string]string{"BRIDGE_AGENT_KEY": "user_id"})
	o.tenant.SetAgent(bpcctest.Agent{Login: "anna", UserID: "U-1", Team: "Sales", State: "ready"})
	o.tenant.SetService(bpcctest.Service{Name: "1"})
	events := o.poll()
	if d := cmp.Diff([]string{"agent.U-1.observed", "service.1.observed", "totals.bridge.observed"}, offlineSubjects(events)); d != "" {
		t.Fatalf("subjects (-want +got)\n%s", d)
	}
	if !strings.Contains(events[1].body, `"service":"1"`) {
		t.Errorf("the service is not a text: %s", events[1].body)
	}
	o.tenant.Update(func(world *bpcctest.World) {
		world.RemoveAgent("anna")
		world.SetAgent(bpcctest.Agent{Login: "anna.b", UserID: "U-1", Team: "Support", State: "ready"})
	})
	events = o.poll()
	if d := cmp.Diff([]string{"agent.U-1.stats_changed"}, offlineSubjects(events)); d != "" {
		t.Fatalf("subjects (-want +got)\n%s", d)
	}
	changed := events[0].Data.(*event.AgentData)
	if d := cmp.Diff([]string{"login_id", "team_name"}, changed.Changed); d != "" {
		t.Errorf("changed (-want +got)\n%s", d)
	}
	if changed.Agent.LoginID != "anna.b" || changed.Agent.Team != "Support" || changed.Agent.UserID != "U-1" {
		t.Errorf("agent %+v", changed.Agent)
	}
}

// TestRowsWithoutAKeyAreSkipped, and counted.
func TestRowsWithoutAKeyAreSkipped(t *testing.T) {
	t.Parallel()
	o := newOffline(t, map[string]string{"BRIDGE_AGENT_KEY": "user_id"})
	o.tenant.SetAgent(bpcctest.Agent{Login: "anna", State: "ready"})
	o.tenant.SetAgent(bpcctest.Agent{Login: "bob", State: "ready", Stats: map[string]string{"user_id": ""}})
	want := []string{"agent." + bpcctest.UserID("anna") + ".observed", "totals.bridge.observed"}
	if d := cmp.Diff(want, offlineSubjects(o.poll())); d != "" {
		t.Errorf("subjects (-want +got)\n%s", d)
	}
}

// TestGridsAreMergedByKey: two grids of one kind show one entity, whatever the ids of
// their columns; totals are those of an app id.
func TestGridsAreMergedByKey(t *testing.T) {
	t.Parallel()
	o := newOffline(t, map[string]string{"BPCC_SUBSCRIPTION": `{
		"a":{"agent_grids":[{"id":"1","columns":[{"id":"1","stat_name":"login_id"},{"id":"2","stat_name":"acd_state"}]}],"stats_totals":["agents_logged"]},
		"b":{"agent_grids":[{"id":"1","columns":[{"id":"9","stat_name":"login_id"},{"id":"8","stat_name":"team_name"}]}],"stats_totals":["agents_ready"]}}`})
	o.tenant.SetAgent(bpcctest.Agent{Login: "anna", Team: "Sales", State: "ready"})
	events := o.poll()
	if d := cmp.Diff([]string{"agent.anna.observed", "totals.a.observed", "totals.b.observed"}, offlineSubjects(events)); d != "" {
		t.Fatalf("subjects (-want +got)\n%s", d)
	}
	if d := cmp.Diff([]string{"acd_state=ready", "login_id=anna", "team_name=Sales"}, events[0].after()); d != "" {
		t.Errorf("image (-want +got)\n%s", d)
	}
}

// TestChatOfSubscription: messages are those of an app id, without the suffix that it
// has on the wire.
func TestChatOfSubscription(t *testing.T) {
	t.Parallel()
	o := newOffline(t, map[string]string{"BPCC_SUBSCRIPTION": `{"wall":{"chat_messages":{"filter":"","limit":3},"stats_totals":["agents_logged"]}}`})
	var got []string
	for _, id := range []string{"1", "2", "3"} {
		o.tenant.AddChatMessage(bpcctest.ChatMessage{ID: id, LoginID: "anna", FirstName: "Anna", Content: "hello " + id, Urgent: id == "2", Sent: o.now})
		for _, e := range o.poll() {
			if d, ok := e.Data.(*event.ChatData); ok {
				got = append(got, fmt.Sprint(d.Message.ID, " ", d.Message.Content, " ", d.Message.Urgent, " ", d.App, " ", d.Message.LoginID))
			}
		}
	}
	want := []string{"1 hello 1 false wall anna", "2 hello 2 true wall anna", "3 hello 3 false wall anna"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("messages (-want +got)\n%s", d)
	}
}

// TestPrivacyOfRows looks for what identifies an agent, and for what is redacted, in
// every byte that would be stored.
func TestPrivacyOfRows(t *testing.T) {
	t.Parallel()
	private := []string{"anna", "Annabel", "Lopez", "4242", bpcctest.UserID("anna.lopez")}
	for name, test := range map[string]struct {
		env      map[string]string
		out, not []string // of what may and may not be found
		subject  string
	}{
		"nothing asked for": {nil, append([]string{"Kraken"}, private...), nil, "agent.anna=2Elopez.state_changed"},
		"redacted": {
			map[string]string{"BRIDGE_REDACT_STATS": "extension, team_*,*_name,user_id"},
			[]string{"anna.lopez"}, []string{"Kraken", "4242", "Annabel", "Lopez", bpcctest.UserID("anna.lopez")}, "agent.anna=2Elopez.state_changed",
		},
		"pseudonyms": {map[string]string{"BRIDGE_PSEUDONYM_KEY": "0123456789abcdef-key"}, []string{"Kraken"}, private, ""},
		"both": {
			map[string]string{"BRIDGE_PSEUDONYM_KEY": "0123456789abcdef-key", "BRIDGE_REDACT_STATS": "extension, team_*"},
			nil, append([]string{"Kraken"}, private...), "",
		},
		"by user ids": {map[string]string{"BRIDGE_PSEUDONYM_KEY": "0123456789abcdef-key", "BRIDGE_AGENT_KEY": "user_id"}, []string{"Kraken"}, private, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOffline(t, test.env)
			o.tenant.SetAgent(bpcctest.Agent{Login: "anna.lopez", First: "Annabel", Last: "Lopez", Team: "Kraken", Extension: "4242", State: "ready"})
			all := o.poll()
			o.tenant.SetState("anna.lopez", "supervising", "")
			all = append(all, o.poll()...)
			text := ""
			ids, subject := map[string]bool{}, ""
			for _, e := range all {
				text += e.subject + " " + e.body + "\n"
				if d, ok := e.Data.(*event.AgentData); ok {
					ids[d.Agent.ID], subject = true, e.subject
				}
			}
			for _, want := range test.out {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not published", want)
				}
			}
			for _, secret := range test.not {
				if strings.Contains(text, secret) {
					t.Errorf("%q is published:\n%s", secret, text)
				}
			}
			if len(ids) != 1 || test.subject != "" && subject != test.subject {
				t.Errorf("one agent has the ids %v, the last on %s", ids, subject)
			}
		})
	}
}
