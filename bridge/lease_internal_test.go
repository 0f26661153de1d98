package bridge

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestLeaseIsTakenBack loses a lease for want of answers: nobody else has it, and
// its holder must not stand in its own way until it ends.
func TestLeaseIsTakenBack(t *testing.T) {
	t.Parallel()
	server, err := StartServer(t.TempDir(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	nc, err := nats.Connect(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "leases", TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	holder := func(instance string) *lease {
		return &lease{
			conn: nc, kv: kv, key: "acme", instance: instance, ttl: time.Hour, log: slog.New(slog.DiscardHandler), now: time.Now,
			full: func() bool { return false }, hinder: func(string) {},
		}
	}
	one, two := holder("one"), holder("two")
	if err := one.try(t.Context()); err != nil {
		t.Fatal(err)
	}
	one.revision = 0 // as after a try whose answer was not heard
	if err := one.try(t.Context()); err != nil {
		t.Errorf("one cannot take back what is its own: %v", err)
	}
	if err := two.try(t.Context()); !errors.Is(err, jetstream.ErrKeyExists) {
		t.Errorf("two takes what is one's: %v", err)
	}
	if err := one.renew(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Errorf("one cannot renew what it took back: %v", err)
	}
}
