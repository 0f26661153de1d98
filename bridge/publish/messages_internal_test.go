package publish

import (
	"fmt"
	"testing"
	"time"

	"bpcc-nats/bridge/event"
)

// TestRoomForBodies: a large event before many small ones takes no room for many large ones.
func TestRoomForBodies(t *testing.T) {
	t.Parallel()
	base := event.Base{Tenant: "acme", Poll: 1}
	large := &event.DirectoryData{Base: base, Kind: "users"}
	for i := range 1000 {
		large.Added = append(large.Added, event.DirectoryEntry{ID: fmt.Sprint(i), Name: "John Smith"})
	}
	events := []event.Event{{ID: event.ID{Epoch: 1, Poll: 1, Index: 1}, Name: "directory.changed", Time: time.Unix(1, 0), Data: large}}
	for i := range event.BatchLimit - 1 {
		events = append(events, event.Event{
			ID: event.ID{Epoch: 1, Poll: 1, Index: uint64(i) + 2}, Name: "chat.message_posted", Time: time.Unix(1, 0), Data: &event.ChatData{Base: base},
		})
	}
	var b Buffer
	if _, err := b.Encode(event.NewEncoder("https://acme.example/statsapi"), event.Prefix("acme"), 0, nil, events); err != nil {
		t.Fatal(err)
	}
	if cap(b.data) > 3*len(b.data) {
		t.Errorf("room for %d bytes is reserved for bodies of %d", cap(b.data), len(b.data))
	}
}
