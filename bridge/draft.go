package bridge

import (
	"slices"

	"bpcc-nats/diff"
)

// draft is an event that is yet to be written. A poll may bring ten thousand of
// them, so those about rows are written when they are sent, into memory that the
// next ones use again.
type draft struct {
	event *event // one that is written already; nil = it comes of a change

	change   int32  // index of the batch's changes
	revision uint64 // the last one of the entity, if the state knows it
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
func (e *engine) draft(out []draft, kind diff.Kind, changes *diff.Changes) []draft {
	// Whatever a counter's drop shows of the daily reset holds for all clocks.
	believed := kind == kindAgent && notable(changes) && !reset(changes)
	for i := range changes.Len() {
		switch {
		case changes.Kind(i) != kind:
		case kind == kindAgent && changes.Op(i) == diff.Changed:
			out = e.draftAgent(out, changes, i, believed && changes.Notable(i))
		default:
			out = append(out, draft{change: int32(i), revision: changes.Revision(i)})
		}
	}
	return out
}

// draftAgent tells one agent's change: a state and statistics that change in
// one poll are two events, state first, whose images join without a seam. An
// agent that left its state and came back unseen has changed state too.
func (e *engine) draftAgent(out []draft, changes *diff.Changes, i int, notable bool) []draft {
	stats, n := changes.Stats(i), 0
	for _, name := range stats {
		if isStateStat(name) {
			n++
		}
	}
	d := draft{change: int32(i), revision: changes.Revision(i), state: n > 0 && !e.sameState(changes, i, stats, n)}
	d.reentered = notable && !d.state
	d.state = d.state || d.reentered
	tells := len(stats) > n
	d.both = d.state && tells
	if d.state {
		out = append(out, d)
	}
	if tells {
		out = append(out, draft{change: int32(i), revision: d.revision, stats: true, both: d.both})
	}
	return out
}

// sameState tells whether an agent's state is the same in other words, where n of
// the statistics that differ are of the state: "" and "0" both say logged out.
func (e *engine) sameState(changes *diff.Changes, i int, stats []string, n int) bool {
	if n > 1 || !changes.Brief(i) || !slices.Contains(stats, acdState) || !changes.Now(i).OneOf(acdState, outWords[:]) {
		return false
	}
	c := changes.At(i)
	return e.agents.state(c.Before) == e.agents.state(c.After)
}

// notable tells whether one of the changes is.
func notable(changes *diff.Changes) bool {
	for i := range changes.Len() {
		if changes.Notable(i) {
			return true
		}
	}
	return false
}

// scribe writes drafts. What it has written is good until it writes again.
type scribe struct {
	events   []event
	agents   []agentEvent
	text     []byte // of addresses
	cuts     []int  // where each of them ends
	change   diff.Change
	at       int32 // which of the batch's changes that is, and one more; 0 = none
	halves   halves
	calendar calendar
}

// halves is an agent's change, as it is told in one event or two.
type halves struct {
	known        bool
	state, stats []string
	// between, if there are two, is the image after the state has changed and before
	// the statistics have. The clocks are told with the state.
	between diff.Image
}

// write writes events of a batch.
func (s *scribe) write(e *engine, b *batch, drafts []draft) []event {
	s.events = slices.Grow(s.events[:0], len(drafts))
	s.agents = slices.Grow(s.agents[:0], len(drafts))
	s.text, s.cuts = s.text[:0], slices.Grow(s.cuts[:0], len(drafts))
	root := subjectRoot(e.tenant)
	for i := range drafts {
		s.text = drafts[i].appendAddress(s.text, root, b.changes)
		s.cuts = append(s.cuts, len(s.text))
	}
	addresses, from := string(s.text), 0
	for i := range drafts {
		d := &drafts[i]
		if d.event != nil {
			s.events = append(s.events, *d.event)
			continue
		}
		s.take(b, d)
		c := &s.change
		address, verb := addresses[from:s.cuts[i]], d.verb(c.Kind, c.Op)
		subject := address[len(root):]
		from = s.cuts[i]
		s.events = append(s.events, event{
			name: eventName(c.Kind, verb), subject: subject, address: address, at: b.received,
			revision: revision{key: subject[:len(subject)-1-len(verb)]},
			removal:  c.Op == diff.Disappeared,
			told:     told{c.Kind, c.ID, c.After},
		})
		ev := &s.events[len(s.events)-1]
		if c.Kind == kindAgent {
			s.agent(e, b, d, ev)
		} else {
			s.row(e, b, d, ev)
		}
	}
	return s.events
}

// take makes the change of a draft whole, once for both of its events.
func (s *scribe) take(b *batch, d *draft) {
	if s.at != d.change+1 {
		s.change, s.at, s.halves = b.changes.At(int(d.change)), d.change+1, halves{}
	}
}

// begin forgets the changes of the batch before.
func (s *scribe) begin() { s.change, s.at, s.halves = diff.Change{}, 0, halves{} }

// forget lets go of what was written.
func (s *scribe) forget() {
	clear(s.events[:cap(s.events)])
	clear(s.agents[:cap(s.agents)])
	s.begin()
}

// appendAddress writes the whole subject of an event about a row; root is that of
// the tenant.
func (d *draft) appendAddress(b []byte, root string, changes *diff.Changes) []byte {
	if d.event != nil {
		return b
	}
	i := int(d.change)
	kind := changes.Kind(i)
	b = append(append(append(b, root...), kind...), '.')
	b = append(appendToken(b, changes.ID(i)), '.')
	return append(b, d.verb(kind, changes.Op(i))...)
}

// verb is the last token of the event's subject.
func (d *draft) verb(kind diff.Kind, op diff.Op) string {
	switch {
	case op != diff.Changed:
		return string(toldOp(kind, op))
	case d.state:
		return "state_changed"
	}
	return "stats_changed"
}

// toldOp is what is told to have happened to an entity. Totals of an app id newly
// asked for were there before: a state, not a change.
func toldOp(kind diff.Kind, op diff.Op) diff.Op {
	if kind == kindTotals && op == diff.Appeared {
		return diff.Observed
	}
	return op
}

// entityOf begins the data of an event about a row.
func (s *scribe) entityOf(e *engine, b *batch, d *draft, ev *event) entityData {
	c := &s.change
	op := toldOp(c.Kind, c.Op)
	data := e.entity(e.window(op, c.SeenUntil, b.received), b.gap && op != diff.Observed)
	data.Revision = d.revision + 1
	if c.Before.IsZero() {
		data.Revision = e.revisions[ev.revision.key] + 1
	}
	if d.stats && d.both {
		data.Revision++
	}
	ev.revision.number = data.Revision
	return data
}

// agent writes what an event tells of an agent.
func (s *scribe) agent(e *engine, b *batch, d *draft, ev *event) {
	s.agents = append(s.agents, agentEvent{})
	data, c := &s.agents[len(s.agents)-1], &s.change
	data.entityData = s.entityOf(e, b, d, ev)
	data.Before, data.After = c.Before, c.After
	data.plain = (c.Before.IsZero() || c.Before.Plain()) && (c.After.IsZero() || c.After.Plain())
	ev.data = &data.agentData
	if c.After.IsZero() {
		data.from, data.Agent, _ = e.agents.read(c.ID, c.Before)
		data.From = &data.from
		return
	}
	var held string
	data.to, data.Agent, held = e.agents.read(c.ID, c.After)
	if !d.stats {
		data.To, data.Since = &data.to, s.calendar.since(held, b.received)
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
	p, c := &s.halves, &s.change
	if p.known {
		return p
	}
	p.known = true
	if p.state, p.stats = parted(c.Stats, isStateStat); d.both {
		p.between = c.Before.With(c.After, func(stat string) bool { return !slices.Contains(p.stats, stat) })
	}
	return p
}

// row writes what an event tells of a service or of totals.
func (s *scribe) row(e *engine, b *batch, d *draft, ev *event) {
	entity, c := s.entityOf(e, b, d, ev), &s.change
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
