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
	"bpcc-nats/diff/layout"
)

// everything is a snapshot with something of each kind.
func everything() snapshot {
	s := agents("john.smith=ready bob=").setService("Voice Inbound", "in_calls_waiting", "3")
	s.totals = row{"in_calls_waiting": "3"}
	return s
}

// TestFirstSnapshot: what a first term begins with.
func TestFirstSnapshot(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.expect("the term", b.named(event.Started), "feed started")
	if got := b.checkpoint(); got.Status != event.StatusInterrupted || !got.ObservedUntil.IsZero() || len(got.Observing) > 0 || got.Follows != "" {
		t.Errorf("checkpoint before the first poll: %+v", got)
	}
	events := b.poll(everything())
	b.expect("first snapshot", events, "agent/bob observed, agent/john.smith observed, service/Voice Inbound observed, totals/bridge observed")
	var subjects []string
	for i := range events {
		subjects = append(subjects, strings.TrimPrefix(events[i].Subject(), "bpcc.v1.acme."))
		base := events[i].EntityBase()
		if row := events[i].Row(); row != nil && !row.Before.IsZero() || !base.Observed.After.IsZero() || base.AfterGap || base.Revision != 1 {
			t.Errorf("%s is published as a change: %+v", events[i].CESubject(), base)
		}
	}
	if d := cmp.Diff([]string{"agent.bob.observed", "agent.john=2Esmith.observed", "service.Voice=20Inbound.observed", "totals.bridge.observed"}, subjects); d != "" {
		t.Errorf("subjects (-want +got)\n%s", d)
	}
	got := b.checkpoint()
	want := &event.CheckpointData{
		Base: event.Base{Tenant: "acme", Poll: 2}, Status: event.StatusLive, Epoch: 1, Part: 1, Parts: 1, Events: 4,
		ObservedUntil: event.Floor(b.sent()), Agents: 2, Services: 1, Instance: "test",
		Observing: []string{"agent", "service", "totals"}, Follows: "acme-1-1-2",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("checkpoint (-want +got)\n%s", d)
	}
}

// TestTotalsAreObserved: totals of an app id newly asked for were there before.
func TestTotalsAreObserved(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(agents("anna=ready"))
	show := agents("anna=ready")
	show.totals = row{"in_calls_waiting": "3"}
	e := b.only("totals", b.poll(show), "totals/bridge observed")
	if d := dataOf[*event.TotalsData](b, e); !d.Observed.After.IsZero() {
		t.Errorf("published as a change: %+v", d)
	}
}

// TestOrderOfOnePoll: the events of one poll have one order, by what they are about.
func TestOrderOfOnePoll(t *testing.T) {
	t.Parallel()
	b := start(t, rules(t, `[{"name":"backlog","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":5}}]`),
		func(o *engine.Options) { o.AvailabilityUnknownAfter = time.Hour })
	b.poll(everything(), b.checks("Voice=yes"), b.listing(engine.Teams, "1=Sales"))
	b.interrupt("source")
	show := everything().set("bob", "acd_state", "ready").set("john.smith", "extension", "7").setService("Voice Inbound", "in_calls_waiting", "5")
	show.totals, show.chat = row{"in_calls_waiting": "5"}, []row{{"id": "1"}}
	b.expect("one poll", b.poll(show, b.checks("Voice=no"), b.listing(engine.Teams, "1=Sale")), strings.Join([]string{
		"feed resumed", "directory/teams changed", "agent/bob state_changed", "agent/john.smith stats_changed", "service/Voice Inbound stats_changed",
		"availability/Voice changed", "totals/bridge stats_changed", "threshold/backlog/Voice Inbound raised", "chat/1 message_posted",
	}, ", "))
}

// TestTerms: epochs, polls, statuses and what the feed's own events say, over a stop
// and a crash.
func TestTerms(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(agents("anna=ready"))
	until := event.Floor(b.sent())
	stopped := dataOf[*event.FeedData](b, b.only("stop", b.stop(), "feed stopped"))
	want := &event.FeedData{Base: event.Base{Tenant: "acme", Poll: 3}, Epoch: 1, Instance: "test", Reason: "shutdown", ObservedUntil: until}
	if d := cmp.Diff(want, stopped); d != "" || b.checkpoint().Status != event.StatusStopped {
		t.Errorf("stopped, status %s (-want +got)\n%s", b.checkpoint().Status, d)
	}
	b.restart()
	started := b.named(event.Started)
	want = &event.FeedData{Base: event.Base{Tenant: "acme", Poll: 4}, Epoch: 2, Instance: "test", Version: "test", ObservedUntil: until}
	if d := cmp.Diff(want, dataOf[*event.FeedData](b, &started[1])); d != "" || b.checkpoint().Status != event.StatusInterrupted {
		t.Errorf("started, status %s (-want +got)\n%s", b.checkpoint().Status, d)
	}
	b.expect("nothing has changed", b.poll(agents("anna=ready")), "")
	if got := b.checkpoint(); got.Status != event.StatusLive || got.Epoch != 2 || got.Poll != 5 || got.Events != 0 {
		t.Errorf("a restart without changes is not live at once: %+v", got)
	}
	b.restart() // without a stop: a crash
	if got := b.checkpoint(); got.Epoch != 3 || got.Poll != 6 || b.engine.Stats().Epoch != 3 {
		t.Errorf("after a crash: %+v", got)
	}
}

