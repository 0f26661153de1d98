package engine_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/diff"
)

// TestDeparture: what is published of an agent that leaves and comes back.
func TestDeparture(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(agents("anna=ready bob=busy"))
	seen := b.sent()
	b.poll(agents("anna=ready"))
	e := b.only("departure", b.poll(agents("anna=ready")), "agent/bob disappeared")
	if !e.Removes() || e.ViewKey() != "agent.bob" {
		t.Errorf("removes %v the key %s", e.Removes(), e.ViewKey())
	}
	got := dataOf[*event.AgentData](b, e)
	if got.Revision != 2 || !got.After.IsZero() || got.Before.Text("acd_state") != "busy" || got.From == nil || got.From.State != "busy" || got.To != nil {
		t.Errorf("disappeared: %+v", got)
	}
	if d := cmp.Diff(event.Between(seen, b.now), got.Observed); d != "" {
		t.Errorf("the window begins where the row was last seen (-want +got)\n%s", d)
	}
	if n := b.checkpoint().Agents; n != 1 {
		t.Errorf("%d agents after it, want 1", n)
	}
	e = b.only("return", b.poll(agents("anna=ready bob=")), "agent/bob appeared")
	if got := dataOf[*event.AgentData](b, e); got.Revision != 3 || got.To.State != "logged_out" || !got.Before.IsZero() || e.Removes() {
		t.Errorf("appeared: %+v", got)
	}
}

// TestRevisionsGoOn over departures, returns and restarts.
func TestRevisionsGoOn(t *testing.T) {
	t.Parallel()
	b := start(t, func(o *engine.Options) { o.DisappearAfter = 1 })
	var got []string
	show := func(s snapshot, restart bool) {
		if restart {
			b.restart()
		}
		for _, e := range b.poll(s) {
			if strings.HasPrefix(e.CESubject(), "agent/bob") || strings.HasPrefix(e.CESubject(), "service/Voice") {
				got = append(got, fmt.Sprint(e.Verb(), " ", e.EntityBase().Revision))
			}
		}
	}
	with := agents("anna=ready bob=busy")
	without := agents("anna=ready")
	for _, restart := range []bool{false, true} {
		show(with, restart)
		show(without, restart)
		show(with, restart)
		show(agents("anna=ready bob=ready"), restart)
		show(without, restart)
	}
	want := []string{
		"observed 1", "disappeared 2", "appeared 3", "state_changed 4", "disappeared 5",
		"appeared 6", "disappeared 7", "appeared 8", "state_changed 9", "disappeared 10",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("revisions (-want +got)\n%s", d)
	}
}

// TestStateRevision: changes of state alone are counted, over departures, restarts and events that state
// again what is published.
func TestStateRevision(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1000, 2} { // both events of an agent in one chunk, or in two
		t.Run(fmt.Sprint("chunks of ", size), func(t *testing.T) {
			t.Parallel()
			b := start(t, func(o *engine.Options) { o.DisappearAfter = 1 })
			b.size = size
			show := agents("anna=ready bob=busy")
			both := func(state, extension string) snapshot {
				show = show.set("bob", "acd_state", state).set("bob", "extension", extension)
				return show
			}
			b.poll(show)
			b.poll(both("ready", "1"))
			b.poll(both("ready", "2"))
			b.poll(agents("anna=ready"))
			b.poll(both("not_ready", "2"))
			b.commit(b.engine.Restate([]string{"agent.bob"}, b.now))
			b.restart()
			b.poll(both("busy", "3"))
			b.stop()
			b.restart()
			b.poll(both("busy", "4"))
			want := []string{
				"observed 1", "state_changed 2", "stats_changed 2", "stats_changed 2", "disappeared 2", "appeared 2", "observed 2",
				"state_changed 3", "stats_changed 3", "stats_changed 3",
			}
			if d := cmp.Diff(want, b.states("agent.bob")); d != "" {
				t.Errorf("state_revision (-want +got)\n%s", d)
			}
		})
	}
}

