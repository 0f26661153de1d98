package diff

import (
	"cmp"
	"slices"

	"bpcc-nats/internal/jsonscan"
)

// duplicate is a row whose key an earlier row of its grid has.
type duplicate struct {
	row   row
	grid  int
	first int32 // index of the earlier row
}

// shownRow is a row, and its grid.
type shownRow struct {
	grid int
	row  *row
}

// addDuplicate adds a row of which the earlier one is first.
func (s *Snapshot) addDuplicate(grid int, first int32, r row) {
	s.duplicates = append(s.duplicates, duplicate{r, grid, first})
	s.grids[grid].skipped++
	s.Duplicates++
}

// maxDuplicateKeys is how many keys of a grid are named that several rows have.
const maxDuplicateKeys = 3

// nameDuplicates sets DuplicateKeys.
func (s *Snapshot) nameDuplicates(l *compiledLayout) {
	if len(s.duplicates) == 0 {
		return
	}
	s.DuplicateKeys = make([][]string, len(s.grids))
	for _, d := range s.duplicates {
		ids, id := s.DuplicateKeys[d.grid], s.idOf(l, d.grid, &d.row)
		if at, found := slices.BinarySearch(ids, id); !found && at < maxDuplicateKeys {
			ids = slices.Insert(ids, at, id)
			s.DuplicateKeys[d.grid] = ids[:min(len(ids), maxDuplicateKeys)]
		}
	}
}

// idOf returns the id of the entity that a row shows.
func (s *Snapshot) idOf(l *compiledLayout, grid int, r *row) string {
	if r.entity != nil {
		return r.entity.id
	}
	g := &l.grids[grid]
	if g.key < 0 {
		return l.Grids[grid].Entity
	}
	key, _ := g.findValue(s.body, int(r.from), g.key)
	return l.EntityID(grid, string(jsonscan.Unquote(key)))
}

// entityOfRow finds the entity that a row shows, nil if there is none.
func (s *State) entityOfRow(snap *Snapshot, grid int, r *row) *entity {
	if r.entity != nil {
		return r.entity
	}
	return s.kinds[s.compiled.grids[grid].kind].byID[snap.idOf(s.compiled, grid, r)]
}

// chooseRows decides which row counts where several rows of a grid have one key: the one that
// repeats what is published, so that the order of rows makes no difference. If none repeats it, or
// nothing is published, the first one counts.
func (s *State) chooseRows(snap *Snapshot) {
	if len(snap.duplicates) == 0 {
		return
	}
	slices.SortStableFunc(snap.duplicates, func(a, b duplicate) int {
		return cmp.Or(cmp.Compare(a.grid, b.grid), cmp.Compare(a.first, b.first))
	})
	shown := map[*entity][]shownRow{} // the rows of entities with duplicates
	for _, d := range snap.duplicates {
		if e := s.entityOfRow(snap, d.grid, &d.row); e != nil && e.published() {
			shown[e] = nil
		}
	}
	if len(shown) == 0 {
		return
	}
	for grid, r := range snap.all() {
		e := s.entityOfRow(snap, grid, r)
		if rows, wanted := shown[e]; wanted {
			shown[e] = append(rows, shownRow{grid, r})
		}
	}
	for from, to := 0, 0; from < len(snap.duplicates); from = to {
		first := snap.duplicates[from]
		for to = from; to < len(snap.duplicates) && snap.duplicates[to].first == first.first && snap.duplicates[to].grid == first.grid; {
			to++
		}
		e := s.entityOfRow(snap, first.grid, &first.row)
		if e == nil || !e.published() {
			continue
		}
		candidates := []row{snap.rows[first.first]}
		for _, d := range snap.duplicates[from:to] {
			candidates = append(candidates, d.row)
		}
		at := &snap.rows[first.first]
		chosen := candidates[s.choose(snap, first.grid, e, candidates, shown[e])]
		snap.Cut += int(chosen.cut) - int(at.cut)
		chosen.entity, chosen.old, chosen.next = at.entity, at.old, at.next
		*at = chosen
	}
	snap.duplicates = nil
}

// choose returns the index of the row of one entity that counts. Where several rows repeat what is
// published, it is the one whose clock continues that of the last snapshot best.
func (s *State) choose(snap *Snapshot, grid int, e *entity, rows []row, shown []shownRow) int {
	clock := int32(noClock)
	if s.last != nil {
		if n := s.last.rowIn(grid, e); n >= 0 {
			clock = s.clockOf(grid, &s.last.rows[n], s.last.body)
		}
	}
	best, bestDistance := 0, int32(-1)
	for n := range rows {
		if !s.repeats(snap, grid, &rows[n], e, shown) {
			continue
		}
		if distance := clockDistance(clock, s.clockOf(grid, &rows[n], snap.body)); bestDistance < 0 || distance < bestDistance {
			best, bestDistance = n, distance
		}
	}
	return best
}

// clockOf returns the clock of a row, also of one that is written with escapes.
func (s *State) clockOf(grid int, r *row, body []byte) int32 {
	if r.clock != complexClock {
		return r.clock
	}
	g := &s.compiled.grids[grid]
	token, _ := g.findValue(body, int(r.from), g.clock)
	return parseSeconds(jsonscan.Unquote(token))
}

// maxClockDistance is the distance of two clocks of which one is not whole seconds. Those that are
// have at most nine digits.
const maxClockDistance = 1_000_000_000

// clockDistance returns by how much two clocks differ.
func clockDistance(a, b int32) int32 {
	if a < 0 || b < 0 {
		return maxClockDistance
	}
	return max(a-b, b-a)
}

// repeats reports whether no statistic of a row differs from the published image, those aside that
// are volatile, that the image does not know, or that an earlier grid shows too.
func (s *State) repeats(snap *Snapshot, grid int, r *row, e *entity, shown []shownRow) bool {
	g := s.kinds[s.compiled.grids[grid].kind]
	for i, stat := range g.compiled.stats {
		token := s.compiled.grids[grid].findStat(snap.body, r, i)
		if g.compiled.volatile[i] || token == nil {
			continue
		}
		was, known := e.image.Get(stat)
		if !known || was == string(s.compiled.textOf(g.kind, stat, token)) {
			continue
		}
		if !slices.ContainsFunc(shown, func(other shownRow) bool {
			return other.grid < grid && s.compiled.grids[other.grid].findStat(snap.body, other.row, i) != nil
		}) {
			return false
		}
	}
	return true
}

// findStat finds the value of a statistic in a row, nil if the row lacks it.
func (g *compiledGrid) findStat(body []byte, r *row, stat int) []byte {
	m := g.statMembers[stat]
	if m < 0 {
		return nil
	}
	token, _ := g.findValue(body, int(r.from), m)
	return token
}
