package bridge

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/check"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/recovery"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/bridgetest"
	"bpcc-nats/internal/natstest"
)

// TestHostileAnswers puts every kind of wrong value in every place of every answer of the JetStream
// API that a bridge uses, from the wait for the lease to the commit, or a check of the streams.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	tests := map[string]func(ctx context.Context, js jetstream.JetStream, c *config.Config){
		"INFO": func(ctx context.Context, js jetstream.JetStream, c *config.Config) {
			_ = check.Streams(ctx, c, js.Conn(), js, func(check.Step) {})
		},
		"STREAM.INFO": func(ctx context.Context, js jetstream.JetStream, c *config.Config) {
			_ = check.Streams(ctx, c, js.Conn(), js, func(check.Step) {})
			b := &Bridge{config: c, js: js, log: slog.New(slog.DiscardHandler), now: time.Now, shared: newSharedResources(js, c, nil, slog.New(slog.DiscardHandler)), self: identity{instance: "one"}, foreignLog: discardForeign()}
			_, _ = b.openLease(ctx)
			_, _ = b.confirmCheckpoint(ctx, nats.NewMsg("bpcc.v1.acme.feed.checkpoint"))
		},
		"CONSUMER.CREATE": readAll,
	}
	for verb, use := range tests {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			c, r := bridgetest.StreamConfig(t, 1), natstest.NewRelay(t)
			if _, err := stream.Provision(t.Context(), r.Direct, c.Stream, c.Times(), nil); err != nil {
				t.Fatal(err)
			}
			if _, err := r.JetStream.Publish(t.Context(), "bpcc.v1.acme.feed.checkpoint", []byte("{}")); err != nil {
				t.Fatal(err)
			}
			r.Try(t, verb, func(ctx context.Context) { use(ctx, r.JetStream, c) })
		})
	}
}

// readAll reads the events and the view as a start does.
func readAll(ctx context.Context, js jetstream.JetStream, c *config.Config) {
	tenant := *c
	tenant.Tenant = "acme"
	_, _ = recovery.Read(ctx, js, &tenant, engine.New(engine.Options{}), discardForeign())
}

// discardForeign logs no foreign message.
func discardForeign() *recovery.ForeignLog {
	return recovery.NewForeignLog(slog.New(slog.DiscardHandler), func() {}, func() {})
}