// states gives the events of an entity as verb and state_revision.
func (b *bridge) states(key string) []string {
	var out []string
	for i := range b.stream {
		if e := &b.stream[i]; e.ViewKey() == key {
			out = append(out, fmt.Sprint(e.Verb(), " ", e.EntityBase().StateRevision))
		}
	}
	return out
}

// uncount takes the numbers of states out of the last events of the stream, as a version had written
// them that counts none.
func (b *bridge) uncount(from int) {
	b.uncounted = true
	for i := range b.stream[from:] {
		if base := b.stream[from+i].EntityBase(); base != nil {
			base.StateRevision = 0
		}
	}
	b.engine = engine.New(b.options)
	for i := range b.stream {
		b.engine.Recover(&b.stream[i])
	}
}

// TestStateRevisionAfterAnEarlierVersion: who has changed state since the count ended is counted anew, from
// 1; of all others the count goes on.
func TestStateRevisionAfterAnEarlierVersion(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(agents("anna=ready bob=busy"))
	b.poll(agents("anna=busy bob=ready"))
	b.uncount(0)
	b.restart()
	b.poll(agents("anna=ready bob=ready").set("bob", "extension", "1"))
	b.poll(agents("anna=busy bob=ready").set("bob", "extension", "2"))
	from := len(b.stream)
	b.poll(agents("anna=busy bob=busy").set("anna", "extension", "3"))
	b.stop()
	b.uncount(from)
	last := map[string]int{}
	for i := range b.stream {
		last[b.stream[i].Subject()] = i
	}
	b.restart()
	whole, latest := engine.New(b.options), engine.New(b.options)
	for i := range b.stream {
		whole.Recover(&b.stream[i])
		if last[b.stream[i].Subject()] <= i { // as a start reads them
			latest.Recover(&b.stream[i])
		}
	}
	if d := cmp.Diff(whole.Published().StateRevisions, latest.Published().StateRevisions); d != "" {
		t.Errorf("folded from all events, and from the last of each subject:\n%s", d)
	}
	b.poll(agents("anna=ready bob=ready"))
	want := []string{"observed 0", "state_changed 0", "state_changed 1", "state_changed 2", "stats_changed 0", "state_changed 3"}
	if d := cmp.Diff(want, b.states("agent.anna")); d != "" {
		t.Errorf("anna: state_revision (-want +got)\n%s", d)
	}
	want = []string{"observed 0", "state_changed 0", "stats_changed 1", "stats_changed 1", "state_changed 0", "state_changed 1"}
	if d := cmp.Diff(want, b.states("agent.bob")); d != "" {
		t.Errorf("bob: state_revision (-want +got)\n%s", d)
	}
}

// TestDepartureIsCounted: after how many snapshots without it a row is gone.
func TestDepartureIsCounted(t *testing.T) {
	t.Parallel()
	for _, after := range []int{1, 2, 5} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			t.Parallel()
			b := start(t, func(o *engine.Options) { o.DisappearAfter = after })
			b.poll(agents("anna=ready bob=ready"))
			for range after - 1 {
				b.expect("too early", b.poll(agents("anna=ready")), "")
			}
			b.expect("in its time", b.poll(agents("anna=ready")), "agent/bob disappeared")
		})
	}
}

// numbered is a snapshot of so many agents, from one number on.
func numbered(from, to int) snapshot {
	s := snapshot{agents: map[string]row{}}
	for i := from; i < to; i++ {
		s.agents[fmt.Sprintf("agent%02d", i)] = row{"acd_state": "ready"}
	}
	return s
}

