package diff_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/diff"
	"bpcc-nats/diff/image"
	"bpcc-nats/diff/layout"
)

const (
	agent  image.Kind = "agent"
	totals image.Kind = "totals"
)

// image makes an image of names and texts in turn.
func imageOf(pairs ...string) image.Image {
	var stats []image.Stat
	for pair := range slices.Chunk(pairs, 2) {
		stats = append(stats, image.Stat{Name: pair[0], Text: pair[1]})
	}
	return image.New(stats...)
}

// second is how far the snapshots of these tests lie apart.
func second(n int) time.Time { return time.Unix(int64(n), 0).UTC() }

// layoutOf is a layout of two agent grids, a and b, and one section of totals.
func layoutOf() *layout.Layout {
	columns := []layout.Column{{ID: "1", Stat: "login"}, {ID: "2", Stat: "state"}, {ID: "3", Stat: "clock"}}
	return &layout.Layout{
		Grids: []layout.Grid{
			{Kind: agent, App: "app", Section: "agent_grids", ID: "a", Key: "1", Columns: columns},
			{Kind: agent, App: "app", Section: "agent_grids", ID: "b", Key: "1", Columns: columns},
			{Kind: totals, App: "app", Section: "stats_totals", Entity: "all", Columns: []layout.Column{{ID: "waiting", Stat: "waiting"}}},
		},
		Volatile: []string{"clock"},
		Clock:    "clock",
	}
}

// rows writes "anna ready 5; ben busy 1" as the rows of a grid. A - leaves a
// column out, _ is an empty text.
func rows(text string) string {
	var all []string
	for line := range strings.SplitSeq(text, ";") {
		var columns []string
		for i, v := range strings.Fields(line) {
			if v != "-" {
				columns = append(columns, fmt.Sprintf("\"%d\":%q", i+1, strings.Trim(v, "_")))
			}
		}
		if columns != nil {
			all = append(all, "{"+strings.Join(columns, ",")+"}")
		}
	}
	return "[" + strings.Join(all, ",") + "]"
}

func body(a, b string) string {
	return `{"app":{"agent_grids":[{"id":"a","values":` + rows(a) + `},{"id":"b","values":` + rows(b) + `}]}}`
}

// parse reads a body as the snapshot of the nth second.
func parse(tb testing.TB, l *layout.Layout, n int, body string) *diff.Snapshot {
	tb.Helper()
	snap, err := diff.Parse(l, []byte(body))
	if err != nil {
		tb.Fatalf("parse %s: %v", body, err)
	}
	snap.Sent, snap.Received = second(n), second(n).Add(100*time.Millisecond)
	return snap
}

// read parses with a state, aligned with the snapshot that it compared last.
func read(tb testing.TB, s *diff.State, l *layout.Layout, n int, body string) *diff.Snapshot {
	tb.Helper()
	return readBytes(tb, s, l, n, []byte(body))
}

func readBytes(tb testing.TB, s *diff.State, l *layout.Layout, n int, body []byte) *diff.Snapshot {
	tb.Helper()
	snap, err := s.Parse(l, body)
	if err != nil {
		tb.Fatalf("parse %s: %v", body, err)
	}
	snap.Sent, snap.Received = second(n), second(n).Add(100*time.Millisecond)
	return snap
}

// compare parses and compares, where no error is expected.
func compare(tb testing.TB, s *diff.State, l *layout.Layout, n int, body string, o diff.Options) []diff.Change {
	tb.Helper()
	changes, err := s.Compare(l, read(tb, s, l, n, body), o)
	if err != nil {
		tb.Fatalf("compare %s: %v", body, err)
	}
	return changes
}

func acknowledge(s *diff.State, changes []diff.Change) {
	for _, c := range changes {
		s.Set(c.Kind, c.ID, c.After, 1)
	}
}

