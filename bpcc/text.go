package bpcc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// errUTF16 says that a text begins with the byte order mark of UTF-16.
var errUTF16 = errors.New("text is in UTF-16, want UTF-8")

// isUTF16 reports whether a text begins with the byte order mark of UTF-16.
func isUTF16(text []byte) bool {
	return bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff"))
}

// trimMark removes the byte order mark of UTF-8: programs that write one neither show nor count it.
func trimMark(text []byte) []byte { return bytes.TrimPrefix(text, []byte("\ufeff")) }

// errorMembers are parts of the names under which servers describe errors.
var errorMembers = [...]string{"error", "message", "msg", "status", "reason", "detail", "description", "title", "fault", "exception"}

const (
	// maxErrorBody is the largest body, in bytes, in which a description of an error is looked for.
	maxErrorBody = 64 << 10
	// maxErrorDepth is how deep in a body it may be.
	maxErrorDepth = 4
)

// ServerText returns what a server says about an error in a JSON body, such as "error: session
// expired"; "" if it says nothing. It is one printable line without the client's credentials. Only
// the members of usual names are read, so it shows nothing of a body that holds something else.
func (c *Client) ServerText(body []byte) string {
	if len(body) > maxErrorBody {
		return ""
	}
	dec := json.NewDecoder(bytes.NewReader(trimMark(body)))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return ""
	}
	return c.excerpt([]byte(strings.Join(describeError(nil, "", v, false, 0), ", ")))
}

// Redact removes the client's credentials from a text.
func (c *Client) Redact(text string) string { return c.redact(text) }

// describeError adds "name: text" for each scalar of an error. described reports whether the name of
// v, or of what holds it, is one of an error.
func describeError(to []string, name string, v any, described bool, depth int) []string {
	switch v := v.(type) {
	case map[string]any:
		for _, member := range slices.Sorted(maps.Keys(v)) {
			if depth < maxErrorDepth {
				to = describeError(to, member, v[member], described || isErrorMember(member), depth+1)
			}
		}
	case []any:
		for _, element := range v {
			if described && depth < maxErrorDepth {
				to = describeError(to, name, element, true, depth+1)
			}
		}
	case nil:
	default:
		if described {
			to = append(to, fmt.Sprintf("%s: %v", name, v))
		}
	}
	return to
}

// isErrorMember reports whether servers describe errors under a name.
func isErrorMember(name string) bool {
	name = strings.ToLower(name)
	return name == "code" || slices.ContainsFunc(errorMembers[:], func(part string) bool { return strings.Contains(name, part) })
}

// quoteServer returns ServerText as the end of a sentence.
func (c *Client) quoteServer(body []byte) string {
	if text := c.ServerText(body); text != "" {
		return "; the server says: " + text
	}
	return ""
}
