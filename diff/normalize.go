package diff

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// scalarText is a JSON string, number, boolean or null, held as text: sources use different types
// for the same column.
type scalarText string

func (v *scalarText) UnmarshalJSON(b []byte) error {
	switch b[0] {
	case '"':
		return json.Unmarshal(b, (*string)(v))
	case '{', '[':
		return errors.New("value is an object or an array")
	case 'n':
		*v = ""
	default:
		*v = scalarText(b)
	}
	return nil
}

// plainTable is a table as the source sends it.
type plainTable struct {
	ID     json.RawMessage `json:"id"`
	Values json.RawMessage `json:"values"`
}

// normalize reads a body with encoding/json and writes it again in the shape that the parser knows:
// every member once, the values as strings, only the sections that the layout reads, and no row that
// cannot be read. Bodies of an unusual shape are read this way. The error for a body that cannot be
// read is [ErrMalformed] or [ErrForeign].
func (l *Layout) normalize(body []byte) ([]byte, *unreadableRows, error) {
	apps, err := readApps(body)
	if err != nil {
		return nil, nil, err
	}
	if err := l.checkApps(apps); err != nil {
		return nil, nil, err
	}
	n := normalizer{layout: l, compiled: l.compile(), out: []byte{'{'}}
	for i, app := range n.compiled.apps {
		n.out = AppendText(appendComma(n.out), app)
		n.out = append(n.out, ":{"...)
		for _, section := range n.compiled.sections {
			raw, ok := apps[app][section.name]
			if section.app != i || !ok {
				continue
			}
			n.out = AppendText(appendComma(n.out), section.name)
			n.out = append(n.out, ':')
			if err := n.addSection(section, raw); err != nil {
				return nil, nil, err
			}
		}
		n.out = append(n.out, '}')
	}
	return append(n.out, '}'), n.unreadable, nil
}

// readApps reads the parts of a body by app id. A body that ends too early gives no [ErrShape]: it may
// be the beginning of a snapshot.
func readApps(body []byte) (map[string]map[string]json.RawMessage, error) {
	var parts map[string]json.RawMessage
	var syntax *json.SyntaxError
	switch err := json.Unmarshal(body, &parts); {
	case errors.As(err, &syntax) && syntax.Offset >= int64(len(body)) && len(bytes.TrimSpace(body)) > 0:
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	case errors.As(err, &syntax):
		return nil, fmt.Errorf("%w: %w: %w", ErrMalformed, ErrShape, err)
	case err != nil:
		return nil, wrongType("body", "an object", body)
	}
	apps := map[string]map[string]json.RawMessage{}
	for _, app := range slices.Sorted(maps.Keys(parts)) {
		var sections map[string]json.RawMessage
		if json.Unmarshal(parts[app], &sections) != nil {
			return nil, wrongType("member "+quoteName(app), "an object", parts[app])
		}
		apps[app] = sections
	}
	return apps, nil
}

// wrongType returns the error for a part of a body of another type than the expected one.
func wrongType(place, want string, raw json.RawMessage) error {
	return fmt.Errorf("%w: %w: %s: want %s, have %s", ErrMalformed, ErrShape, place, want, typeOf(raw))
}

// quoteName quotes a name that a source has sent. A long one is left out, not cut: whoever looks for
// a credential in the text would not find a part of one.
func quoteName(name string) string {
	if len(name) > 256 {
		return fmt.Sprintf("of %d bytes", len(name))
	}
	return strconv.Quote(name)
}

// typeOf names the type of a JSON value.
func typeOf(raw json.RawMessage) string {
	switch raw = bytes.TrimSpace(raw); {
	case len(raw) == 0:
		return "nothing"
	case raw[0] == '{':
		return "an object"
	case raw[0] == '[':
		return "an array"
	case raw[0] == '"':
		return "text"
	case raw[0] == 'n':
		return "null"
	case raw[0] == 't' || raw[0] == 'f':
		return "a boolean"
	}
	return "a number"
}

