package reader_test

import (
	"context"
	"testing"
	"time"

	"bpcc-nats/internal/natstest"
	"bpcc-nats/reader"
)

// TestHostileAnswers puts every kind of wrong value in every place of every answer of the JetStream API that
// a reading uses: it fails or reads, and does not panic.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"STREAM.INFO", "CONSUMER.CREATE"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			relay := natstest.NewRelay(t)
			history(newWriter(t, "", relay.Direct))
			r, err := reader.Open(relay.JetStream, "acme", reader.Options{Timeout: 50 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			relay.Try(t, verb, func(ctx context.Context) {
				for _, err := range r.Events(ctx, reader.Beginning(), reader.EventsOptions{}) {
					_ = err // whatever it is
				}
			})
		})
	}
}
