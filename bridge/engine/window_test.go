package engine_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
)

// TestWindowBeginsAtTheLastGoodPoll: polls that have nothing to publish are not
// stored, but the next change happened after them.
func TestWindowBeginsAtTheLastGoodPoll(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(agents("anna=ready"))
	stored := len(b.named(event.Checkpoint))
	for range 4 {
		b.poll(agents("anna=ready"))
	}
	quiet := b.sent()
	e := b.only("a change", b.poll(agents("anna=not_ready")), "agent/anna state_changed")
	if n := len(b.named(event.Checkpoint)) - stored; n != 1 {
		t.Fatalf("%d checkpoints since the first snapshot: the polls between were not quiet", n)
	}
	if d := cmp.Diff(event.Between(quiet, b.now), e.EntityBase().Observed); d != "" {
		t.Errorf("window (-want +got)\n%s", d)
	}
}

// TestWindowOverAMissingRow takes a row away for some polls, too few for its departure
// to be believed, and lets it come back changed: nothing shows when it changed, so the
// window begins where the row was last seen. The same holds after a restart, where
// missing_since bounds it.
func TestWindowOverAMissingRow(t *testing.T) {
	t.Parallel()
	for name, restart := range map[string]bool{"one term": false, "over a restart": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, func(o *engine.Options) { o.DisappearAfter = 1000 })
			b.poll(agents("anna=ready bob=ready"))
			b.poll(agents("anna=ready bob=ready"))
			seen := b.sent()
			for range 3 {
				b.poll(agents("bob=ready"))
			}
			b.expect("bob", b.poll(agents("bob=busy")), "agent/bob state_changed")
			if got := b.checkpoint().MissingSince; got != event.Floor(seen) {
				t.Errorf("missing since %v; anna was last seen at %v", got, seen)
			}
			if restart {
				b.stop()
				b.restart()
				b.expect("still missing", b.poll(agents("bob=busy")), "")
				if got := b.checkpoint(); got.MissingSince != event.Floor(seen) || got.Status != event.StatusLive {
					t.Errorf("after a restart: %+v; want it missing since %v", got, seen)
				}
				for range 2 {
					b.expect("still missing", b.poll(agents("bob=busy")), "")
				}
			}
			e := b.only("anna is back", b.poll(agents("anna=not_ready bob=busy")), "agent/anna state_changed")
			if d := cmp.Diff(event.Between(event.Floor(seen).Time, b.now), e.EntityBase().Observed); d != "" {
				t.Errorf("window (-want +got)\n%s", d)
			}
			b.poll(agents("anna=not_ready bob=ready"))
			if since := b.checkpoint().MissingSince; !since.IsZero() {
				t.Errorf("missing_since is still %v", since)
			}
		})
	}
}

// TestDepartureAfterRestart: a row that was missing before a restart and is missing
// after it is gone; its window begins where it was last seen.
func TestDepartureAfterRestart(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(agents("anna=ready bob=ready"))
	seen := b.sent()
	b.poll(agents("bob=ready"))
	b.poll(agents("bob=busy anna=ready"))
	if restarted := b.checkpoint().MissingSince; !restarted.IsZero() {
		t.Fatalf("missing since %v", restarted)
	}
	seen = seen.Add(2 * interval)
	b.poll(agents("bob=ready"))
	b.restart()
	b.expect("the first poll without her", b.poll(agents("bob=ready")), "")
	e := b.only("the second poll without her", b.poll(agents("bob=ready")), "agent/anna disappeared")
	base := e.EntityBase()
	if d := cmp.Diff(event.Between(event.Floor(seen).Time, b.now), base.Observed); d != "" {
		t.Errorf("window (-want +got)\n%s", d)
	}
}

// TestRestartPublishesTheNetDifference, once, with the window from the last sight.
func TestRestartPublishesTheNetDifference(t *testing.T) {
	t.Parallel()
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprint("crash=", crash), func(t *testing.T) {
			t.Parallel()
			b := start(t)
			first := numbered(0, 20)
			first.totals = row{"service_level": "0.9"}
			b.poll(first)
			until := event.Floor(b.sent()).Time
			b.poll(first) // seen, and not stored
			if !crash {
				until = event.Floor(b.sent()).Time
				b.stop()
			}
			b.restart()
			now := numbered(0, 20)
			now.totals = row{"service_level": "0.9"}
			var want []string
			for i := range 10 {
				id := fmt.Sprintf("agent%02d", i)
				now = now.set(id, "acd_state", "not_ready").set(id, "reason", "Lunch")
				want = append(want, "agent/"+id+" state_changed")
			}
			events := b.poll(now)
			if d := cmp.Diff(want, names(events)); d != "" {
				t.Fatalf("events (-want +got)\n%s", d)
			}
			for i := range events {
				if base := events[i].EntityBase(); !base.AfterGap || base.Observed != event.Between(until, b.now) || base.Revision != 2 {
					t.Errorf("%s: %+v; want after_gap, and the window from %v", events[i].CESubject(), base, until)
				}
			}
			b.expect("the next poll", b.poll(now), "")
			b.restart()
			b.expect("another restart", b.poll(now), "")
		})
	}
}

