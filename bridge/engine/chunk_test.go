package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
)

// many is a snapshot of so many agents in a state, each with an extension.
func many(n int, state, extension string) snapshot {
	s := snapshot{agents: map[string]row{}}
	for i := range n {
		s.agents[fmt.Sprintf("agent%04d", i)] = row{"acd_state": state, "extension": extension}
	}
	return s
}

// TestChunks: a batch is stored in as many chunks as it takes. Only the last one
// moves the watermark.
func TestChunks(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		size, agents int
		want         []string
	}{
		{1000, 2500, []string{
			"1/3: 999 events, 999 agents, interrupted, until false, observing []",
			"2/3: 999 events, 1998 agents, interrupted, until false, observing []",
			"3/3: 503 events, 2500 agents, live, until true, observing [agent service totals]",
		}},
		{4, 0, []string{"1/1: 1 events, 0 agents, live, until true, observing [agent service totals]"}},
		{4, 2, []string{"1/1: 3 events, 2 agents, live, until true, observing [agent service totals]"}},
		{4, 3, []string{
			"1/2: 3 events, 3 agents, interrupted, until false, observing []",
			"2/2: 1 events, 3 agents, live, until true, observing [agent service totals]",
		}},
		{2, 1, []string{
			"1/2: 1 events, 1 agents, interrupted, until false, observing []",
			"2/2: 1 events, 1 agents, live, until true, observing [agent service totals]",
		}},
	} {
		t.Run(fmt.Sprint(test.agents, " by ", test.size), func(t *testing.T) {
			t.Parallel()
			b := start(t)
			b.size = test.size
			show := many(test.agents, "ready", "1")
			show.totals = row{"in_calls_waiting": "1"}
			b.poll(show)
			var got []string
			for _, e := range b.named(event.Checkpoint) {
				if d := dataOf[*event.CheckpointData](b, &e); d.Poll == 2 {
					got = append(got, fmt.Sprintf("%v/%v: %v events, %v agents, %s, until %v, observing %v",
						d.Part, d.Parts, d.Events, d.Agents, d.Status, !d.ObservedUntil.IsZero(), d.Observing))
				}
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("parts (-want +got)\n%s", d)
			}
			b.poll(many(test.agents, "busy", "2"))
			b.poll(many(test.agents, "ready", "2"))
		})
	}
}

// TestTwoEventsOverTwoChunks: the state of an agent may be stored in one chunk and its
// statistics in the next, and joins on as it does in one. A chunk is the same,
// however often it is encoded, until it is acknowledged.
func TestTwoEventsOverTwoChunks(t *testing.T) {
	t.Parallel()
	changes := func(size int) []event.Event {
		b := start(t)
		b.poll(many(9, "ready", "1"))
		var out []event.Event
		encoder := event.NewEncoder("x")
		for c := range b.engine.Chunks(b.engine.OnPoll(b.answer(many(9, "busy", "2"))), size) {
			encode := func() (out []string) {
				for i := range c.Events {
					body, err := encoder.Append(nil, &c.Events[i])
					if err != nil {
						t.Fatal(err)
					}
					out = append(out, string(body))
				}
				return out
			}
			before := encode()
			if d := cmp.Diff(before, encode()); d != "" {
				t.Errorf("chunk %d of %d, encoded once more (-before +after)\n%s", c.Part, c.Parts, d)
			}
			if want := (18 + size - 2) / (size - 1); c.Parts != want {
				t.Errorf("%d parts, want %d", c.Parts, want)
			}
			out = append(out, b.store(c)...)
		}
		for i := range out {
			out[i].ID = event.ID{}
		}
		return out
	}
	whole := changes(1000)
	if len(whole) != 18 {
		t.Fatalf("%d events", len(whole))
	}
	for _, size := range []int{2, 3, 4, 6, 18} {
		if d := cmp.Diff(whole, changes(size)); d != "" {
			t.Errorf("in chunks of %d (-whole +chunks)\n%s", size, d)
		}
	}
}

