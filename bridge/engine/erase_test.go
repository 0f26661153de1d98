package engine_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
)

// TestErase: a term states an erasure and counts what remains. The next one begins as if the erased
// entity had never been there, and lists the directories anew, in whatever order it reads the rest.
func TestErase(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(agents("anna=ready bob=ready"), b.listing(engine.Agents, "U-1=anna U-2=bob"), b.listing(engine.Teams, "T-1=Sales"))
	b.stop()
	remaining := slices.DeleteFunc(slices.Clone(b.stream), func(e event.Event) bool {
		return e.CESubject() == "agent/bob" || e.CESubject() == "directory/agents"
	})
	if len(remaining) != len(b.stream)-2 {
		t.Fatalf("of %d events %d remain", len(b.stream), len(remaining))
	}
	eraser := engine.New(engine.Options{Tenant: "acme", Instance: "admin", Version: "test"})
	for i := range remaining {
		eraser.Recover(&remaining[i])
	}
	ranges := []event.SequenceRange{{First: 4, Last: 5}}
	now := b.now.Add(time.Minute)
	var stored []event.Event
	for c := range eraser.Chunks(eraser.Erase(now, []event.ErasedData{{Reason: "asked", Messages: 2, Keys: 1, Sequences: ranges}}), event.BatchLimit) {
		stored = append(stored, c.Events...)
		eraser.Ack(c)
	}
	var names []string
	for i := range stored {
		names = append(names, stored[i].Name)
	}
	if want := []string{event.Started, event.Erased, event.Stopped, event.Checkpoint}; !slices.Equal(names, want) {
		t.Fatalf("the term holds %v, want %v", names, want)
	}
	last := b.checkpoint()
	want := &event.ErasedData{Base: event.Base{Tenant: "acme", Poll: last.Poll + 1}, Epoch: 2, Instance: "admin", Reason: "asked", Messages: 2, Keys: 1, Sequences: ranges}
	if d := cmp.Diff(want, stored[1].Data); d != "" {
		t.Errorf("feed.erased (-want +got)\n%s", d)
	}
	closing := stored[3].Data.(*event.CheckpointData)
	if closing.Agents != 1 || closing.Status != event.StatusStopped || !closing.ObservedUntil.Equal(last.ObservedUntil.Time) || closing.Events != 3 {
		t.Errorf("the checkpoint is %+v, want one agent and what was observed before", closing)
	}
	all := append(remaining, stored...)
	inOrder, byKind := engine.New(b.options), engine.New(b.options)
	for i := range all {
		inOrder.Recover(&all[i])
	}
	for _, directories := range []bool{false, true} {
		for i := range all {
			if (all[i].Kind() == "directory") == directories {
				byKind.Recover(&all[i])
			}
		}
	}
	if d := cmp.Diff(inOrder.Published(), byKind.Published()); d != "" {
		t.Errorf("the order of reading makes a difference:\n%s", d)
	}
	next := &bridge{t: t, now: now, size: 1000, options: b.options, engine: inOrder, encoder: b.encoder, stream: all}
	next.commit(inOrder.Start(now))
	events := next.poll(agents("anna=ready bob=ready"), next.listing(engine.Agents, "U-1=anna U-2=bob"), next.listing(engine.Teams, "T-1=Sales"))
	next.expect("after it", events, "feed interrupted, feed resumed, directory/agents changed, directory/teams changed, agent/bob appeared")
	for i := range events {
		if d, ok := events[i].Data.(*event.DirectoryData); ok && !d.Baseline {
			t.Errorf("the directory of %s is published as a change: %+v", d.Kind, d)
		}
		if d, ok := events[i].Data.(*event.AgentData); ok && d.Revision != 1 {
			t.Errorf("bob comes back with revision %d", d.Revision)
		}
	}
}
