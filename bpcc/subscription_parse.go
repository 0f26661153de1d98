package bpcc

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// ErrSubscription is returned by [ParseSubscription] when a document is not a
// usable subscription body.
var ErrSubscription = errors.New("not a usable subscription")

// SubscriptionFault is one fault of a subscription and its position. An error of
// [ParseSubscription] holds one for each fault, for errors.As.
type SubscriptionFault struct {
	// Line and Column count from 1, columns in characters, as editors do.
	Line, Column int
	// Text says what is wrong and how to correct it.
	Text string
}

func (f *SubscriptionFault) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", f.Line, f.Column, f.Text)
}

// faults is a list of faults, or of errors without a position, as one error.
type faults []error

func (f faults) Error() string {
	separator := " "
	if len(f) > 1 {
		separator = "\n  "
	}
	var b strings.Builder
	b.WriteString(ErrSubscription.Error() + ":")
	for _, err := range f {
		b.WriteString(separator + err.Error())
	}
	return b.String()
}

// Unwrap lets errors.Is find ErrSubscription and errors.As the faults.
func (f faults) Unwrap() []error { return append([]error{ErrSubscription}, f...) }

// ParseSubscription reads a subscription in the vendor's JSON format, in every spelling that the
// documentation and known clients use, and checks it. It is stricter than the server, which ignores
// what it does not know: unknown keys are faults, and so is a grid without the id by which its rows
// are found. All faults are reported together, each with its line and column; the error is
// [ErrSubscription] to errors.Is and a [*SubscriptionFault] to errors.As.
func ParseSubscription(body []byte) (Subscription, error) {
	if isUTF16(body) {
		return nil, faults{errUTF16}
	}
	body = trimMark(body)
	if at, text := syntaxFault(body); text != "" {
		return nil, faults{locateFault(body, fault{at, text})}
	}
	root, err := parseTree(body)
	if err != nil {
		return nil, faults{err}
	}
	c := checker{body: body, isFile: true}
	c.checkSubscription(root)
	if len(c.faults) > 0 {
		slices.SortStableFunc(c.faults, func(a, b fault) int { return cmp.Compare(a.at, b.at) })
		var all faults
		for _, f := range c.faults {
			all = append(all, locateFault(body, f))
		}
		return nil, all
	}
	var sub Subscription
	if err := json.Unmarshal(body, &sub); err != nil {
		return nil, faults{err}
	}
	return sub, nil
}

// Validate reports every fault of s that the server would answer with 400 or
// silently ignore; the error is [ErrSubscription] to errors.Is.
func (s Subscription) Validate() error {
	// The rules apply to the text, so the text is checked.
	body, err := json.Marshal(s)
	if err != nil {
		return faults{err}
	}
	root, err := parseTree(body)
	if err != nil {
		return faults{err}
	}
	c := checker{body: body}
	c.checkSubscription(root)
	if len(c.faults) == 0 {
		return nil
	}
	var all faults
	for _, f := range c.faults {
		all = append(all, errors.New(f.text))
	}
	return all
}

// fault is a fault and the offset of its first byte.
type fault struct {
	at   int
	text string
}

func locateFault(body []byte, f fault) *SubscriptionFault {
	line, column := lineAndColumn(body, f.at)
	return &SubscriptionFault{Line: line, Column: column, Text: f.text}
}

