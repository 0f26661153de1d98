package bridge

import (
	"slices"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/diff"
)

// stateStats are the statistics whose change is a change of state.
var stateStats = [...]string{"acd_state", "acd_next_state", "reason"}

func isStateStat(name string) bool { return slices.Contains(stateStats[:], name) }

// entityEvents tells the changes of a snapshot, by kind, in their order.
func (e *engine) entityEvents(changes []diff.Change, a bpcc.Answer, gap bool) (agents, services, totals []event) {
	for _, c := range changes {
		switch c.Kind {
		case kindAgent:
			agents = append(agents, e.agentEvents(c, a, gap)...)
		case kindService:
			services = append(services, e.rowEvent(c, a, gap))
		case kindTotals:
			totals = append(totals, e.rowEvent(c, a, gap))
		}
	}
	return agents, services, totals
}

// window bounds a change that this poll shows.
func (e *engine) window(c diff.Change, by time.Time) window {
	w := window{stampOrNull(e.observedUntil), stampBy(by)}
	switch {
	case c.Op == diff.Observed:
		w.After = nil
	case c.Op == diff.Disappeared && !c.SeenUntil.IsZero():
		w.After = stampOrNull(c.SeenUntil)
	}
	return w
}

// agentEvents tells one agent's change: a state and statistics that change in
// one poll are two events, state first, whose images join without a seam.
func (e *engine) agentEvents(c diff.Change, a bpcc.Answer, gap bool) []event {
	gap = gap && c.Op != diff.Observed
	d := agentData{Agent: refOf(c.ID, cmpImage(c.After, c.Before)), Before: c.Before, After: c.After}
	if c.Before != nil {
		from := stateOf(c.Before)
		d.From = &from
	}
	if c.After != nil {
		to := stateOf(c.After)
		d.To, d.Since = &to, since(c.After, a.Received)
	}
	tell := func(verb string, step uint64, d agentData) event {
		ev := e.about("agent", c.ID, verb, a.Received)
		entity, revised := e.revise(ev.subject, step, e.window(c, a.Received), gap)
		d.entityData = entity
		after := d.After
		ev.data, ev.removal = d, c.Op == diff.Disappeared
		ev.applied = func(e *engine) { revised(e); e.state.Set(kindAgent, c.ID, after) }
		return ev
	}
	if c.Op != diff.Changed {
		return []event{tell(string(c.Op), 1, d)}
	}

	stats := slices.DeleteFunc(slices.Clone(c.Stats), isStateStat)
	state := slices.DeleteFunc(slices.Clone(c.Stats), func(s string) bool { return !isStateStat(s) })
	if *d.From == *d.To { // "" and "0" both say logged out
		state = nil
	}
	var out []event
	if len(state) > 0 {
		first := d
		first.Changed = state
		if len(stats) > 0 {
			first.After = c.Before.With(c.After, func(s string) bool { return !slices.Contains(stats, s) })
		}
		out = append(out, tell("state_changed", 1, first))
		d.Before = first.After
	}
	if len(stats) > 0 {
		d.Changed, d.From, d.To, d.Since = stats, nil, nil, ""
		out = append(out, tell("stats_changed", uint64(len(out)+1), d))
	}
	return out
}

// cmpImage returns the first image that there is.
func cmpImage(images ...diff.Image) diff.Image {
	for _, m := range images {
		if m != nil {
			return m
		}
	}
	return nil
}

// rowEvent tells the change of a service or of totals.
func (e *engine) rowEvent(c diff.Change, a bpcc.Answer, gap bool) event {
	verb := string(c.Op)
	if c.Op == diff.Changed {
		verb = "stats_changed"
	}
	if c.Kind == kindTotals && c.Op == diff.Appeared {
		// Totals of an app id newly asked for were there before: a state, not a change.
		verb, c.Op = "observed", diff.Observed
	}
	ev := e.about(string(c.Kind), c.ID, verb, a.Received)
	entity, revised := e.revise(ev.subject, 1, e.window(c, a.Received), gap && c.Op != diff.Observed)
	if c.Kind == kindService {
		ev.data = serviceData{entityData: entity, Service: c.ID, Changed: c.Stats, Before: c.Before, After: c.After}
	} else {
		ev.data = totalsData{entityData: entity, App: c.ID, Changed: c.Stats, Before: c.Before, After: c.After}
	}
	ev.removal = c.Op == diff.Disappeared
	ev.applied = func(e *engine) { revised(e); e.state.Set(c.Kind, c.ID, c.After) }
	return ev
}

// about begins an event on an entity.
func (e *engine) about(kind, id, verb string, at time.Time) event {
	return event{
		name: kind + "." + verb, subject: kind + "." + Token(id) + "." + verb,
		about: kind + "/" + id, at: at,
	}
}
