package diff

import (
	"slices"
	"time"
)

// comparison is one Compare in progress. It has three steps: collect the candidates while their old
// rows are still there, advance to the new snapshot, emit the differences.
type comparison struct {
	*State
	snap     *Snapshot
	options  Options
	repeated bool      // the snapshot is of the same body as the last one
	prevSent time.Time // when the last snapshot's request was sent
	namesBuf []string
}

// candidate is an entity that may have changed.
type candidate struct {
	group    *group
	entity   *entity
	previous *previousView // nil if it is in one row of the last snapshot and nothing else is needed
	// The rows of a deferred candidate need not be read yet: its change is given by the columns in
	// which its only row differs from the previous one, or by its only row if it is new.
	deferred    bool
	grid        int16      // of the row
	prevFrom    uint32     // where the previous row begins
	changedCols columnBits // 0 = it is new
}

// previousView is how the previous snapshots showed an entity.
type previousView struct {
	image     Image     // zero if they did not
	grids     gridSet   // the grids of the last snapshot that showed it
	seenUntil time.Time // when the last request that showed it was sent; zero if none did
}

// collect finds the candidates. It reads the last snapshot's rows, so it changes no entity yet.
func (c *comparison) collect() {
	for _, g := range c.groups {
		for _, e := range g.visited {
			e.visited = false
		}
		clear(g.visited)
		g.visited = g.visited[:0]
	}
	if !c.repeated {
		total := 0
		for i := range c.snap.grids {
			t := &c.snap.grids[i]
			total += t.changedCount
			g := c.kinds[c.compiled.grids[i].kind]
			g.visited = slices.Grow(g.visited, t.changedCount)
		}
		c.candidates = slices.Grow(c.candidates, total)
		for i := range c.snap.grids {
			c.collectRows(i)
		}
	}
	for _, g := range c.groups {
		for _, o := range g.dirty {
			if o.entity == nil {
				continue
			}
			o.entity.dirtyIndex = -1
			if o.entity.grid != noGrid {
				c.addCandidate(g, o.entity, false)
			}
		}
		clear(g.dirty)
		g.dirty = g.dirty[:0]
	}
}

// collectRows finds the candidates among the rows of a grid.
func (c *comparison) collectRows(i int) {
	t := &c.snap.grids[i]
	g := c.kinds[c.compiled.grids[i].kind]
	var old []row
	if c.last != nil {
		old = c.last.grids[i].rows
	}
	reentry := c.options.ReentryTest
	if c.compiled.grids[i].clock < 0 {
		reentry = nil
	}
	keys, colsLeft := t.keys, t.changedCols
	for n := range t.rows {
		r := &t.rows[n]
		var cols columnBits
		if r.status == rowChanged {
			if len(keys) > 0 && keys[0].row == n {
				r.entity = c.internEntity(g, i, keys[0].key)
				keys = keys[1:]
				c.addNewRow(g, i, r.entity)
				continue
			}
			cols, colsLeft = colsLeft[0], colsLeft[1:]
		} else if reentry == nil {
			continue
		}
		j := n
		if t.firstMoved >= 0 && n >= t.firstMoved {
			j = r.entity.rowIn(i)
		}
		suspect := reentry != nil && reentry.needsImages(old[j].clock, r.clock)
		switch e := r.entity; {
		case !suspect && r.status != rowChanged:
		case !suspect && cols != 0 && e.rowBacked && int(e.grid) == i && !e.visited && c.compiled.grids[i].simple:
			c.addDeferred(candidate{group: g, entity: e, deferred: true, grid: int16(i), prevFrom: old[j].from, changedCols: cols})
		default:
			c.addCandidate(g, e, suspect)
		}
	}
	for j := 0; t.unmatched > 0 && j < len(old); j++ {
		if !t.matched.has(j) {
			c.addCandidate(g, old[j].entity, true)
		}
	}
}

// internEntity returns the entity with a key in a grid. It creates a missing one.
func (c *comparison) internEntity(g *group, grid int, key string) *entity {
	id := c.layout.idOf(grid, key)
	e := g.byID[id]
	if e == nil {
		e = &entity{id: id, grid: noGrid, dirtyIndex: -1}
		g.byID[id] = e
	}
	if g.byKey != nil {
		g.byKey[key] = e
	}
	return e
}