// lineAndColumn returns the line and column, both from 1, of the byte at an offset.
func lineAndColumn(body []byte, at int) (line, column int) {
	before := body[:min(max(at, 0), len(body))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return bytes.Count(before, []byte("\n")) + 1, utf8.RuneCount(before[start:]) + 1
}

// syntaxFault returns where and why a body is not valid JSON; no text if it is valid.
func syntaxFault(body []byte) (at int, text string) {
	for at := 0; at < len(body); {
		r, size := utf8.DecodeRune(body[at:])
		if r == utf8.RuneError && size == 1 {
			return at, "not UTF-8 text; save the file as UTF-8"
		}
		at += size
	}
	var raw json.RawMessage
	err := json.Unmarshal(body, &raw)
	if err == nil {
		return 0, ""
	}
	// The offset counts the bytes read, the offending one included.
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		at = max(int(syntax.Offset)-1, 0)
	}
	switch trimmed := bytes.TrimRight(body, " \t\r\n"); {
	case len(trimmed) == 0:
		return 0, `the file is empty; want {"app id": {"agent_grids": [ … ]}}`
	case isTruncated(trimmed):
		_, last := utf8.DecodeLastRune(trimmed)
		return len(trimmed) - last, `the text ends here, in the middle of a value; a }, ] or " is missing`
	}
	before := bytes.TrimRight(body[:at], " \t\r\n")
	switch r, _ := utf8.DecodeRune(body[at:]); {
	case r == '#', bytes.HasPrefix(body[at:], []byte("//")), bytes.HasPrefix(body[at:], []byte("/*")):
		return at, "JSON has no comments; remove it"
	case (r == '}' || r == ']') && bytes.HasSuffix(before, []byte(",")):
		return len(before) - 1, fmt.Sprintf("a comma before %c; remove it", r)
	case strings.ContainsRune("'`‘’‚“”„«»", r):
		return at, fmt.Sprintf("text must be in straight double quotes (\"), not %c", r)
	case strings.ContainsRune(`"{[`, r) && len(before) > 0 && !bytes.ContainsAny(before[len(before)-1:], "{[:,") && !json.Valid(before):
		return at, fmt.Sprintf("a comma is missing before %c, or a colon if a key precedes it", r)
	case json.Valid(before):
		return at, "text after the end of the subscription; remove it"
	case r >= utf8.RuneSelf:
		return at, fmt.Sprintf("unexpected %q", r)
	}
	return at, err.Error()
}

// isTruncated reports whether a body is the beginning of valid JSON.
func isTruncated(body []byte) bool {
	err := json.NewDecoder(bytes.NewReader(body)).Decode(new(json.RawMessage))
	var syntax *json.SyntaxError
	return err != nil && !errors.As(err, &syntax)
}

// node is one value of a JSON text and its offset.
type node struct {
	at      int
	kind    byte       // first byte of the value, with 0 for all numbers and t for both booleans
	text    flexString // of a scalar, unquoted
	members []member   // of an object, in their order
	items   []node     // of an array
}

type member struct {
	name  string
	at    int
	value node
}

// member is the value of an object's member, the zero node if there is none.
func (n node) member(name string) node {
	for _, m := range n.members {
		if m.name == name {
			return m.value
		}
	}
	return node{}
}

// typeName names the kind of a value.
func (n node) typeName() string {
	switch n.kind {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return fmt.Sprintf("the text %.60q", string(n.text))
	case 'n':
		return "null"
	default:
		return string(n.text)
	}
}

// parseTree parses a JSON text with the offsets of its values.
func parseTree(body []byte) (node, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	return parseNode(dec, body)
}

func parseNode(dec *json.Decoder, body []byte) (node, error) {
	n := node{at: nextOffset(dec, body)}
	token, err := dec.Token()
	if err != nil {
		return n, err
	}
	n.kind = body[n.at]
	switch t := token.(type) {
	case json.Delim:
		for dec.More() {
			m := member{at: nextOffset(dec, body)}
			if t == '{' {
				key, err := dec.Token()
				if err != nil {
					return n, err
				}
				m.name, _ = key.(string)
			}
			if m.value, err = parseNode(dec, body); err != nil {
				return n, err
			}
			if t == '{' {
				n.members = append(n.members, m)
			} else {
				n.items = append(n.items, m.value)
			}
		}
		_, err = dec.Token()
	case string:
		n.text = flexString(t)
	case json.Number:
		n.kind, n.text = '0', flexString(t)
	case bool:
		n.kind, n.text = 't', flexString(fmt.Sprint(t))
	}
	return n, err
}

// nextOffset returns the offset of the token that the decoder will read next.
func nextOffset(dec *json.Decoder, body []byte) int {
	at := int(dec.InputOffset())
	return at + len(body[at:]) - len(bytes.TrimLeft(body[at:], " \t\r\n,:"))
}
