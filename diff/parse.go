package diff

import "bytes"

// parser reads one body. It knows the shape that sources send and gives up at any other.
type parser struct {
	layout       *Layout
	compiled     *compiledLayout
	snap         *Snapshot
	prev         *Snapshot
	find         finder
	body         []byte
	sectionsDone []bool // sections that were read
	gridsDone    []bool // grids that were read
	values       []span
	newKeys      map[string]bool // keys of a grid's rows that have no previous row
}

// parseBody reports whether it could read the body.
func (p *parser) parseBody(body []byte) bool {
	p.body = body
	p.snap.reset(p.layout, body, p.prev)
	p.sectionsDone, p.gridsDone = make([]bool, len(p.compiled.sections)), make([]bool, len(p.compiled.grids))
	apps := make([]bool, len(p.compiled.apps))
	i := p.parseObject(skipSpace(body, 0), func(i int, name []byte) int {
		for n, app := range p.compiled.apps {
			if string(name) != app {
				continue
			}
			if apps[n] {
				return -1
			}
			apps[n] = true
			return p.parseApp(n, i)
		}
		return -1
	})
	if i < 0 || skipSpace(body, i) != len(body) {
		return false
	}
	for _, seen := range apps {
		if !seen {
			return false
		}
	}
	for g := range p.snap.grids {
		t := &p.snap.grids[g]
		if !p.gridsDone[g] {
			p.beginGrid(g)
		}
		for r := range t.rows {
			p.snap.Cut += int(t.rows[r].cut)
		}
	}
	p.snap.Cut += p.snap.cutInLists
	return true
}

// parseObject reads an object. It calls member with each name and the index of the value, and
// member returns the value's end.
func (p *parser) parseObject(i int, member func(i int, name []byte) int) int {
	if !hasByte(p.body, i, '{') {
		return -1
	}
	return scanList(p.body, i, '}', func(i int) int {
		end := scanString(p.body, i)
		if end < 0 {
			return -1
		}
		at := expect(p.body, end, ':')
		if at < 0 {
			return -1
		}
		return member(at, unquote(p.body[i:end]))
	})
}

// parseApp reads the sections of one app id.
func (p *parser) parseApp(app, i int) int {
	return p.parseObject(i, func(i int, name []byte) int {
		for n := range p.compiled.sections {
			at := &p.compiled.sections[n]
			if at.app != app || string(name) != at.name {
				continue
			}
			if p.sectionsDone[n] {
				return -1
			}
			p.sectionsDone[n] = true
			return p.parseSection(at, i)
		}
		return scanValue(p.body, i, 2)
	})
}

func (p *parser) parseSection(at *compiledSection, i int) int {
	end := -1
	if null := scanLiteral(p.body, i, "null"); null > 0 {
		return null
	}
	for _, g := range at.rows {
		if end = p.singleRow(g, i); end < 0 {
			return -1
		}
	}
	if len(at.tables) > 0 {
		if !hasByte(p.body, i, '[') {
			return -1
		}
		end = scanList(p.body, i, ']', func(i int) int { return p.parseTable(at, i) })
		if end < 0 {
			return -1
		}
	}
	for _, n := range at.lists {
		if end = p.parseList(n, i); end < 0 {
			return -1
		}
	}
	return end
}

// parseList reads the elements of a list.
func (p *parser) parseList(n, i int) int {
	end := scanValue(p.body, i, 2)
	if end < 0 {
		return -1
	}
	raw := p.body[i:end]
	elements, err := parseElements(raw)
	if err != nil {
		return -1
	}
	for _, e := range elements {
		texts := make(map[string]string, len(e))
		for name, v := range e {
			if len(v) > textLimit {
				p.snap.cutInLists++
			}
			texts[name] = string(cutText([]byte(v)))
		}
		p.snap.Lists[n] = append(p.snap.Lists[n], texts)
	}
	return end
}

// parseTable reads one table of a section: its id and its rows.
func (p *parser) parseTable(at *compiledSection, i int) int {
	var id []byte
	idRead, rowsRead, rows := false, false, -1
	end := p.parseObject(i, func(i int, name []byte) int {
		switch {
		case string(name) == "id":
			end := scanScalar(p.body, i)
			if idRead || end < 0 {
				return -1
			}
			id, idRead = unquote(p.body[i:end]), true
			return end
		case string(name) == "values":
			if rows >= 0 {
				return -1
			}
			rows, rowsRead = i, idRead
			if !idRead {
				return scanValue(p.body, i, 4) // parsed below, when the id is known
			}
			return p.parseTableRows(at, id, i)
		case bytes.EqualFold(name, []byte("id")), bytes.EqualFold(name, []byte("values")):
			return -1
		}
		return scanValue(p.body, i, 4)
	})
	if end < 0 || rowsRead || p.parseTableRows(at, id, rows) >= 0 {
		return end
	}
	return -1
}

// parseTableRows reads the rows of a table for all grids that read it; i is negative if it has
// none.
func (p *parser) parseTableRows(at *compiledSection, id []byte, i int) int {
	end := -1
	for _, g := range at.tables {
		if string(id) != p.layout.Grids[g].ID {
			continue
		}
		if p.gridsDone[g] {
			return -1
		}
		p.gridsDone[g] = true
		if i < 0 {
			p.beginGrid(g)
			end = 0
		} else if end = p.alignRows(g, i); end < 0 {
			return -1
		}
	}
	if end >= 0 || i < 0 {
		return max(end, 0)
	}
	// No grid reads it, but it must be a table.
	if null := scanLiteral(p.body, i, "null"); null > 0 {
		return null
	}
	if !hasByte(p.body, i, '[') {
		return -1
	}
	var unknownGrid compiledGrid
	return scanList(p.body, i, ']', func(i int) int {
		if null := scanLiteral(p.body, i, "null"); null > 0 {
			return null
		}
		if !hasByte(p.body, i, '{') {
			return -1
		}
		return unknownGrid.readRow(p.body, i, nil)
	})
}
