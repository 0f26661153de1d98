package diff_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// randomTenant makes random bodies, each a few changes away from the one before.
type randomTenant struct {
	*rand.Rand
	agents    map[string][]string // name → state, clock, extension
	gridNames map[string]string   // name → grids, such as "ab"
	clock     int
	last      string
	emptied   map[string]int // grid → for how many bodies it is without rows
}

// value spells a text in one of the types that the source may use.
func (x *randomTenant) value(v string) string {
	switch {
	case v == "" && x.IntN(2) == 0:
		return "null"
	case strings.Trim(v, "0123456789") == "" && v != "" && x.IntN(2) == 0, v == "true":
		return v
	}
	return x.encodeValue(v)
}

// encodeValue writes a string in one of the ways that JSON has for it.
func (x *randomTenant) encodeValue(v string) string {
	if x.IntN(30) > 0 {
		return fmt.Sprintf("%q", v)
	}
	var b strings.Builder
	for _, r := range v {
		if r < 0x10000 && x.IntN(2) == 0 {
			fmt.Fprintf(&b, "\\u%04x", r)
		} else {
			b.WriteRune(r)
		}
	}
	return `"` + b.String() + `"`
}

// randomSpace is mostly nothing.
func (x *randomTenant) randomSpace() string {
	if x.IntN(60) > 0 {
		return ""
	}
	return []string{" ", "\n", "\t ", "\r\n  "}[x.IntN(4)]
}

// row writes columns in some order, now and then with one that nobody reads, or
// one twice, or with a value that cannot be read.
func (x *randomTenant) row(columns []string) string {
	if x.IntN(80) == 0 {
		name, _, _ := strings.Cut(columns[x.IntN(len(columns))], ":")
		columns = append(columns, name+`:["x",{}]`)
	}
	if x.IntN(80) == 0 {
		columns = append(columns, `"98":{"x":[]}`)
	}
	if x.IntN(30) == 0 {
		x.Shuffle(len(columns), func(i, j int) { columns[i], columns[j] = columns[j], columns[i] })
	}
	if x.IntN(30) == 0 {
		columns = append(columns, `"99":1.5e3`)
	}
	if x.IntN(60) == 0 {
		columns = append(columns, columns[x.IntN(len(columns))])
	}
	for i, c := range columns {
		name, value, _ := strings.Cut(c, ":")
		columns[i] = x.randomSpace() + name + x.randomSpace() + ":" + x.randomSpace() + value + x.randomSpace()
	}
	return "{" + strings.Join(columns, ",") + "}"
}

// impostors are rows with the key of an agent and other texts, some of them almost
// the same.
func (x *randomTenant) impostors(name string) []string {
	var all []string
	for range 1 + x.IntN(2) {
		state, extension := x.agents[name][0], x.agents[name][2]
		if x.IntN(2) == 0 {
			state = []string{"ready", "busy", ""}[x.IntN(3)]
		}
		if x.IntN(3) == 0 {
			extension = "9"
		}
		columns := []string{`"1":` + x.encodeValue(name), `"2":` + x.value(state), `"4":` + x.value(extension)}
		if x.IntN(4) > 0 {
			columns = append(columns, `"3":`+x.value([]string{fmt.Sprint(x.clock), fmt.Sprint(x.clock + x.IntN(9)), "", "1e3"}[x.IntN(4)]))
		}
		all = append(all, x.row(columns[:len(columns)-x.IntN(2)]))
	}
	return all
}

// next lets the world go on and writes it down.
func (x *randomTenant) next() string {
	if x.last != "" && x.IntN(10) == 0 {
		return x.last // the source serves it once more
	}
	x.clock++
	for range x.IntN(4) {
		name := fmt.Sprintf("agent%d", x.IntN(12))
		states := []string{
			"ready", "busy", "", "0", "true", "größe", "after_call_work, and long", "ready", "not ready", "a short break",
			strings.Repeat("long ", x.IntN(900)), strings.Repeat("größe", 600) + "!",
		}
		state := states[x.IntN(len(states))]
		if was := x.agents[name]; was != nil && x.IntN(3) == 0 {
			state = was[0]
		}
		x.agents[name] = []string{state, fmt.Sprint(x.clock), fmt.Sprint(x.IntN(3))}
		x.gridNames[name] = []string{"", "a", "b", "a", "b", "ab"}[x.IntN(6)]
	}
	grids := map[string][]string{}
	// In order, for the seed alone shall rule.
	for _, name := range slices.Sorted(maps.Keys(x.agents)) {
		for _, g := range x.gridNames[name] {
			columns := []string{`"1":` + x.encodeValue(name)}
			for i, v := range x.agents[name] {
				if i == 1 {
					v = fmt.Sprint(x.clock)
				}
				if x.IntN(20) > 0 {
					columns = append(columns, fmt.Sprintf(`"%d":%s`, i+2, x.value(v)))
				}
			}
			row := x.row(columns)
			if x.IntN(80) == 0 {
				row = []string{"[1]", `"x"`, "7", "true", `["` + name + `"]`}[x.IntN(5)]
			}
			grids[string(g)] = append(grids[string(g)], row)
			if x.IntN(8) == 0 {
				grids[string(g)] = slices.Insert(grids[string(g)], x.IntN(len(grids[string(g)])), x.impostors(name)...)
			}
			if x.IntN(40) == 0 {
				grids[string(g)] = append(grids[string(g)], row, `{"2":"nameless"}`, `{"1":"`+strings.Repeat("x", 513)+`"}`, "null")
			}
		}
	}
	var sections []string
	for _, g := range []string{"a", "b"} {
		if x.emptied[g]--; x.IntN(20) == 0 {
			x.emptied[g] = 1 + x.IntN(8)
		}
		if x.emptied[g] > 0 {
			grids[g] = nil
		}
		if x.IntN(3) == 0 {
			x.Shuffle(len(grids[g]), func(i, j int) { grids[g][i], grids[g][j] = grids[g][j], grids[g][i] })
		}
		shape := []string{`{"id":%[2]q,"values":[%[1]s]}`, `{"values":[%[1]s],"id":%[2]q}`, ` {"more":[{}], "id" : %[2]q , "values" : [ %[1]s ] } `}[x.IntN(3)]
		sections = append(sections, fmt.Sprintf(shape, strings.Join(grids[g], x.randomSpace()+","+x.randomSpace()), g))
	}
	if x.IntN(2) == 0 {
		slices.Reverse(sections)
	}
	waiting := fmt.Sprintf(`,"stats_totals":{"waiting":%d}`, x.IntN(3))
	if x.IntN(10) == 0 {
		waiting = ""
	}
	x.last = `{"app":{"agent_grids":[` + strings.Join(sections, ",") + `]` + waiting + `}}`
	return x.last
}
