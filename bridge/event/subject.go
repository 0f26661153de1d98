package event

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"bpcc-nats/diff/image"
)

// SubjectPrefix is the beginning of every event's subject; the tenant's token follows.
const SubjectPrefix = "bpcc.v1"

// Prefix is the beginning of the subjects of a tenant's events, up to and with the dot before the
// kind.
func Prefix(tenant string) string { return SubjectPrefix + "." + Token(tenant) + "." }

// TenantOf returns the tenant of a subject; false if it is not the subject of an event.
func TenantOf(subject string) (string, bool) {
	rest, ok := strings.CutPrefix(subject, SubjectPrefix+".")
	if !ok {
		return "", false
	}
	token, _, _ := strings.Cut(rest, ".")
	tenant, err := ParseToken(token)
	return tenant, err == nil
}

// NameOf returns the name of the events on a subject, such as "agent.state_changed"; false if it is not
// the subject of an event.
func NameOf(subject string) (string, bool) {
	rest, ok := strings.CutPrefix(subject, SubjectPrefix+".")
	_, rest, cut := strings.Cut(rest, ".")
	kind, ids, more := strings.Cut(rest, ".")
	return kind + "." + ids[strings.LastIndexByte(ids, '.')+1:], ok && cut && more
}

// MatchSubject reports whether a pattern with the wildcards of NATS matches a subject: * is one token, >
// one or more at the end.
func MatchSubject(pattern, subject string) bool {
	for {
		want, morePattern, hasPattern := strings.Cut(pattern, ".")
		got, moreSubject, hasSubject := strings.Cut(subject, ".")
		switch {
		case want == ">" && !hasPattern:
			return true
		case want != "*" && want != got, hasPattern != hasSubject:
			return false
		case !hasPattern:
			return true
		}
		pattern, subject = morePattern, moreSubject
	}
}

// Subject is the NATS subject of the event.
func (e *Event) Subject() string { return string(e.AppendSubject(nil, Prefix(e.Tenant()))) }

// AppendSubject appends the subject; prefix is [Prefix] of the tenant, or "" for the part after it.
func (e *Event) AppendSubject(b []byte, prefix string) []byte {
	var buf [2]string
	kind, verb, _ := strings.Cut(e.Name, ".")
	b = append(append(append(b, prefix...), kind...), '.')
	for _, id := range e.ids(&buf) {
		b = append(appendToken(b, id), '.')
	}
	return append(b, verb...)
}

// ViewKey is the event's key in the view, below the tenant; "" for events that are not in the view.
func (e *Event) ViewKey() string { return ViewKey(string(e.AppendSubject(nil, ""))) }

// ViewKey returns the view key, below the tenant, of an event's subject (also below the tenant); ""
// for events that are not in the view. It must agree with the subject transforms of the view's
// stream.
func ViewKey(subject string) string {
	if subject == Checkpoint {
		return "feed"
	}
	last := strings.LastIndexByte(subject, '.')
	if n := strings.Count(subject, "."); n != 2 && n != 3 {
		return ""
	}
	return subject[:last]
}

// RowKey returns the view key, below the tenant, of the events about a row.
func RowKey(kind image.Kind, id string) string { return string(kind) + "." + Token(id) }

// ErrToken is returned for text that is not the token of an id.
var ErrToken = errors.New("not a subject token")

const upperHex = "0123456789ABCDEF"

// Token encodes an id as one token of a subject, legal in KV keys too: bytes outside A-Za-z0-9_-
// become =XX. It is reversible. The token of an empty id is empty; callers must reject empty ids
// before.
func Token(id string) string {
	plain := true
	for i := range len(id) {
		plain = plain && tokenByte(id[i])
	}
	if plain {
		return id
	}
	return string(appendToken(nil, id))
}

// appendToken appends the [Token] of an id.
func appendToken(b []byte, id string) []byte {
	for i := range len(id) {
		if c := id[i]; tokenByte(c) {
			b = append(b, c)
		} else {
			b = appendEscaped(b, c)
		}
	}
	return b
}

// appendPrintable appends an id with the bytes of its control characters and line separators as in a [Token].
func appendPrintable(b []byte, id string) []byte {
	for {
		at := strings.IndexFunc(id, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' })
		if at < 0 {
			return append(b, id...)
		}
		_, size := utf8.DecodeRuneInString(id[at:])
		b = append(b, id[:at]...)
		for i := range size {
			b = appendEscaped(b, id[at+i])
		}
		id = id[at+size:]
	}
}

// appendEscaped appends a byte as =XX.
func appendEscaped(b []byte, c byte) []byte { return append(b, '=', upperHex[c>>4], upperHex[c&15]) }

// ParseToken decodes a [Token]. The error is [ErrToken].
func ParseToken(token string) (string, error) {
	if token == "" {
		return "", fmt.Errorf("%w: empty", ErrToken)
	}
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		c := token[i]
		switch {
		case tokenByte(c):
			b.WriteByte(c)
		case c == '=' && i+2 < len(token):
			hi, lo := strings.IndexByte(upperHex, token[i+1]), strings.IndexByte(upperHex, token[i+2])
			if hi < 0 || lo < 0 || tokenByte(byte(hi<<4|lo)) {
				return "", fmt.Errorf("%w: %q", ErrToken, token)
			}
			b.WriteByte(byte(hi<<4 | lo))
			i += 2
		default:
			return "", fmt.Errorf("%w: %q", ErrToken, token)
		}
	}
	return b.String(), nil
}

func tokenByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}
