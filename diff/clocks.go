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

	state      *State
	snap       *Snapshot
	stateStats []string
}

// Clocks compares the clocks of a snapshot from [State.Parse] that is not compared yet. stateStats
// are the statistics of the state that the clock measures; a row is of the same state if none of
// them differs.
func (s *State) Clocks(snap *Snapshot, stateStats []string) Clocks {
	c := Clocks{SetBack: -1, state: s, snap: snap, stateStats: stateStats}
	if snap.repeated {
		return c
	}
	for i := range snap.grids {
		for r := range c.rows(i) {
			before, after := r.before.clock, r.after.clock
			switch {
			case before == noClock || after == noClock:
			case before < 0 || after < 0: // other texts than whole seconds
				c.Moved = c.Moved || r.after.status != rowSame
			case before != after:
				c.Moved = true
				switch {
				case r.same && after > before:
					c.Forward++
				case r.same:
					c.Back++
					c.SetBack = max(c.SetBack, int(after))
				}
			}
		}
	}
	return c
}

// Still yields the entities whose clock has not moved, in rows of the same state. The views show the
// last snapshot.
func (c *Clocks) Still() iter.Seq[EntityView] {
	return func(yield func(EntityView) bool) {
		for i := range c.snap.grids {
			g := c.state.kinds[c.state.compiled.grids[i].kind]
			for r := range c.rows(i) {
				if r.same && r.after.clock == r.before.clock && r.after.clock >= 0 && !yield(EntityView{c.state, g, r.before.entity}) {
					return
				}
			}
		}
	}
}

// clockRow is a row that both snapshots have.
type clockRow struct {
	before, after *row
	same          bool // of the same state
}

// rows yields the rows of a grid that both snapshots have.
func (c *Clocks) rows(i int) iter.Seq[clockRow] {
	return func(yield func(clockRow) bool) {
		grid := &c.state.compiled.grids[i]
		if c.state.last == nil || c.snap.prev != c.state.last || grid.clock < 0 {
			return
		}
		t, old := &c.snap.grids[i], c.state.last.grids[i].rows
		for n := 0; c.snap.repeated && n < len(old); n++ {
			if !yield(clockRow{&old[n], &old[n], true}) {
				return
			}
		}
		if c.snap.repeated {
			return
		}
		ofState := c.stateColumns(grid)
		keys, colsLeft := t.keys, t.changedCols
		for n := range t.rows {
			r := &t.rows[n]
			same := r.status != rowChanged
			if !same {
				if len(keys) > 0 && keys[0].row == n { // it is new
					keys = keys[1:]
					continue
				}
				cols := colsLeft[0]
				colsLeft = colsLeft[1:]
				same = cols != 0 && cols&ofState == 0
			}
			j := n
			if t.firstMoved >= 0 && n >= t.firstMoved {
				j = r.entity.rowIn(i)
			}
			if !yield(clockRow{&old[j], r, same}) {
				return
			}
		}
	}
}

// stateColumns are the columns of a grid that hold the state.
func (c *Clocks) stateColumns(grid *compiledGrid) (set columnBits) {
	fields := &c.state.compiled.kinds[grid.kind]
	for _, stat := range c.stateStats {
		if i := fields.statIndex(stat); i >= 0 {
			for _, m := range grid.statColumns[i] {
				set |= 1 << (m % maxColumns)
			}
		}
	}
	return set
}
