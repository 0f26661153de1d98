package bridge

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"bpcc-nats/bpcc"
	"bpcc-nats/bridge/engine"
)

// parallelChecks bounds the requests in flight: the API method is meant for wallboards, not for
// load.
const parallelChecks = 4

// availabilityPoller polls every service's availability at its own interval.
type availabilityPoller struct {
	client     *bpcc.Client
	configured []string         // services to check; none = all
	directory  *directoryPoller // lists the services
	interval   time.Duration
	log        *slog.Logger
	now        func() time.Time

	mu            sync.Mutex
	latest        map[string]engine.AvailabilityResult // not drained yet; guarded by mu
	knownServices map[string]bool                      // services published or checked; guarded by mu
}

// drainResults returns the latest check of each service since the last call.
func (p *availabilityPoller) drainResults() []engine.AvailabilityResult {
	p.mu.Lock()
	defer p.mu.Unlock()
	var results []engine.AvailabilityResult
	for _, name := range slices.Sorted(maps.Keys(p.latest)) {
		results = append(results, p.latest[name])
	}
	clear(p.latest)
	return results
}

// runAvailability polls until ctx ends.
func (p *availabilityPoller) runAvailability(ctx context.Context) {
	tick := time.NewTicker(p.interval)
	defer tick.Stop()
	logged := map[string]bool{}
	for {
		services := p.configured
		known, ok := p.directory.serviceNames()
		if len(services) == 0 {
			services = known
		} else if ok && len(known) > 0 {
			for _, name := range services {
				if !slices.Contains(known, name) && !logged[name] {
					logged[name] = true
					p.log.Warn("BPCC_SERVICES names an unlisted service", "service", name,
						"hint", "its availability is checked nevertheless; compare the name with the tenant's list of services")
				}
			}
		}
		if ok || len(p.configured) > 0 {
			p.markRemoved(services)
		}
		p.pollServices(ctx, services)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// markRemoved adds a result for each service that is not listed any more.
func (p *availabilityPoller) markRemoved(services []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(services) == 0 && len(p.knownServices) > 0 {
		return // an empty list is more likely a fault of the source
	}
	now := p.now()
	for name := range p.knownServices {
		if !slices.Contains(services, name) {
			p.latest[name] = engine.AvailabilityResult{Service: name, Err: engine.ErrServiceRemoved, Sent: now, Received: now}
		}
	}
	p.setKnown(services)
}

// setKnown replaces the known services. The caller holds mu.
func (p *availabilityPoller) setKnown(services []string) {
	p.knownServices = map[string]bool{}
	for _, name := range services {
		p.knownServices[name] = true
	}
}

// seedServices begins a term: the published availability of these services is known.
func (p *availabilityPoller) seedServices(services []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.latest)
	p.setKnown(services)
}

// pollServices checks every service once. A failed check does not stop the others.
func (p *availabilityPoller) pollServices(ctx context.Context, services []string) {
	var g errgroup.Group
	g.SetLimit(parallelChecks)
	for _, service := range slices.Compact(slices.Sorted(slices.Values(services))) {
		g.Go(func() error {
			c := engine.AvailabilityResult{Service: service, Sent: p.now()}
			c.Available, c.Err = p.client.Available(ctx, service)
			c.Received = p.now()
			if ctx.Err() != nil {
				return nil
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			p.latest[service] = c
			return nil
		})
	}
	// The functions return nil: a failed check is a result, stored in latest.
	_ = g.Wait()
}
