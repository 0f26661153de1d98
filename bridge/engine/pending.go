package engine

import (
	"slices"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/diff"
	"bpcc-nats/diff/image"
)

// pendingEvent is an event that is not built yet. A poll may have ten thousand of them, so those
// about rows are built chunk by chunk, in memory that the next chunk uses again.
type pendingEvent struct {
	built *event.Event // already built; nil = built from a change

	change    *diff.Change
	part      agentPart
	both      bool   // the other part of the agent's change is published too
	state     uint64 // of an agent: the number of the state published before the poll, 0 if it is not known
	reentered bool   // the state was left and entered again between two polls
}

// agentPart is the part of an agent's change that an event publishes.
type agentPart uint8

const (
	wholeRow   agentPart = iota // not a change of an agent
	agentState                  // the state, and the clocks with it
	agentStats                  // all else
)

// addChanges adds the events of a snapshot's changes of one kind, in their order.
func (e *Engine) addChanges(b *Batch, kind image.Kind) {
	// The daily reset may set back all clocks.
	clocksCount := kind == event.Agent && slices.ContainsFunc(b.changes, func(c diff.Change) bool { return c.Reentry }) && !showsDailyReset(b.changes)
	for i := range b.changes {
		switch c := &b.changes[i]; {
		case c.Kind != kind:
		case kind == event.Agent && c.Op == diff.Changed:
			e.addAgentChange(b, c, clocksCount && c.Reentry)
		default:
			p := pendingEvent{change: c}
			if kind == event.Agent {
				p.state = e.published.agentStates.Revision(c.ID)
			}
			b.pending = append(b.pending, p)
		}
	}
}

// addAgentChange adds the events of one agent's change. A state and statistics that change in one
// poll are two events, state first, whose images follow on each other. An agent that left its state
// and came back between two polls has changed state too.
func (e *Engine) addAgentChange(b *Batch, c *diff.Change, reentered bool) {
	n := 0
	for _, name := range c.Stats {
		if event.IsStateStat(name) {
			n++
		}
	}
	// "" and "0" both mean logged out.
	changed := n > 1 || n > 0 && e.reader.State(c.Before) != e.reader.State(c.After)
	state, others := changed || reentered, len(c.Stats) > n
	p := pendingEvent{change: c, both: state && others, state: e.published.agentStates.Revision(c.ID)}
	if state {
		p.part, p.reentered = agentState, reentered && !changed
		b.pending = append(b.pending, p)
	}
	if others {
		p.part, p.reentered = agentStats, false
		b.pending = append(b.pending, p)
	}
}

// builder builds pending events. Its results are valid until it builds again.
type builder struct {
	events []event.Event
	agents []agentEvent
	change *diff.Change // the last one that was built
	split  agentSplit   // of that change
}

// agentEvent is the data of an event about an agent, with memory for its states.
type agentEvent struct {
	event.AgentData
	from, to event.AgentState
}

// agentSplit is an agent's change, split into one event or two.
type agentSplit struct {
	known        bool
	state, stats []string
	// intermediate, if there are two events, is the image after the state changed and before the
	// statistics did. The clocks are published with the state.
	intermediate image.Image
}

// build builds events of a batch, with capacity for one more.
func (e *Engine) build(b *Batch, pending []pendingEvent) []event.Event {
	s := &e.builder
	s.events = slices.Grow(s.events[:0], len(pending)+1)
	s.agents = slices.Grow(s.agents[:0], len(pending))
	for i := range pending {
		p := &pending[i]
		if p.built != nil {
			s.events = append(s.events, *p.built)
			continue
		}
		if s.change != p.change {
			s.change, s.split = p.change, agentSplit{}
		}
		ev := event.Event{Name: eventName(s.change.Kind, e.verb(b, p)), Time: b.received}
		if s.change.Kind == event.Agent {
			ev.Data = e.agentData(b, p)
		} else {
			ev.Data = e.rowData(b, p)
		}
		s.events = append(s.events, ev)
	}
	return s.events
}

// verb returns the verb of an event.
func (e *Engine) verb(b *Batch, p *pendingEvent) string {
	switch {
	case p.change.Op != diff.Changed:
		return string(e.publishedOp(b, p.change))
	case p.part == agentState:
		return "state_changed"
	}
	return "stats_changed"
}

// publishedOp is the Op under which a change is published. Totals of an app id that was not
// subscribed before already existed: they are observed, they have not appeared. An entity that is
// known to have departed has appeared, and one that may have been forgotten is observed.
func (e *Engine) publishedOp(b *Batch, c *diff.Change) diff.Op {
	switch {
	case c.Op != diff.Appeared && c.Op != diff.Observed:
	case c.Kind == event.Totals:
		return diff.Observed
	case e.published.revisions[event.RowKey(c.Kind, c.ID)] > 0:
		return diff.Appeared
	case b.forgotten[c.Kind]:
		return diff.Observed
	}
	return c.Op
}

