package diff

import "bytes"

// alignRows reads a grid's rows. Each is compared with the row of the same key in the previous
// snapshot. Most often that is the row after the last one compared, and most often its bytes are
// the same.
func (p *parser) alignRows(g, i int) int {
	old := p.beginGrid(g)
	if null := scanLiteral(p.body, i, "null"); null > 0 {
		return null
	}
	if !hasByte(p.body, i, '[') {
		return -1
	}
	if i = skipSpace(p.body, i+1); hasByte(p.body, i, ']') {
		return i + 1
	}
	next := 0 // the previous snapshot's row that is likely to have the same key
	for {
		from := i
		if i, next = p.addSameRun(g, i, old, next); i == from {
			if i, next = p.alignRow(g, i, old, next); i < 0 {
				return -1
			}
		}
		if hasByte(p.body, i, ',') && hasByte(p.body, i+1, '{') {
			i++
			continue
		}
		if i = skipSpace(p.body, i); hasByte(p.body, i, ']') {
			return i + 1
		}
		if i = expect(p.body, i, ','); i < 0 {
			return -1
		}
	}
}

// beginGrid prepares a grid for its rows, and returns the rows of the previous snapshot.
func (p *parser) beginGrid(g int) []row {
	p.gridsDone[g] = true
	clear(p.newKeys)
	if n := len(p.compiled.grids[g].members); len(p.values) < n {
		p.values = make([]span, n)
	}
	if p.prev == nil {
		return nil
	}
	t := &p.snap.grids[g]
	old := p.prev.grids[g].rows
	t.matched, t.unmatched = t.matched.resized(len(old)), len(old)
	return old
}

// addSameRun adds the rows from i on that repeat the old ones from next on, with nothing but a
// comma between two of them. It returns the end of the last of them, i if there is none, and the
// next old row. Most rows of most snapshots are repeated.
func (p *parser) addSameRun(g, i int, old []row, next int) (end, nextPrev int) {
	t := &p.snap.grids[g]
	for at := i; next < len(old) && !t.matched.has(next) && p.sameBytes(at, &old[next]); next++ {
		t.matched.set(next)
		t.unmatched--
		if next != len(t.rows) && t.firstMoved < 0 {
			t.firstMoved = len(t.rows)
		}
		t.rows = append(t.rows, old[next])
		r := &t.rows[len(t.rows)-1]
		i = at + int(r.to-r.from)
		r.from, r.to, r.status = uint32(at), uint32(i), rowSame
		if !hasByte(p.body, i, ',') {
			return i, next + 1
		}
		at = i + 1
	}
	return i, next
}

// sameBytes reports whether the row at i has the same bytes as an old one. The same bytes need no
// check of their syntax.
func (p *parser) sameBytes(i int, old *row) bool {
	was := p.prev.body[old.from:old.to]
	return len(p.body)-i >= len(was) && bytes.Equal(p.body[i:i+len(was)], was)
}

// addSame adds the row at i, which repeats the old row j, and returns its end.
func (p *parser) addSame(g, i, j int, old row) int {
	end := i + int(old.to-old.from)
	p.addRow(g, j, row{
		from: uint32(i), to: uint32(end), entity: old.entity, clock: old.clock, cut: old.cut, status: rowSame, noEscapes: old.noEscapes,
	}, 0)
	return end
}

// addDuplicate adds a row whose key an earlier row of its grid has.
func (p *parser) addDuplicate(g int, d duplicate) {
	t := &p.snap.grids[g]
	t.duplicates = append(t.duplicates, d)
	t.skipped++
	p.snap.Duplicates++
}

// addRow adds a row whose previous row is j, unless j is matched already.
func (p *parser) addRow(g, j int, r row, cols columnBits) {
	t := &p.snap.grids[g]
	if t.matched.has(j) {
		p.addDuplicate(g, duplicate{row: r, changedCols: cols})
		return
	}
	t.matched.set(j)
	t.unmatched--
	if r.status == rowChanged {
		t.changedCount++
		t.changedCols = append(t.changedCols, cols)
	}
	if j != len(t.rows) && t.firstMoved < 0 {
		t.firstMoved = len(t.rows)
	}
	t.rows = append(t.rows, r)
}

