package source

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/engine"
)

// availabilityPoller checks the availability of each service at an interval of its own, so that a
// check that hangs delays no other. The governor of the client bounds all of them together.
type availabilityPoller struct {
	client      *bpcc.Client
	config      config.BPCC
	directory   *directoryPoller // lists the services
	log         *slog.Logger
	now         func() time.Time
	countMetric func(outcome string) // nil = not counted

	mu            sync.Mutex              // guards the fields below
	latest        map[string]checkResults // not drained yet
	knownServices map[string]bool         // services published or checked
	interval      time.Duration           // of the checks of each service; 0 = as configured
	failing       map[string]string       // service to the reason why its last check failed
}

// checkResults are the checks of a service since the last drain: the last good one, and the last
// failure after it.
type checkResults struct{ good, failed *engine.AvailabilityResult }

// drainResults returns the latest checks of each service since the last call.
func (p *availabilityPoller) drainResults() []engine.AvailabilityResult {
	p.mu.Lock()
	defer p.mu.Unlock()
	var results []engine.AvailabilityResult
	for _, name := range slices.Sorted(maps.Keys(p.latest)) {
		for _, r := range []*engine.AvailabilityResult{p.latest[name].good, p.latest[name].failed} {
			if r != nil {
				results = append(results, *r)
			}
		}
	}
	clear(p.latest)
	return results
}

// stretchedUnknownAfter returns how old the last good check of a service may be, if checks are less
// frequent than configured; else 0.
func (p *availabilityPoller) stretchedUnknownAfter() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.interval == 0 {
		return 0
	}
	return p.config.UnknownAfter(p.interval)
}

