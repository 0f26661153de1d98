package diff

import (
	"bytes"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"bpcc-nats/diff/layout"
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
	// Unreadable is the rows that were skipped because they cannot be read.
	Unreadable layout.Unreadable
	// Cut counts the texts that were cut because they were longer than 4,096 bytes.
	Cut int
	// Lists holds the elements of the layout's lists, each a map of member to text.
	Lists [][]map[string]string

	body       []byte
	rows       []row // of all grids
	grids      []gridRows
	duplicates []duplicate // until it is decided which rows count

	// The rest describes the alignment with the previous snapshot; prev is nil if there is none.
	prev      *Snapshot
	repeated  bool    // it has the same body; its rows are those of prev
	moved     bool    // a row has another index than its previous row, or one of the two does not exist
	taken     []int32 // by row of the previous snapshot: one more than the index of the row with its key, 0 for none
	unmatched int     // number of previous rows that no row matches
}

// gridRows is where the rows of a grid are among those of its snapshot.
type gridRows struct {
	from, to int
	skipped  int // rows of the body that are not among them
}

// all yields the rows, each with its grid.
func (s *Snapshot) all() iter.Seq2[int, *row] {
	return func(yield func(int, *row) bool) {
		for i, g := range s.grids {
			for n := g.from; n < g.to; n++ {
				if !yield(i, &s.rows[n]) {
					return
				}
			}
		}
	}
}

// gridOf returns the grid of a row.
func (s *Snapshot) gridOf(row int32) int {
	return slices.IndexFunc(s.grids, func(g gridRows) bool { return g.from <= int(row) && int(row) < g.to })
}

// rowIn returns the index of the row of a grid that shows an entity, -1 for none. The snapshot must
// be the last one.
func (s *Snapshot) rowIn(grid int, e *entity) int {
	for n := e.row; n >= 0; n = s.rows[n].next {
		if g := &s.grids[grid]; g.from <= int(n) && int(n) < g.to {
			return int(n)
		}
	}
	return -1
}

// Rows returns the number of rows in the grid with this index in the layout, unreadable ones
// included.
func (s *Snapshot) Rows(grid int) int {
	return s.grids[grid].to - s.grids[grid].from + s.Unreadable.Rows[grid]
}

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
	return s.prev == nil || s.unmatched > 0 || slices.ContainsFunc(s.rows, func(r row) bool { return r.status >= rowChanged })
}

// Parse reads a body into the rows of the layout's grids. It reads the whole body or returns an error:
// [layout.ErrMalformed] or [layout.ErrForeign]. A grid that the body does not mention has no rows. A
// row that cannot be read is skipped and counted.
func Parse(l *layout.Layout, body []byte) (*Snapshot, error) {
	snap := &Snapshot{}
	if err := compile(l).parse(body, snap, nil); err != nil {
		return nil, err
	}
	return snap, nil
}

// parse reads a body into the memory of a snapshot. What has the same bytes in the last snapshot of
// the state is well-formed and is not read again.
func (l *compiledLayout) parse(body []byte, into *Snapshot, state *State) error {
	if len(body) > math.MaxInt32 {
		return fmt.Errorf("%w: %d bytes", layout.ErrMalformed, len(body))
	}
	p := parser{layout: l, snap: into, state: state}
	if state != nil {
		p.prev = state.last
	}
	if prev := p.prev; prev != nil && bytes.Equal(body, prev.body) {
		rows, grids := into.rows[:0], append(into.grids[:0], prev.grids...)
		*into = Snapshot{
			Duplicates: prev.Duplicates, Unnamed: prev.Unnamed, Oversized: prev.Oversized, Cut: prev.Cut,
			DuplicateKeys: prev.DuplicateKeys, Lists: prev.Lists, body: body, prev: prev, repeated: true, rows: rows, grids: grids,
		}
		return nil
	}
	var unreadable layout.Unreadable
	if !p.parseBody(body) {
		var err error
		if body, unreadable, err = l.Normalize(body); err != nil {
			return err
		}
		if !p.parseBody(body) {
			return fmt.Errorf("%w: a shape that cannot be read", layout.ErrMalformed) // unreachable: Normalize makes a known shape
		}
	}
	into.Unreadable = unreadable
	into.repeated = p.prev != nil && bytes.Equal(body, p.prev.body)
	into.nameDuplicates(l)
	return nil
}

// reset empties a snapshot for a body, and keeps its memory.
func (s *Snapshot) reset(l *compiledLayout, body []byte, prev *Snapshot) {
	*s = Snapshot{
		body: body, prev: prev, rows: s.rows[:0], grids: make([]gridRows, len(l.Grids)), Lists: make([][]map[string]string, len(l.Lists)),
	}
	if prev != nil {
		s.rows, s.taken, s.unmatched = slices.Grow(s.rows, len(prev.rows)), make([]int32, len(prev.rows)), len(prev.rows)
	}
}
