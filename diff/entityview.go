package diff

import (
	"iter"
	"slices"
	"time"
)

// EntityView is the latest image of one entity, volatile statistics included. It is valid until the
// next Parse or Compare.
type EntityView struct {
	state  *State
	group  *group
	entity *entity
}

// ID returns the entity's id.
func (v EntityView) ID() string { return v.entity.id }

// Text returns the text of a statistic, "" where it is not known.
func (v EntityView) Text(stat string) string {
	i := -1
	if v.group.compiled != nil {
		i = v.group.compiled.statIndex(stat)
	}
	if v.entity.grid == noGrid || i < 0 {
		return v.entity.ensureRare().lastImage.Text(stat)
	}
	if text, seen := v.Seen(stat); seen {
		return text
	}
	text, _ := v.state.imageOf(v.group, v.entity, v.state.publishedPack(v.group, v.entity)).Get(stat)
	return text
}

// Seen returns the text of a statistic in the last snapshot. It reports whether the snapshot shows
// it: a row of the entity is there and has its column. A text that is only remembered is not seen.
func (v EntityView) Seen(stat string) (text string, ok bool) {
	if v.group.compiled == nil || v.entity.grid == noGrid {
		return "", false
	}
	i := v.group.compiled.statIndex(stat)
	if i < 0 {
		return "", false
	}
	token := v.findToken(i)
	if token == nil {
		return "", false
	}
	return v.state.layout.rewrite(v.group.kind, stat, string(cutText(unquote(token)))), true
}

// OneOf reports whether the text of a statistic is one of texts.
func (v EntityView) OneOf(stat string, texts []string) bool {
	if v.group.compiled != nil && v.entity.grid != noGrid && v.state.layout.Rewrite == nil {
		if i := v.group.compiled.statIndex(stat); i >= 0 {
			if token := v.findToken(i); token != nil {
				text := cutText(unquote(token))
				return slices.ContainsFunc(texts, func(t string) bool { return t == string(text) })
			}
		}
	}
	return slices.Contains(texts, v.Text(stat))
}

// findToken finds the value of a statistic in the rows that show the entity, nil if none holds it.
func (v EntityView) findToken(stat int) []byte {
	var buf [1]gridRow
	for _, p := range v.entity.gridRows(buf[:]) {
		grid := &v.state.compiled.grids[p.grid]
		for _, m := range grid.statColumns[stat] {
			if token := grid.findValue(v.state.last.body, int(v.state.last.grids[p.grid].rows[p.row].from), m); token != nil {
				return token
			}
		}
	}
	return nil
}

// Latest returns the view of an entity as of the last Compare. An entity whose disappearance is not
// reported yet is still there, unless no grid of the layout could show it.
func (s *State) Latest(kind Kind, id string) (EntityView, bool) {
	e := s.findEntity(kind, id)
	if e == nil || e.grid == noGrid && !(e.rare.assumedPresent && s.layout.canShow(kind, id)) {
		return EntityView{}, false
	}
	return EntityView{s, s.groups[kind], e}, true
}

// SeenUntil returns when the last request that showed an entity was sent, of the requests before
// the one of the last Compare. It is zero if no such snapshot of this State has shown it.
func (s *State) SeenUntil(kind Kind, id string) time.Time {
	e := s.findEntity(kind, id)
	switch {
	case e == nil:
		return time.Time{}
	case e.grid == noGrid:
		return e.rare.seenUntil
	}
	if until, returned := s.returned[e]; returned || !e.published {
		return until
	}
	return s.changes.prevSent
}

// Touched yields the entities of a kind whose image may have changed since the Compare before the
// last one, in no order.
func (s *State) Touched(kind Kind) iter.Seq[EntityView] {
	return func(yield func(EntityView) bool) {
		g := s.groups[kind]
		if g == nil || s.last == nil {
			return
		}
		for _, e := range g.visited {
			if e.grid != noGrid && !yield(EntityView{s, g, e}) {
				return
			}
		}
		for i := range s.last.grids {
			if s.repeated || s.layout.Grids[i].Kind != kind {
				continue
			}
			for r := range s.last.grids[i].rows {
				at := &s.last.grids[i].rows[r]
				if at.status != rowVolatileOnly || at.entity.visited || at.entity.grid == manyGrids && !s.isFirstVolatileGrid(at.entity, i) {
					continue
				}
				if !yield(EntityView{s, g, at.entity}) {
					return
				}
			}
		}
	}
}

// isFirstVolatileGrid reports whether a grid is the first whose row of the entity differs in
// volatile columns only.
func (s *State) isFirstVolatileGrid(e *entity, grid int) bool {
	for _, p := range e.rare.gridRows {
		if s.last.grids[p.grid].rows[p.row].status == rowVolatileOnly {
			return p.grid == grid
		}
	}
	return false
}
