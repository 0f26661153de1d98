package answer_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/answer"
	"bpcc-nats/bridge/event"
)

// TestPicture: what is old, or of a feed that is not live, is not in the picture.
func TestPicture(t *testing.T) {
	t.Parallel()
	interrupted := live(1)
	interrupted.Status = event.StatusInterrupted
	for name, test := range map[string]struct {
		feed      answer.Feed
		checked   float64
		now       float64
		entities  string
		available map[string]bool
	}{
		"live":                     {live(1), 1.5, 2, "2 agents, 1 services, 1 totals", map[string]bool{"Voice In": true, "Chat": false}},
		"old":                      {live(1), 1.5, 7, "0 agents, 0 services, 0 totals", map[string]bool{"Voice In": true, "Chat": false}},
		"interrupted":              {interrupted, 1.5, 2, "0 agents, 0 services, 0 totals", map[string]bool{"Voice In": true, "Chat": false}},
		"live, the checks are old": {live(20), 1.5, 20, "2 agents, 1 services, 1 totals", map[string]bool{}},
	} {
		s := answer.NewState("acme")
		s.Update(day(), test.feed, checked(test.checked))
		p := s.Picture(at(test.now))
		if got := fmt.Sprintf("%d agents, %d services, %d totals", len(p.Agents), len(p.Services), len(p.Totals)); got != test.entities {
			t.Errorf("%s: %s, want %s", name, got, test.entities)
		}
		if d := cmp.Diff(test.available, p.Available); d != "" {
			t.Errorf("%s: available (-want +got)\n%s", name, d)
		}
	}
	before := openDay()
	p := before.Picture(at(2))
	before.Update([]event.Event{agentEvent(12, 2, "disappeared", "anna", "")}, live(2), never)
	var ids []string
	for _, e := range p.Agents {
		ids = append(ids, e.ID+" "+e.Image.Text("team_name"))
	}
	if d := cmp.Diff([]string{"anna Sales", "john.smith Sales"}, slices.Sorted(slices.Values(ids))); d != "" || !maps.Equal(p.Available, map[string]bool{"Voice In": true, "Chat": false}) {
		t.Errorf("a picture that was taken before a change: %v\n%s", p.Available, d)
	}
}

// BenchmarkPicture copies 10,000 agents: for so long a scrape may keep a poll from its next step.
func BenchmarkPicture(b *testing.B) {
	s := answer.NewState("acme")
	for i := range 10_000 {
		s.Update([]event.Event{agentEvent(1, 1, "observed", fmt.Sprint("agent", i), "ready")}, live(1), never)
	}
	for b.Loop() {
		if p := s.Picture(at(2)); len(p.Agents) != 10_000 {
			b.Fatal(len(p.Agents))
		}
	}
}
