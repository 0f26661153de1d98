package schemas_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// A yamlReader reads the plain part of YAML that asyncapi.yaml is written in:
// block mappings and lists, text on one line, plain or in double quotes, and
// folded text after >-. All else is an error, so that it never takes a file for
// something it is not; .ci/asyncapi.mjs reads the same file with a real parser.
type yamlReader struct {
	lines []string
	at    int // the next line
}

func parseYAML(text string) (doc any, err error) {
	r := &yamlReader{lines: strings.Split(text, "\n")}
	defer func() {
		if fault, ok := recover().(yamlFault); ok {
			err = fmt.Errorf("line %d: %s", r.at+1, string(fault))
		}
	}()
	doc = r.block(0)
	if _, _, more := r.peek(); more {
		panic(yamlFault("out of line"))
	}
	return doc, nil
}

// A yamlFault is how the reader gives up.
type yamlFault string

// peek returns the next line that is neither empty nor a comment.
func (r *yamlReader) peek() (text string, indent int, ok bool) {
	for ; r.at < len(r.lines); r.at++ {
		text = strings.TrimLeft(r.lines[r.at], " ")
		if text != "" && text[0] != '#' {
			return text, len(r.lines[r.at]) - len(text), true
		}
	}
	return "", 0, false
}

func (r *yamlReader) block(indent int) any {
	text, have, ok := r.peek()
	if !ok || have != indent {
		panic(yamlFault("a value is missing or out of line"))
	}
	if strings.HasPrefix(text, "- ") {
		return r.list(indent)
	}
	return r.mapping(indent)
}

func (r *yamlReader) list(indent int) []any {
	var items []any
	for {
		text, have, ok := r.peek()
		if !ok || have < indent || have == indent && !strings.HasPrefix(text, "- ") {
			return items
		}
		if have > indent {
			panic(yamlFault("out of line"))
		}
		if item := text[2:]; yamlPair.MatchString(item) {
			r.lines[r.at] = strings.Repeat(" ", indent+2) + item
			items = append(items, r.block(indent+2))
		} else {
			items = append(items, yamlScalar(item))
			r.at++
		}
	}
}

var yamlPair = regexp.MustCompile(`^([A-Za-z$][^:#"'\s]*):(?: (.*))?$`)

func (r *yamlReader) mapping(indent int) map[string]any {
	m := map[string]any{}
	for {
		text, have, ok := r.peek()
		if !ok || have < indent {
			return m
		}
		pair := yamlPair.FindStringSubmatch(text)
		if have > indent || pair == nil {
			panic(yamlFault("not a key in line with those above"))
		}
		key, value := pair[1], pair[2]
		if _, twice := m[key]; twice {
			panic(yamlFault("a second " + key))
		}
		r.at++
		switch value {
		case "":
			m[key] = r.block(indent + 2)
		case ">-":
			m[key] = r.folded(indent)
		default:
			r.at-- // for the line number of a fault
			m[key] = yamlScalar(value)
			r.at++
		}
	}
}

func (r *yamlReader) folded(indent int) string {
	var b strings.Builder
	for ; r.at < len(r.lines); r.at++ {
		line := strings.TrimLeft(r.lines[r.at], " ")
		switch {
		case line == "":
			b.WriteString("\n")
			continue
		case len(r.lines[r.at])-len(line) <= indent:
			return strings.TrimSpace(b.String())
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "\n"):
			b.WriteString(" ")
		}
		b.WriteString(line)
	}
	return strings.TrimSpace(b.String())
}

// yamlScalar reads text. What YAML would take for a number, a boolean or null
// must be quoted: this file holds none.
func yamlScalar(s string) string {
	if s[0] == '"' {
		var text string
		if json.Unmarshal([]byte(s), &text) != nil {
			panic(yamlFault("quoted text that JSON does not know"))
		}
		return text
	}
	_, err := strconv.ParseFloat(s, 64)
	word := regexp.MustCompile(`^(?i:true|false|null|yes|no|on|off|~)$`)
	if err == nil || word.MatchString(s) || strings.ContainsAny(s[:1], "'[]{}&*!|>%@`#,?:- ") ||
		strings.Contains(s, ": ") || strings.Contains(s, " #") || strings.HasSuffix(s, ":") {
		panic(yamlFault("quote this text"))
	}
	return s
}

func TestParseYAML(t *testing.T) {
	t.Parallel()
	doc, err := parseYAML("# x\na: b c\nlist:\n  - one\n  - k: \"1: 2\"\n    l: 0.1.0\n\ntext: >-\n  of two\n  lines\n\n  and more\nz:\n  $ref: \"#/a\"\n")
	want := `{"a":"b c","list":["one",{"k":"1: 2","l":"0.1.0"}],"text":"of two lines\nand more","z":{"$ref":"#/a"}}`
	if got := string(marshal(t, doc)); err != nil || got != want {
		t.Errorf("%v\n got %s\nwant %s", err, got, want)
	}
	for _, bad := range []string{"a: 1", "a: no", "a: 'b'", "a: [b]", "a: {}", "a: b: c", "a: b #c", "a: *b", "a:", "a: b\na: c",
		"a: b\n  c: d", "a:\n b: c", "a: b\nc", "- a\nb: c", "a:\n  - b\n c: d", "a: |\n  b", "a: ~", "\ta: b", "a: \"b", ""} {
		if doc, err := parseYAML(bad); err == nil {
			t.Errorf("%q is read as %v", bad, doc)
		}
	}
}
