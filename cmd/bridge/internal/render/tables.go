package render

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/state"
	"bpcc-nats/cmd/bridge/internal/console"
)

// tenant writes what the view holds of one tenant, now or, if past is set, at an instant in the past.
type tenant struct {
	*state.Tenant
	past bool
}

// WriteView writes the view for people, with the agents that are logged out if all is set.
func WriteView(c *console.Console, view *state.View, all bool) {
	if view.Lag > 0 {
		c.Printf("%s the view is %d message(s) behind the stream: the data below is old\n\n",
			c.Paint(console.Red, "BEHIND"), view.Lag)
	}
	writeTenants(c, view, all, false)
}

// WritePast writes the view of an instant in the past.
func WritePast(c *console.Console, view *state.View, all bool) { writeTenants(c, view, all, true) }

func writeTenants(c *console.Console, view *state.View, all, past bool) {
	for i, t := range view.Tenants {
		if i > 0 {
			c.Printf("\n")
		}
		p := tenant{t, past}
		p.write(c, view.At, all)
	}
}

func (p *tenant) write(c *console.Console, now time.Time, all bool) {
	if p.past {
		c.Printf("%s  %s\n", p.Tenant.Tenant, statusLineAt(&p.Feed, c, now))
		p.writeUnknown(c)
	} else {
		c.Printf("%s  %s\n", p.Tenant.Tenant, statusLine(&p.Feed, c))
	}
	if p.Incomplete() && !p.past {
		c.Printf("%s the view holds %d of %d agents and %d of %d services: a running bridge publishes again what is missing\n",
			c.Paint(console.Red, "INCOMPLETE"), len(p.Agents), p.Feed.Agents, len(p.Services), p.Feed.Services)
	}
	p.writeThresholds(c, now)
	p.writeServices(c)
	p.writeAgents(c, now, all)
}

// statusLine says whether the snapshot can be trusted.
func statusLine(f *state.Feed, c *console.Console) console.Safe {
	age := "nothing observed yet"
	if f.ObservedUntil != nil {
		age = fmt.Sprintf("as of %s, %v ago", console.FormatTime(*f.ObservedUntil), humanDuration(time.Duration(f.AgeSeconds*float64(time.Second))))
	}
	who := fmt.Sprintf("epoch %d, poll %d, %s", f.Epoch, f.Poll, f.Instance)
	switch {
	case f.Fresh:
		return console.Safef("%s  %s  (%s)", c.Paint(console.Green, "LIVE"), age, who)
	case f.Status == "live":
		return console.Safef("%s  status live, but %s: do not trust the data below  (%s)", c.Paint(console.Red, "OLD"), age, who)
	case f.Status == "":
		return console.Safef("%s  the view has no checkpoint: do not trust the data below", c.Paint(console.Red, "NO FEED"))
	}
	return console.Safef("%s  %s: do not trust the data below  (%s)", c.Paint(console.Red, strings.ToUpper(f.Status)), age, who)
}

func (p *tenant) writeThresholds(c *console.Console, now time.Time) {
	t := p.table("RAISED", "SEVERITY", "ON", "VALUE", "LIMIT", "FOR")
	for _, x := range p.Thresholds {
		d, ok := x.Event.Data.(*event.ThresholdData)
		if !ok {
			continue
		}
		colour := console.Yellow
		if d.Severity == "critical" {
			colour = console.Red
		}
		lasted := "–"
		if !x.Time.IsZero() && x.Unknown == nil {
			lasted = humanDuration(now.Sub(x.Time))
		}
		p.add(&t, &x, colour, d.Rule, d.Severity, d.Entity.ID, d.Stat+" "+console.OrDash(thresholdValue(d)), fmt.Sprintf("%s %v", d.Op, d.Limit), lasted)
	}
	t.Write(c)
}

// table returns a table, with columns for what is certain of an instant in the past.
func (p *tenant) table(head ...string) console.Table {
	if p.past {
		head = append(head, "CERTAIN FROM", "UNTIL")
	}
	return console.Table{Head: head}
}

// add adds a row to a table.
func (p *tenant) add(t *console.Table, x *state.Entry, colour string, cells ...string) {
	if p.past {
		span := certainty(x)
		cells = append(cells, span[:]...)
	}
	t.Add(colour, cells...)
}

// mainStats are the statistics of services and totals that a table shows, with short
// headings; of other subscriptions it shows the first few.
var mainStats = [][2]string{
	{"in_calls_waiting", "WAITING"}, {"in_max_wait_time", "LONGEST"}, {"in_calls_received_per_day", "RECEIVED"},
	{"in_calls_queued_per_day", "QUEUED"}, {"in_calls_abandoned_in_queue_per_day", "ABANDONED"}, {"service_level", "LEVEL"},
	{"agents_logged", "LOGGED IN"}, {"agents_ready", "READY"}, {"agents_busy", "BUSY"},
}

const maxColumns = 6

