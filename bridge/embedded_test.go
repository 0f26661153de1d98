package bridge_test

import (
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
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
	tests := map[string]struct{ dir, listen, want string }{
		"the port is taken":        {t.TempDir(), taken.Addr().String(), "address already in use"},
		"JetStream cannot start":   {file, "127.0.0.1:0", "storage directory is not a directory"},
		"the store is a file":      {filepath.Join(file, "jetstream"), "127.0.0.1:0", "not a directory"},
		"the port is not a number": {t.TempDir(), "127.0.0.1:http!", "is not a number"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log safeBuffer
			begun := time.Now()
			s, err := stream.StartEmbedded(&config.Config{StoreDir: test.dir, EmbeddedListen: test.listen}, slog.New(slog.NewTextHandler(&log, nil)))
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
			var log safeBuffer
			c := &config.Config{StoreDir: t.TempDir(), EmbeddedListen: "127.0.0.1:0"}
			s, err := stream.StartEmbedded(c, slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
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
			for deadline := time.Now().Add(testTimeout); log.String() == ""; <-time.After(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("nothing is logged")
				}
			}
			text := log.String()
			if !strings.Contains(text, `"level":"ERROR","msg":"NATS server error","err":"`) || strings.Contains(text, "hunter2") || strings.Contains(text, "PASSWORD") {
				t.Errorf("logged:\n%s", text)
			}
		})
	}
}
