package publish

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/natstest"
)

// TestBatchOnOldServer sends an atomic batch to a server that stores its messages
// one by one, as a leader of the stream may that the client is not connected to.
func TestBatchOnOldServer(t *testing.T) {
	t.Parallel()
	url, _ := natstest.StartOld(t, t.TempDir(), 0)
	js := natstest.Connect(t, url)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "GROUP", Subjects: []string{"g.>"}, AllowAtomicPublish: true}); err != nil {
		t.Fatal(err)
	}
	g := NewPublisher(js, config.DefaultTiming())
	for name, fence := range map[string]uint64{"stored": 0, "refused at the fence": 77} {
		if _, err := g.publishBatch(t.Context(), newCommit("a", 3, fence)); !errors.Is(err, stream.ErrServerVersion) {
			t.Errorf("%s: %v, want %v", name, err, stream.ErrServerVersion)
		}
	}
	// The checkpoint alone, which is no batch for the server either.
	if _, err := g.publishAtomic(t.Context(), []*nats.Msg{newCommit("b", 0, 0)[0]}); !errors.Is(err, stream.ErrServerVersion) {
		t.Errorf("one message: %v, want %v", err, stream.ErrServerVersion)
	}
}
