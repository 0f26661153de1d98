package bridge

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"bpcc-nats/bridge/lease"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/bridgetest"
	"bpcc-nats/internal/natstest"
)

// TestTermWithoutLease begins a term whose lease is over when the stream has been read. Another instance may have
// begun one, which a start written now would end.
func TestTermWithoutLease(t *testing.T) {
	t.Parallel()
	c := bridgetest.StreamConfig(t, 1)
	js := natstest.Connect(t, natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir()}).ClientURL())
	c.Tenant, c.BPCC.URL = "acme", "https://bpcc.example.com"
	if _, err := stream.Provision(t.Context(), js, c.Stream, c.Times(), nil); err != nil {
		t.Fatal(err)
	}
	b, err := New(c, js, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	over, err := b.openLease(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := b.lead(ctx, over, nil); !errors.Is(err, lease.ErrLost) {
		t.Errorf("the term ended with %v", err)
	}
	events, err := js.Stream(t.Context(), c.Stream.Name)
	if err != nil {
		t.Fatal(err)
	}
	if n := events.CachedInfo().State.LastSeq; n > 0 {
		t.Errorf("%d events written without the lease", n)
	}
}
