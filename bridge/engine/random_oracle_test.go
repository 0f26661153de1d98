package engine_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/diff/image"
	"bpcc-nats/diff/layout"
)

// entity identifies an entity.
type entity struct {
	kind image.Kind
	id   string
}

// picture is a row without its clocks and its key, as text; absent if there is none.
type picture string

const absent picture = ""

// truth is the contact centre at a time: it became so after from and by since.
type truth struct {
	from, since time.Time
	pictures    map[entity]picture
}

// answer is a response of the source.
type answer struct {
	sent, received time.Time
	accepted       bool // the engine used it
	stale          bool // it shows an earlier time
	still          bool // it shows the time that the one before shows, if that is stale too
	rows           map[entity][]picture
	clocks         map[string]int // the agents' state_duration
}

// oracle knows what the contact centre was like at any time, and what the source showed. It folds
// the stream and says what in it is not so.
type oracle struct {
	tb     testing.TB
	layout *layout.Layout
	truth  []truth
	// replay is the stream, folded.
	replay map[entity]picture
	// lastPoll is when the last poll was received.
	lastPoll time.Time
	// last is the last answer that shows the centre as it was then.
	last answer
	// hidden is when each published entity that answers do not show was not shown first, and in how
	// many answers since.
	hidden map[entity]hiding
	// freezes are the times in which the source stood still.
	freezes []freeze
	// wrong are pictures that the source showed and that were never so, by the last time.
	wrong map[entity]map[picture]time.Time
	// answers are all that were used, gaps all that are stated.
	answers []answer
	gaps    []event.Window
	// durations counts the events that say how long a state lasted.
	durations int
}

// freeze is a time in which the source stood still: after it was last seen to live, and up to the
// first sight of the picture that it shows from then on.
type freeze struct{ after, sight time.Time }

// hiding is since when, and in how many answers, an entity is not shown.
type hiding struct {
	since   time.Time
	answers int
}

func newOracle(tb testing.TB, l *layout.Layout) *oracle {
	return &oracle{tb: tb, layout: l, replay: map[entity]picture{}, hidden: map[entity]hiding{}, wrong: map[entity]map[picture]time.Time{}}
}

// picture makes the picture of a row from its texts.
func (o *oracle) picture(g *layout.Grid, text func(stat string) string) picture {
	var out strings.Builder
	for _, c := range g.Columns {
		if c.ID != g.Key && !slices.Contains(o.layout.Volatile, c.Stat) {
			out.WriteString(c.Stat + "=" + text(c.Stat) + " ")
		}
	}
	return picture(out.String())
}

// rowsOf reads a response: its rows, and the clocks of the agents.
func (o *oracle) rowsOf(body []byte) (map[entity][]picture, map[string]int) {
	o.tb.Helper()
	var apps map[string]struct {
		Agents   []struct{ Values []row } `json:"agent_grids"`
		Services []struct{ Values []row } `json:"service_grids"`
		Totals   row                      `json:"stats_totals"`
	}
	if err := json.Unmarshal(body, &apps); err != nil {
		o.tb.Fatalf("%v in %s", err, body)
	}
	app, out, clocks := apps["app"], map[entity][]picture{}, map[string]int{}
	for i := range o.layout.Grids {
		g := &o.layout.Grids[i]
		rows := []row{app.Totals}
		switch g.Kind {
		case event.Agent:
			rows = app.Agents[0].Values
		case event.Service:
			rows = app.Services[0].Values
		}
		for _, r := range rows {
			e := entity{g.Kind, r[g.Key]}
			switch g.Kind {
			case event.Totals:
				e.id = g.Entity
			case event.Agent:
				clocks[e.id], _ = strconv.Atoi(r[event.StateDuration]) // "" of who is logged out is 0
			}
			out[e] = append(out[e], o.picture(g, func(stat string) string { return r[stat] }))
		}
	}
	return out, clocks
}

// see takes note of the centre as it is.
func (o *oracle) see(from, since time.Time, body []byte) {
	pictures := map[entity]picture{}
	rows, _ := o.rowsOf(body)
	for e := range rows {
		pictures[e] = rows[e][0]
	}
	if n := len(o.truth); n == 0 || !maps.Equal(o.truth[n-1].pictures, pictures) {
		o.truth = append(o.truth, truth{from, since, pictures})
	}
}

// present lists the entities of a kind that there are.
func (o *oracle) present(kind image.Kind) []string {
	var ids []string
	for e := range o.truth[len(o.truth)-1].pictures {
		if e.kind == kind {
			ids = append(ids, e.id)
		}
	}
	slices.Sort(ids)
	return ids
}

// tolerance is what times lose when they are written in milliseconds.
const tolerance = 2 * time.Millisecond

// during gives the versions of the centre that there were, or may have been, in that time.
func (o *oracle) during(after, by time.Time) []truth {
	first := 0
	for i := range o.truth {
		if i > 0 && o.truth[i].since.Before(after.Add(-tolerance)) {
			first = i
		}
		if o.truth[i].from.After(by.Add(tolerance)) {
			return o.truth[first:i]
		}
	}
	return o.truth[first:]
}

