package diff

import (
	"encoding/binary"
	"encoding/json"
	"math/bits"
	"unicode/utf8"
)

// The functions of this file read JSON by position: each takes the text and where to begin, and
// returns where the value ends, -1 if it is missing or not well-formed. They accept exactly what
// encoding/json accepts.

// nestingLimit is the maximum depth of nested arrays and objects; encoding/json decides about
// deeper ones.
const nestingLimit = 1000

// skipSpace skips blanks.
func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// expect skips blanks, the byte c, and the blanks that follow it.
func expect(b []byte, i int, c byte) int {
	if i = skipSpace(b, i); i < len(b) && b[i] == c {
		return skipSpace(b, i+1)
	}
	return -1
}

// hasByte reports whether the byte at i is c.
func hasByte(b []byte, i int, c byte) bool { return i < len(b) && b[i] == c }

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

// scanString reads a string with its quotes.
func scanString(b []byte, i int) int {
	if !hasByte(b, i, '"') {
		return -1
	}
	for i++; ; {
		i = nextSpecial(b, i)
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
			if i+6 > len(b) || !isHex(b[i+2]) || !isHex(b[i+3]) || !isHex(b[i+4]) || !isHex(b[i+5]) {
				return -1
			}
			i += 6
		default:
			return -1
		}
	}
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// scanScalar reads a value that is neither an object nor an array.
func scanScalar(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return scanString(b, i)
	case 'n':
		return scanLiteral(b, i, "null")
	case 't':
		return scanLiteral(b, i, "true")
	case 'f':
		return scanLiteral(b, i, "false")
	}
	return scanNumber(b, i)
}

func scanLiteral(b []byte, i int, want string) int {
	if len(b)-i < len(want) || string(b[i:i+len(want)]) != want {
		return -1
	}
	return i + len(want)
}

func scanNumber(b []byte, i int) int {
	if hasByte(b, i, '-') {
		i++
	}
	switch {
	case hasByte(b, i, '0'):
		i++
	default:
		if i = scanDigits(b, i); i < 0 {
			return -1
		}
	}
	if hasByte(b, i, '.') {
		if i = scanDigits(b, i+1); i < 0 {
			return -1
		}
	}
	if hasByte(b, i, 'e') || hasByte(b, i, 'E') {
		i++
		if hasByte(b, i, '+') || hasByte(b, i, '-') {
			i++
		}
		i = scanDigits(b, i)
	}
	return i
}

// scanDigits reads one or more digits.
func scanDigits(b []byte, i int) int {
	from := i
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	if i == from {
		return -1
	}
	return i
}

// scanValue reads any value.
func scanValue(b []byte, i, depth int) int {
	switch {
	case hasByte(b, i, '{'):
		return scanList(b, i, '}', func(i int) int {
			if i = scanString(b, i); i >= 0 {
				i = expect(b, i, ':')
			}
			if i < 0 || depth >= nestingLimit {
				return -1
			}
			return scanValue(b, i, depth+1)
		})
	case hasByte(b, i, '['):
		return scanList(b, i, ']', func(i int) int {
			if depth >= nestingLimit {
				return -1
			}
			return scanValue(b, i, depth+1)
		})
	}
	return scanScalar(b, i)
}

// scanList reads the elements of an array, or the members of an object, from its
// opening bracket to the closing one.
func scanList(b []byte, i int, end byte, element func(i int) int) int {
	i = skipSpace(b, i+1)
	if hasByte(b, i, end) {
		return i + 1
	}
	for {
		if i = element(i); i < 0 {
			return -1
		}
		i = skipSpace(b, i)
		if hasByte(b, i, end) {
			return i + 1
		}
		if i = expect(b, i, ','); i < 0 {
			return -1
		}
	}
}

// unquote returns the text of a scalar: literals and numbers as they are, null as "". The result
// may share memory with token.
func unquote(token []byte) []byte {
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
