package diff_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/diff"
	"bpcc-nats/diff/image"
	"bpcc-nats/diff/layout"
)

// agentRows writes n agents in the rows notation of these tests.
func agentRows(from, to int) string {
	var all []string
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprintf("agent%02d ready 1", i))
	}
	return strings.Join(all, "; ")
}

func TestSeenUntil(t *testing.T) {
	t.Parallel()
	both, one := body("anna ready 1; ben busy 1", ""), body("anna ready 1", "")
	tests := map[string]struct {
		known  bool // ben is known from before the first snapshot
		limit  int
		bodies []string
		want   time.Time
	}{
		"the last snapshot with the row": {bodies: []string{both, both, one, one}, want: second(1)},
		"the only snapshot with the row": {bodies: []string{both, one, one}, want: second(0)},
		"after it came back":             {bodies: []string{both, one, both, one, one}, want: second(2)},
		// What was known before says nothing about when it was seen; the first
		// snapshot, which lacks the row, is no such time.
		"never seen": {known: true, bodies: []string{one, one}},
		// A cut grid may hide the row; only the one that showed it counts.
		"not shown by a cut grid": {
			limit:  3,
			bodies: []string{both, body("anna ready 1; carl ready 1; dora ready 1", ""), one, one},
			want:   second(0),
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := layoutOf()
			l.Grids[0].Limit = tt.limit
			var s diff.State
			if tt.known {
				s.Set(agent, "ben", imageOf("login", "ben"), 1)
			}
			var last []diff.Change
			for i, b := range tt.bodies {
				last = compare(t, &s, l, i, b, diff.Options{DisappearAfter: 2})
				acknowledge(&s, last)
			}
			for _, c := range last {
				if c.ID != "ben" {
					continue
				}
				if c.Op != diff.Disappeared || !c.SeenUntil.Equal(tt.want) {
					t.Errorf("%s, seen until %v, want disappeared, %v", c.Op, c.SeenUntil, tt.want)
				}
				return
			}
			t.Errorf("ben's departure is not reported: %s", describeChanges(last))
		})
	}
}

func TestKnownFromBefore(t *testing.T) {
	t.Parallel()
	l, o := layoutOf(), diff.Options{DisappearAfter: 2, EmptyHold: 3 * time.Second, Baseline: map[image.Kind]bool{agent: true}}
	var s diff.State
	s.Set(agent, "anna", imageOf("login", "anna", "state", "ready", "clock", "1"), 1)
	s.Set(agent, "ben", imageOf("login", "ben"), 1)
	if _, err := s.Compare(l, parse(t, l, 0, body("", "")), o); !errors.Is(err, diff.ErrEmpty) {
		t.Errorf("an empty first snapshot: error %v, want ErrEmpty", err)
	}
	got := []string{
		describeChanges(compare(t, &s, l, 1, body("anna busy 1; carl ready 1", "dora busy 1"), o)),
		describeChanges(compare(t, &s, l, 2, body("anna busy 1; carl ready 1", "dora busy 1"), o)),
	}
	want := []string{
		"changed anna state=busy; appeared carl; appeared dora",
		"changed anna state=busy; appeared carl; appeared dora; disappeared ben",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("changes (-want +got)\n%s", d)
	}
}

// A kind's whereabouts that are not known could be any grid of the kind, so one
// that is empty holds the entity.
func TestKnownFromBeforeIsHeldByAnEmptyGrid(t *testing.T) {
	t.Parallel()
	l, o := layoutOf(), diff.Options{DisappearAfter: 1, EmptyHold: 2 * time.Second}
	var s diff.State
	s.Set(agent, "anna", imageOf("login", "anna", "state", "ready"), 1)
	s.Set(agent, "ben", imageOf("login", "ben"), 1)
	var got []string
	for n := range 4 {
		changes := compare(t, &s, l, n, body("anna ready 1", ""), o)
		got = append(got, fmt.Sprint(describeChanges(changes), s.Emptied()))
		acknowledge(&s, changes)
	}
	if d := cmp.Diff([]string{"[1]", "[1]", "disappeared ben[]", "[]"}, got); d != "" {
		t.Errorf("changes and emptied grids (-want +got)\n%s", d)
	}
}

// A kind's whereabouts that are not known could be any grid of the kind, so one
// that is cut keeps the entity.
func TestKnownFromBeforeIsNotMissedInACutGrid(t *testing.T) {
	t.Parallel()
	l, o := layoutOf(), diff.Options{DisappearAfter: 1}
	l.Grids[1].Limit = 1
	var s diff.State
	s.Set(agent, "ben", imageOf("login", "ben"), 1)
	if got := describeChanges(compare(t, &s, l, 0, body("anna ready 1", "carl ready 1"), o)); strings.Contains(got, "ben") {
		t.Errorf("got %q, want nothing of ben", got)
	}
}

