package diff

import "bytes"

// rows reads a grid's rows. Each is compared with the row of the same key in the
// snapshot before; most often that is the one after the last, and most often
// its bytes are the same.
func (p *parser) rows(g, i int) int {
	old := p.begin(g)
	if null := word(p.b, i, "null"); null > 0 {
		return null
	}
	if !begins(p.b, i, '[') {
		return -1
	}
	if i = space(p.b, i+1); begins(p.b, i, ']') {
		return i + 1
	}
	next := 0 // the older row that is likely to be the one beside
	for {
		from := i
		if i, next = p.run(g, i, old, next); i == from {
			if i, next = p.match(g, i, old, next); i < 0 {
				return -1
			}
		}
		if begins(p.b, i, ',') && begins(p.b, i+1, '{') {
			i++
			continue
		}
		if i = space(p.b, i); begins(p.b, i, ']') {
			return i + 1
		}
		if i = after(p.b, i, ','); i < 0 {
			return -1
		}
	}
}

// begin prepares a grid for its rows, and returns those of the snapshot before.
func (p *parser) begin(g int) []row {
	p.filled[g] = true
	clear(p.fresh)
	if n := len(p.plan.grids[g].members); len(p.values) < n {
		p.values = make([]span, n)
	}
	if p.beside == nil {
		return nil
	}
	t := &p.snap.grids[g]
	old := p.beside.grids[g].rows
	t.taken, t.left = t.taken.sized(len(old)), len(old)
	return old
}

// run adds the rows from i on that repeat the older ones from next on, one after the
// other with nothing but a comma between. It returns the end of the last of them, i
// if there is none, and the older row behind. Most rows of most snapshots are such.
func (p *parser) run(g, i int, old []row, next int) (end, then int) {
	t := &p.snap.grids[g]
	for at := i; next < len(old) && !t.taken.has(next) && p.repeats(at, &old[next]); next++ {
		t.taken.set(next)
		t.left--
		if next != len(t.rows) && t.moved < 0 {
			t.moved = len(t.rows)
		}
		t.rows = append(t.rows, old[next])
		r := &t.rows[len(t.rows)-1]
		i = at + int(r.to-r.from)
		r.from, r.to, r.reading = uint32(at), uint32(i), same
		if !begins(p.b, i, ',') {
			return i, next + 1
		}
		at = i + 1
	}
	return i, next
}

// repeats tells whether the row at i has the same bytes as an older one. What
// was a whole row is one.
func (p *parser) repeats(i int, old *row) bool {
	was := p.beside.body[old.from:old.to]
	return len(p.b)-i >= len(was) && bytes.Equal(p.b[i:i+len(was)], was)
}

// take adds the row at i, which repeats the older row j, and returns its end.
func (p *parser) take(g, i, j int, old row) int {
	end := i + int(old.to-old.from)
	p.add(g, j, row{
		from: uint32(i), to: uint32(end), entity: old.entity, clock: old.clock, cut: old.cut, reading: same, bare: old.bare,
	}, 0)
	return end
}

// add adds a row that has the older row j beside it, unless another has.
func (p *parser) add(g, j int, r row, differ differing) {
	t := &p.snap.grids[g]
	if t.taken.has(j) {
		p.snap.Duplicates++
		return
	}
	t.taken.set(j)
	t.left--
	if r.reading == anew {
		t.anew++
		t.differ = append(t.differ, differ)
	}
	if j != len(t.rows) && t.moved < 0 {
		t.moved = len(t.rows)
	}
	t.rows = append(t.rows, r)
}

