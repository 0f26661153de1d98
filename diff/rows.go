package diff

import (
	"bytes"

	"bpcc-nats/internal/jsonscan"
)

// parseRows reads the rows of a table for a grid; i is negative if the table has none. Each is
// compared with the row of the same key in the previous snapshot. Most often that is the row after
// the last one compared, and most often its bytes are the same.
func (p *parser) parseRows(g, i int) int {
	next, to := p.beginGrid(g)
	defer func() { p.snap.grids[g].to = len(p.snap.rows) }()
	if i < 0 {
		return 0
	}
	if null := jsonscan.Null(p.body, i); null > 0 {
		return null
	}
	if !jsonscan.Has(p.body, i, '[') {
		return -1
	}
	if i = jsonscan.SkipSpace(p.body, i+1); jsonscan.Has(p.body, i, ']') {
		return i + 1
	}
	for {
		from := i
		if i, next = p.addSameRun(i, next, to); i == from {
			if i, next = p.parseRow(g, i, next, to); i < 0 {
				return -1
			}
		}
		if jsonscan.Has(p.body, i, ',') && jsonscan.Has(p.body, i+1, '{') {
			i++
			continue
		}
		if i = jsonscan.SkipSpace(p.body, i); jsonscan.Has(p.body, i, ']') {
			return i + 1
		}
		if i = jsonscan.Expect(p.body, i, ','); i < 0 {
			return -1
		}
	}
}

// beginGrid prepares a grid for its rows, and returns the bounds of those of the previous snapshot.
func (p *parser) beginGrid(g int) (from, to int) {
	p.gridsDone[g] = true
	clear(p.newKeys)
	p.snap.grids[g].from, p.snap.grids[g].to = len(p.snap.rows), len(p.snap.rows)
	if n := len(p.layout.grids[g].members); len(p.values) < n {
		p.values, p.oldValues = make([]span, n), make([]span, n)
	}
	if p.prev == nil {
		return 0, 0
	}
	return p.prev.grids[g].from, p.prev.grids[g].to
}

// addSameRun adds the rows from i on that repeat the old ones from next on, with nothing but a
// comma between two of them. It returns the end of the last of them, i if there is none, and the
// next old row. Most rows of most snapshots are repeated.
func (p *parser) addSameRun(i, next, to int) (end, nextOld int) {
	for at := i; next < to && p.snap.taken[next] == 0 && p.sameBytes(at, next); next++ {
		if i = p.addSame(at, next); !jsonscan.Has(p.body, i, ',') {
			return i, next + 1
		}
		at = i + 1
	}
	return i, next
}

// sameBytes reports whether the row at i has the same bytes as an old one. The same bytes need no
// check of their syntax.
func (p *parser) sameBytes(i, old int) bool {
	r := &p.prev.rows[old]
	was := p.prev.body[r.from:r.to]
	return len(p.body)-i >= len(was) && bytes.Equal(p.body[i:i+len(was)], was)
}

// addSame adds the row at i, which repeats an old row that no other row has taken, and returns its
// end.
func (p *parser) addSame(i, old int) int {
	s := p.snap
	n := len(s.rows)
	s.rows = append(s.rows, p.prev.rows[old])
	r := &s.rows[n]
	end := i + int(r.to-r.from)
	r.from, r.to, r.old, r.status = uint32(i), uint32(end), int32(old), rowSame
	s.taken[old], s.unmatched, s.moved = int32(n)+1, s.unmatched-1, s.moved || old != n
	return end
}

// addRow adds a row, unless an earlier one of its grid has the same key. key is that of a row
// without a previous row.
func (p *parser) addRow(g int, r row, key []byte) {
	s := p.snap
	n := int32(len(s.rows))
	first, duplicate := int32(0), false
	if r.old >= 0 {
		first = s.taken[r.old] - 1
		if duplicate = first >= 0; !duplicate {
			s.taken[r.old], s.unmatched = n+1, s.unmatched-1
		}
	} else if first, duplicate = p.newKeys[string(key)]; !duplicate {
		if p.newKeys == nil {
			// As many as there may be if the other rows are as long as this one.
			p.newKeys = make(map[string]int32, min((len(p.body)-int(r.from))/int(r.to-r.from)+1, 1<<14))
		}
		p.newKeys[string(key)] = n
	}
	if duplicate {
		s.addDuplicate(g, first, r)
		return
	}
	s.moved = s.moved || r.old != n
	s.rows = append(s.rows, r)
}

