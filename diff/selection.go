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
	at, pack := 1, m.pack
	for _, n := range s.of[:s.last+1] {
		size := int(pack[at])
		if size >= 0x80 { // seldom: a long text
			text, _, rest := cutFirst(pack[at:])
			if at = len(pack) - len(rest); n >= 0 {
				texts[n] = text
				known |= 1 << n
			}
			continue
		}
		if at++; size == 0 {
			continue
		}
		if n >= 0 {
			texts[n] = pack[at : at+size-1]
			known |= 1 << n
		}
		at += size - 1
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
