package diff

import (
	"fmt"
	"slices"
	"time"

	"bpcc-nats/diff/image"
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

// absentState is the state of an entity that the last snapshot does not show.
type absentState struct {
	assumedPresent bool        // its disappearance is not reported yet
	image          image.Image // in the last snapshot that showed it; zero if none has
	grids          gridSet     // the grids that showed it last; nil = none has
	missed         int         // successive snapshots without it
	seenUntil      time.Time   // when the last request that showed it was sent
	unnamedBefore  int         // unreadable rows without a key, of its kind, in the last snapshot that showed it
}

// massDeparture is a mass departure that is being held back.
type massDeparture struct {
	since    time.Time
	heldBack int
}

// minMassDeparture is the number of entities from which on a departure can be a mass departure.
const minMassDeparture = 10

// absenceOf returns what the snapshot says about an absent entity. An entity that no snapshot has
// shown may be in any grid of its kind.
func (c *comparison) absenceOf(g *group, e *entity) absence {
	if c.snap.hides(g.kind, e) {
		return absenceUnreadable
	}
	result := absenceProven
	for _, i := range c.lastGrids(g, e) {
		result = max(result, c.absenceIn(i))
	}
	return result
}

// hides reports whether a row that cannot be read is, or may be, that of an absent entity. A row without
// a key may be if there was none when the entity was shown last.
func (s *Snapshot) hides(kind image.Kind, e *entity) bool {
	return s.Unreadable.Holds(kind, e.id) || s.Unreadable.Unnamed[kind] > e.absent.unnamedBefore
}

// lastGrids returns the grids that may have shown an absent entity last.
func (c *comparison) lastGrids(g *group, e *entity) gridSet {
	if e.absent.grids == nil {
		return g.compiled.grids
	}
	return e.absent.grids
}

// absenceIn returns what the snapshot says about an entity that a grid lacks.
func (c *comparison) absenceIn(i int) absence {
	switch grid := &c.compiled.Grids[i]; {
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
	if a == absenceUnproven && !c.compiled.CanShow(g.kind, e.id) {
		return
	}
	if seen := e.absent.seenUntil; !c.missing || seen.Before(c.missingSince) {
		c.missing, c.missingSince = true, seen
	}
	switch a {
	case absenceUnreadable:
		e.absent.missed = 0 // it is not on its way to a departure
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
	e.absent.missed++
	return e.absent.missed >= c.options.DisappearAfter
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
	for i := range s.compiled.Grids {
		switch {
		case s.compiled.Grids[i].ID == "":
		case snap.Rows(i) > 0:
			s.emptySince[i], empty = time.Time{}, false
		case s.emptySince[i].IsZero():
			s.emptySince[i] = snap.Received
		}
	}
	if !empty || o.EmptyHold == 0 {
		return nil
	}
	for i := range s.compiled.Grids {
		if grid := &s.compiled.Grids[i]; grid.ID != "" && !s.emptyLongEnough(i, snap, o) && s.hadRows(i) {
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
	if s.last != nil {
		g := s.last.grids[grid]
		if slices.ContainsFunc(s.last.rows[g.from:g.to], func(r row) bool { return r.entity.published() }) {
			return true
		}
	}
	absent := s.groups[s.compiled.Grids[grid].Kind].absent
	return slices.ContainsFunc(absent, func(e *entity) bool {
		return e.published() && (e.absent.grids == nil || slices.Contains(e.absent.grids, grid))
	})
}
