package bridge

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// restartDelay is how long a tenant of many is left alone whose bridge has ended
// with an error.
const restartDelay = 30 * time.Second

// Fleet runs the bridges of one process, one for every tenant. Each has its own
// loop, lease and fence, and fails for itself alone. Several processes with the
// same tenants share them out: see [Fleet.Run].
type Fleet struct {
	bridges     []*Bridge
	js          jetstream.JetStream
	log         *slog.Logger
	config      *Config // of the process: what all tenants have in common
	viewMonitor *viewMonitor
	metrics     *metrics
	rebalancer  *rebalancer // nil for one tenant
	shared      *sharedResources
}

// identity is what tells one process from another.
type identity struct {
	instance    string // its name, in leases and events
	appIDSuffix string // of its app ids on the wire
}

func newIdentity() (identity, error) {
	suffix := make([]byte, 4)
	if _, err := rand.Read(suffix); err != nil {
		return identity{}, fmt.Errorf("make an instance name: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "bridge"
	}
	hexSuffix := hex.EncodeToString(suffix)
	return identity{instance: host + "-" + hexSuffix, appIDSuffix: hexSuffix}, nil
}

// NewFleet makes a bridge for every configuration, as [ParseConfigs] gives them;
// nothing is sent before Run.
func NewFleet(configs []*Config, js jetstream.JetStream, log *slog.Logger) (*Fleet, error) {
	if len(configs) == 0 {
		return nil, fmt.Errorf("%w: no tenant", ErrConfig)
	}
	self, err := newIdentity()
	if err != nil {
		return nil, err
	}
	processConfig := configs[0]
	f := &Fleet{js: js, log: log, config: processConfig, metrics: newMetrics(processConfig.Version)}
	f.viewMonitor = &viewMonitor{js: js, config: processConfig, log: log, now: time.Now}
	if len(configs) > 1 {
		f.rebalancer = newRebalancer(self.instance, len(configs), log)
	}
	f.shared = newSharedResources(js, processConfig)
	for _, c := range configs {
		c.server = processConfig.server // that of the process
		b, err := newBridge(c, js, log, self, f.metrics, f.shared)
		if err != nil {
			return nil, fmt.Errorf("tenant %s: %w", c.Tenant, err)
		}
		b.rebalancer = f.rebalancer
		f.bridges = append(f.bridges, b)
	}
	if err := f.metrics.registry.Register(f); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return f, nil
}

// Run carries all tenants' events until ctx ends. With one tenant it returns
// what [Bridge.Run] returns. With more, a bridge that ends with an error is
// started again after a while, and the others do not notice; processes that run
// the same tenants lead about as many of them each.
func (f *Fleet) Run(ctx context.Context) error {
	sideCtx, cancel := context.WithCancel(ctx)
	var background sync.WaitGroup
	defer background.Wait()
	defer cancel()
	background.Go(func() { f.viewMonitor.runMonitor(sideCtx) })
	background.Go(func() { f.announce(sideCtx) })
	if s := f.config.server; s != nil {
		background.Go(func() { s.watchStore(sideCtx, f.js, f.config) })
	}
	if f.rebalancer == nil {
		return f.bridges[0].Run(ctx)
	}
	bucket, err := f.bridges[0].openLease(ctx)
	if err != nil {
		return err
	}
	background.Go(func() { f.rebalancer.runRebalancing(sideCtx, bucket, f.bridges) })
	errs := make([]error, len(f.bridges))
	var tenants sync.WaitGroup
	for i, b := range f.bridges {
		tenants.Go(func() { errs[i] = b.supervise(ctx) })
	}
	tenants.Wait()
	return errors.Join(errs...)
}

// supervise runs a bridge until ctx ends, again and again.
func (b *Bridge) supervise(ctx context.Context) error {
	for {
		err := b.Run(ctx)
		if ctx.Err() != nil {
			return err
		}
		b.log.Error("tenant failed, restarting", "err", err, "restart_in", restartDelay.String())
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(restartDelay):
		}
	}
}

// Health tells how each tenant's bridge is. It may be called from any goroutine.
func (f *Fleet) Health() []Health {
	all := make([]Health, len(f.bridges))
	for i, b := range f.bridges {
		all[i] = b.Health()
	}
	return all
}

// fleetHealth is what the probes of a process with many tenants answer.
type fleetHealth struct {
	// Ready reports whether any tenant is: one with wrong credentials must not
	// take the others' probes down.
	Ready   bool     `json:"ready"`
	Tenants []Health `json:"tenants"`
}

// Handler serves /healthz, which answers 200 while the process is alive,
// /readyz, which answers 503 while the instance is not ready, /metrics for
// Prometheus, and the live page of [NewPage]. The first two say in JSON how it
// is: one [Health] for one tenant, an object with "ready" and "tenants" for more.
func (f *Fleet) Handler() http.Handler {
	mux := http.NewServeMux()
	writeHealth := func(w http.ResponseWriter, probe bool) {
		all := f.Health()
		var body any = all[0]
		ready := all[0].Ready
		if f.rebalancer != nil {
			for _, h := range all[1:] {
				ready = ready || h.Ready
			}
			body = fleetHealth{ready, all}
		}
		w.Header().Set("Content-Type", "application/json")
		if probe && !ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		// The reader has gone if this fails; nobody is left to tell.
		_ = json.NewEncoder(w).Encode(body)
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeHealth(w, false) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { writeHealth(w, true) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(f.metrics.registry, promhttp.HandlerOpts{}))
	mux.Handle("/", NewPage(f.js, f.config, f.log))
	return mux
}
