package diff

import (
	"slices"
	"time"
)

// comparison is one Compare under way. It goes in three steps: gather the
// entities to be looked at while their old rows still stand, settle where the
// new snapshot shows each, tell what differs.
type comparison struct {
	*State
	snap    *Snapshot
	options Options
	again   bool      // the snapshot is of the same body as the last one
	before  time.Time // when the last snapshot's request was sent
	differ  []string
}

// work is an entity to be looked at.
type work struct {
	group  *group
	entity *entity
	past   *past // nil if the last snapshot showed it, and that is all there is to it
	// A plain one is known by what differs between its only row and the one beside
	// that, or is new and known by its only row; it need not be read yet.
	plain  bool
	grid   int16     // of the row
	was    uint32    // where the row beside begins
	differ differing // 0 = it is new
}

// past is how an entity was shown before.
type past struct {
	seen  Image     // zero if it was not
	home  gridSet   // where the last snapshot showed it
	until time.Time // when the last request that showed it was sent; zero if none did
}

// gather finds the entities to be looked at. It reads the last snapshot's rows,
// and moves nothing yet.
func (c *comparison) gather() {
	for _, g := range c.groups {
		for _, e := range g.touched {
			e.touched = false
		}
		clear(g.touched)
		g.touched = g.touched[:0]
	}
	if !c.again {
		works := 0
		for i := range c.snap.grids {
			t := &c.snap.grids[i]
			works += t.anew
			g := c.kinds[c.plan.grids[i].kind]
			g.touched = slices.Grow(g.touched, t.anew)
		}
		c.works = slices.Grow(c.works, works)
		for i := range c.snap.grids {
			c.gatherRows(i)
		}
	}
	for _, g := range c.groups {
		for _, o := range g.open {
			if o.entity == nil {
				continue
			}
			o.entity.open = -1
			if o.entity.grid != nowhere {
				c.touch(g, o.entity, false)
			}
		}
		clear(g.open)
		g.open = g.open[:0]
	}
}

// gatherRows finds them among the rows of a grid.
func (c *comparison) gatherRows(i int) {
	t := &c.snap.grids[i]
	g := c.kinds[c.plan.grids[i].kind]
	var old []row
	if c.last != nil {
		old = c.last.grids[i].rows
	}
	notable := c.options.Notable
	if c.plan.grids[i].clock < 0 {
		notable = nil
	}
	keys, differs := t.keys, t.differ
	for n := range t.rows {
		r := &t.rows[n]
		var differ differing
		if r.reading == anew {
			if len(keys) > 0 && keys[0].row == n {
				r.entity = c.meet(g, i, keys[0].key)
				keys = keys[1:]
				c.touchNew(g, i, r.entity)
				continue
			}
			differ, differs = differs[0], differs[1:]
		} else if notable == nil {
			continue
		}
		j := n
		if t.moved >= 0 && n >= t.moved {
			j = r.entity.rowIn(i)
		}
		suspect := notable != nil && notable.suspects(old[j].clock, r.clock)
		switch e := r.entity; {
		case !suspect && r.reading != anew:
		case !suspect && differ != 0 && e.lean && int(e.grid) == i && !e.touched && c.plan.grids[i].simple:
			c.touchPlain(work{group: g, entity: e, plain: true, grid: int16(i), was: old[j].from, differ: differ})
		default:
			c.touch(g, e, suspect)
		}
	}
	for j := 0; t.left > 0 && j < len(old); j++ {
		if !t.taken.has(j) {
			c.touch(g, old[j].entity, true)
		}
	}
}

// meet gives the entity with a key in a grid, made if there is none.
func (c *comparison) meet(g *group, grid int, key string) *entity {
	id := key
	if c.layout.Grids[grid].ID != "" {
		id = c.layout.rewrite(g.kind, "", key)
	}
	e := g.byID[id]
	if e == nil {
		e = &entity{id: id, grid: nowhere, open: -1}
		g.byID[id] = e
	}
	if g.byKey != nil {
		g.byKey[key] = e
	}
	return e
}