// addCandidate adds a candidate, with what its old rows hold.
func (c *comparison) addCandidate(g *group, e *entity, present bool) {
	if e.visited {
		return
	}
	e.visited = true
	g.visited = append(g.visited, e)
	cand := candidate{group: g, entity: e}
	switch {
	case e.grid == noGrid && e.rare != nil:
		cand.previous = &previousView{image: e.rare.lastImage, seenUntil: e.rare.seenUntil}
	case e.grid == manyGrids || e.grid != noGrid && present:
		cand.previous = &previousView{seenUntil: c.lastSent}
		cand.previous.image, cand.previous.grids = c.lastView(g, e)
	}
	e.pack, e.rowBacked = c.publishedPack(g, e), false
	c.candidates = append(c.candidates, cand)
}

// advance moves the entities to the new snapshot.
func (c *comparison) advance() {
	if c.repeated {
		if c.snap != c.last {
			c.last.body, c.last.Sent, c.last.Received = c.snap.body, c.snap.Sent, c.snap.Received
			c.last.setUnreadable(c.snap.unreadable)
		}
	} else {
		for i := range c.snap.grids {
			c.advanceRows(i)
		}
	}
	for _, cand := range c.candidates {
		switch e, g := cand.entity, cand.group; {
		case e.grid != noGrid && e.rare != nil:
			// Whether it was absent is checked in advanceRows.
		case e.grid == noGrid && !e.published:
			g.removeEntity(e)
		case e.grid == noGrid:
			c.markAbsent(g, e, cand.previous.image, cand.previous.grids)
		}
	}
	for _, g := range c.groups {
		g.absent = slices.DeleteFunc(g.absent, func(e *entity) bool {
			if e.grid != noGrid {
				if c.returned == nil {
					c.returned = map[*entity]time.Time{}
				}
				c.returned[e] = e.rare.seenUntil
				e.clearAbsence()
				return true
			}
			if !e.published {
				g.removeEntity(e)
			}
			return !e.published
		})
	}
	c.swapSnapshots()
}

// advanceRows stores the row of each entity in a grid.
func (c *comparison) advanceRows(i int) {
	t := &c.snap.grids[i]
	if t.unmatched > 0 {
		for j, r := range c.last.grids[i].rows {
			if !t.matched.has(j) {
				r.entity.clearRow(i)
			}
		}
	}
	if t.firstMoved < 0 {
		return
	}
	for n := t.firstMoved; n < len(t.rows); n++ {
		t.rows[n].entity.setRow(i, n)
	}
}

// swapSnapshots makes the snapshot the last one, and keeps the memory of the last one for the next.
func (c *comparison) swapSnapshots() {
	s := c.State
	s.repeated = c.repeated
	s.lastSent = c.snap.Sent
	if c.repeated {
		return
	}
	if c.snap == s.reusable {
		s.reusable = nil
		if s.last != nil && s.last.stateOwned {
			s.reusable = s.last
		}
	}
	if s.last != nil {
		s.prevBody = s.last.body
	}
	s.last = c.snap
	s.last.prev = nil
	for i := range s.last.grids {
		s.last.grids[i].shrink()
	}
}

// emit finds the changes of a kind.
func (c *comparison) emit(kind int) {
	g := c.kinds[kind]
	changes := &c.changes
	from := len(changes.list)
	g.dirty = slices.Grow(g.dirty, len(g.visited))
	sorted := true
	for i := range c.candidates {
		cand := &c.candidates[i]
		if cand.group != g || cand.entity.grid == noGrid {
			continue
		}
		n := len(changes.list)
		if !c.addCompact(cand, kind) {
			c.compareEntity(cand, kind)
		}
		sorted = sorted && (n == from || n == len(changes.list) || compareIDs(changes.list[n-1], changes.list[n]) < 0)
	}
	if !sorted { // many sources send their rows in order
		slices.SortFunc(changes.list[from:], compareIDs)
	}
	from = len(changes.list)
	heldBack := c.holdMassDeparture(g)
	for _, e := range g.absent {
		absent := c.absenceOf(g, e)
		if absent != absenceEmptied && (absent != absenceProven || !c.countAbsence(e, heldBack)) {
			c.addMissing(g, e, absent)
			continue
		}
		e.rare.assumedPresent, e.rare.lastImage = false, Image{}
		c.appendBuilt(kind, e, Change{
			Op: Disappeared, Kind: g.kind, ID: e.id, Before: c.imageOf(g, e, e.pack), Revision: e.revision, SeenUntil: e.rare.seenUntil,
		})
	}
	slices.SortFunc(changes.list[from:], compareIDs)
}

