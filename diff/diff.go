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
	"maps"
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
	// Before is the image that was known, After the present one. Before is nil
	// for Observed and Appeared, After for Disappeared.
	Before, After Image
	// Stats names what differs, for Changed.
	Stats []string
	// Seen is how the snapshot before showed the entity, volatile statistics
	// included; nil if it did not.
	Seen Image
	// SeenUntil is, for Disappeared, when the last request that still showed
	// the row was sent; zero if this State has never seen the row.
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
	// Notable may find a change where no statistic tells one, in how two
	// snapshots in a row showed an entity. The change then names no
	// statistics. nil finds none.
	Notable func(kind Kind, seen, now Image) bool
}

// massLeast is from how many entities on a departure can be a mass departure.
const massLeast = 10

// State is what is known of all entities. The zero value knows none. It is not
// safe for concurrent use.
type State struct {
	kinds   map[Kind]map[string]*entity
	present map[Kind]map[string]Image
	mass    map[Kind]departure
	fresh   map[Kind]map[string]gridSet // where the last snapshot shows what is not known
	last    time.Time                   // when the last compared snapshot's request was sent
}

// departure is a mass departure that is being held.
type departure struct {
	since time.Time
	held  int
}

type entity struct {
	image     Image
	grids     gridSet   // where it was last seen; none = not known
	missed    int       // snapshots in a row without it
	seenUntil time.Time // when the last request that showed it was sent
}

// gridSet holds indexes of Layout.Grids.
type gridSet []int

// Set makes image what is known of an entity; nil forgets it. It is called for
// what was acknowledged, so that a difference that was not stays one.
func (s *State) Set(kind Kind, id string, image Image) {
	if image == nil {
		delete(s.kinds[kind], id)
		return
	}
	if s.kinds == nil {
		s.kinds = map[Kind]map[string]*entity{}
	}
	if s.kinds[kind] == nil {
		s.kinds[kind] = map[string]*entity{}
	}
	if e := s.kinds[kind][id]; e != nil {
		e.image = image
		return
	}
	e := &entity{image: image}
	if grids := s.fresh[kind][id]; grids != nil {
		e.grids, e.seenUntil = grids, s.last
	}
	s.kinds[kind][id] = e
}

// Image returns what is known of an entity, nil if nothing.
func (s *State) Image(kind Kind, id string) Image {
	if e := s.kinds[kind][id]; e != nil {
		return e.image
	}
	return nil
}

// Present returns the latest picture of every entity of a kind, volatile
// statistics included, as the last Compare saw it; rows whose absence is not
// yet believed are still there. The map is the state's own: only to be read.
func (s *State) Present(kind Kind) map[string]Image { return s.present[kind] }

// Held tells how many entities of a kind the last Compare did not count as
// missing because they left in a mass.
func (s *State) Held(kind Kind) int { return s.mass[kind].held }

// IDs lists the known entities of a kind in order.
func (s *State) IDs(kind Kind) []string { return slices.Sorted(maps.Keys(s.kinds[kind])) }

// Len tells how many entities of a kind are known.
func (s *State) Len(kind Kind) int { return len(s.kinds[kind]) }

// sighting is what one snapshot shows of one entity, over all grids.
type sighting struct {
	rows  []row
	grids gridSet
}

// Compare tells what differs between what is known and the snapshot, ordered
// by kind as the layout names them, then by id. What is known does not change
// until [State.Set]; only the count of absences goes on. The error is
// [ErrEmpty], and then nothing has been compared.
func (s *State) Compare(l *Layout, snap *Snapshot, o Options) ([]Change, error) {
	if err := s.plausible(l, snap, o); err != nil {
		return nil, err
	}
	var changes []Change
	if s.present == nil {
		s.present, s.mass = map[Kind]map[string]Image{}, map[Kind]departure{}
	}
	s.fresh = map[Kind]map[string]gridSet{}
	for _, kind := range l.Kinds() {
		if s.present[kind] == nil {
			s.present[kind] = map[string]Image{}
		}
		seen := l.sightings(snap, kind)
		known := s.kinds[kind]
		s.fresh[kind] = map[string]gridSet{}
		stats := l.stats(kind)
		for _, id := range slices.Sorted(maps.Keys(seen)) {
			c, differs := s.look(l, snap, kind, id, stats, seen[id], o)
			c.Seen = s.present[kind][id]
			differs = differs || c.Seen != nil && c.Op == Changed && o.Notable != nil && o.Notable(kind, c.Seen, c.After)
			s.present[kind][id] = c.After
			if differs {
				changes = append(changes, c)
			}
		}
		held := s.holds(l, snap, kind, seen, o)
		for _, id := range slices.Sorted(maps.Keys(known)) {
			if _, ok := seen[id]; ok {
				continue
			}
			if e := known[id]; s.gone(l, snap, kind, e, held, o) {
				delete(s.present[kind], id)
				changes = append(changes, Change{
					Op: Disappeared, Kind: kind, ID: id, Before: e.image, SeenUntil: e.seenUntil,
				})
			}
		}
		maps.DeleteFunc(s.present[kind], func(id string, _ Image) bool {
			_, shown := seen[id]
			return !shown && s.kinds[kind][id] == nil
		})
	}
	s.last = snap.Sent
	return changes, nil
}

