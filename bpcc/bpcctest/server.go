package bpcctest

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server is a [Tenant] that listens on a free port of 127.0.0.1.
type Server struct {
	*Tenant
	// URL is the tenant's address, such as http://127.0.0.1:40123.
	URL string

	http   *http.Server
	cancel context.CancelFunc // ends the delays of requests
	busy   sync.WaitGroup     // connections, and the goroutine that accepts them
}

// NewServer starts a tenant. Like httptest.NewServer it panics when there is no
// port to listen on. The caller closes it.
func NewServer(c Config) *Server { return serve(c, nil) }

// NewTLSServer is NewServer with TLS, which must hold a certificate for 127.0.0.1.
func NewTLSServer(c Config, t *tls.Config) *Server { return serve(c, t) }

func serve(c Config, t *tls.Config) *Server {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(fmt.Sprintf("bpcctest: listen on a free port: %v", err))
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{Tenant: New(c), URL: "http://" + l.Addr().String(), cancel: cancel}
	s.http = &http.Server{
		Handler:           s.Tenant,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnState:         s.connection,
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig:         t,
		// Failed handshakes are expected in tests of TLS; the client reports them.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	listen := s.http.Serve
	if t != nil {
		s.URL = "https://" + l.Addr().String()
		listen = func(l net.Listener) error { return s.http.ServeTLS(l, "", "") }
	}
	s.busy.Go(func() {
		// It ends with an error in any case, and Close is the only cause.
		_ = listen(l)
	})
	return s
}

// connection counts connections. The accepting goroutine, which counts itself, reports the first
// state, so Close misses no connection.
func (s *Server) connection(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.busy.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.busy.Done()
	}
}

// Close stops listening, cuts active connections and waits until the last one is closed. It may be
// called twice.
func (s *Server) Close() {
	s.cancel()
	// A caller cannot act on the listener's error on closing.
	_ = s.http.Close()
	s.busy.Wait()
}