// was reports whether an entity had a picture in that time.
func (o *oracle) was(e entity, p picture, after, by time.Time) bool {
	return slices.ContainsFunc(o.during(after, by), func(v truth) bool { return v.pictures[e] == p })
}

// becameSo reports whether an entity had one picture and then another in that time.
func (o *oracle) becameSo(e entity, before, now picture, after, by time.Time) bool {
	began := false
	for _, v := range o.during(after, by) {
		began = began || v.pictures[e] == before
		if began && v.pictures[e] == now {
			return true
		}
	}
	return false
}

// check checks the events of one poll.
func (o *oracle) check(events []event.Event, a answer) {
	o.tb.Helper()
	o.follow(a)
	o.checkChanges(events, a)
	for i := range events {
		if d, ok := events[i].Data.(*event.ResumedData); ok {
			o.gaps = append(o.gaps, d.Observed)
		}
		if c, ok := events[i].Data.(*event.CheckpointData); ok && c.Part == c.Parts && c.Status == event.StatusLive {
			o.checkCheckpoint(&events[i], c, a)
		}
	}
	if a.accepted {
		o.answers = append(o.answers, a)
	}
	if a.accepted && !a.stale {
		o.last = a
	}
}

// lowerBound is the lower bound of a window that begins at that time. Clocks show that a source stands
// still only after two seconds, and not when it began before the first sight.
func (o *oracle) lowerBound(at time.Time) time.Time {
	for _, f := range o.freezes {
		if !at.Before(f.sight.Add(-tolerance)) && at.Before(f.sight.Add(interval+200*time.Millisecond)) {
			return f.after
		}
	}
	return at
}

// follow takes note of what an answer shows and hides.
func (o *oracle) follow(a answer) {
	switch {
	case a.rows == nil:
		return
	case a.stale:
		if n := len(o.freezes); a.still && (n == 0 || o.freezes[n-1].after != o.last.sent) {
			o.freezes = append(o.freezes, freeze{o.last.sent, a.sent})
		}
		return
	}
	for e := range o.replay {
		h := o.hidden[e]
		if len(a.rows[e]) > 0 {
			delete(o.hidden, e)
			continue
		}
		if h.answers++; h.answers == 1 {
			h.since = a.received
		}
		o.hidden[e] = h
	}
	wrong := func(e entity, p picture) {
		if o.wrong[e] == nil {
			o.wrong[e] = map[picture]time.Time{}
		}
		o.wrong[e][p] = a.received
	}
	for e, rows := range a.rows {
		for _, p := range rows {
			if !o.was(e, p, a.sent, a.received) {
				wrong(e, p)
			}
		}
	}
	for e := range o.truth[len(o.truth)-1].pictures {
		if len(a.rows[e]) == 0 {
			wrong(e, absent)
		}
	}
}

// believable reports whether an entity that is not shown may be published as gone.
func (o *oracle) believable(e entity, a answer) bool {
	h, ok := o.hidden[e]
	if !ok {
		return false
	}
	published, hidden := 0, 0
	for other := range o.replay {
		if other.kind == e.kind {
			published++
			if _, ok := o.hidden[other]; ok {
				hidden++
			}
		}
	}
	return h.answers >= 2 && 2*hidden <= published || a.received.Sub(h.since) >= 30*time.Second-interval
}

// checkChanges checks that each change of a row was so: that the entity had the picture before and
// then the one after in the window. A picture that the source showed of an entity counts if it was
// shown in the window, unless the source showed what was known as well.
func (o *oracle) checkChanges(events []event.Event, a answer) {
	o.tb.Helper()
	before, lastOf := map[entity]picture{}, map[entity]*event.Event{}
	for i := range events {
		ev := &events[i]
		r := ev.Row()
		if r == nil {
			continue
		}
		e, now := o.imageOf(ev)
		if _, seen := before[e]; !seen {
			before[e] = o.replay[e]
		}
		lastOf[e] = ev
		o.checkDetails(ev, e)
		if o.replay[e] = now; now == absent {
			delete(o.replay, e)
		}
	}
	for e, ev := range lastOf {
		window, was, is := ev.EntityBase().Observed, before[e], o.replay[e]
		after, by := window.After.Time, window.By.Time
		if after.IsZero() {
			after = a.sent
			was = is
		}
		after = o.lowerBound(after)
		began := was
		if when, ok := o.wrong[e][was]; ok && !when.Before(after.Add(-tolerance)) {
			began = is // the source showed it, so it counts as so
		}
		switch {
		case is != absent && was != is && slices.Contains(a.rows[e], was):
			o.tb.Errorf("%s: %s: the source showed what was known as well\n %s\n %s", ev.MsgID(), ev.CESubject(), was, is)
		case o.becameSo(e, began, is, after, by):
		case is == absent && o.believable(e, a):
		case is != absent && !a.stale && slices.Contains(a.rows[e], is) && o.wrong[e] != nil && !o.wrong[e][is].IsZero():
		default:
			o.tb.Errorf("%s: %s: not so between %v and %v\n %s\n %s", ev.MsgID(), ev.CESubject(), after, by, was, is)
		}
		if is == absent {
			delete(o.hidden, e)
		}
	}
}

