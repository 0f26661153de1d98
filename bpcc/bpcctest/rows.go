package bpcctest

import (
	"encoding/json"
	"slices"
)

// appendGrid appends a grid with the rows, as the fault changes them, up to the limit.
func appendGrid[T any](b []byte, i int, g planGrid, rows []T, key func(T) string, cell func(row T, column int) string, f *Fault) []byte {
	if i > 0 {
		b = append(b, ',')
	}
	b = append(appendQuoted(append(b, `{"id":`...), g.ID), `,"values":[`...)
	written, limit := 0, g.Limit
	if f.Limit > 0 && (limit == 0 || f.Limit < limit) {
		limit = f.Limit
	}
	add := func(row T, change *Row, cells map[string]json.RawMessage) {
		if limit > 0 && written == limit {
			return
		}
		if written++; written > 1 {
			b = append(b, ',')
		}
		b = append(b, '{')
		for column, separator := range g.keys {
			if change == nil {
				b = appendQuoted(append(b, separator...), cell(row, column))
				continue
			}
			b = change.appendCell(b, g, column, cells, func() string { return cell(row, column) })
		}
		b = append(b, '}')
	}
	for _, row := range rows {
		change := f.change(key(row))
		switch {
		case change == nil:
			add(row, nil, nil)
		case change.Missing:
		case change.Duplicate == nil:
			add(row, change, nil)
		case f.turn%2 == 0:
			add(row, change, change.Duplicate)
			add(row, change, nil)
		default:
			add(row, change, nil)
			add(row, change, change.Duplicate)
		}
	}
	return append(b, "]}"...)
}

// change is how the fault changes the row of that key; nil if it does not.
func (f *Fault) change(key string) *Row {
	if len(f.Rows) == 0 {
		return nil
	}
	if row, ok := f.Rows[key]; ok {
		return &row
	}
	if row, ok := f.Rows["*"]; ok {
		return &row
	}
	return nil
}

// empties reports whether the fault empties a grid of that section and id.
func (f *Fault) empties(section, id string) bool {
	return f.EmptyGrids || slices.Contains(f.Empty, section) || slices.Contains(f.Empty, id)
}

// appendCell appends a column of a row; cells come before the row's own.
func (r *Row) appendCell(b []byte, g planGrid, column int, cells map[string]json.RawMessage, text func() string) []byte {
	stat, key := g.columns[column].StatName, g.keys[column]
	if slices.Contains(r.Without, stat) {
		return b
	}
	if key[0] == ',' && b[len(b)-1] == '{' {
		key = key[1:] // the columns before this one are left out
	}
	b = append(b, key...)
	for _, replaced := range []map[string]json.RawMessage{cells, r.Cells} {
		if value, ok := replaced[stat]; ok {
			return append(b, value...)
		}
	}
	return appendQuoted(b, text())
}
