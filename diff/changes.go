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
	state  *State
	list   []sketch
	full   []Change
	before time.Time // when the request of the snapshot before was sent
	next   int       // the one that Set is likely to be called for
}

// sketch is a change before its images are made.
type sketch struct {
	entity *entity
	differ differing
	full   int32 // index of Changes.full; -1 = the rows tell all of it
	kind   uint16
	op     Op
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
func (c *Changes) Kind(i int) Kind { return c.plan(i).kind }
func (c *Changes) ID(i int) string { return c.list[i].entity.id }
func (c *Changes) Op(i int) Op     { return c.list[i].op }

func (c *Changes) plan(i int) *kindPlan { return &c.state.plan.kinds[c.list[i].kind] }

// Stats are those of the ith change. The caller must not change them.
func (c *Changes) Stats(i int) []string {
	if full := c.list[i].full; full >= 0 {
		return c.full[full].Stats
	}
	return c.state.stats(int(c.list[i].entity.grid), c.list[i].differ)
}

// Brief tells whether a statistic that differs may have a text of one byte at most,
// both before the ith change and after it.
func (c *Changes) Brief(i int) bool {
	return c.list[i].full >= 0 || c.list[i].differ&brief != 0
}

// Revision is that of the ith change, as long as nothing new was set.
func (c *Changes) Revision(i int) uint64 {
	if full := c.list[i].full; full >= 0 {
		return c.full[full].Revision
	}
	return c.list[i].entity.revision
}

// Notable is that of the ith change.
func (c *Changes) Notable(i int) bool {
	full := c.list[i].full
	return full >= 0 && c.full[full].Notable
}

// Now is what the snapshot shows of the ith change's entity, if it is not gone.
func (c *Changes) Now(i int) Sighting {
	return Sighting{c.state, c.state.kinds[c.list[i].kind], c.list[i].entity}
}

// At gives the ith change, whole. If something was set for its entity meanwhile,
// it is a change from that.
func (c *Changes) At(i int) Change {
	at := &c.list[i]
	if at.full >= 0 {
		return c.full[at.full]
	}
	s, e := c.state, at.entity
	g := s.kinds[at.kind]
	change := Change{Op: at.op, Kind: g.kind, ID: e.id, Revision: e.revision}
	var before, after string
	alone := true
	if at.op == Changed {
		change.Stats, change.SeenUntil = c.Stats(i), c.before
		before, after, alone = s.both(g, e, at.differ)
		change.Before = Image{g.plan.names, before}
	} else {
		after, alone = s.shown(g, e)
	}
	change.After = Image{g.plan.names, after}
	if e.open >= 0 {
		g.open[e.open].after, g.open[e.open].whole = change.After, alone
	}
	return change
}

// both gives the pack of what is published of an entity and of what its row
// shows, and whether the row alone tells all of that.
func (s *State) both(g *group, e *entity, differ differing) (before, after string, alone bool) {
	if e.owes {
		if before, after, ok := s.pair(g, e, differ); ok {
			return before, after, true
		}
	}
	before = s.whole(g, e)
	after, alone = s.shown(g, e)
	return before, after, alone
}

// shown gives the pack of what the last snapshot shows of an entity, and whether
// one row alone tells all of it.
func (s *State) shown(g *group, e *entity) (pack string, alone bool) {
	var buf [1]spot
	published := entity{pack: e.pack, more: e.more}
	if e.lean {
		// What the rows show is not what is published, but tells all of it.
		published.pack = ""
	}
	return s.pack(g, &published, s.spots(buf[:0], e))
}

// Rest ends the use of the last comparison's changes. After it nobody looks any
// more at the body of the snapshot before, and its memory may be used again.
func (s *State) Rest() {
	entities := 0
	for _, g := range s.groups {
		entities += len(g.byID)
		for i := range g.open {
			if e := g.open[i].entity; e != nil && e.owes {
				e.pack = s.whole(g, e)
				e.lean, e.owes = false, false
			}
		}
	}
	s.older, s.slab = nil, slab{}
	c := &s.changes
	clear(c.full)
	c.full, c.list, c.next = trimmed(c.full[:0], 0, entities), trimmed(c.list[:0], 0, entities), 0
}

// stats names what differs in a row of a grid, as the layout orders them. Few
// combinations are met, and most rows of a snapshot share theirs.
func (s *State) stats(grid int, differ differing) []string {
	plan := &s.plan.grids[grid]
	differ &^= brief
	if plan.combination.differ == differ {
		return plan.combination.stats
	}
	if stats, known := plan.combinations[differ]; known {
		plan.combination = combination{differ, stats}
		return stats
	}
	kind := &s.plan.kinds[plan.kind]
	var names []string
	for i, m := range plan.teller {
		if !kind.volatile[i] && differ&(1<<m) != 0 {
			names = append(names, kind.names.all[i])
		}
	}
	const most = 1000 // bounds the memory
	if plan.combinations == nil || len(plan.combinations) >= most {
		plan.combinations = map[differing][]string{}
	}
	plan.combinations[differ] = names[:len(names):len(names)]
	return plan.combinations[differ]
}

// touchNew is touch for an entity that a row shows which has none beside it.
func (c *comparison) touchNew(g *group, grid int, e *entity) {
	if e.touched || e.known || e.grid != nowhere || e.more != nil {
		c.touch(g, e, false)
		return
	}
	c.touchPlain(work{group: g, entity: e, plain: true, grid: int16(grid)})
}

// touchPlain adds an entity whose rows need not be read yet.
func (c *comparison) touchPlain(w work) {
	w.entity.touched = true
	w.group.touched = append(w.group.touched, w.entity)
	c.works = append(c.works, w)
}

// sketch adds the change of a plain entity, unless it turns out that a closer look
// is needed: it stands in another grid too.
func (c *comparison) sketch(w *work, kind int) bool {
	g, e := w.group, w.entity
	if !w.plain {
		return false
	}
	if e.grid != w.grid {
		if e.lean {
			e.pack, _ = c.pack(g, e, []spot{{int(w.grid), w.was, c.older}})
			e.lean = false
		}
		return false
	}
	op := Changed
	if !e.known {
		op = c.entering(g, []place{{int(e.grid), int(e.row)}})
	}
	o := g.reopen(e)
	o.was, e.owes = w.was, e.lean
	c.changes.list = append(c.changes.list, sketch{entity: e, differ: w.differ, full: -1, kind: uint16(kind), op: op})
	return true
}

// byID orders changes.
func byID(a, b sketch) int { return strings.Compare(a.entity.id, b.entity.id) }