// columnsOf chooses the statistics that a table of these entities shows.
func columnsOf(list []state.Entry) (stats, headings []string) {
	has := map[string]bool{}
	for _, x := range list {
		for name := range x.Image().All() {
			has[name] = true
		}
	}
	for _, n := range mainStats {
		if has[n[0]] {
			stats, headings = append(stats, n[0]), append(headings, n[1])
		}
	}
	if len(stats) > 0 {
		return stats, headings
	}
	for _, name := range slices.Sorted(maps.Keys(has)) {
		if name != "name" && len(stats) < maxColumns {
			stats, headings = append(stats, name), append(headings, name)
		}
	}
	return stats, headings
}

func (p *tenant) writeServices(c *console.Console) {
	available, checks := map[string]*bool{}, map[string]state.Entry{}
	rows := slices.Clone(p.Services)
	for _, x := range p.Availability {
		available[x.ID], checks[x.ID] = x.Event.Availability().Available, x
		if !slices.ContainsFunc(rows, func(s state.Entry) bool { return s.ID == x.ID }) { // without a row in a grid
			rows = append(rows, state.Entry{ID: x.ID, Certain: x.Certain, Unknown: x.Unknown})
		}
	}
	slices.SortFunc(rows, func(a, b state.Entry) int { return cmp.Compare(a.ID, b.ID) })
	stats, headings := columnsOf(p.Services)
	services := p.table(append([]string{"SERVICE", "AVAILABLE"}, headings...)...)
	for _, x := range rows {
		colour, can := "", "–"
		if yes, known := available[x.ID]; known {
			can = yesNo(yes)
			if yes != nil && checks[x.ID].Unknown != nil {
				can += "?"
			}
		}
		if can == "no" || can == "unknown" {
			colour = console.Yellow
		}
		p.add(&services, &x, colour, append([]string{x.ID, can}, statTexts(&x, stats)...)...)
	}
	services.Write(c)
	stats, headings = columnsOf(p.Totals)
	totals := p.table(append([]string{"TOTALS"}, headings...)...)
	for _, x := range p.Totals {
		p.add(&totals, &x, "", append([]string{x.ID}, statTexts(&x, stats)...)...)
	}
	totals.Write(c)
}

func statTexts(x *state.Entry, stats []string) []string {
	var out []string
	for _, s := range stats {
		out = append(out, console.OrDash(x.Image().Text(s)))
	}
	return out
}

// stateOrder is the order of states in the table: those at work first.
var stateOrder = []string{"ready", "busy", "after_call_work", "not_ready"}

// agentRow is what the table shows of an agent.
type agentRow struct {
	state.Entry
	ref   event.AgentRef
	now   event.AgentState
	since string // for how long the agent has been in the state
}

func (p *tenant) writeAgents(c *console.Console, now time.Time, all bool) {
	count := map[string]int{}
	t := p.table("AGENT", "NAME", "STATE", "FOR", "TEAM")
	reader := event.NewAgentReader()
	var rows []agentRow
	for _, x := range p.Agents {
		if d, ok := x.Event.Data.(*event.AgentData); ok {
			rows = append(rows, agentRow{x, d.Agent, reader.State(d.After), inState(&x, now)})
		}
	}
	slices.SortStableFunc(rows, func(a, b agentRow) int {
		return cmp.Or(stateRank(a.now.State)-stateRank(b.now.State), cmp.Compare(a.now.State, b.now.State), cmp.Compare(a.ID, b.ID))
	})
	for _, x := range rows {
		state := x.now.State
		count[state]++
		if state == event.LoggedOut && !all && len(x.Or) == 0 {
			continue
		}
		colour := map[string]string{"ready": console.Green, "not_ready": console.Yellow, event.LoggedOut: console.Faint}[state]
		p.add(&t, &x.Entry, colour, x.ID, x.ref.Name, orStates(&x.Entry, reader, stateText(&x.now)), x.since, x.ref.Team)
	}
	var parts []string
	for _, state := range slices.SortedFunc(slices.Values(slices.Sorted(maps.Keys(count))), func(a, b string) int { return stateRank(a) - stateRank(b) }) {
		parts = append(parts, fmt.Sprintf("%d %s", count[state], cmp.Or(state, "without a state")))
	}
	c.Printf("\n%d agents: %s\n", len(p.Agents), cmp.Or(strings.Join(parts, ", "), "none"))
	t.Write(c)
}

func stateRank(state string) int {
	if state == event.LoggedOut {
		return len(stateOrder) + 1
	}
	if i := slices.Index(stateOrder, state); i >= 0 {
		return i
	}
	return len(stateOrder)
}

// inState is how long an agent has been in its state: the duration in its last
// image, and the time since.
func inState(x *state.Entry, now time.Time) string {
	d, known := event.Seconds(x.Image().Text(event.StateDuration))
	if !known || x.Time.IsZero() || x.Unknown != nil {
		return "–"
	}
	return humanDuration(d + now.Sub(x.Time))
}

// humanDuration writes a duration in two units at most.
func humanDuration(d time.Duration) string {
	switch d = d.Abs(); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}
