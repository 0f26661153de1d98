package bpcctest

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"bpcc-nats/bpcc"
)

// dispositionStat is the one agent statistic that is also a total.
const dispositionStat = "calls_dispositions_per_day"

// render returns the body of a data request: compact, only the requested sections, all values text.
// It shows the world at one point in time, with what the fault changes in it.
func (w *World) render(p *plan, s scope, f Fault) []byte {
	v := &view{World: w, scope: s, seed: p.seed, now: w.now(), fault: f}
	if f.Shuffle {
		v.seed = hash(p.seed, strconv.Itoa(f.turn))
	}
	// Some spare capacity, since the response grows with the durations.
	b := append(make([]byte, 0, p.size+p.size/64+64), '{')
	for i, app := range p.apps {
		b = append(b, jsonKey(i, app.id)...)
		b = append(v.app(append(b, '{'), app), '}')
	}
	b = append(b, '}')
	p.size = len(b)
	return b
}

// view is the world as one user sees it at one point in time.
type view struct {
	*World
	scope
	seed  uint64
	now   time.Time
	fault Fault

	agentCounts map[string]*agentCount // by service, see census
	agents      []*agent               // supervised, in the order of this subscription
}

func (v *view) app(b []byte, app planApp) []byte {
	start := len(b)
	section := func(name string) {
		if len(b) > start {
			b = append(b, ',')
		}
		b = append(appendQuoted(b, name), ':')
	}
	if len(app.agents) > 0 {
		section("agent_grids")
		b = append(b, '[')
		for i, g := range app.agents {
			b = appendGrid(b, i, g, v.agentRows(g), func(a *agent) string { return a.Login }, v.agentCell(g), &v.fault)
		}
		b = append(b, ']')
	}
	if len(app.queue) > 0 {
		section("service_grids")
		b = append(b, '[')
		for i, g := range app.queue {
			b = appendGrid(b, i, g, v.serviceRows(g), func(s *service) string { return s.Name }, v.serviceCell(g), &v.fault)
		}
		b = append(b, ']')
	}
	if len(app.totals) > 0 {
		section("stats_totals")
		b = v.stats(b, app)
	}
	if app.ChatMessages != nil {
		section("chat_messages")
		b = v.messages(b, *app.ChatMessages)
	}
	return b
}

// visibleAgents lists the agents that the user may see.
func (v *view) visibleAgents() []*agent {
	if v.agents != nil {
		return v.agents
	}
	type ranked struct {
		hashValue uint64
		*agent
	}
	list := make([]ranked, 0, len(v.World.agents))
	for _, a := range v.World.agents {
		if v.team(a.Team) {
			list = append(list, ranked{hash(v.seed, a.Login), a})
		}
	}
	slices.SortFunc(list, func(a, b ranked) int {
		if a.hashValue != b.hashValue {
			return cmp.Compare(a.hashValue, b.hashValue)
		}
		return strings.Compare(a.Login, b.Login)
	})
	v.agents = make([]*agent, len(list))
	for i, p := range list {
		v.agents[i] = p.agent
	}
	return v.agents
}

func (v *view) agentRows(g planGrid) []*agent {
	if v.fault.empties("agent_grids", g.ID) {
		return nil
	}
	teams, services := idSet(g.TeamIDs), v.serviceNames(idSet(g.ServiceIDs))
	rows := make([]*agent, 0, len(v.visibleAgents()))
	for _, a := range v.visibleAgents() {
		switch {
		case g.LoggedInAgentsOnly && a.state() == "",
			g.MySubteamOnly && v.own != "" && a.Team != v.own,
			teams != nil && !teams[a.teamID],
			services != nil && !a.hasSkill(services):
			continue
		}
		rows = append(rows, a)
	}
	return applyQuery(g, rows, v.agentCell(g))
}

func (v *view) agentCell(g planGrid) func(*agent, int) string {
	return func(a *agent, column int) string {
		c := g.columns[column]
		if len(a.Stats) > 0 {
			if value, ok := a.Stats[c.StatName]; ok {
				return value
			}
		}
		if stat := g.stats[column]; stat != nil {
			return stat(a, c, v.now)
		}
		return ""
	}
}