// TestSeenUntilOfAChange lets a row come back changed: the change may have
// happened at any time since the row was last shown.
func TestSeenUntilOfAChange(t *testing.T) {
	t.Parallel()
	both, one := body("anna ready 1; ben busy 1", ""), body("anna ready 1", "")
	l, o := layoutOf(), diff.Options{DisappearAfter: 3}
	var s diff.State
	for i, b := range []string{both, both, one, one} {
		acknowledge(&s, compare(t, &s, l, i, b, o))
		since, any := s.MissingSince()
		if missing := b == one; any != missing || missing && !since.Equal(second(1)) {
			t.Errorf("snapshot %d: missing %v since %v", i, any, since)
		}
	}
	changes := compare(t, &s, l, 4, body("anna busy 1; ben ready 1", ""), o)
	got := map[string]time.Time{}
	for _, c := range changes {
		got[c.ID] = c.SeenUntil
	}
	if d := cmp.Diff(map[string]time.Time{"anna": second(3), "ben": second(1)}, got); d != "" {
		t.Errorf("seen until (-want +got)\n%s", d)
	}
	if since, any := s.MissingSince(); any {
		t.Errorf("still missing since %v", since)
	}
}

func TestColumnsComeAndGo(t *testing.T) {
	t.Parallel()
	known := imageOf("login", "anna", "state", "ready", "team", "Sales")
	var s diff.State
	s.Set(agent, "anna", known, 1)
	// clock is newly asked for and volatile; team is not asked for any more.
	if got := describeChanges(compare(t, &s, layoutOf(), 0, body("anna ready 1", ""), diff.Options{})); got != "" {
		t.Errorf("got %q, want nothing: a column that is no longer subscribed is dropped silently", got)
	}
	l := layoutOf()
	l.Grids[0].Columns = append(l.Grids[0].Columns[:3:3], layout.Column{ID: "4", Stat: "extension"})
	changes := compare(t, &s, l, 1, body("anna ready 1 77", ""), diff.Options{})
	want := []diff.Change{{
		Op: diff.Changed, Kind: agent, ID: "anna", Stats: []string{"extension"}, Before: known,
		After:     imageOf("login", "anna", "state", "ready", "clock", "1", "extension", "77"),
		Revision:  1,
		SeenUntil: second(0),
	}}
	if d := cmp.Diff(want, changes); d != "" {
		t.Errorf("a column newly asked for counts as different (-want +got)\n%s", d)
	}
}

// Grids of different columns each hold their part of one image.
func TestGridsAreMergedByKey(t *testing.T) {
	t.Parallel()
	l := layoutOf()
	l.Grids[1].Key = "9"
	l.Grids[1].Columns = []layout.Column{{ID: "9"}, {ID: "8", Stat: "team"}, {ID: "7", Stat: "state"}}
	text := `{"app":{"agent_grids":[{"id":"b","values":[{"9":"anna","8":"Sales","7":"other"},{"9":"ben","8":"Sales","7":"busy"}]},
		{"id":"a","values":[{"1":"anna","2":"ready","3":"1"}]}]}}`
	var s diff.State
	got := map[string]image.Image{}
	for _, c := range compare(t, &s, l, 0, text, diff.Options{}) {
		got[c.ID] = c.After
	}
	want := map[string]image.Image{
		"anna": imageOf("login", "anna", "state", "ready", "clock", "1", "team", "Sales"),
		"ben":  imageOf("state", "busy", "team", "Sales"),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("images (-want +got)\n%s", d)
	}
}

func TestTotals(t *testing.T) {
	t.Parallel()
	l, o := layoutOf(), diff.Options{DisappearAfter: 1, Baseline: map[image.Kind]bool{}}
	var s diff.State
	steps := []struct{ section, want string }{
		{`"stats_totals":{"waiting":"3"}`, "observed all"},
		{`"stats_totals":{"waiting":3}`, ""},
		{`"stats_totals":{"waiting":4}`, "changed all waiting=4"},
		// One row cannot leave: it is not known this time.
		{``, ""},
		{`"stats_totals":null`, ""},
		{`"stats_totals":{}`, ""},
		{`"stats_totals":{"waiting":""}`, "changed all waiting="},
	}
	for i, step := range steps {
		changes := compare(t, &s, l, i, `{"app":{`+step.section+`}}`, o)
		if d := cmp.Diff(step.want, describeChanges(changes)); d != "" {
			t.Errorf("%s (-want +got)\n%s", step.section, d)
		}
		acknowledge(&s, changes)
	}
}

