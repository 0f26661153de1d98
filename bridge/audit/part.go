package audit

import (
	"cmp"
	"fmt"
	"slices"

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

// verbs is a set of verbs.
type verbs uint16

const (
	observed verbs = 1 << iota
	appeared
	disappeared
	stateChanged
	statsChanged
	changed
	raised
	cleared
	checkpoint
	started
	stopped
	interrupted
	resumed
)

// verbNames are the verbs as names of events have them, in the order of the constants.
var verbNames = [...]string{
	"observed", "appeared", "disappeared", "state_changed", "stats_changed", "changed", "raised", "cleared",
	"checkpoint", "started", "stopped", "interrupted", "resumed",
}

// verbOf returns a verb as a set; of one that a later version may have added, the empty set.
func verbOf(name string) verbs {
	if i := slices.Index(verbNames[:], name); i >= 0 {
		return 1 << i
	}
	return 0
}

// verbsOf returns the verbs of the events about an entity of a kind, or about the feed's status.
func verbsOf(kind string) verbs {
	switch kind {
	case "agent":
		return observed | appeared | disappeared | stateChanged | statsChanged
	case "service":
		return observed | appeared | disappeared | statsChanged
	case "totals":
		return observed | statsChanged
	case "availability":
		return observed | changed
	case "threshold":
		return raised | cleared
	case "feed":
		return checkpoint | started | stopped | interrupted | resumed
	}
	return 0
}

// shown returns the verbs of which the part has all events, for the subjects that begin like this.
func (p *Part) shown(kind, prefix string) verbs {
	all := verbsOf(kind)
	if p == nil {
		return all
	}
	var out verbs
	for i, name := range verbNames {
		if v := verbs(1 << i); all&v != 0 && p.Includes != nil && p.Includes(prefix+"."+name) {
			out |= v
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
		if p.shown(kind, prefix+kind+"."+ids) != verbsOf(kind) {
			return false
		}
	}
	return p.shown("feed", prefix+"feed") == verbsOf("feed") && p.Includes(prefix+event.Erased) && p.Includes(prefix+"chat.message_posted") &&
		p.Includes(prefix+"directory."+anyID+".changed")
}

// missing is what is known of the events about an entity between two that were added.
type missing struct {
	n uint64 // how many
	// states is how many of them are changes of state, if that is known.
	states      uint64
	statesKnown bool
	// absentBefore and absentAfter say that the entity is absent before and after them.
	absentBefore, absentAfter bool
	// sameImage and sameState say that the image and the state are the same before and after them; of an
	// availability, that its value is.
	sameImage, sameState bool
	// sameVerb says that the events before and after them have the same verb.
	sameVerb bool
}

// shortened returns missing events of which the same is possible, and of which there are few.
func (m missing) shortened() missing {
	few := func(n uint64) uint64 { return min(n, 8-n%2) } // odd or even as before
	if !m.statesKnown || m.states > m.n {
		m.n = few(m.n)
		m.states = min(m.states, m.n+1)
		return m
	}
	rest := few(m.n - m.states)
	m.states = few(m.states)
	m.n = m.states + rest
	return m
}

// possible reports whether the events that are missing may all be of the hidden verbs, of which the part
// may lack events. The kind is that of their entity.
func (m missing) possible(kind string, hidden verbs) bool {
	switch kind {
	case "threshold": // raised and cleared take turns
		return m.n == 1 && m.sameVerb
	case "availability":
		return hidden&changed != 0 || hidden&observed != 0 && m.sameImage
	}
	for states := range m.n + 1 {
		wanted := !m.statesKnown || states == m.states
		if wanted && (states == 0 || hidden&stateChanged != 0) && m.possibleRow(hidden, states) {
			return true
		}
	}
	return false
}

// possibleRow is possible for a row and a number of changes of its state.
func (m missing) possibleRow(hidden verbs, states uint64) bool {
	comes, goes := hidden&appeared != 0, hidden&disappeared != 0
	rest := m.n - states
	if m.absentBefore {
		if !comes || rest == 0 {
			return false
		}
		rest--
	}
	if m.absentAfter {
		if !goes || rest == 0 {
			return false
		}
		rest--
	}
	// An entity that departs and comes back has any image.
	anyImage := m.absentBefore || m.absentAfter || comes && goes && rest >= 2
	switch {
	case !anyImage && !m.sameState && states == 0:
		return false
	case hidden&statsChanged != 0:
		return rest > 0 || anyImage || m.sameImage || states > 0
	case hidden&observed != 0:
		return anyImage || m.sameImage || states > 0
	case rest == 0:
		return anyImage || m.sameImage || states > 0
	}
	return comes && goes && rest%2 == 0
}

// suspicion is events that are missing unless the part lacks events of some verbs. What the part has is
// known at its end.
type suspicion struct {
	missing
	first Finding
	count int
}

// checkHidden judges n events that are missing before an event about an entity of which the part need
// not have all events.
func (a *Auditor) checkHidden(t *tenantAudit, e *audited, c *entityAudit, n uint64) {
	m := a.missingBefore(e, c, n)
	if m.states > n || m.states > 0 && c.shown&stateChanged != 0 {
		return // checkStateRevision reports it
	}
	m = m.shortened()
	text := fmt.Sprintf("revision %d comes after %d: event(s) missing that the part has", e.EntityBase().Revision, c.revision)
	switch {
	case !m.possible(e.kind, verbsOf(e.kind)&^c.shown):
		a.fault(t, e, "revision", "%s", text)
	case a.options.Part != nil && a.options.Part.Includes == nil:
		c.suspect(m, t.finding(e, "revision", text))
	}
}

// missingBefore returns what is known of n events that are missing between the previous event about an
// entity and this one.
func (a *Auditor) missingBefore(e *audited, c *entityAudit, n uint64) missing {
	m := missing{n: n, absentBefore: c.absent, sameVerb: c.raised == (e.verb == "raised"), sameState: true}
	switch d := e.Data.(type) {
	case *event.AvailabilityObservedData:
		m.sameImage = event.SameAvailability(d.Available, c.available)
	case *event.AvailabilityChangedData:
		m.sameImage = event.SameAvailability(d.Previous, c.available)
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
		m.absentAfter = true
	}
	m.sameImage = before.Equal(c.image)
	if d, ok := e.Data.(*event.AgentData); ok {
		m.sameState = a.reader.State(before) == a.reader.State(c.image)
		from := d.StateRevision
		if e.Name == event.StateChanged && from > 0 {
			from--
		}
		if m.statesKnown = c.state > 0 && from >= c.state; m.statesKnown {
			m.states = from - c.state
		}
	}
	return m
}

// suspect records events that may be missing.
func (c *entityAudit) suspect(m missing, f Finding) {
	i := slices.IndexFunc(c.suspicions, func(s suspicion) bool { return s.missing == m })
	if i < 0 {
		i = len(c.suspicions)
		c.suspicions = append(c.suspicions, suspicion{missing: m, first: f})
	}
	c.suspicions[i].count++
}

// confirmed returns the suspicions that the part, as far as it was added, confirms.
func (t *tenantAudit) confirmed() (found []suspicion) {
	for _, c := range t.entities {
		for _, s := range c.suspicions {
			if !s.possible(c.kind, verbsOf(c.kind)&^c.shown) {
				found = append(found, s)
			}
		}
	}
	slices.SortFunc(found, func(a, b suspicion) int { return cmp.Compare(a.first.N, b.first.N) })
	return found
}

// extent is what a part has of a tenant's events.
type extent struct {
	whole bool  // every event
	feed  verbs // the events about the feed
}

// checkpoints reports whether the part has every checkpoint.
func (x extent) checkpoints() bool { return x.feed&checkpoint != 0 }

// starts reports whether the part has the beginning of every term.
func (x extent) starts() bool { return x.feed&started != 0 }

// status reports whether the part has all that changes the status of the feed.
func (x extent) status() bool { return x.feed == verbsOf("feed") }

// extentOf returns what the part has of a tenant's events.
func (a *Auditor) extentOf(tenant string) extent {
	p := a.options.Part
	return extent{p.whole(tenant), p.shown("feed", event.Prefix(tenant)+"feed")}
}

// show notes that the part has an event, where it is not known what else it has.
func (a *Auditor) show(t *tenantAudit, e *audited) {
	if p := a.options.Part; p != nil && p.Includes == nil && e.kind == "feed" {
		t.extent.feed |= verbOf(e.verb)
	}
}

// showEntity notes what the part has of the events about an entity.
func (a *Auditor) showEntity(t *tenantAudit, e *audited, c *entityAudit) {
	switch p := a.options.Part; {
	case t.extent.whole:
		c.shown = verbsOf(e.kind)
	case p != nil && p.Includes == nil:
		c.shown |= verbOf(e.verb)
	case c.revision == 0:
		c.shown = p.shown(e.kind, event.Prefix(t.name)+e.entity)
	}
}

// complete reports whether the part has every event about the entity.
func (c *entityAudit) complete() bool { return c.shown == verbsOf(c.kind) }

// hasAll reports whether the part has every event about a row, of which c is what is known; nil for
// nothing.
func (a *Auditor) hasAll(t *tenantAudit, c *entityAudit, kind, key string) bool {
	if c != nil || t.extent.whole {
		return t.extent.whole || c.complete()
	}
	return a.options.Part.shown(kind, event.Prefix(t.name)+key) == verbsOf(kind)
}
