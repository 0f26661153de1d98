package diff

import (
	"slices"
	"strings"
	"time"

	"bpcc-nats/diff/image"
	"bpcc-nats/diff/layout"
)

// comparison is one Compare in progress. It has three steps: collect the candidates while their old
// rows are still there, advance to the new snapshot, find the differences.
type comparison struct {
	*State
	snap    *Snapshot
	options Options
	changes []Change
}

// candidate is an entity that may have changed.
type candidate struct {
	entity *entity
	// previous is how the previous snapshots showed it; nil if nothing but the time of the last one
	// is needed.
	previous *absentState
}

// Compare returns the differences between what is published and the snapshot, ordered by kind as the
// layout lists the kinds, then by id: first of what the snapshot shows, then what has disappeared.
// [State.Set] alone changes what is published; Compare only counts absences. If the error is
// [ErrEmpty], nothing has been compared: all grids are empty, and one that had rows has not been for
// EmptyHold.
func (s *State) Compare(l *layout.Layout, snap *Snapshot, o Options) ([]Change, error) {
	s.setLayout(l)
	if snap != s.parsed { // it is not aligned with the last one
		sent, received, unreadable := snap.Sent, snap.Received, snap.Unreadable
		aligned, err := s.Parse(l, snap.body)
		if err != nil {
			return nil, err
		}
		snap = aligned
		snap.Sent, snap.Received, snap.Unreadable = sent, received, unreadable
	}
	if err := s.trackEmptied(snap, o); err != nil {
		return nil, err
	}
	s.parsed, s.prevSent, s.returned = nil, s.lastSent, map[*entity]time.Time{}
	s.missing, s.missingSince, s.hidden, s.emptied = false, time.Time{}, 0, s.emptied[:0]
	c := comparison{State: s, snap: snap, options: o}
	c.collect()
	c.advance()
	for _, g := range s.kinds {
		c.compareShown(g)
		c.compareAbsent(g)
	}
	return c.changes, nil
}

// collect finds the candidates. It reads the last snapshot's rows, so it changes no entity yet.
func (c *comparison) collect() {
	for _, g := range c.kinds {
		for _, cand := range g.candidates {
			cand.entity.compared = false
		}
		g.candidates = nil
	}
	if !c.snap.repeated {
		for j := 0; c.snap.unmatched > 0 && j < len(c.snap.taken); j++ {
			if c.snap.taken[j] == 0 {
				c.addCandidate(c.kinds[c.compiled.grids[c.last.gridOf(int32(j))].kind], c.last.rows[j].entity, true)
			}
		}
		c.collectRows()
	}
	for _, g := range c.kinds {
		open := g.open
		g.open, g.setHint = nil, 0
		for _, o := range open {
			if o.entity == nil {
				continue
			}
			if o.entity.open = false; o.entity.row >= 0 {
				c.addCandidate(g, o.entity, false)
			}
		}
	}
}

// collectRows finds the candidates among the rows of the snapshot.
func (c *comparison) collectRows() {
	reentry := c.options.ReentryTest
	for i, r := range c.snap.all() {
		suspect := reentry != nil && r.old >= 0 && reentry.needsImages(c.last.rows[r.old].clock, r.clock)
		if !suspect && r.status < rowChanged {
			continue
		}
		g := c.kinds[c.compiled.grids[i].kind]
		if r.entity == nil {
			r.entity = c.internEntity(g, i, r)
		}
		c.addCandidate(g, r.entity, suspect)
	}
}

// internEntity returns the entity of a row that has no previous row. It creates a missing one.
func (c *comparison) internEntity(g *group, grid int, r *row) *entity {
	id := c.snap.idOf(c.compiled, grid, r)
	e := g.byID[id]
	if e == nil {
		e = &entity{id: id, row: -1}
		g.byID[id] = e
	}
	return e
}

