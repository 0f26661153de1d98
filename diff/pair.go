package diff

import (
	"bytes"
	"strings"
)

// abreast is what two rows of one entity, an older and a newer one, are read into
// side by side.
type abreast struct {
	olds, values []span // by member
	alike        []bool // by member: they are the same bytes
	packs        []byte
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

// short is where the text of a short plain string begins and how long it is, false
// for all else.
func (s span) short() (from, size int, ok bool) {
	length := int(s.length &^ plainSpan)
	return int(s.from) + 1, length - 2, s.length&plainSpan != 0 && length < 128
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
	// No text is longer than what the first byte of a pack promises.
	most := 1 + 128*len(g.plan.volatile) + stroke
	if len(p.packs) < 2*most+len(e.pack) {
		p.packs = make([]byte, 2*most+len(e.pack))
	}
	was, is := p.packs[:most+len(e.pack)], p.packs[most+len(e.pack):]
	was[0], is[0] = e.pack[0], packPlain
	w, n := 1, 1
	published := texts(e.pack)
	for i, volatile := range g.plan.volatile {
		m := plan.tells[i][0]
		from, size, plain := p.values[m].short()
		if !plain {
			return "", "", false
		}
		is[n] = byte(size + 1)
		put(is[n+1:], b, from, size)
		n += size + 1
		switch {
		case volatile:
			text := first(published)
			w += copy(was[w:], text)
			published = published[len(text):]
			continue
		case p.alike[m]:
			was[w] = byte(size + 1)
			put(was[w+1:], b, from, size)
		default:
			if from, size, plain = p.olds[m].short(); !plain {
				return "", "", false
			}
			was[w] = byte(size + 1)
			put(was[w+1:], old, from, size)
		}
		w += size + 1
	}
	all := s.slab.text(was[:w], is[:n])
	return all[:w], all[w:], true
}

// stroke is how many bytes are copied at once, since most texts are shorter.
const stroke = 16

// put copies a text of b to where there is room for a stroke.
func put(to, b []byte, from, size int) {
	if size <= stroke && from+stroke <= len(b) {
		copy(to[:stroke], b[from:from+stroke])
	} else {
		copy(to, b[from:from+size])
	}
}

// slab makes texts that are let go of together: it allocates for many at once.
type slab struct{ strings.Builder }

// text joins two texts.
func (s *slab) text(a, b []byte) string {
	const size = 32 << 10
	if s.Cap()-s.Len() < len(a)+len(b) {
		s.Builder = strings.Builder{}
		s.Grow(max(size, len(a)+len(b)))
	}
	from := s.Len()
	s.Write(a)
	s.Write(b)
	return s.String()[from:]
}