// parseRow reads a row that does not repeat the old row next. It returns the row's end and the old
// row that the following row is likely to have the same key as.
func (p *parser) parseRow(g, i, next, to int) (end, nextOld int) {
	if null := jsonscan.Null(p.body, i); null > 0 {
		return p.skipRow(g, &p.snap.Unnamed, null), next
	}
	if !jsonscan.Has(p.body, i, '{') {
		return -1, next
	}
	old := p.findPrevious(g, i, next, to)
	if old >= 0 {
		next = old + 1
		if p.sameBytes(i, old) && p.snap.taken[old] == 0 {
			return p.addSame(i, old), next
		}
		r, end := p.layout.grids[g].diffRow(p.body, i, p.prev.body, &p.prev.rows[old])
		if end >= 0 {
			r.old = int32(old)
			p.addRow(g, r, nil)
			return end, next
		}
	}
	grid := &p.layout.grids[g]
	values := p.values[:len(grid.members)]
	if end = grid.readRow(p.body, i, values); end < 0 {
		return -1, next
	}
	key := []byte(p.layout.Grids[g].Entity)
	if grid.key >= 0 {
		if key = nil; values[grid.key].present() {
			key = jsonscan.Unquote(values[grid.key].bytes(p.body))
		}
	}
	if len(key) == 0 {
		return p.skipRow(g, &p.snap.Unnamed, end), next
	}
	if len(key) > keyLimit {
		return p.skipRow(g, &p.snap.Oversized, end), next
	}
	r := grid.newRow(p.body, i, end, values)
	if old < 0 {
		old = p.lookupPrevious(g, key)
	}
	if old >= 0 {
		p.compareOld(grid, &r, values, old)
		next = old + 1
	}
	p.addRow(g, r, key)
	return end, next
}

// skipRow counts a row that has no entity, and returns its end.
func (p *parser) skipRow(g int, count *int, end int) int {
	*count++
	p.snap.grids[g].skipped++
	return end
}

// compareOld compares a row with its previous one, value by value.
func (p *parser) compareOld(grid *compiledGrid, r *row, values []span, old int) {
	was, oldValues := &p.prev.rows[old], p.oldValues[:len(values)]
	grid.readRow(p.prev.body, int(was.from), oldValues)
	r.entity, r.next, r.old = was.entity, was.next, int32(old)
	r.status = grid.compareValues(p.body, values, p.prev.body, oldValues)
}

// findPrevious finds the old row with the key of the row at i. It reads the row only up to the key.
// It returns -1 if the row is not found this way.
func (p *parser) findPrevious(g, i, next, to int) int {
	if p.prev == nil || p.prev.grids[g].from == to {
		return -1
	}
	grid := &p.layout.grids[g]
	if grid.key < 0 {
		return next
	}
	key, end := grid.findValue(p.body, i, grid.key)
	if end < 0 {
		return -1
	}
	if next < to {
		was := p.prev.body[p.prev.rows[next].from:p.prev.rows[next].to]
		if len(was) > end-i && bytes.Equal(was[:end-i], p.body[i:end]) {
			return next
		}
	}
	return p.lookupPrevious(g, jsonscan.Unquote(key))
}

// lookupPrevious finds the old row with a key, -1 if there is none.
func (p *parser) lookupPrevious(g int, key []byte) int {
	if p.prev == nil || len(key) == 0 {
		return -1
	}
	if e := p.state.entityOf(g, key); e != nil {
		return p.prev.rowIn(g, e)
	}
	return -1
}
