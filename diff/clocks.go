package diff

import "iter"

// Clocks compares the layout's clocks in a snapshot with those in the snapshot that was compared
// last, in the rows that both have. It is valid until the next Parse or Compare.
type Clocks struct {
	// Moved reports whether a clock differs. A clock that is not whole seconds may.
	Moved bool
	// Forward and Back count the clocks that have gone forward and back in rows of the same state.
	Forward, Back int
	// SetBack is the largest of the clocks, in seconds, that have gone back in a row of the same
	// state; negative if none has.
	SetBack int

	state *State
	snap  *Snapshot
}

// Clocks compares the clocks of a snapshot from [State.Parse] that is not compared yet. A row is of
// the same state if no statistic of [layout.Layout.State] differs.
func (s *State) Clocks(snap *Snapshot) Clocks {
	c := Clocks{SetBack: -1, state: s, snap: snap}
	if snap.repeated || snap.prev == nil {
		return c
	}
	for n := range snap.rows {
		r := &snap.rows[n]
		if r.old < 0 || r.status == rowSame {
			continue
		}
		before, after := snap.prev.rows[r.old].clock, r.clock
		if before == noClock || after == noClock || before == after && after >= 0 {
			continue
		}
		c.Moved = true
		switch {
		case before < 0 || after < 0: // other texts than whole seconds
		case r.status == rowStateChanged:
		case after > before:
			c.Forward++
		default:
			c.Back++
			c.SetBack = max(c.SetBack, int(after))
		}
	}
	return c
}

// Still yields the entities whose clock has not moved, in rows of the same state. The views show the
// last snapshot.
func (c *Clocks) Still() iter.Seq[EntityView] {
	return func(yield func(EntityView) bool) {
		if c.snap.prev == nil {
			return
		}
		snap, prev := c.snap, c.snap.prev
		if snap.repeated {
			snap = prev
		}
		for i, r := range snap.all() {
			still := c.snap.repeated || r.old >= 0 && r.status != rowStateChanged && prev.rows[r.old].clock == r.clock
			if still && r.clock >= 0 && !yield(EntityView{c.state, c.state.kinds[c.state.compiled.grids[i].kind], r.entity}) {
				return
			}
		}
	}
}