// touch adds an entity to those to be looked at, with what its old rows tell.
func (c *comparison) touch(g *group, e *entity, seen bool) {
	if e.touched {
		return
	}
	e.touched = true
	g.touched = append(g.touched, e)
	w := work{group: g, entity: e}
	switch {
	case e.grid == nowhere && e.more != nil:
		w.past = &past{seen: e.more.seen, until: e.more.seenUntil}
	case e.grid == everywhere || e.grid != nowhere && seen:
		w.past = &past{until: c.sent}
		w.past.seen, w.past.home = c.seen(g, e)
	}
	e.pack, e.lean = c.whole(g, e), false
	c.works = append(c.works, w)
}

// settle moves on to the new snapshot.
func (c *comparison) settle() {
	if c.again {
		if c.snap != c.last {
			c.last.body, c.last.Sent, c.last.Received = c.snap.body, c.snap.Sent, c.snap.Received
		}
	} else {
		for i := range c.snap.grids {
			c.settleRows(i)
		}
	}
	for _, w := range c.works {
		switch e, g := w.entity, w.group; {
		case e.grid != nowhere && e.more != nil:
			// Whether it was absent is seen below.
		case e.grid == nowhere && !e.known:
			g.remove(e)
		case e.grid == nowhere:
			c.depart(g, e, w.past.seen, w.past.home)
		}
	}
	for _, g := range c.groups {
		g.absent = slices.DeleteFunc(g.absent, func(e *entity) bool {
			if e.grid != nowhere {
				e.appeared()
				return true
			}
			if !e.known {
				g.remove(e)
			}
			return !e.known
		})
	}
	c.move()
}

// settleRows notes where the rows of a grid show each entity.
func (c *comparison) settleRows(i int) {
	t := &c.snap.grids[i]
	if t.left > 0 {
		for j, r := range c.last.grids[i].rows {
			if !t.taken.has(j) {
				r.entity.drop(i)
			}
		}
	}
	if t.moved < 0 {
		return
	}
	for n := t.moved; n < len(t.rows); n++ {
		t.rows[n].entity.put(i, n)
	}
}

// move makes the snapshot the last one, and the last one memory for the next.
func (c *comparison) move() {
	s := c.State
	s.still = c.again
	s.sent = c.snap.Sent
	if c.again {
		return
	}
	if c.snap == s.spare {
		s.spare = nil
		if s.last != nil && s.last.own {
			s.spare = s.last
		}
	}
	if s.last != nil {
		s.older = s.last.body
	}
	s.last = c.snap
	s.last.beside = nil
	for i := range s.last.grids {
		s.last.grids[i].trim()
	}
}

// tell tells what differs of a kind.
func (c *comparison) tell(kind int) {
	g := c.kinds[kind]
	found := &c.changes
	from := len(found.list)
	g.open = slices.Grow(g.open, len(g.touched))
	sorted := true
	for i := range c.works {
		w := &c.works[i]
		if w.group != g || w.entity.grid == nowhere {
			continue
		}
		n := len(found.list)
		if !c.sketch(w, kind) {
			c.look(w, kind)
		}
		sorted = sorted && (n == from || n == len(found.list) || byID(found.list[n-1], found.list[n]) < 0)
	}
	if !sorted { // many a source sends its rows in order
		slices.SortFunc(found.list[from:], byID)
	}
	from = len(found.list)
	held := c.holds(g)
	for _, e := range g.absent {
		switch {
		case !c.tellsAbsence(g, e):
		case !c.gone(e, held):
			c.missing = append(c.missing, e.more.seenUntil)
		default:
			e.more.present, e.more.seen = false, Image{}
			c.found(kind, e, Change{
				Op: Disappeared, Kind: g.kind, ID: e.id, Before: c.image(g, e, e.pack), Revision: e.revision, SeenUntil: e.more.seenUntil,
			})
		}
	}
	slices.SortFunc(found.list[from:], byID)
}

// found adds a change that is made whole at once.
func (c *comparison) found(kind int, e *entity, change Change) {
	c.changes.list = append(c.changes.list, sketch{entity: e, full: int32(len(c.changes.full)), kind: uint16(kind), op: change.Op})
	c.changes.full = append(c.changes.full, change)
}

