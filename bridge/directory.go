package bridge

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
)

// directoryPoller lists the tenant's directories on their own interval.
type directoryPoller struct {
	client     *bpcc.Client
	interval   time.Duration
	all        bool // false: services alone, for the availability checks
	pseudonyms *event.Pseudonyms
	log        *slog.Logger
	now        func() time.Time

	mu       sync.Mutex // guards what follows
	latest   map[string]engine.DirectorySnapshot
	services []string // names, nil while not known
	told     map[string]string
}

// take returns the listings since the last call.
func (p *directoryPoller) take() []engine.DirectorySnapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.all {
		return nil
	}
	var out []engine.DirectorySnapshot
	for _, name := range slices.Sorted(maps.Keys(p.latest)) {
		out = append(out, p.latest[name])
	}
	clear(p.latest)
	return out
}

// serviceNames lists the services to check; false while they are not known.
func (p *directoryPoller) serviceNames() (names []string, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.services, p.services != nil
}

// retryDirectory is how soon a directory that failed is asked for again.
const retryDirectory = 15 * time.Second

// run polls until ctx ends. The session is the snapshots' own: it waits for it.
func (p *directoryPoller) run(ctx context.Context) {
	for {
		wait := 200 * time.Millisecond
		if p.client.LoggedIn() {
			wait = p.interval
			if !p.round(ctx) {
				wait = min(wait, retryDirectory)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// round lists each directory once and tells whether all of them answered.
func (p *directoryPoller) round(ctx context.Context) bool {
	named := func(get func(context.Context) ([]bpcc.Named, error)) func(context.Context) (map[string]string, error) {
		return func(ctx context.Context) (map[string]string, error) {
			list, err := get(ctx)
			names := map[string]string{}
			for _, n := range list {
				if n.ID != "" {
					names[n.ID] = n.Name
				}
			}
			return names, err
		}
	}
	well := p.list(ctx, engine.Services, named(p.client.Services))
	if !p.all {
		return well
	}
	well = p.list(ctx, engine.Teams, named(p.client.Teams)) && well
	well = p.list(ctx, engine.Agents, named(p.client.Agents)) && well
	return p.list(ctx, engine.Dispositions, func(ctx context.Context) (map[string]string, error) {
		list, err := p.client.Dispositions(ctx, bpcc.DispositionQuery{})
		names := map[string]string{}
		for _, n := range list {
			if n != "" {
				names[n] = n // a disposition has no other id
			}
		}
		return names, err
	}) && well
}

// list asks for one directory. A server that does not have the method is not
// asked to mend it.
func (p *directoryPoller) list(ctx context.Context, name string, get func(context.Context) (map[string]string, error)) bool {
	l := engine.DirectorySnapshot{Directory: name, Sent: p.now()}
	names, err := get(ctx)
	l.Received, l.Names = p.now(), names
	if ctx.Err() != nil {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		// A session that has ended is the snapshots' to renew, and theirs to tell.
		if text := err.Error(); p.told[name] != text && !errors.Is(err, bpcc.ErrAuth) {
			p.told[name] = text
			p.log.Warn("cannot list directory", "directory", name, "err", err)
		}
		if name == engine.Services && statusOf(err) == http.StatusNotFound && p.services == nil {
			p.services = []string{}
		}
		return statusOf(err) == http.StatusNotFound || errors.Is(err, bpcc.ErrForbidden)
	}
	delete(p.told, name)
	if name == engine.Services {
		p.services = slices.DeleteFunc(slices.Sorted(maps.Values(names)), func(n string) bool { return n == "" })
	}
	if name == engine.Agents {
		l.Names = map[string]string{}
		for id, login := range names {
			l.Names[p.pseudonyms.Hash(id)] = p.pseudonyms.Hash(login)
		}
	}
	p.latest[name] = l
	return true
}
