package diff

// Selection reads the same few statistics out of many images. It is not safe for
// concurrent use.
type Selection struct {
	stats []string
	names *names
	of    []int8 // by statistic of names: which of the wanted ones it is, -1 for none
	last  int    // the last of names that is wanted
}

// NewSelection makes one that reads these statistics, 64 at most.
func NewSelection(stats ...string) Selection { return Selection{stats: stats} }

// Read puts the text of each statistic into texts, in the order of the selection.
// The nth bit of known tells whether the image knows the nth of them.
func (s *Selection) Read(m Image, texts []string) (known uint64) {
	clear(texts)
	if m.IsZero() {
		return 0
	}
	if s.names != m.names {
		s.learn(m.names)
	}
	rest := m.pack[1:]
	for i := 0; i <= s.last; i++ {
		text, told, after := cutFirst(rest)
		if n := s.of[i]; n >= 0 && told {
			texts[n] = text
			known |= 1 << n
		}
		rest = after
	}
	return known
}

// learn finds the wanted ones among the names that images of a kind share.
func (s *Selection) learn(n *names) {
	s.names, s.of, s.last = n, s.of[:0], -1
	for i, name := range n.all {
		at := int8(-1)
		for w, stat := range s.stats {
			if name == stat {
				at, s.last = int8(w), i
			}
		}
		s.of = append(s.of, at)
	}
}
