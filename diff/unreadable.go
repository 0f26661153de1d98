package diff

import (
	"cmp"
	"slices"
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

// maxNamedRows is how many unreadable rows a snapshot names.
const maxNamedRows = 3

// unreadableRows are the rows of a snapshot that are present and cannot be read. nil is none.
type unreadableRows struct {
	total   int
	named   []UnreadableRow // the first maxNamedRows
	rows    map[int]int     // by grid
	ids     map[Kind]map[string]bool
	unnamed map[Kind]int // rows whose key cannot be read
}

// add adds a row of a grid.
func (u *unreadableRows) add(l *Layout, grid int, id, column string) {
	g := l.Grids[grid]
	if u.rows == nil {
		u.rows, u.ids, u.unnamed = map[int]int{}, map[Kind]map[string]bool{}, map[Kind]int{}
	}
	u.rows[grid]++
	if id == "" {
		u.unnamed[g.Kind]++
	} else {
		if u.ids[g.Kind] == nil {
			u.ids[g.Kind] = map[string]bool{}
		}
		u.ids[g.Kind][id] = true
	}
	u.name(UnreadableRow{g.Name(), id, column})
}

// addElement adds an element of a list.
func (u *unreadableRows) addElement(section, column string) {
	u.name(UnreadableRow{section, "", column})
}

// name counts a row, and keeps its name if it is one of the first. So the same rows are named the
// same in any order.
func (u *unreadableRows) name(r UnreadableRow) {
	u.total++
	at, found := slices.BinarySearchFunc(u.named, r, func(a, b UnreadableRow) int {
		return cmp.Or(cmp.Compare(a.Grid, b.Grid), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Column, b.Column))
	})
	if !found && at < maxNamedRows {
		u.named = slices.Insert(u.named, at, r)
		u.named = u.named[:min(len(u.named), maxNamedRows)]
	}
}

// inGrid returns the number of rows in a grid.
func (u *unreadableRows) inGrid(grid int) int {
	if u == nil {
		return 0
	}
	return u.rows[grid]
}

// unnamedOf returns the number of rows of a kind whose key cannot be read.
func (u *unreadableRows) unnamedOf(kind Kind) int {
	if u == nil {
		return 0
	}
	return u.unnamed[kind]
}

// hides reports whether one of the rows is, or may be, that of an absent entity. A row without a key
// may be if there was none when the entity was shown last.
func (u *unreadableRows) hides(kind Kind, e *entity) bool {
	return u != nil && (u.ids[kind][e.id] || u.unnamed[kind] > e.rare.unnamedBefore)
}

// setUnreadable sets the rows that cannot be read.
func (s *Snapshot) setUnreadable(u *unreadableRows) {
	s.unreadable, s.Unreadable, s.UnreadableRows = u, 0, nil
	if u != nil {
		s.Unreadable, s.UnreadableRows = u.total, u.named
	}
}
