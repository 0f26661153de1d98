package diff

import (
	"slices"
	"time"
)

// State is the published images of all entities. The zero value has none. It is not safe for
// concurrent use.
//
// It also keeps the snapshot that was compared last, body included, so that the next one is aligned
// with it.
type State struct {
	groups   map[Kind]*group
	kinds    []*group // those of the layout, by index of compiledLayout.kinds
	layout   *Layout
	compiled *compiledLayout
	last     *Snapshot // the snapshot compared last; nil = none that the next could be aligned with
	reusable *Snapshot // memory for the next one
	prevBody []byte    // body of the snapshot before the last, until the changes are released
	lastSent time.Time // when the request of the last one was sent
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

	// Memory that is used again: the candidates and results of a comparison, two packs, a row's
	// values by column and member, and a pack.
	candidates []candidate
	changes    Changes
	packBuf    []byte
	arena      packArena
	valueBuf   []span
	scratch    []byte
}

// ensureGroup returns the group of a kind. It creates a missing one.
func (s *State) ensureGroup(kind Kind) *group {
	if s.groups == nil {
		s.groups = map[Kind]*group{}
	}
	g := s.groups[kind]
	if g == nil {
		g = &group{kind: kind, byID: map[string]*entity{}}
		s.groups[kind] = g
	}
	return g
}

func (s *State) findEntity(kind Kind, id string) *entity {
	if g := s.groups[kind]; g != nil {
		return g.byID[id]
	}
	return nil
}

