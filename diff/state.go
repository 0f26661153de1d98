package diff

import (
	"slices"
	"time"
)

// State is what is known of all entities. The zero value knows none. It is not
// safe for concurrent use.
//
// Beside what is published it keeps the snapshot that was compared last, body
// included, so that the next one is read beside it.
type State struct {
	groups map[Kind]*group
	kinds  []*group // those of the layout, by index of plan.kinds
	layout *Layout
	plan   *plan
	last   *Snapshot // the one compared last; nil = none that the next could stand beside
	spare  *Snapshot // memory for the next one
	older  []byte    // body of the one before the last, as long as changes may be asked for what it showed
	sent   time.Time // when the request of the last one was sent
	still  bool      // the last one was the same body as the one before
	// missing tells until when each entity was seen that the last one left out
	// and whose departure is not believed yet.
	missing []time.Time

	// Memory that is used again and again: for what a comparison looks at and
	// finds, two packs, a row's values by place and member, and a pack.
	works   []work
	changes Changes
	packs   []byte
	slab    slab
	values  []span
	scratch []byte
}

// group gives the entities of a kind, made if there are none.
func (s *State) group(kind Kind) *group {
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

func (s *State) entity(kind Kind, id string) *entity {
	if g := s.groups[kind]; g != nil {
		return g.byID[id]
	}
	return nil
}

// Parse reads a body as [Layout.Parse] does, but beside the snapshot that was
// compared last: what has not changed is not read again. The snapshot is for
// Compare, and good until the next Parse. The body must stay as it is until
// another one has been compared and its changes are done with, which [State.Rest]
// or the next Parse tells.
func (s *State) Parse(l *Layout, body []byte) (*Snapshot, error) {
	s.Rest()
	s.adopt(l)
	if s.spare == nil {
		s.spare = &Snapshot{}
	}
	snap, err := l.parse(body, s.spare, s.last, func(kind int, key []byte) *entity {
		g := s.kinds[kind]
		if g.byKey != nil {
			return g.byKey[string(key)]
		}
		return g.byID[string(key)]
	})
	s.spare.own = true
	return snap, err
}

// Missing tells whether entities were left out by the last snapshot whose
// departure is not believed yet, and when the last request that showed the first
// of them was sent; zero if this State has not seen it.
func (s *State) Missing() (seenUntil time.Time, any bool) {
	if len(s.missing) == 0 {
		return time.Time{}, false
	}
	return slices.MinFunc(s.missing, time.Time.Compare), true
}

// Set makes image what is known of an entity; the zero Image forgets it. It is called for
// what was acknowledged, so that a difference that was not stays one. The
// revision is a number that goes with the image, for the caller's own use.
func (s *State) Set(kind Kind, id string, image Image, revision uint64) {
	g := s.group(kind)
	e := s.changed(kind, id)
	if e == nil {
		e = g.byID[id]
	}
	switch {
	case image.IsZero() && e == nil:
		return
	case image.IsZero() && e.grid != nowhere:
		g.clear(e)
		g.reopen(e)
		return
	case image.IsZero():
		g.clear(e)
		g.remove(e)
		g.absent = slices.DeleteFunc(g.absent, func(other *entity) bool { return other == e })
		return
	case e == nil:
		e = &entity{id: id, grid: nowhere, open: -1}
		g.byID[id] = e
		g.absent = append(g.absent, e)
		e.extra()
	}
	o := opened{}
	if e.grid != nowhere {
		o = *g.reopen(e)
	}
	if o.after.IsZero() || !o.after.Equal(image) {
		g.keep(e, image, revision)
		return
	}
	// It shows what is known of it: the next comparison need not look.
	if o.whole {
		g.keepLean(e, &o, revision)
	} else {
		g.keep(e, image, revision)
	}
	g.open[e.open] = opened{}
	e.open = -1
}

// changed finds an entity among the changes, if it is the one that was asked for
// last or that after it; nil if it is not.
func (s *State) changed(kind Kind, id string) *entity {
	c := &s.changes
	for i := c.next; i < min(c.next+2, len(c.list)); i++ {
		// One that the snapshot does not show may have been removed meanwhile.
		if e := c.list[i].entity; e.id == id && c.Kind(i) == kind && e.grid != nowhere {
			c.next = i
			return e
		}
	}
	return nil
}

// Image returns what is known of an entity, the zero Image if nothing.
func (s *State) Image(kind Kind, id string) Image {
	image, _ := s.Published(kind, id)
	return image
}

// Published returns what is known of an entity and the revision that was set with
// it; the zero Image if nothing is.
func (s *State) Published(kind Kind, id string) (Image, uint64) {
	e := s.entity(kind, id)
	if e == nil || !e.known {
		return Image{}, 0
	}
	return s.image(s.groups[kind], e, s.whole(s.groups[kind], e)), e.revision
}

// Held tells how many entities of a kind the last Compare did not count as
// missing because they left in a mass.
func (s *State) Held(kind Kind) int {
	if g := s.groups[kind]; g != nil {
		return g.mass.held
	}
	return 0
}

// IDs lists the known entities of a kind in order.
func (s *State) IDs(kind Kind) []string {
	var ids []string
	if g := s.groups[kind]; g != nil {
		for id, e := range g.byID {
			if e.known {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return ids
}

// Len tells how many entities of a kind are known.
func (s *State) Len(kind Kind) int {
	if g := s.groups[kind]; g != nil {
		return g.known
	}
	return 0
}

// image gives an image out of a pack, or the one that cannot be packed.
func (s *State) image(g *group, e *entity, pack string) Image {
	if e.odd() {
		return e.more.image
	}
	return Image{g.plan.names, pack}
}

// whole gives the pack of an entity's published image.
func (s *State) whole(g *group, e *entity) string {
	if !e.lean {
		return e.pack
	}
	var buf [1]spot
	at := buf[:0]
	if e.owes {
		at = append(at, spot{int(e.grid), g.open[e.open].was, s.older})
	} else {
		at = s.spots(at, e)
	}
	pack, _ := s.pack(g, e, at)
	return pack
}

// spot is a row in a body.
type spot struct {
	grid int
	from uint32
	body []byte
}

// spots adds the rows of the last snapshot that show an entity, in the order of
// the grids.
func (s *State) spots(to []spot, e *entity) []spot {
	var buf [1]place
	for _, p := range e.places(buf[:]) {
		to = append(to, spot{p.grid, s.last.grids[p.grid].rows[p.row].from, s.last.body})
	}
	return to
}

// pack packs what rows show of an entity. Where two of them know the same
// statistic the first one rules; what no row tells is as published. Of a lean
// entity it packs the published image instead, for which the rows must be those
// that it leans on. It is alone if a single row told all of it.
func (s *State) pack(g *group, e *entity, rows []spot) (pack string, alone bool) {
	width := 0
	for _, r := range rows {
		width = max(width, len(s.plan.grids[r.grid].members))
	}
	if len(s.values) < width*len(rows) {
		s.values = make([]span, width*len(rows))
	}
	for n, r := range rows {
		grid := &s.plan.grids[r.grid]
		grid.read(r.body, int(r.from), s.values[n*width:n*width+len(grid.members)])
	}
	made, alone := append(s.scratch[:0], packPlain), len(rows) == 1
	published := texts(e.pack)
	for i, stat := range g.plan.names.all {
		var was string
		var known bool
		if published != "" && (!e.lean || g.plan.volatile[i]) {
			was, known, published = cutFirst(published)
			if e.lean {
				made = appendJudged(made, was, known)
				continue
			}
		}
		v, body := s.told(rows, width, i)
		switch {
		case v.length&plainSpan != 0 && s.layout.Rewrite == nil && v.length&^plainSpan < 128:
			length := v.length &^ plainSpan
			made = append(made, byte(length-1))
			made = append(made, body[v.from+1:v.from+length-1]...)
		case v.known():
			made = s.appendText(made, g.kind, stat, v.of(body))
		case e.odd():
			was, known = e.more.image.Get(stat)
			fallthrough
		default:
			alone = false
			made = appendJudged(made, was, known)
		}
	}
	s.scratch = made
	return string(made), alone
}

// told finds the value of a statistic among the values of rows, and in which body
// it stands.
func (s *State) told(rows []spot, width, stat int) (span, []byte) {
	for n, r := range rows {
		for _, m := range s.plan.grids[r.grid].tells[stat] {
			if v := s.values[n*width+m]; v.known() {
				return v, r.body
			}
		}
	}
	return span{}, nil
}

// appendText adds the text of a value to a pack.
func (s *State) appendText(pack []byte, kind Kind, stat string, token []byte) []byte {
	text := limited(decoded(token, nil))
	if s.layout.Rewrite != nil {
		text = []byte(s.layout.Rewrite(kind, stat, string(text)))
	}
	return appendJudged(pack, string(text), true)
}

// adopt makes a layout the one that the state works by.
func (s *State) adopt(l *Layout) {
	if s.layout == l {
		return
	}
	s.lift()
	images := map[*entity]Image{}
	for _, g := range s.groups {
		for _, e := range g.byID {
			if e.known {
				images[e] = s.image(g, e, e.pack)
			}
		}
		g.plan, g.byKey = nil, nil
	}
	s.layout, s.plan, s.kinds, s.spare = l, l.plan(), nil, nil
	for i := range s.plan.kinds {
		g := s.group(s.plan.kinds[i].kind)
		s.kinds = append(s.kinds, g)
		g.plan = &s.plan.kinds[i]
		if l.Rewrite != nil {
			g.byKey = map[string]*entity{}
		}
	}
	for _, g := range s.groups {
		for _, e := range g.byID {
			if e.known {
				g.keep(e, images[e], e.revision)
			}
		}
	}
}

// lift takes all entities out of the last snapshot, so that the next one need
// not stand beside it.
func (s *State) lift() {
	if s.last == nil {
		return
	}
	for _, g := range s.groups {
		for _, e := range g.byID {
			if e.grid == nowhere {
				continue
			}
			pack := s.whole(g, e)
			seen, home := s.seen(g, e)
			e.pack, e.lean = pack, false
			s.depart(g, e, seen, home)
		}
		clear(g.open)
		g.open = g.open[:0]
	}
	s.last = nil
}

// seen gives the last snapshot's picture of an entity, and its grids.
func (s *State) seen(g *group, e *entity) (Image, gridSet) {
	var buf [1]place
	home := gridsOf(e.places(buf[:]))
	pack, _ := s.shown(g, e)
	return Image{g.plan.names, pack}, home
}

// depart makes an entity one that the last snapshot does not show.
func (s *State) depart(g *group, e *entity, seen Image, home gridSet) {
	e.grid, e.open = nowhere, -1
	m := e.extra()
	m.places, m.present, m.seen, m.home, m.missed, m.seenUntil = nil, e.known, seen, home, 0, s.sent
	g.absent = append(g.absent, e)
}