// addCandidate adds a candidate. view says that it is needed how the last snapshot showed it.
func (c *comparison) addCandidate(g *group, e *entity, view bool) {
	if e.compared {
		return
	}
	e.compared = true
	cand := candidate{entity: e}
	switch {
	case e.absent != nil:
		cand.previous = e.absent
	case e.row >= 0 && (view || c.last.rows[e.row].next >= 0):
		cand.previous = &absentState{
			assumedPresent: true, image: c.latestImage(g, e), seenUntil: c.lastSent, unnamedBefore: c.last.Unreadable.Unnamed[g.kind],
		}
		for n := e.row; n >= 0; n = c.last.rows[n].next {
			cand.previous.grids = append(cand.previous.grids, c.last.gridOf(n))
		}
	}
	g.candidates = append(g.candidates, cand)
}

// advance moves the entities to the new snapshot, and makes it the last one.
func (c *comparison) advance() {
	s := c.State
	if c.snap.repeated {
		s.last.body, s.last.Sent, s.last.Received, s.last.Unreadable = c.snap.body, c.snap.Sent, c.snap.Received, c.snap.Unreadable
	} else {
		if c.snap.moved {
			c.moveRows()
		}
		s.last, s.spare = c.snap, s.last
		s.last.prev, s.last.taken = nil, nil
		if n := len(s.last.rows); cap(s.last.rows) > n+n/16+16 { // an exceptional size
			s.last.rows = slices.Clone(s.last.rows)
		}
	}
	if s.spare != nil {
		s.spare.body = nil
	}
	s.repeated, s.lastSent = c.snap.repeated, c.snap.Sent
	for _, g := range c.kinds {
		for _, cand := range g.candidates {
			switch e := cand.entity; {
			case e.row >= 0 || e.absent != nil:
			case e.published():
				g.addAbsent(e, cand.previous)
			default:
				delete(g.byID, e.id)
			}
		}
	}
	for _, g := range s.groups {
		g.absent = slices.DeleteFunc(g.absent, func(e *entity) bool {
			switch {
			case e.row >= 0:
				s.returned[e], e.absent = e.absent.seenUntil, nil
				return true
			case !e.published():
				delete(g.byID, e.id)
				return true
			}
			return false
		})
	}
}

// moveRows stores the rows of all entities. The first grid that shows an entity comes first.
func (c *comparison) moveRows() {
	if c.last != nil {
		for i := range c.last.rows {
			c.last.rows[i].entity.row = -1
		}
	}
	for _, g := range slices.Backward(c.snap.grids) {
		for n := g.from; n < g.to; n++ {
			r := &c.snap.rows[n]
			r.next, r.entity.row = r.entity.row, int32(n)
		}
	}
}

// compareShown finds the changes of the entities of a kind that the snapshot shows.
func (c *comparison) compareShown(g *group) {
	from := len(c.changes)
	c.changes = slices.Grow(c.changes, len(g.candidates))
	for i := range g.candidates {
		cand := &g.candidates[i]
		if cand.entity.row >= 0 {
			c.compareEntity(g, cand)
		}
		cand.previous = nil
	}
	slices.SortFunc(c.changes[from:], compareIDs)
}

// compareEntity compares one entity that the snapshot shows.
func (c *comparison) compareEntity(g *group, cand *candidate) {
	e := cand.entity
	differ := c.reader.read(c.State, g, e)
	op, seenUntil, reentry := Changed, c.prevSent, false
	if cand.previous != nil {
		seenUntil = cand.previous.seenUntil
	}
	switch {
	case !e.published():
		op, seenUntil, differ = c.appearOp(g, e), time.Time{}, nil
	case cand.previous != nil && !cand.previous.image.IsZero() && c.options.ReentryTest != nil:
		reentry = c.options.ReentryTest.Images(g.kind, cand.previous.image, c.reader.editor.Image())
	}
	if op == Changed && len(differ) == 0 && !reentry {
		return
	}
	after := c.reader.editor.Image()
	if n := len(c.changes); n > 0 && slices.Equal(c.changes[n-1].Stats, differ) { // as in most changes of a poll
		differ = c.changes[n-1].Stats
	} else {
		differ = append([]string(nil), differ...)
	}
	c.changes = append(c.changes, Change{
		Op: op, Kind: g.kind, ID: e.id, Before: e.image, After: after, Revision: e.revision, Stats: differ, Reentry: reentry, SeenUntil: seenUntil,
	})
	g.markOpen(e, after)
}

