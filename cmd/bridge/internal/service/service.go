// Package service runs the bridges of a process: over one connection after another, with one configuration after
// another.
package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"bpcc-nats/bridge"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/bridge/trace"
	"bpcc-nats/bridge/web"
	"bpcc-nats/cmd/bridge/internal/reader"
	"bpcc-nats/cmd/bridge/internal/systemd"
)

// Service is what a process keeps over its connections and configurations.
type Service struct {
	// Env is the environment, from which the configuration is read again.
	Env []string
	// Configs are the present configurations, one for each tenant.
	Configs []*config.Config
	Server  *web.Server
	Tracer  *trace.Tracer // exports polls; nil = not
	Log     *slog.Logger

	fleet atomic.Pointer[bridge.Fleet] // the present one, or the last; nil before the first
}

// Run runs the bridges until ctx ends or an error that never passes. A value of reload makes it read the
// configuration again.
func (s *Service) Run(ctx context.Context, reload <-chan os.Signal) error {
	notify := s.notify()
	notify.Waiting("NATS")
	defer context.AfterFunc(ctx, notify.Stopping)()
	feedCtx, stopFeeding := context.WithCancel(context.WithoutCancel(ctx)) // until the bridges have stopped
	var background sync.WaitGroup
	defer background.Wait()
	defer stopFeeding()
	background.Go(func() { notify.FeedWatchdog(feedCtx, s.hung) })
	return s.runSessions(ctx, reload)
}

func (s *Service) notify() systemd.Notifier { return systemd.Notifier{Log: s.Log} }

// hung returns why the watchdog must not be fed; nil if all bridges make progress, or none runs yet.
func (s *Service) hung() error {
	if f := s.fleet.Load(); f != nil {
		return f.Hung()
	}
	return nil
}

// runSessions runs the bridges over one connection after another.
func (s *Service) runSessions(ctx context.Context, reload <-chan os.Signal) error {
	for nats := s.Configs[0].NATS; ; {
		s.Configs[0].NATS = nats // the embedded server sets its address
		err := s.runSession(ctx, reload)
		// Another connection keeps the server's present limits. A new key needs a new process.
		if ctx.Err() != nil || !errors.Is(err, stream.ErrConnectionClosed) {
			return err
		}
		s.Log.Error("NATS connection closed, connecting again", "err", err, "hint", stream.Hint(s.Configs[0].Stream, err))
		select {
		case <-ctx.Done():
		case <-time.After(s.Configs[0].Times().UnavailablePause):
		}
	}
}

// runSession connects and runs the bridges until ctx ends or the connection is closed.
func (s *Service) runSession(ctx context.Context, reload <-chan os.Signal) error {
	sessionCtx, l, err := reader.Connect(ctx, s.Configs[0], 0, s.Log)
	if err != nil {
		return reader.StopCause(ctx, err)
	}
	defer l.Close()
	return reader.StopCause(sessionCtx, s.runFleets(sessionCtx, l, reload))
}

// runFleets runs the bridges of one configuration after another: when it is read again, is good and is
// another one, the bridges stop in order and new ones begin.
func (s *Service) runFleets(ctx context.Context, l *reader.Session, reload <-chan os.Signal) error {
	for {
		fleetCtx, cancel := context.WithCancelCause(ctx)
		ended := make(chan error, 1)
		go func() { ended <- s.RunFleet(fleetCtx, l) }()
		var next []*config.Config
		for next == nil {
			select {
			case err := <-ended:
				cancel(nil)
				return err
			case <-reload:
				next = s.reread()
			}
		}
		cancel(bridge.ErrReload)
		err := <-ended
		if ctx.Err() != nil {
			return err
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			s.Log.Warn("bridges not stopped in order", "err", err, "hint", "the new ones publish what is missing")
		}
		s.Configs = next
	}
}

// reread reads the configuration again. It returns nil if it has faults, which are logged, or is the present one.
func (s *Service) reread() []*config.Config {
	s.notify().Reloading()
	next, warnings, err := config.ParseAll(s.Env, config.ForBridge)
	if err != nil {
		s.Log.Error("configuration refused, keeping the present one", "err", err)
		s.notify().Ready()
		return nil
	}
	for _, w := range warnings {
		s.Log.Warn(w)
	}
	for _, c := range next {
		c.Version = s.Configs[0].Version
		// The connection and the HTTP server go on. They read their secrets and certificates again by themselves.
		c.NATS, c.HTTP = s.Configs[0].NATS, s.Configs[0].HTTP
	}
	if config.Same(s.Configs, next) {
		s.Log.Info("configuration unchanged")
		s.notify().Ready()
		return nil
	}
	s.Log.Info("configuration changed, restarting the bridges", "tenants", len(next))
	return next
}

// RunFleet provisions the streams and runs the bridges of all tenants until ctx
// ends.
func (s *Service) RunFleet(ctx context.Context, l *reader.Session) error {
	fleet, err := bridge.NewFleet(s.Configs, l.JS, l.Server, s.Log)
	if err != nil {
		return err
	}
	s.Server.SetHandler(fleet.Handler())
	s.fleet.Store(fleet)
	fleet.Trace(s.Tracer)
	if err := s.provisionStreams(ctx, l, fleet); err != nil {
		return err
	}
	s.notify().Ready()
	return fleet.Run(ctx)
}

// provisionStreams creates the streams. It retries transient errors, such as no leader
// or too few servers for the replicas; until then the fleet is not ready for that reason.
func (s *Service) provisionStreams(ctx context.Context, l *reader.Session, fleet *bridge.Fleet) error {
	c := s.Configs[0]
	lastLogged := map[string]bool{}
	warn := func(text string, args ...any) {
		if key := fmt.Sprint(text, args); !lastLogged[key] {
			lastLogged[key] = true
			s.Log.Warn(text, args...)
		}
	}
	for {
		done, err := stream.Provision(ctx, l.JS, c.Stream, c.Times(), l.Server)
		for _, p := range done {
			switch {
			case p.Lost != "" && !lastLogged[p.Stream]:
				lastLogged[p.Stream] = true
				p.LogLost(s.Log)
			case p.Created:
				s.Log.Info("stream created", "stream", p.Stream)
			}
			if p.Changed != "" {
				s.Log.Info("stream limit changed", "stream", p.Stream, "changed", p.Changed)
			}
			for _, d := range p.Differs {
				warn("stream configuration differs; not changing it", "stream", p.Stream, "differs", d)
			}
		}
		if err == nil {
			fleet.SetBlocked("")
		}
		if err == nil || ctx.Err() != nil || !stream.IsTransient(err) {
			return err
		}
		fleet.SetBlocked(err.Error())
		warn("cannot create the streams, retrying", "err", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}
