package diff_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/diff"
	"bpcc-nats/diff/image"
)

// TestSeen: what a snapshot shows of an entity, which is less than what is remembered of it.
func TestSeen(t *testing.T) {
	t.Parallel()
	full := body("anna ready 1; ben busy 1", "")
	for name, tt := range map[string]struct {
		limit  int
		known  bool // ben is published before the first snapshot
		bodies []string
		want   string // of ben after the last one
	}{
		"a row":                          {bodies: []string{full}, want: `state "busy", clock "1"`},
		"the same body again":            {bodies: []string{full, full}, want: `state "busy", clock "1"`},
		"no value":                       {bodies: []string{full, body("anna ready 1; ben _ 1", "")}, want: `state "", clock "1"`},
		"a missing column":               {bodies: []string{full, body("anna ready 1; ben - 2", "")}, want: `clock "2"`},
		"a missing column, again":        {bodies: []string{full, body("anna ready 1; ben - 2", ""), body("anna ready 2; ben - 2", "")}, want: `clock "2"`},
		"a column that is back":          {bodies: []string{full, body("anna ready 1; ben - 2", ""), full}, want: `state "busy", clock "1"`},
		"a missing row":                  {bodies: []string{full, body("anna ready 1", "")}, want: "unseen"},
		"a row that is back":             {bodies: []string{full, body("anna ready 1", ""), full}, want: `state "busy", clock "1"`},
		"a row behind the limit":         {limit: 2, bodies: []string{full, body("anna ready 1; carl ready 1", "")}, want: "unseen"},
		"a row in the other grid":        {bodies: []string{full, body("anna ready 1", "ben away 3")}, want: `state "away", clock "3"`},
		"a column of the other grid":     {bodies: []string{body("anna ready 1; ben - 2", "ben busy -")}, want: `state "busy", clock "2"`},
		"published and not seen yet":     {known: true, bodies: []string{body("anna ready 1", "")}, want: "unseen"},
		"published and seen":             {known: true, bodies: []string{full}, want: `state "busy", clock "1"`},
		"never there":                    {bodies: []string{body("anna ready 1", "")}, want: "gone"},
		"gone for as long as is allowed": {bodies: []string{full, body("anna ready 1", ""), body("anna ready 1", "")}, want: "gone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := layoutOf()
			l.Grids[0].Limit = tt.limit
			var s diff.State
			if tt.known {
				s.Set(agent, "ben", imageOf("login", "ben", "state", "ready"), 1)
			}
			for i, b := range tt.bodies {
				acknowledge(&s, compare(t, &s, l, i, b, diff.Options{DisappearAfter: 2}))
			}
			got := "gone"
			if ben, present := s.Latest(agent, "ben"); present {
				got = describeSeen(ben)
			}
			if got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// describeSeen writes what is seen of a state and a clock.
func describeSeen(v diff.EntityView) string {
	got := ""
	for _, stat := range []string{"state", "clock", "unsubscribed"} {
		if text, seen := v.Seen(stat); seen {
			if got != "" {
				got += ", "
			}
			got += fmt.Sprintf("%s %q", stat, text)
		}
	}
	if got == "" {
		return "unseen"
	}
	return got
}

// TestSeenIsRewritten: a seen text is the published one.
func TestSeenIsRewritten(t *testing.T) {
	t.Parallel()
	l := layoutOf()
	l.Rewrite = func(_ image.Kind, stat, text string) string { return stat + text + "!" }
	var s diff.State
	compare(t, &s, l, 0, body("anna ready 1", ""), diff.Options{})
	anna, _ := s.Latest(agent, "anna!")
	if got := describeSeen(anna); got != `state "stateready!", clock "clock1!"` {
		t.Errorf("seen: %s", got)
	}
}

// TestEntitySeenUntil: when an entity was last seen before the last snapshot.
func TestEntitySeenUntil(t *testing.T) {
	t.Parallel()
	var s diff.State
	s.Set(agent, "dora", imageOf("login", "dora"), 1) // published by another State
	l := layoutOf()
	var got []string
	for i, b := range []string{
		body("anna ready 1; ben busy 1", ""),
		body("anna ready 2; ben busy 1", ""),
		body("anna ready 2", ""),
		body("anna ready 2; ben busy 1", "dora ready 1"),
		body("anna ready 2; ben busy 1", "dora ready 1"), // the same bytes
		body("anna ready 3; ben busy 1", "dora ready 1; carl ready 1"),
	} {
		changes := compare(t, &s, l, i, b, diff.Options{DisappearAfter: 9})
		line := ""
		for _, id := range []string{"anna", "ben", "carl", "dora"} {
			until := "-"
			if at := s.SeenUntil(agent, id); !at.IsZero() {
				until = fmt.Sprint(at.Unix())
			}
			line += " " + id + " " + until
		}
		got = append(got, line[1:])
		acknowledge(&s, changes)
	}
	want := []string{
		"anna - ben - carl - dora -",
		"anna 0 ben 0 carl - dora -",
		"anna 1 ben 1 carl - dora -",
		"anna 2 ben 1 carl - dora -",
		"anna 3 ben 3 carl - dora 3",
		"anna 4 ben 4 carl - dora 4",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("seen until (-want +got)\n%s", d)
	}
}

// TestLatestOfOtherLayouts: an entity that no grid can show any more is not waited for.
func TestLatestOfOtherLayouts(t *testing.T) {
	t.Parallel()
	var s diff.State
	for _, id := range []string{"all", "dropped"} {
		s.Set(totals, id, imageOf("waiting", "1"), 1)
	}
	s.Set(agent, "ben", imageOf("login", "ben"), 1)
	compare(t, &s, layoutOf(), 0, body("anna ready 1", ""), diff.Options{DisappearAfter: 2})
	for id, want := range map[string]bool{"all": true, "dropped": false} {
		if _, present := s.Latest(totals, id); present != want {
			t.Errorf("totals %s: present %v, want %v", id, present, want)
		}
	}
	if _, present := s.Latest(agent, "ben"); !present {
		t.Error("ben is missing once and counts as gone")
	}
}
