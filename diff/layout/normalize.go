package layout

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// value is a JSON string, number, boolean or null, held as text: sources use different types for the
// same column. An array or an object has no text.
type value struct {
	text   string
	nested bool
}

func (v *value) UnmarshalJSON(b []byte) error {
	*v = value{}
	switch b[0] {
	case '"':
		return json.Unmarshal(b, &v.text)
	case '{', '[':
		v.nested = true
	case 'n':
	default:
		v.text = string(b)
	}
	return nil
}

// table is a table as the source sends it, and as it is written again.
type (
	table struct {
		ID     json.RawMessage `json:"id"`
		Values json.RawMessage `json:"values"`
	}
	plainTable struct {
		ID     string              `json:"id"`
		Values []map[string]string `json:"values"`
	}
)

// Normalize reads a body with encoding/json and writes it again in the usual shape: every member once,
// the values as strings, only the sections that the layout reads, and no row that cannot be read. The
// error for a body that cannot be read is [ErrMalformed] or [ErrForeign].
func (l *Layout) Normalize(body []byte) ([]byte, Unreadable, error) {
	apps, err := readApps(body)
	if err == nil {
		err = l.checkApps(apps)
	}
	if err != nil {
		return nil, Unreadable{}, err
	}
	n, out := normalizer{layout: l}, map[string]map[string]any{}
	for app := range apps {
		out[app] = map[string]any{}
	}
	for _, s := range l.Sections() {
		raw, ok := apps[s.App][s.Name]
		if !ok {
			continue
		}
		if out[s.App][s.Name], err = n.readSection(s, raw); err != nil {
			return nil, Unreadable{}, err
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out); err != nil {
		return nil, Unreadable{}, fmt.Errorf("%w: %w", ErrMalformed, err) // unreachable: all values are texts
	}
	return b.Bytes(), n.unreadable, nil
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
	if raw = bytes.TrimSpace(raw); len(raw) == 0 {
		return "nothing"
	}
	names := map[byte]string{'{': "an object", '[': "an array", '"': "text", 'n': "null", 't': "a boolean", 'f': "a boolean"}
	return cmp.Or(names[raw[0]], "a number")
}

// isNested reports whether a JSON value is an array or an object.
func isNested(raw json.RawMessage) bool {
	raw = bytes.TrimSpace(raw)
	return len(raw) > 0 && (raw[0] == '{' || raw[0] == '[')
}

// normalizer reads one body.
type normalizer struct {
	layout     *Layout
	unreadable Unreadable
}

// readSection returns what a section is written as.
func (n *normalizer) readSection(s Section, raw json.RawMessage) (any, error) {
	switch {
	case s.List >= 0:
		return n.readList(s.Name, raw)
	case s.Row >= 0:
		var columns map[string]value
		if json.Unmarshal(raw, &columns) != nil {
			return nil, wrongType(n.layout.Grids[s.Row].Name(), "an object", raw)
		}
		row, _ := n.readRow(s.Row, columns)
		return row, nil
	}
	return n.readTables(s, raw)
}

// readTables returns each table that a grid reads once: the last one of those with the same id.
func (n *normalizer) readTables(s Section, raw json.RawMessage) ([]plainTable, error) {
	var elements []json.RawMessage
	if json.Unmarshal(raw, &elements) != nil {
		return nil, wrongType(s.Name, "an array of grids", raw)
	}
	tables := map[string][]json.RawMessage{} // their rows, by id
	for i, element := range elements {
		var t table
		if json.Unmarshal(element, &t) != nil {
			return nil, wrongType(fmt.Sprintf("%s, grid %d", s.Name, i+1), "an object", element)
		}
		var id value
		if len(t.ID) > 0 && json.Unmarshal(t.ID, &id) == nil && id.nested {
			return nil, wrongType(fmt.Sprintf("%s, grid %d, id", s.Name, i+1), "text", t.ID)
		}
		var rows []json.RawMessage
		if len(t.Values) > 0 && json.Unmarshal(t.Values, &rows) != nil {
			return nil, wrongType(fmt.Sprintf("%s %s, values", s.Name, quoteName(id.text)), "an array of rows", t.Values)
		}
		tables[id.text] = rows
	}
	out := []plainTable{}
	for _, grid := range s.Tables {
		id := n.layout.Grids[grid].ID
		t := plainTable{ID: id}
		for _, row := range tables[id] {
			var columns map[string]value
			if json.Unmarshal(row, &columns) != nil {
				n.skipRow(grid, nil, "")
			} else if texts, ok := n.readRow(grid, columns); ok {
				t.Values = append(t.Values, texts)
			}
		}
		out = append(out, t)
	}
	return out, nil
}

// readRow returns the texts of a row, nil for null. It skips a row that has an array or an object in a
// column that the grid reads, and leaves out other such columns.
func (n *normalizer) readRow(grid int, columns map[string]value) (texts map[string]string, ok bool) {
	if columns == nil {
		return nil, true
	}
	texts = map[string]string{}
	for _, id := range slices.Sorted(maps.Keys(columns)) {
		if v := columns[id]; !v.nested {
			texts[id] = v.text
		} else if n.layout.Grids[grid].reads(id) {
			n.skipRow(grid, columns, id)
			return nil, false
		}
	}
	return texts, true
}

// skipRow records a row that cannot be read.
func (n *normalizer) skipRow(grid int, columns map[string]value, column string) {
	g := n.layout.Grids[grid]
	id := g.Entity
	if g.ID != "" {
		if id = columns[g.Key].text; id != "" {
			id = n.layout.EntityID(grid, id)
		}
	}
	n.unreadable.addRow(grid, g, id, column)
}

// readList returns the elements of a list that can be read.
func (n *normalizer) readList(section string, raw json.RawMessage) ([]map[string]string, error) {
	var elements []json.RawMessage
	if json.Unmarshal(raw, &elements) != nil {
		return nil, wrongType(section, "an array", raw)
	}
	out := []map[string]string{}
	for _, raw := range elements {
		var columns map[string]value
		err := json.Unmarshal(raw, &columns)
		texts, column := map[string]string{}, ""
		for _, id := range slices.Sorted(maps.Keys(columns)) {
			if v := columns[id]; v.nested {
				column = cmp.Or(column, id)
			} else {
				texts[id] = v.text
			}
		}
		if err != nil || len(texts) < len(columns) {
			n.unreadable.add(UnreadableRow{section, "", column})
			continue
		}
		out = append(out, texts)
	}
	return out, nil
}

// checkApps checks that the body holds exactly the app ids of the layout. A body without any of them
// that holds no sections either is no snapshot at all.
func (l *Layout) checkApps(apps map[string]map[string]json.RawMessage) error {
	asked := map[string]bool{}
	for _, app := range l.Apps() {
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
