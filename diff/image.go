package diff

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Image is the whole picture of one entity: statistic names and the exact text
// the source sent for each, in the order of the [Layout]. Text "" is "no
// value", never 0. A statistic that is not in the image is not known. Images
// are never changed once made.
type Image []Stat

// Stat is one statistic of an [Image].
type Stat struct{ Name, Text string }

// Get returns the text of a statistic and whether the image knows it.
func (m Image) Get(name string) (text string, known bool) {
	for _, s := range m {
		if s.Name == name {
			return s.Text, true
		}
	}
	return "", false
}

// Text returns the text of a statistic, "" where the image does not know it.
func (m Image) Text(name string) string {
	text, _ := m.Get(name)
	return text
}

// With returns m with the statistics that accept names taken from after: those
// changed, added or dropped there. It is how one difference is told in several
// steps whose images join without a seam.
func (m Image) With(after Image, accept func(name string) bool) Image {
	out := make(Image, 0, max(len(m), len(after)))
	for _, s := range after {
		if accept(s.Name) {
			out = append(out, s)
		} else if text, known := m.Get(s.Name); known {
			out = append(out, Stat{s.Name, text})
		}
	}
	for _, s := range m {
		if _, kept := after.Get(s.Name); !kept && !accept(s.Name) {
			out = append(out, s)
		}
	}
	return out
}

// Differences names the statistics whose text differs between the images, in
// the order of after. One that only after knows counts as different; one that
// only before knows does not: it is no longer asked for.
func Differences(before, after Image) []string {
	var names []string
	for i, s := range after {
		// Images of one layout line up; the search is for those that don't.
		if i < len(before) && before[i].Name == s.Name {
			if before[i].Text != s.Text {
				names = append(names, s.Name)
			}
			continue
		}
		if text, known := before.Get(s.Name); !known || text != s.Text {
			names = append(names, s.Name)
		}
	}
	return names
}

// MarshalJSON writes the image as one object, its members in image order.
func (m Image) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, 32*len(m)+2)
	b = append(b, '{')
	for i, s := range m {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, s.Name)
		b = append(b, ':')
		b = appendString(b, s.Text)
	}
	return append(b, '}'), nil
}

// UnmarshalJSON reads an object of statistic name to text, keeping its order.
func (m *Image) UnmarshalJSON(b []byte) error {
	*m = nil
	if bytes.Equal(b, []byte("null")) {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return errors.New("an image is not a JSON object")
	}
	out := Image{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return fmt.Errorf("read an image: %w", err)
		}
		value, err := dec.Token()
		if err != nil {
			return fmt.Errorf("read an image: %w", err)
		}
		text, ok := value.(string)
		if !ok {
			return fmt.Errorf("read an image: statistic %q is not text", name)
		}
		out = append(out, Stat{name.(string), text})
	}
	*m = out
	return nil
}

// appendString writes s as a JSON string, escaping only what JSON demands.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				b = append(b, "\ufffd"...)
			} else {
				b = append(b, s[i:i+size]...)
			}
			i += size
			continue
		}
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c == '\t':
			b = append(b, '\\', 't')
		case c < 0x20:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
		i++
	}
	return append(b, '"')
}
