package natstest

import (
	"net"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// A server whose port for the cluster another process took says so at once.
func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr)
	_, err = start(t, &server.Options{Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: taken.Port}})
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("start with a port that is taken: %v", err)
	}
	servers, err := startServers(t, append(freeAddresses(t, 2), taken))
	if err == nil {
		t.Error("cluster with a port that is taken starts")
	}
	for _, s := range servers {
		if s.Running() {
			t.Error("server runs although its cluster does not start")
		}
	}
}
