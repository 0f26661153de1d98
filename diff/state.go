package diff

import (
	"slices"
	"time"

	"bpcc-nats/diff/image"
	"bpcc-nats/diff/layout"
)

// State is the published images of all entities. The zero value has none. It is not safe for
// concurrent use.
//
// It also keeps the snapshot that was compared last, body included, so that the next one is aligned
// with it.
type State struct {
	groups   map[image.Kind]*group
	kinds    []*group // those of the layout, by index of compiledLayout.kinds
	compiled *compiledLayout
	last     *Snapshot // the snapshot compared last, nil for none
	parsed   *Snapshot // the snapshot of the last Parse, until it is compared
	spare    *Snapshot // memory for the next one
	lastSent time.Time // when the request of the last one was sent
	prevSent time.Time // when the request of the one before was sent
	repeated bool      // the last one had the same body as the one before
	// returned holds the entities that the last snapshot shows and the one before did not, with
	// when they were last seen before; zero if no snapshot of this State has shown them.
	returned map[*entity]time.Time
	// missing reports whether an entity was not in the last snapshot and has not been reported as
	// disappeared, and missingSince when the first of them was last seen; hidden is how many of them
	// are behind a grid's limit.
	missing      bool
	missingSince time.Time
	hidden       int
	emptySince   []time.Time // by grid: when the first of the snapshots in a row without its rows was received; zero = it has rows
	emptied      []int       // grids whose rows are held because it is empty, in order

	reader rowReader
}

// entity is the state of one entity.
type entity struct {
	id       string
	image    image.Image  // the published one, zero if there is none
	revision uint64       // the revision set with it
	absent   *absentState // nil while the last snapshot shows it
	row      int32        // its row in the last snapshot, in the first grid that shows it; -1 for none
	compared bool         // the last comparison compared it
	open     bool         // the next comparison must compare it even if its rows are the same
}

func (e *entity) published() bool { return !e.image.IsZero() }

// group is all entities of a kind.
type group struct {
	compiled       *compiledKind // nil if the layout lacks the kind
	kind           image.Kind
	byID           map[string]*entity
	publishedCount int
	absent         []*entity
	open           []openEntity
	setHint        int         // index of the open entity that Set is likely to be called for next
	candidates     []candidate // of the last comparison
	mass           massDeparture
}

// openEntity is an entity that the next comparison must compare, and its image in the last snapshot,
// zero if it is not known.
type openEntity struct {
	entity *entity
	shown  image.Image
}

// markOpen makes the next comparison compare an entity.
func (g *group) markOpen(e *entity, shown image.Image) {
	if !e.open {
		e.open = true
		g.open = append(g.open, openEntity{e, shown})
	}
}

// closeIfShown drops an open entity whose published image is now what the last snapshot shows. It
// finds those that Set is called for in the order of the changes; all others may stay open.
func (g *group) closeIfShown(e *entity) {
	for i := g.setHint; i < min(g.setHint+2, len(g.open)); i++ {
		if o := g.open[i]; o.entity == e && e.published() && o.shown == e.image {
			e.open, g.open[i], g.setHint = false, openEntity{}, i+1
		}
	}
}

// addAbsent adds an entity that no snapshot has shown.
func (g *group) addAbsent(e *entity, a *absentState) {
	e.row, e.absent = -1, a
	g.absent = append(g.absent, e)
}

// group returns the group of a kind. It creates a missing one.
func (s *State) group(kind image.Kind) *group {
	if s.groups == nil {
		s.groups = map[image.Kind]*group{}
	}
	g := s.groups[kind]
	if g == nil {
		g = &group{kind: kind, byID: map[string]*entity{}}
		s.groups[kind] = g
	}
	return g
}

func (s *State) findEntity(kind image.Kind, id string) *entity {
	if g := s.groups[kind]; g != nil {
		return g.byID[id]
	}
	return nil
}

// entityOf finds the entity that a grid shows under a key, nil if there is none.
func (s *State) entityOf(grid int, key []byte) *entity {
	g := s.kinds[s.compiled.grids[grid].kind]
	if s.compiled.Rewrite == nil { // without an allocation
		return g.byID[string(key)]
	}
	return g.byID[s.compiled.EntityID(grid, string(key))]
}

