package diff

import (
	"encoding/binary"
	"strings"
)

// pair packs the published image of an entity that owes, and what its row shows,
// where that can be done without a closer look at either row: they are read once,
// side by side. Both must have the shape that most sources send, columns in the
// order of the layout, short strings without escapes, no blanks.
func (s *State) pair(g *group, e *entity) (before, after string, ok bool) {
	grid, old, b := &s.plan.grids[e.grid], s.older, s.last.body
	i, j := int(s.last.grids[e.grid].rows[e.row].from)+1, int(g.open[e.open].was)+1
	// No text is longer than what the first byte of a pack promises.
	most := 1 + 128*len(g.plan.volatile) + stroke
	if len(s.packs) < 2*most+len(e.pack) {
		s.packs = make([]byte, 2*most+len(e.pack))
	}
	was, is := s.packs[:most+len(e.pack)], s.packs[most+len(e.pack):]
	was[0], is[0] = e.pack[0], packPlain
	w, n := 1, 1
	published := texts(e.pack)
	if len(grid.order) < len(grid.teller) {
		return "", "", false
	}
	order := grid.order[:len(grid.teller)]
	for stat, volatile := range g.plan.volatile {
		if order[stat] != grid.teller[stat] || i+24 > len(b) || j+24 > len(old) {
			return "", "", false
		}
		m := &grid.members[order[stat]]
		if !m.begins(b, i) || !m.begins(old, j) {
			return "", "", false
		}
		i, j = i+len(m.quoted), j+len(m.quoted)
		var length int
		var plain bool
		var then byte
		word := binary.LittleEndian.Uint64(b[i+1:])
		if k := unplain(word); k < 8 && b[i] == '"' && b[i+1+k] == '"' { // what quick finds, in fewer steps
			length, plain, then = k+2, word<<(56-8*k)&highs == 0, b[i+2+k]
		} else {
			length, plain, then = quick(b, i)
		}
		if !plain || length >= 128 {
			return "", "", false
		}
		text, from := b, i
		longer := length
		if j+length >= len(old) || old[j+length] != then || string(b[i:i+length]) != string(old[j:j+length]) {
			if longer, plain, _ = quick(old, j); !plain || longer >= 128 {
				return "", "", false
			}
			text, from = old, j
		}
		is[n] = byte(length - 1)
		put(is[n+1:], b, i+1, length-2)
		n += length - 1
		if volatile {
			told := first(published)
			w += copy(was[w:], told)
			published = published[len(told):]
		} else {
			was[w] = byte(longer - 1)
			put(was[w+1:], text, from+1, longer-2)
			w += longer - 1
		}
		i, j = i+length+1, j+longer+1
	}
	all := s.slab.text(was[:w], is[:n], s.changes.Len())
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

// text joins two texts. There may be so many more like them.
func (s *slab) text(a, b []byte, more int) string {
	const size = 32 << 10
	if n := len(a) + len(b); s.Cap()-s.Len() < n {
		s.Builder = strings.Builder{}
		s.Grow(max(n, min(size, n*more)))
	}
	from := s.Len()
	s.Write(a)
	s.Write(b)
	return s.String()[from:]
}
