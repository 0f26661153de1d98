package bpcctest_test

import (
	"encoding/json"
	"strings"
	"testing"

	"bpcc-nats/bpcc/bpcctest"
)

func TestControl(t *testing.T) {
	t.Parallel()
	x := startTester(t, bpcctest.Config{Control: true, NotReadyPolls: -1})
	x.subscribe(agents)
	x.SetService(bpcctest.Service{Name: "A/B", Stats: map[string]string{"in_calls_waiting": "1", "in_max_wait_time": "5"}})

	a := x.expectStatus(200, "PUT", "/sim/agents/diana.yeh", `{"first":"Diana","state":"ready","services":["Sales"],"stats":{"extension":"7"}}`)
	var got bpcctest.Agent
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || got.Login != "diana.yeh" || got.UserID == "" {
		t.Errorf("agent %s (%v)", a.body, err)
	}
	a = x.expectStatus(200, "PUT", "/sim/agents/diana.yeh", `{"state":"busy","stats":{"mood":"calm"}}`)
	got = bpcctest.Agent{}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || got.First != "Diana" || got.State != "busy" ||
		len(got.Services) != 1 || got.Stats["extension"] != "7" || got.Stats["mood"] != "calm" {
		t.Errorf("merged agent %s (%v)", a.body, err)
	}
	if body := x.data(); body != `{"a":{"agent_grids":[{"id":"g","values":[{"1":"diana.yeh","2":"busy"}]}]}}` {
		t.Errorf("data %s", body)
	}
	x.expectStatus(400, "PUT", "/sim/agents/diana.yeh", `{"sate":"busy"}`)
	x.expectStatus(204, "DELETE", "/sim/agents/diana.yeh", "")

	x.expectStatus(200, "PUT", "/sim/services/A%2FB", `{"stats":{"in_calls_waiting":"7"}}`)
	if got := statTexts(t, x.Tenant, true, "name", "in_calls_waiting", "in_max_wait_time"); got != "A/B|7|5" {
		t.Errorf("service %s", got)
	}
	available := func() string {
		return x.expectStatus(200, "GET", "/statsapi/info/check_available_agents?service=A/B", "").body
	}
	x.expectStatus(204, "PUT", "/sim/availability/A%2FB", `{"available":true}`)
	if got := available(); !strings.Contains(got, "true") {
		t.Errorf("availability %s", got)
	}
	x.expectStatus(204, "PUT", "/sim/availability/A%2FB", `{"available":null}`)
	if got := available(); !strings.Contains(got, "false") {
		t.Errorf("availability %s", got)
	}
	x.SetServiceStat("A/B", "in_calls_received_per_day", "9")
	x.expectStatus(204, "POST", "/sim/reset", "")
	if got := statTexts(t, x.Tenant, true, "in_calls_waiting", "in_calls_received_per_day"); got != "7|0" {
		t.Errorf("service after the reset: %s", got)
	}
	x.expectStatus(204, "DELETE", "/sim/services/A%2FB", "")

	x.expectStatus(204, "POST", "/sim/faults", `{"status":503,"times":-1,"delay":"1ms"}`)
	x.expectStatus(503, "GET", data, "")
	x.expectStatus(204, "DELETE", "/sim/faults", "")
	x.expectStatus(200, "GET", data, "")
	x.expectStatus(400, "POST", "/sim/faults", `{"status":99}`)
	x.expectStatus(400, "POST", "/sim/faults", `{"stats":500}`)

	x.expectStatus(204, "POST", "/sim/subscriptions/replace", "")
	if body := x.data(); !strings.Contains(body, "wallboard-7") {
		t.Errorf("replaced: %s", body)
	}
	x.expectStatus(204, "POST", "/sim/subscriptions/drop", "")
	x.expectStatus(404, "GET", data, "")
	x.expectStatus(204, "POST", "/sim/subscriptions/fill", "")
	x.expectStatus(409, "POST", "/statsapi/subscription", agents)
	x.expectStatus(204, "POST", "/sim/tokens/expire", "")
	x.expectStatus(401, "GET", data, "")

	var c bpcctest.Counts
	if err := json.Unmarshal([]byte(x.expectStatus(200, "GET", "/sim/counts", "").body), &c); err != nil {
		t.Fatal(err)
	}
	if c.Logins != 1 || c.Subscribes != 2 || c.Data[200] != 3 || c.Data[503] != 1 || c.Data[404] != 1 || c.Data[401] != 1 || c.Availability != 2 {
		t.Errorf("counts %+v", c)
	}
}
