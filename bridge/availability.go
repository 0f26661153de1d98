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

// availability is what is published of a service's availability.
type availability struct {
	told  bool
	value *bool // nil = unknown
	// seen is when the last good check was sent; failing since when checks fail.
	seen, failing time.Time
	fresh         bool // seen since the start of this term
}

// availabilityEvents tells the flips that the checks show.
func (e *engine) availabilityEvents(checks []check) []event {
	var out []event
	for _, c := range checks {
		now := e.availability[c.service]
		before := now
		if c.err == nil {
			now.value, now.seen, now.failing, now.fresh = &c.available, c.sent, time.Time{}, true
		} else {
			if now.failing.IsZero() {
				now.failing = c.sent
			}
			if c.received.Sub(now.failing) >= unknownAfter {
				now.value = nil
			} else if !now.told {
				e.availability[c.service] = now
				continue
			}
		}
		if before.told && sameBool(before.value, now.value) {
			e.availability[c.service] = now
			continue
		}
		out = append(out, e.availabilityEvent(c, before, now))
		// What failed or was seen is so at once; what was told waits for its ack.
		now.told, now.value = before.told, before.value
		e.availability[c.service] = now
	}
	return out
}

func (e *engine) availabilityEvent(c check, before, now availability) event {
	verb, w := "availability_observed", window{By: stampBy(c.received)}
	if before.told {
		verb, w.After = "availability_changed", stampOrNull(before.seen)
	}
	ev := e.about("service", c.service, verb, c.received)
	entity, revised := e.revise(ev.subject, 1, w, before.told && !before.fresh)
	data := availabilityObservedData{entityData: entity, Service: c.service, Available: now.value}
	ev.data = data
	if before.told {
		ev.data = availabilityChangedData{data, before.value}
	}
	value := now.value
	ev.applied = func(e *engine) {
		revised(e)
		a := e.availability[c.service]
		a.told, a.value = true, value
		e.availability[c.service] = a
	}
	return ev
}

func sameBool(a, b *bool) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// availabilityPoller asks for every service's availability on its own interval.
type availabilityPoller struct {
	client   *bpcc.Client
	names    func(context.Context) ([]string, error) // which services to ask for
	refresh  time.Duration                           // how often to ask names again
	interval time.Duration
	log      *slog.Logger
	now      func() time.Time

	mu     sync.Mutex
	latest map[string]check // not yet taken; owned by whoever holds mu
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
	var services []string
	var asked time.Time
	failing := ""
	for {
		if asked.IsZero() || p.now().Sub(asked) >= p.refresh {
			names, err := p.names(ctx)
			switch {
			case err == nil:
				services, asked, failing = names, p.now(), ""
			case ctx.Err() == nil && err.Error() != failing && !errors.Is(err, errNotYet):
				failing = err.Error()
				p.log.Warn("services for availability checks are not known; trying again", "err", err)
			}
		}
		p.round(ctx, services)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// errNotYet is returned by names while the answer must be waited for.
var errNotYet = errors.New("not known yet")

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
