package bridge_test

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge"
	"bpcc-nats/bridge/check"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/natstest"
)

// leaseTTL gives the bucket of leases another TTL; 0 is none.
func (w *testEnv) leaseTTL(ttl time.Duration) {
	w.t.Helper()
	if _, err := w.js.UpdateKeyValue(w.t.Context(), jetstream.KeyValueConfig{Bucket: "bpcc_lease", TTL: ttl}); err != nil {
		w.t.Fatal(err)
	}
}

// leases are the keys of the bucket of leases.
func (w *testEnv) leases() []string {
	w.t.Helper()
	kv, err := w.js.KeyValue(w.t.Context(), "bpcc_lease")
	if err != nil {
		w.t.Fatal(err)
	}
	keys, err := kv.Keys(w.t.Context())
	if err != nil && !errors.Is(err, jetstream.ErrNoKeysFound) {
		w.t.Fatal(err)
	}
	return keys
}

// failures are the failed steps of a check of the streams: what was seen, and what
// to do about it.
func (w *testEnv) failures() []string {
	w.t.Helper()
	var failed []string
	err := check.Streams(w.t.Context(), w.config(), w.nc, w.js, func(s check.Step) {
		if s.Outcome == check.Failure {
			failed = append(failed, s.Name+": "+s.Found+" -> "+s.Hint)
		}
	})
	if (err != nil) != (len(failed) > 0) || err != nil && !errors.Is(err, check.ErrFailed) {
		w.t.Errorf("the check ends with %v after %q", err, failed)
	}
	return failed
}

// TestLeaseBucketWithoutTTL has the bucket of leases made by hand, as `nats kv add`
// makes it: no lease in it would ever end. It is refused wherever it is looked at,
// until it has a TTL.
func TestLeaseBucketWithoutTTL(t *testing.T) {
	t.Parallel()
	for _, ttl := range []time.Duration{0, 200 * time.Millisecond} {
		t.Run(ttl.String(), func(t *testing.T) {
			t.Parallel()
			const cure = "nats kv edit bpcc_lease --ttl 5s"
			w := newTestEnv(t, bpcctest.Config{})
			w.setAgent("anna", "ready", "")
			if _, err := w.js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "bpcc_lease", TTL: ttl}); err != nil {
				t.Fatal(err)
			}
			_, err := stream.Provision(t.Context(), w.js, w.config(), nil)
			if !errors.Is(err, stream.ErrMismatch) || stream.IsTransient(err) || !strings.Contains(err.Error(), cure) {
				t.Errorf("provision: %v, want %v with its cure, for a person", err, stream.ErrMismatch)
			}
			if failed := w.failures(); len(failed) != 1 || !strings.Contains(failed[0], "KV_bpcc_lease") || !strings.HasSuffix(failed[0], "-> give the bucket a TTL: "+cure) {
				t.Errorf("the check finds %q, want the bucket alone", failed)
			}
			// The streams that Provision makes before it are there, so that a bridge could run.
			every, _ := w.pair()
			every("refuse the bucket", refused(cure))
			if keys := w.leases(); len(keys) > 0 {
				t.Errorf("a lease for ever is in the bucket: %q", keys)
			}
			w.leaseTTL(time.Second)
			w.waitFor("agent.anna.observed", 1)
			every("be ready", builtEvents)
			if n := strings.Count(w.log.String(), "NATS unusable, standing by"); n != 2 {
				t.Errorf("two bridges have said %d times what is wrong, want once each", n)
			}
		})
	}
}

// TestManyTenantsWithoutTTL lets a process of many tenants find such a bucket, at its
// start and while it runs.
func TestManyTenantsWithoutTTL(t *testing.T) {
	t.Parallel()
	m := newMultiTenantEnv(t, 3)
	m.env["BRIDGE_LEASE_TTL"] = "1s"
	f := m.newFleet()
	bucket := jetstream.KeyValueConfig{Bucket: "bpcc_lease"}
	edit := func(ttl time.Duration) {
		t.Helper()
		bucket.TTL = ttl
		if _, err := m.js.UpdateKeyValue(t.Context(), bucket); err != nil {
			t.Fatal(err)
		}
	}
	edit(0)
	if err := f.Run(t.Context()); !errors.Is(err, stream.ErrMismatch) {
		t.Errorf("it ends with %v, want %v", err, stream.ErrMismatch)
	}
	edit(time.Second)
	f = m.newFleet()
	m.runFleet(f)
	m.waitUntil("all tenants to be led", func() bool { return len(leadingTenants(f)) == 3 })
	edit(0)
	m.waitUntil("all tenants to be given up", func() bool {
		return !slices.ContainsFunc(f.Health(), func(h bridge.Health) bool {
			return h.Role == "leader" || h.Ready || !strings.Contains(h.Reason, "--ttl 1s")
		})
	})
	edit(time.Second)
	m.waitUntil("all tenants to be led again", func() bool { return len(leadingTenants(f)) == 3 })
}

// pair is two bridges of one tenant, one of which leads.
func (w *testEnv) pair() (every func(what string, so func(bridge.Health) bool), stop func()) {
	w.t.Helper()
	both := []*runningFleet{w.runFleet(w.js), w.runFleet(w.js)}
	every = func(what string, so func(bridge.Health) bool) {
		w.t.Helper()
		w.waitUntil("both bridges to "+what, func() bool { return so(both[0].fleet.Health()[0]) && so(both[1].fleet.Health()[0]) })
	}
	return every, func() { both[0].stop(); both[1].stop() }
}

func builtEvents(h bridge.Health) bool { return h.Ready }

