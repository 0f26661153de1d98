package image

import "slices"

// Selection reads the same few statistics from many images. It is not safe for concurrent use.
type Selection struct {
	stats  []string
	fields *Fields
	wanted []int // by index of fields.names, up to the last one that is wanted: index in stats, -1 if it is not
}

// NewSelection returns a selection of these statistics, 64 at most.
func NewSelection(stats ...string) Selection { return Selection{stats: stats} }

// Read puts the text of each statistic into texts, in the order of the selection.
// The nth bit of known reports whether the image knows the nth of them.
func (s *Selection) Read(m Image, texts []string) (known uint64) {
	clear(texts)
	if m.IsZero() {
		return 0
	}
	if s.fields != m.fields {
		s.fields, s.wanted = m.fields, s.wanted[:0]
		for _, name := range m.fields.names {
			s.wanted = append(s.wanted, slices.Index(s.stats, name))
		}
		for len(s.wanted) > 0 && s.wanted[len(s.wanted)-1] < 0 {
			s.wanted = s.wanted[:len(s.wanted)-1]
		}
	}
	rest := m.pack
	for _, n := range s.wanted {
		var text string
		var has bool
		if text, has, rest = nextText(rest); has && n >= 0 {
			texts[n] = text
			known |= 1 << n
		}
	}
	return known
}
