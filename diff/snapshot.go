package diff

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

var (
	// ErrMalformed is returned by [Layout.Parse] for a body that is not valid
	// JSON or not of the shape that the layout describes.
	ErrMalformed = errors.New("malformed snapshot")
	// ErrForeign is returned by [Layout.Parse] when the body answers questions
	// that the layout did not ask, or leaves out one that it did: it belongs
	// to somebody else's subscription.
	ErrForeign = errors.New("snapshot of a foreign subscription")
)

// Kind is a kind of entity: rows of grids of one kind describe the same set.
type Kind string

// Layout says where rows stand in a body, how they are named and which of
// their columns count.
type Layout struct {
	Grids []Grid
	// Lists are sections of other things than entities, handed on as they are.
	Lists []List
	// Rewrite, if set, replaces texts as they are read, keys (of which stat is
	// "") included, such as to put pseudonyms in the place of names.
	Rewrite func(kind Kind, stat, text string) string
	// Volatile tells the statistics that change by themselves, such as
	// running clocks. They ride along in images and never make a difference.
	// nil means none.
	Volatile func(stat string) bool
}

// Grid is one table of a body.
type Grid struct {
	// Kind is what the rows describe.
	Kind Kind
	// App and Section lead to the table: body[App][Section].
	App, Section string
	// ID picks the table with this "id" in the section, whose "values" are the
	// rows. Empty means that the section itself is one row.
	ID string
	// Key is the id of the column that names a row's entity. For a section
	// that is one row, Entity is the name instead.
	Key, Entity string
	// Limit is the most rows the source sends, 0 for no limit. A grid as long
	// as its limit may be cut.
	Limit int
	// Columns gives the statistic of each column id. A column without a
	// statistic is read for the key alone.
	Columns []Column
}

// Column ties a column id to the statistic under which it is published.
type Column struct{ ID, Stat string }

// List leads to an array of objects: body[App][Section].
type List struct{ App, Section string }

// Name tells one grid from another in messages.
func (g Grid) Name() string {
	if g.ID == "" {
		return g.Section
	}
	return g.Section + " " + g.ID
}

// Snapshot is what one body shows: the rows of each grid of the layout.
type Snapshot struct {
	// Sent and Received bound the instant of the snapshot; the caller sets them.
	Sent, Received time.Time
	// Duplicates and Unnamed count the rows left out because their key came a
	// second time in one grid, or was empty.
	Duplicates, Unnamed int
	// Lists holds the elements of the layout's lists, each a map of member to
	// text.
	Lists [][]map[string]string
	rows  [][]row // by index of Layout.Grids
}

// Rows tells how many rows the grid with this index in the layout holds.
func (s *Snapshot) Rows(grid int) int { return len(s.rows[grid]) }

// row is one row: its entity and its columns by id.
type row struct {
	key     string
	columns map[string]scalar
}

// scalar is a JSON string, number, boolean or null, held as text: sources of
// this kind do not keep to one type.
type scalar string

func (v *scalar) UnmarshalJSON(b []byte) error {
	switch b[0] {
	case '"':
		return json.Unmarshal(b, (*string)(v))
	case '{', '[':
		return errors.New("a value is an object or an array")
	case 'n':
		*v = ""
	default:
		*v = scalar(b)
	}
	return nil
}

// table is a grid as it comes over the wire.
type table struct {
	ID     scalar              `json:"id"`
	Values []map[string]scalar `json:"values"`
}

// Parse reads a body into the rows of the layout's grids. It takes the whole
// body or nothing. A grid that the body does not mention has no rows.
func (l *Layout) Parse(body []byte) (*Snapshot, error) {
	var apps map[string]map[string]json.RawMessage
	if err := json.Unmarshal(body, &apps); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := l.owns(apps); err != nil {
		return nil, err
	}
	s := &Snapshot{rows: make([][]row, len(l.Grids))}
	sections := map[[2]string]map[string]table{}
	for i, g := range l.Grids {
		raw, ok := apps[g.App][g.Section]
		if !ok {
			continue
		}
		if g.ID == "" {
			var columns map[string]scalar
			if err := json.Unmarshal(raw, &columns); err != nil {
				return nil, fmt.Errorf("%w: %s: %w", ErrMalformed, g.Name(), err)
			}
			if columns != nil {
				s.rows[i] = []row{{g.Entity, columns}}
			}
			continue
		}
		at := [2]string{g.App, g.Section}
		if sections[at] == nil {
			var tables []table
			if err := json.Unmarshal(raw, &tables); err != nil {
				return nil, fmt.Errorf("%w: %s: %w", ErrMalformed, g.Section, err)
			}
			sections[at] = map[string]table{}
			for _, t := range tables {
				sections[at][string(t.ID)] = t
			}
		}
		s.name(i, l, sections[at][g.ID].Values)
	}
	for _, list := range l.Lists {
		var elements []map[string]scalar
		if raw, ok := apps[list.App][list.Section]; ok {
			if err := json.Unmarshal(raw, &elements); err != nil {
				return nil, fmt.Errorf("%w: %s: %w", ErrMalformed, list.Section, err)
			}
		}
		var texts []map[string]string
		for _, e := range elements {
			text := make(map[string]string, len(e))
			for name, v := range e {
				text[name] = string(v)
			}
			texts = append(texts, text)
		}
		s.Lists = append(s.Lists, texts)
	}
	return s, nil
}

// owns checks that the body answers exactly the app ids of the layout.
func (l *Layout) owns(apps map[string]map[string]json.RawMessage) error {
	asked := map[string]bool{}
	for _, g := range l.Grids {
		asked[g.App] = true
	}
	for _, list := range l.Lists {
		asked[list.App] = true
	}
	for _, app := range slices.Sorted(maps.Keys(apps)) {
		if !asked[app] {
			return fmt.Errorf("%w: it holds app id %q", ErrForeign, app)
		}
	}
	for _, app := range slices.Sorted(maps.Keys(asked)) {
		if _, ok := apps[app]; !ok {
			return fmt.Errorf("%w: it lacks app id %q", ErrForeign, app)
		}
	}
	return nil
}

// name gives rows their keys; the first of two rows with one key stays.
func (s *Snapshot) name(grid int, l *Layout, values []map[string]scalar) {
	g := l.Grids[grid]
	seen := make(map[string]bool, len(values))
	for _, columns := range values {
		switch key := string(columns[g.Key]); {
		case key == "":
			s.Unnamed++
		case seen[key]:
			s.Duplicates++
		default:
			seen[key] = true
			s.rows[grid] = append(s.rows[grid], row{l.rewrite(g.Kind, "", key), columns})
		}
	}
}

func (l *Layout) rewrite(kind Kind, stat, text string) string {
	if l.Rewrite == nil {
		return text
	}
	return l.Rewrite(kind, stat, text)
}
