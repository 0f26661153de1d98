package bridge

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/diff"
)

// stateStats are the statistics whose change is a change of state.
var stateStats = [...]string{"acd_state", "acd_next_state", "reason"}

// roundTripSlack allows for whole seconds on both ends of state_duration, and
// for the instant of the sample inside the request.
const roundTripSlack = 2 * time.Second

// roundTrip makes the test for an agent that left its state and came back to it
// between two polls: the clock of the state has gone back, or is younger than
// the poll before. It is not asked over a gap, nor when the source served the
// same body again, nor where the daily reset has set clocks back.
func (e *engine) roundTrip(a bpcc.Answer) *diff.Notable {
	elapsed := a.Sent.Sub(e.lastSight)
	anew := func(before, after time.Duration) bool {
		return before-after > roundTripSlack || elapsed-after > roundTripSlack
	}
	return &diff.Notable{
		Clock: func(before, after int) bool {
			return anew(time.Duration(before)*time.Second, time.Duration(after)*time.Second)
		},
		Images: func(kind diff.Kind, seen, now diff.Image) bool {
			state := stateOf(now)
			if kind != kindAgent || state != stateOf(seen) || state.State == "" || state.State == loggedOut {
				return false
			}
			before, knownBefore := seconds(seen.Text("state_duration"))
			after, known := seconds(now.Text("state_duration"))
			return known && knownBefore && anew(before, after) && len(resets(seen, now)) == 0
		},
	}
}

// seconds reads a duration as the source writes them.
func seconds(text string) (time.Duration, bool) {
	n, err := strconv.Atoi(text)
	return time.Duration(n) * time.Second, err == nil && n >= 0
}

// resets names the counters of the day that have dropped: the tenant's daily
// reset. Averages, ratios and shares may drop at any time.
func resets(before, after diff.Image) []string {
	var names []string
	for _, s := range after {
		daily := strings.HasSuffix(s.Name, "_per_day") || strings.HasPrefix(s.Name, "agent_total_")
		if !daily || strings.Contains(s.Name, "average") || strings.Contains(s.Name, "ratio") || strings.Contains(s.Name, "percent") {
			continue
		}
		was, err := strconv.ParseFloat(before.Text(s.Name), 64)
		if err != nil {
			continue
		}
		is, err := strconv.ParseFloat(s.Text, 64)
		if err == nil && is < was || s.Text == "" && was > 0 {
			names = append(names, s.Name)
		}
	}
	return names
}

func isStateStat(name string) bool { return slices.Contains(stateStats[:], name) }

// entityEvents tells the changes of a snapshot, by kind, in their order.
func (e *engine) entityEvents(changes []diff.Change, a bpcc.Answer, gap bool) (agents, services, totals []event) {
	// Whatever a counter's drop shows of the daily reset holds for all clocks.
	reset := slices.ContainsFunc(changes, func(c diff.Change) bool { return c.Op == diff.Changed && len(resets(c.Before, c.After)) > 0 })
	for _, c := range changes {
		switch c.Kind {
		case kindAgent:
			agents = append(agents, e.agentEvents(c, a, gap, c.Notable && !reset)...)
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
	after := e.observedUntil
	switch {
	case c.Op == diff.Observed:
		after = time.Time{}
	case c.Op == diff.Appeared: // the poll before did not show it
	case c.SeenUntil.IsZero():
		after = e.recalledUntil // last seen in an earlier term
	default:
		after = c.SeenUntil // the poll before, unless that did not show it
	}
	return between(after, by)
}

// agentEvents tells one agent's change: a state and statistics that change in
// one poll are two events, state first, whose images join without a seam. An
// agent that left its state and came back unseen has changed state too.
func (e *engine) agentEvents(c diff.Change, a bpcc.Answer, gap, reentered bool) []event {
	gap = gap && c.Op != diff.Observed
	d := agentData{Agent: refOf(c.ID, c.Before), Before: c.Before, After: c.After}
	if c.Before != nil {
		from := stateOf(c.Before)
		d.From = &from
	}
	if c.After != nil {
		d.Agent = refOf(c.ID, c.After)
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
	reentered = reentered && len(state) == 0
	var out []event
	if len(state) > 0 || reentered {
		first := d
		first.Changed, first.Reentered = orEmpty(state), reentered
		if len(stats) > 0 {
			first.After = c.Before.With(c.After, func(s string) bool { return !slices.Contains(stats, s) })
		}
		out = append(out, tell("state_changed", 1, first))
		d.Before = first.After
	}
	if len(stats) > 0 {
		d.Changed, d.From, d.To, d.Since = stats, nil, nil, ""
		d.Reset = resets(d.Before, d.After)
		out = append(out, tell("stats_changed", uint64(len(out)+1), d))
	}
	return out
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
		ev.data = serviceData{entityData: entity, Service: c.ID, Changed: c.Stats, Before: c.Before, After: c.After, Reset: resets(c.Before, c.After)}
	} else {
		ev.data = totalsData{entityData: entity, App: c.ID, Changed: c.Stats, Before: c.Before, After: c.After, Reset: resets(c.Before, c.After)}
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
