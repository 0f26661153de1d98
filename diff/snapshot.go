package diff

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"time"
)

// Snapshot is the content of one body: the rows of each grid of the layout. It refers to the body's
// own bytes, which must not change while it is in use.
type Snapshot struct {
	// Sent and Received are the bounds of the snapshot's time; the caller sets them.
	Sent, Received time.Time
	// Duplicates, Unnamed and Oversized count the rows that were skipped because their key was a
	// duplicate in its grid, was empty, or was longer than 512 bytes.
	Duplicates, Unnamed, Oversized int
	// DuplicateKeys lists, by grid of the layout, the ids that several rows have: the first three in
	// order. It is nil if no grid has one.
	DuplicateKeys [][]string
	// Unreadable counts the rows, and the elements of lists, that were skipped because they are no
	// object, or because a value in them is an array or an object.
	Unreadable int
	// UnreadableRows names the first of them in the order of their names, three at most.
	UnreadableRows []UnreadableRow
	// Cut counts the texts that were cut because they were longer than 4,096 bytes.
	Cut int
	// Lists holds the elements of the layout's lists, each a map of member to text.
	Lists [][]map[string]string

	body       []byte
	grids      []table
	unreadable *unreadableRows // nil for none
	cutInLists int             // texts cut in the lists
	spareGrids []table         // spare memory for grids, while those belong to another snapshot

	// The rest describes the alignment with the previous snapshot; prev is nil if there is none.
	prev       *Snapshot
	repeated   bool // it has the same body
	stateOwned bool // its memory belongs to a State
}

// table is a grid's rows in one snapshot.
type table struct {
	rows []row
	// keys name the rows that have no previous row, in the order of rows.
	keys []rowKey
	// changedCols are the columns that differ in the rows with status rowChanged that have a
	// previous row, in the order of rows.
	changedCols []columnBits
	// firstMoved is the first row whose previous row has another index or does not exist; -1 if
	// there is no such row.
	firstMoved int
	// matched is the set of the previous snapshot's rows that a row of this one matches.
	matched      bitset
	unmatched    int // number of previous rows that no row matches
	changedCount int // number of rows with status rowChanged
	skipped      int // number of rows of the body that are not in rows
	duplicates   []duplicate
}

// shrink releases memory for rows that the table does not have.
func (t *table) shrink() {
	t.keys = shrink(t.keys, 0, len(t.rows))[:0]
	t.changedCols = shrink(t.changedCols, len(t.changedCols), len(t.rows))[:0]
	if cap(t.rows) > len(t.rows)+len(t.rows)/16+16 {
		t.rows = append(make([]row, 0, len(t.rows)+len(t.rows)/32), t.rows...)
	}
}

type rowKey struct {
	row int
	key string
}

type bitset []uint64

func (s bitset) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }
func (s bitset) set(i int)      { s[i/64] |= 1 << (i % 64) }

// resized returns an empty set for numbers below n, in the same memory if it is large enough.
func (s bitset) resized(n int) bitset {
	words := (n + 63) / 64
	if cap(s) < words {
		return make(bitset, words)
	}
	s = s[:words]
	clear(s)
	return s
}

// Rows returns the number of rows in the grid with this index in the layout, unreadable ones
// included.
func (s *Snapshot) Rows(grid int) int { return len(s.grids[grid].rows) + s.unreadable.inGrid(grid) }

// BodyRows returns the number of rows that the body has in a grid, with those that are skipped. A
// limit counts them too.
func (s *Snapshot) BodyRows(grid int) int { return s.Rows(grid) + s.grids[grid].skipped }

// Repeated reports whether the source has sent the body of the previous snapshot again. Only a
// snapshot from [State.Parse] can be repeated.
func (s *Snapshot) Repeated() bool { return s.repeated }

// Differs reports whether a row or a tracked statistic may differ from the previous snapshot's. Only
// a snapshot from [State.Parse] has a previous one; any other differs.
func (s *Snapshot) Differs() bool {
	if s.repeated {
		return false
	}
	return s.prev == nil || slices.ContainsFunc(s.grids, func(t table) bool { return t.changedCount > 0 || t.unmatched > 0 })
}

// Parse reads a body into the rows of the layout's grids. It reads the whole body or returns an
// error: [ErrMalformed] or [ErrForeign]. A grid that the body does not mention has no rows. A row that
// cannot be read is skipped and counted.
func (l *Layout) Parse(body []byte) (*Snapshot, error) {
	return l.parse(body, &Snapshot{}, nil, nil)
}

// finder finds the entity of a kind that has a key.
type finder func(kind int, key []byte) *entity

// parse reads a body into the memory of a snapshot. What has the same bytes in the previous
// snapshot is well-formed and is not read again.
func (l *Layout) parse(body []byte, into, prev *Snapshot, find finder) (*Snapshot, error) {
	if len(body) > math.MaxInt32 {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(body))
	}
	p := parser{layout: l, compiled: l.compile(), snap: into, prev: prev, find: find}
	if prev != nil && bytes.Equal(body, prev.body) {
		*into = Snapshot{
			Duplicates: prev.Duplicates, Unnamed: prev.Unnamed, Oversized: prev.Oversized, Cut: prev.Cut,
			DuplicateKeys: prev.DuplicateKeys, Lists: prev.Lists, body: body, prev: prev, repeated: true,
			grids: prev.grids, spareGrids: into.gridMemory(),
		}
		return into, nil
	}
	if p.parseBody(body) {
		into.nameDuplicates(l)
		return into, nil
	}
	body, unreadable, err := l.normalize(body)
	if err != nil {
		return nil, err
	}
	if !p.parseBody(body) {
		return nil, fmt.Errorf("%w: a shape that cannot be read", ErrMalformed) // unreachable: normalize makes a known shape
	}
	into.nameDuplicates(l)
	into.setUnreadable(unreadable)
	into.repeated = prev != nil && bytes.Equal(body, prev.body)
	return into, nil
}

// gridMemory returns the snapshot's own memory for grids.
func (s *Snapshot) gridMemory() []table {
	if s.prev != nil && s.repeated {
		return s.spareGrids
	}
	return s.grids
}

// reset empties a snapshot for a body, and keeps its memory.
func (s *Snapshot) reset(l *Layout, body []byte, prev *Snapshot) {
	grids := s.gridMemory()
	if len(grids) != len(l.Grids) {
		grids = make([]table, len(l.Grids))
	}
	for i := range grids {
		t := &grids[i]
		clear(t.keys)
		*t = table{rows: t.rows[:0], keys: t.keys[:0], changedCols: t.changedCols[:0], matched: t.matched, firstMoved: -1}
	}
	*s = Snapshot{
		body: body, prev: prev, grids: grids,
		Lists: make([][]map[string]string, len(l.Lists)),
	}
}
