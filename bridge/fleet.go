package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"bpcc-nats/bridge/capacity"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/page"
	"bpcc-nats/bridge/rebalance"
	"bpcc-nats/bridge/source"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/bridge/trace"
	"bpcc-nats/bridge/view"
)

// restartDelay is the wait before the bridge of one of many tenants is restarted after an error.
const restartDelay = 30 * time.Second

// Fleet runs the bridges of one process, one for every tenant. Each has its own poll loop, lease
// and fence, and fails independently. Several processes with the same tenants share them out: see
// [Fleet.Run].
type Fleet struct {
	bridges  []*Bridge
	js       jetstream.JetStream
	log      *slog.Logger
	config   *config.Config // of the process: the settings that all tenants share
	capacity *capacity.Monitor
	metrics  *metrics
	shared   *sharedResources
}

// identity identifies a process.
type identity struct {
	instance    string // its name, in leases and events
	appIDSuffix string // of its app ids on the wire
	// former are instances that have ended for certain, so their leases need not end first.
	former []string
}

func newIdentity() (identity, error) {
	suffix, err := source.NewSuffix()
	if err != nil {
		return identity{}, err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "bridge"
	}
	return identity{instance: host + "-" + suffix, appIDSuffix: suffix}, nil
}

// NewFleet returns a fleet with a bridge for every configuration of [config.ParseAll]; nothing is sent
// before Run. embedded is the NATS server inside the process; nil for another one.
func NewFleet(configs []*config.Config, js jetstream.JetStream, embedded *stream.Server, log *slog.Logger) (*Fleet, error) {
	if len(configs) == 0 {
		return nil, fmt.Errorf("%w: no tenant", config.ErrInvalid)
	}
	self, err := newIdentity()
	if err != nil {
		return nil, err
	}
	if embedded != nil {
		if self.former, err = embedded.Claim(self.instance); err != nil {
			log.Warn("instance not recorded in the store", "err", err, "hint", "after a crash the next start waits until the lease has ended")
		}
	}
	processConfig := configs[0]
	f := &Fleet{js: js, log: log, config: processConfig, metrics: newMetrics(processConfig.Version)}
	f.capacity = capacity.NewMonitor(js, processConfig.Stream, processConfig.Times(), log)
	f.shared = newSharedResources(js, processConfig, embedded, log)
	if len(configs) > 1 {
		f.shared.rebalancer = rebalance.New(self.instance, self.former, len(configs), log)
	}
	for _, c := range configs {
		b, err := newBridge(c, js, log, self, f.metrics, f.shared)
		if err != nil {
			return nil, fmt.Errorf("tenant %s: %w", c.Tenant, err)
		}
		f.bridges = append(f.bridges, b)
	}
	if err := f.metrics.registry.Register(f); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return f, nil
}

// Trace has the polls of all bridges exported. It must be called before Run.
func (f *Fleet) Trace(t *trace.Tracer) { f.shared.tracer = t }

// Run runs all bridges until ctx ends. With one tenant it returns what [Bridge.Run] returns. With
// more, a bridge that ends with an error is restarted after a delay, and the others continue;
// processes that run the same tenants lead about the same number each.
func (f *Fleet) Run(ctx context.Context) error {
	sideCtx, cancel := context.WithCancel(ctx)
	var background sync.WaitGroup
	defer background.Wait()
	defer cancel()
	background.Go(func() { f.shared.view.Run(sideCtx) })
	background.Go(func() { f.shared.clock.Run(sideCtx) })
	background.Go(func() { f.capacity.Run(sideCtx) })
	background.Go(func() { f.announce(sideCtx) })
	if s := f.shared.embedded; s != nil {
		background.Go(func() { s.WatchStore(sideCtx, f.js, f.config.Stream) })
	}
	if f.shared.rebalancer == nil {
		return f.bridges[0].Run(ctx)
	}
	bucket, err := f.bridges[0].openLease(ctx)
	if err != nil {
		return err
	}
	var stepDown []chan struct{}
	for _, b := range f.bridges {
		stepDown = append(stepDown, b.stepDown)
	}
	background.Go(func() { f.shared.rebalancer.Run(sideCtx, bucket, stepDown) })
	errs := make([]error, len(f.bridges))
	var tenants sync.WaitGroup
	for i, b := range f.bridges {
		tenants.Go(func() { errs[i] = b.supervise(ctx) })
	}
	tenants.Wait()
	return errors.Join(errs...)
}

// supervise runs a bridge until ctx ends, and restarts it after errors.
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

// Health returns the health of each tenant's bridge. It may be called from any goroutine.
func (f *Fleet) Health() []Health {
	all := make([]Health, len(f.bridges))
	for i, b := range f.bridges {
		all[i] = f.healthOf(b)
	}
	return all
}

// healthOf returns the health of a tenant's bridge, with what is wrong for the whole process.
func (f *Fleet) healthOf(b *Bridge) Health {
	h := b.Health()
	var warnings []string
	if h.Warning != "" {
		warnings = append(warnings, h.Warning)
	}
	if lag := f.shared.view.Lag(); lag.Stalled() {
		warnings = append(warnings, fmt.Sprintf("the view has been stalled for %v, readers see old data; %s", lag.StalledFor.Round(time.Second), view.StallHint(f.config.Stream)))
	}
	if offset, known := f.shared.clock.Offset(); known && offset.Abs() > time.Second {
		warnings = append(warnings, fmt.Sprintf("the clocks of this machine and of the NATS server differ by %v; synchronize both, as with NTP", offset.Abs().Round(time.Millisecond)))
	}
	h.Warning = strings.Join(warnings, "; ")
	return h
}

// fleetHealth is the body of the probes of a process with many tenants.
type fleetHealth struct {
	// Ready reports whether any tenant is ready: one with wrong credentials must not make the
	// others unready.
	Ready   bool     `json:"ready"`
	Tenants []Health `json:"tenants"`
}

// healthBody returns the body of the probes, and whether the process is ready.
func (f *Fleet) healthBody() (body any, ready bool) {
	all := f.Health()
	if f.shared.rebalancer == nil {
		return all[0], all[0].Ready
	}
	for _, h := range all {
		ready = ready || h.Ready
	}
	return fleetHealth{ready, all}, ready
}

// writeHealth writes the response to a probe.
func writeHealth(w http.ResponseWriter, body any, good bool) {
	w.Header().Set("Content-Type", "application/json")
	if !good {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	// If this fails, the client has disconnected.
	_ = json.NewEncoder(w).Encode(body)
}

// Handler serves /healthz, which returns 503 when a bridge hangs ([Fleet.Hung]), /readyz, which returns 503
// while the instance is not ready, /metrics for Prometheus, and what [page.New] serves. The
// first two return JSON: one [Health] for one tenant, an object with "ready" and "tenants" for
// more.
func (f *Fleet) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		body, _ := f.healthBody()
		writeHealth(w, body, f.Hung() == nil)
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		body, ready := f.healthBody()
		writeHealth(w, body, ready)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(f.metrics.registry, promhttp.HandlerOpts{}))
	mux.Handle("/", page.New(f.js, f.config, f.log))
	return mux
}
