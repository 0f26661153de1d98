package diff

import (
	"iter"
	"strings"
	"time"
)

// Changes are what one comparison found, ordered by kind as the layout lists the kinds, then by id.
// They are valid until [State.Release], or the next Parse or Compare.
//
// Most changes are stored compactly: which columns differ, and where the old row begins. Their
// images are built when they are read.
type Changes struct {
	state    *State
	list     []compactChange
	built    []Change
	prevSent time.Time // when the request of the previous snapshot was sent
	setHint  int       // index of the change that Set is likely to be called for next
}

// compactChange is a change before its images are built.
type compactChange struct {
	entity      *entity
	changedCols columnBits
	builtIndex  int32 // index of Changes.built; -1 = the rows hold all of it
	kind        uint16
	op          Op
}

// Len returns the number of changes.
func (c *Changes) Len() int {
	if c == nil {
		return 0
	}
	return len(c.list)
}

// All yields the changes with their images.
func (c *Changes) All() iter.Seq[Change] {
	return func(yield func(Change) bool) {
		for i := range c.Len() {
			if !yield(c.At(i)) {
				return
			}
		}
	}
}

// Kind and Op are those of the ith change.
func (c *Changes) Kind(i int) Kind { return c.state.compiled.kinds[c.list[i].kind].kind }
func (c *Changes) Op(i int) Op     { return c.list[i].op }

// Stats names the statistics of the ith change that differ. The caller must not modify the slice.
func (c *Changes) Stats(i int) []string {
	if full := c.list[i].builtIndex; full >= 0 {
		return c.built[full].Stats
	}
	return c.state.changedStats(int(c.list[i].entity.grid), c.list[i].changedCols)
}

// ShortTexts reports whether a statistic that differs may have a text of at most one byte, both
// before and after the ith change.
func (c *Changes) ShortTexts(i int) bool {
	return c.list[i].builtIndex >= 0 || c.list[i].changedCols&shortBit != 0
}

// Revision is the revision of the ith change's published image, as long as Set was not called for
// its entity.
func (c *Changes) Revision(i int) uint64 {
	if full := c.list[i].builtIndex; full >= 0 {
		return c.built[full].Revision
	}
	return c.list[i].entity.revision
}

// Reentry reports whether the ReentryTest found the ith change.
func (c *Changes) Reentry(i int) bool {
	full := c.list[i].builtIndex
	return full >= 0 && c.built[full].Reentry
}

// EntityView is the view of the ith change's entity, if the snapshot shows it.
func (c *Changes) EntityView(i int) EntityView {
	return EntityView{c.state, c.state.kinds[c.list[i].kind], c.list[i].entity}
}

// At returns the ith change with its images. If Set was called for its entity since the comparison,
// the change starts at the image that was set.
func (c *Changes) At(i int) Change {
	at := &c.list[i]
	if at.builtIndex >= 0 {
		return c.built[at.builtIndex]
	}
	s, e := c.state, at.entity
	g := s.kinds[at.kind]
	change := Change{Op: at.op, Kind: g.kind, ID: e.id, Revision: e.revision}
	var before, after string
	singleRow := true
	if at.op == Changed {
		change.Stats, change.SeenUntil = c.Stats(i), c.prevSent
		before, after, singleRow = s.beforeAfterPacks(g, e, at.changedCols)
		change.Before = Image{g.compiled.fields, before}
	} else {
		after, singleRow = s.currentPack(g, e)
	}
	change.After = Image{g.compiled.fields, after}
	if e.dirtyIndex >= 0 {
		g.dirty[e.dirtyIndex].after, g.dirty[e.dirtyIndex].singleRow = change.After, singleRow
	}
	return change
}

// beforeAfterPacks returns the pack of an entity's published image and the pack of its current
// image, and whether a single row holds all of the current one.
func (s *State) beforeAfterPacks(g *group, e *entity, cols columnBits) (before, after string, singleRow bool) {
	if e.oldRowBacked {
		if before, after, ok := s.pairedPacks(g, e, cols); ok {
			return before, after, true
		}
	}
	before = s.publishedPack(g, e)
	after, singleRow = s.currentPack(g, e)
	return before, after, singleRow
}

