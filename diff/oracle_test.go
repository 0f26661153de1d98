package diff_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/diff"
)

// The oracle is the package once more, written as a specification: maps, plain
// encoding/json, and no care for speed. It shares no code with the package, only
// the layout that both get.

// entityTexts is what is known: kind, id, statistic, text.
type entityTexts map[diff.Kind]map[string]map[string]string

// set puts an entity into the world, or takes it out.
func (w entityTexts) set(kind diff.Kind, id string, stats map[string]string) {
	if w[kind] == nil {
		w[kind] = map[string]map[string]string{}
	}
	if stats == nil {
		delete(w[kind], id)
		return
	}
	w[kind][id] = stats
}

// parsedBody is what one body shows.
type parsedBody struct {
	entityTexts
	grids  map[string][]int // by kind/id: where it stands
	length map[int]int      // rows that count, by grid
	counts counts
}

// counts are what a snapshot counts in addition to its rows.
type counts struct{ Duplicates, Unnamed, Oversized, Cut int }

func countsOf(snap *diff.Snapshot) counts {
	return counts{snap.Duplicates, snap.Unnamed, snap.Oversized, snap.Cut}
}

// decodeJSON decodes a body's part and keeps numbers as they are written.
func decodeJSON(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	return dec.Decode(v)
}

// scalarTextOf is the text of a value that is not nested.
func scalarTextOf(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// parseReference reads a body that the package has accepted.
func parseReference(l *diff.Layout, body []byte) (parsedBody, error) {
	s := parsedBody{entityTexts: entityTexts{}, grids: map[string][]int{}, length: map[int]int{}}
	var apps map[string]map[string]json.RawMessage
	if err := decodeJSON(body, &apps); err != nil {
		return s, err
	}
	for i, g := range l.Grids {
		section := apps[g.App][g.Section]
		if section == nil {
			continue
		}
		if g.ID == "" {
			var row map[string]any
			if err := decodeJSON(section, &row); err != nil {
				return s, err
			}
			if row != nil {
				s.addRow(i, g, g.Entity, row)
			}
			continue
		}
		var tables []struct {
			ID     any              `json:"id"`
			Values []map[string]any `json:"values"`
		}
		if err := decodeJSON(section, &tables); err != nil {
			return s, err
		}
		var rows []map[string]any
		for _, t := range tables {
			if scalarTextOf(t.ID) == g.ID {
				rows = t.Values
			}
		}
		seen := map[string]bool{}
		for _, row := range rows {
			switch id := scalarTextOf(row[g.Key]); {
			case id == "":
				s.counts.Unnamed++
			case len(id) > 512:
				s.counts.Oversized++
			case seen[id]:
				s.counts.Duplicates++
			default:
				seen[id] = true
				s.addRow(i, g, id, row)
			}
		}
	}
	return s, nil
}

// addRow adds one row; a statistic that an earlier grid holds stays.
func (s *parsedBody) addRow(grid int, g diff.Grid, id string, row map[string]any) {
	name := string(g.Kind) + "/" + id
	s.grids[name] = append(s.grids[name], grid)
	s.length[grid]++
	stats := s.entityTexts[g.Kind][id]
	if stats == nil {
		stats = map[string]string{}
		s.set(g.Kind, id, stats)
	}
	for _, c := range g.Columns {
		v, shown := row[c.ID]
		if c.Stat == "" || !shown {
			continue
		}
		t := scalarTextOf(v)
		if len(t) > 4096 {
			s.counts.Cut++
			for t = t[:4096]; !utf8.ValidString(t); t = t[:len(t)-1] {
			}
		}
		if _, known := stats[c.Stat]; !known {
			stats[c.Stat] = t
		}
	}
}

// expected is a change as the oracle foretells it.
type expected struct {
	Op            diff.Op
	Stats         []string // sorted
	Before, After map[string]string
}

// oracle is the specification's memory.
type oracle struct {
	known   entityTexts
	grids   map[string][]int // by kind/id: where it last stood
	missed  map[string]int
	started bool
}

func newOracle() *oracle {
	return &oracle{known: entityTexts{}, grids: map[string][]int{}, missed: map[string]int{}}
}

// empty reports whether a grid has lost all its rows.
func (o *oracle) empty(l *diff.Layout, s parsedBody) bool {
	for kind, entities := range o.known {
		for id := range entities {
			for _, i := range o.grids[string(kind)+"/"+id] {
				if l.Grids[i].ID != "" && s.length[i] == 0 {
					return true
				}
			}
		}
	}
	return false
}

// expect gives the changes by kind/id. It counts absences, and learns nothing
// else.
func (o *oracle) expect(l *diff.Layout, s parsedBody) map[string]expected {
	all := map[string]expected{}
	for kind, entities := range s.entityTexts {
		for id, texts := range entities {
			name := string(kind) + "/" + id
			o.grids[name], o.missed[name] = s.grids[name], 0
			before := o.known[kind][id]
			after := maps.Clone(texts)
			if before == nil {
				op := diff.Observed
				if o.started {
					op = diff.Appeared
				}
				all[name] = expected{Op: op, After: after}
				continue
			}
			for stat, v := range before {
				if _, known := after[stat]; !known {
					after[stat] = v
				}
			}
			var stats []string
			for _, stat := range slices.Sorted(maps.Keys(after)) {
				was, known := before[stat]
				if !l.Volatile(stat) && (!known || was != after[stat]) {
					stats = append(stats, stat)
				}
			}
			if stats != nil {
				all[name] = expected{diff.Changed, stats, before, after}
			}
		}
	}
	for id := range o.known[agent] {
		name := string(agent) + "/" + id
		if s.entityTexts[agent][id] != nil {
			continue
		}
		if o.missed[name]++; o.missed[name] >= 2 {
			all[name] = expected{Op: diff.Disappeared, Before: o.known[agent][id]}
		}
	}
	o.started = true
	return all
}

// asMap is an image as a map.
func asMap(m diff.Image) map[string]string {
	if m.IsZero() {
		return nil
	}
	all := map[string]string{}
	maps.Insert(all, m.All())
	return all
}

// randomTenant makes random bodies, each a few changes away from the one before.
type randomTenant struct {
	*rand.Rand
	agents    map[string][]string // name → state, clock, extension
	gridNames map[string]string   // name → grids, such as "ab"
	clock     int
	last      string
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
// one twice.
func (x *randomTenant) row(columns []string) string {
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
			grids[string(g)] = append(grids[string(g)], row)
			if x.IntN(40) == 0 {
				grids[string(g)] = append(grids[string(g)], row, `{"2":"nameless"}`, `{"1":"`+strings.Repeat("x", 513)+`"}`, "null")
			}
		}
	}
	var sections []string
	for _, g := range []string{"a", "b"} {
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

// TestOracle follows random worlds and demands that the package and the
// specification agree on every snapshot.
func TestOracle(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			compareWithOracle(t, seed, 100)
		})
	}
}

