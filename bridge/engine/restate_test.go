package engine_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/diff/layout"
)

// floor is a snapshot of agents, a service and totals.
func floor(text string) snapshot {
	s := agents(text)
	s.services = services("A=3").services
	s.totals = row{"in_calls_waiting": "3"}
	return s
}

// TestRestate publishes again what the view has lost: the published images, with the next revisions and
// no lower bound, counted once by the checkpoints; the next change follows on them.
func TestRestate(t *testing.T) {
	t.Parallel()
	b := start(t, func(o *engine.Options) { o.AvailabilityUnknownAfter = time.Hour })
	if batch := b.engine.Restate([]string{"agent.anna"}, b.now); batch != nil {
		t.Error("something is stated again before the first poll")
	}
	b.poll(floor("anna=ready bob=busy carl=ready"), func(o *engine.Observation) {
		o.Availability = []engine.AvailabilityResult{{Service: "A", Available: true, Sent: b.sent(), Received: b.now}}
	})
	b.poll(floor("anna=ready bob=busy"))
	b.poll(floor("anna=ready bob=busy")) // carl has departed
	want := []string{"agent.anna", "agent.bob", "availability.A", "service.A", "totals.bridge"}
	if d := cmp.Diff(want, b.engine.ViewKeys()); d != "" {
		t.Errorf("keys of the view (-want +got)\n%s", d)
	}
	events := b.commit(b.engine.Restate([]string{"agent.bob", "agent.carl", "agent.nobody", "availability.A", "feed", "service.A", "totals.bridge"}, b.now))
	var keys []string
	for _, e := range events {
		base := e.EntityBase()
		if e.Verb() != "observed" || base.Revision != 2 || !base.Observed.After.IsZero() || !base.Observed.By.Equal(b.now) || !e.Restates() {
			t.Errorf("%s: %s with revision %d in %v", e.MsgID(), e.Name, base.Revision, base.Observed)
		}
		keys = append(keys, e.ViewKey())
	}
	if d := cmp.Diff([]string{"agent.bob", "service.A", "totals.bridge", "availability.A"}, keys); d != "" {
		t.Errorf("stated again (-want +got)\n%s", d)
	}
	if got := events[0].Data.(*event.AgentData); got.To.State != "busy" || got.Agent.ID != "bob" {
		t.Errorf("bob is %+v", got)
	}
	if batch := b.engine.Restate([]string{"agent.carl", "feed"}, b.now); batch != nil {
		t.Error("a batch without an event")
	}
	changed := b.poll(floor("anna=ready bob=ready"))
	if len(changed) != 1 || changed[0].Name != "agent.state_changed" || changed[0].EntityBase().Revision != 3 {
		t.Errorf("the next change is %v", changed)
	}
}

// TestForgottenEntities begins a term for which neither stream nor view has all that the last checkpoint
// counts: what the first poll shows in addition is observed and has not appeared; who is known to have
// departed has.
func TestForgottenEntities(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		forget []string // agents without an event
		shown  string
		want   map[string]string // verb of the first poll of the second term, by agent
	}{
		"nothing":           {nil, "anna=ready bob=busy dora=ready", map[string]string{"dora": "appeared"}},
		"one":               {[]string{"bob"}, "anna=ready bob=busy", map[string]string{"bob": "observed"}},
		"all":               {[]string{"anna", "bob"}, "anna=ready bob=busy", map[string]string{"anna": "observed", "bob": "observed"}},
		"one, and a return": {[]string{"bob"}, "anna=ready bob=busy carl=ready", map[string]string{"bob": "observed", "carl": "appeared"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			b.poll(floor("anna=ready bob=busy carl=ready"))
			b.poll(floor("anna=ready bob=busy"))
			b.poll(floor("anna=ready bob=busy"))
			b.stop()
			b.stream = slices.DeleteFunc(b.stream, func(e event.Event) bool {
				d, ok := e.Data.(*event.AgentData)
				return ok && slices.Contains(test.forget, d.Agent.ID)
			})
			second := engine.New(b.options)
			for i := range b.stream {
				second.Recover(&b.stream[i])
			}
			b.engine = second
			b.stream = nil // its chains are cut
			b.commit(second.Start(b.now))
			got := map[string]string{}
			for _, e := range b.poll(floor(test.shown)) {
				if d, ok := e.Data.(*event.AgentData); ok {
					got[d.Agent.ID] = e.Verb()
				}
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("first poll (-want +got)\n%s", d)
			}
			for _, e := range b.poll(floor(test.shown + " zoe=ready")) {
				if d, ok := e.Data.(*event.AgentData); ok && e.Verb() != "appeared" {
					t.Errorf("%s has %s in the second poll", d.Agent.ID, e.Verb())
				}
			}
			b.stream = nil
			b.engine = engine.New(b.options)
		})
	}
}

func TestReserve(t *testing.T) {
	t.Parallel()
	e := engine.New(engine.Options{Layout: &layout.Layout{}})
	e.Reserve(7)
	e.Reserve(3)
	e.Start(start(t).now)
	if got := e.Stats().Epoch; got != 8 {
		t.Errorf("the epoch is %d, want 8", got)
	}
}
