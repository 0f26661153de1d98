package source

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"bpcc-nats/bpcc"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/rule"
	"bpcc-nats/diff/image"
)

// statRef is a statistic that a server can refuse, in sections of one kind, by the name under which it
// is published. Section chat_messages has no statistics.
type statRef struct{ section, name string }

const (
	agentGrids   = "agent_grids"
	serviceGrids = "service_grids"
	statsTotals  = "stats_totals"
	chatMessages = "chat_messages"
)

func columnStatRef(section string, c bpcc.Column) statRef {
	return statRef{section, config.ColumnName(c)}
}

func (s statRef) String() string {
	if s.section == chatMessages {
		return chatMessages
	}
	return s.name
}

// RefusedStats are the statistics that a server refuses, by kind, under the names by which they
// would be published.
type RefusedStats map[image.Kind][]string

// with returns a copy with more statistics.
func (r RefusedStats) with(refused []statRef) RefusedStats {
	out := RefusedStats{}
	for kind, stats := range r {
		out[kind] = slices.Clone(stats)
	}
	kinds := map[string]image.Kind{agentGrids: event.Agent, serviceGrids: event.Service, statsTotals: event.Totals}
	for _, s := range refused {
		if kind, ok := kinds[s.section]; ok {
			out[kind] = append(out[kind], s.String())
		}
	}
	return out
}

// rules names the rules that read a refused statistic.
func (r RefusedStats) rules(rules []rule.Rule) []string {
	var names []string
	for i := range rules {
		if rules[i].ReadsAny(r) {
			names = append(names, rules[i].Name)
		}
	}
	return names
}

// requirements are the statistics of a plan.
type requirements struct {
	// required ones identify, filter or cut the rows of a grid, which is useless without them;
	// optional ones can be omitted. Both in the order of the plan.
	required, optional []statRef
	usages             map[statRef][]string
	published          map[statRef]bool
}

// requirementsOf lists the statistics that a plan subscribes to.
func requirementsOf(p Plan) requirements {
	d := requirements{usages: map[statRef][]string{}, published: map[statRef]bool{}}
	required := map[statRef]bool{}
	var all []statRef
	add := func(s statRef, published bool, usage string, args ...any) {
		if d.usages[s] == nil {
			all = append(all, s)
		}
		d.usages[s] = append(d.usages[s], fmt.Sprintf(usage, args...))
		d.published[s] = d.published[s] || published
	}
	for _, wireID := range slices.Sorted(maps.Keys(p.Wire)) {
		app, id := p.Wire[wireID], wireID[:strings.LastIndex(wireID, AppIDSeparator)]
		for _, section := range []string{agentGrids, serviceGrids} {
			kind, grids := "agent", app.AgentGrids
			if section == serviceGrids {
				kind, grids = "service", app.ServiceGrids
			}
			for _, g := range grids {
				key, hidden := p.rowKey(wireID, section, g.ID)
				for _, c := range g.Columns {
					s := columnStatRef(section, c)
					cut := g.Limit > 0 && slices.ContainsFunc(g.Order, func(o bpcc.Order) bool { return o.By == c.ID })
					required[s] = required[s] || c.ID == key || c.ID == g.FilterBy || cut
					add(s, c.ID != key || !hidden, "app %q, %s grid %q, column %q", id, kind, g.ID, c.ID)
				}
			}
		}
		for _, name := range app.StatsTotals {
			add(statRef{section: statsTotals, name: name}, true, "app %q, stats_totals", id)
		}
		if app.ChatMessages != nil {
			add(statRef{section: chatMessages}, true, "app %q", id)
		}
	}
	for _, s := range all {
		if required[s] {
			d.required = append(d.required, s)
		} else {
			d.optional = append(d.optional, s)
		}
	}
	return d
}

// rowKey returns the column that identifies the rows of a grid, and whether it was added only for
// that.
func (p Plan) rowKey(app, section, grid string) (column string, hidden bool) {
	for _, g := range p.Layout.Grids {
		if g.App != app || g.Section != section || g.ID != grid {
			continue
		}
		for _, c := range g.Columns {
			if c.ID == g.Key {
				return g.Key, c.Stat == ""
			}
		}
	}
	return "", false
}

// describeUsages lists statistics with every place in the subscription.
func (d requirements) describeUsages(list []statRef) string {
	texts := make([]string, len(list))
	for i, s := range list {
		texts[i] = fmt.Sprintf("%s (%s)", strconv.Quote(s.String()), strings.Join(d.usages[s], "; "))
	}
	return strings.Join(texts, ", ")
}

// subset returns a part of a subscription: the statistics that keep accepts and, in grids that have
// one of these, those that alsoKeep accepts too.
func subset(sub bpcc.Subscription, keep, alsoKeep func(statRef) bool) bpcc.Subscription {
	out := bpcc.Subscription{}
	for id, app := range sub {
		app.AgentGrids = subsetGrids(agentGrids, app.AgentGrids, keep, alsoKeep)
		app.ServiceGrids = subsetGrids(serviceGrids, app.ServiceGrids, keep, alsoKeep)
		app.StatsTotals = slices.DeleteFunc(slices.Clone(app.StatsTotals), func(name string) bool {
			return !keep(statRef{section: statsTotals, name: name})
		})
		if len(app.StatsTotals) == 0 {
			app.StatsTotalsServiceIDs, app.StatsTotalsDispositions = nil, nil
		}
		if !keep(statRef{section: chatMessages}) {
			app.ChatMessages = nil
		}
		if len(app.AgentGrids)+len(app.ServiceGrids)+len(app.StatsTotals) > 0 || app.ChatMessages != nil {
			out[id] = app
		}
	}
	return out
}

func subsetGrids(section string, grids []bpcc.Grid, keep, alsoKeep func(statRef) bool) []bpcc.Grid {
	var out []bpcc.Grid
	for _, g := range grids {
		if !slices.ContainsFunc(g.Columns, func(c bpcc.Column) bool { return keep(columnStatRef(section, c)) }) {
			continue
		}
		ids := map[string]bool{}
		g.Columns = slices.DeleteFunc(slices.Clone(g.Columns), func(c bpcc.Column) bool {
			s := columnStatRef(section, c)
			ids[c.ID] = keep(s) || alsoKeep(s)
			return !ids[c.ID]
		})
		g.Order = slices.DeleteFunc(slices.Clone(g.Order), func(o bpcc.Order) bool { return !ids[o.By] })
		if !ids[g.FilterBy] {
			g.FilterBy, g.FilterOperation, g.FilterValue = "", "", ""
		}
		out = append(out, g)
	}
	return out
}