// alignRow reads a row that does not repeat the old row next. It returns the row's end and the old
// row that the following row is likely to have the same key as.
func (p *parser) alignRow(g, i int, old []row, next int) (end, nextPrev int) {
	if null := scanLiteral(p.body, i, "null"); null > 0 {
		p.snap.Unnamed++
		p.snap.grids[g].skipped++
		return null, next
	}
	if !hasByte(p.body, i, '{') {
		return -1, next
	}
	grid := &p.compiled.grids[g]
	j := p.findPrevious(g, i, old, next)
	if j >= 0 {
		next = j + 1
		if p.sameBytes(i, &old[j]) {
			return p.addSame(g, i, j, old[j]), next
		}
		end, r := grid.diffRow(p.body, i, p.prev.body, old[j])
		if end < 0 {
			end, r = grid.compareRow(p.body, i, p.prev.body, int(old[j].from))
		}
		if end >= 0 {
			r.entity = old[j].entity
			p.addRow(g, j, r.row, r.changedCols)
			return end, next
		}
	}
	values := p.values[:len(grid.members)]
	if end = grid.readRow(p.body, i, values); end < 0 {
		return -1, next
	}
	key := p.keyText(values[grid.key])
	switch {
	case len(key) == 0:
		p.snap.Unnamed++
		p.snap.grids[g].skipped++
		return end, next
	case len(key) > keyLimit:
		p.snap.Oversized++
		p.snap.grids[g].skipped++
		return end, next
	}
	r := grid.newRow(p.body, i, end, values)
	if j < 0 {
		j = p.lookupPrevious(g, key)
	}
	if j >= 0 {
		r.entity = old[j].entity
		p.addRow(g, j, r, 0)
		return end, j + 1
	}
	p.addNew(g, string(key), r)
	return end, next
}

// newRow makes a row of its values.
func (g *compiledGrid) newRow(b []byte, i, end int, values []span) row {
	r := row{from: uint32(i), to: uint32(end), clock: noClock, noEscapes: noEscapes(b[i:end])}
	for m, v := range values {
		if v.present() {
			r.observeValue(g, m, v.bytes(b))
		}
	}
	return r
}

// addNew adds a row that has no previous row, unless its key came before.
func (p *parser) addNew(g int, key string, r row) {
	if p.newKeys[key] {
		p.addDuplicate(g, duplicate{row: r, key: key})
		return
	}
	t := &p.snap.grids[g]
	if p.newKeys == nil {
		p.newKeys = map[string]bool{}
		if cap(t.rows) == 0 {
			// As many as there may be if the other rows are as long as this one.
			n := min((len(p.body)-int(r.from))/int(r.to-r.from)+1, 1<<14)
			p.newKeys, t.rows, t.keys = make(map[string]bool, n), make([]row, 0, n), make([]rowKey, 0, n)
		}
	}
	p.newKeys[key] = true
	if t.firstMoved < 0 {
		t.firstMoved = len(t.rows)
	}
	t.changedCount++
	t.keys = append(t.keys, rowKey{len(t.rows), key})
	t.rows = append(t.rows, r)
}

// findPrevious finds the old row with the key of the row at i. It reads the row only up to the key.
// It returns -1 if the row is not found this way.
func (p *parser) findPrevious(g, i int, old []row, next int) int {
	if len(old) == 0 {
		return -1
	}
	grid := &p.compiled.grids[g]
	from := i
	i = skipSpace(p.body, i+1)
	for n := 0; ; n++ {
		at, m := grid.readColumnName(p.body, i, n)
		if at < 0 {
			return -1
		}
		end := scanScalar(p.body, at)
		if end < 0 {
			return -1
		}
		if m == grid.key {
			if next < len(old) {
				was := p.prev.body[old[next].from:old[next].to]
				if len(was) > end-from && bytes.Equal(was[:end-from], p.body[from:end]) {
					return next
				}
			}
			return p.lookupPrevious(g, p.keyText(span{uint32(at), uint32(end - at)}))
		}
		if i = expect(p.body, end, ','); i < 0 {
			return -1
		}
	}
}

// keyText returns the text of a key, "" for none.
func (p *parser) keyText(v span) []byte {
	if !v.present() {
		return nil
	}
	return unquote(v.bytes(p.body))
}

// lookupPrevious finds the old row with a key, -1 if there is none.
func (p *parser) lookupPrevious(g int, key []byte) int {
	if p.find == nil {
		return -1
	}
	e := p.find(p.compiled.grids[g].kind, key)
	if e == nil {
		return -1
	}
	return e.rowIn(g)
}

// singleRow reads a section that is one row.
func (p *parser) singleRow(g, i int) int {
	old := p.beginGrid(g)
	if !hasByte(p.body, i, '{') {
		return -1
	}
	if len(old) > 0 {
		if p.sameBytes(i, &old[0]) {
			return p.addSame(g, i, 0, old[0])
		}
		if end, r := p.compiled.grids[g].compareRow(p.body, i, p.prev.body, int(old[0].from)); end >= 0 {
			r.entity = old[0].entity
			p.addRow(g, 0, r.row, r.changedCols)
			return end
		}
	}
	grid := &p.compiled.grids[g]
	values := p.values[:len(grid.members)]
	end := grid.readRow(p.body, i, values)
	if end < 0 {
		return -1
	}
	r := grid.newRow(p.body, i, end, values)
	if len(old) > 0 {
		r.entity = old[0].entity
		p.addRow(g, 0, r, 0)
		return end
	}
	p.addNew(g, p.layout.Grids[g].Entity, r)
	return end
}
