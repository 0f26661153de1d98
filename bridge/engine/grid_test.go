package engine_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/diff"
)

// TestEmptiedGrid: of a grid that is suddenly empty the rows alone are held; all else is published,
// and the feed stays live. After the hold they have disappeared at once, many or few.
func TestEmptiedGrid(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		agents int
		hold   time.Duration
		after  int // DisappearAfter
		want   time.Duration
	}{
		"a lone agent":             {agents: 1, after: 2, want: 30 * time.Second},
		"more than a mass":         {agents: 12, after: 2, want: 30 * time.Second},
		"by hold":                  {agents: 12, hold: 10 * time.Second, after: 2, want: 10 * time.Second},
		"absences are not counted": {agents: 3, after: 100, want: 30 * time.Second},
		"one absence would do":     {agents: 3, after: 1, want: 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, func(o *engine.Options) { o.EmptyHold, o.DisappearAfter = test.hold, test.after })
			show := numbered(0, test.agents)
			b.poll(show.setService("Voice", "in_calls_waiting", "0"))
			seen := b.sent()
			began := b.now.Add(interval)
			var events []event.Event
			for n := 1; len(events) < 2; n++ {
				events = b.poll(services(fmt.Sprintf("Voice=%d", n)))
				if len(events) == 1 {
					b.expect("all else goes on", events, "service/Voice stats_changed")
				}
				if since := b.checkpoint().MissingSince; len(events) == 1 && !since.Equal(event.Floor(seen).Time) {
					t.Errorf("missing since %v, want %v", since, seen)
				}
				held := slices.ContainsFunc(b.batch.Problems, func(p string) bool { return strings.HasPrefix(p, "agent_grids agents is suddenly empty") })
				if want := b.now.Sub(began) < test.want; held != want || len(b.batch.Problems) > 1 || b.engine.Stats().Status != event.StatusLive {
					t.Fatalf("after %v: problems %q, feed %s; want the grid named: %v", b.now.Sub(began), b.batch.Problems, b.engine.Stats().Status, want)
				}
				if b.now.Sub(began) > time.Minute {
					t.Fatal("they never leave")
				}
			}
			if got := b.now.Sub(began); got != test.want || len(events) != test.agents+1 || !b.checkpoint().MissingSince.IsZero() {
				t.Errorf("%d events after %v, missing since %v; want %d after %v", len(events), got, b.checkpoint().MissingSince, test.agents+1, test.want)
			}
			for i := range events[:test.agents] {
				if e := &events[i]; e.Verb() != "disappeared" || e.EntityBase().AfterGap {
					t.Errorf("%s %s", e.CESubject(), e.Verb())
				}
				if d := cmp.Diff(event.Between(seen, b.now), events[i].EntityBase().Observed); d != "" {
					t.Errorf("window of %s (-want +got)\n%s", events[i].CESubject(), d)
				}
			}
			b.expect("back", b.poll(agents("agent00=ready").setService("Voice", "in_calls_waiting", "99")),
				"agent/agent00 appeared, service/Voice stats_changed")
		})
	}
}

// TestEmptiedGridReturns: rows that come back while they are held were never gone.
func TestEmptiedGridReturns(t *testing.T) {
	t.Parallel()
	b := start(t)
	show := agents("anna=ready bob=busy").setService("Voice", "in_calls_waiting", "1")
	b.poll(show)
	seen := b.sent()
	for range 3 {
		for range 14 {
			b.expect("held", b.poll(services("Voice=1")), "")
		}
		b.expect("back", b.poll(show), "")
		seen = b.sent()
	}
	b.expect("held", b.poll(services("Voice=1")), "")
	e := b.only("back with a change", b.poll(show.set("anna", "acd_state", "busy")), "agent/anna state_changed")
	if got := e.EntityBase().Observed; got != event.Between(seen, b.now) || e.EntityBase().AfterGap {
		t.Errorf("window %v; want it from the last sight at %v", got, seen)
	}
}

