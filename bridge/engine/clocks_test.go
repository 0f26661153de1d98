package engine_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
)

// frozenAfter is an option: how long clocks must stand still.
func frozenAfter(d time.Duration) func(*engine.Options) {
	return func(o *engine.Options) { o.FrozenAfter = d }
}

// show gives the engine an answer and returns the error of the poll.
func (b *bridge) show(s snapshot) ([]event.Event, error) {
	b.t.Helper()
	events := b.observe(b.answer(s))
	return events, b.batch.Err
}

// TestFrozenSource: a source whose running clocks stand still is not observed, and the next window
// begins at the first sight of its picture.
func TestFrozenSource(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		frozen func(n int) snapshot // the nth answer of the frozen source
		thawed snapshot
		want   string
	}{
		"the same bytes": {
			frozen: func(int) snapshot { return agents("anna=ready:102 bob=:7") },
			thawed: agents("anna=busy:3 bob=:7"),
			want:   "feed resumed, agent/anna state_changed",
		},
		"a statistic that changes by itself goes on": {
			frozen: func(n int) snapshot { return agents("anna=ready:102 bob=:7").set("bob", "login_time", fmt.Sprint(n)) },
			thawed: agents("anna=ready:116 bob=:7").set("bob", "login_time", "8").setService("A", "group", "1"),
			want:   "feed resumed, service/A appeared",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, frozenAfter(6*time.Second))
			before := test.frozen(0)
			before.agents = agents("anna=ready:100 bob=:7").agents
			b.poll(before)
			b.poll(test.frozen(0))
			firstSight := b.sent()
			b.poll(test.frozen(0))
			b.poll(test.frozen(0))
			events, err := b.show(test.frozen(1))
			if !errors.Is(err, engine.ErrFrozen) {
				t.Fatalf("error %v, want %v", err, engine.ErrFrozen)
			}
			interrupted := dataOf[*event.FeedData](b, b.only("frozen", events, "feed interrupted"))
			if interrupted.Cause != "frozen" || interrupted.ObservedUntil != event.Floor(firstSight) {
				t.Errorf("cause %s, observed until %v; want frozen, %v", interrupted.Cause, interrupted.ObservedUntil, firstSight)
			}
			if c := b.checkpoint(); c.Status != event.StatusInterrupted || c.ObservedUntil != event.Floor(firstSight) {
				t.Errorf("checkpoint %s until %v; want interrupted, %v", c.Status, c.ObservedUntil, firstSight)
			}
			if events, err := b.show(test.frozen(1)); !errors.Is(err, engine.ErrFrozen) || len(events) > 0 {
				t.Errorf("still frozen: %v, error %v", events, err)
			}
			events = b.poll(test.thawed)
			b.expect("thawed", events, test.want)
			for _, e := range withVerb(events, "state_changed") {
				if d := cmp.Diff(event.Between(firstSight, b.now), e.EntityBase().Observed); d != "" {
					t.Errorf("%s: window (-want +got)\n%s", e.Name, d)
				}
			}
			if c := b.checkpoint(); c.Status != event.StatusLive {
				t.Errorf("status %s after the thaw", c.Status)
			}
		})
	}
}

// TestFrozenOverARestart: the next term does not take the old picture for a new one.
func TestFrozenOverARestart(t *testing.T) {
	t.Parallel()
	b := start(t, frozenAfter(6*time.Second))
	b.poll(agents("anna=ready:98"))
	b.poll(agents("anna=ready:100"))
	firstSight := b.sent()
	for range 2 {
		b.poll(agents("anna=ready:100"))
	}
	events, _ := b.show(agents("anna=ready:100"))
	b.expect("frozen", events, "feed interrupted")
	b.restart()
	for range 5 {
		if events, err := b.show(agents("anna=ready:100")); !errors.Is(err, engine.ErrFrozen) || len(events) > 0 {
			t.Fatalf("still frozen: %v, error %v", events, err)
		}
	}
	if c := b.checkpoint(); c.Status != event.StatusInterrupted || c.ObservedUntil != event.Floor(firstSight) {
		t.Errorf("checkpoint %s until %v; want interrupted, %v", c.Status, c.ObservedUntil, firstSight)
	}
	events = b.poll(agents("anna=busy:3"))
	b.expect("thawed", events, "feed resumed, agent/anna state_changed")
	if d := cmp.Diff(event.Between(event.Floor(firstSight).Time, b.now), events[1].EntityBase().Observed); d != "" {
		t.Errorf("window (-want +got)\n%s", d)
	}
}