// imageOf gives the entity of an event about a row, and its picture after it.
func (o *oracle) imageOf(ev *event.Event) (entity, picture) {
	e := entity{kind: image.Kind(ev.Kind())}
	switch d := ev.Data.(type) {
	case *event.AgentData:
		e.id = d.Agent.ID
	case *event.ServiceData:
		e.id = d.Service
	case *event.TotalsData:
		e.id = d.App
	}
	after := ev.Row().After
	if after.IsZero() {
		return e, absent
	}
	for i := range o.layout.Grids {
		if g := &o.layout.Grids[i]; g.Kind == e.kind {
			return e, o.picture(g, after.Text)
		}
	}
	return e, absent
}

// checkDetails checks what an event says beside its images.
func (o *oracle) checkDetails(ev *event.Event, e entity) {
	o.tb.Helper()
	window := ev.EntityBase().Observed
	for _, stat := range ev.Row().Reset {
		was, _ := strconv.ParseFloat(ev.Row().Before.Text(stat), 64)
		is, err := strconv.ParseFloat(ev.Row().After.Text(stat), 64)
		if err == nil && is != 0 && is >= was/2 {
			o.tb.Errorf("%s: %s: %s went from %v to %v and is no reset", ev.MsgID(), ev.CESubject(), stat, was, is)
		}
	}
	d, ok := ev.Data.(*event.AgentData)
	if !ok || ev.Verb() != "state_changed" {
		return
	}
	if d.Reentered && !slices.ContainsFunc(o.during(o.lowerBound(window.After.Time), window.By.Time), func(v truth) bool {
		return !strings.Contains(string(v.pictures[e]), "acd_state="+d.To.State+" ")
	}) {
		o.tb.Errorf("%s: %s: never left %s between %v and %v", ev.MsgID(), ev.CESubject(), d.To.State, window.After, window.By)
	}
	o.checkPreviousDuration(ev, e, d)
	const clockTolerance = 2 * time.Second
	if began := d.From == nil || d.Reentered || d.From.State != d.To.State; began && !d.Since.IsZero() && (d.Since.Before(window.After.Add(-clockTolerance)) || d.Since.After(window.By.Add(clockTolerance))) {
		o.tb.Errorf("%s: %s: since %v, but the window is from %v to %v", ev.MsgID(), ev.CESubject(), d.Since, window.After, window.By)
	}
}

// checkCheckpoint checks that the stream holds all changes up to the watermark, or up to when rows
// that are missing were seen last.
func (o *oracle) checkCheckpoint(ev *event.Event, c *event.CheckpointData, a answer) {
	o.tb.Helper()
	until := o.lowerBound(c.ObservedUntil.Time)
	shown := o.last
	if a.accepted && !a.stale {
		shown = a
	}
	all := maps.Clone(o.truth[len(o.truth)-1].pictures)
	maps.Copy(all, o.replay)
	for e := range all {
		p := o.replay[e]
		switch {
		case o.was(e, p, until, a.received):
		case len(shown.rows[e]) == 0 && p == absent: // published as gone, or never seen
		case len(shown.rows[e]) == 0 && !c.MissingSince.IsZero() && o.was(e, p, o.lowerBound(c.MissingSince.Time), a.received):
		case slices.Contains(shown.rows[e], p):
		default:
			o.tb.Errorf("%s: %s %s was not so from %v on (missing since %v)\n %s\n %s", ev.MsgID(), e.kind, e.id, until, c.MissingSince, p, o.truth[len(o.truth)-1].pictures[e])
		}
	}
}

// checkRoundTrip checks that an agent is published that has left its state and come back to it between
// two answers, if its clock was old and the answers show it.
func (w *randomTenant) checkRoundTrip(events []event.Event, a answer) {
	w.t.Helper()
	agent, before := w.awayAndBack, w.last
	w.awayAndBack = ""
	e := entity{event.Agent, agent}
	gap := !before.received.Equal(w.lastPoll)
	w.lastPoll = a.received
	if agent == "" || gap || !a.accepted || a.stale || before.clocks[agent] < 10 || len(before.rows[e]) != 1 || len(a.rows[e]) != 1 {
		return
	}
	resets := 0
	for i := range events {
		if r := events[i].Row(); events[i].Kind() == string(event.Agent) && len(r.Reset) > 0 {
			resets++
		}
	}
	if resets > 1 {
		return // the daily reset may set clocks back
	}
	if !slices.ContainsFunc(events, func(ev event.Event) bool { return ev.Name == "agent.state_changed" && ev.CESubject() == "agent/"+agent }) {
		w.t.Errorf("poll %d: %s left its state of %d s and came back, and it is not published", w.polls, agent, before.clocks[agent])
	}
}

// checkSettled checks that nothing is held back any more.
func (w *randomTenant) checkSettled() {
	w.t.Helper()
	c := w.checkpoint()
	if c.Status != event.StatusLive || c.ObservedUntil.Before(w.last.sent.Add(-tolerance)) {
		w.t.Errorf("after a time without faults the feed is %s and observed until %v", c.Status, c.ObservedUntil)
	}
}
