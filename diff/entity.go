package diff

import (
	"maps"
	"slices"
	"time"
)

// entity is what is kept of one entity.
//
// Its published image is kept whole as a pack, or lean: where the row that the
// last snapshot shows has all statistics and the same texts for those that are
// not volatile, only the volatile ones are packed, and the row tells the rest.
type entity struct {
	id           string
	pack         string
	rare         *rareState // what few entities have; nil for none
	revision     uint64     // the number set with the published image
	row          int32      // where the last snapshot shows it, if in one grid
	dirtyIndex   int32      // index of group.open, -1 for none
	grid         int16      // the grid of row, or one of the constants below
	published    bool       // there is a published image
	rowBacked    bool       // the pack holds volatile texts only
	oldRowBacked bool       // it leans on the row that the snapshot before the last showed
	visited      bool       // the last comparison looked at it
}

const (
	noGrid    = -1 // the last snapshot does not show it
	manyGrids = -2 // it stands in several grids; more has them
)

// rareState is what is kept of an entity out of the ordinary.
type rareState struct {
	// image is the published one if it cannot be packed, having statistics that
	// the layout does not have in this order.
	image    Image
	gridRows []gridRow // where the last snapshot shows it, if in several grids

	// What follows is of use while the entity is nowhere.
	assumedPresent  bool // its absence is not yet believed
	lastImage       Image
	lastGrids       gridSet   // where it was last seen; nil = it never was
	missedSnapshots int       // snapshots in a row without it
	seenUntil       time.Time // when the last request that showed it was sent
}

// gridRow is one row of a snapshot.
type gridRow struct{ grid, row int }

// ensureRare is more, made if there is none.
func (e *entity) ensureRare() *rareState {
	if e.rare == nil {
		e.rare = &rareState{}
	}
	return e.rare
}

// unpackable reports whether the published image cannot be packed.
func (e *entity) unpackable() bool { return e.rare != nil && !e.rare.image.IsZero() }

// gridRows lists where the last snapshot shows the entity, in the order of the
// grids. The list may lie in buf.
func (e *entity) gridRows(buf []gridRow) []gridRow {
	switch e.grid {
	case noGrid:
		return nil
	case manyGrids:
		return e.rare.gridRows
	}
	return append(buf[:0], gridRow{int(e.grid), int(e.row)})
}

// rowIn gives the row of a grid that shows the entity, -1 for none.
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

// setRow notes that a row shows the entity, in a grid that may have done so before.
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

// clearRow notes that a grid does not show the entity any more.
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

// clearAbsence forgets the absence of an entity that has a place again.
func (e *entity) clearAbsence() {
	if m := e.rare; m != nil {
		m.assumedPresent, m.lastImage, m.lastGrids, m.missedSnapshots, m.seenUntil = false, Image{}, nil, 0, time.Time{}
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
	// byKey finds an entity by the key of its row, where that is rewritten to
	// become the id; nil where it is not.
	byKey          map[string]*entity
	publishedCount int
	// absent are those that the last snapshot does not show.
	absent []*entity
	// dirty are those that the next comparison looks at whatever their rows say:
	// what is published of them may not be what they show.
	dirty []dirtyEntity
	// visited are those whose picture may be another than a snapshot before,
	// beside those whose rows have ticked.
	visited []*entity
	mass    massDeparture
}

// dirtyEntity is an entity to be looked at, and its image in the change that was told
// of it last.
type dirtyEntity struct {
	entity        *entity
	after         Image     // zero if nobody has asked for it
	prevFrom      uint32    // where its row stands in the body before the last, if it owes
	singleRow     bool      // its row tells all of after
	volatileRange packRange // of after, if that is known
}

// massDeparture is a mass departure that is being held.
type massDeparture struct {
	since    time.Time
	heldBack int
}

// markDirty makes sure that the next comparison looks at an entity.
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

// setRowBacked makes what the row of an entity shows the published image, but for
// the volatile texts, which are those of the image that was told of it last.
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

// clearImage forgets the published image.
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

// removeEntity takes an entity out of the group, but for the list of absent ones.
func (g *group) removeEntity(e *entity) {
	delete(g.byID, e.id)
	if g.byKey != nil {
		maps.DeleteFunc(g.byKey, func(_ string, other *entity) bool { return other == e })
	}
}
