// Package layout describes where a body holds the rows of entities, and reads a body of any shape by
// that description.
package layout

import (
	"errors"
	"slices"

	"bpcc-nats/diff/image"
)

var (
	// ErrMalformed is returned for a body that is not valid JSON or not of the shape that the layout
	// describes.
	ErrMalformed = errors.New("malformed snapshot")
	// ErrForeign is returned when a body holds app ids that are not in the layout, or lacks one that
	// is: it is the response to another subscription.
	ErrForeign = errors.New("snapshot of a foreign subscription")
	// ErrShape is returned with one of the two errors above for a complete body that is no snapshot of
	// the layout, such as the description of an error.
	ErrShape = errors.New("not of the expected shape")
)

// Layout describes where rows are in a body, how they are named and which of their columns are
// tracked. It must not change once a body has been read by it.
type Layout struct {
	Grids []Grid
	// Lists are sections of other things than entities. Their elements are returned as they are.
	Lists []List
	// Rewrite, if set, replaces texts as they are read, for example by pseudonyms. It is called for
	// keys too, with stat "". It must not map two keys of a kind to the same text.
	Rewrite func(kind image.Kind, stat, text string) string
	// Volatile lists the statistics that change by themselves, such as a running clock. They are
	// part of the images and never make a difference.
	Volatile []string
	// Clock is the statistic that holds for how many seconds an entity has been in its present
	// state, such as state_duration. Comparisons of clocks need it.
	Clock string
	// State lists the statistics of the state that Clock measures.
	State []string
}

// Grid is one table of a body. Each has its own App, Section and ID.
type Grid struct {
	// Kind is what the rows describe: grids of one kind describe the same set.
	Kind image.Kind
	// App and Section are the path to the table: body[App][Section].
	App, Section string
	// ID selects the table with this "id" in the section, whose "values" are the rows. Empty means
	// that the section itself is one row.
	ID string
	// Key is the id of the column that names a row's entity. For a section that is one row, Entity
	// is the name.
	Key, Entity string
	// Limit is the maximum number of rows that the source sends, 0 for no limit. A grid with that
	// many rows may be cut.
	Limit int
	// Columns maps column ids to statistics. A column without a statistic is read for the key alone.
	// Of several columns of one statistic the first is read.
	Columns []Column
}

// Column maps a column id to the statistic under which it is published.
type Column struct{ ID, Stat string }

// List is the path to an array of objects: body[App][Section].
type List struct{ App, Section string }

// Name identifies the grid in messages.
func (g Grid) Name() string {
	if g.ID == "" {
		return g.Section
	}
	return g.Section + " " + g.ID
}

// Cut reports whether a grid of which the body has that many rows may have more.
func (g Grid) Cut(bodyRows int) bool { return g.Limit > 0 && bodyRows >= g.Limit }

// reads reports whether a column holds the text of a statistic or names the rows.
func (g Grid) reads(id string) bool {
	return g.ID != "" && id == g.Key || slices.ContainsFunc(g.Columns, func(c Column) bool { return c.ID == id && c.Stat != "" })
}

// Kinds lists the kinds of the layout in the order of its grids.
func (l *Layout) Kinds() []image.Kind {
	var kinds []image.Kind
	for _, g := range l.Grids {
		if !slices.Contains(kinds, g.Kind) {
			kinds = append(kinds, g.Kind)
		}
	}
	return kinds
}

// CanShow reports whether a row of the layout's grids could be one of the entity.
func (l *Layout) CanShow(kind image.Kind, id string) bool {
	return slices.ContainsFunc(l.Grids, func(g Grid) bool { return g.Kind == kind && (g.ID != "" || g.Entity == id) })
}

// EntityID returns the id of the entity that a grid shows under a key.
func (l *Layout) EntityID(grid int, key string) string {
	if l.Rewrite == nil || l.Grids[grid].ID == "" {
		return key
	}
	return l.Rewrite(l.Grids[grid].Kind, "", key)
}

// Section is a part of a body that the layout reads: an array of tables, one row, or a list.
type Section struct {
	App, Name string
	Tables    []int // indexes of Grids
	Row, List int   // index of Grids, and of Lists; -1 if it is none
}

// Sections lists the sections of the layout.
func (l *Layout) Sections() []Section {
	var all []Section
	at := func(app, name string) *Section {
		i := slices.IndexFunc(all, func(s Section) bool { return s.App == app && s.Name == name })
		if i < 0 {
			i = len(all)
			all = append(all, Section{App: app, Name: name, Row: -1, List: -1})
		}
		return &all[i]
	}
	for i, g := range l.Grids {
		if s := at(g.App, g.Section); g.ID == "" {
			s.Row = i
		} else {
			s.Tables = append(s.Tables, i)
		}
	}
	for i, list := range l.Lists {
		at(list.App, list.Section).List = i
	}
	return all
}

// Apps lists the app ids of the layout.
func (l *Layout) Apps() []string {
	var apps []string
	for _, s := range l.Sections() {
		if !slices.Contains(apps, s.App) {
			apps = append(apps, s.App)
		}
	}
	return apps
}
