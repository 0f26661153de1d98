package diff_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/diff"
	"bpcc-nats/diff/image"
	"bpcc-nats/diff/layout"
)

// The oracle is the package once more, written as a specification: maps, plain
// encoding/json, and no care for speed. It shares no code with the package, only
// the layout that both get.

// entityTexts is what is known: kind, id, statistic, text.
type entityTexts map[image.Kind]map[string]map[string]string

// set puts an entity into the world, or takes it out.
func (w entityTexts) set(kind image.Kind, id string, stats map[string]string) {
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
	rows   map[int][]keyRows
	length map[int]int // rows of the body, by grid
	clocks map[clockKey]string
	counts counts
	// What cannot be read: how many rows by grid, whose by kind/id, and of how many by kind not
	// even the key.
	unreadable map[int]int
	spoilt     map[string]bool
	blank      map[image.Kind]int
}

// keyRows are the rows of a grid that have one key, in their order.
type keyRows struct {
	id   string
	rows []map[string]any
}

// clockKey names the clock of an entity in one grid.
type clockKey struct {
	grid int
	name string
}

// counts are what a snapshot counts in addition to its rows.
type counts struct{ Duplicates, Unnamed, Oversized, Cut, Unreadable int }

func countsOf(snap *diff.Snapshot) counts {
	return counts{snap.Duplicates, snap.Unnamed, snap.Oversized, snap.Cut, snap.Unreadable.Count}
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

// textOf is the text of a value, cut where it is too long.
func textOf(v any) (text string, cut bool) {
	t := scalarTextOf(v)
	if len(t) <= 4096 {
		return t, false
	}
	for t = t[:4096]; !utf8.ValidString(t); t = t[:len(t)-1] {
	}
	return t, true
}

// parseReference reads a body that the package has accepted. Of several rows of one
// key the oracle takes the one that must count.
func parseReference(l *layout.Layout, body []byte, o *oracle) (parsedBody, error) {
	s := parsedBody{
		entityTexts: entityTexts{}, grids: map[string][]int{}, rows: map[int][]keyRows{}, length: map[int]int{}, clocks: map[clockKey]string{},
		unreadable: map[int]int{}, spoilt: map[string]bool{}, blank: map[image.Kind]int{},
	}
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
			switch {
			case nestedColumn(g, row):
				s.addUnreadable(i, g, g.Entity)
			case row != nil:
				s.rows[i] = []keyRows{{g.Entity, []map[string]any{row}}}
			}
			continue
		}
		var tables []struct {
			ID     any             `json:"id"`
			Values json.RawMessage `json:"values"`
		}
		if err := decodeJSON(section, &tables); err != nil {
			return s, err
		}
		var values json.RawMessage
		for _, t := range tables {
			if scalarTextOf(t.ID) == g.ID {
				values = t.Values
			}
		}
		var rows []any
		if values != nil {
			if err := decodeJSON(values, &rows); err != nil {
				return s, err
			}
		}
		s.length[i] = len(rows)
		for _, value := range rows {
			row, isObject := value.(map[string]any)
			switch key := row[g.Key]; {
			case value == nil || isObject && !nestedColumn(g, row):
			case nested(key):
				s.addUnreadable(i, g, "")
				continue
			default:
				s.addUnreadable(i, g, scalarTextOf(key))
				continue
			}
			id := scalarTextOf(row[g.Key])
			at := slices.IndexFunc(s.rows[i], func(k keyRows) bool { return k.id == id })
			switch {
			case id == "":
				s.counts.Unnamed++
			case len(id) > 512:
				s.counts.Oversized++
			case at >= 0:
				s.counts.Duplicates++
				s.rows[i][at].rows = append(s.rows[i][at].rows, row)
			default:
				s.rows[i] = append(s.rows[i], keyRows{id, []map[string]any{row}})
			}
		}
	}
	for i, g := range l.Grids {
		for _, k := range s.rows[i] {
			s.addRow(i, g, k.id, o.choose(l, s, i, k))
		}
	}
	return s, nil
}

// nested reports whether a value is no scalar.
func nested(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return true
	}
	return false
}

// nestedColumn reports whether one of a grid's columns is no scalar in a row.
func nestedColumn(g layout.Grid, row map[string]any) bool {
	return g.Key != "" && nested(row[g.Key]) || slices.ContainsFunc(g.Columns, func(c layout.Column) bool { return c.Stat != "" && nested(row[c.ID]) })
}

// addUnreadable adds one row that cannot be read; id is "" if its key cannot be read either.
func (s *parsedBody) addUnreadable(grid int, g layout.Grid, id string) {
	s.counts.Unreadable++
	s.unreadable[grid]++
	if id == "" {
		s.blank[g.Kind]++
	} else {
		s.spoilt[string(g.Kind)+"/"+id] = true
	}
}