func TestMassDepartureIsHeld(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		before, after int // how many agents
		want          []string
		held          []int
	}{
		"more than half":        {10, 4, []string{"", "", "", "disappeared"}, []int{6, 6, 0, 0}},
		"half is no mass":       {10, 5, []string{"", "disappeared"}, []int{0, 0}},
		"nine are too few":      {9, 1, []string{"", "disappeared"}, []int{0, 0}},
		"all but one of twenty": {20, 1, []string{"", "", "", "disappeared"}, []int{19, 19, 0, 0}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, o := layoutOf(), diff.Options{DisappearAfter: 2, MassHold: 2 * time.Second}
			var s diff.State
			acknowledge(&s, compare(t, &s, l, 0, body(agentRows(0, tt.before), ""), o))
			for i, want := range tt.want {
				changes := compare(t, &s, l, i+1, body(agentRows(0, tt.after), ""), o)
				op, _, _ := strings.Cut(describeChanges(changes), " ")
				if gone := tt.before - tt.after; op != want || want != "" && len(changes) != gone {
					t.Errorf("snapshot %d: %d changes, %q; want %d, %q", i+1, len(changes), op, gone, want)
				}
				if got := s.HeldBack(agent); got != tt.held[i] {
					t.Errorf("snapshot %d: %d held, want %d", i+1, got, tt.held[i])
				}
				acknowledge(&s, changes)
			}
		})
	}
}

func TestMassReturnEndsTheHold(t *testing.T) {
	t.Parallel()
	l, o := layoutOf(), diff.Options{DisappearAfter: 1, MassHold: 3 * time.Second}
	var s diff.State
	acknowledge(&s, compare(t, &s, l, 0, body(agentRows(0, 20), ""), o))
	for i, n := range []int{2, 2, 20, 2, 2, 2} {
		if got := describeChanges(compare(t, &s, l, i+1, body(agentRows(0, n), ""), o)); got != "" {
			t.Errorf("snapshot %d of %d agents gives %q, want nothing", i+1, n, got)
		}
	}
	if got := len(compare(t, &s, l, 7, body(agentRows(0, 2), ""), o)); got != 18 {
		t.Errorf("%d changes when the second departure has lasted, want 18", got)
	}
}

func TestReentry(t *testing.T) {
	t.Parallel()
	l := layoutOf()
	var s diff.State
	acknowledge(&s, compare(t, &s, l, 0, body("anna ready 9; ben ready 9", ""), diff.Options{}))
	o := diff.Options{ReentryTest: &diff.ReentryTest{
		Clock: func(before, after int) bool { return before > after },
		Images: func(kind image.Kind, seen, now image.Image) bool {
			return kind == agent && seen.Text("clock") > now.Text("clock")
		},
	}}
	changes := compare(t, &s, l, 1, body("anna ready 1; ben ready 9; carl ready 1", ""), o)
	if d := cmp.Diff("changed anna; observed carl", describeChanges(changes)); d != "" {
		t.Errorf("changes (-want +got)\n%s", d)
	}
	if got := describeChanges(compare(t, &s, l, 2, body("anna ready 2; ben ready 9", ""), o)); got != "" {
		t.Errorf("got %q; the previous snapshot counts, not what is known", got)
	}
}

func TestPresentAndKnown(t *testing.T) {
	t.Parallel()
	l, o := layoutOf(), diff.Options{DisappearAfter: 2}
	var s diff.State
	acknowledge(&s, compare(t, &s, l, 0, body("ben busy 1; anna ready 1", ""), o))
	compare(t, &s, l, 1, body("anna ready 2; carl ready 1; dora ready", ""), o) // carl and dora are not acknowledged
	clocks := func() map[string]string {
		all := map[string]string{}
		for _, id := range []string{"anna", "ben", "carl", "dora"} {
			if latest, present := s.Latest(agent, id); present {
				all[latest.ID()] = latest.Text("clock")
			}
		}
		return all
	}
	// ben's absence is not yet believed, and clocks are those of the snapshot. dora has
	// none, and nothing is known of her.
	if d := cmp.Diff(map[string]string{"anna": "2", "ben": "1", "carl": "1", "dora": ""}, clocks()); d != "" {
		t.Errorf("present (-want +got)\n%s", d)
	}
	if got := s.Image(agent, "anna").Text("clock"); got != "1" {
		t.Errorf("anna is known with clock %q, want 1: what is known changes only in Set", got)
	}
	acknowledge(&s, compare(t, &s, l, 2, body("anna ready 3", ""), o))
	if d := cmp.Diff(map[string]string{"anna": "3"}, clocks()); d != "" {
		t.Errorf("present (-want +got)\n%s", d)
	}
	if d := cmp.Diff([]string{"anna"}, s.IDs(agent)); d != "" || s.Len(agent) != 1 || !s.Image(agent, "ben").IsZero() {
		t.Errorf("known (-want +got)\n%s", d)
	}
}
