// Package verbs says which events about an entity may be missing between two others, by the verbs of those that a
// part of a stream may lack.
package verbs

import "slices"

// Set is a set of verbs.
type Set uint16

// Verbs.
const (
	Observed Set = 1 << iota
	Appeared
	Disappeared
	StateChanged
	StatsChanged
	Changed
	Raised
	Cleared
	Checkpoint
	Started
	Stopped
	Interrupted
	Resumed
)

// names are the verbs as names of events have them, in the order of the constants.
var names = [...]string{
	"observed", "appeared", "disappeared", "state_changed", "stats_changed", "changed", "raised", "cleared",
	"checkpoint", "started", "stopped", "interrupted", "resumed",
}

// Of returns a verb as a set; of one that a later version may have added, the empty set.
func Of(name string) Set {
	if i := slices.Index(names[:], name); i >= 0 {
		return 1 << i
	}
	return 0
}

// Names are the verbs of the set.
func (s Set) Names() (list []string) {
	for i, name := range names {
		if s&(1<<i) != 0 {
			list = append(list, name)
		}
	}
	return list
}

// OfKind returns the verbs of the events about an entity of a kind, or about the feed's status.
func OfKind(kind string) Set {
	switch kind {
	case "agent":
		return Observed | Appeared | Disappeared | StateChanged | StatsChanged
	case "service":
		return Observed | Appeared | Disappeared | StatsChanged
	case "totals":
		return Observed | StatsChanged
	case "availability":
		return Observed | Changed
	case "threshold":
		return Raised | Cleared
	case "feed":
		return Checkpoint | Started | Stopped | Interrupted | Resumed
	}
	return 0
}

// Missing is what is known of the events about an entity between two that were added.
type Missing struct {
	N uint64 // how many
	// States is how many of them are changes of state, if that is known.
	States      uint64
	StatesKnown bool
	// AbsentBefore and AbsentAfter say that the entity is absent before and after them.
	AbsentBefore, AbsentAfter bool
	// SameImage and SameState say that the image and the state are the same before and after them; of an
	// availability, that its value is.
	SameImage, SameState bool
	// SameVerb says that the events before and after them have the same verb.
	SameVerb bool
}

// Shortened returns missing events of which the same is possible, and of which there are few.
func (m Missing) Shortened() Missing {
	few := func(n uint64) uint64 { return min(n, 8-n%2) } // odd or even as before
	if !m.StatesKnown || m.States > m.N {
		m.N = few(m.N)
		m.States = min(m.States, m.N+1)
		return m
	}
	rest := few(m.N - m.States)
	m.States = few(m.States)
	m.N = m.States + rest
	return m
}

// Possible reports whether the events that are missing may all be of the hidden verbs, of which the part
// may lack events. The kind is that of their entity.
func (m Missing) Possible(kind string, hidden Set) bool {
	switch kind {
	case "threshold": // raised and cleared take turns
		return m.N == 1 && m.SameVerb
	case "availability":
		return hidden&Changed != 0 || hidden&Observed != 0 && m.SameImage
	}
	for states := range m.N + 1 {
		wanted := !m.StatesKnown || states == m.States
		if wanted && (states == 0 || hidden&StateChanged != 0) && m.possibleRow(hidden, states) {
			return true
		}
	}
	return false
}

// possibleRow is Possible for a row and a number of changes of its state.
func (m Missing) possibleRow(hidden Set, states uint64) bool {
	comes, goes := hidden&Appeared != 0, hidden&Disappeared != 0
	rest := m.N - states
	if m.AbsentBefore {
		if !comes || rest == 0 {
			return false
		}
		rest--
	}
	if m.AbsentAfter {
		if !goes || rest == 0 {
			return false
		}
		rest--
	}
	// An entity that departs and comes back has any image.
	anyImage := m.AbsentBefore || m.AbsentAfter || comes && goes && rest >= 2
	switch {
	case !anyImage && !m.SameState && states == 0:
		return false
	case hidden&StatsChanged != 0:
		return rest > 0 || anyImage || m.SameImage || states > 0
	case hidden&Observed != 0:
		return anyImage || m.SameImage || states > 0
	case rest == 0:
		return anyImage || m.SameImage || states > 0
	}
	return comes && goes && rest%2 == 0
}