// appendBuilt adds a change whose images are built at once.
func (c *comparison) appendBuilt(kind int, e *entity, change Change) {
	c.changes.list = append(c.changes.list, compactChange{entity: e, builtIndex: int32(len(c.changes.built)), kind: uint16(kind), op: change.Op})
	c.changes.built = append(c.changes.built, change)
}

// appearOp returns the Op for an entity that has no published image.
func (c *comparison) appearOp(g *group, rows []gridRow) Op {
	if !c.options.Baseline[g.kind] || c.anyCut(c.snap, gridsOf(rows)) {
		return Observed
	}
	return Appeared
}

// compareEntity compares one entity that the snapshot shows.
func (c *comparison) compareEntity(cand *candidate, kind int) {
	g, e := cand.group, cand.entity
	var buf [1]gridRow
	rows := e.gridRows(buf[:])
	var at [1]rowRef
	after, singleRow := c.packRows(g, e, c.appendRowRefs(at[:0], e))
	change := Change{Op: Changed, Kind: g.kind, ID: e.id, SeenUntil: c.prevSent, After: Image{g.compiled.fields, after}}
	if cand.previous != nil {
		change.SeenUntil = cand.previous.seenUntil
	}
	if e.published {
		change.Before, change.Revision = c.imageOf(g, e, e.pack), e.revision
	}
	switch {
	case !e.published:
		change.Op, change.SeenUntil = c.appearOp(g, rows), time.Time{}
	case e.unpackable():
		change.Stats = slices.DeleteFunc(Differences(change.Before, change.After), func(stat string) bool {
			return g.compiled.volatile[g.compiled.statIndex(stat)]
		})
	default:
		change.Stats = c.diffPacks(g.compiled, e.pack, after)
	}
	if change.Op == Changed && cand.previous != nil && !cand.previous.image.IsZero() && c.options.ReentryTest != nil {
		change.Reentry = c.options.ReentryTest.Images(g.kind, cand.previous.image, change.After)
	}
	if change.Op == Changed && len(change.Stats) == 0 && !change.Reentry {
		if singleRow && !e.unpackable() {
			pack := g.compiled.volatileTexts(c.scratch[:0], e.pack)
			e.pack, e.rowBacked = string(pack), true
		}
		return
	}
	o := g.markDirty(e)
	o.after, o.singleRow = change.After, singleRow
	c.appendBuilt(kind, e, change)
}

// diffPacks names the statistics that differ between two packs, nil if none does.
func (c *comparison) diffPacks(k *compiledKind, before, after string) []string {
	names := k.appendDifferences(c.reserveNames(len(k.volatile)), before, after)
	if len(names) == 0 {
		return nil
	}
	c.namesBuf = c.namesBuf[:len(c.namesBuf)+len(names)]
	return names[:len(names):len(names)]
}

// reserveNames returns room for that many names at the end of namesBuf. The names of many changes
// share one allocation.
func (c *comparison) reserveNames(limit int) []string {
	if cap(c.namesBuf)-len(c.namesBuf) < limit {
		c.namesBuf = make([]string, 0, max(256, limit))
	}
	return c.namesBuf[len(c.namesBuf):len(c.namesBuf):cap(c.namesBuf)]
}

func gridsOf(rows []gridRow) gridSet {
	var set gridSet
	for _, p := range rows {
		set = append(set, p.grid)
	}
	return set
}