// isNested reports whether a JSON value is an array or an object.
func isNested(raw json.RawMessage) bool {
	raw = bytes.TrimSpace(raw)
	return len(raw) > 0 && (raw[0] == '{' || raw[0] == '[')
}

// normalizer writes one body again.
type normalizer struct {
	layout     *Layout
	compiled   *compiledLayout
	out        []byte
	unreadable *unreadableRows
}

// addSection writes a section. One that several grids and lists read is written in the shape of the
// first of them, and must be readable for all.
func (n *normalizer) addSection(at compiledSection, raw json.RawMessage) error {
	from := len(n.out)
	if len(at.rows) > 0 {
		var columns map[string]json.RawMessage
		if json.Unmarshal(raw, &columns) != nil {
			return wrongType(n.layout.Grids[at.rows[0]].Name(), "an object", raw)
		}
		n.addRow(at.rows, columns)
	}
	if len(at.tables) > 0 {
		if err := n.addTables(at, raw, len(n.out) == from); err != nil {
			return err
		}
	}
	if len(at.lists) > 0 {
		var elements []json.RawMessage
		if json.Unmarshal(raw, &elements) != nil {
			return wrongType(at.name, "an array", raw)
		}
		if len(n.out) == from {
			n.addElements(at.name, elements)
		}
	}
	return nil
}

// addTables writes each table once: the last one of those with the same id. If write is false, it
// only checks them.
func (n *normalizer) addTables(at compiledSection, raw json.RawMessage, write bool) error {
	var elements []json.RawMessage
	if json.Unmarshal(raw, &elements) != nil {
		return wrongType(at.name, "an array of grids", raw)
	}
	type idTable struct {
		id   string
		rows []json.RawMessage
	}
	var tables []idTable
	last := map[string]int{}
	for i, element := range elements {
		var t plainTable
		var id scalarText
		if json.Unmarshal(element, &t) != nil {
			return wrongType(fmt.Sprintf("%s, grid %d", at.name, i+1), "an object", element)
		}
		if len(t.ID) > 0 && json.Unmarshal(t.ID, &id) != nil {
			return wrongType(fmt.Sprintf("%s, grid %d, id", at.name, i+1), "text", t.ID)
		}
		var rows []json.RawMessage
		if len(t.Values) > 0 && json.Unmarshal(t.Values, &rows) != nil {
			return wrongType(fmt.Sprintf("%s %s, values", at.name, quoteName(string(id))), "an array of rows", t.Values)
		}
		last[string(id)] = i
		tables = append(tables, idTable{string(id), rows})
	}
	if !write {
		return nil
	}
	n.out = append(n.out, '[')
	for i, t := range tables {
		grids := slices.DeleteFunc(slices.Clone(at.tables), func(g int) bool { return n.layout.Grids[g].ID != t.id })
		if last[t.id] != i || len(grids) == 0 {
			continue
		}
		n.out = append(appendComma(n.out), `{"id":`...)
		n.out = append(AppendText(n.out, t.id), `,"values":[`...)
		for _, row := range t.rows {
			var columns map[string]json.RawMessage
			if json.Unmarshal(row, &columns) != nil {
				n.skipRow(grids, nil, "")
				continue
			}
			n.addRow(grids, columns)
		}
		n.out = append(n.out, "]}"...)
	}
	n.out = append(n.out, ']')
	return nil
}

// addRow writes a row that some grids read, unless a column that one of them reads is nested. Other
// nested columns are left out.
func (n *normalizer) addRow(grids []int, columns map[string]json.RawMessage) {
	for _, id := range nestedColumns(columns) {
		if slices.ContainsFunc(grids, func(g int) bool { return n.compiled.grids[g].reads(id) }) {
			n.skipRow(grids, columns, id)
			if n.layout.Grids[grids[0]].ID == "" {
				n.out = append(n.out, "null"...) // the section's only row
			}
			return
		}
		delete(columns, id)
	}
	if n.layout.Grids[grids[0]].ID != "" {
		n.out = appendComma(n.out)
	}
	n.out = appendRow(n.out, columns)
}