func compareWithOracle(t *testing.T, seed uint64, snapshots int) {
	l := layoutOf()
	for i := range l.Grids[:2] {
		l.Grids[i].Columns = append(l.Grids[i].Columns[:3:3], diff.Column{ID: "4", Stat: "extension"})
	}
	x := &randomTenant{Rand: rand.New(rand.NewPCG(seed, 0)), agents: map[string][]string{}, gridNames: map[string]string{}}
	o := newOracle()
	options := diff.Options{DisappearAfter: 2}
	var s diff.State
	var prevBody []byte // what the state reads
	for n := range snapshots {
		body := x.next()
		raw := []byte(body)
		fail := func(what, d string) {
			t.Helper()
			t.Fatalf("seed %d, snapshot %d: %s\n%s\n%s", seed, n, what, d, body)
		}
		seen, err := parseReference(l, []byte(body))
		if err != nil {
			fail("the oracle cannot read it", err.Error())
		}
		snap := readBytes(t, &s, l, n, raw)
		if d := cmp.Diff(seen.counts, countsOf(snap)); d != "" {
			fail("counts (-oracle +package)", d)
		}
		refused := o.empty(l, seen)
		options.AcceptEmpty = x.IntN(3) == 0
		changes, err := allChanges(s.Compare(l, snap, options))
		if want := refused && !options.AcceptEmpty; errors.Is(err, diff.ErrEmpty) != want {
			fail("refusal of an empty grid", fmt.Sprint(err, ", want ", want))
		}
		if err != nil {
			continue
		}
		// Totals may come late, and are still the first of their kind.
		options.Baseline = map[diff.Kind]bool{agent: true, totals: true}
		got := expectedOf(t, changes)
		want := o.expect(l, seen)
		if d := cmp.Diff(want, got); d != "" {
			fail("changes (-oracle +package)", d)
		}
		// What is not acknowledged both sides must find again.
		none := x.IntN(8) == 0
		for _, c := range changes {
			if none || x.IntN(8) == 0 {
				continue
			}
			s.Set(c.Kind, c.ID, c.After, 1)
			o.known.set(c.Kind, c.ID, want[string(c.Kind)+"/"+c.ID].After)
		}
		s.Release()
		overwrite(prevBody)
		prevBody = raw
		state := entityTexts{}
		for kind := range o.known {
			state[kind] = map[string]map[string]string{}
			for _, id := range s.IDs(kind) {
				state.set(kind, id, asMap(s.Image(kind, id)))
			}
		}
		if d := cmp.Diff(o.known, state); d != "" {
			fail("state (-oracle +package)", d)
		}
	}
}
