package source

import (
	"maps"
	"slices"

	"bpcc-nats/bpcc"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/diff/image"
	"bpcc-nats/diff/layout"
)

// AppIDSeparator is between an app id and the instance's suffix on the wire.
const AppIDSeparator = "~"

// Plan is a subscription as it is sent, and the layout of its responses.
type Plan struct {
	// Wire is the subscription, with the app ids that this instance uses.
	Wire bpcc.Subscription
	// Layout is the layout of its responses.
	Layout   *layout.Layout
	chatApps []string // plain app ids, by index of Layout.Lists
}

// NewPlan prepares a subscription for one instance. App ids get the instance's
// suffix, so that the response to another program's subscription is detected. The identity column is
// added to grids without it, and is then not published.
func NewPlan(sub bpcc.Subscription, c config.Events, suffix string) Plan {
	p := Plan{
		Wire:   bpcc.Subscription{},
		Layout: &layout.Layout{Clock: event.StateDuration, State: event.StateStats()},
	}
	if pseudonymizer := event.NewPseudonyms(string(c.PseudonymKey)); pseudonymizer != nil {
		p.Layout.Rewrite = pseudonymizer.Rewrite
	}
	// Agents first, then services, then totals: the order of their events.
	var services, totals []layout.Grid
	for _, id := range slices.Sorted(maps.Keys(sub)) {
		app, wireID := sub[id], id+AppIDSeparator+suffix
		app.AgentGrids = slices.Clone(app.AgentGrids)
		app.ServiceGrids = slices.Clone(app.ServiceGrids)
		for i := range app.AgentGrids {
			g := gridLayout(&app.AgentGrids[i], event.Agent, wireID, agentGrids, c.AgentKey)
			p.Layout.Grids = append(p.Layout.Grids, g)
		}
		for i := range app.ServiceGrids {
			services = append(services, gridLayout(&app.ServiceGrids[i], event.Service, wireID, serviceGrids, config.ServiceKey))
		}
		if len(app.StatsTotals) > 0 {
			g := layout.Grid{Kind: event.Totals, App: wireID, Section: statsTotals, Entity: id}
			for _, stat := range app.StatsTotals {
				g.Columns = append(g.Columns, layout.Column{ID: stat, Stat: stat})
			}
			totals = append(totals, g)
		}
		if app.ChatMessages != nil {
			p.Layout.Lists = append(p.Layout.Lists, layout.List{App: wireID, Section: chatMessages})
			p.chatApps = append(p.chatApps, id)
		}
		p.Wire[wireID] = app
	}
	p.Layout.Grids = slices.Concat(p.Layout.Grids, services, totals)
	redact(p.Layout, config.GlobMatcher(c.RedactStats))
	p.Layout.Volatile = matchingStats(p.Layout, config.GlobMatcher(c.VolatileStats))
	return p
}

// redact removes statistics from the layout. A removed column may still identify its row.
func redact(l *layout.Layout, redacted func(string) bool) {
	for _, g := range l.Grids {
		for i, c := range g.Columns {
			if redacted(c.Stat) {
				g.Columns[i].Stat = ""
			}
		}
	}
}

// matchingStats lists the statistics of a layout that match, without repeats.
func matchingStats(l *layout.Layout, matches func(stat string) bool) []string {
	var stats []string
	for _, g := range l.Grids {
		for _, c := range g.Columns {
			if matches(c.Stat) && !slices.Contains(stats, c.Stat) {
				stats = append(stats, c.Stat)
			}
		}
	}
	return stats
}

// gridLayout returns the layout of a grid's response, after adding the key column if the grid lacks
// it.
func gridLayout(g *bpcc.Grid, kind image.Kind, app, section, key string) layout.Grid {
	out := layout.Grid{Kind: kind, App: app, Section: section, ID: g.ID, Limit: g.Limit}
	names := config.ColumnNames(g.Columns)
	ids := map[string]bool{}
	for i, c := range g.Columns {
		ids[c.ID] = true
		out.Columns = append(out.Columns, layout.Column{ID: c.ID, Stat: names[i]})
		if c.StatName == key && out.Key == "" {
			out.Key = c.ID
		}
	}
	if out.Key == "" {
		out.Key = "key"
		for ids[out.Key] {
			out.Key += "_"
		}
		g.Columns = append(slices.Clone(g.Columns), bpcc.Column{ID: out.Key, StatName: key})
		out.Columns = append(out.Columns, layout.Column{ID: out.Key})
	}
	return out
}
