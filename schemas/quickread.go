package schemas

import (
	"bytes"
	"slices"
	"strconv"
	"unicode/utf8"

	"bpcc-nats/internal/jsonscan"
)

// quickReader checks one text. The methods take the index where a value begins and return its end, or -1
// if it is not valid.
type quickReader struct {
	b []byte
	// uri is a text that the library takes for a URI, "" if none is known.
	uri string
	// unsure is set where only the library can decide.
	unsure bool
	depth  int
}

// quickDepth is more nesting than any event has.
const quickDepth = 32

// accepts reports whether the text is surely valid. false says nothing.
func (s *quickSchema) accepts(b []byte, uri string) bool {
	r := quickReader{b: b, uri: uri}
	end := r.value(jsonscan.SkipSpace(b, 0), s)
	return end >= 0 && !r.unsure && jsonscan.SkipSpace(b, end) == len(b)
}

// doubt leaves the decision to the library.
func (r *quickReader) doubt() int {
	r.unsure = true
	return -1
}

// value checks a value; a nil schema accepts all.
func (r *quickReader) value(i int, s *quickSchema) int {
	if i >= len(r.b) {
		return -1
	}
	is := func(t quickTypes) bool { return s == nil || s.types == 0 || s.types&t != 0 }
	plain := s == nil || s.allowed == nil && !s.allowTrue
	switch c := r.b[i]; {
	case c == '{' && is(quickObject) && plain:
		return r.object(i, s)
	case c == '[' && is(quickArray) && plain:
		return r.array(i, s)
	case c == '"' && is(quickString) && (s == nil || !s.allowTrue):
		return r.text(i, s)
	case c == 't' && is(quickBoolean) && (s == nil || s.allowed == nil):
		return r.literal(i, "true")
	case c == 'f' && is(quickBoolean) && plain:
		return r.literal(i, "false")
	case c == 'n' && is(quickNull) && plain:
		return r.literal(i, "null")
	case c == '-' || c >= '0' && c <= '9':
		return r.number(i, s)
	}
	return -1
}

func (r *quickReader) literal(i int, text string) int {
	if len(r.b)-i < len(text) || string(r.b[i:i+len(text)]) != text {
		return -1
	}
	return i + len(text)
}

// number checks a number. Only those without an exponent are compared here.
func (r *quickReader) number(i int, s *quickSchema) int {
	end := jsonscan.Scalar(r.b, i)
	if end < 0 || s == nil {
		return end
	}
	whole, fraction, fractional := bytes.Cut(r.b[i:end], []byte("."))
	n, err := strconv.ParseInt(string(whole), 10, 64)
	switch {
	case err != nil, s.allowed != nil, s.allowTrue:
		return r.doubt()
	case fractional:
		if s.types != 0 && s.types&quickNumber == 0 || whole[0] == '-' || n < s.minimum || bytes.ContainsAny(fraction, "eE") {
			return r.doubt()
		}
	case s.types != 0 && s.types&quickInteger == 0, n < s.minimum:
		return -1
	}
	return end
}

// text checks a text.
func (r *quickReader) text(i int, s *quickSchema) int {
	end := jsonscan.String(r.b, i)
	if end < 0 || s == nil {
		return end
	}
	text := jsonscan.Unquote(r.b[i:end])
	switch {
	case s.minLength > 0 && utf8.RuneCount(text) < s.minLength:
		return -1
	case s.allowed != nil && !slices.ContainsFunc(s.allowed, func(allowed string) bool { return string(text) == allowed }):
		return -1
	case s.format == "date-time" && !isDateTime(text), s.format == "uri" && (r.uri == "" || string(text) != r.uri):
		return r.doubt()
	case s.pattern != nil && !s.pattern.Match(text):
		return -1
	}
	return end
}

// isDateTime reports whether a text is a time as the bridge writes it. The library decides about others.
func isDateTime(text []byte) bool {
	const layout = "0000-00-00T00:00:00"
	n := len(text) - 1
	if n < len(layout) || text[n] != 'Z' {
		return false
	}
	for i, c := range text[:n] {
		digit := c >= '0' && c <= '9'
		switch {
		case i >= len(layout) && (i == len(layout) && c == '.' && n > len(layout)+1 || i > len(layout) && digit):
		case i < len(layout) && (layout[i] == '0' && digit || layout[i] == c && !digit):
		default:
			return false
		}
	}
	two := func(i int) int { return int(text[i]-'0')*10 + int(text[i+1]-'0') }
	month, day := two(5), two(8)
	// Each month has 28 days; the library knows which have more.
	return month >= 1 && month <= 12 && day >= 1 && (day <= 28 || day <= 30 && month != 2) && two(11) < 24 && two(14) < 60 && two(17) < 60
}

