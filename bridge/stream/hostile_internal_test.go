package stream

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/internal/bridgetest"
	"bpcc-nats/internal/natstest"
)

// TestHostileStreams puts every kind of wrong value in every place of every answer of the JetStream
// API that this package uses.
func TestHostileStreams(t *testing.T) {
	t.Parallel()
	tests := map[string]func(ctx context.Context, js jetstream.JetStream, c config.Stream){
		"STREAM.INFO": func(ctx context.Context, js jetstream.JetStream, c config.Stream) {
			_, _ = Provision(ctx, js, c, config.DefaultTiming(), nil)
		},
		"STREAM.CREATE": func(ctx context.Context, js jetstream.JetStream, c config.Stream) {
			c.Lease.Bucket = "other"
			_, _ = provision(ctx, js, c, config.DefaultTiming(), leaseConfig(c))
			_ = js.DeleteStream(ctx, LeaseStream(c.Lease))
		},
	}
	for verb, use := range tests {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			c, r := bridgetest.StreamConfig(t, 1), natstest.NewRelay(t)
			if _, err := Provision(t.Context(), r.Direct, c.Stream, c.Times(), nil); err != nil {
				t.Fatal(err)
			}
			if _, err := r.JetStream.Publish(t.Context(), "bpcc.v1.acme.feed.checkpoint", []byte("{}")); err != nil {
				t.Fatal(err)
			}
			r.Try(t, verb, func(ctx context.Context) { use(ctx, r.JetStream, c.Stream) })
		})
	}
}