// TestMassDeparture: more than half of a kind gone at once is not believed before it
// has lasted; all else goes on.
func TestMassDeparture(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		known, gone int
		hold, want  time.Duration // when it is published, after the first snapshot without them
	}{
		"more than half":           {known: 12, gone: 8, want: 32 * time.Second},
		"more than half, by hold":  {known: 12, gone: 8, hold: 10 * time.Second, want: 12 * time.Second},
		"half":                     {known: 12, gone: 6, want: 2 * time.Second},
		"too few to be a mass":     {known: 9, gone: 8, want: 2 * time.Second},
		"just enough to be a mass": {known: 10, gone: 6, want: 32 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, func(o *engine.Options) { o.MassHold = test.hold })
			b.poll(numbered(0, test.known))
			seen := b.sent()
			left := numbered(test.gone, test.known)
			last := fmt.Sprintf("agent%02d", test.known-1)
			b.expect("the rest goes on", b.poll(left.set(last, "acd_state", "not_ready")), "agent/"+last+" state_changed")
			left = left.set(last, "acd_state", "not_ready")
			began := b.now
			var events []event.Event
			for len(events) == 0 {
				held := len(b.batch.Problems) == 1 && strings.HasPrefix(b.batch.Problems[0], fmt.Sprintf("%d agent rows missing at once", test.gone))
				if want := b.now.Sub(began) < test.want-2*time.Second; held != want {
					t.Fatalf("after %v: problems %q; want the held rows: %v", b.now.Sub(began), b.batch.Problems, want)
				}
				if b.now.Sub(began) > time.Minute {
					t.Fatal("they never leave")
				}
				events = b.poll(left)
			}
			if got := b.now.Sub(began); got != test.want || len(events) != test.gone || len(b.batch.Problems) > 0 {
				t.Errorf("%d departures after %v, problems %q; want %d after %v", len(events), got, b.batch.Problems, test.gone, test.want)
			}
			for i := range events {
				want := fmt.Sprintf("agent/agent%02d", i)
				if got := events[i].CESubject(); got != want || events[i].Verb() != "disappeared" {
					t.Errorf("%s %s; want %s disappeared", got, events[i].Verb(), want)
				}
				if d := cmp.Diff(event.Between(seen, b.now), events[i].EntityBase().Observed); d != "" {
					t.Errorf("window of %s (-want +got)\n%s", want, d)
				}
			}
		})
	}
}

// TestMassReturn: rows that come back while they are held were never gone.
func TestMassReturn(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(numbered(0, 12))
	for range 10 {
		b.expect("held", b.poll(numbered(8, 12)), "")
	}
	b.expect("back", b.poll(numbered(0, 12)), "")
	for range 10 {
		b.expect("held once more", b.poll(numbered(8, 12)), "")
	}
}

// TestAllGridsEmpty: a snapshot without any row is refused before it has lasted, and is then
// believed at once.
func TestAllGridsEmpty(t *testing.T) {
	t.Parallel()
	b := start(t, func(o *engine.Options) { o.EmptyHold = 20 * time.Second })
	b.poll(agents("anna=ready"))
	seen := b.sent()
	began := b.now.Add(interval)
	var published []string
	for range 14 {
		events := b.observe(b.answer(snapshot{}))
		for _, name := range names(events) {
			published = append(published, fmt.Sprint(b.now.Sub(began), " ", name))
		}
		if got, want := errors.Is(b.batch.Err, diff.ErrEmpty), b.now.Sub(began) < 20*time.Second; got != want {
			t.Errorf("after %v: error %v; want the empty grid refused: %v", b.now.Sub(began), b.batch.Err, want)
		}
	}
	want := []string{"4s feed interrupted", "20s feed resumed", "20s agent/anna disappeared"}
	if d := cmp.Diff(want, published); d != "" {
		t.Errorf("events (-want +got)\n%s", d)
	}
	interrupted, resumed := b.named("feed.interrupted"), b.named("feed.resumed")
	if got := dataOf[*event.FeedData](b, &interrupted[0]).Cause + " " + dataOf[*event.ResumedData](b, &resumed[0]).Cause; got != "empty empty" {
		t.Errorf("causes %s; want empty", got)
	}
	if got := last[*event.AgentData](b, "agent.anna").Observed.After; !got.Equal(event.Floor(seen).Time) {
		t.Errorf("the departure's window begins at %v; the row was last seen at %v", got, seen)
	}
	b.expect("back", b.poll(agents("anna=ready")), "agent/anna appeared")
}