// TestAcknowledgedInPart: what is believed to be published moves chunk by chunk, and
// a bridge that dies between two of them publishes the rest after a restart.
func TestAcknowledgedInPart(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(many(5, "ready", "1"))
	until := b.checkpoint().ObservedUntil
	batch := b.engine.OnPoll(b.answer(many(5, "busy", "2")))
	for c := range b.engine.Chunks(batch, 4) { // five agents, two events each
		events := b.store(c)
		if c.Part == 2 {
			b.expect("part 2", events, "agent/agent0001 stats_changed, agent/agent0002 state_changed, agent/agent0002 stats_changed")
			break
		}
	}
	if got := b.checkpoint(); got.ObservedUntil != until || got.Part != 2 || got.Parts != 4 || b.engine.Stats().ObservedUntil != until.Time {
		t.Errorf("in between: %+v; want the watermark at %v", got, until)
	}
	b.checkFold()
	b.restart()
	events := b.poll(many(5, "busy", "2"))
	b.expect("the rest", events, "agent/agent0003 state_changed, agent/agent0003 stats_changed, agent/agent0004 state_changed, agent/agent0004 stats_changed")
	for i := range events {
		if base := events[i].EntityBase(); !base.AfterGap || base.Observed.After != until {
			t.Errorf("%s: %+v; want the window from %v", events[i].CESubject(), base, until)
		}
	}
}

// TestDiesBetweenStateAndStats: the state of an agent is stored and its statistics
// are not; a restart publishes them.
func TestDiesBetweenStateAndStats(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(many(1, "ready", "1"))
	for c := range b.engine.Chunks(b.engine.OnPoll(b.answer(many(1, "busy", "2"))), 2) {
		b.expect("the first part", b.store(c), "agent/agent0000 state_changed")
		break
	}
	b.restart()
	e := b.only("the second part", b.poll(many(1, "busy", "2")), "agent/agent0000 stats_changed")
	if d := dataOf[*event.AgentData](b, e); d.Revision != 3 || d.Before.Text("extension") != "1" || d.Before.Text("acd_state") != "busy" {
		t.Errorf("statistics: %+v", d)
	}
}

// omitting commits a batch without the entities of which an event is too large, as the
// bridge does, and gives the events that are stored.
func (b *bridge) omitting(batch *engine.Batch, tooLarge func(*event.Event) bool) []event.Event {
	b.t.Helper()
	var out []event.Event
	for c := range b.engine.Chunks(batch, b.size) {
		for {
			var large []*event.Event
			for i := range c.Events[:len(c.Events)-1] {
				if tooLarge(&c.Events[i]) {
					large = append(large, &c.Events[i])
				}
			}
			if len(large) == 0 {
				break
			}
			b.engine.Omit(c, large...)
		}
		out = append(out, b.store(c)...)
	}
	return out
}

// about reports whether an event is about an entity.
func about(entities ...string) func(*event.Event) bool {
	return func(e *event.Event) bool { return slices.Contains(entities, e.CESubject()) }
}

// TestOmit: an entity that is too large is left out as if it had not been seen, and
// is published when it fits.
func TestOmit(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1000, 2, 3} {
		t.Run(fmt.Sprint("chunks of ", size), func(t *testing.T) {
			t.Parallel()
			b := start(t)
			b.size = size
			show := agents("anna=ready bob=ready").set("anna", "extension", "1")
			show.totals = row{"in_calls_waiting": "1"}
			b.expect("bob is too large", b.omitting(b.engine.OnPoll(b.answer(show)), about("agent/bob")), "agent/anna observed, totals/bridge observed")
			show = show.set("carl", "acd_state", "ready")
			b.expect("and still is", b.omitting(b.engine.OnPoll(b.answer(show)), about("agent/bob")), "agent/carl appeared")
			b.expect("bob fits", b.poll(show), "agent/bob appeared")

			// The image after the first of her two events is too large already.
			show = show.set("anna", "acd_state", "not_ready").set("anna", "extension", "2").set("carl", "acd_state", "busy")
			b.expect("anna is too large", b.omitting(b.engine.OnPoll(b.answer(show)), func(e *event.Event) bool {
				return about("agent/anna")(e) && e.Verb() == "state_changed"
			}), "agent/carl state_changed")
			if n := b.checkpoint().Agents; n != 3 {
				t.Errorf("%d agents, want 3", n)
			}
			show = show.set("anna", "acd_state", "busy")
			events := b.poll(show)
			b.expect("anna fits", events, "agent/anna state_changed, agent/anna stats_changed")
			if d := dataOf[*event.AgentData](b, &events[0]); d.Revision != 2 || d.From.State != "ready" || d.To.State != "busy" {
				t.Errorf("%+v; want the net change from what is published", d)
			}

			// Her second event alone is too large: the first one is stored before, if it is
			// in a chunk of its own.
			show = show.set("anna", "acd_state", "ready").set("anna", "extension", "3")
			want := map[int]string{1000: "", 2: "agent/anna state_changed", 3: ""}[size]
			b.expect("her statistics are too large", b.omitting(b.engine.OnPoll(b.answer(show)), func(e *event.Event) bool { return e.Verb() == "stats_changed" }), want)
			b.restart()
			want = "agent/anna state_changed, agent/anna stats_changed"
			if size == 2 {
				want = "agent/anna stats_changed"
			}
			b.expect("after a restart", b.poll(show), want)
		})
	}
}

