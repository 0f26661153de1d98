package diff

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
)

// Image is the whole picture of one entity: statistic names and the exact text
// the source sent for each, in the order of the [Layout]. Text "" is "no
// value", never 0. A statistic that is not in the image is not known. Images
// are never changed once made. The zero Image is that of no entity.
type Image struct {
	// names are shared by all images of a kind; the pack holds a text, or that
	// there is none, for each.
	names *names
	pack  string
}

// Stat is one statistic of an [Image].
type Stat struct{ Name, Text string }

// names are those of the statistics that images of a kind may know.
type names struct {
	all    []string
	begins []beginning
	length int // of an object of them all, less the texts
}

// beginning is how the text of a member of a JSON object begins, behind that of
// another member: ","name":"
type beginning struct {
	stroke [32]byte // to be copied at one stroke, if it fits
	size   int      // 0 = it does not
	text   string
}

// first is how the text of the first member begins.
func (b *beginning) first() string { return b.text[len(`",`):] }

func newNames(all []string) *names {
	n := &names{all: all, length: len(`"`), begins: make([]beginning, len(all))}
	for i, name := range all {
		b := &n.begins[i]
		b.text = `",` + string(AppendText(nil, name)) + `:"`
		if len(b.text) <= len(b.stroke) {
			b.size = copy(b.stroke[:], b.text)
		}
		n.length += len(b.text)
	}
	return n
}

// NewImage makes an image that knows these statistics.
func NewImage(stats ...Stat) Image {
	all := make([]string, len(stats))
	pack := []byte{packAny}
	for i, s := range stats {
		all[i] = s.Name
		pack = appendKnown(pack, s.Text)
	}
	return Image{newNames(all), string(pack)}
}

// IsZero tells whether this is the image of no entity; one that knows nothing
// is not.
func (m Image) IsZero() bool { return m.names == nil }

// Plain tells whether JSON can hold all texts as they are, for sure.
func (m Image) Plain() bool { return !m.IsZero() && m.pack[0] == packPlain }

// Equal tells whether two images know the same texts in the same order.
func (m Image) Equal(other Image) bool {
	if m.names == other.names {
		return texts(m.pack) == texts(other.pack)
	}
	return m.IsZero() == other.IsZero() && slices.Equal(m.stats(), other.stats())
}

// All gives what the image knows: names and texts.
func (m Image) All() iter.Seq2[string, string] {
	return func(yield func(name, text string) bool) {
		if m.IsZero() {
			return
		}
		rest := texts(m.pack)
		for _, name := range m.names.all {
			var text string
			var known bool
			if text, known, rest = cutFirst(rest); known && !yield(name, text) {
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

// With returns m with the statistics that accept names taken from after: those
// changed, added or dropped there. It is how one difference is told in several
// steps whose images join without a seam.
func (m Image) With(after Image, accept func(name string) bool) Image {
	if m.names != nil && m.names == after.names {
		return m.with(after, accept)
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
		if _, kept := after.Get(name); !kept && !accept(name) {
			out = append(out, Stat{name, text})
		}
	}
	return NewImage(out...)
}

// with is With for images of one kind.
func (m Image) with(after Image, accept func(name string) bool) Image {
	var buf [512]byte
	pack := append(buf[:0], packAny)
	if m.pack[0] == after.pack[0] {
		pack[0] = m.pack[0]
	}
	mine, theirs := texts(m.pack), texts(after.pack)
	for _, name := range m.names.all {
		var was, text string
		var told, known bool
		was, told, mine = cutFirst(mine)
		text, known, theirs = cutFirst(theirs)
		if !accept(name) {
			text, known = was, told
		}
		pack = appendMaybe(pack, text, known)
	}
	return Image{m.names, string(pack)}
}

// Differences names the statistics whose text differs between the images, in
// the order of after. One that only after knows counts as different; one that
// only before knows does not: it is no longer asked for.
func Differences(before, after Image) []string {
	var differ []string
	for name, text := range after.All() {
		if was, known := before.Get(name); !known || text != was {
			differ = append(differ, name)
		}
	}
	return differ
}

// Pairs gives the statistics that both images know: the name, the text before
// and the text after.
func Pairs(before, after Image) iter.Seq2[string, [2]string] {
	return func(yield func(string, [2]string) bool) {
		if before.IsZero() || before.names != after.names {
			for name, text := range after.All() {
				if was, known := before.Get(name); known && !yield(name, [2]string{was, text}) {
					return
				}
			}
			return
		}
		mine, theirs := texts(before.pack), texts(after.pack)
		for _, name := range before.names.all {
			var texts [2]string
			var told, known bool
			texts[0], told, mine = cutFirst(mine)
			texts[1], known, theirs = cutFirst(theirs)
			if told && known && !yield(name, texts) {
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
	if m.pack[0] == packPlain {
		return append(m.names.members(b, m.pack), '}')
	}
	from := len(b)
	rest := texts(m.pack)
	for i := range m.names.begins {
		var text string
		var known bool
		if text, known, rest = cutFirst(rest); !known {
			continue
		}
		if len(b) > from {
			b = append(b, ',')
		}
		begin := m.names.begins[i].first()
		b = AppendText(append(b, begin[:len(begin)-1]...), text)
	}
	return append(b, '}')
}

// MarshalJSON is AppendJSON for encoding/json.
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
