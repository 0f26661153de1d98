package bridge

import (
	"errors"
	"fmt"
	"strings"
)

// ErrToken is returned for text that is not the token of an id.
var ErrToken = errors.New("not a subject token")

const upperHex = "0123456789ABCDEF"

// Token writes an id as one token of a subject, legal in KV keys too: bytes
// outside A-Za-z0-9_- become =XX. It is reversible. An empty id has no token:
// the result is empty, and callers keep such ids out before.
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

// appendToken adds what [Token] gives.
func appendToken(b []byte, id string) []byte {
	for i := range len(id) {
		if c := id[i]; tokenByte(c) {
			b = append(b, c)
		} else {
			b = append(b, '=', upperHex[c>>4], upperHex[c&15])
		}
	}
	return b
}

// ParseToken reads the id back from what [Token] wrote; all else is [ErrToken].
func ParseToken(token string) (string, error) {
	if token == "" {
		return "", fmt.Errorf("%w: it is empty", ErrToken)
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

// SubjectPrefix begins every event's subject; the tenant's token follows.
const SubjectPrefix = "bpcc.v1"

// viewKey gives the key, below the tenant, under which an event's subject (also
// below the tenant) stands in the view; "" for events that the view leaves out.
// It must agree with the transforms that viewConfig gives the server.
func viewKey(subject string) string {
	t := strings.Split(subject, ".")
	switch {
	case t[0] == "agent" && len(t) == 3, t[0] == "totals" && len(t) == 3:
		return t[0] + "." + t[1]
	case t[0] == "service" && len(t) == 3 && strings.HasPrefix(t[2], "availability_"):
		return "availability." + t[1]
	case t[0] == "service" && len(t) == 3:
		return "service." + t[1]
	case t[0] == "threshold" && len(t) == 4:
		return "threshold." + t[1] + "." + t[2]
	case subject == checkpointSubject:
		return "feed"
	}
	return ""
}
