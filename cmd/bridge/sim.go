package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"bpcc-nats/bpcc/bpcctest"
)

// The simulated tenant's API user, as is the default of bpcctest.
const (
	simUser   = "sim"
	simSecret = "sim-secret"
)

func (p *program) sim(ctx context.Context, args []string) error {
	f := p.flags("sim")
	listen := f.String("listen", "127.0.0.1:8090", "address to listen on")
	agents := f.Int("agents", 40, "number of agents")
	services := f.Int("services", 6, "number of services")
	seed := f.Uint64("seed", uint64(time.Now().UnixNano()), "seed of the random generator")
	speed := f.Float64("speed", 1, "speed of the simulation; 2 is twice real time")
	still := f.Bool("still", false, "start empty, change only through /sim/")
	cookie := f.Bool("cookie", false, "accept the cookie login of older releases")
	unknown := f.Bool("refuse-unknown", false, "respond 400 to unknown statistics instead of an empty value")
	var faults []bpcctest.Fault
	f.Func("fault", "a fault as `JSON`, as POST /sim/faults takes it; may be repeated", func(text string) error {
		var fault bpcctest.Fault
		err := json.Unmarshal([]byte(text), &fault)
		faults = append(faults, fault)
		return err
	})
	if err := parseFlags(f, args, 0); err != nil {
		return err
	}
	tenant := bpcctest.New(bpcctest.Config{CookieLogin: *cookie, RefuseUnknownStats: *unknown, Control: true})
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return fmt.Errorf("%w: listen: %w", errUsage, err)
	}
	var floor *bpcctest.Floor
	summary := "still: change it with PUT /sim/agents/{login} and /sim/services/{name}"
	if !*still {
		floor = bpcctest.NewFloor(tenant, bpcctest.FloorConfig{Agents: *agents, Services: *services, Seed: *seed, Speed: *speed})
		summary = fmt.Sprintf("%d agents, %d services, seed %d", *agents, *services, *seed)
	}
	for _, fault := range faults {
		tenant.Inject(fault)
	}
	p.out.printf(`A simulated contact centre listens on http://%[1]s (%[2]s).

  export BPCC_URL=http://%[1]s BPCC_CLIENT_ID=%[3]s BPCC_CLIENT_SECRET=%[4]s

`, l.Addr(), summary, simUser, simSecret)
	return serveTenant(ctx, tenant, floor, l)
}

// serveTenant serves the tenant and runs the simulation until ctx ends.
func serveTenant(ctx context.Context, tenant *bpcctest.Tenant, floor *bpcctest.Floor, l net.Listener) error {
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
