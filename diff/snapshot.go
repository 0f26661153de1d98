package diff

import (
	"bytes"
	"fmt"
	"math"
	"time"
)

// Snapshot is what one body shows: the rows of each grid of the layout. It
// reads the body's own bytes, which must not change while it is in use.
type Snapshot struct {
	// Sent and Received bound the instant of the snapshot; the caller sets them.
	Sent, Received time.Time
	// Duplicates, Unnamed and Oversized count the rows left out because their
	// key came a second time in one grid, was empty, or longer than 512 bytes.
	Duplicates, Unnamed, Oversized int
	// Cut counts the texts that were cut because they are longer than 4,096 bytes.
	Cut int
	// Lists holds the elements of the layout's lists, each a map of member to
	// text.
	Lists [][]map[string]string

	body       []byte
	layout     *Layout
	grids      []table
	cutInLists int     // texts cut in the lists
	spareGrids []table // memory for grids, while those are another snapshot's

	// What follows tells how it stands beside an older snapshot; nil = beside none.
	prev       *Snapshot
	repeated   bool // it is the same body
	stateOwned bool // it is a state's memory
}

// table is a grid's rows in one snapshot.
type table struct {
	rows []row
	// keys name the rows that have nothing beside them, in the order of rows.
	keys []rowKey
	// changedCols tells what differs in the rows that have to be looked at and have one
	// beside them, in the order of rows.
	changedCols []columnBits
	// firstMoved is the first row that has another index than the one beside it, or
	// none beside it; -1 if there is no such row.
	firstMoved int
	// matched tells which of the older snapshot's rows have one beside them.
	matched      bitset
	unmatched    int // how many have none
	changedCount int // how many rows have to be looked at
}

// shrink gives back memory for rows that the table does not have.
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

// resized gives an empty set for numbers below n, in the same memory if it can.
func (s bitset) resized(n int) bitset {
	words := (n + 63) / 64
	if cap(s) < words {
		return make(bitset, words)
	}
	s = s[:words]
	clear(s)
	return s
}

// Rows tells how many rows the grid with this index in the layout holds.
func (s *Snapshot) Rows(grid int) int { return len(s.grids[grid].rows) }

// Repeated reports whether the source has served the body of the snapshot before
// once more. Only what [State.Parse] returns knows.
func (s *Snapshot) Repeated() bool { return s.repeated }

// Parse reads a body into the rows of the layout's grids. It takes the whole
// body or nothing. A grid that the body does not mention has no rows. The errors
// are [ErrMalformed] and [ErrForeign].
func (l *Layout) Parse(body []byte) (*Snapshot, error) {
	return l.parse(body, &Snapshot{}, nil, nil)
}

// finder finds the entity of a kind that has a key.
type finder func(kind int, key []byte) *entity

// parse reads a body into the memory of a snapshot. What an older snapshot
// holds, byte by byte, is known to be well-formed and not read again.
func (l *Layout) parse(body []byte, into, prev *Snapshot, find finder) (*Snapshot, error) {
	if len(body) > math.MaxInt32 {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(body))
	}
	p := parser{layout: l, compiled: l.compile(), snap: into, prev: prev, find: find}
	if prev != nil && bytes.Equal(body, prev.body) {
		*into = Snapshot{
			Duplicates: prev.Duplicates, Unnamed: prev.Unnamed, Oversized: prev.Oversized, Cut: prev.Cut,
			Lists: prev.Lists, layout: l, body: body, prev: prev, repeated: true,
			grids: prev.grids, spareGrids: into.gridMemory(),
		}
		return into, nil
	}
	if p.parseBody(body) {
		return into, nil
	}
	body, err := l.normalize(body)
	if err != nil {
		return nil, err
	}
	if !p.parseBody(body) {
		return nil, fmt.Errorf("%w: a shape that cannot be read", ErrMalformed) // cannot be
	}
	into.repeated = prev != nil && bytes.Equal(body, prev.body)
	return into, nil
}

// gridMemory is the snapshot's own, for grids.
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
		body: body, layout: l, prev: prev, grids: grids,
		Lists: make([][]map[string]string, len(l.Lists)),
	}
}
