package bridge

import (
	"slices"

	"bpcc-nats/diff"
)

// draft is an event that is yet to be written. A poll may bring ten thousand of
// them, so those about rows are written when the part is stored that they are in,
// into memory that the next part uses again.
type draft struct {
	event *event // one that is written already; nil = it comes of a change

	change *diff.Change
	// Of an agent that has changed they tell which of its two events this is, and
	// whether the other one is told too.
	state, stats, both bool
	reentered          bool // the state is told because it was entered anew, unseen
}

// ready makes drafts of events that need no more writing.
func ready(events []event) []draft {
	out := make([]draft, len(events))
	for i := range events {
		out[i].event = &events[i]
	}
	return out
}

// draft adds what there is to tell of a snapshot's changes of one kind, in their
// order.
func (e *engine) draft(out []draft, kind diff.Kind, changes []diff.Change) []draft {
	// Whatever a counter's drop shows of the daily reset holds for all clocks.
	believed := kind == kindAgent && slices.ContainsFunc(changes, func(c diff.Change) bool { return c.Notable }) && !reset(changes)
	for i := range changes {
		switch c := &changes[i]; {
		case c.Kind != kind:
		case kind == kindAgent && c.Op == diff.Changed:
			out = e.draftAgent(out, c, c.Notable && believed)
		default:
			out = append(out, draft{change: c})
		}
	}
	return out
}

// draftAgent tells one agent's change: a state and statistics that change in
// one poll are two events, state first, whose images join without a seam. An
// agent that left its state and came back unseen has changed state too.
func (e *engine) draftAgent(out []draft, c *diff.Change, notable bool) []draft {
	n := 0
	for _, name := range c.Stats {
		if isStateStat(name) {
			n++
		}
	}
	d := draft{change: c, state: n > 0 && !e.sameState(c)}
	d.reentered = notable && !d.state
	d.state = d.state || d.reentered
	stats := len(c.Stats) > n
	d.both = d.state && stats
	if d.state {
		out = append(out, d)
	}
	if stats {
		out = append(out, draft{change: c, stats: true, both: d.both})
	}
	return out
}

// sameState tells whether an agent's state is the same in other words: "" and "0"
// both say logged out.
func (e *engine) sameState(c *diff.Change) bool {
	return e.agents.state(c.Before) == e.agents.state(c.After)
}

// scribe writes drafts. What it has written is good until it writes again.
type scribe struct {
	events []event
	agents []agentEvent
	text   []byte // of subjects
	cuts   []int  // where each of them ends
	halves halves
}

// halves is an agent's change, as it is told in one event or two.
type halves struct {
	change       *diff.Change
	state, stats []string
	// between, if there are two, is the image after the state has changed and before
	// the statistics have. The clocks are told with the state.
	between diff.Image
}

// write writes events of a batch, with room for its checkpoint behind them.
func (s *scribe) write(e *engine, b *batch, drafts []draft) []event {
	s.events = slices.Grow(s.events[:0], len(drafts)+1)
	s.agents = slices.Grow(s.agents[:0], len(drafts))
	s.text, s.cuts = s.text[:0], slices.Grow(s.cuts[:0], len(drafts))
	for i := range drafts {
		s.text = drafts[i].appendSubject(s.text)
		s.cuts = append(s.cuts, len(s.text))
	}
	subjects, from := string(s.text), 0
	for i := range drafts {
		d := &drafts[i]
		if d.event != nil {
			s.events = append(s.events, *d.event)
			continue
		}
		subject, verb := subjects[from:s.cuts[i]], d.verb()
		from = s.cuts[i]
		ev := event{
			name: eventName(d.change.Kind, verb), subject: subject, at: b.received,
			revision: revision{key: subject[:len(subject)-1-len(verb)]},
			removal:  d.change.Op == diff.Disappeared,
			told:     told{d.change.Kind, d.change.ID, d.change.After},
		}
		if d.change.Kind == kindAgent {
			s.agent(e, b, d, &ev)
		} else {
			s.row(e, b, d, &ev)
		}
		s.events = append(s.events, ev)
	}
	return s.events
}

