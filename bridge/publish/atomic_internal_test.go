package publish

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// TestInboxReceivesBatchAcks of its batches, and nothing else.
func TestInboxReceivesBatchAcks(t *testing.T) {
	t.Parallel()
	g, stream := newPublisherTest(t)
	nc := g.js.Conn()
	if _, err := g.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "NONE", Subjects: []string{"n.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Subscribe("silent.>", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	send := func(subject string) (uint64, error) {
		msgs := newCommit("a", 2, 0)
		for _, m := range msgs {
			if m.Header.Del(jetstream.ExpectedLastSubjSeqHeader); subject != "" {
				m.Subject = subject
			}
		}
		return g.publishAtomic(t.Context(), msgs)
	}
	stored := func(want uint64) {
		t.Helper()
		// A message of another client is no acknowledgement.
		for _, l := range g.idleInboxes {
			if err := nc.Publish(l.subject+".another"+ackCommit, []byte(`{"stream":"GROUP","seq":77,"batch":"another","count":3}`)); err != nil {
				t.Fatal(err)
			}
		}
		if seq, err := send(""); seq != want || err != nil {
			t.Fatalf("stored at %d, error %v; want it at %d", seq, err, want)
		}
	}
	stored(3)
	if _, err := send("nobody.listens"); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("where there is no stream: %v, want %v", err, nats.ErrNoResponders)
	}
	stored(6)
	var api *jetstream.APIError
	if _, err := send("n.a"); !errors.As(err, &api) || api.ErrorCode != jetstreamext.JSErrCodeBatchPublishNotEnabled {
		t.Errorf("where batches are not taken: %v, want code %d", err, jetstreamext.JSErrCodeBatchPublishNotEnabled)
	}
	stored(9)
	start := time.Now()
	if _, err := send("silent.a"); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) < g.timing.AckTimeout {
		t.Errorf("without a responder: %v after %v, want %v after %v", err, time.Since(start), context.DeadlineExceeded, g.timing.AckTimeout)
	}
	stored(12)
	broken := newCommit("a", 1, 0)
	broken[1].Subject = "" // which the client refuses to send
	if _, err := g.publishAtomic(t.Context(), broken); !errors.Is(err, nats.ErrBadSubject) {
		t.Errorf("a batch that is not sent to its end: %v, want %v", err, nats.ErrBadSubject)
	}
	stored(15)
	if len(g.idleInboxes) != 1 || nc.NumSubscriptions() > 3 {
		t.Errorf("%d lines lie idle, of %d subscriptions; want those that doubt was cast on to be gone", len(g.idleInboxes), nc.NumSubscriptions())
	}
	if info, err := stream.Info(t.Context()); err != nil || info.State.Msgs != 15 {
		t.Errorf("the stream holds %d messages, error %v; want 15", info.State.Msgs, err)
	}
}