// runAvailability checks until ctx ends.
func (p *availabilityPoller) runAvailability(ctx context.Context) {
	var checks sync.WaitGroup
	defer checks.Wait()
	running := map[string]context.CancelFunc{}
	defer func() {
		for _, cancel := range running {
			cancel()
		}
	}()
	tick := time.NewTicker(min(p.config.AvailabilityInterval, time.Second))
	defer tick.Stop()
	logged := map[string]bool{}
	for {
		services, known := p.servicesToCheck(logged)
		p.setInterval(len(services))
		for name, cancel := range running {
			if !services[name] {
				cancel()
				delete(running, name)
			}
		}
		if known {
			p.markRemoved(services)
		}
		for name := range services {
			if running[name] == nil {
				var checkCtx context.Context
				checkCtx, running[name] = context.WithCancel(ctx)
				checks.Go(func() { p.checkService(checkCtx, name) })
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// servicesToCheck returns the services to check: those configured, else those listed. It reports
// whether the list is known. It logs, once, configured services that the tenant does not list.
func (p *availabilityPoller) servicesToCheck(logged map[string]bool) (services map[string]bool, known bool) {
	listed, known := p.directory.serviceNames()
	names := p.config.Services
	if len(names) == 0 {
		names = listed
	} else if known && len(listed) > 0 {
		for _, name := range names {
			if !slices.Contains(listed, name) && !logged[name] {
				logged[name] = true
				p.log.Warn("BPCC_SERVICES names an unlisted service", "service", name,
					"hint", "its availability is checked nevertheless; compare the name with the tenant's list of services")
			}
		}
	}
	services = map[string]bool{}
	for _, name := range names {
		services[name] = true
	}
	return services, known || len(p.config.Services) > 0
}

// setInterval sets the interval of the checks of so many services, and logs it where it is not the
// configured one.
func (p *availabilityPoller) setInterval(services int) {
	interval := p.config.CheckInterval(services)
	if interval == p.config.AvailabilityInterval {
		interval = 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if interval > 0 && interval != p.interval {
		p.log.Warn("availability checked less often than configured", "services", services,
			"interval", p.config.AvailabilityInterval.String(), "resulting_interval", interval.String(), "max_requests", p.config.MaxRequests,
			"hint", RateHint)
	}
	p.interval = interval
}

// RateHint is the hint where BPCC_MAX_REQUESTS does not allow the configured interval.
const RateHint = "raise BPCC_MAX_REQUESTS if the tenant allows it, or name the services that matter in BPCC_SERVICES"

// markRemoved adds a result for each service that is not checked any more.
func (p *availabilityPoller) markRemoved(services map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(services) == 0 && len(p.knownServices) > 0 {
		return // an empty list is more likely a fault of the source
	}
	err := engine.ErrServiceRemoved
	if len(p.config.Services) > 0 {
		err = engine.ErrNotConfigured
	}
	now := p.now()
	for name := range p.knownServices {
		if !services[name] {
			p.latest[name] = checkResults{failed: &engine.AvailabilityResult{Service: name, Err: err, Reason: CheckReason(err), Sent: now, Received: now}}
			p.logFailure(name, "", nil)
		}
	}
	p.knownServices = services
}

// seedServices begins a term: the published availability of these services is known.
func (p *availabilityPoller) seedServices(services []string) {
	if len(p.config.Services) == 0 {
		p.directory.expectServices(services)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.latest)
	clear(p.failing)
	p.knownServices = map[string]bool{}
	for _, name := range services {
		p.knownServices[name] = true
	}
}

// checkService checks one service until ctx ends.
func (p *availabilityPoller) checkService(ctx context.Context, service string) {
	for {
		began := p.now()
		err := p.checkOnce(ctx, service)
		p.mu.Lock()
		wait := max(p.interval, p.config.AvailabilityInterval) - p.now().Sub(began)
		p.mu.Unlock()
		var e *bpcc.Error
		if errors.As(err, &e) {
			wait = max(wait, min(e.RetryAfter, maxRetryAfter))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// checkOnce checks a service once and keeps the result, unless ctx ends meanwhile.
func (p *availabilityPoller) checkOnce(ctx context.Context, service string) error {
	r := engine.AvailabilityResult{Service: service, Sent: p.now()}
	a, err := p.client.CheckAvailability(ctx, service)
	if err == nil {
		r.Available, r.Sent, r.Received = a.Available, a.Sent, a.Received
	} else {
		r.Err, r.Reason, r.Received = err, CheckReason(err), p.now()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil {
		return err
	}
	results := p.latest[service]
	if err == nil {
		results = checkResults{good: &r}
		p.count("ok")
	} else {
		results.failed = &r
		p.count(r.Reason)
	}
	p.latest[service] = results
	p.logFailure(service, r.Reason, err)
	return err
}

func (p *availabilityPoller) count(outcome string) {
	if p.countMetric != nil {
		p.countMetric(outcome)
	}
}

// logFailure logs the first failure for a reason, and when no service fails for it any more. reason
// is "" after a good check. Needs mu.
func (p *availabilityPoller) logFailure(service, reason string, err error) {
	before := p.failing[service]
	if reason == before {
		return
	}
	if delete(p.failing, service); before != "" && !p.anyFails(before) {
		p.log.Info("availability checks recovered", "reason", before)
	}
	if reason == "" {
		return
	}
	if !p.anyFails(reason) {
		p.log.Warn("availability check failed", "reason", reason, "service", service, "err", err, "hint", checkFailureHint(reason, err))
	}
	p.failing[service] = reason
}

// anyFails reports whether the last check of any service failed for a reason. Needs mu.
func (p *availabilityPoller) anyFails(reason string) bool {
	for _, r := range p.failing {
		if r == reason {
			return true
		}
	}
	return false
}

// CheckReason is the reason of a failed check, as events name it.
func CheckReason(err error) string {
	switch {
	case errors.Is(err, engine.ErrServiceRemoved):
		return "service_removed"
	case errors.Is(err, engine.ErrNotConfigured):
		return "not_configured"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, bpcc.ErrAuth), errors.Is(err, bpcc.ErrForbidden):
		return "refused"
	case errors.Is(err, bpcc.ErrThrottled):
		return "throttled"
	case errors.Is(err, bpcc.ErrMalformed), errors.Is(err, bpcc.ErrTooLarge):
		return "malformed"
	case errors.Is(err, bpcc.ErrTransport), errors.Is(err, bpcc.ErrServer):
		return "unavailable"
	}
	return "unexpected"
}

// checkFailureHint returns what a person can do about failed checks.
func checkFailureHint(reason string, err error) string {
	switch reason {
	case "timeout":
		return "no action needed: only these services wait, and are checked again; if it lasts, they become unknown"
	case "refused":
		return "BPCC refuses availability checks, which need no login: check BPCC_SCOPE, or turn them off with BPCC_SERVICES=none"
	case "throttled":
		return "no action needed: the bridge waits as long as the server asks; if this repeats, lower BPCC_MAX_REQUESTS"
	case "unexpected":
		return "check BPCC_URL and the names in BPCC_SERVICES, or turn the checks off with BPCC_SERVICES=none"
	}
	return Hint(err)
}
