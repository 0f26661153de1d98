package diff

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
)

// Image is all statistics of one entity: their names and the exact text the source sent for each,
// in the order of the [Layout]. Text "" is "no value", never 0. A statistic that is not in the
// image is not known. Images are immutable. The zero Image is that of no entity.
type Image struct {
	// fields are shared by all images of a kind. The pack holds, for each of them, a text or a mark
	// that there is none.
	fields *fieldSet
	pack   string
}

// Stat is one statistic of an [Image].
type Stat struct{ Name, Text string }

// fieldSet is the statistics that images of a kind may know.
type fieldSet struct {
	names    []string
	keys     []jsonKey
	jsonSize int // size of a JSON object of them all, without the texts
}

// jsonKey is what precedes the text of a member of a JSON object, including the end of the member
// before: ","name":"
type jsonKey struct {
	padded [32]byte // copied with one move, if it fits
	size   int      // 0 = it does not fit
	text   string
}

// firstKey is what precedes the text of the first member.
func (b *jsonKey) firstKey() string { return b.text[len(`",`):] }

func newFieldSet(all []string) *fieldSet {
	n := &fieldSet{names: all, jsonSize: len(`"`), keys: make([]jsonKey, len(all))}
	for i, name := range all {
		b := &n.keys[i]
		b.text = `",` + string(AppendText(nil, name)) + `:"`
		if len(b.text) <= len(b.padded) {
			b.size = copy(b.padded[:], b.text)
		}
		n.jsonSize += len(b.text)
	}
	return n
}

// NewImage makes an image that knows these statistics.
func NewImage(stats ...Stat) Image {
	all := make([]string, len(stats))
	pack := []byte{anyPack}
	for i, s := range stats {
		all[i] = s.Name
		pack = appendPackText(pack, s.Text)
	}
	return Image{newFieldSet(all), string(pack)}
}

// IsZero reports whether this is the image of no entity. An image of an entity without statistics
// is not zero.
func (m Image) IsZero() bool { return m.fields == nil }

// Equal reports whether two images know the same texts in the same order.
func (m Image) Equal(other Image) bool {
	if m.fields == other.fields {
		return packBody(m.pack) == packBody(other.pack)
	}
	return m.IsZero() == other.IsZero() && slices.Equal(m.stats(), other.stats())
}

// All yields the names and texts that the image knows.
func (m Image) All() iter.Seq2[string, string] {
	return func(yield func(name, text string) bool) {
		if m.IsZero() {
			return
		}
		rest := packBody(m.pack)
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
	if m.fields != nil && m.fields == after.fields {
		return m.merge(after, accept)
	}
	var out []Stat
	for name, text := range after.All() {
		if accept(name) {
			out = append(out, Stat{name, text})
		} else if text, known := m.Get(name); known {
			out = append(out, Stat{name, text})
		}
	}
	for name, text := range m.All() {
		if _, inAfter := after.Get(name); !inAfter && !accept(name) {
			out = append(out, Stat{name, text})
		}
	}
	return NewImage(out...)
}

// merge is With for images of one kind.
func (m Image) merge(after Image, accept func(name string) bool) Image {
	var buf [512]byte
	pack := append(buf[:0], anyPack)
	if m.pack[0] == after.pack[0] {
		pack[0] = m.pack[0]
	}
	ownTexts, newTexts := packBody(m.pack), packBody(after.pack)
	for _, name := range m.fields.names {
		var was, text string
		var hadBefore, known bool
		was, hadBefore, ownTexts = nextText(ownTexts)
		text, known, newTexts = nextText(newTexts)
		if !accept(name) {
			text, known = was, hadBefore
		}
		pack = appendOptional(pack, text, known)
	}
	return Image{m.fields, string(pack)}
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

// DifferingPairs yields the statistics that both images know and whose texts differ: the name, the
// text before and the text after.
func DifferingPairs(before, after Image) iter.Seq2[string, [2]string] {
	return func(yield func(string, [2]string) bool) {
		if before.IsZero() || before.fields != after.fields {
			for name, text := range after.All() {
				if was, known := before.Get(name); known && was != text && !yield(name, [2]string{was, text}) {
					return
				}
			}
			return
		}
		ownTexts, newTexts := packBody(before.pack), packBody(after.pack)
		for _, name := range before.fields.names {
			was, is := rawText(ownTexts), rawText(newTexts)
			ownTexts, newTexts = ownTexts[len(was):], newTexts[len(is):]
			if was == is {
				continue
			}
			own, hadBefore, _ := nextText(was)
			text, known, _ := nextText(is)
			if hadBefore && known && !yield(name, [2]string{own, text}) {
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
	b = append(b, '{')
	if m.pack[0] == asciiPack {
		return append(m.fields.appendFields(b, m.pack), '}')
	}
	from := len(b)
	rest := packBody(m.pack)
	for i := range m.fields.keys {
		var text string
		var known bool
		if text, known, rest = nextText(rest); !known {
			continue
		}
		if len(b) > from {
			b = append(b, ',')
		}
		begin := m.fields.keys[i].firstKey()
		b = AppendText(append(b, begin[:len(begin)-1]...), text)
	}
	return append(b, '}')
}

// MarshalJSON implements [json.Marshaler] by AppendJSON.
func (m Image) MarshalJSON() ([]byte, error) { return m.AppendJSON(nil), nil }

// UnmarshalJSON reads an object of statistic name to text, keeping its order.
func (m *Image) UnmarshalJSON(b []byte) error {
	*m = Image{}
	if bytes.Equal(b, []byte("null")) {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return errors.New("an image is not a JSON object")
	}
	var out []Stat
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
	*m = NewImage(out...)
	return nil
}
