package bpcctest

import (
	"maps"
	"slices"
	"time"
)

// version is the world as it was from a time on.
type version struct {
	since time.Time
	world *World
}

// recordHistory keeps the world as it is now, if a fault may return it later, and forgets what none
// can return any more. Needs t.mu.
func (t *Tenant) recordHistory() {
	var lag time.Duration
	for _, f := range t.faults {
		lag = max(lag, f.Lag)
	}
	if lag == 0 {
		t.history = nil
		return
	}
	now := t.world.now()
	t.history = append(t.history, version{now, t.world.clone()})
	old := 0
	for old+1 < len(t.history) && !t.history[old+1].since.After(now.Add(-lag)) {
		old++
	}
	t.history = slices.Delete(t.history, 0, old)
}

// worldBefore returns the world as it was that long ago, or the oldest one known. Needs t.mu.
func (t *Tenant) worldBefore(lag time.Duration) *World {
	at := t.world.now().Add(-lag)
	w := *t.history[0].world
	for _, v := range t.history[1:] {
		if v.since.After(at) {
			break
		}
		w = *v.world
	}
	w.now = func() time.Time { return at }
	return &w
}

// worldOf returns the world that the response to a request which has met the fault shows. Needs t.mu.
func (t *Tenant) worldOf(f Fault) *World {
	if f.world != nil {
		return f.world
	}
	return t.world
}

// clone returns the world as it is now. Its clock stands still.
func (w *World) clone() *World {
	c, now := *w, w.now()
	c.now = func() time.Time { return now }
	c.teams, c.dispositions, c.chat = slices.Clone(w.teams), slices.Clone(w.dispositions), slices.Clone(w.chat)
	c.totals, c.availability = maps.Clone(w.totals), maps.Clone(w.availability)
	c.agents = make(map[string]*agent, len(w.agents))
	for login, a := range w.agents {
		b := *a
		b.Services, b.Stats = slices.Clone(a.Services), maps.Clone(a.Stats)
		b.today.dispositions = maps.Clone(a.today.dispositions)
		c.agents[login] = &b
	}
	c.services = make(map[string]*service, len(w.services))
	for name, s := range w.services {
		b := *s
		b.Stats, b.waiting = maps.Clone(s.Stats), slices.Clone(s.waiting)
		c.services[name] = &b
	}
	return &c
}
