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
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/hostile"
)

// TestHostileAnswers puts every kind of wrong value in every place of every answer of the JetStream
// API that a bridge uses, from the wait for the lease to the commit.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	tests := map[string]func(ctx context.Context, js jetstream.JetStream, c *config.Config){
		"INFO": func(ctx context.Context, js jetstream.JetStream, c *config.Config) {
			_ = check.Streams(ctx, c, js.Conn(), js, func(check.Step) {})
		},
		"STREAM.INFO": func(ctx context.Context, js jetstream.JetStream, c *config.Config) {
			_ = check.Streams(ctx, c, js.Conn(), js, func(check.Step) {})
			b := &Bridge{config: c, js: js, log: slog.New(slog.DiscardHandler), now: time.Now, shared: newSharedResources(js, c, nil), self: identity{instance: "one"}, foreignLog: discardForeign()}
			_, _ = b.openLease(ctx)
			_, _ = countSubjects(ctx, js, c)
			_, _ = b.confirmCheckpoint(ctx, nats.NewMsg("bpcc.v1.acme.feed.checkpoint"))
		},
		"CONSUMER.CREATE": readAll,
		"CONSUMER.INFO":   readAll,
	}
	for verb, use := range tests {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			c, _, err := config.Parse([]string{"NATS_URL=nats://elsewhere"}, config.ForStream)
			if err != nil {
				t.Fatal(err)
			}
			r := hostile.NewRelay(t)
			if _, err := stream.Provision(t.Context(), r.Direct, c, nil); err != nil {
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
	_, _ = recoverState(ctx, js, &tenant, engine.New(engine.Options{}), discardForeign())
}

// discardForeign logs no foreign message.
func discardForeign() *foreignLog {
	return &foreignLog{log: slog.New(slog.DiscardHandler), known: map[string]bool{}, countMetric: func() {}}
}
