package diff

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strings"
)

// pairedPacks packs the published image of an oldRowBacked entity and its current image. ok is
// false if the rows must be read column by column. Both rows must have the shape that most sources
// send: columns in the order of the layout, short strings without escapes, no blanks. It reads one
// row, and of the other only the columns that differ.
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
	sameFrom := 1                                              // from here on both rows are the same, up to the next column that differs or is volatile
	shift := int(g.dirty[e.dirtyIndex].prevFrom) - int(r.from) // offset of a column in the old body from the new one
	publishedLeft, volatileRun := packBody(e.pack), ""         // the rest of the pack, and its texts that come next
	var volatileRange packRange                                // where the volatile texts are in the new pack
	volatileGroups := 0                                        // runs of adjacent volatile texts
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
			// The position is right if all columns before have the same length, and no row has a
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

// packRow packs the texts of a row without backslashes after the first byte of pack, and stores
// where each column begins. It returns the length of the pack, 0 if the row has another shape.
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

// packRange is where the volatile texts are in a pack; the zero range is unknown.
type packRange struct{ from, to int32 }

// maxFastText is the longest text that pairedPacks reads without leaving its loop. Together with
// the word that ends it, it is shorter than the 127 bytes that an asciiPack may hold.
const maxFastText = 0x7f - 1 - 8

// columnMatcher is a column of a row that pairedPacks reads.
type columnMatcher struct {
	word, mask uint64     // its name, colon and quote
	size       int        // bytes of that
	bit        columnBits // its bit
	volatile   columnBits // not 0 if it is volatile
	// Where it begins in the row that was packed last, and where its text is in the pack.
	at, packed int
}

// newMatchers returns the matchers of a kind's statistics, nil if a name is too long.
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

// matchesAt reports whether a column begins at i, with enough bytes after it to read its text.
func (c *columnMatcher) matchesAt(b []byte, i int) bool {
	return i+24 <= len(b) && binary.LittleEndian.Uint64(b[i:])&c.mask == c.word
}

// quoteIn returns a word whose lowest set bit is the highest bit of the first byte of word that is
// a quote; 0 if no byte is one. Bits above it may be wrong.
func quoteIn(word uint64) uint64 {
	quote := word ^ '"'*ones
	return (quote - ones) &^ quote & highBits
}

// copyWidth is how many bytes are copied at once, since most texts are shorter.
const copyWidth = 16

// packArena allocates texts that are released together: one allocation serves many.
type packArena struct{ strings.Builder }

// addText adds a text. more is how many texts of this size may follow.
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
