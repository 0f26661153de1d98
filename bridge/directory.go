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
)

// The directories that a tenant has, as they stand in subjects.
const (
	dirTeams        = "teams"
	dirServices     = "services"
	dirAgents       = "agents"
	dirDispositions = "dispositions"
)

// directoryChunk is how many entries one event tells at the most, so that a
// directory of any size stays below a server's limit on messages.
const directoryChunk = 500

// listing is one directory as the source gave it: names by id.
type listing struct {
	directory      string
	names          map[string]string
	sent, received time.Time
}

// directory is what is published of a directory.
type directory struct {
	names    map[string]string
	seen     time.Time // when the last listing was asked for
	baseline time.Time // when the whole of it was last told
	fresh    bool      // listed since the start of this term
	shrunk   bool      // the last listing lacked more than half, and was not believed
}

type directoryEntry struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

type directoryRename struct {
	ID   string `json:"id"`
	From string `json:"from"`
	To   string `json:"to"`
}

type directoryData struct {
	common
	Observed window            `json:"observed"`
	AfterGap bool              `json:"after_gap,omitempty"`
	Kind     string            `json:"kind"`
	Baseline bool              `json:"baseline,omitempty"`
	Part     int               `json:"part,omitempty"`
	Parts    int               `json:"parts,omitempty"`
	Added    []directoryEntry  `json:"added"`
	Removed  []directoryEntry  `json:"removed"`
	Renamed  []directoryRename `json:"renamed"`
}

// directoryEvents tells what changed in the directories. The first sight of one
// is a baseline, not a change; it is told again before the stream forgets it, so
// that whoever folds the events from the stream's start has the whole.
func (e *engine) directoryEvents(listings []listing) []event {
	var out []event
	for _, l := range listings {
		d := e.directories[l.directory]
		if shrinks := d.lost(l); shrinks && !d.shrunk {
			d.shrunk = true
			e.directories[l.directory] = d
			continue
		}
		if d.names == nil || l.received.Sub(d.baseline) > e.rebaseline {
			out = append(out, e.baselineEvents(l)...)
		} else {
			out = append(out, e.directoryChanges(l, d)...)
		}
		d.seen, d.fresh, d.shrunk = l.sent, true, false
		e.directories[l.directory] = d
	}
	return out
}

// lost tells whether a listing lacks more than half of what is known: as with
// rows, once is not enough to be believed.
func (d directory) lost(l listing) bool {
	missing := 0
	for id := range d.names {
		if _, ok := l.names[id]; !ok {
			missing++
		}
	}
	return 2*missing > len(d.names)
}

func (e *engine) baselineEvents(l listing) []event {
	entries := entriesOf(l.names)
	chunks := slices.Collect(slices.Chunk(entries, directoryChunk))
	if len(chunks) == 0 {
		chunks = [][]directoryEntry{{}}
	}
	var out []event
	for i, chunk := range chunks {
		d := directoryData{Baseline: true, Part: i + 1, Parts: len(chunks), Added: chunk}
		d.Observed = window{By: stampBy(l.received)}
		out = append(out, e.directoryEvent(l, d))
	}
	return out
}

func (e *engine) directoryChanges(l listing, d directory) []event {
	var change directoryData
	for _, id := range sortedKeys(l.names) {
		switch name, known := d.names[id]; {
		case !known:
			change.Added = append(change.Added, directoryEntry{id, l.names[id]})
		case name != l.names[id]:
			change.Renamed = append(change.Renamed, directoryRename{id, name, l.names[id]})
		}
	}
	for _, id := range sortedKeys(d.names) {
		if _, ok := l.names[id]; !ok {
			change.Removed = append(change.Removed, directoryEntry{id, d.names[id]})
		}
	}
	var out []event
	for len(change.Added)+len(change.Removed)+len(change.Renamed) > 0 {
		part := directoryData{Observed: between(d.seen, l.received), AfterGap: !d.fresh}
		part.Added, change.Added = split(change.Added)
		part.Removed, change.Removed = split(change.Removed)
		part.Renamed, change.Renamed = split(change.Renamed)
		out = append(out, e.directoryEvent(l, part))
	}
	return out
}

