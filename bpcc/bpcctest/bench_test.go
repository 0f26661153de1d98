package bpcctest_test

import (
	"strconv"
	"testing"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/bpcc/bpcctest"
)

// One data request over HTTP: all that a client waits for.
func BenchmarkData(b *testing.B) {
	for _, n := range []int{40, 10_000} {
		for _, encoding := range []string{"identity", "gzip"} {
			b.Run(strconv.Itoa(n)+"x16/"+encoding, func(b *testing.B) {
				x := startTester(b, bpcctest.Config{NotReadyPolls: -1})
				bpcctest.NewFloor(x.Tenant, bpcctest.FloorConfig{Agents: n})
				x.login("sim", "sim-secret")
				client, err := bpcc.New(bpcc.Config{URL: x.URL, ClientID: "sim", ClientSecret: "sim-secret"})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := client.AccessToken(b.Context()); err != nil {
					b.Fatal(err)
				}
				sub := agentGrid16()
				if err := client.Subscribe(b.Context(), sub); err != nil {
					b.Fatal(err)
				}
				for b.Loop() {
					x.expectStatus(200, "GET", data, "", "Accept-Encoding", encoding)
				}
			})
		}
	}
}

func agentGrid16() bpcc.Subscription {
	g := bpcc.Grid{ID: "g", Columns: columnsOf(agentColumns[:16])}
	for i := range g.Columns {
		g.Columns[i].ID = strconv.Itoa(i)
	}
	return bpcc.Subscription{"a": {AgentGrids: []bpcc.Grid{g}}}
}

// The tenant's own share of that.
func BenchmarkSnapshot(b *testing.B) {
	tenant, _ := newFloor(bpcctest.FloorConfig{Agents: 10_000})
	sub := agentGrid16()
	for b.Loop() {
		b.SetBytes(int64(len(tenant.Snapshot(sub))))
	}
}

func BenchmarkFloorMinute(b *testing.B) {
	_, floor := newFloor(bpcctest.FloorConfig{})
	for b.Loop() {
		floor.Step(time.Minute)
	}
}
