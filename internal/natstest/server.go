package natstest

import (
	"errors"
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

// startLog keeps why a server gives up starting: a program would end with that message.
type startLog struct{ fatal chan error }

// Fatalf keeps the first message.
func (l startLog) Fatalf(format string, args ...any) {
	select {
	case l.fatal <- fmt.Errorf(format, args...):
	default:
	}
}

func (startLog) Noticef(string, ...any) {}
func (startLog) Warnf(string, ...any)   {}
func (startLog) Errorf(string, ...any)  {}
func (startLog) Debugf(string, ...any)  {}
func (startLog) Tracef(string, ...any)  {}

// Start starts a server in this process, on the loopback address, until the test ends. Port 0 of
// the options selects a free one.
func Start(t testing.TB, o *server.Options) *server.Server {
	t.Helper()
	s, err := start(t, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// start starts a server, or returns why it does not start.
func start(t testing.TB, o *server.Options) (*server.Server, error) {
	t.Helper()
	o.Host, o.NoSigs, o.NoLog = "127.0.0.1", true, true
	if o.Port == 0 {
		o.Port = server.RANDOM_PORT
	}
	s, err := server.NewServer(o)
	if err != nil {
		return nil, err
	}
	log := startLog{make(chan error, 1)}
	s.SetLogger(log, false, false)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	for deadline := time.Now().Add(startTimeout); !s.ReadyForConnections(50 * time.Millisecond); {
		select {
		case err := <-log.fatal:
			return nil, fmt.Errorf("start NATS server: %w", err)
		default:
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("start NATS server: it does not listen after %v", startTimeout)
		}
	}
	return s, nil
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
	return freeAddresses(t, 1)[0].String()
}

// freeAddresses are n addresses as [FreeAddress] gives them, all different.
func freeAddresses(t testing.TB, n int) []*net.TCPAddr {
	t.Helper()
	var addresses []*net.TCPAddr
	for range 100 * n {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000)))
		if err != nil {
			continue
		}
		defer l.Close()
		if addresses = append(addresses, l.Addr().(*net.TCPAddr)); len(addresses) == n {
			return addresses
		}
	}
	t.Fatal("no port is free")
	return nil
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

// clusterAttempts bounds how often a cluster is started on other ports.
const clusterAttempts = 5

// StartServers starts three servers in a cluster until the test ends. Each must know the ports of all before it
// listens. Where another process took one meanwhile, all start again on others.
func StartServers(t *testing.T) []*server.Server {
	t.Helper()
	var err error
	for range clusterAttempts {
		var servers []*server.Server
		if servers, err = startServers(t, freeAddresses(t, 3)); err == nil {
			return servers
		}
	}
	t.Fatal(err)
	return nil
}

// startServers starts a cluster whose servers listen for each other at the addresses. Where one of them does not
// start, the others are shut down.
func startServers(t *testing.T, addresses []*net.TCPAddr) (servers []*server.Server, err error) {
	t.Helper()
	defer func() {
		if err != nil {
			for _, s := range servers {
				s.Shutdown()
				s.WaitForShutdown()
			}
		}
	}()
	var routes []string
	for _, address := range addresses {
		routes = append(routes, "nats://"+address.String())
	}
	for i, address := range addresses {
		s, err := start(t, &server.Options{
			ServerName: fmt.Sprintf("node%d", i), Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: address.Port},
			Routes: server.RoutesFromStr(strings.Join(routes, ",")), JetStream: true, StoreDir: t.TempDir(),
			JetStreamMaxMemory: 64 << 20, JetStreamMaxStore: 1 << 30,
		})
		if err != nil {
			return servers, err
		}
		servers = append(servers, s)
	}
	for deadline := time.Now().Add(20 * time.Second); !servers[0].JetStreamIsClustered() || !isComplete(servers); <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			return servers, errors.New("the cluster has no leader that knows all servers")
		}
	}
	return servers, nil
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