// describeChanges writes changes in one line, such as "appeared ben; changed anna state=busy".
func describeChanges(changes []diff.Change) string {
	lines := make([]string, 0, len(changes))
	for _, c := range changes {
		line := string(c.Op) + " " + c.ID
		for _, stat := range c.Stats {
			line += " " + stat + "=" + c.After.Text(stat)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "; ")
}

// compareStep is one snapshot and the changes it must give.
type compareStep struct {
	a, b    string // the rows of the grids
	want    string
	err     error
	unacked bool // the changes are not acknowledged
}

// runSteps compares one snapshot after the other, each with the options of its number, from 0.
func runSteps(t *testing.T, l *layout.Layout, steps []compareStep, options func(i int) diff.Options) {
	t.Helper()
	var s diff.State
	for i, step := range steps {
		changes, err := s.Compare(l, read(t, &s, l, i, body(step.a, step.b)), options(i))
		if !errors.Is(err, step.err) {
			t.Fatalf("step %d: error %v, want %v", i, err, step.err)
		}
		if d := cmp.Diff(step.want, describeChanges(changes)); d != "" {
			t.Errorf("step %d (-want +got)\n%s", i, d)
		}
		if !step.unacked {
			acknowledge(&s, changes)
		}
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		limit int // of grid a
		after int // DisappearAfter; 0 = 2
		hold  int // EmptyHold in snapshots; 0 = longer than the test
		steps []compareStep
	}{
		"matched by key, not by position": {steps: []compareStep{
			{a: "anna ready 1; ben busy 1", want: "observed anna; observed ben"},
			{a: "ben busy 1; anna ready 1"},
			{a: "ben ready 1; anna busy 1", want: "changed anna state=busy; changed ben state=ready"},
		}},
		"a changed statistic is reported once": {steps: []compareStep{
			{a: "anna ready 1", want: "observed anna"},
			{a: "anna busy 1", want: "changed anna state=busy"},
			{a: "anna busy 1"},
			{a: "anna ready 1", want: "changed anna state=ready"},
		}},
		"no value is a value": {steps: []compareStep{
			{a: "anna ready 1", want: "observed anna"},
			{a: "anna _ 1", want: "changed anna state="},
			{a: "anna 0 1", want: "changed anna state=0"},
		}},
		"a missing column keeps the last value": {steps: []compareStep{
			{a: "anna ready 1", want: "observed anna"},
			{a: "anna"},
			{a: "anna ready 1"},
			{a: "anna - 1"},
			{a: "anna busy 1", want: "changed anna state=busy"},
		}},
		"a missing row is believed at its second absence": {steps: []compareStep{
			{a: "anna ready 1; ben busy 1", want: "observed anna; observed ben"},
			{a: "anna ready 1"},
			{a: "anna ready 1", want: "disappeared ben"},
			{a: "anna ready 1"},
			{a: "anna ready 1; ben busy 1", want: "appeared ben"},
		}},
		"a row that comes back in between never left": {steps: []compareStep{
			{a: "anna ready 1; ben busy 1", want: "observed anna; observed ben"},
			{a: "anna ready 1"},
			{a: "anna ready 1; ben busy 1"},
			{a: "anna ready 1"},
			{a: "anna ready 1; ben ready 1", want: "changed ben state=ready"},
		}},
		"absences are believed as soon as asked": {after: 1, steps: []compareStep{
			{a: "anna ready 1; ben busy 1", want: "observed anna; observed ben"},
			{a: "anna ready 1", want: "disappeared ben"},
		}},
		"nobody leaves a cut grid": {limit: 2, steps: []compareStep{
			{a: "anna ready 1; ben busy 1", want: "observed anna; observed ben"},
			{a: "anna ready 1; carl busy 1", want: "observed carl"},
			{a: "anna ready 1; carl busy 1"},
			{a: "anna ready 1; carl busy 1"},
			{a: "anna ready 1; ben busy 1"},
		}},
		"a grid shorter than its limit is whole": {limit: 2, steps: []compareStep{
			{a: "anna ready 1; ben busy 1", want: "observed anna; observed ben"},
			{a: "anna ready 1"},
			{a: "anna ready 1", want: "disappeared ben"},
		}},
		"a cut grid between two absences does not count": {limit: 3, steps: []compareStep{
			{a: "anna ready 1; ben busy 1", want: "observed anna; observed ben"},
			{a: "anna ready 1"},
			{a: "anna ready 1; carl ready 1; dora ready 1", want: "observed carl; observed dora"},
			{a: "anna ready 1; carl ready 1", want: "disappeared ben"},
		}},
		"rows that are skipped count for the limit": {limit: 3, steps: []compareStep{
			{a: "anna ready 1; ben busy 1; carl busy 1", want: "observed anna; observed ben; observed carl"},
			{a: "anna ready 1; anna ready 1; carl busy 1"},
			{a: "anna ready 1; _ ready 1; carl busy 1"},
			{a: "anna ready 1; carl busy 1; anna ready 1"},
			{a: "anna ready 1; carl busy 1"},
			{a: "anna ready 1; carl busy 1", want: "disappeared ben"},
		}},
		"grids that are suddenly empty are refused": {steps: []compareStep{
			{a: "anna ready 1", want: "observed anna"},
			{err: diff.ErrEmpty},
			{err: diff.ErrEmpty},
			{a: "anna busy 1", want: "changed anna state=busy"},
		}},
		"grids that stay empty are empty": {hold: 2, steps: []compareStep{
			{a: "anna ready 1", b: "ben busy 1", want: "observed anna; observed ben"},
			{err: diff.ErrEmpty},
			{err: diff.ErrEmpty},
			{want: "disappeared anna; disappeared ben", unacked: true},
			{want: "disappeared anna; disappeared ben"},
			{},
			{a: "anna ready 1", want: "appeared anna"},
		}},
		"the rows of one empty grid are held": {hold: 3, steps: []compareStep{
			{a: "anna ready 1", b: "ben busy 1", want: "observed anna; observed ben"},
			{b: "ben ready 1", want: "changed ben state=ready"},
			{b: "ben ready 1; carl ready 1", want: "appeared carl"},
			{b: "ben ready 1"},
			{b: "ben ready 1", want: "disappeared anna; disappeared carl"},
			{a: "anna ready 1", b: "ben ready 1", want: "appeared anna"},
		}},
		"a grid that is empty in between begins its hold again": {hold: 2, steps: []compareStep{
			{a: "anna ready 1", b: "ben busy 1", want: "observed anna; observed ben"},
			{b: "ben busy 1"},
			{b: "ben busy 1"},
			{a: "anna busy 1", b: "ben busy 1", want: "changed anna state=busy"},
			{b: "ben busy 1"},
			{b: "ben busy 1"},
			{b: "ben busy 1", want: "disappeared anna"},
		}},
		"of two grids each has its own time": {hold: 3, steps: []compareStep{
			{a: "anna ready 1", b: "ben busy 1", want: "observed anna; observed ben"},
			{b: "ben busy 1"},
			{b: "ben busy 1"},
			{err: diff.ErrEmpty},
			{err: diff.ErrEmpty},
			{err: diff.ErrEmpty},
			{want: "disappeared anna; disappeared ben"},
		}},
		"all empty for a moment says nothing of the one that stays empty": {hold: 3, steps: []compareStep{
			{a: "anna ready 1", b: "ben busy 1", want: "observed anna; observed ben"},
			{b: "ben busy 1"},
			{err: diff.ErrEmpty},
			{b: "ben busy 1"},
			{b: "ben busy 1", want: "disappeared anna"},
		}},
		"rows that went before the grid was empty are held with it": {hold: 2, after: 3, steps: []compareStep{
			{a: "anna ready 1; dora ready 1", b: "ben busy 1", want: "observed anna; observed ben; observed dora"},
			{a: "anna ready 1", b: "ben busy 1"},
			{a: "anna ready 1", b: "ben busy 1"},
			{b: "ben busy 1"},
			{a: "anna ready 1", b: "ben busy 1", want: "disappeared dora"},
		}},
		"an entity in two grids is seen by the one that has rows": {hold: 2, steps: []compareStep{
			{a: "anna ready 1", b: "anna ready 1; ben busy 1", want: "observed anna; observed ben"},
			{b: "anna busy 1; ben busy 1", want: "changed anna state=busy"},
			{b: "anna busy 1; ben busy 1"},
			{b: "anna busy 1; ben busy 1"},
			{b: "ben busy 1"},
			{b: "ben busy 1", want: "disappeared anna"},
		}},
		"an entity that both grids lose is held while one of them is empty": {hold: 3, steps: []compareStep{
			{a: "anna ready 1", b: "anna ready 1; ben busy 1", want: "observed anna; observed ben"},
			{b: "ben busy 1"},
			{b: "ben busy 1"},
			{b: "ben busy 1"},
			{b: "ben busy 1", want: "disappeared anna"},
		}},
		"an agent that moves empties no grid": {hold: 9, steps: []compareStep{
			{a: "anna ready 1", b: "ben busy 1", want: "observed anna; observed ben"},
			{b: "anna ready 1; ben busy 1"},
			{b: "ben busy 1"},
			{b: "ben busy 1", want: "disappeared anna"},
		}},
		"nothing is held in a grid that was empty before": {hold: 9, steps: []compareStep{
			{a: "anna ready 1; ben busy 1", want: "observed anna; observed ben"},
			{a: "anna ready 1"},
			{a: "anna ready 1", want: "disappeared ben"},
		}},
		"without a hold an empty grid is like any other": {hold: -1, steps: []compareStep{
			{a: "anna ready 1", want: "observed anna"},
			{},
			{want: "disappeared anna"},
		}},
		"a grid of rows without a key is empty": {hold: 2, steps: []compareStep{
			{a: "anna ready 1", b: "ben busy 1", want: "observed anna; observed ben"},
			{a: "_ ready 1", b: "ben busy 1"},
			{a: "- ready 1", b: "ben busy 1"},
			{a: "_ ready 1", b: "ben busy 1", want: "disappeared anna"},
		}},
		"an empty beginning is a picture like any other": {steps: []compareStep{
			{},
			{a: "anna ready 1", want: "appeared anna"},
		}},
		"a row without a key is left out": {steps: []compareStep{
			{a: "_ ready 1; - busy 1; anna ready 1", want: "observed anna"},
			{a: "_ busy 1; anna ready 1"},
		}},
		"an entity in two grids is one, and the first grid rules": {steps: []compareStep{
			{a: "anna ready 1", b: "anna busy 1; ben busy 1", want: "observed anna; observed ben"},
			{a: "anna ready 1", b: "anna gone 1; ben busy 1"},
			{a: "anna", b: "anna gone 1; ben busy 1", want: "changed anna state=gone"},
			{a: "anna ready 1", b: "anna gone 1; ben busy 1", want: "changed anna state=ready"},
		}},
		"an agent that moves to another grid has not left": {steps: []compareStep{
			{a: "anna ready 1; ben busy 1", b: "carl ready 1", want: "observed anna; observed ben; observed carl"},
			{a: "ben busy 1", b: "anna ready 1; carl ready 1"},
			{a: "ben busy 1", b: "anna ready 1; carl ready 1"},
			{a: "ben busy 1", b: "anna ready 1; carl ready 1"},
			{a: "ben busy 1", b: "carl ready 1"},
			{a: "ben busy 1", b: "carl ready 1", want: "disappeared anna"},
		}},
		"whoever comes after the first picture appears": {steps: []compareStep{
			{a: "anna ready 1", want: "observed anna"},
			{a: "anna ready 1; ben busy 1", want: "appeared ben"},
		}},
		"a row that enters a cut grid is observed": {limit: 2, steps: []compareStep{
			{a: "anna ready 1", want: "observed anna"},
			{a: "anna ready 1; ben busy 1", want: "observed ben"},
			{a: "ben busy 1", b: "dora ready 1", want: "appeared dora"},
		}},
		"a volatile statistic makes no difference": {steps: []compareStep{
			{a: "anna ready 1", want: "observed anna"},
			{a: "anna ready 2"},
			{a: "anna ready 3"},
		}},
		"what is not acknowledged stays a difference": {steps: []compareStep{
			{a: "anna ready 1; ben busy 1", want: "observed anna; observed ben", unacked: true},
			{a: "anna ready 1; ben busy 1", want: "appeared anna; appeared ben"},
			{a: "anna busy 1; ben busy 1", want: "changed anna state=busy", unacked: true},
			{a: "anna busy 1; ben busy 1", want: "changed anna state=busy", unacked: true},
			{a: "anna gone 1; ben busy 1", want: "changed anna state=gone"},
			{a: "anna gone 1"},
			{a: "anna gone 1", want: "disappeared ben", unacked: true},
			{a: "anna gone 1", want: "disappeared ben", unacked: true},
			{a: "anna gone 1; ben busy 1"},
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := layoutOf()
			l.Grids[0].Limit = tt.limit
			o := diff.Options{DisappearAfter: max(tt.after, 2), EmptyHold: time.Hour, Baseline: map[image.Kind]bool{}}
			if tt.hold != 0 {
				o.EmptyHold = time.Duration(max(tt.hold, 0)) * time.Second
			}
			if tt.after > 0 {
				o.DisappearAfter = tt.after
			}
			runSteps(t, l, tt.steps, func(i int) diff.Options {
				o.Baseline[agent] = o.Baseline[agent] || i > 0 && tt.steps[i-1].err == nil
				return o
			})
		})
	}
}

func TestChangesComeByKindThenID(t *testing.T) {
	t.Parallel()
	l := layoutOf()
	slices.Reverse(l.Grids) // totals now stand first
	var s diff.State
	text := strings.Replace(body("zoe ready 1; anna ready 1", "mia ready 1"), `{"app":{`, `{"app":{"stats_totals":{"waiting":"3"},`, 1)
	got := describeChanges(compare(t, &s, l, 0, text, diff.Options{DisappearAfter: 2}))
	if d := cmp.Diff("observed all; observed anna; observed mia; observed zoe", got); d != "" {
		t.Errorf("order (-want +got)\n%s", d)
	}
}

func TestChangeHasImages(t *testing.T) {
	t.Parallel()
	l, o := layoutOf(), diff.Options{DisappearAfter: 1}
	var s diff.State
	acknowledge(&s, compare(t, &s, l, 0, body("anna ready 1; ben busy 7", ""), o))
	// The clock ticks unseen, and rides along with the next difference.
	acknowledge(&s, compare(t, &s, l, 1, body("anna ready 2; ben busy 8", ""), o))
	row := func(login, state, clock string) image.Image {
		return imageOf("login", login, "state", state, "clock", clock)
	}
	want := []diff.Change{
		{
			Op: diff.Changed, Kind: agent, ID: "anna", Stats: []string{"state"},
			Before: row("anna", "ready", "1"), After: row("anna", "busy", "3"), Revision: 1, SeenUntil: second(1),
		},
		{Op: diff.Disappeared, Kind: agent, ID: "ben", Before: row("ben", "busy", "7"), Revision: 1, SeenUntil: second(1)},
	}
	if d := cmp.Diff(want, compare(t, &s, l, 2, body("anna busy 3", ""), o)); d != "" {
		t.Errorf("changes (-want +got)\n%s", d)
	}
}
