package diff

import (
	"encoding/binary"
	"math/bits"
)

// diffRow does what compareRow does for two rows without escapes that differ in the texts of short
// strings alone. It reads only the columns at the positions where the rows differ. It returns -1 if
// the rows differ otherwise.
func (g *compiledGrid) diffRow(b []byte, i int, old []byte, was row) (end int, r rowDiff) {
	if !g.canDiffBytes || !was.noEscapes || was.cut > 0 {
		return -1, r
	}
	r.row = row{from: uint32(i), clock: was.clock, status: rowVolatileOnly, noEscapes: true}
	j, to, next := int(was.from), int(was.to), 0
	for {
		n := commonPrefix(b[i:], old[j:to])
		if i, j = i+n, j+n; j == to {
			r.to = uint32(i)
			return i, r
		}
		from := j // start of the string that contains the difference, if one does
		for from--; from > int(was.from) && old[from] != '"'; from-- {
		}
		var m int
		if m, next = g.columnAt(old[was.from:from], next); m < 0 {
			return -1, r
		}
		i -= j - from
		length, ascii, follower := scanShortString(b, i)
		prevLength, plain, prevFollower := scanShortString(old, from)
		if follower != prevFollower || follower != ',' && follower != '}' || max(length, prevLength) > textLimit/3 {
			return -1, r
		}
		if m == g.clock {
			r.clock = parseClock(b[i : i+length])
		}
		if g.members[m].tracked {
			if !ascii || !plain {
				return -1, r // they may encode the same text
			}
			r.setChanged(m, length, prevLength)
		}
		i, j = i+length, from+prevLength
	}
}

// columnAt returns the member whose name, with its colon, a part of a row without escapes ends
// with; -1 for none. n is a guess of the column's index; next is the guess for the next call.
//
// Only a name can be there: if its first quote were the end of a string, a comma, a colon or a
// bracket would have to follow.
func (g *compiledGrid) columnAt(row []byte, n int) (member, next int) {
	for range g.order {
		if n == len(g.order) {
			n = 0
		}
		if m := g.order[n]; m >= 0 && len(row) > len(g.members[m].quoted) {
			if q := g.members[m].quoted; string(row[len(row)-len(q):]) == q {
				return m, n
			}
		}
		n++
	}
	return -1, 0
}

// commonPrefix returns the number of bytes at the beginning of both that are the same.
func commonPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for ; i+8 <= n; i += 8 {
		if x := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); x != 0 {
			return i + bits.TrailingZeros64(x)/8
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}