// TestAllGridsEmptyReturns: an empty snapshot between two good ones is nothing, and begins
// the hold again.
func TestAllGridsEmptyReturns(t *testing.T) {
	t.Parallel()
	b := start(t, func(o *engine.Options) { o.EmptyHold, o.InterruptAfter = 5*time.Second, time.Minute })
	b.poll(agents("anna=ready"))
	for range 4 {
		for range 2 {
			b.expect("empty", b.observe(b.answer(snapshot{})), "")
		}
		b.expect("good", b.poll(agents("anna=ready")), "")
	}
}

// TestLimitedGrid: whoever drops out of a grid that is as long as its limit has not
// left, and whoever enters it was there before.
func TestLimitedGrid(t *testing.T) {
	t.Parallel()
	b := start(t, func(o *engine.Options) { o.Layout = layoutOf(2) })
	b.poll(agents("anna=ready bob=ready"))
	e := b.only("entering", b.poll(agents("anna=ready cleo=ready")), "agent/cleo observed")
	if got := dataOf[*event.AgentData](b, e); !got.Observed.After.IsZero() || !got.Before.IsZero() || got.AfterGap {
		t.Errorf("who enters the top is published as a change: %+v", got)
	}
	for range 5 {
		b.expect("bob is behind the limit", b.poll(agents("anna=ready cleo=ready")), "")
	}
	b.expect("bob is back", b.poll(agents("anna=ready bob=busy")), "agent/bob state_changed")
	b.expect("shorter than the limit", b.poll(agents("bob=busy")), "")
	b.expect("shorter than the limit", b.poll(agents("bob=busy")), "agent/anna disappeared, agent/cleo disappeared")
}

// TestSkippedRows: rows without a key and rows with the key of another are not used,
// and are counted.
func TestSkippedRows(t *testing.T) {
	t.Parallel()
	b := start(t)
	show := agents("anna=ready bob=busy").set("x", "login_id", "").set("zz", "login_id", "anna").set("zz", "acd_state", "gone")
	show = show.set("long", "login_id", strings.Repeat("x", 513))
	b.expect("poll", b.poll(show), "agent/anna observed, agent/bob observed")
	if got := last[*event.AgentData](b, "agent.anna").To.State; got != "ready" {
		t.Errorf("of two rows the second one is used: %s", got)
	}
	if d := cmp.Diff(map[string]int{"unnamed": 1, "duplicate": 1, "oversized": 1, "limit": 0, "unreadable": 0}, b.batch.SkippedRows); d != "" {
		t.Errorf("skipped rows (-want +got)\n%s", d)
	}
	want := []string{
		"1 row(s) without a key skipped; check BRIDGE_AGENT_KEY", `rows with a duplicate key skipped in agent_grids agents: "anna"`,
		"1 row(s) with a key of more than 512 bytes skipped",
	}
	if d := cmp.Diff(want, b.batch.Problems); d != "" {
		t.Errorf("problems (-want +got)\n%s", d)
	}
	b.poll(agents("anna=ready bob=busy").set("bob", "extension", strings.Repeat("x", 5000)))
	if d := cmp.Diff([]string{"1 text(s) of more than 4096 bytes truncated"}, b.batch.Problems); d != "" {
		t.Errorf("problems (-want +got)\n%s", d)
	}
	b.poll(agents("anna=ready bob=busy"))
	if len(b.batch.Problems) > 0 {
		t.Errorf("problems of a whole snapshot: %q", b.batch.Problems)
	}
}
