package scan_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/scan"
	"bpcc-nats/internal/natstest"
)

// TestLostRequests loses the requests of the first consumers for messages. In a cluster that happens: a server
// responds that nobody takes a request, if it does not know yet which of the others has the consumer.
func TestLostRequests(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before, after int // messages that are stored before the reading begins, and when it has nothing left
	}{
		"to the end":          {before: 30},
		"following":           {before: 30, after: 3},
		"following, at first": {after: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := natstest.NewRelay(t)
			if _, err := r.Direct.CreateStream(t.Context(), jetstream.StreamConfig{Name: "X", Subjects: []string{"x.>"}}); err != nil {
				t.Fatal(err)
			}
			publish := func(n int) {
				for range n {
					if _, err := r.Direct.Publish(t.Context(), "x.y", []byte("text")); err != nil {
						t.Error(err)
					}
				}
			}
			publish(test.before)
			r.LoseRequests(2)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			read, caughtUp := 0, 0
			reader := scan.Reader{
				JS: r.JetStream, Stream: "X", Follow: test.after > 0, Timeout: 5 * time.Second, Patience: 10 * time.Second,
				CaughtUp: func() {
					if caughtUp++; caughtUp == 1 {
						publish(test.after)
					}
				},
				Handle: func(_ context.Context, _ jetstream.Msg, meta *jetstream.MsgMetadata) error {
					if read++; meta.Sequence.Stream != uint64(read) {
						return fmt.Errorf("message %d, want %d", meta.Sequence.Stream, read)
					}
					if test.after > 0 && read == test.before+test.after {
						return scan.ErrStop
					}
					return nil
				},
			}
			if err := reader.Read(ctx); err != nil && !errors.Is(err, scan.ErrStop) {
				t.Error(err)
			}
			if want := test.before + test.after; read != want {
				t.Errorf("%d of %d messages read", read, want)
			}
		})
	}
}
