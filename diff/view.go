package diff

import (
	"iter"
	"time"

	"bpcc-nats/diff/image"
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
	if v.entity.absent != nil {
		return v.entity.absent.image.Text(stat)
	}
	if text, seen := v.Seen(stat); seen {
		return text
	}
	return v.entity.image.Text(stat)
}

// Seen returns the text of a statistic in the last snapshot. It reports whether the snapshot shows
// it: a row of the entity is there and has its column. A text that is only remembered is not seen.
func (v EntityView) Seen(stat string) (text string, ok bool) {
	if v.entity.absent != nil {
		return "", false
	}
	i := v.group.compiled.statIndex(stat)
	for n := v.entity.row; n >= 0 && i >= 0; n = v.state.last.rows[n].next {
		grid := &v.state.compiled.grids[v.state.last.gridOf(n)]
		if token := grid.findStat(v.state.last.body, &v.state.last.rows[n], i); token != nil {
			return string(v.state.compiled.textOf(v.group.kind, stat, token)), true
		}
	}
	return "", false
}

// Latest returns the view of an entity as of the last Compare. An entity whose disappearance is not
// reported yet is still there, unless no grid of the layout could show it.
func (s *State) Latest(kind image.Kind, id string) (EntityView, bool) {
	e := s.findEntity(kind, id)
	if e == nil || e.absent != nil && !(e.absent.assumedPresent && s.compiled != nil && s.compiled.CanShow(kind, id)) {
		return EntityView{}, false
	}
	return EntityView{s, s.groups[kind], e}, true
}

// SeenUntil returns when the last request that showed an entity was sent, of the requests before
// the one of the last Compare. It is zero if no such snapshot of this State has shown it.
func (s *State) SeenUntil(kind image.Kind, id string) time.Time {
	e := s.findEntity(kind, id)
	switch {
	case e == nil:
		return time.Time{}
	case e.absent != nil:
		return e.absent.seenUntil
	}
	if until, returned := s.returned[e]; returned || !e.published() {
		return until
	}
	return s.prevSent
}

// Touched yields the entities of a kind whose image may have changed since the Compare before the
// last one, in no order.
func (s *State) Touched(kind image.Kind) iter.Seq[EntityView] {
	return func(yield func(EntityView) bool) {
		g := s.groups[kind]
		if g == nil || s.last == nil {
			return
		}
		for _, cand := range g.candidates {
			if cand.entity.row >= 0 && !yield(EntityView{s, g, cand.entity}) {
				return
			}
		}
		if s.repeated {
			return
		}
		for i, r := range s.last.all() {
			if s.compiled.Grids[i].Kind == kind && r.status == rowVolatileOnly && !r.entity.compared && s.firstVolatileRow(r.entity) == r &&
				!yield(EntityView{s, g, r.entity}) {
				return
			}
		}
	}
}

// firstVolatileRow returns the first row of an entity that differs in volatile columns only; there is
// one.
func (s *State) firstVolatileRow(e *entity) *row {
	r := &s.last.rows[e.row]
	for r.status != rowVolatileOnly {
		r = &s.last.rows[r.next]
	}
	return r
}
