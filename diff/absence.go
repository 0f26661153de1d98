package diff

import (
	"fmt"
	"slices"
	"time"
)

// absence is what a snapshot says about an entity that it does not show. Of several grids that may
// have shown it, the largest counts.
type absence uint8

const (
	absenceProven     absence = iota // it would be shown if it were there
	absenceEmptied                   // the grid that showed it has been empty for EmptyHold: it has disappeared
	absenceHeld                      // the grid that showed it is empty, and has not been for EmptyHold
	absenceHidden                    // the grid is as long as its limit: it may be behind it
	absenceUnproven                  // nothing: a section that is one row cannot lose it
	absenceUnreadable                // its row is there, or may be, and cannot be read
)

// absenceOf returns what the snapshot says about an absent entity. An entity that no snapshot has
// shown may be in any grid of its kind.
func (c *comparison) absenceOf(g *group, e *entity) absence {
	if c.snap.unreadable.hides(g.kind, e) {
		return absenceUnreadable
	}
	result := absenceProven
	for _, i := range c.lastGrids(g, e) {
		result = max(result, c.absenceIn(i))
	}
	return result
}

// lastGrids returns the grids that may have shown an absent entity last.
func (c *comparison) lastGrids(g *group, e *entity) gridSet {
	if e.rare.lastGrids == nil {
		return g.compiled.grids
	}
	return e.rare.lastGrids
}

// absenceIn returns what the snapshot says about an entity that a grid lacks.
func (c *comparison) absenceIn(i int) absence {
	switch grid := &c.layout.Grids[i]; {
	case grid.ID == "":
		return absenceUnproven
	case grid.Cut(c.snap.BodyRows(i)):
		return absenceHidden
	case c.snap.Rows(i) > 0 || c.options.EmptyHold == 0:
		return absenceProven
	case c.emptyLongEnough(i, c.snap, c.options):
		return absenceEmptied
	}
	return absenceHeld
}

// addMissing records an entity that the snapshot does not show and that has not disappeared. Totals
// that are not subscribed any more are not missing.
func (c *comparison) addMissing(g *group, e *entity, a absence) {
	if a == absenceUnproven && !c.layout.canShow(g.kind, e.id) {
		return
	}
	if seen := e.rare.seenUntil; !c.missing || seen.Before(c.missingSince) {
		c.missing, c.missingSince = true, seen
	}
	switch a {
	case absenceUnreadable:
		e.rare.missedSnapshots = 0 // it is not on its way to a departure
	case absenceHidden:
		c.hidden++
	case absenceHeld:
		for _, i := range c.lastGrids(g, e) {
			if at, found := slices.BinarySearch(c.emptied, i); !found && c.absenceIn(i) == absenceHeld {
				c.emptied = slices.Insert(c.emptied, at, i)
			}
		}
	}
}

// countAbsence counts an absence, unless it is held back, and reports whether the entity has now
// disappeared.
func (c *comparison) countAbsence(e *entity, heldBack bool) bool {
	if heldBack {
		return false
	}
	e.rare.missedSnapshots++
	return e.rare.missedSnapshots >= c.options.DisappearAfter
}

// holdMassDeparture reports whether the absences of a kind are a mass departure that has not lasted
// for MassHold yet. Rows of an empty grid have a hold of their own: they begin no mass departure, and
// do not end one.
func (c *comparison) holdMassDeparture(g *group) bool {
	missing, inEmptied := 0, 0
	for _, e := range g.absent {
		switch c.absenceOf(g, e) {
		case absenceProven:
			missing++
		case absenceHeld:
			inEmptied++
		}
	}
	if c.options.MassHold == 0 || g.publishedCount < minMassDeparture || 2*(missing+inEmptied) <= g.publishedCount {
		g.mass = massDeparture{}
		return false
	}
	if g.mass.since.IsZero() {
		if 2*missing <= g.publishedCount {
			return false
		}
		g.mass.since = c.snap.Received
	}
	g.mass.heldBack = missing
	if c.snap.Received.Sub(g.mass.since) >= c.options.MassHold {
		g.mass.heldBack = 0
	}
	return g.mass.heldBack > 0
}

// trackEmptied records since when grids are empty. It refuses a snapshot in which all are, if one of
// them had rows and has not been empty for long enough. Sections that are one row say nothing here:
// totals are sent without any row behind them.
func (s *State) trackEmptied(snap *Snapshot, o Options) error {
	empty := true
	for i := range s.layout.Grids {
		switch {
		case s.layout.Grids[i].ID == "":
		case snap.Rows(i) > 0:
			s.emptySince[i], empty = time.Time{}, false
		case s.emptySince[i].IsZero():
			s.emptySince[i] = snap.Received
		}
	}
	if !empty || o.EmptyHold == 0 {
		return nil
	}
	for i := range s.layout.Grids {
		if grid := &s.layout.Grids[i]; grid.ID != "" && !s.emptyLongEnough(i, snap, o) && s.hadRows(i) {
			return fmt.Errorf("%w: %s", ErrEmpty, grid.Name())
		}
	}
	return nil
}

// emptyLongEnough reports whether an empty grid has been empty for EmptyHold.
func (s *State) emptyLongEnough(grid int, snap *Snapshot, o Options) bool {
	return snap.Received.Sub(s.emptySince[grid]) >= o.EmptyHold
}

// hadRows reports whether a grid showed published entities that have not disappeared since, or may
// have.
func (s *State) hadRows(grid int) bool {
	if s.last != nil && slices.ContainsFunc(s.last.grids[grid].rows, func(r row) bool { return r.entity.published }) {
		return true
	}
	absent := s.groups[s.layout.Grids[grid].Kind].absent
	return slices.ContainsFunc(absent, func(e *entity) bool {
		return e.published && (e.rare.lastGrids == nil || slices.Contains(e.rare.lastGrids, grid))
	})
}