// array checks an array.
func (r *quickReader) array(i int, s *quickSchema) int {
	if r.depth++; r.depth > quickDepth {
		return r.doubt()
	}
	defer func() { r.depth-- }()
	var items *quickSchema
	if s != nil {
		items = s.items
	}
	n := 0
	var seen [][]byte
	end := jsonscan.Array(r.b, i, func(i int) int {
		n++
		end := r.value(i, items)
		if end < 0 || s == nil || !s.unique {
			return end
		}
		item := r.b[i:end]
		if item[0] != '"' || slices.Contains(item, '\\') || !utf8.Valid(item) || n > quickDepth {
			return r.doubt()
		}
		for _, other := range seen {
			if string(other) == string(item) {
				return -1
			}
		}
		seen = append(seen, item)
		return end
	})
	if s != nil && (n < s.minItems || s.maxItems >= 0 && n > s.maxItems) {
		return -1
	}
	return end
}

// quickMember is a member of an object: its name, and where its value begins.
type quickMember struct {
	name []byte
	at   int
}

// object checks an object.
func (r *quickReader) object(i int, s *quickSchema) int {
	if r.depth++; r.depth > quickDepth {
		return r.doubt()
	}
	defer func() { r.depth-- }()
	var buf [24]quickMember
	members := buf[:0]
	conditional := s != nil && s.conditional()
	var required uint64 // those that are there
	if i = jsonscan.SkipSpace(r.b, i+1); jsonscan.Has(r.b, i, '}') {
		return r.closeObject(i+1, s, required, members)
	}
	for {
		end := jsonscan.String(r.b, i)
		if end < 0 {
			return -1
		}
		name := jsonscan.Unquote(r.b[i:end])
		if i = jsonscan.Expect(r.b, end, ':'); i < 0 {
			return -1
		}
		var member *quickSchema
		if s != nil {
			var known bool
			if member, known = s.properties[string(name)]; !known {
				member = s.additional
			}
			for n, want := range s.required {
				if string(name) == want {
					required |= 1 << n
				}
			}
		}
		if conditional {
			members = append(members, quickMember{name, i})
		}
		if i = r.value(i, member); i < 0 {
			return -1
		}
		if i = jsonscan.SkipSpace(r.b, i); jsonscan.Has(r.b, i, '}') {
			return r.closeObject(i+1, s, required, members)
		}
		if i = jsonscan.Expect(r.b, i, ','); i < 0 {
			return -1
		}
	}
}

// closeObject checks what only the whole object shows. It returns its end, or -1.
func (r *quickReader) closeObject(end int, s *quickSchema, required uint64, members []quickMember) int {
	if s != nil && (required != 1<<len(s.required)-1 || !r.branchesHold(s, members)) {
		return -1
	}
	return end
}

// find returns where the value of a member begins, -1 if it is not there. Of two members with one name the
// last one counts.
func find(members []quickMember, name string) int {
	for _, m := range slices.Backward(members) {
		if string(m.name) == name {
			return m.at
		}
	}
	return -1
}

// holds reports whether the members of an object are as a branch has them.
func (r *quickReader) holds(s *quickSchema, members []quickMember) bool {
	for _, name := range s.required {
		if find(members, name) < 0 {
			return false
		}
	}
	for name, member := range s.properties {
		if at := find(members, name); at >= 0 && r.value(at, member) < 0 {
			return false
		}
	}
	return r.branchesHold(s, members)
}

// branchesHold reports whether those branches of a schema hold that the members of an object choose.
func (r *quickReader) branchesHold(s *quickSchema, members []quickMember) bool {
	if s.condition != nil {
		branch := s.otherwise
		if r.holds(s.condition, members) {
			branch = s.then
		}
		if branch != nil && !r.holds(branch, members) {
			return false
		}
	}
	for name, branch := range s.dependent {
		if find(members, name) >= 0 && !r.holds(branch, members) {
			return false
		}
	}
	return true
}