// TestQuietPolls: a poll without changes needs no commit, and if it has one for
// another reason, moves the watermark alone.
func TestQuietPolls(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(agents("anna=ready:0"))
	stored := len(b.stream)
	for i := range 4 {
		b.expect("quiet", b.poll(agents(fmt.Sprintf("anna=ready:%d", 2*i+2))), "")
	}
	if len(b.stream) != stored {
		t.Errorf("%d messages are stored of quiet polls", len(b.stream)-stored)
	}
	for i := range 3 {
		batch := b.engine.OnPoll(b.answer(agents(fmt.Sprintf("anna=ready:%d", 2*i+10))))
		if b.engine.NeedsCommit(batch) || batch.Len() != 0 {
			t.Errorf("a quiet poll needs a commit of %d events", batch.Len())
		}
		b.commit(batch)
		got := b.checkpoint()
		if got.Status != event.StatusLive || got.Events != 0 || !got.ObservedUntil.Equal(b.sent()) {
			t.Errorf("watermark at %v: %+v", b.now, got)
		}
	}
}

// TestInterruption: when and with what cause the feed is interrupted.
func TestInterruption(t *testing.T) {
	t.Parallel()
	malformed, foreign, empty := []byte(`{"app":{`), []byte(`{"app~other":{}}`), []byte(`{"app":{}}`)
	type step struct {
		cause string // of a failed poll
		body  []byte // or a body that cannot be used
		tick  bool   // or no answer yet
	}
	fails := func(causes ...string) (out []step) {
		for _, c := range causes {
			out = append(out, step{cause: c})
		}
		return out
	}
	for name, test := range map[string]struct {
		steps []step
		at    int // the step that interrupts, from 1; 0 = none
		cause string
		err   string
	}{
		"after its time":                 {fails("source", "source", "source", "source"), 3, "source", "source is away"},
		"not before":                     {fails("source", "source"), 0, "", ""},
		"the last cause":                 {fails("source", "auth", "subscription_lost"), 3, "subscription_lost", "source is away"},
		"not ready says nothing":         {fails("auth", "", ""), 3, "auth", "source is away"},
		"never ready":                    {fails("", "", ""), 3, "source", "source is away"},
		"a cause after not ready":        {fails("", "auth", ""), 3, "auth", "source is away"},
		"no answer yet says nothing":     {[]step{{cause: "auth"}, {tick: true}, {tick: true}}, 3, "auth", "source is away"},
		"no answer at all":               {[]step{{tick: true}, {tick: true}, {tick: true}, {tick: true}}, 3, "source", "the source has not answered yet"},
		"bodies that are no JSON":        {[]step{{body: malformed}, {body: malformed}, {body: malformed}}, 3, "truncated", ""},
		"bodies of another subscription": {[]step{{body: foreign}, {body: foreign}, {body: foreign}}, 3, "subscription_lost", "app~other"},
		"bodies that are empty":          {[]step{{body: empty}, {body: empty}, {body: empty}}, 3, "empty", ""},
		"once":                           {fails("source", "source", "source", "auth", "auth", "auth", "auth"), 3, "source", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			b.poll(agents("anna=ready"))
			until := event.Floor(b.sent())
			for i, step := range test.steps {
				var events []event.Event
				switch {
				case step.tick:
					b.now = b.now.Add(interval)
					b.batch = b.engine.OnTick(engine.Observation{At: b.now})
					events = b.commitIfNeeded()
				case step.body != nil:
					o := b.answer(snapshot{})
					o.Body = step.body
					events = b.observe(o)
				default:
					events = b.fail(step.cause)
				}
				if b.batch.Err == nil {
					t.Errorf("step %d: no error", i+1)
				}
				if i+1 != test.at {
					b.expect(fmt.Sprint("step ", i+1), events, "")
					continue
				}
				d := dataOf[*event.FeedData](b, b.only("interruption", events, "feed interrupted"))
				if d.Cause != test.cause || !strings.Contains(d.Error, test.err) || d.BridgeAway {
					t.Errorf("cause %s, error %q, bridge_away %v; want %s, %q", d.Cause, d.Error, d.BridgeAway, test.cause, test.err)
				}
				got := b.checkpoint()
				if d.ObservedUntil != until || got.ObservedUntil != until || got.Status != event.StatusInterrupted || b.engine.Stats().Cause != test.cause {
					t.Errorf("observed until %v, checkpoint %+v; want %v, interrupted", d.ObservedUntil, got, until)
				}
			}
		})
	}
}