// Parse reads a body as the function Parse does, but aligned with the snapshot that was compared last:
// what has not changed is not read again. The snapshot is for Compare, and valid until the next
// Parse. The body must not change until another one has been compared.
func (s *State) Parse(l *layout.Layout, body []byte) (*Snapshot, error) {
	s.setLayout(l)
	s.parsed = nil
	if s.spare == nil {
		s.spare = &Snapshot{}
	}
	if err := s.compiled.parse(body, s.spare, s); err != nil {
		return nil, err
	}
	s.parsed = s.spare
	s.chooseRows(s.parsed)
	return s.parsed, nil
}

// MissingSince reports whether the last snapshot lacked entities that are not reported as
// disappeared. seenUntil is when the last request that showed the first of them was sent; zero if no
// snapshot of this State has shown it.
func (s *State) MissingSince() (seenUntil time.Time, any bool) { return s.missingSince, s.missing }

// Hidden returns how many published entities the last snapshot did not show because a grid that may
// have them is as long as its limit.
func (s *State) Hidden() int { return s.hidden }

// Emptied lists the grids of the layout that had rows and were empty in the last snapshot, and have
// not been for EmptyHold. The caller must not modify the slice.
func (s *State) Emptied() []int { return s.emptied }

// Set makes m the published image of an entity; the zero Image removes it. The caller sets what
// was acknowledged, so that a difference that was not acknowledged is found again. The revision is
// stored with the image, for the caller's own use.
func (s *State) Set(kind image.Kind, id string, m image.Image, revision uint64) {
	g := s.group(kind)
	e := g.byID[id]
	switch {
	case e == nil && m.IsZero():
		return
	case e == nil:
		e = &entity{id: id}
		g.byID[id] = e
		g.addAbsent(e, &absentState{assumedPresent: true})
	case e.published():
		g.publishedCount--
	}
	if !m.IsZero() {
		g.publishedCount++
		if g.compiled != nil {
			m = g.compiled.fields.Share(m)
		}
	} else if e.absent != nil {
		delete(g.byID, id)
		g.absent = slices.DeleteFunc(g.absent, func(other *entity) bool { return other == e })
	}
	if e.image, e.revision = m, revision; e.row >= 0 {
		g.markOpen(e, image.Image{})
		g.closeIfShown(e)
	}
}

// Image returns the published image of an entity, the zero Image if there is none.
func (s *State) Image(kind image.Kind, id string) image.Image {
	m, _ := s.Published(kind, id)
	return m
}

// Published returns the published image of an entity and its revision; the zero Image if there is
// none.
func (s *State) Published(kind image.Kind, id string) (image.Image, uint64) {
	if e := s.findEntity(kind, id); e != nil {
		return e.image, e.revision
	}
	return image.Image{}, 0
}

// HeldBack returns how many entities of a kind the last Compare did not count as missing because
// they left in a mass departure.
func (s *State) HeldBack(kind image.Kind) int {
	if g := s.groups[kind]; g != nil {
		return g.mass.heldBack
	}
	return 0
}

// IDs lists the published entities of a kind in order.
func (s *State) IDs(kind image.Kind) []string {
	var ids []string
	if g := s.groups[kind]; g != nil {
		for id, e := range g.byID {
			if e.published() {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return ids
}

// Len returns the number of published entities of a kind.
func (s *State) Len(kind image.Kind) int {
	if g := s.groups[kind]; g != nil {
		return g.publishedCount
	}
	return 0
}

// setLayout makes a layout the one that the state uses. No snapshot is aligned with one of another
// layout, so that all entities count as absent until the next one.
func (s *State) setLayout(l *layout.Layout) {
	if s.compiled != nil && s.compiled.Layout == l {
		return
	}
	for _, g := range s.groups {
		for _, e := range g.byID {
			if e.row >= 0 {
				g.addAbsent(e, &absentState{assumedPresent: e.published(), image: s.latestImage(g, e), seenUntil: s.lastSent})
			}
		}
		g.compiled = nil
	}
	s.compiled, s.kinds, s.last, s.parsed = compile(l), nil, nil, nil
	s.emptySince = make([]time.Time, len(l.Grids))
	for i := range s.compiled.kinds {
		g := s.group(s.compiled.kinds[i].kind)
		s.kinds = append(s.kinds, g)
		g.compiled = &s.compiled.kinds[i]
		for _, e := range g.byID {
			e.image = g.compiled.fields.Share(e.image)
		}
	}
}
