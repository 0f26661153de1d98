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
	id       string
	pack     string
	more     *more  // what few entities have; nil for none
	revision uint64 // the number set with the published image
	row      int32  // where the last snapshot shows it, if in one grid
	open     int32  // index of group.open, -1 for none
	grid     int16  // the grid of row, or one of the constants below
	known    bool   // there is a published image
	lean     bool   // the pack holds volatile texts only
	owes     bool   // it leans on the row that the snapshot before the last showed
	touched  bool   // the last comparison looked at it
}

const (
	nowhere    = -1 // the last snapshot does not show it
	everywhere = -2 // it stands in several grids; more has them
)

// more is what is kept of an entity out of the ordinary.
type more struct {
	// image is the published one if it cannot be packed, having statistics that
	// the layout does not have in this order.
	image  Image
	places []place // where the last snapshot shows it, if in several grids

	// What follows is of use while the entity is nowhere.
	present   bool // its absence is not yet believed
	seen      Image
	home      gridSet   // where it was last seen; nil = it never was
	missed    int       // snapshots in a row without it
	seenUntil time.Time // when the last request that showed it was sent
}

// place is one row of a snapshot.
type place struct{ grid, row int }

// extra is more, made if there is none.
func (e *entity) extra() *more {
	if e.more == nil {
		e.more = &more{}
	}
	return e.more
}

// odd tells whether the published image cannot be packed.
func (e *entity) odd() bool { return e.more != nil && !e.more.image.IsZero() }

// places lists where the last snapshot shows the entity, in the order of the
// grids. The list may lie in buf.
func (e *entity) places(buf []place) []place {
	switch e.grid {
	case nowhere:
		return nil
	case everywhere:
		return e.more.places
	}
	return append(buf[:0], place{int(e.grid), int(e.row)})
}

// rowIn gives the row of a grid that shows the entity, -1 for none.
func (e *entity) rowIn(grid int) int {
	if int(e.grid) == grid {
		return int(e.row)
	}
	if e.grid == everywhere {
		for _, p := range e.more.places {
			if p.grid == grid {
				return p.row
			}
		}
	}
	return -1
}

// put notes that a row shows the entity, in a grid that may have done so before.
func (e *entity) put(grid, row int) {
	if e.grid == nowhere || int(e.grid) == grid {
		e.grid, e.row = int16(grid), int32(row)
		return
	}
	m := e.extra()
	if e.grid != everywhere {
		m.places = append(m.places[:0], place{int(e.grid), int(e.row)})
		e.grid = everywhere
	}
	i, found := slices.BinarySearchFunc(m.places, grid, func(p place, grid int) int { return p.grid - grid })
	if found {
		m.places[i].row = row
		return
	}
	m.places = slices.Insert(m.places, i, place{grid, row})
}

// drop notes that a grid does not show the entity any more.
func (e *entity) drop(grid int) {
	if int(e.grid) == grid {
		e.grid = nowhere
	}
	if e.grid != everywhere {
		return
	}
	m := e.more
	m.places = slices.DeleteFunc(m.places, func(p place) bool { return p.grid == grid })
	if len(m.places) == 1 {
		e.grid, e.row = int16(m.places[0].grid), int32(m.places[0].row)
		m.places = nil
	}
}

// appeared forgets the absence of an entity that has a place again.
func (e *entity) appeared() {
	if m := e.more; m != nil {
		m.present, m.seen, m.home, m.missed, m.seenUntil = false, Image{}, nil, 0, time.Time{}
		if m.image.IsZero() && m.places == nil {
			e.more = nil
		}
	}
}

// group is all entities of a kind.
type group struct {
	plan *kindPlan
	kind Kind
	byID map[string]*entity
	// byKey finds an entity by the key of its row, where that is rewritten to
	// become the id; nil where it is not.
	byKey map[string]*entity
	known int
	// absent are those that the last snapshot does not show.
	absent []*entity
	// open are those that the next comparison looks at whatever their rows say:
	// what is published of them may not be what they show.
	open []opened
	// touched are those whose picture may be another than a snapshot before,
	// beside those whose rows have ticked.
	touched []*entity
	mass    departure
}

// opened is an entity to be looked at, and its image in the change that was told
// of it last.
type opened struct {
	entity *entity
	after  Image  // zero if nobody has asked for it
	was    uint32 // where its row stands in the body before the last, if it owes
	whole  bool   // its row tells all of after
	runs   run    // of after, if that is known
}

// departure is a mass departure that is being held.
type departure struct {
	since time.Time
	held  int
}

// reopen makes sure that the next comparison looks at an entity.
func (g *group) reopen(e *entity) *opened {
	if e.open < 0 {
		e.open = int32(len(g.open))
		g.open = append(g.open, opened{entity: e})
	}
	return &g.open[e.open]
}

// keep makes an image the published one.
func (g *group) keep(e *entity, image Image, revision uint64) {
	g.clear(e)
	e.known, e.revision = true, revision
	g.known++
	if g.plan != nil {
		if pack, ok := g.plan.packed(image); ok {
			e.pack = pack
			return
		}
	}
	e.extra().image = image
}

// keepLean makes what the row of an entity shows the published image, but for
// the volatile texts, which are those of the image that was told of it last.
func (g *group) keepLean(e *entity, o *opened, revision uint64) {
	was := e.pack
	g.clear(e)
	e.known, e.lean, e.revision = true, true, revision
	g.known++
	is := o.after.pack
	var buf [256]byte
	var pack []byte
	if o.runs != (run{}) {
		pack = append(append(buf[:0], is[0]), is[o.runs.from:o.runs.to]...)
	} else {
		pack = g.plan.running(buf[:0], is)
	}
	if e.pack = was; was != string(pack) {
		e.pack = string(pack)
	}
}

// clear forgets the published image.
func (g *group) clear(e *entity) {
	if e.known {
		g.known--
	}
	e.pack, e.revision, e.known, e.lean, e.owes = "", 0, false, false, false
	if m := e.more; m != nil {
		if m.image = (Image{}); m.places == nil && e.grid != nowhere {
			e.more = nil
		}
	}
}

// remove takes an entity out of the group, but for the list of absent ones.
func (g *group) remove(e *entity) {
	delete(g.byID, e.id)
	if g.byKey != nil {
		maps.DeleteFunc(g.byKey, func(_ string, other *entity) bool { return other == e })
	}
}
