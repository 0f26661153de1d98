package bridge_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/bridgetest"
	"bpcc-nats/internal/natstest"
)

// TestEmbeddedServerFails makes the embedded server fail at its start: the error
// gives the cause, and nothing hangs.
func TestEmbeddedServerFails(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	file := t.TempDir()
	if err := os.WriteFile(filepath.Join(file, "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	slow, _ := slowStore(t)
	tests := map[string]struct{ dir, listen, want string }{
		"the port is taken":                        {t.TempDir(), taken.Addr().String(), "address already in use; set BRIDGE_EMBEDDED_LISTEN to another address"},
		"the port is taken, and the store is slow": {slow, taken.Addr().String(), "address already in use; set BRIDGE_EMBEDDED_LISTEN"},
		"another machine's address":                {t.TempDir(), "192.0.2.1:4222", "cannot assign requested address; set BRIDGE_EMBEDDED_LISTEN"},
		"JetStream cannot start":                   {file, "127.0.0.1:0", "storage directory is not a directory"},
		"the store is a file":                      {filepath.Join(file, "jetstream"), "127.0.0.1:0", "not a directory"},
		"the port is not a number":                 {t.TempDir(), "127.0.0.1:http!", "is not a number"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bridgetest.Buffer
			begun := time.Now()
			s, err := stream.StartEmbedded(t.Context(), config.Embedded{StoreDir: test.dir, Listen: test.listen}, slog.New(slog.NewTextHandler(&log, nil)))
			if err == nil {
				s.Close()
				t.Fatal("it has started")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v; want %q", err, test.want)
			}
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("it took %v to fail", took)
			}
			if text := log.String(); strings.Contains(text, test.want) {
				t.Errorf("what the error says is logged too:\n%s", text)
			}
			if name == "the port is taken" { // it leaves nothing that keeps the next one from starting
				s, err := stream.StartServer(test.dir, "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				s.Close()
			}
		})
	}
}

// slowStore makes a store that a server does not finish reading until unblock is called.
func slowStore(t *testing.T) (dir string, unblock func()) {
	t.Helper()
	dir = t.TempDir()
	s, err := stream.StartServer(dir, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	js := natstest.Connect(t, s.URL())
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ANY"})
	s.Close()
	if err != nil {
		t.Fatal(err)
	}
	return dir, bridgetest.BlockRead(t, filepath.Join(dir, "jetstream", "$G", "streams", "ANY", "meta.inf"))
}

// TestStartEnds ends the wait for an embedded server whose store takes long to read.
func TestStartEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	dir, unblock := slowStore(t)
	errs := make(chan error, 1)
	go func() {
		_, err := stream.StartEmbedded(ctx, config.Embedded{StoreDir: dir, Listen: "127.0.0.1:0"}, slog.New(slog.DiscardHandler))
		errs <- err
	}()
	select {
	case err := <-errs:
		t.Fatalf("it has started: %v", err)
	case <-time.After(300 * time.Millisecond): // it reads
	}
	cancel()
	select {
	case err := <-errs:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want %v", err, context.Canceled)
		}
	case <-time.After(5 * time.Second):
		t.Error("it waits on")
	}
	if _, err := stream.StartServer(dir, "127.0.0.1:0"); !errors.Is(err, stream.ErrStoreInUse) {
		t.Errorf("%v while the first server still reads, want %v", err, stream.ErrStoreInUse)
	}
	unblock()
	for deadline := time.Now().Add(testTimeout); ; <-time.After(10 * time.Millisecond) {
		s, err := stream.StartServer(dir, "127.0.0.1:0")
		if err == nil {
			s.Close()
			break
		}
		if !errors.Is(err, stream.ErrStoreInUse) || time.Now().After(deadline) {
			t.Fatalf("the store is not released: %v", err)
		}
	}
}

// TestLeaseOfDeadProcess starts a bridge with the embedded server whose lease has another holder. Only
// a process that had the store before is dead for certain.
func TestLeaseOfDeadProcess(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		claims  []string // one process after the other
		present string   // claimed by the process of the test
		leads   bool
	}{
		"the process before":                 {claims: []string{"holder"}, leads: true},
		"the one before that":                {claims: []string{"holder", "next"}, leads: true},
		"long ago":                           {claims: append([]string{"holder"}, strings.Fields(strings.Repeat("next ", 15))...), leads: true},
		"an instance elsewhere":              {claims: []string{"other"}},
		"an instance with a longer name":     {claims: []string{"hold"}},
		"an instance in an unknown store":    {},
		"an instance of this very process":   {present: "holder"},
		"one of this process, one of before": {claims: []string{"holder"}, present: "next", leads: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for _, instance := range test.claims {
				s, err := stream.StartServer(dir, "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				if _, err := s.Claim(instance); err != nil {
					t.Error(err)
				}
				s.Close()
			}
			e := newEmbeddedEnv(t, dir, map[string]string{"BRIDGE_LEASE_TTL": "10m"})
			e.setAgent("anna", "ready", "")
			e.provisioned()
			if test.present != "" {
				if _, err := e.server.Claim(test.present); err != nil {
					t.Error(err)
				}
			}
			kv, err := e.js.KeyValue(t.Context(), "bpcc_lease")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := kv.PutString(t.Context(), "acme", "holder"); err != nil {
				t.Fatal(err)
			}
			p := e.run()
			if test.leads {
				e.waitUntil("a leader", func() bool { return p.fleet.Health()[0].Role == "leader" })
				e.waitFor("agent.anna.observed", 1)
				return
			}
			e.waitUntil("a standby", func() bool { return strings.Contains(e.log.String(), `reason="holder leads"`) })
			<-time.After(500 * time.Millisecond) // more than one try
			if h := p.fleet.Health()[0]; h.Role != "standby" {
				t.Errorf("it has taken the lease of an instance that may live: %+v", h)
			}
		})
	}
}

// TestEmbeddedServerLog provokes an error of the server while it serves. It is in
// the bridge's log, without what the client sent.
func TestEmbeddedServerLog(t *testing.T) {
	t.Parallel()
	for name, sent := range map[string]string{
		"not the protocol":     "PASSWORD hunter2-very-secret\r\n",
		"a line without end":   `CONNECT {"user":"x","pass":"hunter2-very-secret","name":"` + strings.Repeat("x", 5000),
		"not even a character": "\x00\x1bhunter2-very-secret\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bridgetest.Buffer
			c := config.Embedded{StoreDir: t.TempDir(), Listen: "127.0.0.1:0"}
			s, err := stream.StartEmbedded(t.Context(), c, slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if text := log.String(); text != "" {
				t.Errorf("a start logs\n%s", text)
			}
			conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "nats://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, sent); err != nil {
				t.Fatal(err)
			}
			bridgetest.WaitUntil(t, "an entry in the log", func() bool { return log.String() != "" })
			text := log.String()
			if !strings.Contains(text, `"level":"ERROR","msg":"NATS server error","err":"`) || strings.Contains(text, "hunter2") || strings.Contains(text, "PASSWORD") {
				t.Errorf("logged:\n%s", text)
			}
		})
	}
}
