package schemas_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bpcc-nats/schemas"
)

// A document is an event's schema as people read it: with the order of its keys
// and the text of its first example as they stand in the file.
type document struct {
	root    any
	keys    map[string][]string // of each object, by its pointer
	example string
}

// A field is one line of a table for readers.
type field struct{ Name, Type, Unit, Present, Description string }

func parseDocument(t *testing.T, name string) document {
	t.Helper()
	text, err := schemas.Schema(name)
	if err != nil {
		t.Fatal(err)
	}
	d := document{root: unmarshal(t, text), keys: map[string][]string{}}
	d.order(t, json.NewDecoder(bytes.NewReader(text)), "")
	d.example = strings.ReplaceAll(string(examples()[name]), "\n    ", "\n") // it stands two levels deep
	return d
}

// order notes the keys of the value that comes next.
func (d document) order(t *testing.T, dec *json.Decoder, at string) {
	t.Helper()
	token := func() json.Token {
		v, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	open, _ := token().(json.Delim)
	for i := 0; (open == '{' || open == '[') && dec.More(); i++ {
		key := fmt.Sprint(i)
		if open == '{' {
			key = token().(string)
			d.keys[at] = append(d.keys[at], key)
		}
		d.order(t, dec, at+"/"+key)
	}
	if open != 0 {
		token()
	}
}

// fields lists the properties of the schema at a pointer, those within them
// included. An image is not looked into, but linked to.
func (d document) fields(t *testing.T, at, prefix, imageAnchor string) []field {
	t.Helper()
	s, _ := valueAt(t, d.root, at).(map[string]any)
	required, _ := s["required"].([]any)
	var out []field
	for _, key := range d.keys[at+"/properties"] {
		target, p := d.follow(t, at+"/properties/"+key)
		f := field{Name: prefix + key, Present: "sometimes", Description: escapeCell(p["description"].(string))}
		if slices.Contains(required, any(key)) {
			f.Present = "always"
		}
		f.Type = d.typeText(t, p)
		f.Unit, f.Description = unit(p, f.Description)
		within := prefix + key + "."
		switch {
		case strings.HasSuffix(target, "Image"):
			f.Type = fmt.Sprintf("[image](#%s)", imageAnchor)
			out = append(out, f)
			continue
		case p["type"] == "array":
			target, _ = d.follow(t, target+"/items")
			within = prefix + key + "[]."
		}
		out = append(out, f)
		out = append(out, d.fields(t, target, within, imageAnchor)...)
	}
	return out
}

// follow returns the pointer to a schema and the schema, those of a definition where it
// is a reference.
func (d document) follow(t *testing.T, at string) (string, map[string]any) {
	t.Helper()
	p := object(t, d.root, at)
	if ref, ok := p["$ref"].(string); ok {
		at = strings.TrimPrefix(ref, "#")
		p = object(t, d.root, at)
	}
	return at, p
}

// typeText says what may stand in a field.
func (d document) typeText(t *testing.T, p map[string]any) string {
	t.Helper()
	var all []string
	p = rules(d.root, p) // with an enum for a pattern of words
	for _, w := range wordList(p["type"]) {
		switch {
		case p["const"] != nil:
			w = "`" + literal(p["const"]) + "`"
		case p["enum"] != nil:
			w = "`" + strings.Join(wordList(p["enum"]), "`, `") + "`"
		case w == "string" && p["format"] == "date-time":
			w = "time"
		case w == "string":
			w = "text"
		case w == "boolean":
			w = "true or false"
		case w == "array":
			items := rules(d.root, p["items"])
			w = "list of " + d.typeText(t, items)
			if items["type"] == "object" {
				w += "s"
			}
		}
		all = append(all, w)
	}
	return escapeCell(strings.Join(all, " or "))
}

var (
	unitWord         = regexp.MustCompile(`, (?:in )?(seconds|count|percent|the statistic's unit)\b`)
	countDescription = regexp.MustCompile(`^How many\b`)
)

// unit takes the unit out of the words that the descriptions use for it.
func unit(p map[string]any, description string) (unit, rest string) {
	pattern, _ := p["pattern"].(string)
	switch {
	case p["format"] == "date-time":
		return "UTC", description
	case strings.Contains(pattern, "ns|us"):
		return "in the text", description
	case countDescription.MatchString(description):
		return "count", description
	}
	if m := unitWord.FindStringSubmatchIndex(description); m != nil {
		return description[m[2]:m[3]], description[:m[0]] + description[m[1]:]
	}
	return "", description
}

func literal(v any) string { return strings.Join(wordList([]any{v}), "") }

// escapeCell makes text fit into a table.
func escapeCell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// withAngleBrackets writes the parameters of an address as people do.
func withAngleBrackets(s string) string { return strings.NewReplacer("{", "<", "}", ">").Replace(s) }

// slug is the anchor that a heading gets.
func slug(heading string) string {
	return regexp.MustCompile(`[^a-z0-9_-]`).ReplaceAllString(strings.ReplaceAll(strings.ToLower(heading), " ", "-"), "")
}
