package bpcc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ErrSubscription is returned by [ParseSubscription] when a document is not a
// usable subscription body.
var ErrSubscription = errors.New("not a usable subscription")

// SubscriptionFault is one fault of a subscription and its position. An error of
// [ParseSubscription] holds one for each fault, for errors.As.
type SubscriptionFault struct {
	// Line and Column count from 1, columns in characters, as editors do. They are 0 where there is
	// no file.
	Line, Column int
	// Text says what is wrong and how to correct it.
	Text string
}

func (f *SubscriptionFault) Error() string {
	if f.Line == 0 {
		return f.Text
	}
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
		return nil, faults{&SubscriptionFault{Line: 1, Column: 1, Text: errUTF16.Error()}}
	}
	body = trimMark(body)
	if at, text := syntaxFault(body); text != "" {
		line, column := lineAndColumn(body, at)
		return nil, faults{&SubscriptionFault{Line: line, Column: column, Text: text}}
	}
	doc, err := checkSubscription(body, true)
	if err != nil {
		return nil, err
	}
	// What was checked is what is used.
	if body, err = json.Marshal(doc); err != nil {
		return nil, faults{err}
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
	_, err = checkSubscription(body, false)
	return err
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

// path is the place of a value in a document: keys and indexes, as in a JSON pointer.
type path []string

func (p path) with(token string) path { return append(slices.Clip(p), token) }

func (p path) item(i int) path { return p.with(strconv.Itoa(i)) }

// key returns the path as one text.
func (p path) key() string { return fmt.Sprintf("%q", []string(p)) }

// located is a value with its offset and that of its key. An empty value, which counts as missing,
// is nil.
type located struct {
	value     any
	at, keyAt int
	spelling  string // of the key
}

// read reads the next value of a document and records where it and its parts are.
func (c *checker) read(dec *json.Decoder, p path, l located) any {
	l.at = nextOffset(dec, c.body)
	token, err := dec.Token()
	l.value = token
	switch {
	case err != nil: // the text is valid JSON, so only a number can be at fault
		c.add(l.at, p, " is too large a number")
	case token == json.Delim('['):
		items := []any{}
		for dec.More() {
			items = append(items, c.read(dec, p.item(len(items)), located{}))
		}
		_, _ = dec.Token()
		l.value = items
	case token == json.Delim('{'):
		l.value = c.readMembers(dec, p)
		_, _ = dec.Token()
	}
	// Below an app, an empty value of a known key says no more than none.
	if items, ok := l.value.([]any); len(p) > 1 && l.spelling != "" && (l.value == "" || ok && len(items) == 0) && c.subschema(p) != nil {
		l.value = nil
	}
	c.values[p.key()] = l
	return l.value
}

// readMembers reads the members of an object but those that are empty. A duplicate is a fault.
func (c *checker) readMembers(dec *json.Decoder, p path) map[string]any {
	members := map[string]any{}
	for dec.More() {
		keyAt := nextOffset(dec, c.body)
		token, _ := dec.Token()
		spelling, _ := token.(string)
		member := p.with(spelling)
		if len(p) > 1 && p[len(p)-2] == "columns" && spelling == "statName" {
			member = p.with("stat_name")
		}
		first, isDuplicate := c.values[member.key()]
		switch {
		case !isDuplicate:
			v := c.read(dec, member, located{keyAt: keyAt, spelling: spelling})
			if v != nil || len(p) == 0 || c.subschema(member) == nil {
				members[member[len(p)]] = v
			}
			continue
		case first.spelling == spelling:
			c.add(keyAt, p, ": duplicate key %q, first%s; keep one", spelling, c.lineSuffix(first.keyAt))
		default:
			c.add(keyAt, p, " has both %s and %s, two spellings of one key; keep one", first.spelling, spelling)
		}
		_ = dec.Decode(new(json.RawMessage))
	}
	return members
}

// nextOffset returns the offset of the token that the decoder will read next.
func nextOffset(dec *json.Decoder, body []byte) int {
	at := int(dec.InputOffset())
	return at + len(body[at:]) - len(bytes.TrimLeft(body[at:], " \t\r\n,:"))
}
