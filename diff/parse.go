package diff

import (
	"bytes"
	"slices"

	"bpcc-nats/diff/layout"
	"bpcc-nats/internal/jsonscan"
)

// parser reads one body. It knows the shape that sources send and gives up at any other.
type parser struct {
	layout       *compiledLayout
	state        *State // nil if there is no previous snapshot
	snap         *Snapshot
	prev         *Snapshot
	body         []byte
	sectionsDone []bool           // sections that were read
	gridsDone    []bool           // grids that were read
	values       []span           // of a row
	oldValues    []span           // of its previous row
	newKeys      map[string]int32 // rows of a grid that have no previous row, by key
}

// parseBody reports whether it could read the body.
func (p *parser) parseBody(body []byte) bool {
	p.body = body
	p.snap.reset(p.layout, body, p.prev)
	p.sectionsDone, p.gridsDone = make([]bool, len(p.layout.sections)), make([]bool, len(p.layout.grids))
	apps := make([]bool, len(p.layout.apps))
	i := jsonscan.Object(body, jsonscan.SkipSpace(body, 0), func(i int, name []byte) int {
		n := slices.Index(p.layout.apps, string(name))
		if n < 0 || apps[n] {
			return -1
		}
		apps[n] = true
		return p.parseApp(p.layout.apps[n], i)
	})
	if i < 0 || jsonscan.SkipSpace(body, i) != len(body) || slices.Contains(apps, false) {
		return false
	}
	for r := range p.snap.rows {
		p.snap.Cut += int(p.snap.rows[r].cut)
	}
	p.snap.moved = p.snap.moved || p.snap.unmatched > 0
	return true
}

// parseApp reads the sections of one app id.
func (p *parser) parseApp(app string, i int) int {
	return jsonscan.Object(p.body, i, func(i int, name []byte) int {
		for n := range p.layout.sections {
			at := &p.layout.sections[n]
			if at.App != app || string(name) != at.Name {
				continue
			}
			if p.sectionsDone[n] {
				return -1
			}
			p.sectionsDone[n] = true
			return p.parseSection(at, i)
		}
		return jsonscan.Value(p.body, i)
	})
}

func (p *parser) parseSection(at *layout.Section, i int) int {
	null := jsonscan.Null(p.body, i)
	switch {
	case null > 0:
		return null
	case at.List >= 0:
		return jsonscan.Array(p.body, i, func(i int) int { return p.parseElement(at.List, i) })
	case at.Row >= 0:
		from, to := p.beginGrid(at.Row)
		end, _ := p.parseRow(at.Row, i, from, to)
		p.snap.grids[at.Row].to = len(p.snap.rows)
		return end
	}
	return jsonscan.Array(p.body, i, func(i int) int { return p.parseTable(at, i) })
}

// parseElement reads an element of a list.
func (p *parser) parseElement(list, i int) int {
	texts := map[string]string{}
	end := jsonscan.Object(p.body, i, func(i int, name []byte) int {
		end := jsonscan.Scalar(p.body, i)
		if _, twice := texts[string(name)]; twice || end < 0 {
			return -1
		}
		text := jsonscan.Unquote(p.body[i:end])
		if len(text) > textLimit {
			p.snap.Cut++
		}
		texts[string(name)] = string(cutText(text))
		return end
	})
	p.snap.Lists[list] = append(p.snap.Lists[list], texts)
	return end
}

// parseTable reads one table of a section: its id and its rows.
func (p *parser) parseTable(at *layout.Section, i int) int {
	var id []byte
	idRead, rowsRead, rows := false, false, -1
	end := jsonscan.Object(p.body, i, func(i int, name []byte) int {
		switch {
		case string(name) == "id":
			end := jsonscan.Scalar(p.body, i)
			if idRead || end < 0 {
				return -1
			}
			id, idRead = jsonscan.Unquote(p.body[i:end]), true
			return end
		case string(name) == "values":
			if rows >= 0 {
				return -1
			}
			rows, rowsRead = i, idRead
			if !idRead {
				return jsonscan.Value(p.body, i) // parsed below, when the id is known
			}
			return p.parseTableRows(at, id, i)
		case bytes.EqualFold(name, []byte("id")), bytes.EqualFold(name, []byte("values")):
			return -1
		}
		return jsonscan.Value(p.body, i)
	})
	if end < 0 || rowsRead || p.parseTableRows(at, id, rows) >= 0 {
		return end
	}
	return -1
}

// parseTableRows reads the rows of a table; i is negative if it has none.
func (p *parser) parseTableRows(at *layout.Section, id []byte, i int) int {
	n := slices.IndexFunc(at.Tables, func(g int) bool { return p.layout.Grids[g].ID == string(id) })
	switch {
	case n >= 0 && p.gridsDone[at.Tables[n]]:
		return -1
	case n >= 0:
		return p.parseRows(at.Tables[n], i)
	case i < 0:
		return 0
	case !jsonscan.Has(p.body, i, '[') && jsonscan.Null(p.body, i) < 0: // no grid reads it, but it must be a table
		return -1
	}
	return jsonscan.Value(p.body, i)
}
