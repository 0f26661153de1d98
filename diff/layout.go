package diff

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
)

var (
	// ErrMalformed is returned by [Layout.Parse] for a body that is not valid JSON or not of the
	// shape that the layout describes.
	ErrMalformed = errors.New("malformed snapshot")
	// ErrForeign is returned by [Layout.Parse] when the body holds app ids that are not in the
	// layout, or lacks one that is: it is the response to another subscription.
	ErrForeign = errors.New("snapshot of a foreign subscription")
	// ErrShape is returned by [Layout.Parse] with one of the two errors above for a complete body that
	// is no snapshot of the layout, such as the description of an error.
	ErrShape = errors.New("not of the expected shape")
)

// Kind is a kind of entity: rows of grids of one kind describe the same set.
type Kind string

// Layout describes where rows are in a body, how they are named and which of their columns are
// tracked. Once a body has been parsed by it, its grids' columns, its lists and the results of
// Volatile must not change. It is not safe for concurrent use.
type Layout struct {
	Grids []Grid
	// Lists are sections of other things than entities. Their elements are returned as they are.
	Lists []List
	// Rewrite, if set, replaces texts as they are read, for example by pseudonyms. It is called for
	// keys too, with stat "". It must not map two keys of a kind to the same text.
	Rewrite func(kind Kind, stat, text string) string
	// Volatile reports whether a statistic changes by itself, such as a running clock. Volatile
	// statistics are part of the images and never make a difference. nil means that none is
	// volatile.
	Volatile func(stat string) bool
	// Clock is the statistic that holds for how many seconds an entity has been in its present
	// state, such as state_duration. [ReentryTest] and [State.Clocks] need it.
	Clock string

	compiled *compiledLayout // set at the first use
}

