package bpcctest

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"bpcc-nats/bpcc"
)

// plan is a subscription prepared for many responses.
type plan struct {
	seed uint64 // of the order of rows, which is arbitrary and fixed for a subscription
	apps []planApp
	size int // of the last response, a guess for the next
}

type planApp struct {
	bpcc.App
	id            string
	agents, queue []planGrid
	totals        []planTotal
}

type planGrid struct {
	bpcc.Grid
	// keys holds what precedes each value in a row: comma, quoted column id, colon.
	keys  [][]byte
	stats []agentStat // nil where the name is unknown; agent grids only
	index map[string]int
	// columns points into the grid, so that no cell copies its column.
	columns []*bpcc.Column
}

type planTotal struct {
	name string
	key  []byte // comma, quoted name, colon
}

func newPlan(sub bpcc.Subscription) *plan {
	// A subscription contains only text and numbers, so it always encodes.
	canonical, _ := json.Marshal(sub)
	p := &plan{seed: hash(0, string(canonical))}
	for _, id := range slices.Sorted(maps.Keys(sub)) {
		app := planApp{App: sub[id], id: id}
		for _, g := range app.AgentGrids {
			app.agents = append(app.agents, newPlanGrid(g))
		}
		for _, g := range app.ServiceGrids {
			app.queue = append(app.queue, newPlanGrid(g))
		}
		for _, name := range app.StatsTotals {
			// A name that is requested twice is one key of the response.
			if !slices.ContainsFunc(app.totals, func(t planTotal) bool { return t.name == name }) {
				app.totals = append(app.totals, planTotal{name, jsonKey(len(app.totals), name)})
			}
		}
		p.apps = append(p.apps, app)
	}
	return p
}

func newPlanGrid(g bpcc.Grid) planGrid {
	p := planGrid{Grid: g, index: map[string]int{}}
	for i := range g.Columns {
		c := &g.Columns[i]
		p.keys = append(p.keys, jsonKey(i, c.ID))
		p.stats = append(p.stats, agentStats[c.StatName])
		p.index[c.ID] = i
		p.columns = append(p.columns, c)
	}
	return p
}

// jsonKey returns what precedes the i-th value of an object.
func jsonKey(i int, name string) []byte {
	var b []byte
	if i > 0 {
		b = append(b, ',')
	}
	return append(appendQuoted(b, name), ':')
}

// applyQuery filters and sorts the rows of a grid.
func applyQuery[T any](g planGrid, rows []T, cell func(row T, column int) string) []T {
	if g.FilterBy != "" {
		by := g.index[g.FilterBy]
		rows = slices.DeleteFunc(rows, func(r T) bool { return !matchesFilter(cell(r, by), g.FilterOperation, g.FilterValue) })
	}
	if len(g.Order) > 0 {
		rows = sortRows(g, rows, cell)
	}
	return rows
}

func sortRows[T any](g planGrid, rows []T, cell func(row T, column int) string) []T {
	type keyed struct {
		row  T
		keys []string
	}
	list := make([]keyed, len(rows))
	for i, r := range rows {
		list[i] = keyed{r, make([]string, len(g.Order))}
		for k, o := range g.Order {
			list[i].keys[k] = cell(r, g.index[o.By])
		}
	}
	slices.SortStableFunc(list, func(a, b keyed) int {
		for k, o := range g.Order {
			c := compare(a.keys[k], b.keys[k])
			if o.Dir == "DESC" {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return 0
	})
	for i, k := range list {
		rows[i] = k.row
	}
	return rows
}

// matchesFilter applies a filter to a value.
func matchesFilter(value, operation, to string) bool {
	c := compare(value, to)
	switch operation {
	case "EQ":
		return c == 0
	case "NE":
		return c != 0
	case "LT":
		return c < 0
	case "GT":
		return c > 0
	case "LE":
		return c <= 0
	default:
		return c >= 0 // GE: the subscription was validated
	}
}

// compare orders values: no value first, then numbers by size, then text.
func compare(a, b string) int {
	x, xIsNumber := parseNumber(a)
	y, yIsNumber := parseNumber(b)
	switch {
	case xIsNumber && yIsNumber:
		return cmp.Compare(x, y)
	case a == "" || b == "" || xIsNumber == yIsNumber:
		return strings.Compare(a, b)
	case xIsNumber:
		return -1
	default:
		return 1
	}
}
