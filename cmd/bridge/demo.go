package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/bridge/web"
	"bpcc-nats/cmd/bridge/internal/reader"
	"bpcc-nats/cmd/bridge/internal/render"
	"bpcc-nats/cmd/bridge/internal/service"
)

// demoRules are the thresholds of the demo.
const demoRules = `[
  {"name": "backlog", "kind": "service", "stat": "in_calls_waiting",
   "raise": {"op": ">=", "value": 5}, "clear": {"op": "<=", "value": 2}, "for": "3s"},
  {"name": "long-wait", "kind": "totals", "stat": "in_max_wait_time",
   "raise": {"op": ">", "value": 60}, "clear": {"op": "<=", "value": 30}, "severity": "critical"}
]`

// demoFlags are the flags of bridge demo.
type demoFlags struct {
	agents     int
	seed       uint64
	limit      time.Duration
	http, nats string // addresses; "" if the command line gives none
}

func (p *program) demoCommand() *cobra.Command {
	var o demoFlags
	c := &cobra.Command{
		Use: "demo", Short: "all of it at once on this machine, without configuration",
		Example: `
bridge demo
bridge demo --agents 200 --seed 7 --for 1m
bridge demo --http 127.0.0.1:8180 --listen 127.0.0.1:4322`,
		RunE: func(c *cobra.Command, _ []string) error { return p.demo(c.Context(), o) },
	}
	f := c.Flags()
	f.IntVar(&o.agents, "agents", 40, "number of agents")
	seedFlag(f, &o.seed)
	f.DurationVar(&o.limit, "for", 0, "end after this long; 0 = until Ctrl-C")
	f.StringVar(&o.http, "http", "", "`address` of the live page, or off (BRIDGE_HTTP; default 127.0.0.1:8080, or a free port)")
	f.StringVar(&o.nats, "listen", "", "`address` of the NATS server (BRIDGE_EMBEDDED_LISTEN; default 127.0.0.1:4222, or a free port)")
	return c
}

func (p *program) demo(ctx context.Context, o demoFlags) error {
	ctx, stop := endAtHangup(ctx)
	defer stop()
	ctx, cancel := limited(ctx, o.limit)
	defer cancel()
	err := p.runDemo(ctx, o)
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		return nil
	}
	return err
}

// runDemo runs the whole of it: tenant, server, bridge, and the events as they come.
func (p *program) runDemo(ctx context.Context, o demoFlags) error {
	dir, err := os.MkdirTemp("", "bridge-demo-")
	if err != nil {
		return fmt.Errorf("create a store for the demo: %w; TMPDIR names the directory", err)
	}
	defer os.RemoveAll(dir)
	tenant := bpcctest.New(bpcctest.Config{})
	floor := bpcctest.NewFloor(tenant, bpcctest.FloorConfig{Agents: o.agents, Seed: o.seed})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for the simulated tenant: %w", err)
	}
	c, log, err := p.demoConfig("http://"+listener.Addr().String(), dir, o)
	if err != nil {
		listener.Close()
		return err
	}
	// The bridge stops first, so that it can publish feed.stopped and delete its
	// subscription.
	simCtx, stopSim := context.WithCancel(context.WithoutCancel(ctx))
	var sim errgroup.Group
	sim.Go(func() error { return serveTenant(simCtx, tenant, floor, listener) })
	defer func() {
		stopSim()
		if err := sim.Wait(); err != nil {
			log.Error("simulated tenant failed", "err", err)
		}
	}()
	server, err := web.Listen(ctx, c.HTTP, log)
	if err != nil {
		return err
	}
	defer server.Close()
	sessionCtx, l, err := reader.Connect(ctx, c, 0, log)
	if err != nil {
		return err
	}
	defer l.Close()
	p.printBanner(c, l.Server.URL(), server.Address(), o.agents)

	if _, err := stream.Provision(sessionCtx, l.JS, c.Stream, c.Times(), l.Server); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(sessionCtx)
	s := &service.Service{Configs: []*config.Config{c}, Server: server, Log: log}
	group.Go(func() error { return reader.StopCause(ctx, s.RunFleet(ctx, l)) })
	group.Go(func() error {
		lines := render.NewLines(p.out)
		events := reader.Reader{Range: reader.Range{Follow: true}, JS: l.JS, Stream: c.Stream.Name, Timeout: time.Minute, Handle: func(m reader.Message) error { return lines.Event(m.Body) }}
		return reader.StopCause(ctx, events.Read(ctx))
	})
	return group.Wait()
}

// demoConfig is the configuration of the demo. The user decides where it listens
// under which names, and how it logs, and nothing else.
func (p *program) demoConfig(url, dir string, o demoFlags) (*config.Config, *slog.Logger, error) {
	vars := []string{
		"BPCC_URL=" + url, "BPCC_CLIENT_ID=" + simUser, "BPCC_CLIENT_SECRET=" + simSecret,
		"BPCC_POLL_INTERVAL=1s", "BPCC_AVAILABILITY_INTERVAL=1s",
		"BRIDGE_TENANT=demo", "BRIDGE_STORE_DIR=" + dir,
		"BRIDGE_EMBEDDED_LISTEN=" + p.demoAddress(o.nats, "BRIDGE_EMBEDDED_LISTEN", "127.0.0.1:4222"),
		"BRIDGE_THRESHOLDS=" + demoRules, "BRIDGE_METRICS_STATS=in_calls_*,service_level,agents_*", "BRIDGE_LOG_LEVEL=warn",
		"BRIDGE_HTTP=" + p.demoAddress(o.http, "BRIDGE_HTTP", "127.0.0.1:8080"),
	}
	for _, v := range p.env {
		if strings.HasPrefix(v, "BRIDGE_LOG_") || strings.HasPrefix(v, "BRIDGE_HTTP_HOSTS=") {
			vars = append(vars, v)
		}
	}
	demo := &program{env: vars, out: p.out, err: p.err, data: p.data}
	return demo.configure(config.ForBridge)
}

// demoAddress is the address from the command line, else that of the variable,
// else the usual one or, if that is taken, one with a free port.
func (p *program) demoAddress(given, variable, usual string) string {
	if given != "" {
		return given
	}
	if address := env.ToMap(p.env)[variable]; address != "" {
		return address
	}
	return freeAddress(usual)
}

// freeAddress is the wanted address, or one with a free port if it is taken.
func freeAddress(want string) string {
	l, err := net.Listen("tcp", want)
	if err != nil {
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return want // the next listener reports the error
		}
	}
	defer l.Close()
	return l.Addr().String()
}

// printBanner says where everything is. What listens on all addresses is named by its
// address on this machine; a page that is off has no line.
func (p *program) printBanner(c *config.Config, natsURL, page string, agents int) {
	natsURL = "nats://" + web.DialAddress(strings.TrimPrefix(natsURL, "nats://"))
	p.out.Printf(`A contact centre of %d agents is simulated, polled every %v, and what changes is published.

  simulated BPCC   %s
  NATS JetStream   %s
`, agents, c.BPCC.PollInterval, c.BPCC.URL, natsURL)
	if page != "" {
		p.out.Printf("  live page        http://%s/\n", web.DialAddress(page))
	}
	p.out.Printf(`
Look in from another terminal with the nats CLI:

  nats -s %[1]s sub 'bpcc.v1.>'            every event as it comes
  nats -s %[1]s kv watch bpcc_state        the present state, key by key
  nats -s %[1]s stream view BPCC_EVENTS    what is stored

Ctrl-C ends the demo and removes its store.

`, natsURL)
}
