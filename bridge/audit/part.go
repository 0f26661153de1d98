package audit

import (
	"cmp"
	"fmt"
	"slices"

	"bpcc-nats/bridge/audit/verbs"
	"bpcc-nats/bridge/event"
)

// Part is the part of a stream that is added to an [Auditor]: the events on some subjects. It is judged
// by what it can prove, see [Report].
type Part struct {
	// Name is what reports call it, such as its subjects.
	Name string
	// Includes reports whether the part has the events on a subject. A [Pipe] calls it from several
	// goroutines. nil says that this is not known:
	// an event then shows that the part has all events of its name about its entity.
	Includes func(subject string) bool
}

// has reports whether the part may have an event on a subject.
func (p *Part) has(subject string) bool { return p == nil || p.Includes == nil || p.Includes(subject) }

// shown returns the verbs of which the part has all events, for the subjects that begin like this.
func (p *Part) shown(kind, prefix string) verbs.Set {
	all := verbs.OfKind(kind)
	if p == nil {
		return all
	}
	var out verbs.Set
	for _, name := range all.Names() {
		if p.Includes != nil && p.Includes(prefix+"."+name) {
			out |= verbs.Of(name)
		}
	}
	return out
}

// anyID is a token that no subject names, so that only a wildcard includes it.
const anyID = "=00"

// whole reports whether the part has every event of a tenant.
func (p *Part) whole(tenant string) bool {
	if p == nil || p.Includes == nil {
		return p == nil
	}
	prefix := event.Prefix(tenant)
	for kind, ids := range map[string]string{
		"agent": anyID, "service": anyID, "totals": anyID, "availability": anyID, "threshold": anyID + "." + anyID,
	} {
		if p.shown(kind, prefix+kind+"."+ids) != verbs.OfKind(kind) {
			return false
		}
	}
	return p.shown("feed", prefix+"feed") == verbs.OfKind("feed") && p.Includes(prefix+event.Erased) && p.Includes(prefix+"chat.message_posted") &&
		p.Includes(prefix+"directory."+anyID+".changed")
}

// suspicion is events that are missing unless the part lacks events of some verbs. What the part has is
// known at its end.
type suspicion struct {
	verbs.Missing
	first Finding
	count int
}

// checkHidden judges n events that are missing before an event about an entity of which the part need
// not have all events.
func (a *Auditor) checkHidden(t *tenantAudit, e *audited, c *entityAudit, n uint64) {
	m := a.missingBefore(e, c, n)
	if m.States > n || m.States > 0 && c.shown&verbs.StateChanged != 0 {
		return // checkStateRevision reports it
	}
	m = m.Shortened()
	text := fmt.Sprintf("revision %d comes after %d: event(s) missing that the part has", e.EntityBase().Revision, c.revision)
	switch {
	case !m.Possible(e.kind, verbs.OfKind(e.kind)&^c.shown):
		a.fault(t, e, "revision", "%s", text)
	case a.options.Part != nil && a.options.Part.Includes == nil:
		c.suspect(m, t.finding(e, "revision", text))
	}
}

// missingBefore returns what is known of n events that are missing between the previous event about an
// entity and this one.
func (a *Auditor) missingBefore(e *audited, c *entityAudit, n uint64) verbs.Missing {
	m := verbs.Missing{N: n, AbsentBefore: c.absent, SameVerb: c.raised == (e.verb == "raised"), SameState: true}
	switch d := e.Data.(type) {
	case *event.AvailabilityObservedData:
		m.SameImage = event.SameAvailability(d.Available, c.available)
	case *event.AvailabilityChangedData:
		m.SameImage = event.SameAvailability(d.Previous, c.available)
	}
	row := e.Row()
	if row == nil {
		return m
	}
	before := row.Before
	switch {
	case e.Restates():
		before = row.After
	case e.Arrives():
		m.AbsentAfter = true
	}
	m.SameImage = before.Equal(c.image)
	if d, ok := e.Data.(*event.AgentData); ok {
		m.SameState = a.reader.State(before) == a.reader.State(c.image)
		from := d.StateRevision
		if e.Name == event.StateChanged && from > 0 {
			from--
		}
		if m.StatesKnown = c.state > 0 && from >= c.state; m.StatesKnown {
			m.States = from - c.state
		}
	}
	return m
}

// suspect records events that may be missing.
func (c *entityAudit) suspect(m verbs.Missing, f Finding) {
	i := slices.IndexFunc(c.suspicions, func(s suspicion) bool { return s.Missing == m })
	if i < 0 {
		i = len(c.suspicions)
		c.suspicions = append(c.suspicions, suspicion{Missing: m, first: f})
	}
	c.suspicions[i].count++
}

// confirmed returns the suspicions that the part, as far as it was added, confirms.
func (t *tenantAudit) confirmed() (found []suspicion) {
	for _, c := range t.entities {
		for _, s := range c.suspicions {
			if !s.Possible(c.kind, verbs.OfKind(c.kind)&^c.shown) {
				found = append(found, s)
			}
		}
	}
	slices.SortFunc(found, func(a, b suspicion) int { return cmp.Compare(a.first.N, b.first.N) })
	return found
}

// extent is what a part has of a tenant's events.
type extent struct {
	whole bool      // every event
	feed  verbs.Set // the events about the feed
}

// checkpoints reports whether the part has every checkpoint.
func (x extent) checkpoints() bool { return x.feed&verbs.Checkpoint != 0 }

// starts reports whether the part has the beginning of every term.
func (x extent) starts() bool { return x.feed&verbs.Started != 0 }

// status reports whether the part has all that changes the status of the feed.
func (x extent) status() bool { return x.feed == verbs.OfKind("feed") }

// extentOf returns what the part has of a tenant's events.
func (a *Auditor) extentOf(tenant string) extent {
	p := a.options.Part
	return extent{p.whole(tenant), p.shown("feed", event.Prefix(tenant)+"feed")}
}

// show notes that the part has an event, where it is not known what else it has.
func (a *Auditor) show(t *tenantAudit, e *audited) {
	if p := a.options.Part; p != nil && p.Includes == nil && e.kind == "feed" {
		t.extent.feed |= verbs.Of(e.verb)
	}
}

// showEntity notes what the part has of the events about an entity.
func (a *Auditor) showEntity(t *tenantAudit, e *audited, c *entityAudit) {
	switch p := a.options.Part; {
	case t.extent.whole:
		c.shown = verbs.OfKind(e.kind)
	case p != nil && p.Includes == nil:
		c.shown |= verbs.Of(e.verb)
	case c.revision == 0:
		c.shown = p.shown(e.kind, event.Prefix(t.name)+e.entity)
	}
}

// complete reports whether the part has every event about the entity.
func (c *entityAudit) complete() bool { return c.shown == verbs.OfKind(c.kind) }

// hasAll reports whether the part has every event about a row, of which c is what is known; nil for
// nothing.
func (a *Auditor) hasAll(t *tenantAudit, c *entityAudit, kind, key string) bool {
	if c != nil || t.extent.whole {
		return t.extent.whole || c.complete()
	}
	return a.options.Part.shown(kind, event.Prefix(t.name)+key) == verbs.OfKind(kind)
}
