// Package web serves what a process has over HTTP: it listens, bounds what clients can take, and decides who may
// ask for what.
package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"

	"bpcc-nats/bridge/config"
)

// limits bound what clients can take of a server.
type limits struct {
	connections int           // at a time; further ones wait
	headerBytes int           // of a request
	header      time.Duration // for the header of a request to arrive
	request     time.Duration // for a request, and for its response; the live page sets its own
	idle        time.Duration // for the next request of a connection
}

// defaultLimits are those of every server outside tests. A request takes no longer than the day of a queue needs.
func defaultLimits() limits {
	return limits{connections: 512, headerBytes: 64 << 10, header: 10 * time.Second, request: 2 * time.Minute, idle: 2 * time.Minute}
}

// Server serves BRIDGE_HTTP. It starts before there is a handler: a process that waits for NATS is alive, and a
// liveness probe without a response would end it.
type Server struct {
	handler atomic.Pointer[http.Handler] // nil while the program is starting
	address string
	stop    func()
}

// Listen starts a server, which serves until it is closed.
func Listen(ctx context.Context, c config.HTTP, log *slog.Logger) (*Server, error) {
	return listen(ctx, c, defaultLimits(), log)
}

func listen(ctx context.Context, c config.HTTP, bounds limits, log *slog.Logger) (*Server, error) {
	s := &Server{stop: func() {}}
	if c.Listen == config.Off {
		return s, nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for probes and the live page: %w; set BRIDGE_HTTP to another address or to off", err)
	}
	// The port is the listener's, for 0 picks one; the host is the configured one,
	// which the listener may name in another family of addresses.
	host, _, _ := net.SplitHostPort(c.Listen)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	s.address = net.JoinHostPort(host, port)
	server := newServer(Guard(c, s, log), bounds, log)
	serve := server.Serve
	if certificate := config.CurrentCertificate("BRIDGE_HTTP_TLS_CERT", c.Cert, c.Key, log); certificate != nil {
		server.TLSConfig = &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate(), nil },
		}
		serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	s.stop = start(server, netutil.LimitListener(l, bounds.connections), serve, log)
	return s, nil
}

// newServer returns a server with bounds.
func newServer(handler http.Handler, bounds limits, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: handler, MaxHeaderBytes: bounds.headerBytes, ReadHeaderTimeout: bounds.header,
		ReadTimeout: bounds.request, WriteTimeout: bounds.request, IdleTimeout: bounds.idle,
		// It reports what clients do wrong.
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// start serves until stop is called, which waits for the end.
func start(server *http.Server, l net.Listener, serve func(net.Listener) error, log *slog.Logger) (stop func()) {
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("HTTP server stopped", "err", err)
		}
	})
	return func() { server.Close(); serving.Wait() }
}

// Address is where the server listens; "" if it is off.
func (s *Server) Address() string { return s.address }

// Close ends the server and all connections.
func (s *Server) Close() { s.stop() }

// SetHandler sets the handler of all further requests.
func (s *Server) SetHandler(h http.Handler) { s.handler.Store(&h) }

// ServeHTTP passes a request to the handler; before there is one it responds that the program is starting.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := s.handler.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path != "/healthz" {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	// This fails only when the client is gone.
	_, _ = io.WriteString(w, `{"ready":false,"reason":"starting: not connected to NATS yet"}`+"\n")
}
