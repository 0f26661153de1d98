package diff

import (
	"bytes"
	"encoding/binary"
	"math"
	"unicode/utf8"
)

const (
	// keyLimit is the longest key, in bytes: a subject is made of it, escaped to
	// up to three times its length, and a server takes 4 KB of that.
	keyLimit = 512
	// textLimit is the longest text of a statistic, in bytes, so that no wild
	// text makes an event larger than a server takes.
	textLimit = 4096
)

// row is one row of a body: where it stands, and what is known of it without
// its texts.
type row struct {
	from, to uint32
	entity   *entity // nil as long as nobody has asked whose it is
	clock    int32   // the layout's clock in seconds, or one of the constants below
	reading  reading
	cut      uint8 // texts longer than textLimit
	bare     bool  // there is no backslash in it: each of its quotes begins or ends a string
}

const (
	noClock  = -1 // there is none
	oddClock = -2 // there is one, spelt in a way that takes a closer look
)

// reading is how a row reads beside the one of the same key and grid in the
// snapshot before.
type reading uint8

const (
	anew   reading = iota // there is none, or something may differ that is told
	same                  // the same bytes
	ticked                // other bytes, but nothing that is told differs
)

// bare tells whether there is no backslash in a row.
func bare(row []byte) bool { return bytes.IndexByte(row, '\\') < 0 }

// span is where a value stands in a body; the zero span is none.
type span struct {
	from uint32
	// length is the value's, with its quotes. Of a short string that stands for
	// just the bytes between its quotes the highest bit is set.
	length uint32
}

const plainSpan = 1 << 31

func (s span) known() bool { return s.length > 0 }

func (s span) of(b []byte) []byte { return b[s.from : s.from+s.length&^plainSpan] }

// column reads the nth name of a row and the colon: the member it names, -1 for
// none of them, and where the value begins.
func (g *gridPlan) column(b []byte, i, n int) (at, member int) {
	if n < len(g.order) && g.order[n] >= 0 {
		if q := g.members[g.order[n]].quoted; len(b)-i > len(q) && string(b[i:i+len(q)]) == q {
			return space(b, i+len(q)), g.order[n]
		}
	}
	end := text(b, i)
	if end < 0 {
		return -1, -1
	}
	member = -1
	name := decoded(b[i:end], nil)
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
	return after(b, end, ':'), member
}

// read finds the values of a row, which begins at i, by member. It returns the
// row's end, -1 for what it does not know how to read.
func (g *gridPlan) read(b []byte, i int, values []span) int {
	clear(values)
	i = space(b, i+1)
	if begins(b, i, '}') {
		return i + 1
	}
	for n := 0; ; n++ {
		n, i = g.rush(b, i, n, values)
		i = space(b, i)
		at, m := g.column(b, i, n)
		if at < 0 {
			return -1
		}
		end := scalar(b, at)
		if end < 0 {
			return -1
		}
		if m >= 0 {
			if values[m].known() {
				return -1 // a member twice
			}
			values[m] = span{uint32(at), uint32(end - at)}
		}
		i = space(b, end)
		if begins(b, i, '}') {
			return i + 1
		}
		if i = after(b, i, ','); i < 0 {
			return -1
		}
	}
}

