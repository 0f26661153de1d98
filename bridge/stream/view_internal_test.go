package stream

import (
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/internal/natstest"
)

// startServer starts the embedded server until the test ends, and connects to it.
func startServer(t *testing.T) (*Server, jetstream.JetStream) {
	t.Helper()
	server, err := StartServer(t.TempDir(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server, natstest.Connect(t, server.URL())
}

func streamConfig(t *testing.T, replicas int) *config.Config {
	t.Helper()
	c, _, err := config.Parse([]string{"NATS_URL=nats://elsewhere", "BRIDGE_REPLICAS=" + strconv.Itoa(replicas)}, config.ForStream)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestViewLag measures a view that takes what comes, and one that stands still:
// the server itself calls the lag of the second 0.
func TestViewLag(t *testing.T) {
	t.Parallel()
	_, js := startServer(t)
	c := streamConfig(t, 1)
	if _, err := Provision(t.Context(), js, c, nil); err != nil {
		t.Fatal(err)
	}
	publish := func(n int) {
		t.Helper()
		for range n {
			if _, err := js.Publish(t.Context(), "bpcc.v1.acme.feed.checkpoint", []byte("{}")); err != nil {
				t.Fatal(err)
			}
		}
	}
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	v := &ViewMonitor{js: js, config: c, log: slog.New(slog.DiscardHandler), now: func() time.Time { return now }}
	measure := func() ViewLag {
		t.Helper()
		if err := v.measureLag(t.Context()); err != nil {
			t.Fatal(err)
		}
		return v.Lag()
	}
	publish(20)
	for deadline := time.Now().Add(10 * time.Second); measure() != (ViewLag{}); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the view has not caught up: %+v", v.Lag())
		}
	}

	if err := js.DeleteStream(t.Context(), ViewStream(c)); err != nil {
		t.Fatal(err)
	}
	stalled := viewConfig(c)
	stalled.Sources = []*jetstream.StreamSource{{Name: c.Stream, OptStartSeq: 1_000_000}}
	if _, err := js.CreateStream(t.Context(), stalled); err != nil {
		t.Fatal(err)
	}
	publish(5)
	measure()
	now = now.Add(30 * time.Second)
	if got, want := measure(), (ViewLag{Events: 25, StalledFor: 30 * time.Second}); got != want {
		t.Errorf("lag %+v, want %+v", got, want)
	}
	if !v.stalledLogged || !v.lastStepDown.Equal(now) {
		t.Error("a stalled view was not logged")
	}
}

// TestViewLeaderStepsDown makes the leader of a replicated view step down.
func TestViewLeaderStepsDown(t *testing.T) {
	t.Parallel()
	js, c := natstest.Connect(t, startCluster(t)), streamConfig(t, 3)
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if _, err = Provision(t.Context(), js, c, nil); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	leader := func() string {
		stream, err := js.Stream(t.Context(), ViewStream(c))
		if err != nil || stream.CachedInfo().Cluster == nil {
			return "" // between two leaders
		}
		return stream.CachedInfo().Cluster.Leader
	}
	v := &ViewMonitor{js: js, config: c, log: slog.New(slog.DiscardHandler), now: time.Now}
	before := leader()
	if err := v.stepDownLeader(t.Context(), ViewLag{Events: 1, StalledFor: viewStallTimeout}, 3); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); leader() == before || leader() == ""; <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s still leads the view", before)
		}
	}
}

// startCluster starts three servers and returns the URL of one.
func startCluster(t *testing.T) string {
	t.Helper()
	ports := make([]int, 3)
	routes := make([]string, 3)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports[i] = l.Addr().(*net.TCPAddr).Port
		l.Close()
		routes[i] = fmt.Sprintf("nats://127.0.0.1:%d", ports[i])
	}
	var servers []*server.Server
	for i, port := range ports {
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprintf("node%d", i), Host: "127.0.0.1", Port: server.RANDOM_PORT,
			Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: port},
			Routes:  server.RoutesFromStr(strings.Join(routes, ",")), JetStream: true, StoreDir: t.TempDir(),
			JetStreamMaxMemory: 64 << 20, JetStreamMaxStore: 1 << 30, NoSigs: true, NoLog: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.WaitForShutdown)
		t.Cleanup(s.Shutdown)
		s.Start()
		servers = append(servers, s)
	}
	for deadline := time.Now().Add(20 * time.Second); !servers[0].JetStreamIsClustered() || !hasMetaLeader(servers); <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the cluster has no leader")
		}
	}
	return servers[0].ClientURL()
}

// hasMetaLeader reports whether one of the servers leads the cluster's metadata.
func hasMetaLeader(servers []*server.Server) bool {
	for _, s := range servers {
		if s.JetStreamIsLeader() {
			return true
		}
	}
	return false
}
