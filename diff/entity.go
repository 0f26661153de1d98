package diff

import (
	"maps"
	"slices"
	"time"
)

// entity is the state of one entity.
//
// Its published image is stored as a pack, or backed by its row: where the row in the last snapshot
// has all statistics and the same texts for those that are not volatile, only the volatile texts
// are packed, and the row holds the rest.
type entity struct {
	id           string
	pack         string
	rare         *rareState // state that few entities need; nil for none
	revision     uint64     // the revision set with the published image
	row          int32      // its row in the last snapshot, if in one grid
	dirtyIndex   int32      // index of group.dirty, -1 for none
	grid         int16      // the grid of row, or one of the constants below
	published    bool       // there is a published image
	rowBacked    bool       // the pack holds volatile texts only
	oldRowBacked bool       // the backing row is that of the snapshot before the last
	visited      bool       // the last comparison compared it
}

const (
	noGrid    = -1 // the last snapshot does not show it
	manyGrids = -2 // it is in several grids; rareState has them
)

// rareState is the state of an entity out of the ordinary.
type rareState struct {
	// image is the published one if it cannot be packed, because the layout does not have its
	// statistics in this order.
	image    Image
	gridRows []gridRow // its rows in the last snapshot, if in several grids

	// The rest is used while the last snapshot does not show the entity.
	assumedPresent  bool // its disappearance is not reported yet
	lastImage       Image
	lastGrids       gridSet   // the grids that showed it last; nil = none has
	missedSnapshots int       // successive snapshots without it
	seenUntil       time.Time // when the last request that showed it was sent
	unnamedBefore   int       // unreadable rows without a key, of its kind, in the last snapshot that showed it
}

// gridRow is one row of a snapshot.
type gridRow struct{ grid, row int }

// ensureRare returns e.rare. It creates a missing one.
func (e *entity) ensureRare() *rareState {
	if e.rare == nil {
		e.rare = &rareState{}
	}
	return e.rare
}

// unpackable reports whether the published image cannot be packed.
func (e *entity) unpackable() bool { return e.rare != nil && !e.rare.image.IsZero() }

// gridRows lists the rows of the entity in the last snapshot, in the order of the grids. The list
// may be stored in buf.
func (e *entity) gridRows(buf []gridRow) []gridRow {
	switch e.grid {
	case noGrid:
		return nil
	case manyGrids:
		return e.rare.gridRows
	}
	return append(buf[:0], gridRow{int(e.grid), int(e.row)})
}

// rowIn returns the row of a grid that shows the entity, -1 for none.
func (e *entity) rowIn(grid int) int {
	if int(e.grid) == grid {
		return int(e.row)
	}
	if e.grid == manyGrids {
		for _, p := range e.rare.gridRows {
			if p.grid == grid {
				return p.row
			}
		}
	}
	return -1
}

// setRow stores the row of the entity in a grid, which may have shown it before.
func (e *entity) setRow(grid, row int) {
	if e.grid == noGrid || int(e.grid) == grid {
		e.grid, e.row = int16(grid), int32(row)
		return
	}
	m := e.ensureRare()
	if e.grid != manyGrids {
		m.gridRows = append(m.gridRows[:0], gridRow{int(e.grid), int(e.row)})
		e.grid = manyGrids
	}
	i, found := slices.BinarySearchFunc(m.gridRows, grid, func(p gridRow, grid int) int { return p.grid - grid })
	if found {
		m.gridRows[i].row = row
		return
	}
	m.gridRows = slices.Insert(m.gridRows, i, gridRow{grid, row})
}

// clearRow removes the row of the entity in a grid.
func (e *entity) clearRow(grid int) {
	if int(e.grid) == grid {
		e.grid = noGrid
	}
	if e.grid != manyGrids {
		return
	}
	m := e.rare
	m.gridRows = slices.DeleteFunc(m.gridRows, func(p gridRow) bool { return p.grid == grid })
	if len(m.gridRows) == 1 {
		e.grid, e.row = int16(m.gridRows[0].grid), int32(m.gridRows[0].row)
		m.gridRows = nil
	}
}

