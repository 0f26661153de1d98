package diff

import (
	"iter"
	"strings"
	"time"
)

// Changes are what one comparison has found, ordered by kind as the layout names
// them, then by id. They are good until [State.Rest], or the next Parse or
// Compare.
//
// Most are kept as a few words: what differs, and where the old row stood. Their
// images are made when somebody asks for them.
type Changes struct {
	state    *State
	list     []compactChange
	built    []Change
	prevSent time.Time // when the request of the snapshot before was sent
	setHint  int       // the one that Set is likely to be called for
}

// compactChange is a change before its images are made.
type compactChange struct {
	entity      *entity
	changedCols columnBits
	builtIndex  int32 // index of Changes.full; -1 = the rows tell all of it
	kind        uint16
	op          Op
}

// Len tells how many there are.
func (c *Changes) Len() int {
	if c == nil {
		return 0
	}
	return len(c.list)
}

// All gives them, whole.
func (c *Changes) All() iter.Seq[Change] {
	return func(yield func(Change) bool) {
		for i := range c.Len() {
			if !yield(c.At(i)) {
				return
			}
		}
	}
}

// Kind, ID and Op are those of the ith change.
func (c *Changes) Kind(i int) Kind { return c.compiledKind(i).kind }
func (c *Changes) ID(i int) string { return c.list[i].entity.id }
func (c *Changes) Op(i int) Op     { return c.list[i].op }

func (c *Changes) compiledKind(i int) *compiledKind { return &c.state.compiled.kinds[c.list[i].kind] }

// Stats are those of the ith change. The caller must not change them.
func (c *Changes) Stats(i int) []string {
	if full := c.list[i].builtIndex; full >= 0 {
		return c.built[full].Stats
	}
	return c.state.changedStats(int(c.list[i].entity.grid), c.list[i].changedCols)
}

// ShortTexts reports whether a statistic that differs may have a text of one byte at most,
// both before the ith change and after it.
func (c *Changes) ShortTexts(i int) bool {
	return c.list[i].builtIndex >= 0 || c.list[i].changedCols&shortBit != 0
}

// Revision is that of the ith change, as long as nothing new was set.
func (c *Changes) Revision(i int) uint64 {
	if full := c.list[i].builtIndex; full >= 0 {
		return c.built[full].Revision
	}
	return c.list[i].entity.revision
}

// Reentry is that of the ith change.
func (c *Changes) Reentry(i int) bool {
	full := c.list[i].builtIndex
	return full >= 0 && c.built[full].Reentry
}

// EntityView is what the snapshot shows of the ith change's entity, if it is not gone.
func (c *Changes) EntityView(i int) EntityView {
	return EntityView{c.state, c.state.kinds[c.list[i].kind], c.list[i].entity}
}

// At gives the ith change, whole. If something was set for its entity meanwhile,
// it is a change from that.
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

// beforeAfterPacks gives the pack of what is published of an entity and of what its row
// shows, and whether the row alone tells all of that.
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

// currentPack gives the pack of what the last snapshot shows of an entity, and whether
// one row alone tells all of it.
func (s *State) currentPack(g *group, e *entity) (pack string, singleRow bool) {
	var buf [1]rowRef
	published := entity{pack: e.pack, rare: e.rare}
	if e.rowBacked {
		// What the rows show is not what is published, but tells all of it.
		published.pack = ""
	}
	return s.packRows(g, &published, s.appendRowRefs(buf[:0], e))
}

// Release ends the use of the last comparison's changes. After it nobody looks any
// more at the body of the snapshot before, and its memory may be used again.
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

// changedStats names what differs in a row of a grid, as the layout orders them. Few
// combinations are met, and most rows of a snapshot share theirs.
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

// addNewRow is touch for an entity that a row shows which has none beside it.
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

// addCompact adds the change of a plain entity, unless it turns out that a closer look
// is needed: it stands in another grid too.
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

// compareIDs orders changes.
func compareIDs(a, b compactChange) int { return strings.Compare(a.entity.id, b.entity.id) }
