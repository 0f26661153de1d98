package bpcctest

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// TeamID is the GUID of the team of that name.
func TeamID(name string) string { return guid("team/" + name) }

// ServiceID is the GUID of the service of that name, unless another was set.
func ServiceID(name string) string { return guid("service/" + name) }

// UserID is the GUID of the user of that login, unless another was set.
func UserID(login string) string { return guid("user/" + login) }

// guid derives a GUID from text, in upper case as the API writes them, so that
// objects keep their ids from run to run.
func guid(of string) string {
	h := sha256.Sum256([]byte(of))
	h[6], h[8] = h[6]&0x0f|0x40, h[8]&0x3f|0x80 // marked as a random UUID
	return fmt.Sprintf("%X-%X-%X-%X-%X", h[:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

// hash is a cheap hash that gives an arbitrary order.
func hash(seed uint64, s string) uint64 {
	h := seed ^ 14695981039346656037
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	h ^= h >> 29
	h *= 0xbf58476d1ce4e5b9
	return h ^ h>>32
}

// compareHashed compares in an order that depends on the seed alone.
func compareHashed(seed uint64, a, b string) int {
	return cmp.Or(cmp.Compare(hash(seed, a), hash(seed, b)), cmp.Compare(a, b))
}

const hexDigits = "0123456789ABCDEF"

// appendQuoted appends s as a JSON string as Jackson does: only necessary escapes, UTF-8 as it is.
func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = utf8.AppendRune(append(dst, s[start:i]...), r)
				start = i + 1
			}
			i += size
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

// indentJSON formats an array of encoded items like Jackson's default pretty printer.
func indentJSON(items [][]byte) []byte {
	if len(items) == 0 {
		return []byte("[ ]")
	}
	b := []byte("[ ")
	for i, item := range items {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, item...)
	}
	return append(b, " ]"...)
}

// formatSeconds formats a duration as the API sends it: whole seconds as text.
func formatSeconds(d time.Duration) string {
	return strconv.FormatInt(int64(max(d, 0)/time.Second), 10)
}

// formatDecimal formats sums and ratios as the API sends them: up to four decimals, none if whole.
func formatDecimal(v float64) string {
	return strconv.FormatFloat(math.Round(v*10000)/10000, 'f', -1, 64)
}

// parseNumber parses a value that is a number. Text that only a Go parser accepts as a number, such
// as "Infinity", is not one.
func parseNumber(s string) (float64, bool) {
	if s == "" || s[0] != '-' && s[0] != '.' && (s[0] < '0' || s[0] > '9') {
		return 0, false
	}
	v, err := strconv.ParseFloat(s, 64)
	return v, err == nil
}
