package bridge

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"time"

	"github.com/nats-io/nats-server/v2/server"

	"bpcc-nats/internal/natstest"

	"bpcc-nats/bridge/config"

	"github.com/nats-io/nats.go/jetstream"
)

// newLeases makes a bucket, and holders of the one lease in it.
func newLeases(t *testing.T) (holder func(instance string) *lease) {
	t.Helper()
	js := natstest.Connect(t, natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir()}).ClientURL())
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "leases", TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return func(instance string) *lease {
		return &lease{
			conn: js.Conn(), kv: kv, key: "acme", instance: instance, ttl: time.Hour, callTimeout: config.DefaultTiming().CallTimeout, log: slog.New(slog.DiscardHandler), now: time.Now,
			atCapacity: func() bool { return false }, onBlocked: func(string) {}, wakeC: make(chan struct{}, 1),
		}
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
	go func() { holdErr <- l.hold(ctx) }()
	l.wake()
	var entry jetstream.KeyValueEntry
	for entry == nil || entry.Revision() == first {
		var err error
		if entry, err = l.kv.Get(t.Context(), l.key); err != nil {
			t.Fatal(err)
		}
	}
	l.wake()
	l.wake()
	cancel()
	if err := <-holdErr; err != nil {
		t.Fatal(err)
	}
	if entry, err := l.kv.Get(t.Context(), l.key); err != nil || entry.Revision() != first+1 {
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