// Parse reads a body as [Layout.Parse] does, but aligned with the snapshot that was compared last:
// what has not changed is not read again. The snapshot is for Compare, and valid until the next
// Parse. The body must not change until another one has been compared and its changes were
// released, by [State.Release] or the next Parse.
func (s *State) Parse(l *Layout, body []byte) (*Snapshot, error) {
	s.Release()
	s.setLayout(l)
	if s.reusable == nil {
		s.reusable = &Snapshot{}
	}
	snap, err := l.parse(body, s.reusable, s.last, func(kind int, key []byte) *entity { return s.kinds[kind].findKey(key) })
	s.reusable.stateOwned = true
	if err == nil {
		s.chooseRows(snap)
	}
	return snap, err
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

// Set makes image the published image of an entity; the zero Image removes it. The caller sets what
// was acknowledged, so that a difference that was not acknowledged is found again. The revision is
// stored with the image, for the caller's own use.
func (s *State) Set(kind Kind, id string, image Image, revision uint64) {
	g := s.ensureGroup(kind)
	e := s.findChanged(kind, id)
	if e == nil {
		e = g.byID[id]
	}
	switch {
	case image.IsZero() && e == nil:
		return
	case image.IsZero() && e.grid != noGrid:
		g.clearImage(e)
		g.markDirty(e)
		return
	case image.IsZero():
		g.clearImage(e)
		g.removeEntity(e)
		g.absent = slices.DeleteFunc(g.absent, func(other *entity) bool { return other == e })
		return
	case e == nil:
		e = &entity{id: id, grid: noGrid, dirtyIndex: -1}
		g.byID[id] = e
		g.absent = append(g.absent, e)
		e.ensureRare().assumedPresent = true
	}
	o := dirtyEntity{}
	if e.grid != noGrid {
		o = *g.markDirty(e)
	}
	if o.after.IsZero() || !o.after.Equal(image) {
		g.setImage(e, image, revision)
		return
	}
	// The row shows the published image: the next comparison can skip it.
	if o.singleRow {
		g.setRowBacked(e, &o, revision)
	} else {
		g.setImage(e, image, revision)
	}
	g.dirty[e.dirtyIndex] = dirtyEntity{}
	e.dirtyIndex = -1
}

// findChanged finds an entity among the changes if it is the one of the last call or the next one;
// nil if it is neither.
func (s *State) findChanged(kind Kind, id string) *entity {
	c := &s.changes
	for i := c.setHint; i < min(c.setHint+2, len(c.list)); i++ {
		// An entity that the snapshot does not show may have been removed since.
		if e := c.list[i].entity; e.id == id && c.Kind(i) == kind && e.grid != noGrid {
			c.setHint = i
			return e
		}
	}
	return nil
}

// Image returns the published image of an entity, the zero Image if there is none.
func (s *State) Image(kind Kind, id string) Image {
	image, _ := s.Published(kind, id)
	return image
}

// Published returns the published image of an entity and its revision; the zero Image if there is
// none.
func (s *State) Published(kind Kind, id string) (Image, uint64) {
	e := s.findEntity(kind, id)
	if e == nil || !e.published {
		return Image{}, 0
	}
	return s.imageOf(s.groups[kind], e, s.publishedPack(s.groups[kind], e)), e.revision
}

// HeldBack returns how many entities of a kind the last Compare did not count as missing because
// they left in a mass departure.
func (s *State) HeldBack(kind Kind) int {
	if g := s.groups[kind]; g != nil {
		return g.mass.heldBack
	}
	return 0
}

// IDs lists the published entities of a kind in order.
func (s *State) IDs(kind Kind) []string {
	var ids []string
	if g := s.groups[kind]; g != nil {
		for id, e := range g.byID {
			if e.published {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return ids
}

// Len returns the number of published entities of a kind.
func (s *State) Len(kind Kind) int {
	if g := s.groups[kind]; g != nil {
		return g.publishedCount
	}
	return 0
}

// imageOf returns the image of a pack, or the published image if it is unpackable.
// Without a pack nothing is known of the entity.
func (s *State) imageOf(g *group, e *entity, pack string) Image {
	switch {
	case e.unpackable():
		return e.rare.image
	case pack == "":
		return Image{}
	}
	return Image{g.compiled.fields, pack}
}

// publishedPack returns the pack of an entity's published image.
func (s *State) publishedPack(g *group, e *entity) string {
	if !e.rowBacked {
		return e.pack
	}
	var buf [1]rowRef
	at := buf[:0]
	if e.oldRowBacked {
		at = append(at, rowRef{int(e.grid), g.dirty[e.dirtyIndex].prevFrom, s.prevBody})
	} else {
		at = s.appendRowRefs(at, e)
	}
	pack, _ := s.packRows(g, e, at)
	return pack
}

// rowRef is a row in a body.
type rowRef struct {
	grid int
	from uint32
	body []byte
}

// appendRowRefs adds the rows of the last snapshot that show an entity, in the order of the grids.
func (s *State) appendRowRefs(to []rowRef, e *entity) []rowRef {
	var buf [1]gridRow
	for _, p := range e.gridRows(buf[:]) {
		to = append(to, rowRef{p.grid, s.last.grids[p.grid].rows[p.row].from, s.last.body})
	}
	return to
}

// packRows packs what rows show of an entity. Where two of them hold the same statistic, the first
// one wins. A statistic that no row holds is as published. For a rowBacked entity it packs the
// published image, and rows must be those that back it. singleRow is true if one row held all
// statistics.
func (s *State) packRows(g *group, e *entity, rows []rowRef) (pack string, singleRow bool) {
	width := 0
	for _, r := range rows {
		width = max(width, len(s.compiled.grids[r.grid].members))
	}
	if len(s.valueBuf) < width*len(rows) {
		s.valueBuf = make([]span, width*len(rows))
	}
	for n, r := range rows {
		grid := &s.compiled.grids[r.grid]
		grid.readRow(r.body, int(r.from), s.valueBuf[n*width:n*width+len(grid.members)])
	}
	packed, singleRow := append(s.scratch[:0], asciiPack), len(rows) == 1
	published := packBody(e.pack)
	for i, stat := range g.compiled.fields.names {
		var was string
		var known bool
		if published != "" && (!e.rowBacked || g.compiled.volatile[i]) {
			was, known, published = nextText(published)
			if e.rowBacked {
				packed = appendChecked(packed, was, known)
				continue
			}
		}
		v, body := s.lookupValue(rows, width, i)
		switch {
		case v.length&plainSpan != 0 && s.layout.Rewrite == nil && v.length&^plainSpan < 128:
			length := v.length &^ plainSpan
			packed = append(packed, byte(length-1))
			packed = append(packed, body[v.from+1:v.from+length-1]...)
		case v.present():
			packed = s.appendValue(packed, g.kind, stat, v.bytes(body))
		case e.unpackable():
			was, known = e.rare.image.Get(stat)
			fallthrough
		default:
			singleRow = false
			packed = appendChecked(packed, was, known)
		}
	}
	s.scratch = packed
	return string(packed), singleRow
}

// lookupValue finds the value of a statistic among the values of rows, and the body that holds it.
func (s *State) lookupValue(rows []rowRef, width, stat int) (span, []byte) {
	for n, r := range rows {
		for _, m := range s.compiled.grids[r.grid].statColumns[stat] {
			if v := s.valueBuf[n*width+m]; v.present() {
				return v, r.body
			}
		}
	}
	return span{}, nil
}

// appendValue adds the text of a value to a pack.
func (s *State) appendValue(pack []byte, kind Kind, stat string, token []byte) []byte {
	text := cutText(unquote(token))
	if s.layout.Rewrite != nil {
		text = []byte(s.layout.Rewrite(kind, stat, string(text)))
	}
	return appendChecked(pack, string(text), true)
}

// setLayout makes a layout the one that the state uses.
func (s *State) setLayout(l *Layout) {
	if s.layout == l {
		return
	}
	s.detach()
	images := map[*entity]Image{}
	for _, g := range s.groups {
		for _, e := range g.byID {
			if e.published {
				images[e] = s.imageOf(g, e, e.pack)
			}
		}
		g.compiled, g.byKey = nil, nil
	}
	s.layout, s.compiled, s.kinds, s.reusable = l, l.compile(), nil, nil
	s.emptySince = make([]time.Time, len(l.Grids))
	for i := range s.compiled.kinds {
		g := s.ensureGroup(s.compiled.kinds[i].kind)
		s.kinds = append(s.kinds, g)
		g.compiled = &s.compiled.kinds[i]
		if l.Rewrite != nil {
			g.byKey = map[string]*entity{}
		}
	}
	for _, g := range s.groups {
		for _, e := range g.byID {
			if e.published {
				g.setImage(e, images[e], e.revision)
			}
		}
	}
}

// detach removes the references of all entities to the last snapshot, so that the next one need not
// be aligned with it.
func (s *State) detach() {
	if s.last == nil {
		return
	}
	for _, g := range s.groups {
		for _, e := range g.byID {
			if e.grid == noGrid {
				continue
			}
			pack := s.publishedPack(g, e)
			image, grids := s.lastView(g, e)
			e.pack, e.rowBacked = pack, false
			s.markAbsent(g, e, image, grids)
		}
		clear(g.dirty)
		g.dirty = g.dirty[:0]
	}
	s.last = nil
}

// lastView returns the entity's image in the last snapshot, and its grids.
func (s *State) lastView(g *group, e *entity) (Image, gridSet) {
	var buf [1]gridRow
	home := gridsOf(e.gridRows(buf[:]))
	pack, _ := s.currentPack(g, e)
	return Image{g.compiled.fields, pack}, home
}

// markAbsent marks an entity as not in the last snapshot.
func (s *State) markAbsent(g *group, e *entity, image Image, grids gridSet) {
	e.grid, e.dirtyIndex = noGrid, -1
	m := e.ensureRare()
	m.gridRows, m.assumedPresent, m.lastImage, m.lastGrids, m.missedSnapshots, m.seenUntil = nil, e.published, image, grids, 0, s.lastSent
	m.unnamedBefore = s.last.unreadable.unnamedOf(g.kind)
	g.absent = append(g.absent, e)
}
