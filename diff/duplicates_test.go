package diff_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/diff"
	"bpcc-nats/diff/image"
	"bpcc-nats/diff/layout"
)

// TestDuplicates: of several rows of one key in one grid the one counts that repeats what is
// published, whatever their order; otherwise the first one.
func TestDuplicates(t *testing.T) {
	t.Parallel()
	tests := map[string][]compareStep{
		"in turns": {
			{a: "anna ready 1; ben busy 1", want: "observed anna; observed ben"},
			{a: "anna ready 1; anna gone 1; ben busy 1"},
			{a: "anna gone 1; anna ready 1; ben busy 1"},
			{a: "ben busy 1; anna gone 2; anna ready 2"},
			{a: "anna gone 3; ben ready 1; anna ready 3", want: "changed ben state=ready"},
			{a: "ben ready 1; anna ready 4; anna gone 4"},
		},
		"from the first snapshot on": {
			{a: "anna ready 1; anna busy 1", want: "observed anna"},
			{a: "anna busy 1; anna ready 1"},
			{a: "anna ready 1; anna busy 1"},
		},
		"three": {
			{a: "anna ready 1; anna busy 1; anna gone 1", want: "observed anna"},
			{a: "anna gone 1; anna busy 1; anna ready 1"},
			{a: "anna busy 1; anna ready 1; anna gone 1"},
			{a: "anna busy 1; anna gone 1", want: "changed anna state=busy"},
			{a: "anna gone 1; anna ready 1; anna busy 1"},
		},
		"another one changes": {
			{a: "anna ready 1; anna busy 1", want: "observed anna"},
			{a: "anna gone 1; anna ready 1"},
			{a: "anna away 2; anna ready 2"},
			{a: "anna ready 2; anna busy 2"},
		},
		"all change": {
			{a: "anna ready 1; anna busy 1", want: "observed anna"},
			{a: "anna gone 1; anna away 1", want: "changed anna state=gone"},
			{a: "anna away 1; anna gone 1"},
		},
		"the published one goes": {
			{a: "anna ready 1; anna busy 1", want: "observed anna"},
			{a: "anna busy 1", want: "changed anna state=busy"},
			{a: "anna ready 1; anna busy 1"},
		},
		"after an absence": {
			{a: "anna ready 1; ben busy 1", want: "observed anna; observed ben"},
			{a: "ben busy 1"},
			{a: "anna gone 1; anna ready 1; ben busy 1"},
		},
		"two grids are no duplicate": {
			{a: "anna ready 1", b: "anna busy 1", want: "observed anna"},
			{a: "anna gone 1", b: "anna ready 1", want: "changed anna state=gone"},
		},
		"in the second of two grids": {
			{a: "anna ready 1", b: "anna busy 1; anna gone 1; ben busy 1", want: "observed anna; observed ben"},
			{a: "anna ready 1", b: "ben gone 1; ben busy 1; anna gone 1; anna busy 1"},
			{b: "ben busy 1; anna busy 1; anna ready 1; ben gone 1"},
		},
		"a column that is missing contradicts nothing": {
			{a: "anna ready 1; anna busy 1", want: "observed anna"},
			{a: "anna busy 1; anna"},
			{a: "anna busy 1; anna ready 1"},
		},
		"what was not acknowledged is not published": {
			{a: "anna ready 1; anna busy 1", want: "observed anna", unacked: true},
			{a: "anna busy 1; anna ready 1", want: "observed anna"},
			{a: "anna ready 1; anna gone 1", want: "changed anna state=ready", unacked: true},
			{a: "anna ready 1; anna busy 1"},
		},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runSteps(t, layoutOf(), steps, func(i int) diff.Options {
				return diff.Options{DisappearAfter: 2, Baseline: map[image.Kind]bool{agent: i > 1}}
			})
		})
	}
}

// TestDuplicatesAfterARestart: nothing is known but what was published, and with one layout or
// another the row that repeats it counts.
func TestDuplicatesAfterARestart(t *testing.T) {
	t.Parallel()
	for name, columns := range map[string][]layout.Column{
		"the same columns": nil,
		"another column":   {{ID: "4", Stat: "extension"}},
		"a key of its own": {{ID: "9"}},
	} {
		for _, aligned := range []bool{true, false} {
			t.Run(fmt.Sprint(name, aligned), func(t *testing.T) {
				t.Parallel()
				l := layoutOf()
				l.Grids[0].Columns = append(l.Grids[0].Columns[:3:3], columns...)
				var s diff.State
				s.Set(agent, "anna", imageOf("login", "anna", "state", "ready", "clock", "7"), 3)
				var got []diff.Change
				if text := body("anna busy 1; anna ready 1; anna gone 1", ""); aligned {
					got = compare(t, &s, l, 0, text, diff.Options{})
				} else {
					got, _ = s.Compare(l, parse(t, l, 0, text), diff.Options{})
				}
				if len(got) > 0 {
					t.Errorf("got %s, want nothing", describeChanges(got))
				}
			})
		}
	}
}