// eventName joins kind and verb, without an allocation for the most frequent ones.
func eventName(kind image.Kind, verb string) string {
	switch {
	case kind == event.Agent && verb == "state_changed":
		return "agent.state_changed"
	case kind == event.Agent && verb == "stats_changed":
		return "agent.stats_changed"
	case kind == event.Service && verb == "stats_changed":
		return "service.stats_changed"
	}
	return string(kind) + "." + verb
}

// entityBase returns the beginning of the data of an event about a row.
func (e *Engine) entityBase(b *Batch, p *pendingEvent) event.EntityBase {
	c := e.builder.change
	op := e.publishedOp(b, c)
	d := event.EntityBase{
		Base: event.Base{Tenant: e.options.Tenant, Poll: b.poll}, Revision: c.Revision + 1,
		Observed: e.window(op, c.SeenUntil, b.received), AfterGap: b.gap && op != diff.Observed,
	}
	if c.Before.IsZero() && len(e.published.revisions) > 0 {
		d.Revision = e.published.revisions[event.RowKey(c.Kind, c.ID)] + 1
	}
	if p.part == agentStats && p.both {
		d.Revision++
	}
	return d
}

// windowStart returns after when a change has happened that this poll shows; zero if that is not
// known.
func (e *Engine) windowStart(op diff.Op, seenUntil time.Time) time.Time {
	switch {
	case op == diff.Observed:
		return time.Time{}
	case op == diff.Appeared:
		return e.observed.until // the previous poll did not show it
	case seenUntil.IsZero():
		return e.observed.recoveredUntil // last seen in an earlier term
	}
	return seenUntil // the last poll that showed it
}

// window returns the window of a change that this poll shows.
func (e *Engine) window(op diff.Op, seenUntil, by time.Time) event.Window {
	after := e.windowStart(op, seenUntil)
	// Most changes of a poll share their window.
	if last := &e.lastWindow; last.window.By.IsZero() || last.after != after || last.by != by {
		*last = cachedWindow{after, by, event.Between(after, by)}
	}
	return e.lastWindow.window
}

// cachedWindow is a window and the times that bound it.
type cachedWindow struct {
	after, by time.Time
	window    event.Window
}

// agentData returns the data of an event about an agent.
func (e *Engine) agentData(b *Batch, p *pendingEvent) event.Data {
	s := &e.builder
	s.agents = append(s.agents, agentEvent{})
	d, c := &s.agents[len(s.agents)-1], s.change
	d.EntityBase = e.entityBase(b, p)
	d.StateRevision = p.state
	if p.part == agentState || p.both || p.state == 0 {
		d.StateRevision++
	}
	d.Before, d.After = c.Before, c.After
	if c.After.IsZero() {
		d.from, d.Agent, _ = e.reader.Read(c.ID, c.Before)
		d.From = &d.from
		return &d.AgentData
	}
	var duration string
	d.to, d.Agent, duration = e.reader.Read(c.ID, c.After)
	if p.part != agentStats {
		d.To, d.Since = &d.to, sinceIn(d.Observed, event.Since(duration, b.received))
	}
	if c.Op != diff.Changed {
		return &d.AgentData
	}
	split := s.splitAgent(p)
	if p.part == agentState {
		d.from = e.reader.State(c.Before)
		d.From, d.Changed, d.Reentered = &d.from, split.state, p.reentered
		d.PreviousDuration = e.published.agentStates.Lasted(c.ID, b.lastGap, b.poll, d.Observed)
		if p.reentered {
			d.Changed = []string{}
		}
		if p.both {
			d.After = split.intermediate
		}
	} else if d.Changed = split.stats; p.both {
		d.Before = split.intermediate
	}
	d.Reset = resetCounters(d.Before, d.After)
	return &d.AgentData
}

// splitAgent splits an agent's change, once for both events.
func (s *builder) splitAgent(p *pendingEvent) *agentSplit {
	split, c := &s.split, s.change
	if split.known {
		return split
	}
	split.known = true
	if split.state, split.stats = partition(c.Stats, event.IsStateStat); p.both {
		split.intermediate = c.Before.With(c.After, func(stat string) bool { return !slices.Contains(split.stats, stat) })
	}
	return split
}

// rowData returns the data of an event about a service or about totals.
func (e *Engine) rowData(b *Batch, p *pendingEvent) event.Data {
	base, c := e.entityBase(b, p), e.builder.change
	row := event.RowData{Changed: c.Stats, Before: c.Before, After: c.After, Reset: resetCounters(c.Before, c.After)}
	if c.Kind == event.Service {
		return &event.ServiceData{EntityBase: base, Service: c.ID, RowData: row}
	}
	return &event.TotalsData{EntityBase: base, App: c.ID, RowData: row}
}

// partition moves the names for which first holds before the others, in their order.
func partition(names []string, first func(string) bool) (yes, no []string) {
	n := 0
	for _, name := range names {
		if first(name) {
			n++
		}
	}
	switch n {
	case 0:
		return nil, names
	case len(names):
		return names, nil
	}
	both := make([]string, 0, len(names))
	for _, want := range []bool{true, false} {
		for _, name := range names {
			if first(name) == want {
				both = append(both, name)
			}
		}
	}
	return both[:n:n], both[n:]
}
