package past

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// State decides. The view holds the last event of present entities, by their keys; it is needed for those
// of which the stream holds none any more, and to prove that no later one is lost. It may be nil.
func (f *Fold) State(view map[string]Message) *State {
	if f.unreadable > 0 {
		f.Hole(Unreadable, f.unreadable, math.MaxUint64)
	}
	s := &State{At: f.at, Feed: f.feed()}
	c := f.coverage()
	if c.unknown != nil {
		s.Unknown = append(s.Unknown, *c.unknown)
	} else {
		s.Feed.From, s.Feed.Until = c.from, c.until
	}
	if !f.missing.IsZero() && c.unknown == nil {
		s.Unknown = append(s.Unknown, Unknown{Reason: RowsMissing, Text: texts[RowsMissing], After: f.missing})
	}
	s.Unknown = append(s.Unknown, f.lost()...)
	if c.begun {
		f.addEntities(s, &c, view)
	}
	slices.SortFunc(s.Entities, func(a, b Entity) int { return strings.Compare(a.Key, b.Key) })
	return s
}

// addEntities decides on each entity.
func (f *Fold) addEntities(s *State, c *coverage, view map[string]Message) {
	agents, services := 0, 0
	count := func(key string, all []stage, base *change) {
		present := all[0].unknown == "" && all[0].state.Event != nil
		if base != nil {
			present = !base.event.Removes()
		}
		switch {
		case !present:
		case strings.HasPrefix(key, "agent."):
			agents++
		case strings.HasPrefix(key, "service."):
			services++
		}
	}
	add := func(e Entity) {
		if len(e.Possible) > 0 && !slices.ContainsFunc(e.Possible, func(p Possible) bool { return p.Event != nil }) {
			return // absent, as far as is known
		}
		if u := e.Unknown; u != nil && u.Reason == BeforeFirst && !isRow(e.Key) {
			return // it may not have been there
		}
		s.Entities = append(s.Entities, e)
	}
	for key, chain := range f.chains {
		var base *change
		if chain.base != nil {
			if decoded, err := chain.base.Source.Decode(); err == nil && decoded.EntityBase() != nil {
				base = &change{*chain.base, decoded}
			} else {
				f.Foreign(key)
			}
		}
		if base == nil && len(chain.later) == 0 {
			continue
		}
		all := stages(base, chain.later, c.bound)
		count(key, all, base)
		add(f.entity(key, all, c, view))
	}
	for key, m := range view {
		// What the stream should hold is in no chain if it was stored since, or lost.
		if f.chains[key] != nil || m.Seq > f.last.seq {
			continue
		}
		if decoded, err := m.Source.Decode(); err == nil && decoded.EntityBase() != nil && !decoded.EntityBase().Observed.By.After(f.at) {
			base := change{m, decoded}
			all := stages(&base, nil, c.bound)
			count(key, all, &base)
			add(f.entity(key, all, c, view))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(f.foreign)) {
		if _, seen := view[key]; !seen && f.chains[key] == nil && IsEntity(key) {
			s.Entities = append(s.Entities, Entity{Key: key, Unknown: &Unknown{Reason: Foreign, Text: texts[Foreign], Messages: f.foreign[key]}})
		}
	}
	if d := s.Feed.Checkpoint; d != nil {
		s.Feed.Complete = agents == d.Agents && services == d.Services
	}
}

// IsEntity reports whether a key of the view, below the tenant, is that of an entity.
func IsEntity(key string) bool {
	kind, _, _ := strings.Cut(key, ".")
	return slices.Contains([]string{"agent", "service", "availability", "totals", "threshold"}, kind)
}

// entity decides on an entity by its stages, and by when the source was observed.
func (f *Fold) entity(key string, all []stage, c *coverage, view map[string]Message) Entity {
	e, in := decide(f.at, all)
	e.Key = key
	from, until, unknown := c.from, c.until, c.unknown
	if isAvailability(key) && unknown != nil && unknown.Reason == Gap { // checks go on while polls fail
		unknown = nil
	}
	switch {
	case e.Certain():
	case e.Unknown.Reason == Changing && unknown != nil && !c.open:
		e.Unknown = unknown
		return e
	case e.Unknown.Reason == Lost:
		e.Unknown = f.whyLost(e.Unknown, all)
		return e
	default:
		return e
	}
	isLast := in == len(all)-1
	switch {
	case isAvailability(key) && isLast && (unknown == nil || c.open):
		if until, unknown = f.checkedUntil(&all[in], c), nil; f.at.After(until) {
			unknown = c.endsAt(until)
		}
	case !isLast && c.open: // the next event shows that it was observed
		until, unknown = time.Time{}, nil
	}
	if f.clockSet {
		unknown = &Unknown{Reason: ClockSet, Text: texts[ClockSet]}
	}
	if unknown == nil && isRow(key) && !f.missing.IsZero() {
		unknown = &Unknown{Reason: RowsMissing, Text: texts[RowsMissing], After: f.missing}
	}
	if unknown == nil && isRow(key) && isLast && !f.last.data.MissingSince.IsZero() {
		if until = earliest(until, f.last.data.MissingSince.Time); until.Before(f.at) {
			unknown = &Unknown{Reason: RowsMissing, Text: texts[RowsMissing], After: until}
		}
	}
	if h := f.holeFor(key, &all[in], isLast, view); h != nil && unknown == nil {
		if h.from.Before(f.at) {
			unknown = &Unknown{Reason: h.reason, Text: texts[h.reason], After: h.from, By: h.to, Messages: h.messages}
		}
		until = earliest(until, h.from)
	}
	if unknown != nil {
		e.Unknown, e.From, e.Until = unknown, time.Time{}, time.Time{}
		if !isLast {
			e.Possible = append(e.Possible, all[in+1].state)
		}
		return e
	}
	e.From, e.Until = latest(e.From, from), earliest(e.Until, until)
	return e
}

// checkedUntil is until when the last published availability is checked.
func (f *Fold) checkedUntil(s *stage, c *coverage) time.Time {
	until := f.last.time // as what is published as unknown
	if s.state.Event != nil {
		if a := s.state.Event.Availability(); a != nil && a.Available != nil {
			until = latest(s.by, f.last.data.AvailabilityUntil.Time)
		}
	}
	if f.gapAfter != nil {
		return earliest(until, c.until)
	}
	return until
}

// whyLost names the reason of a hole in the events about an entity, if it is known.
func (f *Fold) whyLost(u *Unknown, all []stage) *Unknown {
	for i := 1; i < len(all); i++ {
		if !all[i].lost || !all[i].after.Equal(u.By) {
			continue
		}
		for _, h := range f.holes {
			if all[i-1].seq < h.before && h.before <= all[i].seq {
				return &Unknown{Reason: h.reason, Text: texts[h.reason], After: u.After, By: u.By, Messages: h.messages}
			}
		}
	}
	return u
}

// holeFor returns a hole that may have held a later event about an entity; nil if there is none, or if what
// was published proves that it did not.
func (f *Fold) holeFor(key string, in *stage, isLast bool, view map[string]Message) *hole {
	if !isLast { // revisions count
		return nil
	}
	if m, ok := view[key]; ok && m.Seq == in.seq {
		return nil
	}
	for i := range f.holes {
		if f.holes[i].before > in.seq {
			return &f.holes[i]
		}
	}
	return nil
}

// lost sums up the holes that began before the instant, by their reasons.
func (f *Fold) lost() []Unknown {
	var all []Unknown
	for i := range f.holes {
		h := &f.holes[i]
		if !h.from.Before(f.at) {
			continue
		}
		n := slices.IndexFunc(all, func(u Unknown) bool { return u.Reason == h.reason })
		if n < 0 {
			all, n = append(all, Unknown{Reason: h.reason, Text: texts[h.reason], After: h.from}), len(all)
		}
		all[n].Messages += h.messages
		all[n].By = latest(all[n].By, h.to)
	}
	var foreign uint64
	for _, n := range f.foreign {
		foreign += n
	}
	if foreign > 0 {
		all = append(all, Unknown{Reason: Foreign, Text: "messages that no bridge wrote are passed over", Messages: foreign})
	}
	slices.SortFunc(all, func(a, b Unknown) int { return cmp.Compare(a.Reason, b.Reason) })
	return all
}

// earliest is the earlier of two times, of which a zero one is no bound.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// latest is the later of two times.
func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