// Grid is one table of a body.
type Grid struct {
	// Kind is what the rows describe.
	Kind Kind
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
	// Columns maps column ids to statistics. A column without a statistic is read for the key
	// alone.
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

// Kinds lists the kinds of the layout in the order of its grids.
func (l *Layout) Kinds() []Kind {
	var kinds []Kind
	for _, g := range l.Grids {
		if !slices.Contains(kinds, g.Kind) {
			kinds = append(kinds, g.Kind)
		}
	}
	return kinds
}

// gridSet holds indexes of Layout.Grids.
type gridSet []int

func (l *Layout) gridsOf(kind Kind) gridSet {
	var set gridSet
	for i, g := range l.Grids {
		if g.Kind == kind {
			set = append(set, i)
		}
	}
	return set
}

// canShow reports whether a row of the layout's grids could be one of the entity.
func (l *Layout) canShow(kind Kind, id string) bool {
	return l != nil && slices.ContainsFunc(l.Grids, func(g Grid) bool { return g.Kind == kind && (g.ID != "" || g.Entity == id) })
}

// idOf returns the id of the entity that a grid shows under a key.
func (l *Layout) idOf(grid int, key string) string {
	if l.Grids[grid].ID == "" {
		return key
	}
	return l.rewrite(l.Grids[grid].Kind, "", key)
}

func (l *Layout) rewrite(kind Kind, stat, text string) string {
	if l.Rewrite == nil {
		return text
	}
	return l.Rewrite(kind, stat, text)
}

// compiledLayout is a layout prepared for parsing.
type compiledLayout struct {
	kinds    []compiledKind
	grids    []compiledGrid
	apps     []string
	sections []compiledSection
}

// compiledKind holds the names of a kind's statistics, each once, in the layout's order.
type compiledKind struct {
	kind     Kind
	fields   *fieldSet
	volatile []bool // by index of names
	grids    gridSet
}

// statIndex returns the index of a statistic, -1 if the kind lacks it.
func (k *compiledKind) statIndex(stat string) int { return slices.Index(k.fields.names, stat) }

// compiledGrid describes the rows of a grid: their members are the columns, each id once.
type compiledGrid struct {
	kind         int // index of compiledLayout.kinds
	members      []member
	key          int             // index of the member that names the row, -1 if it has none
	clock        int             // index of the clock's member, -1 if it has none
	statColumns  [][]int         // by statistic of the kind: the members that hold it; the first one present wins
	statColumn   []int           // by statistic: the only one, if the grid is simple
	matchers     []columnMatcher // by statistic, if the grid is simple and its names are short
	canDiffBytes bool            // no column id could be mistaken for what is between two strings
	// simple reports whether each statistic has exactly one member, unmodified, and columnBits can
	// represent all members.
	simple           bool
	changedStats     map[columnBits][]string // names of statistics that have differed
	lastChangedStats changedStats            // the last result of State.changedStats
	// order is the order of the members in the rows read so far: the index of the nth member, -1
	// for one that is not in the layout. It is a guess for the next row.
	order []int
}

// changedStats is the members that differ in a row, and the names of their statistics.
type changedStats struct {
	cols  columnBits
	stats []string
}

type member struct {
	id      string
	quoted  string // as most bodies write it: "id":
	word    uint64 // the same as one word, of which mask selects the bytes; 0 = too long
	mask    uint64
	tracked bool // a difference in it may be a change
	hasStat bool // it is the text of a statistic
}

// compiledSection lists what reads a section.
type compiledSection struct {
	app          int
	name         string
	rows, tables []int // grids
	lists        []int
}

func (l *Layout) compile() *compiledLayout {
	if l.compiled != nil {
		return l.compiled
	}
	p := &compiledLayout{}
	for _, kind := range l.Kinds() {
		k := compiledKind{kind: kind, grids: l.gridsOf(kind)}
		var stats []string
		for _, g := range l.Grids {
			for _, c := range g.Columns {
				if g.Kind == kind && c.Stat != "" && !slices.Contains(stats, c.Stat) {
					stats = append(stats, c.Stat)
					k.volatile = append(k.volatile, l.Volatile != nil && l.Volatile(c.Stat))
				}
			}
		}
		k.fields = newFieldSet(stats)
		p.kinds = append(p.kinds, k)
	}
	for i, g := range l.Grids {
		p.grids = append(p.grids, p.compileGrid(l, g))
		at := p.ensureSection(g.App, g.Section)
		if g.ID == "" {
			at.rows = append(at.rows, i)
		} else {
			at.tables = append(at.tables, i)
		}
	}
	for i, list := range l.Lists {
		at := p.ensureSection(list.App, list.Section)
		at.lists = append(at.lists, i)
	}
	l.compiled = p
	return p
}

func (p *compiledLayout) compileGrid(l *Layout, g Grid) compiledGrid {
	kind := slices.IndexFunc(p.kinds, func(k compiledKind) bool { return k.kind == g.Kind })
	stats := &p.kinds[kind]
	out := compiledGrid{kind: kind, key: -1, clock: -1, statColumns: make([][]int, len(stats.fields.names))}
	at := func(id string) int {
		i := slices.IndexFunc(out.members, func(m member) bool { return m.id == id })
		if i < 0 {
			i = len(out.members)
			name, err := json.Marshal(id)
			if err != nil {
				name = []byte(`""`) // unreachable: any text can be encoded
			}
			m := member{id: id, quoted: string(name) + ":"}
			if len(m.quoted) <= 8 {
				m.word, m.mask = wordMask(m.quoted)
			}
			out.members = append(out.members, m)
		}
		return i
	}
	for _, c := range g.Columns {
		i := at(c.ID)
		stat := stats.statIndex(c.Stat)
		if stat < 0 {
			continue
		}
		out.statColumns[stat] = append(out.statColumns[stat], i)
		out.members[i].hasStat = true
		out.members[i].tracked = out.members[i].tracked || !stats.volatile[stat]
		if c.Stat == l.Clock {
			out.clock = i
		}
	}
	if g.ID != "" {
		out.key = at(g.Key)
	}
	out.canDiffBytes = len(out.members) > 0 && !slices.ContainsFunc(out.members, func(m member) bool {
		return m.id == "" || strings.Trim(m.id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") != ""
	})
	out.simple = l.Rewrite == nil && len(out.members) <= maxColumns &&
		!slices.ContainsFunc(out.statColumns, func(members []int) bool { return len(members) != 1 })
	if out.simple {
		out.statColumn = slices.Concat(out.statColumns...)
		out.matchers = out.newMatchers(stats)
	}
	return out
}

// wordMask returns a text of at most eight bytes as one word, and a mask that selects its bytes.
func wordMask(text string) (word, mask uint64) {
	var b [8]byte
	n := copy(b[:], text)
	return binary.LittleEndian.Uint64(b[:]), math.MaxUint64 >> (64 - 8*n)
}

func (p *compiledLayout) ensureSection(app, name string) *compiledSection {
	i := slices.Index(p.apps, app)
	if i < 0 {
		i = len(p.apps)
		p.apps = append(p.apps, app)
	}
	at := slices.IndexFunc(p.sections, func(s compiledSection) bool { return s.app == i && s.name == name })
	if at < 0 {
		at = len(p.sections)
		p.sections = append(p.sections, compiledSection{app: i, name: name})
	}
	return &p.sections[at]
}
