package stream

import (
	"os"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/internal/natstest"
)

// startServer starts a server until the test ends, and connects to it: the embedded one, or that of
// another release ([natstest.Server]).
func startServer(t *testing.T) jetstream.JetStream {
	t.Helper()
	if os.Getenv(natstest.Server) != "" {
		url, _ := natstest.StartProgram(t, natstest.Server, t.TempDir(), 0)
		return natstest.Connect(t, url)
	}
	server, err := StartServer(t.TempDir(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return natstest.Connect(t, server.URL())
}
