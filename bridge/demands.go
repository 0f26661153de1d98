package bridge

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"bpcc-nats/bpcc"
)

// statistic is what a server can refuse: a statistic in sections of one kind,
// as dispositions narrow it. Section chat_messages has no names.
type statistic struct{ section, name, dispositions string }

const (
	agentGrids   = "agent_grids"
	serviceGrids = "service_grids"
	statsTotals  = "stats_totals"
	chatMessages = "chat_messages"
)

func columnStatistic(section string, c bpcc.Column) statistic {
	return statistic{section, c.StatName, strings.Join(c.Dispositions, ",")}
}

func (s statistic) String() string {
	switch {
	case s.section == chatMessages:
		return chatMessages
	case s.dispositions != "":
		return fmt.Sprintf("%s[%s]", s.name, s.dispositions)
	}
	return s.name
}

// demands are the statistics of a plan.
type demands struct {
	// vital ones name, filter or cut the rows of a grid, which makes no sense
	// without them; others can be left out. Each in the order of the plan.
	vital, others []statistic
	places        map[statistic][]string
	published     map[statistic]bool
}

// demandsOf lists what a plan asks for.
func demandsOf(p plan) demands {
	d := demands{places: map[statistic][]string{}, published: map[statistic]bool{}}
	vital := map[statistic]bool{}
	var all []statistic
	add := func(s statistic, published bool, place string, args ...any) {
		if d.places[s] == nil {
			all = append(all, s)
		}
		d.places[s] = append(d.places[s], fmt.Sprintf(place, args...))
		d.published[s] = d.published[s] || published
	}
	for _, wireID := range slices.Sorted(maps.Keys(p.wire)) {
		app, id := p.wire[wireID], wireID[:strings.LastIndex(wireID, appSeparator)]
		for _, section := range []string{agentGrids, serviceGrids} {
			kind, grids := "agent", app.AgentGrids
			if section == serviceGrids {
				kind, grids = "service", app.ServiceGrids
			}
			for _, g := range grids {
				key, hidden := p.key(wireID, section, g.ID)
				for _, c := range g.Columns {
					s := columnStatistic(section, c)
					cut := g.Limit > 0 && slices.ContainsFunc(g.Order, func(o bpcc.Order) bool { return o.By == c.ID })
					vital[s] = vital[s] || c.ID == key || c.ID == g.FilterBy || cut
					add(s, c.ID != key || !hidden, "app %q, %s grid %q, column %q", id, kind, g.ID, c.ID)
				}
			}
		}
		for _, name := range app.StatsTotals {
			add(statistic{section: statsTotals, name: name}, true, "app %q, stats_totals", id)
		}
		if app.ChatMessages != nil {
			add(statistic{section: chatMessages}, true, "app %q", id)
		}
	}
	for _, s := range all {
		if vital[s] {
			d.vital = append(d.vital, s)
		} else {
			d.others = append(d.others, s)
		}
	}
	return d
}

// key tells which column names the rows of a grid, and whether it was added for
// that alone.
func (p plan) key(app, section, grid string) (column string, hidden bool) {
	for _, g := range p.layout.Grids {
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

// describe names statistics with every place where they stand.
func (d demands) describe(list []statistic) string {
	texts := make([]string, len(list))
	for i, s := range list {
		texts[i] = fmt.Sprintf("%s (%s)", strconv.Quote(s.String()), strings.Join(d.places[s], "; "))
	}
	return strings.Join(texts, ", ")
}

// only is what is left of a subscription: the statistics that keep accepts and,
// in grids that have one of these, those that with accepts too.
func only(sub bpcc.Subscription, keep, with func(statistic) bool) bpcc.Subscription {
	out := bpcc.Subscription{}
	for id, app := range sub {
		app.AgentGrids = onlyGrids(agentGrids, app.AgentGrids, keep, with)
		app.ServiceGrids = onlyGrids(serviceGrids, app.ServiceGrids, keep, with)
		app.StatsTotals = slices.DeleteFunc(slices.Clone(app.StatsTotals), func(name string) bool {
			return !keep(statistic{section: statsTotals, name: name})
		})
		if len(app.StatsTotals) == 0 {
			app.StatsTotalsServiceIDs, app.StatsTotalsDispositions = nil, nil
		}
		if !keep(statistic{section: chatMessages}) {
			app.ChatMessages = nil
		}
		if len(app.AgentGrids)+len(app.ServiceGrids)+len(app.StatsTotals) > 0 || app.ChatMessages != nil {
			out[id] = app
		}
	}
	return out
}

func onlyGrids(section string, grids []bpcc.Grid, keep, with func(statistic) bool) []bpcc.Grid {
	var out []bpcc.Grid
	for _, g := range grids {
		if !slices.ContainsFunc(g.Columns, func(c bpcc.Column) bool { return keep(columnStatistic(section, c)) }) {
			continue
		}
		ids := map[string]bool{}
		g.Columns = slices.DeleteFunc(slices.Clone(g.Columns), func(c bpcc.Column) bool {
			s := columnStatistic(section, c)
			ids[c.ID] = keep(s) || with(s)
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