// entering is what happened to an entity that nobody knew.
func (c *comparison) entering(g *group, places []place) Op {
	if !c.options.Baseline[g.kind] || c.anyCut(c.snap, gridsOf(places)) {
		return Observed
	}
	return Appeared
}

// look compares one entity that the snapshot shows.
func (c *comparison) look(w *work, kind int) {
	g, e := w.group, w.entity
	var buf [1]place
	places := e.places(buf[:])
	var at [1]spot
	after, alone := c.pack(g, e, c.spots(at[:0], e))
	change := Change{Op: Changed, Kind: g.kind, ID: e.id, SeenUntil: c.before, After: Image{g.plan.names, after}}
	if w.past != nil {
		change.SeenUntil = w.past.until
	}
	if e.known {
		change.Before, change.Revision = c.image(g, e, e.pack), e.revision
	}
	switch {
	case !e.known:
		change.Op, change.SeenUntil = c.entering(g, places), time.Time{}
	case e.odd():
		change.Stats = slices.DeleteFunc(Differences(change.Before, change.After), func(stat string) bool {
			return g.plan.volatile[g.plan.index(stat)]
		})
	default:
		change.Stats = c.differences(g.plan, e.pack, after)
	}
	if change.Op == Changed && w.past != nil && !w.past.seen.IsZero() && c.options.Notable != nil {
		change.Notable = c.options.Notable.Images(g.kind, w.past.seen, change.After)
	}
	if change.Op == Changed && len(change.Stats) == 0 && !change.Notable {
		if alone && !e.odd() {
			pack := g.plan.running(c.scratch[:0], e.pack)
			e.pack, e.lean = string(pack), true
		}
		return
	}
	o := g.reopen(e)
	o.after, o.whole = change.After, alone
	c.found(kind, e, change)
}

// differences names what differs between two packs, nil if nothing does.
func (c *comparison) differences(k *kindPlan, before, after string) []string {
	differ := k.differences(c.names(len(k.volatile)), before, after)
	if len(differ) == 0 {
		return nil
	}
	c.differ = c.differ[:len(c.differ)+len(differ)]
	return differ[:len(differ):len(differ)]
}

// names gives room for so many names at the end of c.differ, where those of many
// changes lie in one piece of memory.
func (c *comparison) names(most int) []string {
	if cap(c.differ)-len(c.differ) < most {
		c.differ = make([]string, 0, max(256, most))
	}
	return c.differ[len(c.differ):len(c.differ):cap(c.differ)]
}

func gridsOf(places []place) gridSet {
	var set gridSet
	for _, p := range places {
		set = append(set, p.grid)
	}
	return set
}

// gone counts an absence, unless it is held, and tells whether it is now to be
// believed.
func (c *comparison) gone(e *entity, held bool) bool {
	if held {
		return false
	}
	e.more.missed++
	return e.more.missed >= c.options.DisappearAfter
}

// tellsAbsence tells whether the snapshot would show the entity if it were there.
func (c *comparison) tellsAbsence(g *group, e *entity) bool {
	home := e.more.home
	if home == nil {
		home = c.layout.gridsOf(g.kind)
	}
	// A section that is one row cannot lose it; it is not known this time.
	return !c.anyCut(c.snap, home) && !slices.ContainsFunc(home, func(i int) bool { return c.layout.Grids[i].ID == "" })
}

// holds tells whether the absences of a kind are a mass departure that has not
// lasted long enough to be believed.
func (c *comparison) holds(g *group) bool {
	missing := 0
	for _, e := range g.absent {
		if c.tellsAbsence(g, e) {
			missing++
		}
	}
	if c.options.MassHold == 0 || g.known < massLeast || 2*missing <= g.known {
		g.mass = departure{}
		return false
	}
	if g.mass.since.IsZero() {
		g.mass.since = c.snap.Received
	}
	g.mass.held = missing
	if c.snap.Received.Sub(g.mass.since) >= c.options.MassHold {
		g.mass.held = 0
	}
	return g.mass.held > 0
}
