package diff

import "bytes"

// abreast is what two rows of one entity, an older and a newer one, are read into
// side by side.
type abreast struct {
	olds, values  []span // by member
	alike         []bool // by member: they are the same bytes
	before, after []byte // packs
}

// read finds the values of both rows, in old from j on and in b from i on. It
// gives up where they do not have the shape that most sources send: columns in
// the order seen before, strings without escapes, no blanks.
func (p *abreast) read(g *gridPlan, old []byte, j int, b []byte, i int) bool {
	if n := len(g.members); len(p.values) < n {
		p.olds, p.values, p.alike = make([]span, n), make([]span, n), make([]bool, n)
	}
	clear(p.values)
	i, j = i+1, j+1
	for _, at := range g.order {
		if at < 0 || i+16 > len(b) || j+16 > len(old) {
			return false
		}
		m := &g.members[at]
		if !m.begins(b, i) || !m.begins(old, j) || p.values[at].known() {
			return false
		}
		i, j = i+len(m.quoted), j+len(m.quoted)
		length, ascii, then := quick(b, i)
		if then == 0 {
			return false
		}
		longer, was, behind := length, ascii, byte(0)
		alike := j+length < len(old) && bytes.Equal(b[i:i+length], old[j:j+length])
		if alike {
			behind = old[j+length]
		} else {
			longer, was, behind = quick(old, j)
		}
		p.values[at], p.olds[at], p.alike[at] = newSpan(i, length, ascii), newSpan(j, longer, was), alike
		if then != behind || then != ',' {
			return then == behind && then == '}'
		}
		i, j = i+length+1, j+longer+1
	}
	return false
}

func newSpan(from, length int, plain bool) span {
	s := span{uint32(from), uint32(length)}
	if plain {
		s.length |= plainSpan
	}
	return s
}

// inner is the text of a short plain string, false for all else.
func (s span) inner(b []byte) ([]byte, bool) {
	length := s.length &^ plainSpan
	if s.length&plainSpan == 0 || length >= 128 {
		return nil, false
	}
	return b[s.from+1 : s.from+length-1], true
}

// pair packs the published image of an entity that owes, and what its row shows,
// where that can be done without a closer look at either row: they are read once,
// side by side.
func (s *State) pair(g *group, e *entity) (before, after string, ok bool) {
	p, plan := &s.abreast, &s.plan.grids[e.grid]
	old, b := s.older, s.last.body
	if !p.read(plan, old, int(g.open[e.open].was), b, int(s.last.grids[e.grid].rows[e.row].from)) {
		return "", "", false
	}
	p.before, p.after = append(p.before[:0], e.pack[0]), append(p.after[:0], packPlain)
	published := texts(e.pack)
	for i, volatile := range g.plan.volatile {
		m := plan.tells[i][0]
		is, plain := p.values[m].inner(b)
		if !plain {
			return "", "", false
		}
		p.after = append(append(p.after, byte(len(is)+1)), is...)
		switch {
		case volatile:
			var was string
			var known bool
			was, known, published = cutFirst(published)
			p.before = appendMaybe(p.before, was, known)
		case p.alike[m]:
			p.before = append(append(p.before, byte(len(is)+1)), is...)
		default:
			was, plain := p.olds[m].inner(old)
			if !plain {
				return "", "", false
			}
			p.before = append(append(p.before, byte(len(was)+1)), was...)
		}
	}
	n := len(p.before)
	p.before = append(p.before, p.after...)
	all := string(p.before)
	return all[:n], all[n:], true
}
