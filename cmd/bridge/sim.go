package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bpcc/bpcctest/control"
	"bpcc-nats/cmd/bridge/internal/reader"
)

// The simulated tenant's API user, as is the default of bpcctest.
const (
	simUser   = "sim"
	simSecret = "sim-secret"
)

// simFlags are the flags of bridge sim.
type simFlags struct {
	listen string
	still  bool
	tenant bpcctest.Config
	floor  bpcctest.FloorConfig
	faults []bpcctest.Fault
}

func (p *program) simCommand() *cobra.Command {
	var o simFlags
	c := &cobra.Command{
		Use: "sim", Short: "run the simulated contact centre alone",
		Example: `
bridge sim --listen 127.0.0.1:8090
bridge sim --agents 500 --services 20 --speed 2
bridge sim --fault '{"lag":"4s","every":2,"times":-1}'`,
		RunE: func(c *cobra.Command, _ []string) error { return p.sim(c.Context(), o) },
	}
	f := c.Flags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:8090", "`address` to listen on")
	f.IntVar(&o.floor.Agents, "agents", 40, "number of agents")
	f.IntVar(&o.floor.Services, "services", 6, "number of services")
	seedFlag(f, &o.floor.Seed)
	f.Float64Var(&o.floor.Speed, "speed", 1, "speed of the simulation; 2 is twice real time")
	f.BoolVar(&o.still, "still", false, "start empty, change only through /sim/")
	f.BoolVar(&o.tenant.CookieLogin, "cookie", false, "accept the cookie login of older releases")
	f.BoolVar(&o.tenant.RefuseUnknownStats, "refuse-unknown", false, "respond 400 to unknown statistics instead of an empty value")
	f.Func("fault", "a fault as `JSON`, as POST /sim/faults takes it; may be repeated", func(text string) error {
		var fault bpcctest.Fault
		err := json.Unmarshal([]byte(text), &fault)
		o.faults = append(o.faults, fault)
		return err
	})
	return c
}

// seedFlag adds the seed of a simulation, which is another one each time by default.
func seedFlag(f *pflag.FlagSet, seed *uint64) {
	f.Uint64Var(seed, "seed", uint64(time.Now().UnixNano()), "seed of the random generator (default: another one each time)")
	f.Lookup("seed").DefValue = "0" // the help does not show it
}

func (p *program) sim(ctx context.Context, o simFlags) error {
	tenant := bpcctest.New(o.tenant)
	l, err := net.Listen("tcp", o.listen)
	if err != nil {
		return fmt.Errorf("%w: listen: %w", reader.ErrUsage, err)
	}
	var floor *bpcctest.Floor
	summary := "still: change it with PUT /sim/agents/{login} and /sim/services/{name}"
	if !o.still {
		floor = bpcctest.NewFloor(tenant, o.floor)
		summary = fmt.Sprintf("%d agents, %d services, seed %d", o.floor.Agents, o.floor.Services, o.floor.Seed)
	}
	for _, fault := range o.faults {
		tenant.Inject(fault)
	}
	p.out.Printf(`A simulated contact centre listens on http://%[1]s (%[2]s).

  export BPCC_URL=http://%[1]s BPCC_CLIENT_ID=%[3]s BPCC_CLIENT_SECRET=%[4]s

`, l.Addr(), summary, simUser, simSecret)
	return serveTenant(ctx, control.Handler(tenant), floor, l)
}

// serveTenant serves the tenant and runs the simulation until ctx ends.
func serveTenant(ctx context.Context, tenant http.Handler, floor *bpcctest.Floor, l net.Listener) error {
	server := &http.Server{Handler: tenant, ReadHeaderTimeout: 10 * time.Second}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve the simulated tenant: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	if floor != nil {
		group.Go(func() error {
			floor.Run(ctx, 250*time.Millisecond)
			return nil
		})
	}
	return group.Wait()
}
