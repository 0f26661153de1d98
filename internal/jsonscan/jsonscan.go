// Package jsonscan reads JSON by position: each function takes the text and where to begin, and returns
// where the value ends, -1 if it is missing or not well-formed. They accept only what encoding/json
// accepts, which decides about all but plain strings.
package jsonscan

import (
	"encoding/binary"
	"encoding/json"
	"math/bits"
	"strings"
	"unicode/utf8"
)

// nestingLimit is the maximum depth of nested arrays and objects; encoding/json decides about
// deeper ones.
const nestingLimit = 1000

// SkipSpace skips blanks.
func SkipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// Expect skips blanks, the byte c, and the blanks that follow it.
func Expect(b []byte, i int, c byte) int {
	if i = SkipSpace(b, i); i < len(b) && b[i] == c {
		return SkipSpace(b, i+1)
	}
	return -1
}

// Has reports whether the byte at i is c.
func Has(b []byte, i int, c byte) bool { return i < len(b) && b[i] == c }

// ones and highBits are the lowest and the highest bits of the bytes of a word.
const (
	ones     = 0x0101010101010101
	highBits = 0x8080808080808080
)

// specialIn returns the index of the first byte of a word that is a quote, a backslash or a control
// character, 8 if there is none.
func specialIn(w uint64) int {
	// A byte's high bit is set in found where the byte is special. Borrows make only bits above the
	// first such bit wrong.
	quote, slash := w^('"'*ones), w^('\\'*ones)
	found := ((quote - ones) &^ quote) | ((slash - ones) &^ slash) | ((w - 0x20*ones) &^ w)
	return bits.TrailingZeros64(found&highBits) / 8
}

// nextSpecial finds the first byte that ends a run of plain text inside a string: a quote, a
// backslash or a control character. It returns len(b) if there is none.
func nextSpecial(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		if n := specialIn(binary.LittleEndian.Uint64(b[i:])); n < 8 {
			return i + n
		}
	}
	for i < len(b) && b[i] != '"' && b[i] != '\\' && b[i] >= 0x20 {
		i++
	}
	return i
}

// Short reads a string of up to seven bytes without escapes.
func Short(b []byte, i int) int {
	if i+9 <= len(b) && b[i] == '"' {
		if n := specialIn(binary.LittleEndian.Uint64(b[i+1:])); n < 8 && b[i+1+n] == '"' {
			return i + n + 2
		}
	}
	return -1
}

// String reads a string with its quotes.
func String(b []byte, i int) int {
	if !Has(b, i, '"') {
		return -1
	}
	escaped := false
	for at := i + 1; ; at += 2 {
		at = nextSpecial(b, at)
		switch {
		case at >= len(b) || b[at] < 0x20:
			return -1
		case b[at] == '\\':
			escaped = true
			continue
		case escaped && !json.Valid(b[i:at+1]):
			return -1
		}
		return at + 1
	}
}

// Scalar reads a value that is neither an object nor an array.
func Scalar(b []byte, i int) int {
	if Has(b, i, '"') {
		return String(b, i)
	}
	end := i
	for end < len(b) && strings.IndexByte(" \n\t\r,]}", b[end]) < 0 {
		end++
	}
	if !json.Valid(b[i:end]) {
		return -1
	}
	return end
}

// Value reads any value.
func Value(b []byte, i int) int {
	if !Has(b, i, '{') && !Has(b, i, '[') {
		return Scalar(b, i)
	}
	depth := 0
	for at := i; at < len(b); at++ {
		switch b[at] {
		case '"':
			if at = String(b, at) - 1; at < 0 {
				return -1
			}
		case '{', '[':
			if depth++; depth > nestingLimit {
				return -1
			}
		case '}', ']':
			if depth--; depth > 0 {
				continue
			}
			if !json.Valid(b[i : at+1]) {
				return -1
			}
			return at + 1
		}
	}
	return -1
}

// Valid reports whether a text is one value, as json.Valid does. It is faster where texts are long.
func Valid(b []byte) bool {
	end := skip(b, SkipSpace(b, 0), 0)
	if end == undecided {
		return json.Valid(b)
	}
	return end >= 0 && SkipSpace(b, end) == len(b)
}

// undecided is returned by skip where encoding/json decides.
const undecided = -2

// skip reads any value, at a depth of nesting. Other than [Value] it looks at each byte once.
func skip(b []byte, i, depth int) int {
	if !Has(b, i, '{') && !Has(b, i, '[') {
		return Scalar(b, i)
	}
	if depth > 100 {
		return undecided
	}
	object := b[i] == '{'
	end := byte(']')
	if object {
		end = '}'
	}
	if i = SkipSpace(b, i+1); Has(b, i, end) {
		return i + 1
	}
	for {
		if object {
			if i = String(b, i); i < 0 {
				return -1
			}
			if i = Expect(b, i, ':'); i < 0 {
				return -1
			}
		}
		if i = skip(b, i, depth+1); i < 0 {
			return i
		}
		if i = SkipSpace(b, i); Has(b, i, end) {
			return i + 1
		}
		if i = Expect(b, i, ','); i < 0 {
			return -1
		}
	}
}

// Null reads null.
func Null(b []byte, i int) int {
	if len(b)-i < len("null") || string(b[i:i+len("null")]) != "null" {
		return -1
	}
	return i + len("null")
}

// Array reads an array. It calls element with the index of each element, and element returns its end.
func Array(b []byte, i int, element func(i int) int) int {
	if !Has(b, i, '[') {
		return -1
	}
	return list(b, i, ']', element)
}

// list reads the elements of an array, or the members of an object, from its
// opening bracket to the closing one.
func list(b []byte, i int, end byte, element func(i int) int) int {
	i = SkipSpace(b, i+1)
	if Has(b, i, end) {
		return i + 1
	}
	for {
		if i = element(i); i < 0 {
			return -1
		}
		i = SkipSpace(b, i)
		if Has(b, i, end) {
			return i + 1
		}
		if i = Expect(b, i, ','); i < 0 {
			return -1
		}
	}
}

// Object reads an object. It calls member with the index of each value and its name, and member
// returns the value's end.
func Object(b []byte, i int, member func(i int, name []byte) int) int {
	if !Has(b, i, '{') {
		return -1
	}
	return list(b, i, '}', func(i int) int {
		end := String(b, i)
		if end < 0 {
			return -1
		}
		at := Expect(b, end, ':')
		if at < 0 {
			return -1
		}
		return member(at, Unquote(b[i:end]))
	})
}

// Unquote returns the text of a scalar: literals and numbers as they are, null as "". The result
// may share memory with token.
func Unquote(token []byte) []byte {
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
		return nil // unreachable: the token was scanned as a string
	}
	return []byte(s)
}

// EndsPlain reports whether the last n bytes of b are ASCII and need no escape in JSON.
func EndsPlain(b []byte, n int) bool {
	for ; n > 8; n -= 8 {
		if !isPlain(binary.LittleEndian.Uint64(b[len(b)-n:])) {
			return false
		}
	}
	if len(b) < 8 {
		b = append(make([]byte, 8, 16), b...)
	}
	const blanks = ' ' * ones // in place of the bytes before
	return isPlain(binary.LittleEndian.Uint64(b[len(b)-8:])>>(64-8*n) | blanks<<(8*n))
}

// isPlain reports whether all bytes of a word are ASCII and need no escape in JSON.
func isPlain(word uint64) bool { return word&highBits == 0 && specialIn(word) == 8 }

// CommonPrefix returns the number of bytes at the beginning of both that are the same.
func CommonPrefix(a, b []byte) int {
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
