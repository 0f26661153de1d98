// Package diff compares successive snapshots of tables and finds the changes: which entities
// appeared and disappeared, and which of their statistics differ. It is pure: no clock, no I/O, no
// goroutine. It knows the syntax of the snapshots, not their meaning.
//
// Rows are matched by key, never by position. A missing column is not a change. A missing row is a
// disappearance only when it stays missing, and never where the table may be cut. Of several rows of
// one key in one table the one that repeats what is published counts.
package diff

import (
	"errors"
	"slices"
	"time"
)

// ErrEmpty is returned by [State.Compare] when no grid has rows, although one had. Such a response is
// nearly always a fault of the source, not the departure of every entity.
var ErrEmpty = errors.New("every grid is empty, also one that had rows")

// Op is what happened to an entity.
type Op string

const (
	// Observed is the first observation of an entity that may have existed before: the first
	// snapshot of its kind, or a row entering a cut grid.
	Observed Op = "observed"
	// Appeared is a row that entered.
	Appeared Op = "appeared"
	// Disappeared is a row that left.
	Disappeared Op = "disappeared"
	// Changed is a row with a difference in a statistic that is not volatile.
	Changed Op = "changed"
)

// Change is one entity's difference between its published image and a snapshot.
type Change struct {
	Op   Op
	Kind Kind
	ID   string
	// Before is the published image, After the current one. Before is zero for Observed and
	// Appeared, After for Disappeared.
	Before, After Image
	// Revision is the number that was set with Before.
	Revision uint64
	// Stats names the statistics that differ, for Changed.
	Stats []string
	// Reentry reports whether the ReentryTest found a change, for Changed.
	Reentry bool
	// SeenUntil is, for Changed and Disappeared, when the last earlier request that showed the
	// entity was sent. That may be some snapshots ago if the entity was missing for a while. It is
	// zero if no snapshot of this State has shown the entity.
	SeenUntil time.Time
}

// Options are the rules of a comparison.
type Options struct {
	// DisappearAfter is the number of successive snapshots that a row must be missing from.
	DisappearAfter int
	// EmptyHold is how long a grid that had rows must stay empty until its rows have disappeared.
	// Until then their absence does not count. 0 counts it like any other.
	EmptyHold time.Duration
	// MassHold is how long a mass departure must last until it is reported: more than half of at
	// least ten entities of a kind missing at once. 0 reports it like any other.
	MassHold time.Duration
	// Baseline holds the kinds that have been observed before: their new entities appear, those of
	// other kinds are observed.
	Baseline map[Kind]bool
	// ReentryTest may find a change where no statistic differs, in how two successive snapshots
	// showed an entity. nil finds none.
	ReentryTest *ReentryTest
}

// ReentryTest is a test for changes that no statistic shows.
type ReentryTest struct {
	// Clock reports whether the images must be compared, given the layout's clock before and after
	// in seconds. It is called for every entity that has a clock, and must return true wherever
	// Images would.
	Clock func(before, after int) bool
	// Images reports whether the two images show a change.
	Images func(kind Kind, seen, now Image) bool
}

// needsImages reports whether the images of a row must be compared.
func (n *ReentryTest) needsImages(before, after int32) bool {
	if before == noClock || after == noClock {
		return false
	}
	return before == complexClock || after == complexClock || n.Clock(int(before), int(after))
}

// minMassDeparture is the number of entities from which on a departure can be a mass departure.
const minMassDeparture = 10

// Compare returns the differences between what is published and the snapshot. [State.Set] alone
// changes what is published; Compare only counts absences. If the error is [ErrEmpty], nothing has
// been compared: all grids are empty, and one that had rows has not been for EmptyHold.
func (s *State) Compare(l *Layout, snap *Snapshot, o Options) (*Changes, error) {
	s.Release()
	s.setLayout(l)
	again := s.last != nil && (snap == s.last || snap.prev == s.last && snap.repeated)
	aligned := again || snap.prev == s.last
	if !aligned && snap.stateOwned { // its previous snapshot is no longer there
		reparsed, err := l.Parse(snap.body)
		if err != nil {
			return nil, err
		}
		reparsed.Sent, reparsed.Received = snap.Sent, snap.Received
		reparsed.setUnreadable(snap.unreadable)
		snap = reparsed
	}
	s.chooseRows(snap)
	if !aligned {
		s.detach()
	}
	if err := s.trackEmptied(snap, o); err != nil {
		return nil, err
	}
	s.returned = nil
	c := comparison{State: s, snap: snap, options: o, repeated: again, prevSent: s.lastSent}
	c.collect()
	c.advance()
	s.missing, s.missingSince, s.hidden, s.emptied = false, time.Time{}, 0, s.emptied[:0]
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

// shrink releases memory that was needed for an exceptional size: buf holds used elements of a set
// of total.
func shrink[T any](buf []T, used, total int) []T {
	if maxCap := max(2*used, total/16+16); cap(buf) > maxCap {
		return append(make([]T, 0, used), buf...)
	}
	return buf
}

// anyCut reports whether one of the grids is as long as its limit.
func (s *State) anyCut(snap *Snapshot, grids gridSet) bool {
	return slices.ContainsFunc(grids, func(i int) bool { return s.layout.Grids[i].Cut(snap.BodyRows(i)) })
}