// refused reports whether a bridge stands by, and its probe says why.
func refused(why string) func(bridge.Health) bool {
	return func(h bridge.Health) bool {
		return h.Role == "standby" && !h.Ready && strings.Contains(h.Reason, why)
	}
}

// TestLeaseBucketChanges takes the TTL of leases away under bridges that run, and
// gives them another one. No bridge leads without a TTL, and no change is lost.
func TestLeaseBucketChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: dir})
	w := newTestEnvOn(t, bpcctest.Config{}, s.ClientURL())
	w.env["BRIDGE_LEASE_TTL"] = "1s"
	w.setAgent("anna", "ready", "")
	w.provisionStreams()
	every, stop := w.pair()
	defer stop()
	changes := 0
	change := func() {
		t.Helper()
		w.tenant.SetState("anna", []string{"not_ready", "busy", "ready"}[changes%3], "")
		changes++
		w.waitFor("agent.anna.state_changed", changes)
	}
	const cure = "nats kv edit bpcc_lease --ttl 1s"
	every("be ready", builtEvents)
	change()

	w.leaseTTL(0)
	every("refuse the bucket", refused(cure))
	if keys := w.leases(); len(keys) > 0 {
		t.Errorf("a lease for ever is in the bucket: %q", keys)
	}
	w.leaseTTL(time.Second)
	every("be ready again", builtEvents)
	change()

	w.leaseTTL(2 * time.Second)
	w.waitUntil("the other TTL in the log", func() bool { return strings.Contains(w.log.String(), "the TTL of leases has changed: from 1s to 2s") })
	every("be ready with another TTL", builtEvents)
	change()

	// The server is away, and back with a bucket without a TTL.
	port := s.Addr().(*net.TCPAddr).Port
	restart := func(port int) {
		t.Helper()
		s.Shutdown()
		s.WaitForShutdown()
		s = natstest.Start(t, &server.Options{JetStream: true, StoreDir: dir, Port: port})
	}
	restart(0)
	elsewhere := newTestEnvOn(t, bpcctest.Config{}, s.ClientURL())
	elsewhere.leaseTTL(0)
	elsewhere.nc.Close()
	restart(port)
	every("refuse the bucket after a reconnect", refused(cure))
	w.leaseTTL(time.Second)
	every("be ready after a reconnect", builtEvents)
	change()
	w.auditStream()
}

// TestOldServer meets a server of an old release: at the start, in a check, and when
// the connections of a leader and of a standby move to it. They publish nothing there
// and report why. When a newer server is back, they go on.
func TestOldServer(t *testing.T) {
	t.Parallel()
	const cure = "upgrade all NATS servers to release 2.12.0 or later"
	oldDir := t.TempDir()
	address, stopOld := natstest.StartOld(t, oldDir, 0)
	old := newTestEnvOn(t, bpcctest.Config{}, address)
	said := "release " + old.nc.ConnectedServerVersion()
	done, err := stream.Provision(t.Context(), old.js, old.config(), nil)
	if !errors.Is(err, stream.ErrServerVersion) || stream.IsTransient(err) || len(done) > 0 || !strings.Contains(err.Error(), said) || !strings.HasSuffix(err.Error(), cure) {
		t.Errorf("provision: %v after %+v, want %v with its cure, for a person", err, done, stream.ErrServerVersion)
	}
	if failed := old.failures(); len(failed) != 1 || !strings.Contains(failed[0], said) || !strings.HasSuffix(failed[0], "-> "+cure) {
		t.Errorf("the check finds %q, want the server alone", failed)
	}
	for name := range old.js.StreamNames(t.Context()).Name() {
		t.Errorf("stream %s is on the old server", name)
	}

	dir := t.TempDir()
	s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: dir})
	w := newTestEnvOn(t, bpcctest.Config{}, s.ClientURL())
	w.env["BRIDGE_LEASE_TTL"] = "1s"
	w.setAgent("anna", "ready", "")
	w.provisionStreams()
	every, stop := w.pair()
	defer stop()
	every("be ready", builtEvents)
	w.tenant.SetState("anna", "busy", "")
	w.waitFor("agent.anna.state_changed", 1)

	// The old server has all streams, as far as it knows what is asked for: it would
	// take what is published.
	streams := stream.Names(w.config())
	for _, name := range streams {
		stream, err := w.js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		config := stream.CachedInfo().Config
		config.Metadata = nil
		if _, err := old.js.CreateStream(t.Context(), config); err != nil {
			t.Fatal(err)
		}
	}
	stopOld()
	port := s.Addr().(*net.TCPAddr).Port
	s.Shutdown()
	s.WaitForShutdown()
	_, stopOld = natstest.StartOld(t, oldDir, port)
	w.tenant.SetState("anna", "not_ready", "")
	every("say what is wrong", refused(said))
	every("say what to do", refused(cure))
	<-time.After(1500 * time.Millisecond) // longer than a lease lasts, and than the wait for the next try
	for _, name := range streams {
		stream, err := w.js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if got := stream.CachedInfo().State.LastSeq; got > 0 {
			t.Errorf("%d message(s) were published to stream %s of the old server", got, name)
		}
	}
	if n := strings.Count(w.log.String(), "NATS unusable, standing by"); n != 2 {
		t.Errorf("two bridges have said %d times what is wrong, want once each", n)
	}

	stopOld()
	natstest.Start(t, &server.Options{JetStream: true, StoreDir: dir, Port: port})
	w.waitFor("agent.anna.state_changed", 2)
	every("be ready again", builtEvents)
	w.auditStream()
}
