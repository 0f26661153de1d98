package diff

import (
	"bytes"
	"encoding/binary"
	"math"
	"unicode/utf8"
)

const (
	// keyLimit is the longest key, in bytes: a subject contains it, escaped to up to three times
	// its length, and a NATS server accepts 4 KB of that.
	keyLimit = 512
	// textLimit is the longest text of a statistic, in bytes. It bounds the size of an event.
	textLimit = 4096
)

// row is one row of a body: its position, and what is kept of its texts.
type row struct {
	from, to  uint32
	entity    *entity // nil until it is looked up
	clock     int32   // the layout's clock in seconds, or one of the constants below
	status    rowStatus
	cut       uint8 // texts longer than textLimit
	noEscapes bool  // it contains no backslash: each of its quotes begins or ends a string
}

const (
	noClock      = -1 // no clock
	complexClock = -2 // a clock that is not whole seconds
)

// rowStatus is the result of comparing a row with the row of the same key and grid in the previous
// snapshot.
type rowStatus uint8

const (
	rowChanged      rowStatus = iota // no previous row, or a tracked column may differ
	rowSame                          // the same bytes
	rowVolatileOnly                  // other bytes, but no tracked column differs
)

// noEscapes reports whether a row contains no backslash.
func noEscapes(row []byte) bool { return bytes.IndexByte(row, '\\') < 0 }

// span is the position of a value in a body; the zero span is none.
type span struct {
	from uint32
	// length includes the quotes. The highest bit is set for a short string that needs no
	// unescaping.
	length uint32
}

const plainSpan = 1 << 31

func (s span) present() bool { return s.length > 0 }

func (s span) bytes(b []byte) []byte { return b[s.from : s.from+s.length&^plainSpan] }

// readColumnName reads the nth name of a row and the colon. It returns the member of that name, -1
// for none, and where the value begins.
func (g *compiledGrid) readColumnName(b []byte, i, n int) (at, member int) {
	if n < len(g.order) && g.order[n] >= 0 {
		if q := g.members[g.order[n]].quoted; len(b)-i > len(q) && string(b[i:i+len(q)]) == q {
			return skipSpace(b, i+len(q)), g.order[n]
		}
	}
	end := scanString(b, i)
	if end < 0 {
		return -1, -1
	}
	member = -1
	name := unquote(b[i:end])
	for m := range g.members {
		if string(name) == g.members[m].id {
			member = m
			break
		}
	}
	for len(g.order) <= n && n <= len(g.members) {
		g.order = append(g.order, -1)
	}
	if n < len(g.order) {
		g.order[n] = member
	}
	return expect(b, end, ':'), member
}

// readRow finds the values of a row, which begins at i, by member. It returns the row's end, -1 for
// a shape that it does not know.
func (g *compiledGrid) readRow(b []byte, i int, values []span) int {
	clear(values)
	i = skipSpace(b, i+1)
	if hasByte(b, i, '}') {
		return i + 1
	}
	for n := 0; ; n++ {
		n, i = g.readFast(b, i, n, values)
		i = skipSpace(b, i)
		at, m := g.readColumnName(b, i, n)
		if at < 0 {
			return -1
		}
		end := scanScalar(b, at)
		if end < 0 {
			return -1
		}
		if m >= 0 {
			if values[m].present() {
				return -1 // duplicate member
			}
			values[m] = span{uint32(at), uint32(end - at)}
		}
		i = skipSpace(b, end)
		if hasByte(b, i, '}') {
			return i + 1
		}
		if i = expect(b, i, ','); i < 0 {
			return -1
		}
	}
}

// readFast does what readRow does, as long as the row has the shape that [compiledGrid.compareFast]
// reads. It stops before the nth column, at i.
func (g *compiledGrid) readFast(b []byte, i, n int, values []span) (int, int) {
	for ; n < len(g.order) && g.order[n] >= 0 && i+16 <= len(b); n++ {
		m := &g.members[g.order[n]]
		if !m.matchesAt(b, i) || values[g.order[n]].present() {
			break
		}
		at := i + len(m.quoted)
		length, ascii, follower := scanShortString(b, at)
		if follower != ',' {
			break
		}
		v := span{uint32(at), uint32(length)}
		if ascii {
			v.length |= plainSpan
		}
		values[g.order[n]] = v
		i = at + length + 1
	}
	return n, i
}