// clearAbsence resets the absence of an entity that a row shows again.
func (e *entity) clearAbsence() {
	if m := e.rare; m != nil {
		m.assumedPresent, m.lastImage, m.lastGrids, m.missedSnapshots, m.seenUntil = false, Image{}, nil, 0, time.Time{}
		m.unnamedBefore = 0
		if m.image.IsZero() && m.gridRows == nil {
			e.rare = nil
		}
	}
}

// group is all entities of a kind.
type group struct {
	compiled *compiledKind
	kind     Kind
	byID     map[string]*entity
	// byKey finds an entity by the key of its row, where Rewrite makes another id of it; nil where
	// it does not.
	byKey          map[string]*entity
	publishedCount int
	// absent are those that the last snapshot does not show.
	absent []*entity
	// dirty are those that the next comparison must compare even if their rows are the same: their
	// published image may differ from the rows.
	dirty []dirtyEntity
	// visited are those whose image may differ from the one of the previous snapshot, in addition
	// to those whose rows differ in volatile columns only.
	visited []*entity
	mass    massDeparture
}

// dirtyEntity is an entity that must be compared, and its image in the change that was emitted for
// it last.
type dirtyEntity struct {
	entity        *entity
	after         Image     // zero if it was not built
	prevFrom      uint32    // where its row begins in the previous body, if the entity is oldRowBacked
	singleRow     bool      // its row holds all of after
	volatileRange packRange // of after; zero if unknown
}

// findKey finds the entity with the key of a row, nil if there is none.
func (g *group) findKey(key []byte) *entity {
	if g.byKey != nil {
		return g.byKey[string(key)]
	}
	return g.byID[string(key)]
}

// massDeparture is a mass departure that is being held back.
type massDeparture struct {
	since    time.Time
	heldBack int
}

// markDirty makes the next comparison compare an entity.
func (g *group) markDirty(e *entity) *dirtyEntity {
	if e.dirtyIndex < 0 {
		e.dirtyIndex = int32(len(g.dirty))
		g.dirty = append(g.dirty, dirtyEntity{entity: e})
	}
	return &g.dirty[e.dirtyIndex]
}

// setImage makes an image the published one.
func (g *group) setImage(e *entity, image Image, revision uint64) {
	g.clearImage(e)
	e.published, e.revision = true, revision
	g.publishedCount++
	if g.compiled != nil {
		if pack, ok := g.compiled.packImage(image); ok {
			e.pack = pack
			return
		}
	}
	e.ensureRare().image = image
}

// setRowBacked makes the row of an entity back its published image. The volatile texts are those of
// the image that was emitted for it last.
func (g *group) setRowBacked(e *entity, o *dirtyEntity, revision uint64) {
	was := e.pack
	g.clearImage(e)
	e.published, e.rowBacked, e.revision = true, true, revision
	g.publishedCount++
	is := o.after.pack
	var buf [256]byte
	var pack []byte
	if o.volatileRange != (packRange{}) {
		pack = append(append(buf[:0], is[0]), is[o.volatileRange.from:o.volatileRange.to]...)
	} else {
		pack = g.compiled.volatileTexts(buf[:0], is)
	}
	if e.pack = was; was != string(pack) {
		e.pack = string(pack)
	}
}

// clearImage removes the published image.
func (g *group) clearImage(e *entity) {
	if e.published {
		g.publishedCount--
	}
	e.pack, e.revision, e.published, e.rowBacked, e.oldRowBacked = "", 0, false, false, false
	if m := e.rare; m != nil {
		if m.image = (Image{}); m.gridRows == nil && e.grid != noGrid {
			e.rare = nil
		}
	}
}

// removeEntity removes an entity from the group, but not from the list of absent ones.
func (g *group) removeEntity(e *entity) {
	delete(g.byID, e.id)
	if g.byKey != nil {
		maps.DeleteFunc(g.byKey, func(_ string, other *entity) bool { return other == e })
	}
}
