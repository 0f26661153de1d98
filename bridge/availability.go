package bridge

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"bpcc-nats/bpcc"
)

const (
	// unknownAfter is how long checks of a service must fail before its
	// availability is told to be unknown.
	unknownAfter = 30 * time.Second
	// parallelChecks bounds the requests in flight: the check is meant for
	// wallboards, not for load.
	parallelChecks = 4
)

// check is one availability check of one service.
type check struct {
	service        string
	available      bool
	err            error
	sent, received time.Time
}

// availability is what is known of a service's availability.
type availability struct {
	told  bool  // something is published
	value *bool // what; nil = unknown
	// seen is when the last good check was sent; failing since when checks fail.
	seen, failing time.Time
	fresh         bool // checked well since the start of this term
	flip          flip // a value other than the published one, not yet told
}

// flip is a change of availability that waits for the debounce to pass.
type flip struct {
	value *bool
	after time.Time // when the last check that showed the old value was sent
	by    time.Time // when the first one that showed the new value was in; zero = no flip
	gap   bool
}

// availabilityEvents tells the flips that the checks show.
func (e *engine) availabilityEvents(checks []check) []event {
	var out []event
	for _, c := range checks {
		a := e.availability[c.service]
		value, sure := a.read(c)
		switch {
		case !sure:
		case a.told && sameBool(a.value, value):
			a.flip = flip{}
		case a.flip.by.IsZero() || !sameBool(a.flip.value, value):
			a.flip = flip{value, a.seen, c.received, a.told && !a.fresh}
		}
		if !a.flip.by.IsZero() && (!a.told || c.received.Sub(a.flip.by) >= e.debounce) {
			out = append(out, e.availabilityEvent(c, a))
		}
		if c.err == nil {
			a.seen, a.failing, a.fresh = c.sent, time.Time{}, true
		} else if a.failing.IsZero() {
			a.failing = c.sent
		}
		e.availability[c.service] = a
	}
	return out
}

// availabilityTold lists the services whose last published word is yes or no.
func (e *engine) availabilityTold() []string {
	var names []string
	for _, name := range sortedKeys(e.availability) {
		if a := e.availability[name]; a.told && a.value != nil {
			names = append(names, name)
		}
	}
	return names
}

// read tells what a check says: its answer, unknown after failing for long, or
// nothing sure.
func (a *availability) read(c check) (value *bool, sure bool) {
	if c.err == nil {
		return &c.available, true
	}
	if errors.Is(c.err, errUnlisted) {
		return nil, true
	}
	return nil, !a.failing.IsZero() && c.received.Sub(a.failing) >= unknownAfter
}

func (e *engine) availabilityEvent(c check, a availability) event {
	verb, w := "availability_observed", window{By: stampBy(a.flip.by)}
	if a.told {
		verb, w = "availability_changed", between(a.flip.after, a.flip.by)
	}
	ev := event{
		name: "service." + verb, subject: "service." + Token(c.service) + "." + verb,
		about: "service/" + c.service, at: c.received,
	}
	var entity entityData
	entity, ev.revision = e.revise(ev.subject, w, a.flip.gap)
	data := availabilityObservedData{entityData: entity, Service: c.service, Available: a.flip.value}
	ev.data = data
	if a.told {
		ev.data = availabilityChangedData{data, a.value}
	}
	value := a.flip.value
	ev.applied = func(e *engine) {
		now := e.availability[c.service]
		now.told, now.value, now.flip = true, value, flip{}
		e.availability[c.service] = now
	}
	return ev
}

func sameBool(a, b *bool) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// availabilityPoller asks for every service's availability on its own interval.
type availabilityPoller struct {
	client    *bpcc.Client
	chosen    []string         // which services to ask for; none = all
	directory *directoryPoller // tells which there are
	interval  time.Duration
	log       *slog.Logger
	now       func() time.Time

	mu     sync.Mutex
	latest map[string]check // not yet taken; guarded by mu
	listed map[string]bool  // services told or asked for; guarded by mu
}

// take returns the latest check of each service since the last call.
func (p *availabilityPoller) take() []check {
	p.mu.Lock()
	defer p.mu.Unlock()
	var checks []check
	for _, name := range sortedKeys(p.latest) {
		checks = append(checks, p.latest[name])
	}
	clear(p.latest)
	return checks
}

// run polls until ctx ends.
func (p *availabilityPoller) run(ctx context.Context) {
	tick := time.NewTicker(p.interval)
	defer tick.Stop()
	warned := map[string]bool{}
	for {
		services := p.chosen
		known, sure := p.directory.serviceNames()
		if len(services) == 0 {
			services = known
		} else if sure && len(known) > 0 {
			for _, name := range services {
				if !slices.Contains(known, name) && !warned[name] {
					warned[name] = true
					p.log.Warn("BPCC_SERVICES names a service that the tenant does not list; asking for it all the same", "service", name)
				}
			}
		}
		if sure || len(p.chosen) > 0 {
			p.drop(services)
		}
		p.round(ctx, services)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// errUnlisted is the result of a check that is not made any more: the tenant does
// not list the service. A reader must not take its last word for the present.
var errUnlisted = errors.New("the tenant does not list the service any more")

// drop tells of the services that are not listed any more.
func (p *availabilityPoller) drop(services []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(services) == 0 && len(p.listed) > 0 {
		return // a tenant that lists nothing at once is hardly to be believed
	}
	now := p.now()
	for name := range p.listed {
		if !slices.Contains(services, name) {
			p.latest[name] = check{service: name, err: errUnlisted, sent: now, received: now}
		}
	}
	p.listed = map[string]bool{}
	for _, name := range services {
		p.listed[name] = true
	}
}

// expect begins a term: these services were told to be available or not.
func (p *availabilityPoller) expect(services []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.latest)
	p.listed = map[string]bool{}
	for _, name := range services {
		p.listed[name] = true
	}
}

// round checks every service once. A service that fails stops no other.
func (p *availabilityPoller) round(ctx context.Context, services []string) {
	var g errgroup.Group
	g.SetLimit(parallelChecks)
	for _, service := range slices.Compact(slices.Sorted(slices.Values(services))) {
		g.Go(func() error {
			c := check{service: service, sent: p.now()}
			c.available, c.err = p.client.Available(ctx, service)
			c.received = p.now()
			if ctx.Err() != nil {
				return nil
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			p.latest[service] = c
			return nil
		})
	}
	// The functions return nil: a failed check is a result, kept in latest.
	_ = g.Wait()
}