// TestBackfilledInterruption: a time without sight for which no bridge ran, or for
// which the stream took nothing, is published when it is over, with its width.
func TestBackfilledInterruption(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		away time.Duration
		then func(b *bridge)
		want string
	}{
		"a crash":                    {10 * time.Second, func(b *bridge) { b.restart() }, "feed interrupted, feed resumed, agent/anna state_changed"},
		"a stop":                     {10 * time.Second, func(b *bridge) { b.stop(); b.restart() }, "feed interrupted, feed resumed, agent/anna state_changed"},
		"a crash, soon over":         {2 * time.Second, func(b *bridge) { b.restart() }, "agent/anna state_changed"},
		"NATS was away":              {10 * time.Second, func(b *bridge) { b.restart(); b.engine.BlockedBefore() }, "feed interrupted, feed resumed, agent/anna state_changed"},
		"a crash, and a slow commit": {10 * time.Second, func(b *bridge) { b.restart(); b.engine.Blocked(b.now) }, "feed interrupted, feed resumed, agent/anna state_changed"},
		"the stream took nothing":    {10 * time.Second, func(b *bridge) { b.engine.Blocked(b.now) }, "feed interrupted, feed resumed, agent/anna state_changed"},
		"an interruption was open":   {10 * time.Second, func(b *bridge) { b.interrupt("auth"); b.restart() }, "feed resumed, agent/anna state_changed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			b.poll(agents("anna=ready"))
			until := event.Floor(b.sent()).Time
			b.now = b.now.Add(test.away)
			test.then(b)
			events := b.poll(agents("anna=busy"))
			b.expect("the first poll", events, test.want)
			window := event.Between(until, b.now)
			changed := events[len(events)-1].EntityBase()
			if !changed.AfterGap || changed.Observed != window {
				t.Errorf("the change: %+v; want after_gap and the window %v", changed, window)
			}
			for i := range events[:len(events)-1] {
				switch d := events[i].Data.(type) {
				case *event.FeedData:
					cause := "source"
					if name == "the stream took nothing" || name == "NATS was away" {
						cause = "nats"
					}
					want := &event.FeedData{Base: changed.Base, Epoch: b.checkpoint().Epoch, Instance: "test", Cause: cause, Error: d.Error, BridgeAway: true, ObservedUntil: event.Floor(until)}
					if diff := cmp.Diff(want, d); diff != "" || d.Error == "" {
						t.Errorf("interrupted (-want +got)\n%s", diff)
					}
				case *event.ResumedData:
					open := name == "an interruption was open"
					if d.BridgeAway == open || (d.Cause == "auth") != open || d.Observed != window || d.Poll != changed.Poll {
						t.Errorf("resumed: %+v; want the window %v", d, window)
					}
				}
			}
			if got := b.checkpoint(); got.Status != event.StatusLive {
				t.Errorf("status %s", got.Status)
			}
		})
	}
}

// TestBlockedIsNotTheSourcesFault: a time for which the stream kept the bridge from
// polling does not count towards an interruption.
func TestBlockedIsNotTheSourcesFault(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(agents("anna=ready"))
	b.now = b.now.Add(time.Minute)
	b.engine.Blocked(b.now)
	b.expect("two failures", slices.Concat(b.fail("source"), b.fail("source")), "")
	b.expect("the third", b.fail("source"), "feed interrupted")
}

// TestOpenInterruptionOverARestart: an interruption that is open when a term ends is
// neither published again nor forgotten.
func TestOpenInterruptionOverARestart(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(agents("anna=ready"))
	b.interrupt("auth")
	b.stop()
	b.restart()
	if got := b.engine.Stats().Cause; got != "auth" {
		t.Errorf("cause %q after the restart", got)
	}
	for range 5 {
		b.expect("still without sight", b.fail("source"), "")
	}
	e := b.only("sight", b.poll(agents("anna=ready")), "feed resumed")
	if d := dataOf[*event.ResumedData](b, e); d.Cause != "auth" || d.BridgeAway {
		t.Errorf("resumed: %+v", d)
	}
}

// TestEndsGap: which good poll ends a time without sight.
func TestEndsGap(t *testing.T) {
	t.Parallel()
	b := start(t)
	ends := func(what string, want bool) {
		t.Helper()
		if got := b.engine.EndsGap(b.now.Add(interval)); got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	ends("the very first poll", false)
	b.poll(agents("anna=ready"))
	ends("the second poll", false)
	b.now = b.now.Add(5 * time.Second)
	ends("a poll that is late for long", true)
	b.poll(agents("anna=ready"))
	b.interrupt("source")
	ends("the first after an interruption", true)
	b.poll(agents("anna=ready"))
	b.restart()
	ends("the first after a restart", true)
	b.poll(agents("anna=ready"))
	ends("the one after that", false)
}

// TestResume: an engine that continues after another one does what one does that
// recovers from the stream.
func TestResume(t *testing.T) {
	t.Parallel()
	b := start(t, rules(t, `[{"name":"backlog","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":5}}]`))
	show := everything().setService("Voice", "in_calls_waiting", "9")
	show.chat = []row{{"id": "1"}}
	b.poll(show, b.checks("Voice=yes"), b.listing(engine.Teams, "1=Sales"))
	b.engine = b.engine.Resume(b.options)
	b.commit(b.engine.Start(b.now))
	b.expect("nothing has changed", b.poll(show, b.checks("Voice=yes"), b.listing(engine.Teams, "1=Sales")), "")
	b.expect("a change", b.poll(show.set("bob", "acd_state", "busy").setService("Voice", "in_calls_waiting", "0")),
		"agent/bob state_changed, service/Voice stats_changed, threshold/backlog/Voice cleared")
}
