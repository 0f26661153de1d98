package diff

import (
	"encoding/binary"
	"encoding/json"
	"math/bits"
	"unicode/utf8"
)

// The functions of this file read JSON by position: each takes the text and
// where to begin, and returns where the thing ends, -1 if it is not there or
// not well-formed. They accept exactly what encoding/json accepts.

// nestingLimit is how deep arrays and objects may lie in each other; what is
// deeper is left to encoding/json to judge.
const nestingLimit = 1000

// space skips blanks.
func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// after skips blanks, the byte c, and the blanks that follow it.
func after(b []byte, i int, c byte) int {
	if i = space(b, i); i < len(b) && b[i] == c {
		return space(b, i+1)
	}
	return -1
}

// begins tells whether the text has c at i.
func begins(b []byte, i int, c byte) bool { return i < len(b) && b[i] == c }

// unplain gives the index of the first byte of a word that is a quote, a
// backslash or a control character, 8 if there is none.
func unplain(w uint64) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	// A byte's high bit is set in found where the byte is one of those looked
	// for. Borrows spoil only bits above the first such.
	quote, slash := w^('"'*ones), w^('\\'*ones)
	found := ((quote - ones) &^ quote) | ((slash - ones) &^ slash) | ((w - 0x20*ones) &^ w)
	return bits.TrailingZeros64(found&highs) / 8
}

// notPlain finds the first byte that ends a run of plain text inside a string:
// a quote, a backslash or a control character. It returns len(b) if there is none.
func notPlain(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		if n := unplain(binary.LittleEndian.Uint64(b[i:])); n < 8 {
			return i + n
		}
	}
	for i < len(b) && b[i] != '"' && b[i] != '\\' && b[i] >= 0x20 {
		i++
	}
	return i
}

// text reads a string with its quotes.
func text(b []byte, i int) int {
	if !begins(b, i, '"') {
		return -1
	}
	for i++; ; {
		i = notPlain(b, i)
		if i >= len(b) || b[i] < 0x20 {
			return -1
		}
		if b[i] == '"' {
			return i + 1
		}
		if i+1 >= len(b) {
			return -1
		}
		switch b[i+1] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			i += 2
		case 'u':
			if i+6 > len(b) || !hex(b[i+2]) || !hex(b[i+3]) || !hex(b[i+4]) || !hex(b[i+5]) {
				return -1
			}
			i += 6
		default:
			return -1
		}
	}
}

func hex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// scalar reads a value that is neither an object nor an array.
func scalar(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return text(b, i)
	case 'n':
		return word(b, i, "null")
	case 't':
		return word(b, i, "true")
	case 'f':
		return word(b, i, "false")
	}
	return number(b, i)
}

func word(b []byte, i int, want string) int {
	if len(b)-i < len(want) || string(b[i:i+len(want)]) != want {
		return -1
	}
	return i + len(want)
}

func number(b []byte, i int) int {
	if begins(b, i, '-') {
		i++
	}
	switch {
	case begins(b, i, '0'):
		i++
	default:
		if i = digits(b, i); i < 0 {
			return -1
		}
	}
	if begins(b, i, '.') {
		if i = digits(b, i+1); i < 0 {
			return -1
		}
	}
	if begins(b, i, 'e') || begins(b, i, 'E') {
		i++
		if begins(b, i, '+') || begins(b, i, '-') {
			i++
		}
		i = digits(b, i)
	}
	return i
}

// digits reads one digit or more.
func digits(b []byte, i int) int {
	from := i
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	if i == from {
		return -1
	}
	return i
}

// value reads any value.
func value(b []byte, i, depth int) int {
	switch {
	case begins(b, i, '{'):
		return list(b, i, '}', func(i int) int {
			if i = text(b, i); i >= 0 {
				i = after(b, i, ':')
			}
			if i < 0 || depth >= nestingLimit {
				return -1
			}
			return value(b, i, depth+1)
		})
	case begins(b, i, '['):
		return list(b, i, ']', func(i int) int {
			if depth >= nestingLimit {
				return -1
			}
			return value(b, i, depth+1)
		})
	}
	return scalar(b, i)
}

// list reads the elements of an array, or the members of an object, from its
// opening bracket to the closing one.
func list(b []byte, i int, end byte, element func(i int) int) int {
	i = space(b, i+1)
	if begins(b, i, end) {
		return i + 1
	}
	for {
		if i = element(i); i < 0 {
			return -1
		}
		i = space(b, i)
		if begins(b, i, end) {
			return i + 1
		}
		if i = after(b, i, ','); i < 0 {
			return -1
		}
	}
}

// decoded gives the text that a scalar stands for: the words and numbers as
// they are, null as "". It may be a part of token, or of buf, which it may
// overwrite.
func decoded(token, buf []byte) []byte {
	switch token[0] {
	case '"':
	case 'n':
		return nil
	default:
		return token
	}
	inner := token[1 : len(token)-1]
	escaped, high := false, false
	for _, c := range inner {
		escaped = escaped || c == '\\'
		high = high || c >= utf8.RuneSelf
	}
	if !escaped && (!high || utf8.Valid(inner)) {
		return inner
	}
	var s string
	if err := json.Unmarshal(token, &s); err != nil {
		return nil // cannot be: the token was read as a string
	}
	return append(buf[:0], s...)
}
