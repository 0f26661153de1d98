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

// directoryPoller polls the tenant's directories at their own interval.
type directoryPoller struct {
	client         *bpcc.Client
	interval       time.Duration
	allDirectories bool // false: only services, for the availability checks
	omitAgents     bool // the directory of agents would hold what is redacted
	pseudonymizer  *event.Pseudonyms
	log            *slog.Logger
	now            func() time.Time

	mu         sync.Mutex // guards the fields below
	latest     map[string]engine.DirectorySnapshot
	services   []string // names, nil while not known
	lastLogged map[string]string
}

// drainSnapshots returns the listings since the last call.
func (p *directoryPoller) drainSnapshots() []engine.DirectorySnapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.allDirectories {
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

// directoryRetryInterval is the wait before a failed directory is polled again.
const directoryRetryInterval = 15 * time.Second

// runDirectories polls until ctx ends. It waits for the session of the snapshot poller.
func (p *directoryPoller) runDirectories(ctx context.Context) {
	if p.allDirectories && p.omitAgents {
		p.log.Info("directory of agents not published", "hint", "it lists ids that BRIDGE_REDACT_STATS removes; BRIDGE_PSEUDONYM_KEY publishes it with keyed hashes")
	}
	for {
		wait := 200 * time.Millisecond
		if p.client.LoggedIn() {
			wait = p.interval
			if !p.pollDirectories(ctx) {
				wait = min(wait, directoryRetryInterval)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// pollDirectories lists each directory once and reports whether all requests succeeded.
func (p *directoryPoller) pollDirectories(ctx context.Context) bool {
	byID := func(fetch func(context.Context) ([]bpcc.Ref, error)) func(context.Context) (map[string]string, error) {
		return func(ctx context.Context) (map[string]string, error) {
			list, err := fetch(ctx)
			names := map[string]string{}
			for _, n := range list {
				if n.ID != "" {
					names[n.ID] = n.Name
				}
			}
			return names, err
		}
	}
	ok := p.fetchDirectory(ctx, engine.Services, byID(p.client.Services))
	if !p.allDirectories {
		return ok
	}
	ok = p.fetchDirectory(ctx, engine.Teams, byID(p.client.Teams)) && ok
	if !p.omitAgents {
		ok = p.fetchDirectory(ctx, engine.Agents, byID(p.client.Agents)) && ok
	}
	return p.fetchDirectory(ctx, engine.Dispositions, func(ctx context.Context) (map[string]string, error) {
		list, err := p.client.Dispositions(ctx, bpcc.DispositionQuery{})
		names := map[string]string{}
		for _, n := range list {
			if n != "" {
				names[n] = n // a disposition has no other id
			}
		}
		return names, err
	}) && ok
}

// fetchDirectory requests one directory. A server without the method is not requested again.
func (p *directoryPoller) fetchDirectory(ctx context.Context, name string, fetch func(context.Context) (map[string]string, error)) bool {
	l := engine.DirectorySnapshot{Directory: name, Sent: p.now()}
	names, err := fetch(ctx)
	l.Received, l.Names = p.now(), names
	if ctx.Err() != nil {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		// The snapshot poller renews an expired session and logs it.
		if text := err.Error(); p.lastLogged[name] != text && !errors.Is(err, bpcc.ErrAuth) {
			p.lastLogged[name] = text
			p.log.Warn("cannot list directory", "directory", name, "err", err)
		}
		if name == engine.Services && httpStatusOf(err) == http.StatusNotFound && p.services == nil {
			p.services = []string{}
		}
		return httpStatusOf(err) == http.StatusNotFound || errors.Is(err, bpcc.ErrForbidden)
	}
	delete(p.lastLogged, name)
	if name == engine.Services {
		p.services = slices.DeleteFunc(slices.Sorted(maps.Values(names)), func(n string) bool { return n == "" })
	}
	if name == engine.Agents {
		l.Names = map[string]string{}
		for id, login := range names {
			l.Names[p.pseudonymizer.Hash(id)] = p.pseudonymizer.Hash(login)
		}
	}
	p.latest[name] = l
	return true
}
