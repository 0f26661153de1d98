package config

import (
	"fmt"
	"strconv"
	"strings"

	"bpcc-nats/bpcc"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/rule"
	"bpcc-nats/diff/image"
)

// BuiltinSubscription is the default subscription: all agents, logged out ones included, all
// services, and the totals over them. It has no order and no filter, because both could hide rows.
func BuiltinSubscription() bpcc.Subscription {
	return bpcc.Subscription{"bridge": {
		StatsTotals: []string{
			"in_calls_waiting", "in_max_wait_time", "in_calls_queued_per_day", "service_level", "agents_logged", "agents_ready",
		},
		ServiceGrids: []bpcc.Grid{{ID: "services", Columns: NumberedColumns(
			"name", "in_calls_waiting", "in_max_wait_time", "in_calls_received_per_day",
			"in_calls_abandoned_in_queue_per_day", "service_level", "agents_logged", "agents_busy",
		)}},
		AgentGrids: []bpcc.Grid{{ID: "agents", Columns: NumberedColumns(
			"login_id", "user_id", "first_last_name", "team_name", "extension", "acd_state", "acd_next_state", "reason",
			"state_duration", "login_time", "in_calls_handled_per_day", "out_calls_handled_per_day",
			"agent_total_ready_time", "agent_total_busy_time", "agent_total_ACW_time", "agent_total_break_time",
			"active_item_media_type",
		)}},
	}}
}

// NumberedColumns returns columns with the ids "1", "2", ….
func NumberedColumns(stats ...string) []bpcc.Column {
	columns := make([]bpcc.Column, len(stats))
	for i, s := range stats {
		columns[i] = bpcc.Column{ID: strconv.Itoa(i + 1), StatName: s}
	}
	return columns
}

// ColumnName returns the name under which a column is published: the statistic, with its
// dispositions if it is limited to some.
func ColumnName(c bpcc.Column) string {
	if len(c.Dispositions) == 0 {
		return c.StatName
	}
	return fmt.Sprintf("%s[%s]", c.StatName, strings.Join(c.Dispositions, ","))
}

// ColumnNames returns the names of columns.
func ColumnNames(columns []bpcc.Column) []string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = ColumnName(c)
	}
	return names
}

// SubscribedStats returns the statistics of a subscription by kind.
func SubscribedStats(sub bpcc.Subscription) map[image.Kind][]string {
	asked := map[image.Kind][]string{}
	for _, app := range sub {
		asked[event.Totals] = append(asked[event.Totals], app.StatsTotals...)
		for _, g := range app.AgentGrids {
			asked[event.Agent] = append(asked[event.Agent], ColumnNames(g.Columns)...)
		}
		for _, g := range app.ServiceGrids {
			asked[event.Service] = append(asked[event.Service], ColumnNames(g.Columns)...)
		}
	}
	return asked
}

// GlobMatcher returns a function that reports whether a name matches one of the globs; without
// globs, no name matches. It caches its results, since the names are few and used at every poll. It
// is not safe for concurrent use.
func GlobMatcher(patterns []string) func(string) bool {
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