// TestResumption: the first good poll after an interruption publishes its width, and
// what has changed meanwhile as net changes of the same window.
func TestResumption(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(agents("anna=ready bob=ready"))
	until := b.sent()
	b.interrupt("auth")
	b.fail("source")
	events := b.poll(agents("anna=not_ready bob=ready carl=ready"))
	b.expect("resumption", events, "feed resumed, agent/anna state_changed, agent/carl appeared")
	window := event.Between(until, b.now)
	want := &event.ResumedData{Base: event.Base{Tenant: "acme", Poll: events[0].ID.Poll}, Epoch: 1, Instance: "test", Cause: "auth", Observed: window}
	if d := cmp.Diff(want, dataOf[*event.ResumedData](b, &events[0])); d != "" {
		t.Errorf("resumed (-want +got)\n%s", d)
	}
	for i := range events[1:] {
		if base := events[i+1].EntityBase(); !base.AfterGap || base.Observed != window {
			t.Errorf("%s: after_gap %v, window %v; want %v", events[i+1].CESubject(), base.AfterGap, base.Observed, window)
		}
	}
	if got := b.checkpoint(); got.Status != event.StatusLive || b.engine.Stats().Cause != "" {
		t.Errorf("after it: %+v, cause %q", got, b.engine.Stats().Cause)
	}
	e := b.only("the next change", b.poll(agents("anna=ready bob=ready carl=ready")), "agent/anna state_changed")
	if e.EntityBase().AfterGap {
		t.Error("the next change says after_gap as well")
	}
}

// TestShortFailure: a failure that is too short to interrupt the feed is no gap, and
// widens the window of the next change.
func TestShortFailure(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(agents("anna=ready"))
	until := b.sent()
	b.fail("source")
	e := b.only("a change", b.poll(agents("anna=busy")), "agent/anna state_changed")
	if base := e.EntityBase(); base.AfterGap || base.Observed != event.Between(until, b.now) {
		t.Errorf("%+v; want the window from %v", base, until)
	}
}

// TestBadBodies: an answer that cannot be used publishes nothing and forgets nothing.
func TestBadBodies(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body string
		want error
	}{
		"no JSON":              {"<html>", layout.ErrMalformed},
		"cut":                  {`{"app":{"agent_grids":[{"id":"agents","values":[{"login_id":"anna","acd_state":"busy"}`, layout.ErrMalformed},
		"another subscription": {`{"other":{"agent_grids":[]}}`, layout.ErrForeign},
		"empty":                {`{"app":{"agent_grids":[{"id":"agents","values":[]}]}}`, diff.ErrEmpty},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			b.poll(agents("anna=ready bob=ready"))
			o := b.answer(snapshot{})
			o.Body = []byte(test.body)
			b.expect("a bad answer", b.observe(o), "")
			if !errors.Is(b.batch.Err, test.want) || b.batch.SkippedRows != nil {
				t.Errorf("error %v, want %v; skipped rows %v", b.batch.Err, test.want, b.batch.SkippedRows)
			}
			b.expect("as before", b.poll(agents("anna=ready bob=ready")), "")
			b.expect("a change", b.poll(agents("anna=ready bob=busy")), "agent/bob state_changed")
		})
	}
}

// TestStaleCheckpoint: what the view shows of a feed whose bridge has died.
func TestStaleCheckpoint(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(everything())
	live := b.checkpoint()
	b.poll(everything()) // seen, and not stored
	later := b.now.Add(time.Minute)
	e := b.engine.StaleCheckpoint(later)
	stale := dataOf[*event.CheckpointData](b, &e)
	want := *live
	want.Status, want.Events, want.Poll, want.Follows = event.StatusStale, 0, 3, "acme-1-2-5"
	want.ObservedUntil = event.Floor(b.sent())
	if d := cmp.Diff(&want, stale); d != "" || !e.Time.Equal(later) {
		t.Errorf("stale at %v (-want +got)\n%s", e.Time, d)
	}
	if got := e.MsgID(); got != "acme-1-3-0" {
		t.Errorf("its id is %s, which an event may have", got)
	}
	if got := b.engine.Status(); got != event.StatusLive {
		t.Errorf("the feed is %s, though it was only asked for", got)
	}
}