// isEmpty reports whether a grid has no row with a key, and none that cannot be read.
func (s *parsedBody) isEmpty(grid int) bool { return len(s.rows[grid]) == 0 && s.unreadable[grid] == 0 }

// addRow adds one row; a statistic that an earlier grid holds stays.
func (s *parsedBody) addRow(grid int, g layout.Grid, id string, row map[string]any) {
	name := string(g.Kind) + "/" + id
	s.grids[name] = append(s.grids[name], grid)
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
		t, cut := textOf(v)
		if cut {
			s.counts.Cut++
		}
		if c.Stat == "clock" {
			s.clocks[clockKey{grid, name}] = t
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
	known      entityTexts
	hold       time.Duration    // EmptyHold
	grids      map[string][]int // by kind/id: where it last stood
	seen       map[string]time.Time
	missed     map[string]int
	blank      map[string]int      // by kind/id: the blank rows beside it when it was last seen
	clocks     map[clockKey]string // of the last snapshot
	emptySince map[int]time.Time
	missing    []time.Time // when what the last snapshot lacks was seen
	hidden     int         // how much of it is behind a limit
	started    bool
}

func newOracle() *oracle {
	return &oracle{
		known: entityTexts{}, grids: map[string][]int{}, seen: map[string]time.Time{}, missed: map[string]int{}, emptySince: map[int]time.Time{},
		blank: map[string]int{},
	}
}

// choose gives the row that counts of those with one key: of the rows that change
// nothing in what is known, the one whose clock goes on best, or else the first.
func (o *oracle) choose(l *layout.Layout, s parsedBody, grid int, k keyRows) map[string]any {
	g := l.Grids[grid]
	known := o.known[g.Kind][k.id]
	if known == nil {
		return k.rows[0]
	}
	was := o.clocks[clockKey{grid, string(g.Kind) + "/" + k.id}]
	var best map[string]any
	distance := 0
	for _, row := range k.rows {
		repeats, clock := true, ""
		for _, c := range g.Columns {
			v, shown := row[c.ID]
			text, _ := textOf(v)
			if c.Stat == "clock" && shown {
				clock = text
			}
			before, isKnown := known[c.Stat]
			if _, overruled := s.entityTexts[g.Kind][k.id][c.Stat]; shown && isKnown && !overruled && !slices.Contains(l.Volatile, c.Stat) && before != text {
				repeats = false
			}
		}
		if d := clocksApart(was, clock); repeats && (best == nil || d < distance) {
			best, distance = row, d
		}
	}
	if best == nil {
		return k.rows[0]
	}
	return best
}

// clocksApart is how far two clocks are apart, a billion where one is no number of
// at most nine digits.
func clocksApart(a, b string) int {
	for _, s := range []string{a, b} {
		if s == "" || len(s) > 9 || strings.Trim(s, "0123456789") != "" {
			return 1_000_000_000
		}
	}
	x, _ := strconv.Atoi(a)
	y, _ := strconv.Atoi(b)
	return max(x-y, y-x)
}

// empty reports whether the snapshot shows no row in any grid, and one grid has lost
// its rows too short a time ago.
func (o *oracle) empty(l *layout.Layout, s parsedBody, now time.Time) bool {
	all, lost := true, false
	for i, g := range l.Grids {
		switch {
		case g.ID == "":
			continue
		case !s.isEmpty(i):
			all = false
			delete(o.emptySince, i)
			continue
		case o.emptySince[i].IsZero():
			o.emptySince[i] = now
		}
		for id := range o.known[g.Kind] {
			if slices.Contains(o.grids[string(g.Kind)+"/"+id], i) && now.Sub(o.emptySince[i]) < o.hold {
				lost = true
			}
		}
	}
	return all && lost
}

// isCut reports whether one of some grids may have more rows than the snapshot shows.
func isCut(l *layout.Layout, s parsedBody, grids []int) bool {
	return slices.ContainsFunc(grids, func(i int) bool { return l.Grids[i].Limit > 0 && s.length[i] >= l.Grids[i].Limit })
}

// expect gives the changes by kind/id. It counts absences, and learns nothing
// else.
func (o *oracle) expect(l *layout.Layout, s parsedBody, sent, now time.Time) map[string]expected {
	all := map[string]expected{}
	o.missing, o.hidden, o.clocks = nil, 0, s.clocks
	for kind, entities := range s.entityTexts {
		for id, texts := range entities {
			name := string(kind) + "/" + id
			o.grids[name], o.missed[name], o.seen[name], o.blank[name] = s.grids[name], 0, sent, s.blank[kind]
			before := o.known[kind][id]
			after := maps.Clone(texts)
			if before == nil {
				op := diff.Observed
				if o.started && !isCut(l, s, s.grids[name]) {
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
				if !slices.Contains(l.Volatile, stat) && (!known || was != after[stat]) {
					stats = append(stats, stat)
				}
			}
			if stats != nil {
				all[name] = expected{diff.Changed, stats, before, after}
			}
		}
	}
	for kind, entities := range o.known {
		for id, before := range entities {
			name := string(kind) + "/" + id
			if s.entityTexts[kind][id] != nil {
				continue
			}
			if o.disappears(l, s, kind, name, now) {
				all[name] = expected{Op: diff.Disappeared, Before: before}
			} else {
				o.missing = append(o.missing, o.seen[name])
			}
		}
	}
	o.started = true
	return all
}

// disappears reports whether a known entity that the snapshot lacks has now
// disappeared.
func (o *oracle) disappears(l *layout.Layout, s parsedBody, kind image.Kind, name string, now time.Time) bool {
	if s.spoilt[name] || s.blank[kind] > o.blank[name] {
		o.missed[name] = 0 // it is there, or may be
		return false
	}
	emptied := false
	for _, i := range o.grids[name] {
		if l.Grids[i].ID == "" {
			return false
		}
		emptied = emptied || o.hold > 0 && s.isEmpty(i)
	}
	if isCut(l, s, o.grids[name]) {
		o.hidden++
		return false
	}
	if emptied {
		return !slices.ContainsFunc(o.grids[name], func(i int) bool { return s.isEmpty(i) && now.Sub(o.emptySince[i]) < o.hold })
	}
	o.missed[name]++
	return o.missed[name] >= 2
}

// checkMissing compares what the last snapshot lacks.
func (o *oracle) checkMissing(s *diff.State) string {
	want := time.Time{}
	if len(o.missing) > 0 {
		want = slices.MinFunc(o.missing, time.Time.Compare)
	}
	since, missing := s.MissingSince()
	if missing != (len(o.missing) > 0) || !since.Equal(want) || s.Hidden() != o.hidden {
		return fmt.Sprintf("missing %v since %v, %d hidden; want %d since %v, %d hidden", missing, since, s.Hidden(), len(o.missing), want, o.hidden)
	}
	return ""
}

// asMap is an image as a map.
func asMap(m image.Image) map[string]string {
	if m.IsZero() {
		return nil
	}
	all := map[string]string{}
	maps.Insert(all, m.All())
	return all
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
		l.Grids[i].Columns = append(l.Grids[i].Columns[:3:3], layout.Column{ID: "4", Stat: "extension"})
	}
	l.Grids[1].Limit = []int{0, 0, 3}[seed%3]
	x := &randomTenant{
		Rand: rand.New(rand.NewPCG(seed, 0)), agents: map[string][]string{}, gridNames: map[string]string{}, emptied: map[string]int{},
	}
	o := newOracle()
	o.hold = time.Duration(seed%2) * 3 * time.Second
	options := diff.Options{DisappearAfter: 2, EmptyHold: o.hold}
	var s diff.State
	var prevBody []byte // what the state reads
	for n := range snapshots {
		body := x.next()
		raw := []byte(body)
		fail := func(what, d string) {
			t.Helper()
			t.Fatalf("seed %d, snapshot %d: %s\n%s\n%s", seed, n, what, d, body)
		}
		seen, err := parseReference(l, []byte(body), o)
		if err != nil {
			fail("the oracle cannot read it", err.Error())
		}
		snap := readBytes(t, &s, l, n, raw)
		if d := cmp.Diff(seen.counts, countsOf(snap)); d != "" {
			fail("counts (-oracle +package)", d)
		}
		want := o.empty(l, seen, snap.Received)
		changes, err := s.Compare(l, snap, options)
		if errors.Is(err, diff.ErrEmpty) != want {
			fail("refusal of empty grids", fmt.Sprint(err, ", want ", want))
		}
		if err != nil {
			continue
		}
		// Totals may come late, and are still the first of their kind.
		options.Baseline = map[image.Kind]bool{agent: true, totals: true}
		got := expectedOf(t, changes)
		wantChanges := o.expect(l, seen, snap.Sent, snap.Received)
		if d := cmp.Diff(wantChanges, got); d != "" {
			fail("changes (-oracle +package)", d)
		}
		if d := o.checkMissing(&s); d != "" {
			fail("absences", d)
		}
		// What is not acknowledged both sides must find again.
		none := x.IntN(8) == 0
		for _, c := range changes {
			if none || x.IntN(8) == 0 {
				continue
			}
			s.Set(c.Kind, c.ID, c.After, 1)
			o.known.set(c.Kind, c.ID, wantChanges[string(c.Kind)+"/"+c.ID].After)
		}
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
