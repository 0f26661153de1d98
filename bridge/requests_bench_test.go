package bridge_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/bridge/svc"
	"bpcc-nats/internal/natstest"
)

// requestPause is the mean time between two requests of a client of BenchmarkRequests.
var requestPause = flag.Duration("requests.pause", 10*time.Millisecond, "mean time between two requests of a client; 0 = none")

// BenchmarkRequests asks a bridge for an availability over the loopback interface, each client by a connection
// of its own, while the bridge polls 1,000 agents and 50 services every 2 s, of which 1 in a hundred changes, and
// checks the services. It reports percentiles of the time from the request to the reply.
func BenchmarkRequests(b *testing.B) {
	url := startBenchBridge(b, 1_000, 50)
	for _, clients := range []int{1, 32} {
		for _, endpoint := range []string{svc.Availability, svc.State} {
			b.Run(fmt.Sprintf("%s/clients=%d", endpoint, clients), func(b *testing.B) { benchRequests(b, url, endpoint, clients) })
		}
	}
}

// startBenchBridge runs a bridge with a NATS server until the end of the benchmark, and returns the server's URL.
func startBenchBridge(b *testing.B, agents, services int) (url string) {
	b.Helper()
	sim := bpcctest.NewServer(bpcctest.Config{})
	b.Cleanup(sim.Close)
	yes := true
	sim.Update(func(w *bpcctest.World) {
		for i := range agents {
			w.SetAgent(bpcctest.Agent{Login: fmt.Sprintf("agent%05d", i), First: "Anna", Last: "Doe", Team: "Sales", State: "ready"})
		}
	})
	for i := range services {
		name := fmt.Sprintf("service%03d", i)
		sim.SetService(bpcctest.Service{Name: name})
		sim.SetAvailability(name, &yes)
	}
	server, err := stream.StartServer(b.TempDir(), "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(server.Close)
	c, _, err := config.Parse([]string{
		"BPCC_URL=" + sim.URL, "BPCC_CLIENT_ID=sim", "BPCC_CLIENT_SECRET=sim-secret", "BPCC_MAX_REQUESTS=100", "BRIDGE_TENANT=acme", "NATS_URL=" + server.URL(),
	}, config.ForBridge)
	if err != nil {
		b.Fatal(err)
	}
	js := natstest.Connect(b, server.URL(), nats.ReconnectBufSize(-1))
	if _, err := stream.Provision(b.Context(), js, c.Stream, c.Times(), nil); err != nil {
		b.Fatal(err)
	}
	br, err := bridge.New(c, js, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		b.Fatal(err)
	}
	var running sync.WaitGroup
	b.Cleanup(running.Wait)
	running.Go(func() {
		if err := br.Run(b.Context()); err != nil {
			b.Error(err)
		}
	})
	running.Go(func() { // the changes
		states := []string{"ready", "not_ready", "busy"}
		for tick := 0; ; tick++ {
			select {
			case <-b.Context().Done():
				return
			case <-time.After(2 * time.Second):
				for range agents / 100 {
					sim.SetState(fmt.Sprintf("agent%05d", rand.IntN(agents)), states[tick%3], "")
				}
			}
		}
	})
	for deadline := time.Now().Add(testTimeout); ; {
		if r, err := svc.AskAvailability(b.Context(), js.Conn(), "acme", "service000"); err == nil && r.Route() {
			return server.URL()
		}
		if time.Now().After(deadline) {
			b.Fatal("no fresh availability")
		}
		<-time.After(50 * time.Millisecond)
	}
}

func benchRequests(b *testing.B, url, endpoint string, clients int) {
	subject := svc.Subject("acme", endpoint)
	request := func(i int) []byte { return fmt.Appendf(nil, `{"service":"service%03d"}`, i%50) }
	if endpoint == svc.State {
		request = func(i int) []byte { return fmt.Appendf(nil, `{"kind":"agent","id":"agent%05d"}`, i%1000) }
	}
	took := make([][]time.Duration, clients)
	connections := make([]*nats.Conn, clients)
	for i := range connections {
		connections[i] = natstest.Connect(b, url).Conn()
	}
	b.ResetTimer()
	var asking sync.WaitGroup
	for c, nc := range connections {
		asking.Go(func() {
			for i := range (b.N + clients - 1) / clients {
				if *requestPause > 0 {
					<-time.After(rand.N(2 * *requestPause))
				}
				body := request(i)
				start := time.Now()
				reply, err := nc.Request(subject, body, time.Second)
				took[c] = append(took[c], time.Since(start))
				if err != nil || !bytes.Contains(reply.Data, []byte(`"fresh":true`)) {
					b.Errorf("reply %v, error %v", reply, err)
					return
				}
			}
		})
	}
	asking.Wait()
	all := slices.Sorted(slices.Values(slices.Concat(took...)))
	if len(all) == 0 {
		return
	}
	for _, p := range []float64{50, 99, 99.9} {
		b.ReportMetric(float64(all[int(float64(len(all)-1)*p/100)].Microseconds()), fmt.Sprintf("p%v-µs", p))
	}
	b.ReportMetric(float64(all[len(all)-1].Microseconds()), "max-µs")
	b.ReportMetric(float64(len(all))/b.Elapsed().Seconds(), "requests/s")
}
