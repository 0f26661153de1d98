package main

import (
	"fmt"
	"strconv"

	"bpcc-nats/bpcc"
)

// The grids' ids, and the subscribed statistics of each: those of the largest kind of supervisor's
// wallboard.
const (
	agentGrid   = "agents"
	serviceGrid = "services"
)

func agentStats() []string {
	return []string{
		"login_id", "user_id", "first_last_name", "team_name", "extension", "acd_state", "acd_next_state", "reason",
		"state_duration", "login_time", "in_calls_handled_per_day", "out_calls_handled_per_day",
		"agent_total_ready_time", "agent_total_busy_time", "agent_total_ACW_time", "agent_total_break_time",
		"active_item_talk_duration", "active_item_hold_duration", "active_item_media_type", "calls_average_handling_time_per_day",
	}
}

func serviceStats() []string {
	return []string{
		"name", "in_calls_waiting", "in_max_wait_time", "in_calls_received_per_day", "in_calls_abandoned_in_queue_per_day",
		"in_calls_short_abandoned_in_queue_per_day", "in_calls_abandoned_total_per_day",
		"in_calls_abandoned_in_queue_ratio_per_day", "in_calls_short_abandoned_in_queue_ratio_per_day",
		"in_calls_abandoned_percent_per_day", "service_level", "service_level_threshold_time", "service_level_target",
		"agents_logged", "agents_busy",
	}
}

// subscription subscribes to both grids, with columns "1", "2", ….
func subscription() bpcc.Subscription {
	numbered := func(stats []string) []bpcc.Column {
		var columns []bpcc.Column
		for i, s := range stats {
			columns = append(columns, bpcc.Column{ID: strconv.Itoa(i + 1), StatName: s})
		}
		return columns
	}
	return bpcc.Subscription{"bench": {
		AgentGrids:   []bpcc.Grid{{ID: agentGrid, Columns: numbered(agentStats())}},
		ServiceGrids: []bpcc.Grid{{ID: serviceGrid, Columns: numbered(serviceStats())}},
	}}
}

// volatile returns the columns, by grid, that the bridge treats as clocks by default, for the peers
// that need a list.
func volatile() map[string][]string {
	return map[string][]string{
		agentGrid:   {"9", "10", "13", "14", "15", "16", "17", "18"},
		serviceGrid: {"3"},
	}
}

// load is what the simulated floor does between two polls.
type load struct {
	// Name is the name in tables.
	Name string
	// Share is the share of rows, from 0 to 1, in which a counter goes up.
	Share float64
	// Ticks is whether the clocks of every row advance: two of each agent, one of each service.
	Ticks bool
}

// world is the data of one tenant: numbers that only increase, so that no state repeats. Its text
// is stored by row, and only changed rows are rebuilt.
type world struct {
	agents, services int
	load             load

	counts []int // by row, agents first
	clock  int   // seconds by which every clock has advanced
	next   int   // the row that changes next
	rows   [][]byte
}

func newWorld(agents, services int, l load) *world {
	w := &world{agents: agents, services: services, load: l, counts: make([]int, agents+services), rows: make([][]byte, agents+services)}
	for i := range w.rows {
		w.counts[i] = 20 + i%37
		w.rows[i] = w.row(i)
	}
	return w
}

// changes returns how many rows change from poll to poll.
func (w *world) changes() int { return int(w.load.Share * float64(len(w.rows))) }

// advance advances the world by one poll. The rows that change are spread evenly, and are different
// ones every time unless all change.
func (w *world) advance() {
	n := w.changes()
	for i := range n {
		row := (w.next + i*len(w.rows)/n) % len(w.rows)
		w.counts[row]++
		w.rows[row] = w.row(row)
	}
	w.next++
	if w.load.Ticks {
		w.clock += 2
		for i := range w.rows {
			w.rows[i] = w.row(i)
		}
	}
}

// body appends the response to a data request of the subscribed app id.
func (w *world) body(b []byte, app string) []byte {
	b = append(strconv.AppendQuote(append(b, '{'), app), `:{"agent_grids":[{"id":"`+agentGrid+`","values":[`...)
	grid := func(rows [][]byte) {
		for i, row := range rows {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, row...)
		}
	}
	grid(w.rows[:w.agents])
	b = append(b, `]}],"service_grids":[{"id":"`+serviceGrid+`","values":[`...)
	grid(w.rows[w.agents:])
	return append(b, `]}]}}`...)
}

func (w *world) row(i int) []byte {
	if i < w.agents {
		return object(w.rows[i], w.agent(i))
	}
	return object(w.rows[i], w.service(i))
}

func (w *world) agent(i int) []string {
	state, reason := "ready", ""
	switch i % 3 {
	case 1:
		state = "busy"
	case 2:
		state, reason = "not_ready", "Lunch"
	}
	number, calls := strconv.Itoa(i), strconv.Itoa(w.counts[i])
	return []string{
		"agent." + number, fmt.Sprintf("F4ED%04X-52A1-4C3B-9D7E-%012X", i%0x10000, i), "Given" + number + " Family" + strconv.Itoa(i%997),
		"Team " + strconv.Itoa(i%200), strconv.Itoa(10000 + i), state, "", reason,
		strconv.Itoa(3600 + i%1800 + w.clock), strconv.Itoa(14400 + i%3600 + w.clock), calls, strconv.Itoa(i % 11),
		strconv.Itoa(5000 + i%900), strconv.Itoa(6000 + i%700), strconv.Itoa(700 + i%90), strconv.Itoa(1200 + i%300),
		"", "", "", strconv.Itoa(180 + i%60),
	}
}

func (w *world) service(i int) []string {
	waiting := strconv.Itoa(w.counts[i])
	n := i - w.agents
	return []string{
		"Service " + strconv.Itoa(n), waiting, strconv.Itoa(90 + n%60 + w.clock), strconv.Itoa(1000 + n), strconv.Itoa(n % 50),
		strconv.Itoa(n % 20), strconv.Itoa(n%50 + n%20), "0.031", "0.012", "0.043", "0.873", "20", "0.8",
		strconv.Itoa(40 + n%30), strconv.Itoa(20 + n%15),
	}
}

// object writes values as a row with columns "1", "2", …, into the memory of the previous row. The
// values contain nothing that JSON escapes.
func object(b []byte, values []string) []byte {
	b = append(b[:0], '{')
	for i, value := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(append(b, '"'), int64(i+1), 10)
		b = append(append(append(b, `":"`...), value...), '"')
	}
	return append(b, '}')
}
