package view

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/scan"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/bridgetest"
	"bpcc-nats/internal/natstest"
)

// TestHostileViews puts every kind of wrong value in every place of every answer of the JetStream API
// that this package uses.
func TestHostileViews(t *testing.T) {
	t.Parallel()
	tests := map[string]func(ctx context.Context, js jetstream.JetStream, c config.Stream){
		"STREAM.INFO": func(ctx context.Context, js jetstream.JetStream, c config.Stream) {
			v := &Monitor{js: js, config: c, timing: config.DefaultTiming(), log: slog.New(slog.DiscardHandler), now: time.Now}
			_ = v.measureLag(ctx)
			_, _ = Behind(ctx, js, c, config.CallTimeout)
		},
		"CONSUMER.CREATE": readWholeView,
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
			r.Try(t, verb, func(ctx context.Context) { use(ctx, r.JetStream, c.Stream) })
		})
	}
}

// readWholeView reads the view, and the last event of each subject.
func readWholeView(ctx context.Context, js jetstream.JetStream, c config.Stream) {
	_, _ = Read(ctx, js, c, "", time.Second)
	_ = scan.LastPerSubject(ctx, js, c.Name, "bpcc.v1.>", func(jetstream.Msg, uint64) error { return nil })
}
