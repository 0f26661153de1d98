package lease

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/hostile"
	"bpcc-nats/internal/natstest"
)

// newLeases makes a bucket, and holders of the one lease in it.
func newLeases(t *testing.T) (holder func(instance string) *Lease) {
	t.Helper()
	js := natstest.Connect(t, natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir()}).ClientURL())
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "leases", TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return func(instance string) *Lease {
		k := &Bucket{js: js, callTimeout: config.DefaultTiming().CallTimeout}
		return newLease(k, kv, time.Hour, Options{
			Key: "acme", Instance: instance, AtCapacity: func() bool { return false }, OnBlocked: func(string) {}, Log: slog.New(slog.DiscardHandler),
		})
	}
}

// TestLeaseIsRenewedOnWake renews a lease that is soon due when the process is awake
// anyway, and not one that has just been renewed.
func TestLeaseIsRenewedOnWake(t *testing.T) {
	t.Parallel()
	l := newLeases(t)("one")
	if err := l.createKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := l.revision
	l.renewedAt = time.Now().Add(-l.ttl / 3) // by its own clock it is due much later
	ctx, cancel := context.WithCancel(t.Context())
	holdErr := make(chan error, 1)
	go func() { holdErr <- l.Hold(ctx) }()
	l.Wake()
	var entry jetstream.KeyValueEntry
	for entry == nil || entry.Revision() == first {
		var err error
		if entry, err = l.kv.Get(t.Context(), l.options.Key); err != nil {
			t.Fatal(err)
		}
	}
	l.Wake()
	l.Wake()
	cancel()
	if err := <-holdErr; err != nil {
		t.Fatal(err)
	}
	if entry, err := l.kv.Get(t.Context(), l.options.Key); err != nil || entry.Revision() != first+1 {
		t.Errorf("revision %d, error %v; want %d: renewed once", entry.Revision(), err, first+1)
	}
}

// TestLeaseIsReacquired loses a lease for lack of responses: no other instance has it, and
// its holder must not stand in its own way until it ends.
func TestLeaseIsReacquired(t *testing.T) {
	t.Parallel()
	holder := newLeases(t)
	one, two := holder("one"), holder("two")
	if err := one.createKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	one.revision = 0 // as after a try whose response was lost
	if err := one.createKey(t.Context()); err != nil {
		t.Errorf("one cannot take back what is its own: %v", err)
	}
	if err := two.createKey(t.Context()); !errors.Is(err, jetstream.ErrKeyExists) {
		t.Errorf("two takes what is one's: %v", err)
	}
	if err := one.renew(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Errorf("one cannot renew what it took back: %v", err)
	}
}

// TestHostileBucket puts every kind of wrong value in every place of what the JetStream API answers
// about the bucket of leases.
func TestHostileBucket(t *testing.T) {
	t.Parallel()
	c, _, err := config.Parse([]string{"NATS_URL=nats://elsewhere"}, config.ForStream)
	if err != nil {
		t.Fatal(err)
	}
	r := hostile.NewRelay(t)
	if _, err := stream.Provision(t.Context(), r.Direct, c, nil); err != nil {
		t.Fatal(err)
	}
	r.Try(t, "STREAM.INFO", func(ctx context.Context) {
		l, err := NewBucket(r.JetStream, c).Open(ctx, Options{Key: "acme", Instance: "one", Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			return
		}
		_, _ = l.IsOwner(ctx)
		_ = l.bucketMissing(ctx, nats.ErrNoResponders)
		_ = l.check(ctx)
	})
}