func split[T any](all []T) (head, tail []T) {
	n := min(len(all), directoryChunk)
	return all[:n:n], all[n:]
}

func (e *engine) directoryEvent(l listing, d directoryData) event {
	d.common, d.Kind = e.common(), l.directory
	// Consumers are promised arrays, not null.
	d.Added, d.Removed, d.Renamed = orEmpty(d.Added), orEmpty(d.Removed), orEmpty(d.Renamed)
	return event{
		name: "directory.changed", subject: "directory." + l.directory + ".changed", about: "directory/" + l.directory,
		at: l.received, data: d,
		applied: func(e *engine) { e.fold(l.directory, d, l.received) },
	}
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// fold applies a stored event to what is known of its directory, as any
// consumer would.
func (e *engine) fold(name string, d directoryData, at time.Time) {
	known := e.directories[name]
	if d.Baseline && d.Part <= 1 || known.names == nil {
		known.names = map[string]string{}
	}
	if d.Baseline {
		known.baseline = at
	}
	for _, entry := range d.Removed {
		delete(known.names, entry.ID)
	}
	for _, entry := range d.Added {
		known.names[entry.ID] = entry.Name
	}
	for _, entry := range d.Renamed {
		known.names[entry.ID] = entry.To
	}
	if known.seen.Before(at) && !known.fresh {
		known.seen = at
	}
	e.directories[name] = known
}

func entriesOf(names map[string]string) []directoryEntry {
	var out []directoryEntry
	for _, id := range sortedKeys(names) {
		out = append(out, directoryEntry{id, names[id]})
	}
	return out
}

// directoryPoller lists the tenant's directories on their own interval.
type directoryPoller struct {
	client     *bpcc.Client
	interval   time.Duration
	all        bool // false: services alone, for the availability checks
	pseudonyms *pseudonyms
	log        *slog.Logger
	now        func() time.Time

	mu       sync.Mutex // guards what follows
	latest   map[string]listing
	services []string // names, nil while not known
	told     map[string]string
}

// take returns the listings since the last call.
func (p *directoryPoller) take() []listing {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.all {
		return nil
	}
	var out []listing
	for _, name := range sortedKeys(p.latest) {
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
	well := p.list(ctx, dirServices, named(p.client.Services))
	if !p.all {
		return well
	}
	well = p.list(ctx, dirTeams, named(p.client.Teams)) && well
	well = p.list(ctx, dirAgents, named(p.client.Agents)) && well
	return p.list(ctx, dirDispositions, func(ctx context.Context) (map[string]string, error) {
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
	l := listing{directory: name, sent: p.now()}
	names, err := get(ctx)
	l.received, l.names = p.now(), names
	if ctx.Err() != nil {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		// A session that has ended is the snapshots' to renew, and theirs to tell.
		if text := err.Error(); p.told[name] != text && !errors.Is(err, bpcc.ErrAuth) {
			p.told[name] = text
			p.log.Warn("a directory cannot be listed", "directory", name, "err", err)
		}
		if name == dirServices && statusOf(err) == http.StatusNotFound && p.services == nil {
			p.services = []string{}
		}
		return statusOf(err) == http.StatusNotFound || errors.Is(err, bpcc.ErrForbidden)
	}
	delete(p.told, name)
	if name == dirServices {
		p.services = slices.DeleteFunc(slices.Sorted(maps.Values(names)), func(n string) bool { return n == "" })
	}
	if name == dirAgents {
		l.names = map[string]string{}
		for id, login := range names {
			l.names[p.pseudonyms.of(id)] = p.pseudonyms.of(login)
		}
	}
	p.latest[name] = l
	return true
}
