package diff

import "bytes"

// parser reads one body. It knows the shape that sources send and gives up at
// any other.
type parser struct {
	layout *Layout
	plan   *plan
	snap   *Snapshot
	beside *Snapshot
	find   finder
	b      []byte
	done   []bool // sections that were read
	filled []bool // grids that were read
	values []span
	fresh  map[string]bool // keys of a grid's rows that have nothing beside them
}

// parse tells whether it could read the body.
func (p *parser) parse(body []byte) bool {
	p.b = body
	p.snap.reset(p.layout, body, p.beside)
	p.done, p.filled = make([]bool, len(p.plan.sections)), make([]bool, len(p.plan.grids))
	apps := make([]bool, len(p.plan.apps))
	i := p.object(space(body, 0), func(i int, name []byte) int {
		for n, app := range p.plan.apps {
			if string(name) != app {
				continue
			}
			if apps[n] {
				return -1
			}
			apps[n] = true
			return p.app(n, i)
		}
		return -1
	})
	if i < 0 || space(body, i) != len(body) {
		return false
	}
	for _, seen := range apps {
		if !seen {
			return false
		}
	}
	for g := range p.snap.grids {
		t := &p.snap.grids[g]
		if !p.filled[g] {
			p.begin(g)
		}
		for r := range t.rows {
			p.snap.Cut += int(t.rows[r].cut)
		}
	}
	p.snap.Cut += p.snap.listed
	return true
}

// object reads an object and hands each member's name and the place of its
// value to member, which returns the value's end.
func (p *parser) object(i int, member func(i int, name []byte) int) int {
	if !begins(p.b, i, '{') {
		return -1
	}
	return list(p.b, i, '}', func(i int) int {
		end := text(p.b, i)
		if end < 0 {
			return -1
		}
		at := after(p.b, end, ':')
		if at < 0 {
			return -1
		}
		return member(at, decoded(p.b[i:end], nil))
	})
}

// app reads the sections of one app id.
func (p *parser) app(app, i int) int {
	return p.object(i, func(i int, name []byte) int {
		for n := range p.plan.sections {
			at := &p.plan.sections[n]
			if at.app != app || string(name) != at.name {
				continue
			}
			if p.done[n] {
				return -1
			}
			p.done[n] = true
			return p.section(at, i)
		}
		return value(p.b, i, 2)
	})
}

func (p *parser) section(at *sectionPlan, i int) int {
	end := -1
	if null := word(p.b, i, "null"); null > 0 {
		return null
	}
	for _, g := range at.rows {
		if end = p.single(g, i); end < 0 {
			return -1
		}
	}
	if len(at.tables) > 0 {
		if !begins(p.b, i, '[') {
			return -1
		}
		end = list(p.b, i, ']', func(i int) int { return p.table(at, i) })
		if end < 0 {
			return -1
		}
	}
	for _, n := range at.lists {
		if end = p.list(n, i); end < 0 {
			return -1
		}
	}
	return end
}

// list reads the elements of a list.
func (p *parser) list(n, i int) int {
	end := value(p.b, i, 2)
	if end < 0 {
		return -1
	}
	raw := p.b[i:end]
	elements, err := listElements(raw)
	if err != nil {
		return -1
	}
	for _, e := range elements {
		texts := make(map[string]string, len(e))
		for name, v := range e {
			if len(v) > textLimit {
				p.snap.listed++
			}
			texts[name] = string(limited([]byte(v)))
		}
		p.snap.Lists[n] = append(p.snap.Lists[n], texts)
	}
	return end
}

// table reads one table of a section: whose it is, and its rows.
func (p *parser) table(at *sectionPlan, i int) int {
	var id []byte
	named, read, rows := false, false, -1
	end := p.object(i, func(i int, name []byte) int {
		switch {
		case string(name) == "id":
			end := scalar(p.b, i)
			if named || end < 0 {
				return -1
			}
			id, named = decoded(p.b[i:end], nil), true
			return end
		case string(name) == "values":
			if rows >= 0 {
				return -1
			}
			rows, read = i, named
			if !named {
				return value(p.b, i, 4) // read when it is known whose they are
			}
			return p.tableRows(at, id, i)
		case bytes.EqualFold(name, []byte("id")), bytes.EqualFold(name, []byte("values")):
			return -1
		}
		return value(p.b, i, 4)
	})
	if end < 0 || read || p.tableRows(at, id, rows) >= 0 {
		return end
	}
	return -1
}

// tableRows reads the rows of a table for all grids that it is; i is negative if
// it has none.
func (p *parser) tableRows(at *sectionPlan, id []byte, i int) int {
	end := -1
	for _, g := range at.tables {
		if string(id) != p.layout.Grids[g].ID {
			continue
		}
		if p.filled[g] {
			return -1
		}
		p.filled[g] = true
		if i < 0 {
			p.begin(g)
			end = 0
		} else if end = p.rows(g, i); end < 0 {
			return -1
		}
	}
	if end >= 0 || i < 0 {
		return max(end, 0)
	}
	// Nobody asked for it, but it must be a table.
	if null := word(p.b, i, "null"); null > 0 {
		return null
	}
	if !begins(p.b, i, '[') {
		return -1
	}
	var nobody gridPlan
	return list(p.b, i, ']', func(i int) int {
		if null := word(p.b, i, "null"); null > 0 {
			return null
		}
		if !begins(p.b, i, '{') {
			return -1
		}
		return nobody.read(p.b, i, nil)
	})
}