// ones and highBits are the lowest and the highest bits of the bytes of a word.
const (
	ones     = 0x0101010101010101
	highBits = 0x8080808080808080
)

// matchesAt reports whether the member's name is at i, as most bodies write it. At least eight
// bytes must follow i.
func (m *member) matchesAt(b []byte, i int) bool {
	return m.mask != 0 && binary.LittleEndian.Uint64(b[i:])&m.mask == m.word
}

// scanShortString returns the length of a string without escapes that begins at i, with its quotes,
// whether it is ASCII, and the byte after it. It reads only strings that are followed by a few more
// bytes; follower is 0 if it read none.
func scanShortString(b []byte, i int) (length int, ascii bool, follower byte) {
	if b[i] != '"' {
		return 0, false, 0
	}
	high := uint64(0)
	for at := i + 1; at+10 <= len(b); at += 8 {
		word := binary.LittleEndian.Uint64(b[at:])
		n := specialIn(word)
		if n == 8 {
			high |= word & highBits
			continue
		}
		if b[at+n] != '"' {
			break
		}
		high |= word << (64 - 8*n - 8) & highBits
		return at + n + 1 - i, high == 0, b[at+n+1]
	}
	return 0, false, 0
}

// findValue finds the value of one member in a row that has been read before, nil if the row lacks
// it.
func (g *compiledGrid) findValue(b []byte, i, member int) []byte {
	i = skipSpace(b, i+1)
	n := 0
	for ; n < len(g.order) && g.order[n] >= 0 && i+16 <= len(b); n++ { // the shape of [compiledGrid.compareFast]
		m := &g.members[g.order[n]]
		if !m.matchesAt(b, i) {
			break
		}
		at := i + len(m.quoted)
		length, _, follower := scanShortString(b, at)
		if follower != ',' {
			break
		}
		if g.order[n] == member {
			return b[at : at+length]
		}
		i = at + length + 1
	}
	for i = skipSpace(b, i); !hasByte(b, i, '}'); n++ {
		at, m := g.readColumnName(b, i, n)
		end := scanScalar(b, at)
		if m == member {
			return b[at:end]
		}
		if i = skipSpace(b, end); hasByte(b, i, ',') {
			i = skipSpace(b, i+1)
		}
	}
	return nil
}

// rowDiff is the result of comparing a row with its previous row.
type rowDiff struct {
	row
	changedCols columnBits
}

// columnBits is the set of tracked members of a row whose text differs from that of the previous
// row: a bit for each, by member. 0 means that the difference is unknown until the rows are read.
// It is 0 too if a text needs unescaping.
type columnBits uint64

const (
	// maxColumns is the maximum number of members that columnBits can represent.
	maxColumns = 63
	// shortBit is set in addition if one of the texts that differ may have at most one byte, both
	// in the row and in the previous one.
	shortBit columnBits = 1 << maxColumns
	// maxShortToken is the longest value of such a text, with its quotes.
	maxShortToken = len(`""`) + 1
)

// setChanged records that a member differs. length and prevLength are those of its values.
func (r *rowDiff) setChanged(member, length, prevLength int) {
	r.status = rowChanged
	if r.changedCols |= 1 << (member % maxColumns); max(length, prevLength) <= maxShortToken {
		r.changedCols |= shortBit
	}
}