// TestManyRowsInAllGridsEmpty: a snapshot without any row is believed after the hold, with all
// departures in the poll that ends the gap, however many they are.
func TestManyRowsInAllGridsEmpty(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(numbered(0, 20).setService("Voice", "in_calls_waiting", "1"))
	seen := b.sent()
	began := b.now.Add(interval)
	total := snapshot{totals: row{"in_calls_waiting": "0"}} // it has no rows behind it
	for {
		events := b.observe(b.answer(total))
		if b.now.Sub(began) < 30*time.Second {
			if !errors.Is(b.batch.Err, diff.ErrEmpty) || len(events) > 0 && events[0].CESubject() != "feed" {
				t.Fatalf("after %v: error %v, events %q", b.now.Sub(began), b.batch.Err, names(events))
			}
			continue
		}
		if b.batch.Err != nil || len(events) != 23 || events[0].Verb() != "resumed" {
			t.Fatalf("after %v: error %v, events %q", b.now.Sub(began), b.batch.Err, names(events))
		}
		for i := range events[1:22] {
			if e := &events[i+1]; e.Verb() != "disappeared" || e.EntityBase().Observed != event.Between(seen, b.now) {
				t.Errorf("%s %s, window %v", e.CESubject(), e.Verb(), e.EntityBase().Observed)
			}
		}
		break
	}
	if got := b.checkpoint(); got.Status != event.StatusLive || !got.MissingSince.IsZero() || got.Agents+got.Services != 0 {
		t.Errorf("checkpoint %+v", got)
	}
	b.expect("it stays", b.poll(total), "")
}

// TestEmptiedGridWhileAnotherLosesMany: the two holds do not add up, and the rows of an empty grid
// make no mass departure of the rest.
func TestEmptiedGridWhileAnotherLosesMany(t *testing.T) {
	t.Parallel()
	b := start(t, func(o *engine.Options) {
		second := o.Layout.Grids[0]
		second.ID = "others"
		o.Layout.Grids = append(o.Layout.Grids, second)
	})
	two := func(first, others snapshot) engine.Observation {
		o := b.answer(first)
		rows := others.body(t)
		o.Body = []byte(strings.Replace(string(o.Body), `"agent_grids":[`, `"agent_grids":[{"id":"others","values":`+between(string(rows), `"values":`, `}],"service`)+`},`, 1))
		return o
	}
	b.observe(two(numbered(0, 8), numbered(8, 12)))
	began := b.now.Add(interval)
	var got []string
	for range 18 {
		// The first grid is empty; one of four rows leaves the other.
		for _, name := range names(b.observe(two(snapshot{}, numbered(9, 12)))) {
			got = append(got, fmt.Sprint(b.now.Sub(began), " ", name))
		}
	}
	want := []string{"2s agent/agent08 disappeared"}
	for i := range 8 {
		want = append(want, fmt.Sprintf("30s agent/agent%02d disappeared", i))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("events (-want +got)\n%s", d)
	}
}

// between is what stands between two marks in a text.
func between(text, from, to string) string {
	_, text, _ = strings.Cut(text, from)
	text, _, _ = strings.Cut(text, to)
	return text
}

// TestEmptiedGridAcrossARestart: a bridge that starts while a grid is empty holds the rows anew, and
// says since when they are missing.
func TestEmptiedGridAcrossARestart(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(agents("anna=ready").setService("Voice", "in_calls_waiting", "0"))
	seen := b.sent()
	for n := range 5 {
		b.poll(services(fmt.Sprintf("Voice=%d", n+1)))
	}
	b.restart()
	began := b.now.Add(interval)
	for n := range 30 {
		events := b.poll(services(fmt.Sprintf("Voice=%d", n+9)))
		if b.now.Sub(began) < 30*time.Second {
			b.expect("held", events, "service/Voice stats_changed")
			if since := b.checkpoint().MissingSince; !since.Equal(event.Floor(seen).Time) {
				t.Errorf("missing since %v, want %v", since, seen)
			}
			continue
		}
		b.expect("believed", events, "agent/anna disappeared, service/Voice stats_changed")
		if got := events[0].EntityBase().Observed; got != event.Between(seen, b.now) {
			t.Errorf("window %v, want it from %v", got, seen)
		}
		return
	}
}

// TestEmptyFromTheBeginning: a grid that never had rows is empty, and nothing more.
func TestEmptyFromTheBeginning(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.expect("nothing", b.poll(snapshot{}), "")
	b.expect("a service", b.poll(services("Voice=1")), "service/Voice appeared")
	for range 20 {
		b.expect("nothing", b.poll(services("Voice=1")), "")
	}
	if len(b.batch.Problems) > 0 || b.engine.Stats().Status != event.StatusLive {
		t.Errorf("problems %q, feed %s", b.batch.Problems, b.engine.Stats().Status)
	}
}

