package diff

// Selection reads the same few statistics from many images. It is not safe for concurrent use.
type Selection struct {
	stats      []string
	fields     *fieldSet
	wanted     []int8 // by index of names: index in stats, -1 if it is not wanted
	lastWanted int    // the last index of names that is wanted
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
		s.bind(m.fields)
	}
	at, pack := 1, m.pack
	for _, n := range s.wanted[:s.lastWanted+1] {
		size := int(pack[at])
		if size >= 0x80 { // rare: a long text
			text, _, rest := nextText(pack[at:])
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

// bind finds the wanted statistics among the names that images of a kind share.
func (s *Selection) bind(n *fieldSet) {
	s.fields, s.wanted, s.lastWanted = n, s.wanted[:0], -1
	for i, name := range n.names {
		at := int8(-1)
		for w, stat := range s.stats {
			if name == stat {
				at, s.lastWanted = int8(w), i
			}
		}
		s.wanted = append(s.wanted, at)
	}
}
