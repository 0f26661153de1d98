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
	"time"

	"bpcc-nats/diff/image"
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
	Kind image.Kind
	ID   string
	// Before is the published image, After the current one. Before is zero for Observed and
	// Appeared, After for Disappeared.
	Before, After image.Image
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
	Baseline map[image.Kind]bool
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
	Images func(kind image.Kind, seen, now image.Image) bool
}

// needsImages reports whether the images of a row must be compared.
func (n *ReentryTest) needsImages(before, after int32) bool {
	if before == noClock || after == noClock {
		return false
	}
	return before == complexClock || after == complexClock || n.Clock(int(before), int(after))
}