// forget lets go of what was written.
func (s *scribe) forget() {
	clear(s.events[:cap(s.events)])
	clear(s.agents[:cap(s.agents)])
	s.halves = halves{}
}

// appendSubject writes the subject below the tenant of an event about a row.
func (d *draft) appendSubject(b []byte) []byte {
	if d.event != nil {
		return b
	}
	b = append(append(b, d.change.Kind...), '.')
	b = append(append(b, Token(d.change.ID)...), '.')
	return append(b, d.verb()...)
}

// verb is the last token of the event's subject.
func (d *draft) verb() string {
	switch {
	case d.change.Op != diff.Changed:
		return string(d.op())
	case d.state:
		return "state_changed"
	}
	return "stats_changed"
}

// op is what happened to the entity. Totals of an app id newly asked for were
// there before: a state, not a change.
func (d *draft) op() diff.Op {
	if d.change.Kind == kindTotals && d.change.Op == diff.Appeared {
		return diff.Observed
	}
	return d.change.Op
}

// entityOf begins the data of an event about a row.
func (e *engine) entityOf(b *batch, d *draft, ev *event) entityData {
	op := d.op()
	data := e.entity(e.window(op, d.change.SeenUntil, b.received), b.gap && op != diff.Observed)
	data.Revision = e.lastRevision(d.change, ev.revision.key) + 1
	if d.stats && d.both {
		data.Revision++
	}
	ev.revision.number = data.Revision
	return data
}

// agent writes what an event tells of an agent.
func (s *scribe) agent(e *engine, b *batch, d *draft, ev *event) {
	s.agents = append(s.agents, agentEvent{})
	data, c := &s.agents[len(s.agents)-1], d.change
	data.entityData = e.entityOf(b, d, ev)
	data.Before, data.After = c.Before, c.After
	ev.data = &data.agentData
	if c.After.IsZero() {
		data.from, data.Agent, _ = e.agents.read(c.ID, c.Before)
		data.From = &data.from
		return
	}
	var held string
	data.to, data.Agent, held = e.agents.read(c.ID, c.After)
	if !d.stats {
		data.To, data.Since = &data.to, since(held, b.received)
	}
	if c.Op != diff.Changed {
		return
	}
	p := s.part(d)
	if d.state {
		data.from = e.agents.state(c.Before)
		data.From, data.Changed, data.Reentered = &data.from, p.state, d.reentered
		if d.reentered {
			data.Changed = []string{}
		}
		if d.both {
			data.After, ev.told.after = p.between, p.between
		}
		return
	}
	if data.Changed = p.stats; d.both {
		data.Before = p.between
	}
	data.Reset = resets(data.Before, data.After)
}

// part parts an agent's change, once for both events.
func (s *scribe) part(d *draft) *halves {
	p, c := &s.halves, d.change
	if p.change == c {
		return p
	}
	*p = halves{change: c}
	if p.state, p.stats = parted(c.Stats, isStateStat); d.both {
		p.between = c.Before.With(c.After, func(stat string) bool { return !slices.Contains(p.stats, stat) })
	}
	return p
}

// row writes what an event tells of a service or of totals.
func (s *scribe) row(e *engine, b *batch, d *draft, ev *event) {
	entity, c := e.entityOf(b, d, ev), d.change
	reset := resets(c.Before, c.After)
	if c.Kind == kindService {
		ev.data = &serviceData{entityData: entity, Service: c.ID, Changed: c.Stats, Before: c.Before, After: c.After, Reset: reset}
	} else {
		ev.data = &totalsData{entityData: entity, App: c.ID, Changed: c.Stats, Before: c.Before, After: c.After, Reset: reset}
	}
}

// eventName is kind.verb, for the most frequent ones without making a text.
func eventName(kind diff.Kind, verb string) string {
	switch {
	case kind == kindAgent && verb == "state_changed":
		return "agent.state_changed"
	case kind == kindAgent && verb == "stats_changed":
		return "agent.stats_changed"
	case kind == kindService && verb == "stats_changed":
		return "service.stats_changed"
	}
	return string(kind) + "." + verb
}
