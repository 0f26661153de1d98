package layout

import (
	"cmp"
	"slices"

	"bpcc-nats/diff/image"
)

// UnreadableRow names a row, or an element of a list, that cannot be read.
type UnreadableRow struct {
	// Grid is the name of the grid, or of the section of a list.
	Grid string
	// ID is the row's entity, "" if its key cannot be read.
	ID string
	// Column is the id of the column that holds an array or an object, "" if the row is no object.
	Column string
}

// maxNamedRows is how many unreadable rows are named.
const maxNamedRows = 3

// Unreadable is the rows of a body, and the elements of its lists, that are no object, or have an array
// or an object as a value. The zero value is none.
type Unreadable struct {
	// Count is how many there are.
	Count int
	// Named names the first of them in the order of their names, three at most.
	Named []UnreadableRow
	// Rows counts them by grid.
	Rows map[int]int
	// Unnamed counts the rows of a kind whose key cannot be read.
	Unnamed map[image.Kind]int

	ids map[image.Kind]map[string]bool
}

// Holds reports whether one of the rows is that of an entity.
func (u *Unreadable) Holds(kind image.Kind, id string) bool { return u.ids[kind][id] }

// addRow adds a row of a grid.
func (u *Unreadable) addRow(grid int, g Grid, id, column string) {
	if u.Rows == nil {
		u.Rows, u.Unnamed, u.ids = map[int]int{}, map[image.Kind]int{}, map[image.Kind]map[string]bool{}
	}
	u.Rows[grid]++
	if id == "" {
		u.Unnamed[g.Kind]++
	} else {
		if u.ids[g.Kind] == nil {
			u.ids[g.Kind] = map[string]bool{}
		}
		u.ids[g.Kind][id] = true
	}
	u.add(UnreadableRow{g.Name(), id, column})
}

// add counts a row or an element, and keeps its name if it is one of the first. So the same ones are
// named in any order of rows.
func (u *Unreadable) add(r UnreadableRow) {
	u.Count++
	at, found := slices.BinarySearchFunc(u.Named, r, func(a, b UnreadableRow) int {
		return cmp.Or(cmp.Compare(a.Grid, b.Grid), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Column, b.Column))
	})
	if !found && at < maxNamedRows {
		u.Named = slices.Insert(u.Named, at, r)
		u.Named = u.Named[:min(len(u.Named), maxNamedRows)]
	}
}
