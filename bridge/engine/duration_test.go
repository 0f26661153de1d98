package engine_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
)

// lasted gives the changes of an agent's state as "from → to: min to max" in seconds, without the range
// where there is none.
func (b *bridge) lasted(id string) []string {
	out := []string{}
	for _, e := range b.named(event.StateChanged) {
		d := dataOf[*event.AgentData](b, &e)
		if d.Agent.ID != id {
			continue
		}
		text := d.From.State + " → " + d.To.State
		if r := d.PreviousDuration; r != (event.DurationRange{}) {
			text += fmt.Sprint(": ", time.Duration(r.Min).Seconds(), " to ", time.Duration(r.Max).Seconds())
		}
		out = append(out, text)
	}
	return out
}

// TestPreviousDuration: how long a state lasted is bounded by the windows of its beginning and of its end.
// Polls are 2 s apart and take 10 ms.
func TestPreviousDuration(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		polls func(b *bridge)
		want  []string
	}{
		"successive polls": {func(b *bridge) {
			for _, state := range []string{"ready", "busy", "ready"} {
				b.poll(agents("anna=" + state))
			}
		}, []string{"ready → busy", "busy → ready: 0 to 4.01"}},
		"some polls": {func(b *bridge) {
			for _, state := range []string{"ready", "busy", "busy", "busy", "ready"} {
				b.poll(agents("anna=" + state))
			}
		}, []string{"ready → busy", "busy → ready: 3.99 to 8.01"}},
		"seen first with a clock": {func(b *bridge) {
			b.poll(agents("anna=ready:300"))
			b.poll(agents("anna=busy:1"))
		}, []string{"ready → busy: 297.99 to 304"}},
		"seen first with a young clock": {func(b *bridge) {
			b.poll(agents("anna=ready:1"))
			b.poll(agents("anna=busy:1"))
		}, []string{"ready → busy: 0 to 5"}},
		"seen first with a clock and a reason": {func(b *bridge) {
			b.poll(agents("anna=not_ready:300").set("anna", "reason", "Lunch"))
			b.poll(agents("anna=not_ready:302").set("anna", "reason", "Lunch"))
			b.poll(agents("anna=ready:1"))
		}, []string{"not_ready → ready: 1.99 to 306"}},
		"appears with its login": {func(b *bridge) {
			b.poll(agents("bob=ready"))
			b.poll(agents("bob=ready anna=not_ready:1"))
			b.poll(agents("bob=ready anna=ready:0"))
		}, []string{"not_ready → ready: 0 to 5"}},
		"appears in an old state": {func(b *bridge) {
			b.poll(agents("bob=ready"))
			b.poll(agents("bob=ready anna=not_ready:100"))
			b.poll(agents("bob=ready anna=ready:0"))
		}, []string{"not_ready → ready"}},
		"came back": {func(b *bridge) {
			b.options.DisappearAfter = 1
			b.restart()
			for _, all := range []string{"bob=ready anna=ready", "bob=ready anna=busy", "bob=ready", "bob=ready anna=busy", "bob=ready anna=ready"} {
				b.poll(agents(all))
			}
		}, []string{"ready → busy", "busy → ready"}},
		"left and entered again": {func(b *bridge) {
			b.poll(agents("anna=ready:300"))
			b.poll(agents("anna=ready:1"))
			b.poll(agents("anna=ready:3"))
			b.poll(agents("anna=busy:1"))
		}, []string{"ready → ready: 297.99 to 304", "ready → busy: 1.99 to 6.01"}},
		"a reason changes": {func(b *bridge) {
			b.poll(agents("anna=not_ready"))
			b.poll(agents("anna=not_ready").set("anna", "reason", "Lunch"))
			b.poll(agents("anna=ready"))
		}, []string{"not_ready → not_ready", "not_ready → ready: 0 to 4.01"}},
		"over a gap": {func(b *bridge) {
			b.poll(agents("anna=ready"))
			b.poll(agents("anna=busy"))
			b.interrupt("source")
			b.poll(agents("anna=ready"))
		}, []string{"ready → busy", "busy → ready: 0 to 10.01"}},
		"after a gap": {func(b *bridge) {
			b.poll(agents("anna=ready"))
			b.poll(agents("anna=busy"))
			b.interrupt("source")
			b.poll(agents("anna=busy"))
			b.poll(agents("anna=busy"))
			b.poll(agents("anna=ready"))
		}, []string{"ready → busy", "busy → ready: 1.99 to 14.01"}},
		"after and over a gap": {func(b *bridge) {
			b.poll(agents("anna=ready"))
			b.poll(agents("anna=busy"))
			b.interrupt("source")
			b.poll(agents("anna=busy"))
			b.poll(agents("anna=busy"))
			b.interrupt("source")
			b.size = 2
			b.poll(agents("anna=ready"))
		}, []string{"ready → busy", "busy → ready: 1.99 to 20.01"}},
		"begun in the poll that ends a gap": {func(b *bridge) {
			b.poll(agents("anna=ready"))
			b.interrupt("source")
			b.poll(agents("anna=busy"))
			b.poll(agents("anna=busy"))
			b.poll(agents("anna=ready"))
		}, []string{"ready → busy", "busy → ready: 1.99 to 12.01"}},
		"over a restart": {func(b *bridge) {
			b.poll(agents("anna=ready"))
			b.poll(agents("anna=busy"))
			b.restart()
			b.poll(agents("anna=busy"))
			b.poll(agents("anna=ready"))
		}, []string{"ready → busy", "busy → ready: 1.99 to 6.01"}},
		"stated again": {func(b *bridge) {
			b.poll(agents("anna=ready"))
			b.poll(agents("anna=busy"))
			b.commit(b.engine.Restate([]string{"agent.anna"}, b.now))
			b.poll(agents("anna=ready"))
		}, []string{"ready → busy", "busy → ready"}},
		"by an earlier version": {func(b *bridge) {
			b.poll(agents("anna=ready"))
			b.poll(agents("anna=busy"))
			b.uncount(0)
			b.restart()
			b.poll(agents("anna=ready"))
		}, []string{"ready → busy", "busy → ready: 0 to 4.01"}},
		"begun by an event that cannot be read": {func(b *bridge) {
			b.poll(agents("anna=ready:300"))
			b.poll(agents("anna=busy:1").set("anna", "extension", "1"))
			b.engine = engine.New(b.options)
			for i := range b.stream {
				if b.stream[i].Name != event.StateChanged {
					b.engine.Recover(&b.stream[i])
				}
			}
			b.commit(b.engine.Start(b.now))
			b.poll(agents("anna=ready:1").set("anna", "extension", "1"))
		}, []string{"ready → busy: 297.99 to 304", "busy → ready"}},
		"by a bridge whose clock was ahead": {func(b *bridge) {
			b.poll(agents("anna=ready"))
			b.poll(agents("anna=busy"))
			b.engine = engine.New(b.options)
			for i := range b.stream {
				b.engine.Recover(&b.stream[i])
			}
			b.engine.SetBack(3*time.Minute, 3*time.Minute)
			b.commit(b.engine.Start(b.now))
			b.poll(agents("anna=ready"))
		}, []string{"ready → busy", "busy → ready"}},
		"the clock is set back": {func(b *bridge) {
			b.setClock(0)
			b.poll(agents("anna=ready"))
			b.poll(agents("anna=busy"))
			b.setClock(-time.Hour)
			b.poll(agents("anna=ready"))
		}, []string{"ready → busy", "busy → ready"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			c.polls(b)
			if d := cmp.Diff(c.want, b.lasted("anna")); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}
