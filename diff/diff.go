// Package diff compares successive snapshots of tables and tells what changed:
// which entities came and went, and which of their statistics differ. It is
// pure: no clock, no I/O, no goroutine. It knows the syntax of the snapshots,
// not their meaning.
//
// Rows are matched by key, never by position. The rules that keep a stream of
// differences honest live here: a missing column is not a change, a missing row
// is believed only when it stays away, and never where the table may be cut.
package diff

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrEmpty is returned by [State.Compare] when a grid that had rows comes back
// without any. It looks like everybody left at once and hardly ever is.
var ErrEmpty = errors.New("a grid is suddenly empty")

// Op is what happened to an entity.
type Op string

const (
	// Observed is the first sight of an entity that may have been there
	// before: the first snapshot of its kind, or a row entering a cut grid.
	Observed Op = "observed"
	// Appeared is a row that entered.
	Appeared Op = "appeared"
	// Disappeared is a row that left.
	Disappeared Op = "disappeared"
	// Changed is a row with a difference in a statistic that is not volatile.
	Changed Op = "changed"
)

// Change is one entity's difference between what was known and a snapshot.
type Change struct {
	Op   Op
	Kind Kind
	ID   string
	// Before is the image that was known, After the present one. Before is zero
	// for Observed and Appeared, After for Disappeared.
	Before, After Image
	// Revision is the number that was set with Before.
	Revision uint64
	// Stats names what differs, for Changed.
	Stats []string
	// Reentry tells that [Options.Notable] found a change, for Changed.
	Reentry bool
	// SeenUntil is, for Changed and Disappeared, when the last request before
	// this one that showed the entity was sent: that may be some snapshots ago,
	// where it was missing for a while. Zero if this State had never seen it.
	SeenUntil time.Time
}

// Options are the rules of a comparison.
type Options struct {
	// DisappearAfter is how many snapshots in a row a row must be missing from.
	DisappearAfter int
	// AcceptEmpty believes a grid that is suddenly empty.
	AcceptEmpty bool
	// MassHold is how long a mass departure must last to be believed: more than
	// half of at least ten entities of a kind gone at once. 0 believes it like
	// any other.
	MassHold time.Duration
	// Baseline holds the kinds whose first picture was taken before: only
	// their new entities appear, those of other kinds are observed.
	Baseline map[Kind]bool
	// ReentryTest may find a change where no statistic tells one, in how two
	// snapshots in a row showed an entity. nil finds none.
	ReentryTest *ReentryTest
}

// ReentryTest is a test for changes that no statistic tells.
type ReentryTest struct {
	// Clock reports whether the layout's clock, which went from one number of
	// seconds to another, is worth a look at the images. It is asked of every
	// entity that has a clock, and must not say no where Images would say yes.
	Clock func(before, after int) bool
	// Images reports whether it is a change.
	Images func(kind Kind, seen, now Image) bool
}

// needsImages reports whether the images of a row must be looked at.
func (n *ReentryTest) needsImages(before, after int32) bool {
	if before == noClock || after == noClock {
		return false
	}
	return before == complexClock || after == complexClock || n.Clock(int(before), int(after))
}

// minMassDeparture is from how many entities on a departure can be a mass departure.
const minMassDeparture = 10

// Compare tells what differs between what is known and the snapshot. What is
// known does not change until [State.Set]; only the count of absences goes on.
// The error is [ErrEmpty], and then nothing has been compared.
func (s *State) Compare(l *Layout, snap *Snapshot, o Options) (*Changes, error) {
	s.Release()
	s.setLayout(l)
	again := s.last != nil && (snap == s.last || snap.prev == s.last && snap.repeated)
	if !again && snap.prev != s.last {
		if snap.stateOwned { // what it was read beside is gone
			singleRow, err := l.Parse(snap.body)
			if err != nil {
				return nil, err
			}
			singleRow.Sent, singleRow.Received = snap.Sent, snap.Received
			snap = singleRow
		}
		s.detach()
	}
	if err := s.checkEmptied(snap, o); err != nil {
		return nil, err
	}
	c := comparison{State: s, snap: snap, options: o, repeated: again, prevSent: s.lastSent}
	c.collect()
	c.advance()
	s.missing = s.missing[:0]
	s.changes.state, s.changes.prevSent = s, c.prevSent
	s.changes.list = slices.Grow(s.changes.list, len(s.candidates))
	for kind := range s.compiled.kinds {
		c.emit(kind)
	}
	entities := 0
	for _, g := range s.groups {
		entities += len(g.byID)
		g.dirty, g.visited = shrink(g.dirty, len(g.dirty), len(g.byID)), shrink(g.visited, len(g.visited), len(g.byID))
	}
	clear(s.candidates)
	s.candidates = shrink(s.candidates[:0], 0, entities)
	return &s.changes, nil
}

// shrink gives memory back that was needed for much more than there usually is:
// what holds used elements of a set of so many.
func shrink[T any](buf []T, used, total int) []T {
	if maxCap := max(2*used, total/16+16); cap(buf) > maxCap {
		return append(make([]T, 0, used), buf...)
	}
	return buf
}

// checkEmptied refuses a snapshot in which a grid lost all its rows at once.
func (s *State) checkEmptied(snap *Snapshot, o Options) error {
	if o.AcceptEmpty {
		return nil
	}
	for i, grid := range s.layout.Grids {
		if snap.Rows(i) > 0 || grid.ID == "" {
			continue
		}
		refused := false
		if s.last != nil {
			refused = slices.ContainsFunc(s.last.grids[i].rows, func(r row) bool { return r.entity.published })
		}
		for _, e := range s.groups[grid.Kind].absent {
			grids := e.rare.lastGrids
			refused = refused || e.published && (slices.Contains(grids, i) || grids == nil && s.allEmpty(snap, grid.Kind))
		}
		if refused {
			return fmt.Errorf("%w: %s", ErrEmpty, grid.Name())
		}
	}
	return nil
}

// allEmpty reports whether no grid of the kind has a row.
func (s *State) allEmpty(snap *Snapshot, kind Kind) bool {
	return !slices.ContainsFunc(s.layout.gridsOf(kind), func(i int) bool { return snap.Rows(i) > 0 })
}

// anyCut reports whether one of the grids is as long as its limit.
func (s *State) anyCut(snap *Snapshot, grids gridSet) bool {
	return slices.ContainsFunc(grids, func(i int) bool {
		return s.layout.Grids[i].Limit > 0 && snap.Rows(i) >= s.layout.Grids[i].Limit
	})
}