// rush is what read does, for as long as the row has the shape that most sources
// send, which is that of [gridPlan.stride]. It stops before the nth column, at i.
func (g *gridPlan) rush(b []byte, i, n int, values []span) (int, int) {
	for ; n < len(g.order) && g.order[n] >= 0 && i+16 <= len(b); n++ {
		m := &g.members[g.order[n]]
		if !m.begins(b, i) || values[g.order[n]].known() {
			break
		}
		at := i + len(m.quoted)
		length, ascii, then := quick(b, at)
		if then != ',' {
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

// highs are the highest bits of the bytes of a word.
const highs = 0x8080808080808080

// begins tells whether the member's name stands at i, as most bodies write it.
// There must be eight bytes to look at.
func (m *member) begins(b []byte, i int) bool {
	return m.mask != 0 && binary.LittleEndian.Uint64(b[i:])&m.mask == m.word
}

// quick measures a string without escapes that begins at i, in bytes with its
// quotes, and tells whether it is ASCII and which byte stands right behind it. It
// sees only strings with a few bytes more behind them; 0 stands behind none.
func quick(b []byte, i int) (length int, ascii bool, then byte) {
	if b[i] != '"' {
		return 0, false, 0
	}
	high := uint64(0)
	for at := i + 1; at+10 <= len(b); at += 8 {
		word := binary.LittleEndian.Uint64(b[at:])
		n := unplain(word)
		if n == 8 {
			high |= word & highs
			continue
		}
		if b[at+n] != '"' {
			break
		}
		high |= word << (64 - 8*n - 8) & highs
		return at + n + 1 - i, high == 0, b[at+n+1]
	}
	return 0, false, 0
}

// value finds the value of one member in a row that has been read before, nil
// if it lacks it.
func (g *gridPlan) value(b []byte, i, member int) []byte {
	i = space(b, i+1)
	n := 0
	for ; n < len(g.order) && g.order[n] >= 0 && i+16 <= len(b); n++ { // the shape of [gridPlan.stride]
		m := &g.members[g.order[n]]
		if !m.begins(b, i) {
			break
		}
		at := i + len(m.quoted)
		length, _, then := quick(b, at)
		if then != ',' {
			break
		}
		if g.order[n] == member {
			return b[at : at+length]
		}
		i = at + length + 1
	}
	for i = space(b, i); !begins(b, i, '}'); n++ {
		at, m := g.column(b, i, n)
		end := scalar(b, at)
		if m == member {
			return b[at:end]
		}
		if i = space(b, end); begins(b, i, ',') {
			i = space(b, i+1)
		}
	}
	return nil
}

// reread is a row that was read beside an older one.
type reread struct {
	row
	differ differing
}

// differing tells which members of a row have another text than in an older one,
// of those that may be told: a bit for each, by member. 0 is that nobody knows
// without a closer look, which is so as well where a text is no plain one.
type differing uint64

const (
	// membersMost is how many members a row can have for differing to tell of them.
	membersMost = 63
	// brief is set beside them if one of the texts that differ may have one byte at
	// most, now and in the older row.
	brief differing = 1 << membersMost
	// briefToken is the longest value of such a text, with its quotes.
	briefToken = len(`""`) + 1
)

// tells notes that a member differs, whose values are so long.
func (r *reread) tells(member, length, longer int) {
	r.reading = anew
	if r.differ |= 1 << (member % membersMost); max(length, longer) <= briefToken {
		r.differ |= brief
	}
}

// beside reads a row, which begins at i, and in step with it the one of the
// same key in an older body, which begins at j and has been read before. It
// compares value by value, and makes no texts. It returns the row's end, -1 if
// the rows do not go in step.
func (g *gridPlan) beside(b []byte, i int, old []byte, j int) (end int, r reread) {
	r.row = row{from: uint32(i), clock: noClock, reading: ticked}
	unclear := len(g.members) > membersMost
	i, j = space(b, i+1), space(old, j+1)
	for n := 0; ; n++ {
		n, i, j = g.stride(b, i, old, j, n, &r)
		i, j = space(b, i), space(old, j)
		// Since the older row holds no name twice, neither does this one.
		end := text(b, i)
		if end < 0 || len(old)-j < end-i || !bytes.Equal(b[i:end], old[j:j+end-i]) {
			return -1, r
		}
		at, m := g.column(b, i, n)
		if j = after(old, j+end-i, ':'); at < 0 || j < 0 {
			return -1, r
		}
		if end = scalar(b, at); end < 0 {
			return -1, r
		}
		token := b[at:end]
		if len(old)-j >= len(token) && bytes.Equal(token, old[j:j+len(token)]) && token[0] == '"' {
			j += len(token)
		} else {
			from := j
			if j = scalar(old, j); j < 0 {
				return -1, r
			}
			if m >= 0 && g.members[m].loud && !bytes.Equal(token, old[from:j]) {
				r.tells(m, 0, 0) // however long they are spelt, their texts may be brief
				unclear = unclear || !plainToken(token) || !plainToken(old[from:j])
			}
		}
		if m >= 0 {
			r.note(g, m, token)
		}
		i, j = space(b, end), space(old, j)
		if begins(b, i, '}') && begins(old, j, '}') {
			r.to, r.bare = uint32(i+1), bare(b[r.from:i+1])
			if unclear {
				r.differ = 0
			}
			return i + 1, r
		}
		if i, j = after(b, i, ','), after(old, j, ','); i < 0 || j < 0 {
			return -1, r
		}
	}
}

// stride is what beside does, for as long as both rows have the shape that most
// sources send: columns in the order seen before, strings without escapes, no
// blanks. It stops before the nth column, at i and j, with which beside must go
// on; there always is one.
func (g *gridPlan) stride(b []byte, i int, old []byte, j, n int, r *reread) (int, int, int) {
	for ; n < len(g.order) && g.order[n] >= 0 && i+16 <= len(b) && j+16 <= len(old); n++ {
		m := &g.members[g.order[n]]
		if !m.begins(b, i) || !m.begins(old, j) {
			break
		}
		at, from := i+len(m.quoted), j+len(m.quoted)
		length, ascii, then := quick(b, at)
		if then != ',' || length > textLimit/3 {
			break
		}
		token, longer := b[at:at+length], length
		if from+length >= len(old) || old[from+length] != ',' || string(token) != string(old[from:from+length]) {
			var was bool
			if longer, was, then = quick(old, from); then != ',' || m.loud && !(ascii && was) {
				break
			}
			if m.loud {
				r.tells(g.order[n], length, longer)
			}
		}
		if g.order[n] == g.clock {
			r.clock = clock(token)
		}
		i, j = at+length+1, from+longer+1
	}
	return n, i, j
}

// plainToken tells whether a value is a string that stands for just the bytes
// between its quotes, and is not cut.
func plainToken(token []byte) bool {
	return token[0] == '"' && len(token) <= textLimit && plain(string(token[1:len(token)-1]))
}

// note takes from a value what is kept of it.
func (r *row) note(g *gridPlan, m int, token []byte) {
	if m == g.clock {
		r.clock = clock(token)
	}
	// A byte may come to be three, a replaced one, but never more.
	if len(token) > textLimit/3 && g.members[m].told && r.cut < math.MaxUint8 && len(decoded(token, nil)) > textLimit {
		r.cut++
	}
}

// clock reads whole seconds.
func clock(token []byte) int32 {
	if token[0] == 'n' {
		return noClock
	}
	if token[0] == '"' {
		token = token[1 : len(token)-1]
	}
	if len(token) == 0 {
		return noClock
	}
	if len(token) > 9 {
		return oddClock
	}
	n := int32(0)
	for _, c := range token {
		if c < '0' || c > '9' {
			return oddClock
		}
		n = n*10 + int32(c-'0')
	}
	return n
}

// limited cuts a text that is longer than textLimit, between two characters.
func limited(text []byte) []byte {
	if len(text) <= textLimit {
		return text
	}
	n := textLimit
	for n > textLimit-utf8.UTFMax && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
