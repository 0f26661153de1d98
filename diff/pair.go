package diff

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strings"
)

// pairedPacks packs the published image of an entity that owes, and what its row shows,
// where that can be done without a closer look at either row. Both must have the
// shape that most sources send, columns in the order of the layout, short strings
// without escapes, no blanks. The one is read; of the other, only what differs.
func (s *State) pairedPacks(g *group, e *entity, cols columnBits) (before, after string, ok bool) {
	cols &^= shortBit
	grid, old, b := &s.compiled.grids[e.grid], s.prevBody, s.last.body
	r := &s.last.grids[e.grid].rows[e.row]
	if len(grid.matchers) == 0 || !r.noEscapes {
		return "", "", false
	}
	maxPack := 1 + (maxFastText+copyWidth)*len(grid.matchers)
	if len(s.packBuf) < 2*maxPack+len(e.pack) {
		s.packBuf = make([]byte, 2*maxPack+len(e.pack))
	}
	is := s.packBuf
	n := grid.packRow(b[r.from:], is)
	if n == 0 {
		return "", "", false
	}
	was := is[n:]
	is[0], was[0] = asciiPack, e.pack[0]
	w := 1
	sameFrom := 1                                              // from there on was is as is, up to the next column that differs or runs
	shift := int(g.dirty[e.dirtyIndex].prevFrom) - int(r.from) // how much further a column stands in the older body
	publishedLeft, volatileRun := packBody(e.pack), ""         // what is left of it, and what of it is next in was
	var volatileRange packRange                                // where the volatile texts stand in is
	volatileGroups := 0                                        // of them, that stand together
	for k := range grid.matchers {
		c := &grid.matchers[k]
		colBit := cols & c.bit
		if colBit|c.volatile == 0 {
			if volatileRun != "" {
				w += copy(was[w:], volatileRun[:len(volatileRun)-len(publishedLeft)])
				volatileRun, sameFrom, volatileRange.to = "", c.packed, int32(c.packed)
			}
			continue
		}
		if volatileRun == "" {
			w += copy(was[w:], is[sameFrom:c.packed])
		}
		size := int(is[c.packed]) - 1
		prevLength := size
		at := int(r.from) + c.at + shift
		if cols != 0 {
			// It stands where it must if all that is between is as long, and no row has a
			// name twice.
			if at < 1 || old[at-1] != b[int(r.from)+c.at-1] || !c.matchesAt(old, at) {
				return "", "", false
			}
			length, ascii, _ := scanShortString(old, at+c.size-1)
			if prevLength = length - 2; !ascii || prevLength > maxFastText {
				return "", "", false
			}
			shift += prevLength - size
		}
		if colBit == 0 {
			if volatileRun == "" {
				volatileRun = publishedLeft
				volatileRange.from = int32(c.packed)
				volatileGroups++
			}
			publishedLeft = publishedLeft[len(rawText(publishedLeft)):]
			continue
		}
		if volatileRun != "" {
			w += copy(was[w:], volatileRun[:len(volatileRun)-len(publishedLeft)])
			volatileRun, volatileRange.to = "", int32(c.packed)
		}
		was[w] = byte(prevLength + 1)
		w += 1 + copy(was[w+1:], old[at+c.size:at+c.size+prevLength])
		sameFrom = c.packed + 1 + size
		cols &^= colBit
	}
	if volatileRun != "" {
		w += copy(was[w:], volatileRun[:len(volatileRun)-len(publishedLeft)])
		volatileRange.to = int32(n)
	} else {
		w += copy(was[w:], is[sameFrom:n])
	}
	if volatileGroups == 1 {
		g.dirty[e.dirtyIndex].volatileRange = volatileRange
	}
	all := s.arena.addText(is[:n+w], s.changes.Len())
	return all[n:], all[:n], true
}

// packRow packs the texts of a row without backslashes behind the first byte of pack,
// and notes where each column begins. It returns the length of the pack, 0 if the row
// has another shape.
func (g *compiledGrid) packRow(row, pack []byte) int {
	i, n := 1, 1
	high := uint64(0) // has the highest bit of a byte that is not ASCII
	for k := range g.matchers {
		c := &g.matchers[k]
		if !c.matchesAt(row, i) {
			return 0
		}
		c.at, c.packed = i, n
		n++
		for i += c.size; ; i, n = i+8, n+8 {
			if i+8 > len(row) || n-c.packed > maxFastText {
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
	if high&highBits != 0 {
		return 0
	}
	return n
}

// packRange is where the volatile texts stand in a pack; the zero run is unknown.
type packRange struct{ from, to int32 }

// maxFastText is how long a text may be for pair to read on in it. With the word that
// ends it, it has less than the 127 bytes that a plain pack may hold.
const maxFastText = 0x7f - 1 - 8

// columnMatcher is a column of a row that pair reads.
type columnMatcher struct {
	word, mask uint64     // its name, colon and quote
	size       int        // bytes of that
	bit        columnBits // that tells of it
	volatile   columnBits // not 0 if it is
	// Where it begins in the row that was walked last, and its text in the pack.
	at, packed int
}

// newMatchers gives those that tell the statistics of a kind, nil if one is too long for it.
func (g *compiledGrid) newMatchers(k *compiledKind) []columnMatcher {
	steps := make([]columnMatcher, len(g.statColumn))
	for stat, m := range g.statColumn {
		c := &steps[stat]
		begin := g.members[m].quoted + `"`
		if len(begin) > 8 {
			return nil
		}
		c.word, c.mask = wordMask(begin)
		c.size, c.bit = len(begin), 1<<m
		if k.volatile[stat] {
			c.volatile = math.MaxUint64
		}
	}
	return steps
}

// matchesAt reports whether a column begins at i, with room to look at its text.
func (c *columnMatcher) matchesAt(b []byte, i int) bool {
	return i+24 <= len(b) && binary.LittleEndian.Uint64(b[i:])&c.mask == c.word
}

// quoteIn has the highest bit of the first byte of a word that is a quote, and may
// have higher ones; it is 0 if none is.
func quoteIn(word uint64) uint64 {
	const ones = 0x0101010101010101
	quote := word ^ '"'*ones
	return (quote - ones) &^ quote & highBits
}

// copyWidth is how many bytes are copied at once, since most texts are shorter.
const copyWidth = 16

// packArena makes texts that are let go of together: it allocates for many at once.
type packArena struct{ strings.Builder }

// addText makes one. There may be so many more like it.
func (s *packArena) addText(b []byte, more int) string {
	const size = 32 << 10
	if s.Cap()-s.Len() < len(b) {
		s.Builder = strings.Builder{}
		s.Grow(max(len(b), min(size, len(b)*more)))
	}
	from := s.Len()
	s.Write(b)
	return s.String()[from:]
}