// match reads a row that does not repeat the older row next. It returns the
// row's end and which older row is likely to be beside the row that follows.
func (p *parser) match(g, i int, old []row, next int) (end, then int) {
	if null := word(p.b, i, "null"); null > 0 {
		p.snap.Unnamed++
		return null, next
	}
	if !begins(p.b, i, '{') {
		return -1, next
	}
	grid := &p.plan.grids[g]
	j := p.sought(g, i, old, next)
	if j >= 0 {
		next = j + 1
		if p.repeats(i, &old[j]) {
			return p.take(g, i, j, old[j]), next
		}
		end, r := grid.leap(p.b, i, p.beside.body, old[j])
		if end < 0 {
			end, r = grid.beside(p.b, i, p.beside.body, int(old[j].from))
		}
		if end >= 0 {
			r.entity = old[j].entity
			p.add(g, j, r.row, r.differ)
			return end, next
		}
	}
	values := p.values[:len(grid.members)]
	if end = grid.read(p.b, i, values); end < 0 {
		return -1, next
	}
	key := p.key(values[grid.key])
	switch {
	case len(key) == 0:
		p.snap.Unnamed++
		return end, next
	case len(key) > keyLimit:
		p.snap.Oversized++
		return end, next
	}
	r := grid.row(p.b, i, end, values)
	if j < 0 {
		j = p.known(g, key)
	}
	if j >= 0 {
		r.entity = old[j].entity
		p.add(g, j, r, 0)
		return end, j + 1
	}
	p.enter(g, string(key), r)
	return end, next
}

// row makes a row of its values.
func (g *gridPlan) row(b []byte, i, end int, values []span) row {
	r := row{from: uint32(i), to: uint32(end), clock: noClock, bare: bare(b[i:end])}
	for m, v := range values {
		if v.known() {
			r.note(g, m, v.of(b))
		}
	}
	return r
}

// enter adds a row that has none beside it, unless its key was there before.
func (p *parser) enter(g int, key string, r row) {
	if p.fresh[key] {
		p.snap.Duplicates++
		return
	}
	t := &p.snap.grids[g]
	if p.fresh == nil {
		p.fresh = map[string]bool{}
		if cap(t.rows) == 0 {
			// As many as there may be if the others are as long as this one.
			n := min((len(p.b)-int(r.from))/int(r.to-r.from)+1, 1<<14)
			p.fresh, t.rows, t.keys = make(map[string]bool, n), make([]row, 0, n), make([]rowKey, 0, n)
		}
	}
	p.fresh[key] = true
	if t.moved < 0 {
		t.moved = len(t.rows)
	}
	t.anew++
	t.keys = append(t.keys, rowKey{len(t.rows), key})
	t.rows = append(t.rows, r)
}

// sought finds the older row with the key of the row at i without reading more
// of it than up to the key; -1 if it is not to be found so.
func (p *parser) sought(g, i int, old []row, next int) int {
	if len(old) == 0 {
		return -1
	}
	grid := &p.plan.grids[g]
	from := i
	i = space(p.b, i+1)
	for n := 0; ; n++ {
		at, m := grid.column(p.b, i, n)
		if at < 0 {
			return -1
		}
		end := scalar(p.b, at)
		if end < 0 {
			return -1
		}
		if m == grid.key {
			if next < len(old) {
				was := p.beside.body[old[next].from:old[next].to]
				if len(was) > end-from && bytes.Equal(was[:end-from], p.b[from:end]) {
					return next
				}
			}
			return p.known(g, p.key(span{uint32(at), uint32(end - at)}))
		}
		if i = after(p.b, end, ','); i < 0 {
			return -1
		}
	}
}

// key is the text of a key, "" for none.
func (p *parser) key(v span) []byte {
	if !v.known() {
		return nil
	}
	return decoded(v.of(p.b), nil)
}

// known finds the older row with a key, -1 if there is none.
func (p *parser) known(g int, key []byte) int {
	if p.find == nil {
		return -1
	}
	e := p.find(p.plan.grids[g].kind, key)
	if e == nil {
		return -1
	}
	return e.rowIn(g)
}

// single reads a section that is one row.
func (p *parser) single(g, i int) int {
	old := p.begin(g)
	if !begins(p.b, i, '{') {
		return -1
	}
	if len(old) > 0 {
		if p.repeats(i, &old[0]) {
			return p.take(g, i, 0, old[0])
		}
		if end, r := p.plan.grids[g].beside(p.b, i, p.beside.body, int(old[0].from)); end >= 0 {
			r.entity = old[0].entity
			p.add(g, 0, r.row, r.differ)
			return end
		}
	}
	grid := &p.plan.grids[g]
	values := p.values[:len(grid.members)]
	end := grid.read(p.b, i, values)
	if end < 0 {
		return -1
	}
	r := grid.row(p.b, i, end, values)
	if len(old) > 0 {
		r.entity = old[0].entity
		p.add(g, 0, r, 0)
		return end
	}
	p.enter(g, p.layout.Grids[g].Entity, r)
	return end
}
