package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"bpcc-nats/bridge"
	"bpcc-nats/bridge/config"
)

// httpServer serves BRIDGE_HTTP. It starts first: a process that waits for NATS is
// alive, and a liveness probe without a response would end it.
type httpServer struct {
	handler atomic.Pointer[http.Handler] // nil while the program is starting
	address string                       // where it listens; "" if it is off
	close   func()
}

// serveHTTP serves probes and the live page until it is closed.
func serveHTTP(ctx context.Context, c *config.Config, log *slog.Logger) (*httpServer, error) {
	e := &httpServer{close: func() {}}
	if c.HTTP == config.Off {
		return e, nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", c.HTTP)
	if err != nil {
		return nil, fmt.Errorf("listen for probes and the live page: %w; set BRIDGE_HTTP to another address or to off", err)
	}
	// The port is the listener's, for 0 picks one; the host is the configured one,
	// which the listener may name in another family of addresses.
	host, _, _ := net.SplitHostPort(c.HTTP)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	e.address = net.JoinHostPort(host, port)
	server := &http.Server{Handler: e, ReadHeaderTimeout: 10 * time.Second}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("HTTP server stopped", "err", err)
		}
	})
	e.close = func() { server.Close(); serving.Wait() }
	return e, nil
}

// SetHandler sets the handler of all further requests.
func (e *httpServer) SetHandler(h http.Handler) { e.handler.Store(&h) }

// ServeHTTP passes a request to the handler; before there is one it responds that the
// program is starting.
func (e *httpServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := e.handler.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path != "/healthz" {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	// This fails only when the client is gone.
	_ = json.NewEncoder(w).Encode(bridge.Health{Reason: "starting: not connected to NATS yet"})
}