// TestDuplicateClocks: of two rows that differ in their clocks alone the one counts whose clock goes
// on, so that their order is no round trip.
func TestDuplicateClocks(t *testing.T) {
	t.Parallel()
	l := layoutOf()
	var s diff.State
	o := diff.Options{ReentryTest: &diff.ReentryTest{
		Clock:  func(before, after int) bool { return before > after },
		Images: func(_ image.Kind, seen, now image.Image) bool { return seen.Text("clock") > now.Text("clock") },
	}}
	for i, rows := range []string{
		"anna ready 5; anna ready 900", "anna ready 902; anna ready 7", "anna ready 9; anna ready 904; anna gone 8", "anna ready; anna ready 906; anna ready 9",
	} {
		changes := compare(t, &s, l, i, body(rows, ""), o)
		if got := describeChanges(changes); i > 0 && got != "" {
			t.Errorf("snapshot %d gives %q, want nothing", i, got)
		}
		acknowledge(&s, changes)
	}
	if latest, _ := s.Latest(agent, "anna"); latest.Text("clock") != "9" {
		t.Errorf("the clock is %s, want 9", latest.Text("clock"))
	}
}

// TestDuplicateKeys are named with their grid, the first three in order, as their ids.
func TestDuplicateKeys(t *testing.T) {
	t.Parallel()
	l := layoutOf()
	l.Rewrite = func(_ image.Kind, _, text string) string { return strings.ToUpper(text) }
	var s diff.State
	for i, test := range []struct {
		a, b string
		want [][]string
	}{
		{"anna ready 1; ben busy 1", "anna ready 1", nil},
		{"anna ready 1; ben busy 1; anna busy 1", "anna ready 1", [][]string{{"ANNA"}, nil, nil}},
		{"e; d; c; b; a; e; d; c; b; b; a; a", "anna ready 1; anna ready 1", [][]string{{"A", "B", "C"}, {"ANNA"}, nil}},
		{"d; a; b; c; b; c; d; c", "anna ready 1", [][]string{{"B", "C", "D"}, nil, nil}},
		{"anna ready 1; ben busy 1", "anna ready 1", nil},
	} {
		text := body(test.a, test.b)
		snap := read(t, &s, l, i, text)
		for _, got := range [][][]string{snap.DuplicateKeys, parse(t, l, i, text).DuplicateKeys} {
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("snapshot %d (-want +got)\n%s", i, d)
			}
		}
		if _, err := s.Compare(l, snap, diff.Options{}); err != nil {
			t.Fatal(err)
		}
		if again := read(t, &s, l, i, text); !again.Repeated() || !cmp.Equal(test.want, again.DuplicateKeys) {
			t.Errorf("snapshot %d repeated: %q, want %q", i, again.DuplicateKeys, test.want)
		}
	}
}

// TestDuplicatesOfRewrittenKeys: after a restart an entity is known by its id, not by its key.
func TestDuplicatesOfRewrittenKeys(t *testing.T) {
	t.Parallel()
	l := layoutOf()
	l.Rewrite = func(_ image.Kind, stat, text string) string {
		if stat == "" || stat == "login" {
			return strings.ToUpper(text)
		}
		return text
	}
	var s diff.State
	s.Set(agent, "ANNA", imageOf("login", "ANNA", "state", "ready", "clock", "7"), 3)
	for n, rows := range []string{"anna busy 8; anna ready 8", "anna busy 9; anna ready 9"} {
		if got := describeChanges(compare(t, &s, l, n, body(rows, "anna busy 8"), diff.Options{})); got != "" {
			t.Errorf("snapshot %d gives %q, want nothing", n, got)
		}
	}
}

// TestManyDuplicates: of very many pairs, in both orders, the published row counts.
func TestManyDuplicates(t *testing.T) {
	t.Parallel()
	l := layoutOf()
	var s diff.State
	var once, others []string
	for i := range 20_000 {
		once = append(once, fmt.Sprintf("agent%d ready 1", i))
		others = append(others, fmt.Sprintf("agent%d gone 1", i))
	}
	acknowledge(&s, compare(t, &s, l, 0, body(strings.Join(once, ";"), ""), diff.Options{}))
	for n, rows := range [][]string{append(others[:len(others):len(others)], once...), append(once[:len(once):len(once)], others...)} {
		if got := len(compare(t, &s, l, n+1, body(strings.Join(rows, ";"), ""), diff.Options{})); got > 0 {
			t.Errorf("snapshot %d has %d changes, want none", n+1, got)
		}
	}
}