// withVerb selects events.
func withVerb(events []event.Event, verb string) []event.Event {
	return slices.DeleteFunc(slices.Clone(events), func(e event.Event) bool { return e.Verb() != verb })
}

// TestClocksStandWhileOthersGoOn: changes show that the source is alive, but the age of its picture
// shows that the clocks of agents stand still.
func TestClocksStandWhileOthersGoOn(t *testing.T) {
	t.Parallel()
	b := start(t, frozenAfter(6*time.Second))
	show := agents("anna=ready:100").setService("A", "in_calls_waiting", "0")
	b.poll(show)
	firstSight := b.now
	for n := range 10 {
		show = show.setService("A", "in_calls_waiting", fmt.Sprint(n+1))
		b.expect("a queue", b.poll(show), "service/A stats_changed")
	}
	if at := b.engine.Stats().PictureAt; !at.Equal(firstSight) {
		t.Errorf("the picture is of %v, want %v", at, firstSight)
	}
	b.poll(agents("anna=ready:122").setService("A", "in_calls_waiting", "0"))
	if at := b.engine.Stats().PictureAt; !at.Equal(b.now) {
		t.Errorf("when clocks run again, the picture is of %v, want %v", at, b.now)
	}
}

// TestFrozenShortly: clocks that stand still for a shorter time than FrozenAfter interrupt nothing,
// but what the next picture shows happened after the first sight of this one.
func TestFrozenShortly(t *testing.T) {
	t.Parallel()
	b := start(t, frozenAfter(time.Minute))
	b.poll(agents("anna=ready:100"))
	firstSight := b.sent()
	b.poll(agents("anna=ready:100"))
	b.poll(agents("anna=ready:100"))
	e := b.only("thawed", b.poll(agents("anna=busy:3")), "agent/anna state_changed")
	d := dataOf[*event.AgentData](b, e)
	if diff := cmp.Diff(event.Between(firstSight, b.now), d.Observed); diff != "" {
		t.Errorf("window (-want +got)\n%s", diff)
	}
	if d.Since.IsZero() {
		t.Error("no since, though it lies in the window")
	}
}

// TestNotFrozen: pictures that do not change are no frozen source where no clock must run.
func TestNotFrozen(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]snapshot{
		"nobody is logged in":         agents("anna=:7 bob=0:9"),
		"no clock is subscribed":      agents("anna=ready"),
		"a clock that is no duration": agents("anna=ready:4294967295"),
		"no agent":                    services("A=3"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, frozenAfter(6*time.Second))
			for range 10 {
				if _, err := b.show(s); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestOutdatedSnapshots: two servers, of which one is some seconds behind, answer in turn. What the
// older one shows is not published.
func TestOutdatedSnapshots(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ old, fresh, then snapshot }{
		"a state": {agents("anna=ready:598 bob=ready:3596"), agents("anna=busy:1 bob=ready:3600"), agents("anna=busy:7 bob=busy:1")},
		"a queue": {
			agents("bob=ready:3596").setService("A", "in_calls_waiting", "3"),
			agents("bob=ready:3600").setService("A", "in_calls_waiting", "5"),
			agents("bob=busy:1").setService("A", "in_calls_waiting", "5"),
		},
		"an agent who has left and come back": {
			agents("anna=ready:598 bob=ready:3596 carl=busy:50"), agents("anna=ready:1 bob=ready:3600 carl=busy:54"),
			agents("anna=ready:7 bob=busy:1 carl=busy:60"),
		},
		"a row that is not there yet": {agents("bob=ready:3599"), agents("anna=busy:1 bob=ready:3600"), agents("anna=busy:7 bob=busy:1")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			b.poll(test.old)
			if len(b.poll(test.fresh)) == 0 {
				t.Fatal("the change is not published")
			}
			until := b.sent()
			for range 2 {
				if events, err := b.show(test.old); !errors.Is(err, engine.ErrOutdated) || len(events) > 0 {
					t.Fatalf("older snapshot: %v, error %v", events, err)
				}
			}
			e := b.only("the next change", b.poll(test.then), "agent/bob state_changed")
			if d := cmp.Diff(event.Between(until, b.now), e.EntityBase().Observed); d != "" {
				t.Errorf("window (-want +got)\n%s", d)
			}
		})
	}
}

