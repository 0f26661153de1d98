package web

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"

	"bpcc-nats/bridge/config"
)

// ListenDebug starts the server of BRIDGE_DEBUG_HTTP, which serves the profiles of the process as net/http/pprof
// does, until stop is called. The address is a loopback one; the server requires no token.
func ListenDebug(ctx context.Context, address string, log *slog.Logger) (stop func(), err error) {
	if address == config.Off {
		return func() {}, nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for profiles: %w; set BRIDGE_DEBUG_HTTP to another address or to off", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	server := newServer(Guard(config.HTTP{Listen: address}, mux, log), defaultLimits(), log)
	server.WriteTimeout = 0 // a profile lasts as long as it is requested for
	log.Info("profiles are served", "address", l.Addr().String())
	return start(server, l, server.Serve, log), nil
}
