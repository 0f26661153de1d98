package natstest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// startTimeout bounds how long a server may take to start.
const startTimeout = 40 * time.Second

// Start starts a server in this process, on the loopback address, until the test ends. Port 0 of
// the options selects a free one.
func Start(t testing.TB, o *server.Options) *server.Server {
	t.Helper()
	o.Host, o.NoSigs, o.NoLog = "127.0.0.1", true, true
	if o.Port == 0 {
		o.Port = server.RANDOM_PORT
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(startTimeout) {
		t.Fatal("the NATS server does not start")
	}
	return s
}

// StartAny starts a server with JetStream until the test ends, and returns its URL: one inside this
// process, or the program that [Server] names.
func StartAny(t *testing.T) (url string) {
	t.Helper()
	if os.Getenv(Server) != "" {
		url, _ = StartProgram(t, Server, t.TempDir(), 0)
		return url
	}
	return Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir()}).ClientURL()
}

// FreeAddress is an address of this machine at which nothing listens. Its port is none of those that
// systems give to connections by themselves, so that no connection takes it meanwhile.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}

// Connect connects to a server until the test ends.
func Connect(t testing.TB, url string, options ...nats.Option) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// StartCluster starts three servers in a cluster until the test ends, and returns the URL of one.
func StartCluster(t *testing.T) string {
	t.Helper()
	return StartServers(t)[0].ClientURL()
}

// StartServers starts three servers in a cluster until the test ends.
func StartServers(t *testing.T) []*server.Server {
	t.Helper()
	ports := make([]int, 3)
	routes := make([]string, 3)
	for i := range ports {
		address, err := net.ResolveTCPAddr("tcp", FreeAddress(t))
		if err != nil {
			t.Fatal(err)
		}
		ports[i], routes[i] = address.Port, "nats://"+address.String()
	}
	var servers []*server.Server
	for i, port := range ports {
		servers = append(servers, Start(t, &server.Options{
			ServerName: fmt.Sprintf("node%d", i), Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: port},
			Routes: server.RoutesFromStr(strings.Join(routes, ",")), JetStream: true, StoreDir: t.TempDir(),
			JetStreamMaxMemory: 64 << 20, JetStreamMaxStore: 1 << 30,
		}))
	}
	for deadline := time.Now().Add(20 * time.Second); !servers[0].JetStreamIsClustered() || !isComplete(servers); <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the cluster has no leader that knows all servers")
		}
	}
	return servers
}

// isComplete reports whether one of the servers leads the cluster's metadata and knows what the others can hold:
// before that it has no peers to place a stream on.
func isComplete(servers []*server.Server) bool {
	for _, s := range servers {
		if s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == len(servers) {
			return true
		}
	}
	return false
}
