package stream

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/internal/hostile"
)

// TestHostileStreams puts every kind of wrong value in every place of every answer of the JetStream
// API that this package uses.
func TestHostileStreams(t *testing.T) {
	t.Parallel()
	tests := map[string]func(ctx context.Context, js jetstream.JetStream, c *config.Config){
		"STREAM.INFO": func(ctx context.Context, js jetstream.JetStream, c *config.Config) {
			_, _ = Provision(ctx, js, c, nil)
			v := &ViewMonitor{js: js, config: c, log: slog.New(slog.DiscardHandler), now: time.Now}
			_ = v.measureLag(ctx)
			_, _ = ViewBehind(ctx, js, c)
		},
		"STREAM.CREATE": func(ctx context.Context, js jetstream.JetStream, c *config.Config) {
			other := *c
			other.LeaseBucket = "other"
			_, _ = provision(ctx, js, &other, leaseConfig(&other))
			_ = js.DeleteStream(ctx, LeaseStream(&other))
		},
		"CONSUMER.CREATE": readWholeView,
		"CONSUMER.INFO":   readWholeView,
	}
	for verb, use := range tests {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			c, r := streamConfig(t, 1), hostile.NewRelay(t)
			if _, err := Provision(t.Context(), r.Direct, c, nil); err != nil {
				t.Fatal(err)
			}
			if _, err := r.JetStream.Publish(t.Context(), "bpcc.v1.acme.feed.checkpoint", []byte("{}")); err != nil {
				t.Fatal(err)
			}
			r.Try(t, verb, func(ctx context.Context) { use(ctx, r.JetStream, c) })
		})
	}
}

// readWholeView reads the view, and the last event of each subject.
func readWholeView(ctx context.Context, js jetstream.JetStream, c *config.Config) {
	_ = ReadView(ctx, js, c, "", time.Second, func(ViewEntry) error { return nil })
	_ = ScanLastPerSubject(ctx, js, c.Stream, "bpcc.v1.>", func(jetstream.Msg, uint64) error { return nil })
}

// TestHostileAcknowledgements answers a batch with whatever is no acknowledgement.
func TestHostileAcknowledgements(t *testing.T) {
	t.Parallel()
	g, _ := newPublisherTest(t)
	nc := g.js.Conn()
	for i, body := range []string{
		"null", "[]", "{}", `"x"`, "0", "{", "\x00", `{"error":null}`, `{"error":{}}`, `{"error":[]}`, `{"error":{"err_code":-1}}`,
		`{"stream":"GROUP","seq":-1,"batch":"x"}`, `{"stream":"GROUP","seq":18446744073709551615,"batch":"x","count":18446744073709551615}`,
		`{"stream":null,"seq":null,"batch":null,"count":null}`, `{"stream":"GROUP"}`,
	} {
		subject := fmt.Sprintf("hostile.%d", i)
		sub, err := nc.Subscribe(subject, func(m *nats.Msg) {
			if m.Reply != "" {
				_ = m.Respond([]byte(body))
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		msgs := newCommit("a", 2, 0)
		for _, m := range msgs {
			m.Subject = subject
		}
		if seq, err := g.publishAtomic(t.Context(), msgs); err == nil {
			t.Errorf("%s is taken for an acknowledgement, of sequence %d", body, seq)
		}
		if err := sub.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
	}
}