// compareRow reads a row, which begins at i, and in the same pass the row of the same key in the
// old body, which begins at j and has been read before. It compares value by value, and allocates
// no texts. It returns the row's end, -1 if the rows do not have the same members in the same
// order.
func (g *compiledGrid) compareRow(b []byte, i int, old []byte, j int) (end int, r rowDiff) {
	r.row = row{from: uint32(i), clock: noClock, status: rowVolatileOnly}
	unclear := len(g.members) > maxColumns
	i, j = skipSpace(b, i+1), skipSpace(old, j+1)
	for n := 0; ; n++ {
		n, i, j = g.compareFast(b, i, old, j, n, &r)
		i, j = skipSpace(b, i), skipSpace(old, j)
		// Since the old row holds no name twice, neither does this one.
		end := scanString(b, i)
		if end < 0 || len(old)-j < end-i || !bytes.Equal(b[i:end], old[j:j+end-i]) {
			return -1, r
		}
		at, m := g.readColumnName(b, i, n)
		if j = expect(old, j+end-i, ':'); at < 0 || j < 0 {
			return -1, r
		}
		if end = scanScalar(b, at); end < 0 {
			return -1, r
		}
		token := b[at:end]
		if len(old)-j >= len(token) && bytes.Equal(token, old[j:j+len(token)]) && token[0] == '"' {
			j += len(token)
		} else {
			from := j
			if j = scanScalar(old, j); j < 0 {
				return -1, r
			}
			if m >= 0 && g.members[m].tracked && !bytes.Equal(token, old[from:j]) {
				r.setChanged(m, 0, 0) // the texts may be short however long the values are
				unclear = unclear || !isPlainToken(token) || !isPlainToken(old[from:j])
			}
		}
		if m >= 0 {
			r.observeValue(g, m, token)
		}
		i, j = skipSpace(b, end), skipSpace(old, j)
		if hasByte(b, i, '}') && hasByte(old, j, '}') {
			r.to, r.noEscapes = uint32(i+1), noEscapes(b[r.from:i+1])
			if unclear {
				r.changedCols = 0
			}
			return i + 1, r
		}
		if i, j = expect(b, i, ','), expect(old, j, ','); i < 0 || j < 0 {
			return -1, r
		}
	}
}

// compareFast does what compareRow does, as long as both rows have the shape that most sources
// send: columns in the order seen before, strings without escapes, no blanks. It stops before the
// nth column, at i and j, where compareRow must continue. At least one column is left for
// compareRow.
func (g *compiledGrid) compareFast(b []byte, i int, old []byte, j, n int, r *rowDiff) (int, int, int) {
	for ; n < len(g.order) && g.order[n] >= 0 && i+16 <= len(b) && j+16 <= len(old); n++ {
		m := &g.members[g.order[n]]
		if !m.matchesAt(b, i) || !m.matchesAt(old, j) {
			break
		}
		at, from := i+len(m.quoted), j+len(m.quoted)
		length, ascii, follower := scanShortString(b, at)
		if follower != ',' || length > textLimit/3 {
			break
		}
		token, prevLength := b[at:at+length], length
		if from+length >= len(old) || old[from+length] != ',' || string(token) != string(old[from:from+length]) {
			var was bool
			if prevLength, was, follower = scanShortString(old, from); follower != ',' || m.tracked && !(ascii && was) {
				break
			}
			if m.tracked {
				r.setChanged(g.order[n], length, prevLength)
			}
		}
		if g.order[n] == g.clock {
			r.clock = parseClock(token)
		}
		i, j = at+length+1, from+prevLength+1
	}
	return n, i, j
}

// isPlainToken reports whether a value is a string that needs no unescaping and no cutting.
func isPlainToken(token []byte) bool {
	return token[0] == '"' && len(token) <= textLimit && isPlain(string(token[1:len(token)-1]))
}

// observeValue updates the row's clock and count of cut texts with a value.
func (r *row) observeValue(g *compiledGrid, m int, token []byte) {
	if m == g.clock {
		r.clock = parseClock(token)
	}
	// An invalid byte becomes a replacement character of three bytes, never more.
	if len(token) > textLimit/3 && g.members[m].hasStat && r.cut < math.MaxUint8 && len(unquote(token)) > textLimit {
		r.cut++
	}
}

// MaxClock is the largest clock in seconds, about ten years: a larger number is a fault of the
// source, such as a negative one without its sign.
const MaxClock = 10 * 365 * 24 * 3600

// parseClock reads whole seconds.
func parseClock(token []byte) int32 {
	if token[0] == 'n' {
		return noClock
	}
	if token[0] == '"' {
		token = token[1 : len(token)-1]
	}
	return parseSeconds(token)
}

// parseSeconds reads the text of a clock.
func parseSeconds(text []byte) int32 {
	if len(text) == 0 {
		return noClock
	}
	if len(text) > 9 {
		return complexClock
	}
	n := int32(0)
	for _, c := range text {
		if c < '0' || c > '9' {
			return complexClock
		}
		n = n*10 + int32(c-'0')
	}
	if n > MaxClock {
		return complexClock
	}
	return n
}

// cutText cuts a text that is longer than textLimit, between two characters.
func cutText(text []byte) []byte {
	if len(text) <= textLimit {
		return text
	}
	n := textLimit
	for n > textLimit-utf8.UTFMax && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