func (v *view) serviceRows(g planGrid) []*service {
	if v.fault.empties("service_grids", g.ID) {
		return nil
	}
	teams, ids := idSet(g.TeamIDs), idSet(g.ServiceIDs)
	rows := v.servicesOf(v.scope)
	if teams != nil || g.MySubteamOnly && v.own != "" {
		rows = v.servicesFor(func(a *agent) bool {
			return v.team(a.Team) && (teams == nil || teams[a.teamID]) && (!g.MySubteamOnly || v.own == "" || a.Team == v.own)
		}, false)
	}
	rows = slices.DeleteFunc(rows, func(s *service) bool { return ids != nil && !ids[strings.ToUpper(s.ID)] })
	slices.SortFunc(rows, func(a, b *service) int { return compareHashed(v.seed, a.Name, b.Name) })
	return applyQuery(g, rows, v.serviceCell(g))
}

func (v *view) serviceCell(g planGrid) func(*service, int) string {
	l := serviceView{now: v.now, agentCounts: v.countAgents()}
	return func(s *service, column int) string { return l.statText(s, g.columns[column].StatName) }
}

// countAgents counts the agents of each service. It counts all agents of the tenant: the documents
// say that a service's agents may be outside one's teams.
func (v *view) countAgents() map[string]*agentCount {
	if v.agentCounts != nil {
		return v.agentCounts
	}
	v.agentCounts = map[string]*agentCount{}
	for _, a := range v.World.agents {
		state := a.state()
		if state == "" {
			continue
		}
		for _, name := range a.Services {
			h := v.agentCounts[name]
			if h == nil {
				h = &agentCount{}
				v.agentCounts[name] = h
			}
			h.countState(state)
		}
	}
	return v.agentCounts
}

// stats writes the section stats_totals: over the named services, or all that the user supervises;
// over their agents, or all that the user supervises.
func (v *view) stats(b []byte, app planApp) []byte {
	ids := idSet(app.StatsTotalsServiceIDs)
	l := serviceView{now: v.now, agentCounts: v.countAgents(), services: v.servicesOf(v.scope)}
	l.services = slices.DeleteFunc(l.services, func(s *service) bool { return ids != nil && !ids[strings.ToUpper(s.ID)] })
	// Sums of fractions depend on the order of addition; a fixed order gives the same text every
	// time.
	slices.SortFunc(l.services, func(a, b *service) int { return strings.Compare(a.Name, b.Name) })
	names, disposed := v.serviceNames(ids), 0
	for _, a := range v.visibleAgents() {
		if names == nil || a.hasSkill(names) {
			l.allAgents.countState(a.state())
			disposed += a.dispositionCount(app.StatsTotalsDispositions)
		}
	}
	b = append(b, '{')
	for _, t := range app.totals {
		value, overridden := v.totals[t.name]
		switch {
		case overridden:
		case t.name == dispositionStat:
			value = strconv.Itoa(disposed)
		default:
			value = l.totalText(t.name)
		}
		b = appendQuoted(append(b, t.key...), value)
	}
	return append(b, '}')
}

// messages writes the section chat_messages: the newest messages that contain the filter's text,
// newest first.
func (v *view) messages(b []byte, q bpcc.ChatQuery) []byte {
	b = append(b, '[')
	sent := 0
	for _, m := range slices.Backward(v.chat) {
		if q.Limit > 0 && sent == q.Limit {
			break
		}
		if !strings.Contains(m.Content, q.Filter) {
			continue
		}
		if sent++; sent > 1 {
			b = append(b, ',')
		}
		urgent := "0"
		if m.Urgent {
			urgent = "1"
		}
		b = append(b, '{')
		for i, f := range [...][2]string{
			{"id", m.ID}, {"login_id", m.LoginID}, {"first_name", m.FirstName}, {"last_name", m.LastName},
			{"send_time", m.Sent.UTC().Format(time.RFC3339)}, {"is_urgent", urgent}, {"content", m.Content},
		} {
			b = appendQuoted(append(b, jsonKey(i, f[0])...), f[1])
		}
		b = append(b, '}')
	}
	return append(b, ']')
}