// TestHiddenByALimit: rows behind the limit of a grid are counted and named in a warning, and the
// checkpoint says since when.
func TestHiddenByALimit(t *testing.T) {
	t.Parallel()
	b := start(t, func(o *engine.Options) { o.Layout = layoutOf(2) })
	warning := []string{"rows may be hidden, as many as the limit in agent_grids agents (2); raise the limit or remove it"}
	check := func(what string, hidden int, since time.Time, problems []string) {
		t.Helper()
		if got := b.checkpoint().MissingSince; b.batch.SkippedRows["limit"] != hidden || !got.Equal(event.Floor(since).Time) || !cmp.Equal(problems, b.batch.Problems) {
			t.Errorf("%s: %d hidden, missing since %v, problems %q; want %d, %v, %q", what, b.batch.SkippedRows["limit"], got, b.batch.Problems, hidden, since, problems)
		}
	}
	n := 0
	poll := func(s snapshot) {
		n++ // a change, so that a checkpoint is due
		b.poll(s.setService("Voice", "in_calls_waiting", fmt.Sprint(n)))
	}
	poll(agents("anna=ready"))
	check("below the limit", 0, time.Time{}, nil)
	poll(agents("anna=ready bob=ready"))
	seen := b.sent()
	check("as long as the limit, and nothing known is hidden", 1, time.Time{}, warning)
	for range 20 {
		poll(agents("anna=ready cleo=ready"))
		check("bob is hidden", 1, seen, warning)
	}
	poll(agents("dora=ready cleo=ready"))
	check("bob and anna are", 2, seen, warning)
	b.restart()
	poll(agents("dora=ready cleo=ready"))
	check("after a restart", 2, seen, warning)
	poll(agents("anna=ready bob=busy"))
	check("the others are", 2, b.sent().Add(-interval), warning)
	poll(agents("anna=ready"))
	check("the grid is whole again", 0, b.sent().Add(-2*interval), nil)
	poll(agents("anna=ready"))
	check("and they have left", 0, time.Time{}, nil)
	if names := slices.Sorted(maps.Keys(b.engine.Published().Images)); !cmp.Equal([]string{"agent/anna", "service/Voice"}, names) {
		t.Errorf("there are %q", names)
	}
}

// TestMissingTotals: totals that a snapshot lacks are neither published nor covered.
func TestMissingTotals(t *testing.T) {
	t.Parallel()
	b := start(t)
	show := agents("anna=ready")
	show.totals = row{"in_calls_waiting": "1"}
	b.poll(show)
	seen := b.sent()
	b.poll(agents("anna=busy"))
	if since := b.checkpoint().MissingSince; !since.Equal(event.Floor(seen).Time) {
		t.Errorf("missing since %v, want %v", since, seen)
	}
	show = agents("anna=busy")
	show.totals = row{"in_calls_waiting": "2"}
	e := b.only("they are back", b.poll(show), "totals/bridge stats_changed")
	if got := e.EntityBase().Observed; got != event.Between(seen, b.now) || !b.checkpoint().MissingSince.IsZero() {
		t.Errorf("window %v, missing since %v", got, b.checkpoint().MissingSince)
	}
}

// TestDuplicateInTurns: two rows of one key, in an order that turns, publish nothing, and the warning
// names the key in one text.
func TestDuplicateInTurns(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		pseudonyms *event.Pseudonyms
		want       string
	}{
		"by name":      {nil, "anna \\x1b[31m"},
		"by pseudonym": {event.NewPseudonyms("a key of some length"), event.NewPseudonyms("a key of some length").Hash("anna \x1b[31m")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, func(o *engine.Options) {
				if o.Pseudonyms = test.pseudonyms; o.Pseudonyms != nil {
					o.Layout.Rewrite = o.Pseudonyms.Rewrite
				}
			})
			show := func(first, second, duration string) snapshot {
				s := agents("bob=ready a=" + first + ":" + duration + " z=" + second + ":" + duration)
				return s.set("a", "login_id", "anna \x1b[31m").set("z", "login_id", "anna \x1b[31m")
			}
			if got := len(b.poll(show("ready", "busy", "5"))); got != 2 {
				t.Fatalf("%d events at first", got)
			}
			want := []string{`rows with a duplicate key skipped in agent_grids agents: "` + test.want + `"`}
			for n := range 10 {
				states := []string{"ready", "busy"}
				if n%2 == 0 {
					slices.Reverse(states)
				}
				b.expect("in turns", b.poll(show(states[0], states[1], fmt.Sprint(7+2*n))), "")
				if d := cmp.Diff(want, b.batch.Problems); d != "" || b.batch.SkippedRows["duplicate"] != 1 {
					t.Errorf("%d skipped, problems (-want +got)\n%s", b.batch.SkippedRows["duplicate"], d)
				}
			}
			b.restart()
			b.expect("after a restart", b.poll(show("busy", "ready", "40")), "feed interrupted, feed resumed")
			if got := len(b.poll(show("busy", "not_ready", "42"))); got != 1 {
				t.Errorf("%d events when the published one is gone, want 1", got)
			}
		})
	}
}
