package diff

import (
	"iter"
	"slices"
)

// Sighting is the latest picture of one entity, volatile statistics included.
// It is good until the next Parse or Compare.
type Sighting struct {
	s *State
	g *group
	e *entity
}

// ID is the entity's.
func (v Sighting) ID() string { return v.e.id }

// Text returns the text of a statistic, "" where it is not known.
func (v Sighting) Text(stat string) string {
	i := -1
	if v.g.plan != nil {
		i = v.g.plan.index(stat)
	}
	if v.e.grid == nowhere || i < 0 {
		return v.e.extra().seen.Text(stat)
	}
	if token := v.token(i); token != nil {
		return v.s.layout.rewrite(v.g.kind, stat, string(limited(decoded(token, nil))))
	}
	text, _ := v.s.image(v.g, v.e, v.s.whole(v.g, v.e)).Get(stat)
	return text
}

// OneOf tells whether the text of a statistic is one of these.
func (v Sighting) OneOf(stat string, texts []string) bool {
	if v.g.plan != nil && v.e.grid != nowhere && v.s.layout.Rewrite == nil {
		if i := v.g.plan.index(stat); i >= 0 {
			if token := v.token(i); token != nil {
				text := limited(decoded(token, nil))
				return slices.ContainsFunc(texts, func(t string) bool { return t == string(text) })
			}
		}
	}
	return slices.Contains(texts, v.Text(stat))
}

// token finds the value of a statistic in the rows that show the entity, nil if
// none tells it.
func (v Sighting) token(stat int) []byte {
	var buf [1]place
	for _, p := range v.e.places(buf[:]) {
		grid := &v.s.plan.grids[p.grid]
		for _, m := range grid.tells[stat] {
			if token := grid.value(v.s.last.body, int(v.s.last.grids[p.grid].rows[p.row].from), m); token != nil {
				return token
			}
		}
	}
	return nil
}

// Latest gives the latest picture of an entity, as the last Compare saw it; one
// whose absence is not yet believed is still there.
func (s *State) Latest(kind Kind, id string) (Sighting, bool) {
	e := s.entity(kind, id)
	if e == nil || e.grid == nowhere && !e.more.present {
		return Sighting{}, false
	}
	return Sighting{s, s.groups[kind], e}, true
}

// Stirred gives the entities of a kind whose picture may be another than the
// Compare before the last one saw, in no order.
func (s *State) Stirred(kind Kind) iter.Seq[Sighting] {
	return func(yield func(Sighting) bool) {
		g := s.groups[kind]
		if g == nil || s.last == nil {
			return
		}
		for _, e := range g.touched {
			if e.grid != nowhere && !yield(Sighting{s, g, e}) {
				return
			}
		}
		for i := range s.last.grids {
			if s.still || s.layout.Grids[i].Kind != kind {
				continue
			}
			for r := range s.last.grids[i].rows {
				at := &s.last.grids[i].rows[r]
				if at.reading != ticked || at.entity.touched || at.entity.grid == everywhere && !s.firstTick(at.entity, i) {
					continue
				}
				if !yield(Sighting{s, g, at.entity}) {
					return
				}
			}
		}
	}
}

// firstTick tells whether a grid is the first whose row of the entity has ticked.
func (s *State) firstTick(e *entity, grid int) bool {
	for _, p := range e.more.places {
		if s.last.grids[p.grid].rows[p.row].reading == ticked {
			return p.grid == grid
		}
	}
	return false
}
