package diff

import (
	"bytes"
	"math"
	"unicode/utf8"

	"bpcc-nats/diff/image"
	"bpcc-nats/internal/jsonscan"
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
	from, to uint32
	entity   *entity // nil until it is looked up
	clock    int32   // the layout's clock in seconds, or one of the constants below
	old      int32   // index of the row of the same key and grid in the previous snapshot, -1 for none
	next     int32   // index of the entity's row in a later grid, -1 for none
	status   rowStatus
	cut      uint8 // texts longer than textLimit
	escaped  bool  // it contains a backslash, so that not each of its quotes begins or ends a string
}

const (
	noClock      = -1 // no clock
	complexClock = -2 // a clock that is not whole seconds
)

// rowStatus is the result of comparing a row with the row of the same key and grid in the previous
// snapshot.
type rowStatus uint8

const (
	rowSame         rowStatus = iota // the same bytes
	rowVolatileOnly                  // other bytes, but no tracked column differs
	rowChanged                       // a tracked column may differ, but none of the state
	rowStateChanged                  // no previous row, or a column of the state may differ
)

// span is the position of a value in a body; the zero span is none.
type span struct{ from, to uint32 }

func (s span) present() bool { return s.to > 0 }

func (s span) bytes(b []byte) []byte { return b[s.from:s.to] }

// readColumn reads the nth column of a row. It returns the column's member, -1 for none, its value,
// and where the comma or the bracket after it is, -1 for a shape that it does not know.
func (g *compiledGrid) readColumn(b []byte, i, n int) (member int, value span, end int) {
	member, at := -1, -1
	if n < len(g.order) && g.order[n] >= 0 {
		if q := g.members[g.order[n]].quoted; len(b)-i > len(q) && string(b[i:i+len(q)]) == q {
			member, at = g.order[n], jsonscan.SkipSpace(b, i+len(q))
		}
	}
	if at < 0 {
		if member, at = g.readColumnName(b, i, n); at < 0 {
			return -1, span{}, -1
		}
	}
	if end = jsonscan.Short(b, at); end < 0 { // most texts are short
		if end = jsonscan.Scalar(b, at); end < 0 {
			return -1, span{}, -1
		}
	}
	return member, span{uint32(at), uint32(end)}, jsonscan.SkipSpace(b, end)
}

// readColumnName reads the nth name of a row and the colon. It returns the member of that name, -1
// for none, and where the value begins.
func (g *compiledGrid) readColumnName(b []byte, i, n int) (member, at int) {
	end := jsonscan.String(b, i)
	if end < 0 {
		return -1, -1
	}
	member = -1
	name := jsonscan.Unquote(b[i:end])
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
	return member, jsonscan.Expect(b, end, ':')
}

// readRow finds the values of a row, which begins at i, by member. It returns the row's end, -1 for
// a shape that it does not know.
func (g *compiledGrid) readRow(b []byte, i int, values []span) int {
	clear(values)
	i = jsonscan.SkipSpace(b, i+1)
	if jsonscan.Has(b, i, '}') {
		return i + 1
	}
	for n := 0; ; n++ {
		m, value, end := g.readColumn(b, i, n)
		if end < 0 {
			return -1
		}
		if m >= 0 {
			if values[m].present() {
				return -1 // duplicate member
			}
			values[m] = value
		}
		if jsonscan.Has(b, end, ',') && jsonscan.Has(b, end+1, '"') {
			i = end + 1
			continue
		}
		if jsonscan.Has(b, end, '}') {
			return end + 1
		}
		if i = jsonscan.Expect(b, end, ','); i < 0 {
			return -1
		}
	}
}

// findValue finds the value of one member in a row, nil if the row lacks it or has another shape
// before it.
func (g *compiledGrid) findValue(b []byte, i, member int) (token []byte, end int) {
	i = jsonscan.SkipSpace(b, i+1)
	for n := 0; ; n++ {
		m, value, end := g.readColumn(b, i, n)
		if end < 0 {
			return nil, -1
		}
		if m == member {
			return value.bytes(b), int(value.to)
		}
		if i = jsonscan.Expect(b, end, ','); i < 0 {
			return nil, -1
		}
	}
}

// newRow makes a row of its values.
func (g *compiledGrid) newRow(b []byte, i, end int, values []span) row {
	r := row{
		from: uint32(i), to: uint32(end), clock: noClock, old: -1, next: -1, status: rowStateChanged,
		escaped: bytes.IndexByte(b[i:end], '\\') >= 0,
	}
	for m, v := range values {
		if !v.present() {
			continue
		}
		token := v.bytes(b)
		if m == g.clock {
			r.clock = parseClock(token)
		}
		// An invalid byte becomes a replacement character of three bytes, never more.
		if len(token) > textLimit/3 && g.members[m].hasStat && r.cut < math.MaxUint8 && len(jsonscan.Unquote(token)) > textLimit {
			r.cut++
		}
	}
	return r
}

// compareValues compares the values of a row with those of its previous row.
func (g *compiledGrid) compareValues(b []byte, values []span, oldBody []byte, oldValues []span) rowStatus {
	status := rowVolatileOnly
	for m := range g.members {
		now, before := values[m], oldValues[m]
		if now.present() != before.present() ||
			now.present() && !bytes.Equal(now.bytes(b), before.bytes(oldBody)) && !bytes.Equal(jsonscan.Unquote(now.bytes(b)), jsonscan.Unquote(before.bytes(oldBody))) {
			status = max(status, g.members[m].status)
		}
	}
	return status
}

// diffRow reads the row at i, of which was is the previous row, if the two differ in the texts of
// strings without escapes alone. It reads only the columns in which they differ. It returns the row,
// and its end; -1 if they differ otherwise.
func (g *compiledGrid) diffRow(b []byte, i int, old []byte, was *row) (r row, end int) {
	if !g.plainIDs || was.escaped || was.cut > 0 {
		return r, -1
	}
	r = row{from: uint32(i), entity: was.entity, clock: was.clock, next: was.next, status: rowVolatileOnly}
	j, to, next := int(was.from), int(was.to), 0
	for {
		n := jsonscan.CommonPrefix(b[i:], old[j:to])
		if i, j = i+n, j+n; j == to {
			r.to = uint32(i)
			return r, i
		}
		from := j // start of the string that contains the difference, if one does
		for from--; from > int(was.from) && old[from] != '"'; from-- {
		}
		var m int
		if m, next = g.columnAt(old[was.from:from], next); m < 0 {
			return r, -1
		}
		i -= j - from
		end, oldEnd := jsonscan.String(b, i), jsonscan.String(old, from)
		if end < 0 || end == len(b) || b[end] != old[oldEnd] || b[end] != ',' && b[end] != '}' {
			return r, -1
		}
		token := b[i:end]
		if bytes.IndexByte(token, '\\') >= 0 || len(token) > textLimit/3 {
			return r, -1
		}
		if m == g.clock {
			r.clock = parseClock(token)
		}
		if r.status = max(r.status, g.members[m].status); g.members[m].status > rowVolatileOnly && !(jsonscan.EndsPlain(b[:end-1], end-i-2) && jsonscan.EndsPlain(old[:oldEnd-1], oldEnd-from-2)) {
			return r, -1 // they may encode the same text
		}
		i, j = end, oldEnd
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
	if n > image.MaxClock {
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
