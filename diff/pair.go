package diff

import "bytes"

// pair is what two rows of one entity, an older and a newer one, are read into
// side by side.
type pair struct {
	olds, values  []span // by member
	alike         []bool // by member: they are the same bytes
	before, after []byte // packs
}

// abreast finds the values of both rows, in old from j on and in b from i on. It
// gives up where they do not have the shape that most sources send: columns in
// the order seen before, strings without escapes, no blanks.
func (p *pair) abreast(g *gridPlan, old []byte, j int, b []byte, i int) bool {
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

// pair compares a lean entity's row with the one that it leans on, where that
// can be done without a closer look at either: the rows are read once, side by
// side. It makes the entity's pack whole, and gives the row's pack and what
// differs.
func (c *comparison) pair(g *group, e *entity, grid int, r *row) (after string, differ []string, ok bool) {
	p, plan := &c.both, &c.plan.grids[grid]
	if !e.lean || int(e.grid) != grid || c.layout.Rewrite != nil {
		return "", nil, false
	}
	old, b := c.last.body, c.snap.body
	if !p.abreast(plan, old, int(c.last.grids[grid].rows[e.row].from), b, int(r.from)) {
		return "", nil, false
	}
	differ = c.names(len(g.plan.volatile))
	p.before, p.after = append(p.before[:0], e.pack[0]), append(p.after[:0], packPlain)
	published := texts(e.pack)
	for i, volatile := range g.plan.volatile {
		members := plan.tells[i]
		if len(members) != 1 {
			return "", nil, false
		}
		m := members[0]
		is, plain := p.values[m].inner(b)
		if !plain {
			return "", nil, false
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
				return "", nil, false
			}
			p.before = append(append(p.before, byte(len(was)+1)), was...)
			differ = append(differ, g.plan.names.all[i])
		}
	}
	c.differ = c.differ[:len(c.differ)+len(differ)]
	n := len(p.before)
	p.before = append(p.before, p.after...)
	all := string(p.before)
	e.pack, e.lean = all[:n], false
	return all[n:], differ[:len(differ):len(differ)], true
}
