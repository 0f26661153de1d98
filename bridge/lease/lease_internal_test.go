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
	"bpcc-nats/internal/bridgetest"
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
		return newLease(NewBucket(js, config.Lease{Bucket: "leases"}, config.DefaultTiming(), slog.New(slog.DiscardHandler)), kv, time.Hour, Options{
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

// TestLateResponse acquires a lease by a response that comes after its end: another instance may have it by then.
func TestLateResponse(t *testing.T) {
	t.Parallel()
	l := newLeases(t)("one")
	calls := 0
	l.now = func() time.Time { // the first call is before the request
		calls++
		return time.Now().Add(time.Duration(min(calls-1, 1)) * l.ttl)
	}
	if err := l.createKey(t.Context()); !errors.Is(err, errLate) {
		t.Errorf("acquired after its end: %v", err)
	}
	l.now = time.Now
	if err := l.createKey(t.Context()); err != nil || !l.Held() {
		t.Errorf("not taken back: %v", err)
	}
}

// TestOldLease looks at leases whose age differs, by the server's clock.
func TestOldLease(t *testing.T) {
	t.Parallel()
	holder := newLeases(t)
	one, two := holder("one"), holder("two")
	if err := one.createKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	entry, err := one.kv.Get(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		lease   *Lease
		age     time.Duration // 0 = the server's time is not known
		expired bool
		takes   bool
	}{
		"its own":                     {one, time.Minute, false, true},
		"its own, unknown age":        {one, 0, false, true},
		"another's":                   {two, time.Minute, false, false},
		"another's, unknown age":      {two, 0, false, false},
		"another's, of the future":    {two, -time.Hour, false, false},
		"another's, nearly too old":   {two, time.Hour - time.Minute, false, false},
		"another's, a little too old": {two, time.Hour + time.Minute, true, true},
		"another's, of last year":     {two, 365 * 24 * time.Hour, true, true},
	} {
		b := test.lease.bucket
		b.ttl, b.checkedAt, b.serverTime = time.Hour, time.Now(), time.Time{}
		if test.age != 0 {
			b.serverTime = entry.Created().Add(test.age)
		}
		if got := b.Expired(entry); got != test.expired {
			t.Errorf("%s: expired: %v", name, got)
		}
		if got := test.lease.takeable(entry); got != test.takes {
			t.Errorf("%s: takes it: %v", name, got)
		}
	}
	// One renews it after two has found it too old.
	two.bucket.serverTime = entry.Created().Add(2 * time.Hour)
	if err := two.createKey(t.Context()); err != nil {
		t.Fatalf("two does not take an old lease: %v", err)
	}
	if err := one.renew(t.Context(), time.Now().Add(time.Hour)); !errors.Is(err, ErrLost) {
		t.Errorf("one renews what is two's: %v", err)
	}
}

// TestReplicaBehind has a copy of the bucket that answers for it and still holds a lease that has
// ended, like a replica that is behind.
func TestReplicaBehind(t *testing.T) {
	t.Parallel()
	holder := newLeases(t)
	one := holder("one")
	if err := one.createKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := one.Confirm(t.Context()); err != nil {
		t.Fatalf("one's own lease: %v", err)
	}
	js := one.bucket.js
	replica, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KV_replica", Mirror: &jetstream.StreamSource{Name: "KV_leases"}, MirrorDirect: true})
	if err != nil {
		t.Fatal(err)
	}
	for synced := false; !synced; {
		info, err := replica.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		synced = info.State.LastSeq == one.revision
	}
	bucket, err := js.Stream(t.Context(), "KV_leases")
	if err != nil {
		t.Fatal(err)
	}
	if err := bucket.Purge(t.Context()); err != nil { // which copies do not follow
		t.Fatal(err)
	}
	for seen := false; !seen; {
		entry, err := one.kv.Get(t.Context(), one.options.Key)
		seen = err == nil && string(entry.Value()) == "one"
	}
	for range 20 { // any of the two may answer
		if err := one.Confirm(t.Context()); !errors.Is(err, ErrLost) {
			t.Fatalf("a lease that has ended: %v", err)
		}
	}
}

// TestHostileBucket puts every kind of wrong value in every place of what the JetStream API answers
// about the bucket of leases.
func TestHostileBucket(t *testing.T) {
	t.Parallel()
	c, r := bridgetest.StreamConfig(t, 1), natstest.NewRelay(t)
	if _, err := stream.Provision(t.Context(), r.Direct, c.Stream, c.Times(), nil); err != nil {
		t.Fatal(err)
	}
	r.Try(t, "STREAM.INFO", func(ctx context.Context) {
		l, err := NewBucket(r.JetStream, c.Stream.Lease, c.Times(), slog.New(slog.DiscardHandler)).Open(ctx, Options{Key: "acme", Instance: "one", Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			return
		}
		_ = l.Confirm(ctx)
		_ = l.bucketMissing(ctx, nats.ErrNoResponders)
		_ = l.check(ctx)
	})
}

// TestHeld: a lease is held for its TTL from the request that renewed it, by either clock of the machine, and no
// longer than its holder knows that it has it.
func TestHeld(t *testing.T) {
	t.Parallel()
	holder := newLeases(t)
	one, two := holder("one"), holder("two")
	expect := func(what string, l *Lease, want bool) {
		t.Helper()
		if got := l.Held(); got != want {
			t.Errorf("%s: held %v", what, got)
		}
	}
	expect("never acquired", one, false)
	if err := one.createKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect("acquired", one, true)
	expect("acquired by another", two, false)
	renewed := one.renewedAt
	for what, now := range map[string]time.Time{
		"nearly over": renewed.Add(time.Hour - time.Second), "over": renewed.Add(time.Hour),
		"over after the machine was suspended": renewed.Round(0).Add(time.Hour), "long over": renewed.Add(24 * time.Hour),
	} {
		one.now = func() time.Time { return now }
		expect(what, one, what == "nearly over")
	}
	one.now = time.Now
	if err := one.renew(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	expect("renewed", one, true)
	if _, err := one.kv.Put(t.Context(), "acme", []byte("two")); err != nil {
		t.Fatal(err)
	}
	one.setRenewed(time.Now().Add(-one.ttl / 3))
	one.Wake() // so that it is renewed now
	if err := one.Hold(t.Context()); !errors.Is(err, ErrLost) {
		t.Fatalf("another instance has it: %v", err)
	}
	expect("lost", one, false)
	if err := two.createKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect("taken back", two, true)
	two.Release(t.Context())
	expect("released", two, false)
}
