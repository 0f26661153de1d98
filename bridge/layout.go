package bridge

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"bpcc-nats/bpcc"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/rule"
	"bpcc-nats/diff"
)

// appIDSeparator is between an app id and the instance's suffix on the wire.
const appIDSeparator = "~"

// builtinSubscription is the default subscription: all agents, logged out ones included, all
// services, and the totals over them. It has no order and no filter, because both could hide rows.
func builtinSubscription() bpcc.Subscription {
	return bpcc.Subscription{"bridge": {
		StatsTotals: []string{
			"in_calls_waiting", "in_max_wait_time", "in_calls_queued_per_day", "service_level", "agents_logged", "agents_ready",
		},
		ServiceGrids: []bpcc.Grid{{ID: "services", Columns: numberedColumns(
			"name", "in_calls_waiting", "in_max_wait_time", "in_calls_received_per_day",
			"in_calls_abandoned_in_queue_per_day", "service_level", "agents_logged", "agents_busy",
		)}},
		AgentGrids: []bpcc.Grid{{ID: "agents", Columns: numberedColumns(
			"login_id", "user_id", "first_last_name", "team_name", "extension", "acd_state", "acd_next_state", "reason",
			"state_duration", "login_time", "in_calls_handled_per_day", "out_calls_handled_per_day",
			"agent_total_ready_time", "agent_total_busy_time", "agent_total_ACW_time", "agent_total_break_time",
		)}},
	}}
}

// numberedColumns returns columns with the ids "1", "2", ….
func numberedColumns(stats ...string) []bpcc.Column {
	columns := make([]bpcc.Column, len(stats))
	for i, s := range stats {
		columns[i] = bpcc.Column{ID: strconv.Itoa(i + 1), StatName: s}
	}
	return columns
}

// plan is a subscription as it is sent, and the layout of its responses.
type plan struct {
	wire     bpcc.Subscription
	layout   *diff.Layout
	chatApps []string // plain app ids, by index of layout.Lists
}

// newPlan prepares the subscription of a configuration for one instance. App ids get the instance's suffix, so that the
// response to another program's subscription is detected. The identity column is added to grids
// without it, and is then not published.
func newPlan(c *Config, suffix string) plan {
	p := plan{
		wire:   bpcc.Subscription{},
		layout: &diff.Layout{Volatile: globMatcher(c.VolatileStats), Clock: event.StateDuration},
	}
	if pseudonymizer := event.NewPseudonyms(string(c.PseudonymKey)); pseudonymizer != nil {
		p.layout.Rewrite = pseudonymizer.Rewrite
	}
	// Agents first, then services, then totals: the order of their events.
	var services, totals []diff.Grid
	for _, id := range slices.Sorted(maps.Keys(c.Subscription)) {
		app, wireID := c.Subscription[id], id+appIDSeparator+suffix
		app.AgentGrids = slices.Clone(app.AgentGrids)
		app.ServiceGrids = slices.Clone(app.ServiceGrids)
		for i := range app.AgentGrids {
			g := gridLayout(&app.AgentGrids[i], event.Agent, wireID, agentGrids, c.AgentKey)
			p.layout.Grids = append(p.layout.Grids, g)
		}
		for i := range app.ServiceGrids {
			services = append(services, gridLayout(&app.ServiceGrids[i], event.Service, wireID, serviceGrids, serviceKey))
		}
		if len(app.StatsTotals) > 0 {
			g := diff.Grid{Kind: event.Totals, App: wireID, Section: statsTotals, Entity: id}
			for _, stat := range app.StatsTotals {
				g.Columns = append(g.Columns, diff.Column{ID: stat, Stat: stat})
			}
			totals = append(totals, g)
		}
		if app.ChatMessages != nil {
			p.layout.Lists = append(p.layout.Lists, diff.List{App: wireID, Section: chatMessages})
			p.chatApps = append(p.chatApps, id)
		}
		p.wire[wireID] = app
	}
	p.layout.Grids = slices.Concat(p.layout.Grids, services, totals)
	redact(p.layout, globMatcher(c.RedactStats))
	return p
}

// redact removes statistics from the layout. A removed column may still identify its row.
func redact(l *diff.Layout, redacted func(string) bool) {
	for _, g := range l.Grids {
		for i, c := range g.Columns {
			if redacted(c.Stat) {
				g.Columns[i].Stat = ""
			}
		}
	}
}

// gridLayout returns the layout of a grid's response, after adding the key column if the grid lacks
// it.
func gridLayout(g *bpcc.Grid, kind diff.Kind, app, section, key string) diff.Grid {
	out := diff.Grid{Kind: kind, App: app, Section: section, ID: g.ID, Limit: g.Limit}
	names := columnNames(g.Columns)
	ids := map[string]bool{}
	for i, c := range g.Columns {
		ids[c.ID] = true
		out.Columns = append(out.Columns, diff.Column{ID: c.ID, Stat: names[i]})
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
		out.Columns = append(out.Columns, diff.Column{ID: out.Key})
	}
	return out
}

// columnNames returns the name under which each column is published: the statistic, with its
// dispositions if it is limited to some.
func columnNames(columns []bpcc.Column) []string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.StatName
		if len(c.Dispositions) > 0 {
			names[i] = fmt.Sprintf("%s[%s]", c.StatName, strings.Join(c.Dispositions, ","))
		}
	}
	return names
}

// subscribedStats returns the statistics of a subscription by kind.
func subscribedStats(sub bpcc.Subscription) map[diff.Kind][]string {
	asked := map[diff.Kind][]string{}
	for _, app := range sub {
		asked[event.Totals] = append(asked[event.Totals], app.StatsTotals...)
		for _, g := range app.AgentGrids {
			asked[event.Agent] = append(asked[event.Agent], columnNames(g.Columns)...)
		}
		for _, g := range app.ServiceGrids {
			asked[event.Service] = append(asked[event.Service], columnNames(g.Columns)...)
		}
	}
	return asked
}

// globMatcher returns a function that reports whether a name matches one of the globs; without
// globs, no name matches. It caches its results, since the names are few and used at every poll. It
// is not safe for concurrent use.
func globMatcher(patterns []string) func(string) bool {
	if len(patterns) == 0 {
		return func(string) bool { return false }
	}
	matches := rule.Globs(patterns).MatchString
	known := map[string]bool{}
	return func(name string) bool {
		match, ok := known[name]
		if !ok {
			match = matches(name)
			known[name] = match
		}
		return match
	}
}
