package recovery

import (
	"context"
	"testing"

	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/bridgetest"
	"bpcc-nats/internal/natstest"
)

// TestHostileCounts puts every kind of wrong value in every place of the answer that counts the
// messages of a subject.
func TestHostileCounts(t *testing.T) {
	t.Parallel()
	c, r := bridgetest.StreamConfig(t, 1), natstest.NewRelay(t)
	if _, err := stream.Provision(t.Context(), r.Direct, c.Stream, c.Times(), nil); err != nil {
		t.Fatal(err)
	}
	r.Try(t, "STREAM.INFO", func(ctx context.Context) { _, _ = countSubjects(ctx, r.JetStream, c) })
}
