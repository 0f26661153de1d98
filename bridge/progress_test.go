package bridge_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/natstest"
)

// blockingLog is a log whose reader has stopped reading: a message waits until it is released.
type blockingLog struct {
	slog.Handler
	message string
	release chan struct{} // closed = messages pass
}

func (b blockingLog) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == b.message {
		<-b.release
	}
	return b.Handler.Handle(ctx, r)
}

func (b blockingLog) WithAttrs([]slog.Attr) slog.Handler { return b }

// hangingConfig returns a configuration with which a hang shows after less than three seconds.
func (w *testEnv) hangingConfig() *config.Config {
	w.env["BPCC_TIMEOUT"], w.env["BRIDGE_LEASE_TTL"], w.timeoutsDividedBy = "100ms", "1s", 10
	c := w.config()
	c.Timing.HangAfter = time.Second
	return c
}

// probeStatus requests a probe of a fleet.
func probeStatus(t *testing.T, f *bridge.Fleet, path string) (status int, body string) {
	t.Helper()
	response := httptest.NewRecorder()
	f.Handler().ServeHTTP(response, httptest.NewRequest(http.MethodGet, path, nil))
	return response.Code, response.Body.String()
}

// TestHangFailsLiveness: a loop that hangs fails /healthz until it goes on.
func TestHangFailsLiveness(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.setAgent("anna", "ready", "")
	if _, err := w.provision(t.Context(), w.js); err != nil {
		t.Fatal(err)
	}
	c := w.hangingConfig()
	log := blockingLog{slog.NewTextHandler(logWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}), "committed", make(chan struct{})}
	f, err := bridge.NewFleet([]*config.Config{c}, w.js, nil, slog.New(log))
	if err != nil {
		t.Fatal(err)
	}
	if status, body := probeStatus(t, f, "/healthz"); status != http.StatusOK {
		t.Errorf("before it runs: %d, %s", status, body)
	}
	w.run(f, func(err error) {
		if err != nil {
			t.Error(err)
		}
	})
	w.waitFor("agent.anna.observed", 1)
	if status, body := probeStatus(t, f, "/healthz"); status != http.StatusOK {
		t.Errorf("it has just worked: %d, %s", status, body)
	}
	w.waitUntil("a liveness probe that fails", func() bool {
		status, body := probeStatus(t, f, "/healthz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "no progress for ") && strings.Contains(body, "at most 2.7s are normal") && errors.Is(f.Hung(), bridge.ErrHung)
	})
	if status, _ := probeStatus(t, f, "/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("a bridge that hangs is ready: %d", status)
	}
	close(log.release)
	w.waitUntil("a liveness probe that passes", func() bool {
		status, _ := probeStatus(t, f, "/healthz")
		return status == http.StatusOK
	})
}

// TestWaitingIsNoHang: whatever a bridge waits for, it is alive.
func TestWaitingIsNoHang(t *testing.T) {
	t.Parallel()
	for name, wait := range map[string]func(t *testing.T, w *testEnv, server *stream.Server){
		"for BPCC": func(_ *testing.T, w *testEnv, _ *stream.Server) {
			w.tenant.Inject(bpcctest.Fault{Delay: time.Hour, Times: -1})
		},
		"for NATS, to commit": func(_ *testing.T, w *testEnv, server *stream.Server) {
			server.Close()
			w.tenant.SetState("anna", "busy", "")
		},
		"for another leader": func(*testing.T, *testEnv, *stream.Server) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, err := stream.StartServer(t.TempDir(), "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(server.Close)
			w := newTestEnvOn(t, bpcctest.Config{}, server.URL())
			w.setAgent("anna", "ready", "")
			js := natstest.Connect(t, server.URL(), nats.MaxReconnects(-1))
			if _, err := w.provision(t.Context(), js); err != nil {
				t.Fatal(err)
			}
			c := w.hangingConfig()
			var fleets []*bridge.Fleet
			for range 2 {
				f, err := bridge.NewFleet([]*config.Config{c}, js, nil, w.logger())
				if err != nil {
					t.Fatal(err)
				}
				fleets = append(fleets, f)
				w.run(f, func(error) {}) // it may not be able to publish its end
				w.waitUntil("a leader, or a standby that has read the stream", func() bool { return f.Health()[0].Ready })
			}
			wait(t, w, server)
			for end := time.Now().Add(4 * time.Second); time.Now().Before(end); <-time.After(50 * time.Millisecond) {
				for i, f := range fleets {
					if err := f.Hung(); err != nil {
						t.Fatalf("bridge %d: %v", i, err)
					}
				}
			}
		})
	}
}
