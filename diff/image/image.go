// Package image holds the images of entities: all statistics of one, as the source wrote them.
package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"bpcc-nats/internal/jsonscan"
)

// Kind is a kind of entity, such as agents. Its images have the same statistics.
type Kind string

// MaxClock is the largest text of a statistic that is a clock, in seconds, about ten years: a larger
// number is a fault of the source, such as a negative one without its sign.
const MaxClock = 10 * 365 * 24 * 3600

// Image is all statistics of one entity: their names and the exact text the source sent for each, in
// the order of the subscription. Text "" is "no value", never 0. A statistic that is not in the
// image is not known. Images are immutable. The zero Image is that of no entity.
type Image struct {
	// fields are shared by all images of a kind. The pack holds, for each of them, a text or a mark
	// that there is none.
	fields *Fields
	pack   string
}

// Stat is one statistic of an [Image].
type Stat struct{ Name, Text string }

// New makes an image that knows these statistics.
func New(stats ...Stat) Image {
	all := make([]string, len(stats))
	var pack []byte
	for i, s := range stats {
		all[i] = s.Name
		pack = appendText(pack, s.Text, true)
	}
	return Image{NewFields(all...), string(pack)}
}

// IsZero reports whether this is the image of no entity. An image of an entity without statistics
// is not zero.
func (m Image) IsZero() bool { return m.fields == nil }

// Equal reports whether two images know the same texts in the same order.
func (m Image) Equal(other Image) bool {
	if m.fields == other.fields {
		return m.pack == other.pack
	}
	return m.IsZero() == other.IsZero() && slices.Equal(m.stats(), other.stats())
}

// All yields the names and texts that the image knows.
func (m Image) All() iter.Seq2[string, string] {
	return func(yield func(name, text string) bool) {
		if m.IsZero() {
			return
		}
		rest := m.pack
		for _, name := range m.fields.names {
			var text string
			var known bool
			if text, known, rest = nextText(rest); known && !yield(name, text) {
				return
			}
		}
	}
}

func (m Image) stats() []Stat {
	var all []Stat
	for name, text := range m.All() {
		all = append(all, Stat{name, text})
	}
	return all
}

// Get returns the text of a statistic and whether the image knows it.
func (m Image) Get(name string) (text string, known bool) {
	for n, text := range m.All() {
		if n == name {
			return text, true
		}
	}
	return "", false
}

// Text returns the text of a statistic, "" where the image does not know it.
func (m Image) Text(name string) string {
	text, _ := m.Get(name)
	return text
}

// With returns m with the statistics that accept names as they are in after: changed, added or
// dropped. It splits one difference into several steps whose images follow on each other.
func (m Image) With(after Image, accept func(name string) bool) Image {
	fields := after.fields
	if fields == nil || fields != m.fields {
		var names []string
		for _, image := range []Image{after, m} {
			for name := range image.All() {
				if !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		}
		fields = NewFields(names...)
	}
	own, other := m.under(fields).pack, after.under(fields).pack
	pack := make([]byte, 0, max(len(own), len(other)))
	for _, name := range fields.names {
		var text, textAfter string
		var known, knownAfter bool
		text, known, own = nextText(own)
		if textAfter, knownAfter, other = nextText(other); accept(name) {
			text, known = textAfter, knownAfter
		}
		pack = appendText(pack, text, known)
	}
	return Image{fields, string(pack)}
}

// Differences names the statistics whose text differs between the images, in the order of after. A
// statistic that only after knows counts as different. One that only before knows does not: it is
// no longer subscribed.
func Differences(before, after Image) []string {
	var names []string
	for name, text := range after.All() {
		if was, known := before.Get(name); !known || text != was {
			names = append(names, name)
		}
	}
	return names
}

// AllDifferences names what [Differences] does, and then the statistics that only before knows.
func AllDifferences(before, after Image) []string {
	if before.Equal(after) {
		return nil
	}
	names := Differences(before, after)
	for name := range before.All() {
		if _, known := after.Get(name); !known {
			names = append(names, name)
		}
	}
	return names
}

// DifferingPairs yields the statistics that both images know and whose texts differ: the name, the
// text before and the text after.
func DifferingPairs(before, after Image) iter.Seq2[string, [2]string] {
	return func(yield func(string, [2]string) bool) {
		if before.IsZero() || after.IsZero() {
			return
		}
		own, other := before.under(after.fields).pack, after.pack
		for _, name := range after.fields.names {
			var text, textAfter string
			var known, knownAfter bool
			text, known, own = nextText(own)
			textAfter, knownAfter, other = nextText(other)
			if known && knownAfter && text != textAfter && !yield(name, [2]string{text, textAfter}) {
				return
			}
		}
	}
}

// AppendJSON writes the image as one object, its members in image order.
func (m Image) AppendJSON(b []byte) []byte {
	if m.IsZero() {
		return append(b, "null"...)
	}
	b = append(slices.Grow(b, len(m.pack)+m.fields.jsonSize), '{')
	from, rest := len(b), m.pack
	for _, key := range m.fields.keys {
		var text string
		var known bool
		if text, known, rest = nextText(rest); !known {
			continue
		}
		if len(b) == from {
			key = key[len(","):]
		}
		b = AppendText(append(b, key...), text)
	}
	return append(b, '}')
}

// MarshalJSON implements [json.Marshaler] by AppendJSON.
func (m Image) MarshalJSON() ([]byte, error) { return m.AppendJSON(nil), nil }

// UnmarshalJSON reads an object of statistic name to text, keeping its order.
func (m *Image) UnmarshalJSON(b []byte) error {
	*m = Image{}
	i := jsonscan.SkipSpace(b, 0)
	if jsonscan.Null(b, i) == len(b) {
		return nil
	}
	var end int
	if *m, end = (*Decoder)(nil).Decode(b, i); end < 0 || jsonscan.SkipSpace(b, end) != len(b) {
		*m = Image{}
		return errors.New("an image is not a JSON object of texts")
	}
	return nil
}

// AppendText writes s as a JSON string, as encoding/json does without HTML escaping.
func AppendText(b []byte, s string) []byte {
	b = append(append(b, '"'), s...)
	if jsonscan.EndsPlain(b, len(s)) || !needsEscape(s) {
		return append(b, '"')
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(strings.Clone(s)); err != nil { // a copy, so that s itself can stay on the caller's stack
		return append(b, '"') // unreachable: any text can be encoded
	}
	return append(b[:len(b)-len(s)-1], bytes.TrimSuffix(out.Bytes(), []byte("\n"))...)
}

// needsEscape reports whether a text cannot be a JSON string as it is.
func needsEscape(s string) bool {
	return !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool {
		return r < ' ' || r == '"' || r == '\\' || r == '\u2028' || r == '\u2029'
	})
}