// appearOp returns the Op for an entity that has no published image.
func (c *comparison) appearOp(g *group, e *entity) Op {
	if !c.options.Baseline[g.kind] {
		return Observed
	}
	for n := e.row; n >= 0; n = c.last.rows[n].next {
		if i := c.last.gridOf(n); c.compiled.Grids[i].Cut(c.snap.BodyRows(i)) {
			return Observed
		}
	}
	return Appeared
}

// compareAbsent finds the disappearances of a kind.
func (c *comparison) compareAbsent(g *group) {
	from := len(c.changes)
	heldBack := c.holdMassDeparture(g)
	for _, e := range g.absent {
		absent := c.absenceOf(g, e)
		if absent != absenceEmptied && (absent != absenceProven || !c.countAbsence(e, heldBack)) {
			c.addMissing(g, e, absent)
			continue
		}
		e.absent.assumedPresent, e.absent.image = false, image.Image{}
		c.changes = append(c.changes, Change{Op: Disappeared, Kind: g.kind, ID: e.id, Before: e.image, Revision: e.revision, SeenUntil: e.absent.seenUntil})
	}
	slices.SortFunc(c.changes[from:], compareIDs)
}

// compareIDs orders changes by id.
func compareIDs(a, b Change) int { return strings.Compare(a.ID, b.ID) }

// rowReader reads images out of rows, in memory that is used again.
type rowReader struct {
	grids  []*compiledGrid // of the rows of the entity
	values []span          // of its rows, one after the other
	editor image.Editor
	differ []string
}

// read reads the image of an entity in the last snapshot. Where two of its rows hold the same
// statistic, the first one wins. A statistic that no row holds is as published. It returns the names
// of the statistics that differ from the published image, without the volatile ones.
func (r *rowReader) read(s *State, g *group, e *entity) (differ []string) {
	body := s.last.body
	r.grids, r.values = r.grids[:0], r.values[:0]
	plain := s.compiled.Rewrite == nil // a text is its own bytes if they are valid UTF-8
	for n := e.row; n >= 0; n = s.last.rows[n].next {
		grid, from := &s.compiled.grids[s.last.gridOf(n)], len(r.values)
		r.grids, r.values = append(r.grids, grid), append(r.values, make([]span, len(grid.members))...)
		grid.readRow(body, int(s.last.rows[n].from), r.values[from:])
		plain = plain && !s.last.rows[n].escaped
	}
	r.editor.Reset(g.compiled.fields, e.image)
	r.differ = r.differ[:0]
	for i, stat := range g.compiled.stats {
		was, known := r.editor.Next()
		v := r.value(i)
		if !v.present() {
			continue
		}
		token := v.bytes(body)
		if known && plain && token[0] == '"' && string(token[1:len(token)-1]) == was {
			continue
		}
		text := s.compiled.textOf(g.kind, stat, token)
		if r.editor.Put(text); !g.compiled.volatile[i] && (!known || string(text) != was) {
			r.differ = append(r.differ, stat)
		}
	}
	return r.differ
}

// value finds the value of a statistic among those of the rows.
func (r *rowReader) value(stat int) span {
	from := 0
	for _, grid := range r.grids {
		if m := grid.statMembers[stat]; m >= 0 && r.values[from+m].present() {
			return r.values[from+m]
		}
		from += len(grid.members)
	}
	return span{}
}

// latestImage returns the image of an entity in the last snapshot.
func (s *State) latestImage(g *group, e *entity) image.Image {
	s.reader.read(s, g, e)
	return s.reader.editor.Image()
}