// look compares one entity that the snapshot shows.
func (s *State) look(l *Layout, snap *Snapshot, kind Kind, id string, stats []string, now sighting, o Options) (Change, bool) {
	e := s.kinds[kind][id]
	if e == nil {
		s.fresh[kind][id] = now.grids
		op := Appeared
		if !o.Baseline[kind] || l.anyCut(snap, now.grids) {
			op = Observed
		}
		return Change{Op: op, Kind: kind, ID: id, After: l.image(kind, stats, now, nil)}, true
	}
	e.grids, e.missed, e.seenUntil = now.grids, 0, snap.Sent
	after := l.image(kind, stats, now, e.image)
	differ := slices.DeleteFunc(Differences(e.image, after), l.volatile)
	return Change{Op: Changed, Kind: kind, ID: id, Before: e.image, After: after, Stats: differ}, len(differ) > 0
}

// gone counts an absence, unless it is held, and tells whether it is now to be
// believed.
func (s *State) gone(l *Layout, snap *Snapshot, kind Kind, e *entity, held bool, o Options) bool {
	if held || !l.tellsAbsence(snap, kind, e) {
		return false
	}
	e.missed++
	return e.missed >= o.DisappearAfter
}

// tellsAbsence tells whether the snapshot would show the entity if it were there.
func (l *Layout) tellsAbsence(snap *Snapshot, kind Kind, e *entity) bool {
	home := e.grids
	if home == nil {
		home = l.gridsOf(kind)
	}
	// A section that is one row cannot lose it; it is not known this time.
	return !l.anyCut(snap, home) && !slices.ContainsFunc(home, func(i int) bool { return l.Grids[i].ID == "" })
}

// holds tells whether the absences of a kind are a mass departure that has not
// lasted long enough to be believed.
func (s *State) holds(l *Layout, snap *Snapshot, kind Kind, seen map[string]sighting, o Options) bool {
	missing := 0
	for id, e := range s.kinds[kind] {
		if _, ok := seen[id]; !ok && l.tellsAbsence(snap, kind, e) {
			missing++
		}
	}
	if known := len(s.kinds[kind]); o.MassHold == 0 || known < massLeast || 2*missing <= known {
		delete(s.mass, kind)
		return false
	}
	d := s.mass[kind]
	if d.since.IsZero() {
		d.since = snap.Received
	}
	d.held = missing
	if snap.Received.Sub(d.since) >= o.MassHold {
		d.held = 0
	}
	s.mass[kind] = d
	return d.held > 0
}

// plausible refuses a snapshot in which a grid lost all its rows at once.
func (s *State) plausible(l *Layout, snap *Snapshot, o Options) error {
	if o.AcceptEmpty {
		return nil
	}
	for i, g := range l.Grids {
		if len(snap.rows[i]) > 0 || g.ID == "" {
			continue
		}
		for _, e := range s.kinds[g.Kind] {
			if slices.Contains(e.grids, i) || e.grids == nil && l.allEmpty(snap, g.Kind) {
				return fmt.Errorf("%w: %s", ErrEmpty, g.Name())
			}
		}
	}
	return nil
}

// Kinds lists the kinds of the layout in the order of its grids.
func (l *Layout) Kinds() []Kind {
	var kinds []Kind
	for _, g := range l.Grids {
		if !slices.Contains(kinds, g.Kind) {
			kinds = append(kinds, g.Kind)
		}
	}
	return kinds
}

// allEmpty tells whether no grid of the kind has a row.
func (l *Layout) allEmpty(snap *Snapshot, kind Kind) bool {
	return !slices.ContainsFunc(l.gridsOf(kind), func(i int) bool { return len(snap.rows[i]) > 0 })
}

func (l *Layout) gridsOf(kind Kind) gridSet {
	var set gridSet
	for i, g := range l.Grids {
		if g.Kind == kind {
			set = append(set, i)
		}
	}
	return set
}

// anyCut tells whether one of the grids is as long as its limit.
func (l *Layout) anyCut(snap *Snapshot, grids gridSet) bool {
	return slices.ContainsFunc(grids, func(i int) bool {
		return l.Grids[i].Limit > 0 && len(snap.rows[i]) >= l.Grids[i].Limit
	})
}

func (l *Layout) volatile(stat string) bool { return l.Volatile != nil && l.Volatile(stat) }

// sightings gathers the rows of each entity of a kind.
func (l *Layout) sightings(snap *Snapshot, kind Kind) map[string]sighting {
	seen := map[string]sighting{}
	for i, g := range l.Grids {
		if g.Kind != kind {
			continue
		}
		for _, r := range snap.rows[i] {
			at := seen[r.key]
			seen[r.key] = sighting{append(at.rows, r), append(at.grids, i)}
		}
	}
	return seen
}

// image joins an entity's rows into one picture. Where two grids know the same
// statistic the first one rules; what no row tells keeps its last known text.
func (l *Layout) image(kind Kind, stats []string, now sighting, known Image) Image {
	out := make(Image, 0, len(stats))
	for _, stat := range stats {
		text, ok := l.text(kind, now, stat)
		if !ok {
			text, ok = known.Get(stat)
		}
		if ok {
			out = append(out, Stat{stat, text})
		}
	}
	return out
}

// text finds a statistic in the rows of one entity.
func (l *Layout) text(kind Kind, now sighting, stat string) (string, bool) {
	for at, grid := range now.grids {
		for _, c := range l.Grids[grid].Columns {
			if c.Stat != stat {
				continue
			}
			if v, ok := now.rows[at].columns[c.ID]; ok {
				return l.rewrite(kind, stat, string(v)), true
			}
		}
	}
	return "", false
}

// stats lists the statistics of a kind, each once, in the layout's order.
func (l *Layout) stats(kind Kind) []string {
	var stats []string
	for _, g := range l.Grids {
		if g.Kind != kind {
			continue
		}
		for _, c := range g.Columns {
			if c.Stat != "" && !slices.Contains(stats, c.Stat) {
				stats = append(stats, c.Stat)
			}
		}
	}
	return stats
}
