package diff

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
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
	ID     scalarText              `json:"id"`
	Values []map[string]scalarText `json:"values"`
}

// normalize reads a body with encoding/json and writes it again in the shape that the parser knows:
// every member once, the values as strings, only the sections that the layout reads. Bodies of an
// unusual shape are read this way. The error for a body that cannot be read is [ErrMalformed] or
// [ErrForeign].
func (l *Layout) normalize(body []byte) ([]byte, error) {
	var apps map[string]map[string]json.RawMessage
	if err := json.Unmarshal(body, &apps); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := l.checkApps(apps); err != nil {
		return nil, err
	}
	p := l.compile()
	out := []byte{'{'}
	for i, app := range p.apps {
		out = AppendText(appendComma(out), app)
		out = append(out, ":{"...)
		for _, section := range p.sections {
			raw, ok := apps[app][section.name]
			if section.app != i || !ok {
				continue
			}
			out = AppendText(appendComma(out), section.name)
			out = append(out, ':')
			var err error
			if out, err = p.rewriteSection(out, l, section, raw); err != nil {
				return nil, err
			}
		}
		out = append(out, '}')
	}
	return append(out, '}'), nil
}

// appendComma adds a comma before all elements of a list but the first.
func appendComma(b []byte) []byte {
	if last := b[len(b)-1]; last == '{' || last == '[' {
		return b
	}
	return append(b, ',')
}

func (p *compiledLayout) rewriteSection(out []byte, l *Layout, at compiledSection, raw json.RawMessage) ([]byte, error) {
	// A section that several grids and lists read is written in the shape of the first of them, and
	// must be readable for all.
	from := len(out)
	for _, i := range at.rows {
		var columns map[string]scalarText
		if err := json.Unmarshal(raw, &columns); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrMalformed, l.Grids[i].Name(), err)
		}
		if len(out) == from {
			out = appendRow(out, columns)
		}
	}
	if len(at.tables) > 0 {
		var tables []plainTable
		if err := json.Unmarshal(raw, &tables); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrMalformed, at.name, err)
		}
		if len(out) == from {
			out = appendTables(out, tables)
		}
	}
	if len(at.lists) > 0 {
		elements, err := parseElements(raw)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrMalformed, at.name, err)
		}
		if len(out) == from {
			out = append(out, '[')
			for _, e := range elements {
				out = appendRow(appendComma(out), e)
			}
			out = append(out, ']')
		}
	}
	return out, nil
}

// appendTables writes each table once: the last one of those with the same id.
func appendTables(out []byte, tables []plainTable) []byte {
	last := map[scalarText]int{}
	for i, t := range tables {
		last[t.ID] = i
	}
	out = append(out, '[')
	for i, t := range tables {
		if last[t.ID] != i {
			continue
		}
		out = append(appendComma(out), `{"id":`...)
		out = append(AppendText(out, string(t.ID)), `,"values":[`...)
		for _, columns := range t.Values {
			out = appendRow(appendComma(out), columns)
		}
		out = append(out, "]}"...)
	}
	return append(out, ']')
}

func appendRow(out []byte, columns map[string]scalarText) []byte {
	if columns == nil {
		return append(out, "null"...)
	}
	out = append(out, '{')
	for _, id := range slices.Sorted(maps.Keys(columns)) {
		out = append(AppendText(appendComma(out), id), ':')
		out = AppendText(out, string(columns[id]))
	}
	return append(out, '}')
}

func parseElements(raw []byte) ([]map[string]scalarText, error) {
	var elements []map[string]scalarText
	err := json.Unmarshal(raw, &elements)
	return elements, err
}

// checkApps checks that the body holds exactly the app ids of the layout.
func (l *Layout) checkApps(apps map[string]map[string]json.RawMessage) error {
	asked := map[string]bool{}
	for _, app := range l.compile().apps {
		asked[app] = true
	}
	for _, app := range slices.Sorted(maps.Keys(apps)) {
		if !asked[app] {
			return fmt.Errorf("%w: unexpected app id %q", ErrForeign, app)
		}
	}
	for _, app := range slices.Sorted(maps.Keys(asked)) {
		if _, ok := apps[app]; !ok {
			return fmt.Errorf("%w: missing app id %q", ErrForeign, app)
		}
	}
	return nil
}
