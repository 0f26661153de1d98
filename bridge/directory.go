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
	skipped    map[string]int // entries of the last listing that cannot be read, by directory
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

// skippedEntries returns how many entries of the last listings cannot be read.
func (p *directoryPoller) skippedEntries() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	total := 0
	for _, n := range p.skipped {
		total += n
	}
	return total
}

// recordSkipped records how many entries of a listing cannot be read, and logs it when it changes. The
// caller holds mu.
func (p *directoryPoller) recordSkipped(name string, n int) {
	if n == p.skipped[name] {
		return
	}
	if p.skipped == nil {
		p.skipped = map[string]int{}
	}
	p.skipped[name] = n
	if n == 0 {
		p.log.Info("directory is complete again", "directory", name)
		return
	}
	p.log.Warn("directory entries skipped", "directory", name, "entries", n,
		"hint", "they have no id or name that can be read; until they have, no removal from this directory is published")
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
	byID := func(fetch func(context.Context) ([]bpcc.Ref, error)) fetchNames {
		return func(ctx context.Context) (map[string]string, int, error) {
			list, err := fetch(ctx)
			names, skipped := map[string]string{}, 0
			for _, n := range list {
				if n.ID == "" {
					skipped++
					continue
				}
				names[n.ID] = n.Name
			}
			return names, skipped, err
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
	return p.fetchDirectory(ctx, engine.Dispositions, func(ctx context.Context) (map[string]string, int, error) {
		list, err := p.client.Dispositions(ctx, bpcc.DispositionQuery{})
		names, skipped := map[string]string{}, 0
		for _, n := range list {
			if n == "" {
				skipped++
				continue
			}
			names[n] = n // a disposition has no other id
		}
		return names, skipped, err
	}) && ok
}

// fetchNames lists a directory: names by id, and how many entries cannot be read.
type fetchNames func(ctx context.Context) (names map[string]string, skipped int, err error)

// fetchDirectory requests one directory. A server without the method is not requested again.
func (p *directoryPoller) fetchDirectory(ctx context.Context, name string, fetch fetchNames) bool {
	l := engine.DirectorySnapshot{Directory: name, Sent: p.now()}
	names, skipped, err := fetch(ctx)
	l.Received, l.Names, l.Skipped = p.now(), names, skipped
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
	p.recordSkipped(name, skipped)
	if name == engine.Services {
		known := slices.Collect(maps.Values(names))
		if skipped > 0 {
			known = append(known, p.services...) // one of them may be an entry that cannot be read
		}
		slices.Sort(known)
		p.services = slices.DeleteFunc(slices.Compact(known), func(n string) bool { return n == "" })
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