// currentPack returns the pack of an entity's image in the last snapshot, and whether a single row
// holds all of it.
func (s *State) currentPack(g *group, e *entity) (pack string, singleRow bool) {
	var buf [1]rowRef
	published := entity{pack: e.pack, rare: e.rare}
	if e.rowBacked {
		// The rows differ from what is published, but hold all of it.
		published.pack = ""
	}
	return s.packRows(g, &published, s.appendRowRefs(buf[:0], e))
}

// Release ends the use of the last comparison's changes. The body of the previous snapshot is not
// read after it, so its memory may be used again.
func (s *State) Release() {
	entities := 0
	for _, g := range s.groups {
		entities += len(g.byID)
		for i := range g.dirty {
			if e := g.dirty[i].entity; e != nil && e.oldRowBacked {
				e.pack = s.publishedPack(g, e)
				e.rowBacked, e.oldRowBacked = false, false
			}
		}
	}
	s.prevBody, s.arena = nil, packArena{}
	c := &s.changes
	clear(c.built)
	c.built, c.list, c.setHint = shrink(c.built[:0], 0, entities), shrink(c.list[:0], 0, entities), 0
}

// changedStats names the statistics that differ in a row of a grid, in the order of the layout. Few
// combinations occur, and most rows of a snapshot share theirs.
func (s *State) changedStats(grid int, cols columnBits) []string {
	compiled := &s.compiled.grids[grid]
	cols &^= shortBit
	if compiled.lastChangedStats.cols == cols {
		return compiled.lastChangedStats.stats
	}
	if stats, known := compiled.changedStats[cols]; known {
		compiled.lastChangedStats = changedStats{cols, stats}
		return stats
	}
	kind := &s.compiled.kinds[compiled.kind]
	var names []string
	for i, m := range compiled.statColumn {
		if !kind.volatile[i] && cols&(1<<m) != 0 {
			names = append(names, kind.fields.names[i])
		}
	}
	const limit = 1000 // bounds the memory
	if compiled.changedStats == nil || len(compiled.changedStats) >= limit {
		compiled.changedStats = map[columnBits][]string{}
	}
	compiled.changedStats[cols] = names[:len(names):len(names)]
	return compiled.changedStats[cols]
}

// addNewRow adds an entity whose row has no previous row.
func (c *comparison) addNewRow(g *group, grid int, e *entity) {
	if e.visited || e.published || e.grid != noGrid || e.rare != nil {
		c.addCandidate(g, e, false)
		return
	}
	c.addDeferred(candidate{group: g, entity: e, deferred: true, grid: int16(grid)})
}

// addDeferred adds an entity whose rows need not be read yet.
func (c *comparison) addDeferred(cand candidate) {
	cand.entity.visited = true
	cand.group.visited = append(cand.group.visited, cand.entity)
	c.candidates = append(c.candidates, cand)
}

// addCompact adds the change of a deferred candidate. It returns false if the rows must be read:
// the entity is in another grid too.
func (c *comparison) addCompact(cand *candidate, kind int) bool {
	g, e := cand.group, cand.entity
	if !cand.deferred {
		return false
	}
	if e.grid != cand.grid {
		if e.rowBacked {
			e.pack, _ = c.packRows(g, e, []rowRef{{int(cand.grid), cand.prevFrom, c.prevBody}})
			e.rowBacked = false
		}
		return false
	}
	op := Changed
	if !e.published {
		op = c.appearOp(g, []gridRow{{int(e.grid), int(e.row)}})
	}
	o := g.markDirty(e)
	o.prevFrom, e.oldRowBacked = cand.prevFrom, e.rowBacked
	c.changes.list = append(c.changes.list, compactChange{entity: e, changedCols: cand.changedCols, builtIndex: -1, kind: uint16(kind), op: op})
	return true
}

// compareIDs orders changes by id.
func compareIDs(a, b compactChange) int { return strings.Compare(a.entity.id, b.entity.id) }
