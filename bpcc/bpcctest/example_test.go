package bpcctest_test

import (
	"context"
	"fmt"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/bpcc/bpcctest"
)

func Example() {
	sim := bpcctest.NewServer(bpcctest.Config{})
	defer sim.Close()
	sim.SetAgent(bpcctest.Agent{Login: "diana.yeh", State: "ready"})

	client, err := bpcc.New(bpcc.Config{URL: sim.URL, ClientID: "sim", ClientSecret: "sim-secret"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	ctx := context.Background()
	if _, err := client.AccessToken(ctx); err != nil {
		fmt.Println(err)
		return
	}
	err = client.Subscribe(ctx, bpcc.Subscription{"demo": {AgentGrids: []bpcc.Grid{{ID: "agents", Columns: []bpcc.Column{
		{ID: "login", StatName: "login_id"}, {ID: "state", StatName: "acd_state"},
	}}}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	poll := func() {
		response, err := client.Data(ctx)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s\n", response.Body)
	}
	poll() // the first collection is not done yet
	poll()
	sim.SetState("diana.yeh", "busy", "")
	poll()
	sim.Inject(bpcctest.Fault{Status: 503, RetryAfter: "5"})
	poll()
	// Output:
	// get data: data not ready yet (HTTP 204)
	// {"demo":{"agent_grids":[{"id":"agents","values":[{"login":"diana.yeh","state":"ready"}]}]}}
	// {"demo":{"agent_grids":[{"id":"agents","values":[{"login":"diana.yeh","state":"busy"}]}]}}
	// get data: throttled (HTTP 503)
}

func ExampleFloor() {
	tenant := bpcctest.New(bpcctest.Config{})
	floor := bpcctest.NewFloor(tenant, bpcctest.FloorConfig{Agents: 3, Services: 1, Start: time.Unix(0, 0)})
	floor.Step(time.Minute)
	fmt.Printf("%s\n", tenant.Snapshot(bpcc.Subscription{"a": {AgentGrids: []bpcc.Grid{{
		ID:      "g",
		Columns: []bpcc.Column{{ID: "name", StatName: "first_last_name"}, {ID: "state", StatName: "acd_state"}},
		Order:   []bpcc.Order{{By: "name", Dir: "ASC"}},
	}}}}))
	// Output:
	// {"a":{"agent_grids":[{"id":"g","values":[{"name":"Leila García","state":"after_call_work"},{"name":"Linh Novák","state":"not_ready"},{"name":"Priya Whitfield","state":"busy"}]}]}}
}
