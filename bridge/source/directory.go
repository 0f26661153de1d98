package source

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
	relistAfter    time.Duration // until the services are listed again when one is missing
	allDirectories bool          // false: only services, for the availability checks
	omitAgents     bool          // the directory of agents would hold what is redacted
	pseudonymizer  *event.Pseudonyms
	log            *slog.Logger
	now            func() time.Time

	mu         sync.Mutex // guards the fields below
	latest     map[string]engine.DirectorySnapshot
	services   []string // names, nil while not known
	expected   []string // names of an earlier term, until services is known
	missing    []string // services that the last listing lacked, not believed to be removed yet
	unsure     bool     // the last listing was the first one to lack a service
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

// serviceNames lists the services to check. While they are not known it returns those of an earlier
// term, and false.
func (p *directoryPoller) serviceNames() (names []string, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.services == nil {
		return p.expected, false
	}
	return p.services, true
}

// expectServices adds services that an earlier term knew: listings must confirm that they are gone,
// as of all others.
func (p *directoryPoller) expectServices(names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.services == nil {
		p.expected = names
		return
	}
	p.services = sortedNames(p.services, names)
}

// setServices replaces the services by those of a listing. A service that it lacks counts as listed
// until the next listing lacks it, too. A listing of none is more likely a fault of the source: it
// removes no service, however often it repeats. Needs mu.
func (p *directoryPoller) setServices(listed []string) {
	previous := p.services
	if previous == nil {
		previous = p.expected
	}
	present := map[string]bool{}
	for _, name := range listed {
		present[name] = true
	}
	var missing []string
	p.unsure = false
	for _, name := range previous {
		again := slices.Contains(p.missing, name)
		if present[name] || again && len(listed) > 0 {
			continue
		}
		missing = append(missing, name)
		p.unsure = p.unsure || !again
	}
	if p.unsure {
		p.log.Info("listing lacks services, asking again", "missing", len(missing), "listed", len(listed))
	}
	p.services, p.expected, p.missing = sortedNames(listed, missing), nil, missing
}

// sortedNames returns all names of two lists once, without empty ones. The result is not nil.
func sortedNames(a, b []string) []string {
	names := slices.Compact(slices.Sorted(slices.Values(slices.Concat(a, b))))
	return slices.DeleteFunc(append([]string{}, names...), func(n string) bool { return n == "" })
}

// mustRelist reports whether the services must be listed again soon.
func (p *directoryPoller) mustRelist() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unsure
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
	relist := false
	for {
		wait := 200 * time.Millisecond
		if p.client.LoggedIn() {
			wait = p.interval
			poll := p.pollDirectories
			if relist {
				poll = p.pollServices
			}
			if !poll(ctx) {
				wait = min(wait, directoryRetryInterval)
			}
			if relist = p.mustRelist(); relist {
				wait = min(wait, p.relistAfter)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// pollServices lists the services and reports whether that succeeded.
func (p *directoryPoller) pollServices(ctx context.Context) bool {
	return p.fetchDirectory(ctx, engine.Services, p.client.Services)
}

// pollDirectories lists each directory once and reports whether all requests succeeded.
func (p *directoryPoller) pollDirectories(ctx context.Context) bool {
	ok := p.pollServices(ctx)
	if !p.allDirectories {
		return ok
	}
	ok = p.fetchDirectory(ctx, engine.Teams, p.client.Teams) && ok
	if !p.omitAgents {
		ok = p.fetchDirectory(ctx, engine.Agents, p.client.Agents) && ok
	}
	return p.fetchDirectory(ctx, engine.Dispositions, p.dispositions) && ok
}

// dispositions lists the dispositions, which have no other id than their name.
func (p *directoryPoller) dispositions(ctx context.Context) ([]bpcc.Ref, error) {
	names, err := p.client.Dispositions(ctx, bpcc.DispositionQuery{})
	list := make([]bpcc.Ref, len(names))
	for i, name := range names {
		list[i] = bpcc.Ref{ID: name, Name: name}
	}
	return list, err
}

// fetchDirectory requests one directory. A server without the method is not requested again.
func (p *directoryPoller) fetchDirectory(ctx context.Context, name string, fetch func(context.Context) ([]bpcc.Ref, error)) bool {
	l := engine.DirectorySnapshot{Directory: name, Sent: p.now()}
	list, err := fetch(ctx)
	names, skipped := map[string]string{}, 0
	for _, entry := range list {
		if entry.ID == "" {
			skipped++
			continue
		}
		names[entry.ID] = entry.Name
	}
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
		listed := slices.Collect(maps.Values(names))
		if skipped > 0 { // one of them may be an entry that cannot be read
			listed = slices.Concat(listed, p.services, p.expected)
		}
		p.setServices(listed)
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
