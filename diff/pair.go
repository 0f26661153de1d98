package diff

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strings"
)

// pair packs the published image of an entity that owes, and what its row shows,
// where that can be done without a closer look at either row. Both must have the
// shape that most sources send, columns in the order of the layout, short strings
// without escapes, no blanks. The one is read; of the other, only what differs.
func (s *State) pair(g *group, e *entity, differ differing) (before, after string, ok bool) {
	differ &^= brief
	grid, old, b := &s.plan.grids[e.grid], s.older, s.last.body
	r := &s.last.grids[e.grid].rows[e.row]
	if len(grid.steps) == 0 || !r.bare {
		return "", "", false
	}
	most := 1 + (textMost+stroke)*len(grid.steps)
	if len(s.packs) < 2*most+len(e.pack) {
		s.packs = make([]byte, 2*most+len(e.pack))
	}
	is := s.packs
	n := grid.walk(b[r.from:], is)
	if n == 0 {
		return "", "", false
	}
	was := is[n:]
	is[0], was[0] = packPlain, e.pack[0]
	w := 1
	alike := 1                                     // from there on was is as is, up to the next column that differs or runs
	apart := int(g.open[e.open].was) - int(r.from) // how much further a column stands in the older body
	published, running := texts(e.pack), ""        // what is left of it, and what of it is next in was
	var runs run                                   // where the volatile texts stand in is
	groups := 0                                    // of them, that stand together
	for k := range grid.steps {
		c := &grid.steps[k]
		mine := differ & c.bit
		if mine|c.volatile == 0 {
			if running != "" {
				w += copy(was[w:], running[:len(running)-len(published)])
				running, alike, runs.to = "", c.packed, int32(c.packed)
			}
			continue
		}
		if running == "" {
			w += copy(was[w:], is[alike:c.packed])
		}
		size := int(is[c.packed]) - 1
		longer := size
		at := int(r.from) + c.at + apart
		if differ != 0 {
			// It stands where it must if all that is between is as long, and no row has a
			// name twice.
			if at < 1 || old[at-1] != b[int(r.from)+c.at-1] || !c.begins(old, at) {
				return "", "", false
			}
			length, ascii, _ := quick(old, at+c.size-1)
			if longer = length - 2; !ascii || longer > textMost {
				return "", "", false
			}
			apart += longer - size
		}
		if mine == 0 {
			if running == "" {
				running = published
				runs.from = int32(c.packed)
				groups++
			}
			published = published[len(first(published)):]
			continue
		}
		if running != "" {
			w += copy(was[w:], running[:len(running)-len(published)])
			running, runs.to = "", int32(c.packed)
		}
		was[w] = byte(longer + 1)
		w += 1 + copy(was[w+1:], old[at+c.size:at+c.size+longer])
		alike = c.packed + 1 + size
		differ &^= mine
	}
	if running != "" {
		w += copy(was[w:], running[:len(running)-len(published)])
		runs.to = int32(n)
	} else {
		w += copy(was[w:], is[alike:n])
	}
	if groups == 1 {
		g.open[e.open].runs = runs
	}
	all := s.slab.text(is[:n+w], s.changes.Len())
	return all[n:], all[:n], true
}

// walk packs the texts of a row without backslashes behind the first byte of pack,
// and notes where each column begins. It returns the length of the pack, 0 if the row
// has another shape.
func (g *gridPlan) walk(row, pack []byte) int {
	i, n := 1, 1
	high := uint64(0) // has the highest bit of a byte that is not ASCII
	for k := range g.steps {
		c := &g.steps[k]
		if !c.begins(row, i) {
			return 0
		}
		c.at, c.packed = i, n
		n++
		for i += c.size; ; i, n = i+8, n+8 {
			if i+8 > len(row) || n-c.packed > textMost {
				return 0
			}
			word := binary.LittleEndian.Uint64(row[i:])
			binary.LittleEndian.PutUint64(pack[n:], word)
			if end := quoteIn(word); end != 0 {
				high |= word & (end&-end - 1)
				size := bits.TrailingZeros64(end) / 8
				i, n = i+size, n+size
				break
			}
			high |= word
		}
		pack[c.packed] = byte(n - c.packed)
		i += len(`",`)
	}
	if high&highs != 0 {
		return 0
	}
	return n
}

// run is where the volatile texts stand in a pack; the zero run is unknown.
type run struct{ from, to int32 }

// textMost is how long a text may be for pair to read on in it. With the word that
// ends it, it has less than the 127 bytes that a plain pack may hold.
const textMost = 0x7f - 1 - 8

// step is a column of a row that pair reads.
type step struct {
	word, mask uint64    // its name, colon and quote
	size       int       // bytes of that
	bit        differing // that tells of it
	volatile   differing // not 0 if it is
	// Where it begins in the row that was walked last, and its text in the pack.
	at, packed int
}

// stepsOf gives those that tell the statistics of a kind, nil if one is too long for it.
func (g *gridPlan) stepsOf(k *kindPlan) []step {
	steps := make([]step, len(g.teller))
	for stat, m := range g.teller {
		c := &steps[stat]
		begin := g.members[m].quoted + `"`
		if len(begin) > 8 {
			return nil
		}
		c.word, c.mask = wordOf(begin)
		c.size, c.bit = len(begin), 1<<m
		if k.volatile[stat] {
			c.volatile = math.MaxUint64
		}
	}
	return steps
}

// begins tells whether a column begins at i, with room to look at its text.
func (c *step) begins(b []byte, i int) bool {
	return i+24 <= len(b) && binary.LittleEndian.Uint64(b[i:])&c.mask == c.word
}

// quoteIn has the highest bit of the first byte of a word that is a quote, and may
// have higher ones; it is 0 if none is.
func quoteIn(word uint64) uint64 {
	const ones = 0x0101010101010101
	quote := word ^ '"'*ones
	return (quote - ones) &^ quote & highs
}

// stroke is how many bytes are copied at once, since most texts are shorter.
const stroke = 16

// slab makes texts that are let go of together: it allocates for many at once.
type slab struct{ strings.Builder }

// text makes one. There may be so many more like it.
func (s *slab) text(b []byte, more int) string {
	const size = 32 << 10
	if s.Cap()-s.Len() < len(b) {
		s.Builder = strings.Builder{}
		s.Grow(max(len(b), min(size, len(b)*more)))
	}
	from := s.Len()
	s.Write(b)
	return s.String()[from:]
}
