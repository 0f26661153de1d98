package bridge_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge"
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
			`{"wall":{"agent_grids":[{"id":"agents","columns":` + columnsOf("acd_state", "reason") + `}]}}`, "login_id",
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
			`{"wall":{"agent_grids":[{"id":"agents","columns":` + columnsOf("login_id", "acd_state") + `}]}}`, "user_id",
			map[string][]string{
				"agent." + bpcctest.UserID("anna"): {"acd_state=ready", "login_id=anna"},
				"agent." + bpcctest.UserID("bob"):  {"acd_state=not_ready", "login_id=bob"},
			},
		},
		"several app ids": {
			`{"1":{"agent_grids":[{"id":"1","columns":` + columnsOf("acd_state") + `}]},
			  "2":{"agent_grids":[{"id":"1","columns":` + columnsOf("reason", "login_id") + `},{"id":"2","columns":` + columnsOf("extension") + `}]},
			  "3":{"stats_totals":["agents_logged"]}, "4":{"stats_totals":["agents_logged","agents_ready"]}}`, "login_id",
			map[string][]string{
				"agent.anna": {"acd_state=ready", "extension=7", "login_id=anna", "reason="},
				"agent.bob":  {"acd_state=not_ready", "extension=", "login_id=bob", "reason=Lunch"},
				"totals.3":   {"agents_logged=2"},
				"totals.4":   {"agents_logged=2", "agents_ready=1"},
			},
		},
		"services without a name": {
			`{"wall":{"service_grids":[{"id":"services","columns":` + columnsOf("in_calls_waiting", "agents_logged") + `}]}}`, "login_id",
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
			w := newTestEnv(t, bpcctest.Config{})
			w.env["BRIDGE_AGENT_KEY"] = test.key
			w.writeSubscription(test.subscription)
			w.setAgent("anna", "ready", "")
			w.setAgent("bob", "not_ready", "Lunch")
			w.tenant.Update(func(world *bpcctest.World) {
				world.SetService(bpcctest.Service{Name: "Voice", Stats: map[string]string{"in_calls_waiting": "3"}})
				world.SetService(bpcctest.Service{Name: "Chat &."})
				world.SetAgentStat("anna", "extension", "7")
				world.AddDisposition("anna", "Sale")
				world.AddDisposition("anna", "Sale")
				world.AddDisposition("anna", "Busy")
			})
			w.startBridge()
			all := w.waitForEvents("the first picture", func(all []storedEvent) bool {
				images := map[string][]string{}
				for _, s := range all {
					if key := entityKey(s.Subject); key != "" {
						images[key] = image(s)
					}
				}
				return len(images) >= len(test.want)
			})
			got := map[string][]string{}
			for _, s := range all {
				key := entityKey(s.Subject)
				if key == "" {
					continue
				}
				if got[key] != nil {
					t.Errorf("%s is told a second time", s.Subject)
				}
				got[key] = image(s)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("images (-want +got)\n%s", diff)
			}
		})
	}
}

// TestTopOfAGrid: who drops out of the top has not left, and who enters it was
// there before.
func TestTopOfAGrid(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.writeSubscription(`{"wall":{"agent_grids":[{"id":"best","columns":` + columnsOf("in_calls_handled_per_day") + `,"order_by":"1","order_dir":"DESC","limit":2}]}}`)
	handled := func(calls ...int) {
		w.tenant.Update(func(world *bpcctest.World) {
			for i, login := range []string{"anna", "bob", "cleo"} {
				world.SetAgent(bpcctest.Agent{Login: login, State: "ready", Stats: map[string]string{"in_calls_handled_per_day": fmt.Sprint(calls[i])}})
			}
		})
	}
	handled(3, 2, 1)
	w.startBridge()
	w.waitFor("agent.bob.observed", 1)
	handled(3, 2, 5)
	newcomer := w.waitFor("agent.cleo.observed", 1)[0]
	if newcomer.field("observed", "after") != nil || newcomer.field("before") != nil {
		t.Errorf("who enters the top is told as a change: %v", newcomer.Data)
	}
	w.waitTwoPolls()
	w.waitTwoPolls()
	handled(6, 7, 5)
	w.waitFor("agent.bob.stats_changed", 1)
	for _, s := range w.events() {
		if strings.HasSuffix(s.Subject, "peared") {
			t.Errorf("%s was told of a grid that is cut", s.Subject)
		}
	}
}

// TestSubscriptionExample: the example is the built-in subscription written out.
func TestSubscriptionExample(t *testing.T) {
	t.Parallel()
	const file = "../deploy/subscription.json"
	environ := []string{"BPCC_URL=http://localhost", "BPCC_CLIENT_ID=a", "BPCC_CLIENT_SECRET=b"}
	builtin, _, err := bridge.ParseConfig(environ, bridge.ForSource)
	if err != nil {
		t.Fatal(err)
	}
	written, _, err := bridge.ParseConfig(append(environ, "BPCC_SUBSCRIPTION_FILE="+file), bridge.ForSource)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(builtin.Subscription, written.Subscription); diff != "" {
		t.Errorf("subscription (-built in +%s)\n%s", file, diff)
	}
}
