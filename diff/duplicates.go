package diff

import "slices"

// duplicate is a row whose key an earlier row of its grid has.
type duplicate struct {
	row         row
	changedCols columnBits
	key         string // of a row that has no previous row; "" for others, which have an entity
}

// maxDuplicateKeys is how many keys of a grid are named that several rows have.
const maxDuplicateKeys = 3

// nameDuplicates sets DuplicateKeys.
func (s *Snapshot) nameDuplicates(l *Layout) {
	for i := range s.grids {
		var ids []string
		for _, d := range s.grids[i].duplicates {
			var id string
			if d.row.entity != nil {
				id = d.row.entity.id
			} else {
				id = l.idOf(i, d.key)
			}
			if at, found := slices.BinarySearch(ids, id); !found && at < maxDuplicateKeys {
				ids = slices.Insert(ids, at, id)
				ids = ids[:min(len(ids), maxDuplicateKeys)]
			}
		}
		if ids == nil {
			continue
		}
		if s.DuplicateKeys == nil {
			s.DuplicateKeys = make([][]string, len(s.grids))
		}
		s.DuplicateKeys[i] = ids
	}
}

// chooseRows decides which row counts where several rows of a grid have one key: the one that
// repeats what is published, so that the order of rows makes no difference. If none repeats it, or
// nothing is published, the first one counts.
func (s *State) chooseRows(snap *Snapshot) {
	for i := range snap.grids {
		t := &snap.grids[i]
		if len(t.duplicates) == 0 {
			continue
		}
		if chosen := s.chosenRows(snap, i); len(chosen) > 0 {
			snap.Cut += t.replaceRows(chosen)
		}
		t.duplicates = nil
	}
}

// chosenRows returns the rows that count instead of the first ones, by index of these.
func (s *State) chosenRows(snap *Snapshot, i int) map[int]duplicate {
	t, kind := &snap.grids[i], s.compiled.grids[i].kind
	duplicates := map[*entity][]duplicate{}
	for _, d := range t.duplicates {
		if d.row.entity == nil {
			d.row.entity = s.entityOf(i, d.key)
		}
		if e := d.row.entity; e != nil && e.published {
			duplicates[e] = append(duplicates[e], d)
		}
	}
	if len(duplicates) == 0 {
		return nil
	}
	earlier := map[*entity][]rowRef{} // rows of the earlier grids of the kind, whose statistics win
	for k := range i {
		if s.compiled.grids[k].kind == kind {
			for e, n := range s.rowsOf(snap, k, duplicates) {
				earlier[e] = append(earlier[e], rowRef{k, snap.grids[k].rows[n].from, snap.body})
			}
		}
	}
	chosen := map[int]duplicate{}
	for e, n := range s.rowsOf(snap, i, duplicates) {
		candidates := append([]duplicate{{row: t.rows[n]}}, duplicates[e]...)
		if c := s.choose(snap, i, e, candidates, earlier[e]); c > 0 {
			chosen[n] = candidates[c]
		}
	}
	return chosen
}

// rowsOf returns the indexes of the rows of a grid that show some entities.
func (s *State) rowsOf(snap *Snapshot, grid int, entities map[*entity][]duplicate) map[*entity]int {
	rows := map[*entity]int{}
	keys := snap.grids[grid].keys
	for n := range snap.grids[grid].rows {
		e := snap.grids[grid].rows[n].entity
		if len(keys) > 0 && keys[0].row == n {
			e, keys = s.entityOf(grid, keys[0].key), keys[1:]
		}
		if len(entities[e]) > 0 {
			rows[e] = n
		}
	}
	return rows
}

// entityOf finds the entity of a row by its key, nil if there is none. One that no snapshot has shown
// is known by its id alone.
func (s *State) entityOf(grid int, key string) *entity {
	g := s.kinds[s.compiled.grids[grid].kind]
	if e := g.findKey([]byte(key)); e != nil || g.byKey == nil {
		return e
	}
	return g.byID[s.layout.idOf(grid, key)]
}

// choose returns the index of the row of one entity that counts. Where several rows repeat what is
// published, it is the one whose clock continues that of the last snapshot best.
func (s *State) choose(snap *Snapshot, grid int, e *entity, rows []duplicate, earlier []rowRef) int {
	g := s.kinds[s.compiled.grids[grid].kind]
	published := s.imageOf(g, e, s.publishedPack(g, e))
	clock := int32(noClock)
	if n := e.rowIn(grid); n >= 0 {
		clock = s.clockOf(grid, &s.last.grids[grid].rows[n], s.last.body)
	}
	best, bestDistance := -1, int32(0)
	for n := range rows {
		r := &rows[n].row
		if !s.repeats(rowRef{grid, r.from, snap.body}, g, published, earlier) {
			continue
		}
		if distance := clockDistance(clock, s.clockOf(grid, r, snap.body)); best < 0 || distance < bestDistance {
			best, bestDistance = n, distance
		}
	}
	return max(best, 0)
}

// clockOf returns the clock of a row, also of one that is written with escapes.
func (s *State) clockOf(grid int, r *row, body []byte) int32 {
	if r.clock != complexClock {
		return r.clock
	}
	g := &s.compiled.grids[grid]
	return parseSeconds(unquote(g.findValue(body, int(r.from), g.clock)))
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
func (s *State) repeats(r rowRef, g *group, published Image, earlier []rowRef) bool {
	grid := &s.compiled.grids[r.grid]
	for i, stat := range g.compiled.fields.names {
		if g.compiled.volatile[i] {
			continue
		}
		token := grid.findStat(r, i)
		if token == nil {
			continue
		}
		text := s.layout.rewrite(g.kind, stat, string(cutText(unquote(token))))
		was, known := published.Get(stat)
		if !known || was == text {
			continue
		}
		if !slices.ContainsFunc(earlier, func(other rowRef) bool { return s.compiled.grids[other.grid].findStat(other, i) != nil }) {
			return false
		}
	}
	return true
}

// findStat finds the value of a statistic in a row, nil if the row lacks it.
func (g *compiledGrid) findStat(r rowRef, stat int) []byte {
	for _, m := range g.statColumns[stat] {
		if token := g.findValue(r.body, int(r.from), m); token != nil {
			return token
		}
	}
	return nil
}

// replaceRows replaces rows, by index, with others of the same key. It returns how many more texts
// are cut.
func (t *table) replaceRows(by map[int]duplicate) (cut int) {
	keys, left := t.keys, t.changedCols
	var changedCols []columnBits
	t.changedCount = 0
	for n := range t.rows {
		r := &t.rows[n]
		isNew := len(keys) > 0 && keys[0].row == n
		var cols columnBits
		switch {
		case isNew:
			keys = keys[1:]
		case r.status == rowChanged:
			cols, left = left[0], left[1:]
		}
		if d, replaced := by[n]; replaced {
			cut += int(d.row.cut) - int(r.cut)
			d.row.entity = r.entity
			*r, cols = d.row, d.changedCols
		}
		if r.status != rowChanged {
			continue
		}
		t.changedCount++
		if !isNew {
			changedCols = append(changedCols, cols)
		}
	}
	t.changedCols = changedCols
	return cut
}