// nestedColumns lists the columns of a row whose values are arrays or objects, in order.
func nestedColumns(columns map[string]json.RawMessage) []string {
	var ids []string
	for id, raw := range columns {
		if isNested(raw) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// reads reports whether a column holds the text of a statistic or names the rows.
func (g *compiledGrid) reads(id string) bool {
	i := slices.IndexFunc(g.members, func(m member) bool { return m.id == id })
	return i >= 0 && (g.members[i].hasStat || i == g.key)
}

// skipRow records a row that cannot be read, for each grid that reads it.
func (n *normalizer) skipRow(grids []int, columns map[string]json.RawMessage, column string) {
	if n.unreadable == nil {
		n.unreadable = &unreadableRows{}
	}
	for _, i := range grids {
		g := n.layout.Grids[i]
		key := g.Entity
		if g.ID != "" {
			key = ""
			if raw, ok := columns[g.Key]; ok && !isNested(raw) {
				key = textOf(raw)
			}
			if key != "" {
				key = n.layout.rewrite(g.Kind, "", key)
			}
		}
		n.unreadable.add(n.layout, i, key, column)
	}
}

// addElements writes the elements of a list that can be read.
func (n *normalizer) addElements(section string, elements []json.RawMessage) {
	n.out = append(n.out, '[')
	for _, raw := range elements {
		var columns map[string]json.RawMessage
		err := json.Unmarshal(raw, &columns)
		column := ""
		if ids := nestedColumns(columns); len(ids) > 0 {
			column = ids[0]
		}
		if err != nil || column != "" {
			if n.unreadable == nil {
				n.unreadable = &unreadableRows{}
			}
			n.unreadable.addElement(section, column)
			continue
		}
		n.out = appendRow(appendComma(n.out), columns)
	}
	n.out = append(n.out, ']')
}

// appendComma adds a comma before all elements of a list but the first.
func appendComma(b []byte) []byte {
	if last := b[len(b)-1]; last == '{' || last == '[' {
		return b
	}
	return append(b, ',')
}

// appendRow writes a row whose values are no arrays or objects.
func appendRow(out []byte, columns map[string]json.RawMessage) []byte {
	if columns == nil {
		return append(out, "null"...)
	}
	out = append(out, '{')
	for _, id := range slices.Sorted(maps.Keys(columns)) {
		out = append(AppendText(appendComma(out), id), ':')
		out = AppendText(out, textOf(columns[id]))
	}
	return append(out, '}')
}

// textOf returns the text of a value that is no array and no object.
func textOf(raw json.RawMessage) string {
	var text scalarText
	if json.Unmarshal(raw, &text) != nil {
		return "" // unreachable: the value was read before
	}
	return string(text)
}

func parseElements(raw []byte) ([]map[string]scalarText, error) {
	var elements []map[string]scalarText
	err := json.Unmarshal(raw, &elements)
	return elements, err
}

// checkApps checks that the body holds exactly the app ids of the layout. A body without any of them
// that holds no sections either is no snapshot at all.
func (l *Layout) checkApps(apps map[string]map[string]json.RawMessage) error {
	asked := map[string]bool{}
	for _, app := range l.compile().apps {
		asked[app] = true
	}
	kind, isSnapshot := ErrForeign, false
	for app, sections := range apps {
		isSnapshot = isSnapshot || asked[app] || holdsSections(sections)
	}
	if !isSnapshot {
		kind = fmt.Errorf("%w: %w", ErrForeign, ErrShape)
	}
	for _, app := range slices.Sorted(maps.Keys(apps)) {
		if !asked[app] {
			return fmt.Errorf("%w: unexpected app id %s", kind, quoteName(app))
		}
	}
	for _, app := range slices.Sorted(maps.Keys(asked)) {
		if _, ok := apps[app]; !ok {
			return fmt.Errorf("%w: missing app id %q", kind, app)
		}
	}
	return nil
}

// holdsSections reports whether the part of an app id holds sections, which are arrays and objects,
// and nothing else.
func holdsSections(sections map[string]json.RawMessage) bool {
	for _, raw := range sections {
		if !isNested(raw) && typeOf(raw) != "null" {
			return false
		}
	}
	return len(sections) > 0
}