// TestClockSetBack: snapshots that stay older than the last one are believed after a while, since
// the source's clock may have been set. The feed is interrupted meanwhile.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(agents("anna=ready:7300"))
	events, err := b.show(agents("anna=ready:3700"))
	for n := 0; errors.Is(err, engine.ErrOutdated); n++ {
		for i := range events {
			if d := dataOf[*event.FeedData](b, &events[i]); d.Cause != "outdated" {
				t.Fatalf("interrupted by %s, want outdated", d.Cause)
			}
		}
		if n > 20 {
			t.Fatal("older snapshots are never believed")
		}
		events, err = b.show(agents("anna=ready:3700"))
	}
	if err != nil {
		t.Fatal(err)
	}
	b.expect("believed", events, "feed resumed")
	b.expect("from then on", b.poll(agents("anna=ready:3702")), "")
}

// TestSince: an instant outside the event's window is left out.
func TestSince(t *testing.T) {
	t.Parallel()
	for duration, want := range map[string]time.Duration{
		"0": 0, "1": time.Second, "4": 4 * time.Second,
		"5": -1, "3600": -1, "4294967295": -1, "9223372037": -1, "9223372036854775807": -1, "99999999999999999999": -1, "-1": -1, "": -1, "1.5": -1,
	} {
		t.Run(duration, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			b.poll(agents("anna=ready:100"))
			e := b.only("a change", b.poll(agents("anna=busy:"+duration)), "agent/anna state_changed")
			got := dataOf[*event.AgentData](b, e).Since
			if want < 0 && !got.IsZero() || want >= 0 && !got.Equal(b.now.Add(-want)) {
				t.Errorf("since %v at %v, want %v before", got, b.now, want)
			}
		})
	}
}

// TestReset: what counts as the daily reset of a counter.
func TestReset(t *testing.T) {
	t.Parallel()
	for texts, want := range map[[2]string]bool{
		{"4", "0"}: true, {"4", ""}: true, {"41", "20"}: true, {"41", "40"}: false, {"41", "21"}: false, {"4", "5"}: false, {"0", ""}: false, {"", "0"}: false, {"4", "NaN"}: false,
	} {
		b := start(t)
		b.poll(services("A=0").setService("A", "in_calls_received_per_day", texts[0]))
		events := b.poll(services("A=0").setService("A", "in_calls_received_per_day", texts[1]))
		d := dataOf[*event.ServiceData](b, b.only("a change", events, "service/A stats_changed"))
		if got := len(d.Reset) > 0; got != want {
			t.Errorf("%q to %q: reset %v, want %v", texts[0], texts[1], got, want)
		}
	}
}

// TestResetWithState: a counter that only rides along with a change of state is named too.
func TestResetWithState(t *testing.T) {
	t.Parallel()
	b := start(t, func(o *engine.Options) {
		o.Layout.Volatile = []string{event.StateDuration, "in_calls_handled_per_day"}
	})
	b.poll(agents("anna=ready:100").set("anna", "in_calls_handled_per_day", "12"))
	e := b.only("a change", b.poll(agents("anna=busy:1").set("anna", "in_calls_handled_per_day", "0")), "agent/anna state_changed")
	if d := cmp.Diff([]string{"in_calls_handled_per_day"}, dataOf[*event.AgentData](b, e).Reset); d != "" {
		t.Errorf("reset (-want +got)\n%s", d)
	}
}
