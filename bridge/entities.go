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
	for name, texts := range diff.Pairs(before, after) {
		if texts[0] == texts[1] || !daily(name) {
			continue
		}
		was, err := strconv.ParseFloat(texts[0], 64)
		if err != nil {
			continue
		}
		is, err := strconv.ParseFloat(texts[1], 64)
		if err == nil && is < was || texts[1] == "" && was > 0 {
			names = append(names, name)
		}
	}
	return names
}

// daily tells whether a statistic counts through the day.
func daily(name string) bool {
	return (strings.HasSuffix(name, "_per_day") || strings.HasPrefix(name, "agent_total_")) &&
		!strings.Contains(name, "average") && !strings.Contains(name, "ratio") && !strings.Contains(name, "percent")
}

func isStateStat(name string) bool { return slices.Contains(stateStats[:], name) }

// reset tells whether a counter's drop among changes shows the daily reset.
func reset(changes []diff.Change) bool {
	return slices.ContainsFunc(changes, func(c diff.Change) bool {
		return c.Op == diff.Changed && len(resets(c.Before, c.After)) > 0
	})
}

// entityEvents tells a snapshot's changes of one kind, in their order.
func (e *engine) entityEvents(out []event, kind diff.Kind, changes []diff.Change, a bpcc.Answer, gap bool) []event {
	// Whatever a counter's drop shows of the daily reset holds for all clocks.
	believed := kind == kindAgent && slices.ContainsFunc(changes, func(c diff.Change) bool { return c.Notable }) && !reset(changes)
	for i := range changes {
		switch c := &changes[i]; {
		case c.Kind != kind:
		case kind == kindAgent:
			out = e.agentEvents(out, c, a, gap, c.Notable && believed)
		default:
			out = append(out, e.rowEvent(c, a, gap))
		}
	}
	return out
}

// window bounds a change that this poll shows.
func (e *engine) window(c *diff.Change, by time.Time) window {
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
	// Most changes of a poll share their window.
	if last := &e.lastWindow; last.text.By == "" || last.after != after || last.by != by {
		*last = boundWindow{after, by, between(after, by)}
	}
	return e.lastWindow.text
}

// boundWindow is a window and the instants that bound it.
type boundWindow struct {
	after, by time.Time
	text      window
}

// agentEvents tells one agent's change: a state and statistics that change in
// one poll are two events, state first, whose images join without a seam. An
// agent that left its state and came back unseen has changed state too.
func (e *engine) agentEvents(out []event, c *diff.Change, a bpcc.Answer, gap, reentered bool) []event {
	common := e.entity(e.window(c, a.Received), gap && c.Op != diff.Observed)
	before, after := c.Before, c.After
	var from, to agentState
	var ref agentRef
	var held string
	if after.IsZero() {
		from, ref, _ = agentOf(c.ID, before)
	} else {
		to, ref, held = agentOf(c.ID, after)
	}
	if c.Op != diff.Changed {
		d := &agentEvent{from: from, to: to}
		d.Agent = ref
		if !before.IsZero() {
			d.From = &d.from
		}
		if !after.IsZero() {
			d.To, d.Since = &d.to, since(held, a.Received)
		}
		return append(out, e.tell(c, string(c.Op), a.Received, common, before, after, d))
	}

	state, stats := parted(c.Stats, isStateStat)
	if len(state) > 0 || reentered {
		if from = stateOf(before); from == to { // "" and "0" both say logged out
			state = nil
		}
		reentered = reentered && len(state) == 0
	}
	if len(state) > 0 || reentered {
		d := &agentEvent{from: from, to: to}
		d.Agent, d.From, d.To, d.Since = ref, &d.from, &d.to, since(held, a.Received)
		d.Changed, d.Reentered = orEmpty(state), reentered
		between := after
		if len(stats) > 0 {
			between = before.With(after, func(s string) bool { return !slices.Contains(stats, s) })
		}
		out = append(out, e.tell(c, "state_changed", a.Received, common, before, between, d))
		before = between
		common.Revision++
	}
	if len(stats) > 0 {
		d := &agentEvent{}
		d.Agent, d.Changed, d.Reset = ref, stats, resets(before, after)
		out = append(out, e.tell(c, "stats_changed", a.Received, common, before, after, d))
	}
	return out
}

// tell completes an agent's event. The revision in common counts the events that
// the same batch tells of it before.
func (e *engine) tell(c *diff.Change, verb string, at time.Time, common entityData, before, after diff.Image, d *agentEvent) event {
	ev := e.about(kindAgent, c.ID, verb, at)
	d.entityData, d.Before, d.After = common, before, after
	d.Revision += e.lastRevision(c, ev.revision.key) + 1
	ev.revision.number = d.Revision
	ev.data, ev.removal = &d.agentData, c.Op == diff.Disappeared
	ev.told = told{kindAgent, c.ID, after}
	return ev
}

// lastRevision is the number of the last event about a row's entity that the
// stream holds; 0 if it holds none.
func (e *engine) lastRevision(c *diff.Change, key string) uint64 {
	if c.Before.IsZero() {
		return e.revisions[key]
	}
	return c.Revision
}

// parted parts names in two, in their order.
func parted(names []string, first func(string) bool) (yes, no []string) {
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

// rowEvent tells the change of a service or of totals.
func (e *engine) rowEvent(c *diff.Change, a bpcc.Answer, gap bool) event {
	verb, op := string(c.Op), c.Op
	if op == diff.Changed {
		verb = "stats_changed"
	}
	if c.Kind == kindTotals && op == diff.Appeared {
		// Totals of an app id newly asked for were there before: a state, not a change.
		verb, op = "observed", diff.Observed
	}
	ev := e.about(c.Kind, c.ID, verb, a.Received)
	entity := e.entity(e.window(&diff.Change{Op: op, SeenUntil: c.SeenUntil}, a.Received), gap && op != diff.Observed)
	entity.Revision = e.lastRevision(c, ev.revision.key) + 1
	ev.revision.number = entity.Revision
	reset := resets(c.Before, c.After)
	if c.Kind == kindService {
		ev.data = &serviceData{entityData: entity, Service: c.ID, Changed: c.Stats, Before: c.Before, After: c.After, Reset: reset}
	} else {
		ev.data = &totalsData{entityData: entity, App: c.ID, Changed: c.Stats, Before: c.Before, After: c.After, Reset: reset}
	}
	ev.removal = op == diff.Disappeared
	ev.told = told{c.Kind, c.ID, c.After}
	return ev
}

// entity begins the data of an event about an entity, as yet without a revision.
func (e *engine) entity(w window, gap bool) entityData {
	return entityData{common: e.common(), Observed: w, AfterGap: gap}
}

// about begins an event on an entity of the view, as yet without its revision's
// number and what it tells.
func (e *engine) about(kind diff.Kind, id, verb string, at time.Time) event {
	subject := string(kind) + "." + Token(id) + "." + verb
	return event{
		name: eventName(kind, verb), subject: subject, at: at,
		revision: revision{key: subject[:len(subject)-1-len(verb)]},
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