// TestOmitOthers: of everything that is no row the events of one entity are left out,
// too, and published with the next poll.
func TestOmitOthers(t *testing.T) {
	t.Parallel()
	for entity, test := range map[string]struct {
		first, then string // what is stored without it, and with the next poll
	}{
		"threshold/backlog/Voice": {"directory/teams changed, service/Chat observed, service/Voice observed, availability/Voice observed, threshold/backlog/Chat raised, chat/1 message_posted, chat/2 message_posted", "threshold/backlog/Voice raised"},
		"availability/Voice":      {"directory/teams changed, service/Chat observed, service/Voice observed, threshold/backlog/Chat raised, threshold/backlog/Voice raised, chat/1 message_posted, chat/2 message_posted", "availability/Voice observed"},
		"directory/teams":         {"service/Chat observed, service/Voice observed, availability/Voice observed, threshold/backlog/Chat raised, threshold/backlog/Voice raised, chat/1 message_posted, chat/2 message_posted", "directory/teams changed"},
		"chat/1":                  {"directory/teams changed, service/Chat observed, service/Voice observed, availability/Voice observed, threshold/backlog/Chat raised, threshold/backlog/Voice raised, chat/2 message_posted", "chat/1 message_posted"},
		"service/Voice":           {"directory/teams changed, service/Chat observed, availability/Voice observed, threshold/backlog/Chat raised, chat/1 message_posted, chat/2 message_posted", "service/Voice appeared, threshold/backlog/Voice raised"},
	} {
		t.Run(entity, func(t *testing.T) {
			t.Parallel()
			b := start(t, rules(t, strings.ReplaceAll(strings.ReplaceAll(backlog, `"4s"`, `"0s"`), `"Voice*"`, `"*"`)))
			show := services("Voice=9 Chat=9")
			show.chat = []row{{"id": "1"}, {"id": "2"}}
			o := b.answer(show)
			b.checks("Voice=yes")(&o)
			b.listing(engine.Teams, "1=Sales")(&o)
			b.expect("without it", b.omitting(b.engine.OnPoll(o), about(entity)), test.first)
			b.expect("with it", b.poll(show, b.checks("Voice=yes"), b.listing(engine.Teams, "1=Sales")), test.then)
			b.restart()
			b.expect("after a restart", b.poll(show, b.checks("Voice=yes"), b.listing(engine.Teams, "1=Sales")), "")
		})
	}
}

// TestOmitAll: a batch of which nothing is left is a checkpoint.
func TestOmitAll(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.size = 3
	show := many(5, "ready", "1")
	b.expect("nothing fits", b.omitting(b.engine.OnPoll(b.answer(show)), func(*event.Event) bool { return true }), "")
	got := b.checkpoint()
	if got.Events != 0 || got.Agents != 0 || got.Part != 3 || got.Status != event.StatusLive || !got.ObservedUntil.Equal(b.sent()) {
		t.Errorf("checkpoint: %+v", got)
	}
	if n := len(b.poll(show)); n != 5 {
		t.Errorf("%d agents appear when they fit", n)
	}
}

// TestOmitPartOfDirectory: of a directory in several events the later ones are left
// out with the one that is too large; the next listing publishes the rest.
func TestOmitPartOfDirectory(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.size = 2
	names := map[string]string{}
	for i := range 1100 {
		names[fmt.Sprintf("%04d", i)] = "a"
	}
	o := b.answer(snapshot{})
	b.names(engine.Agents, names)(&o)
	events := b.omitting(b.engine.OnPoll(o), func(e *event.Event) bool {
		d, ok := e.Data.(*event.DirectoryData)
		return ok && d.Part == 2
	})
	b.expect("the first part", events, "directory/agents changed")
	b.expect("the rest", b.poll(snapshot{}, b.names(engine.Agents, names)), "directory/agents changed, directory/agents changed")
	if d := cmp.Diff(names, b.engine.Published().Directories["agents"]); d != "" {
		t.Errorf("the directory, folded from its events (-want +got)\n%s", d)
	}
}
