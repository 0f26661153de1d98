package bridge_test

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge"
	"bpcc-nats/bridge/check"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/natstest"
	"bpcc-nats/internal/variants"
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
			_, err := w.provision(t.Context(), w.js)
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
	m.waitUntil("all tenants to warn of it", func() bool {
		return !slices.ContainsFunc(f.Health(), func(h bridge.Health) bool {
			return h.Role != "leader" || !h.Ready || !strings.Contains(h.Warning, "--ttl 1s")
		})
	})
	<-time.After(1500 * time.Millisecond) // longer than a lease lasts
	if n := len(leadingTenants(f)); n != 3 {
		t.Errorf("%d tenants are led without a TTL, want 3", n)
	}
	// The heartbeat of an instance that is dead does not expire either.
	kv, err := m.js.KeyValue(t.Context(), "bpcc_lease")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(t.Context(), "instances.dead", "dead"); err != nil {
		t.Fatal(err)
	}
	shared := func(instances int) int {
		return strings.Count(m.log.String(), fmt.Sprintf(`msg="rebalanced tenants" instances=%d`, instances))
	}
	m.waitUntil("the other instance to be counted", func() bool { return shared(2) == 1 })
	m.waitUntil("the other instance to be dead", func() bool { return shared(1) == 2 && len(leadingTenants(f)) == 3 })
	edit(time.Second)
	m.waitUntil("all tenants to be led without a warning", func() bool {
		return !slices.ContainsFunc(f.Health(), func(h bridge.Health) bool { return h.Role != "leader" || !h.Ready || h.Warning != "" })
	})
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

// warned reports whether a bridge is ready, and its probe says what to change.
func warned(of string) func(bridge.Health) bool {
	return func(h bridge.Health) bool { return h.Ready && h.Reason == "" && strings.Contains(h.Warning, of) }
}

// leasePair is two bridges of one tenant, one of which leads, on a server that can be restarted.
type leasePair struct {
	*testEnv
	dir     string
	server  *server.Server
	every   func(what string, so func(bridge.Health) bool)
	changes int
}

// newLeasePair returns bridges that are ready, with leases of 2 s.
func newLeasePair(t *testing.T) *leasePair {
	t.Helper()
	dir := t.TempDir()
	s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: dir})
	w := &leasePair{testEnv: newTestEnvOn(t, bpcctest.Config{}, s.ClientURL()), dir: dir, server: s}
	t.Cleanup(w.auditStream)
	w.env["BRIDGE_LEASE_TTL"] = "2s"
	w.setAgent("anna", "ready", "")
	w.provisionStreams()
	every, stop := w.pair()
	t.Cleanup(stop)
	w.every = every
	w.every("be ready", withoutWarning)
	w.change()
	return w
}

// withoutWarning reports whether a bridge is ready and its probe says nothing.
func withoutWarning(h bridge.Health) bool { return h.Ready && h.Warning == "" }

// change changes the tenant, and waits until that is published.
func (w *leasePair) change() {
	w.t.Helper()
	w.tenant.SetState("anna", []string{"not_ready", "busy", "ready"}[w.changes%3], "")
	w.changes++
	w.waitFor("agent.anna.state_changed", w.changes)
}

// leaseTTLCure is what the probes say of a bucket with another TTL.
const leaseTTLCure = "nats kv edit bpcc_lease --ttl 2s"

// TestLeaseBucketChanges takes the TTL of leases away under bridges that run, and
// gives them another one. The probes and the log say so, and no change is lost.
func TestLeaseBucketChanges(t *testing.T) {
	t.Parallel()
	w := newLeasePair(t)
	w.leaseTTL(0)
	w.every("warn of a bucket without a TTL", warned("has lost its max_age; give the bucket a TTL: "+leaseTTLCure))
	w.change()
	terms := len(withSubject(w.events(), "feed.started"))
	<-time.After(4 * time.Second) // two leases
	if n := len(withSubject(w.events(), "feed.started")); n != terms {
		t.Errorf("%d terms have begun without a cause", n-terms)
	}
	w.leaseTTL(2 * time.Second)
	w.every("be ready again", withoutWarning)
	w.change()
}

// TestLeaseTTLChanges gives the bucket of leases other TTLs.
func TestLeaseTTLChanges(t *testing.T) {
	t.Parallel()
	w := newLeasePair(t)
	w.leaseTTL(time.Second)
	w.waitUntil("the other TTL in the log", func() bool { return strings.Contains(w.log.String(), "the TTL of leases has changed: from 2s to 1s") })
	w.every("be ready with a shorter TTL", warned("max_age of stream KV_bpcc_lease is 1s, not 2s (BRIDGE_LEASE_TTL)"))
	w.change()
	w.leaseTTL(time.Hour)
	w.waitUntil("the longer TTL in the log", func() bool { return strings.Contains(w.log.String(), "the TTL of leases has changed: from 1s to 2s") })
	w.every("be ready with a longer TTL", warned("max_age of stream KV_bpcc_lease is 1h0m0s, not 2s (BRIDGE_LEASE_TTL)"))
	w.change()
	w.leaseTTL(200 * time.Millisecond)
	w.every("refuse a TTL that is too short", refused(leaseTTLCure))
	w.leaseTTL(2 * time.Second)
	w.every("be ready with the first TTL", withoutWarning)
	w.change()
}

// TestLeaseBucketWithoutAcknowledgements does not acknowledge the requests of bridges any more, as after
// `nats stream edit --no-ack`.
func TestLeaseBucketWithoutAcknowledgements(t *testing.T) {
	t.Parallel()
	w := newLeasePair(t)
	w.updateStream("KV_bpcc_lease", func(c *jetstream.StreamConfig) { c.NoAck = true })
	w.every("refuse a bucket that does not acknowledge", refused("no_ack is true"))
	w.updateStream("KV_bpcc_lease", func(c *jetstream.StreamConfig) { c.NoAck = false })
	w.every("be ready with acknowledgements", builtEvents)
	w.change()
}

// TestLeaseBucketChangesWhileAway takes the server away, and brings it back with a bucket without a TTL.
func TestLeaseBucketChangesWhileAway(t *testing.T) {
	t.Parallel()
	w := newLeasePair(t)
	port := w.server.Addr().(*net.TCPAddr).Port
	restart := func(port int) {
		t.Helper()
		w.server.Shutdown()
		w.server.WaitForShutdown()
		w.server = natstest.Start(t, &server.Options{JetStream: true, StoreDir: w.dir, Port: port})
	}
	restart(0)
	elsewhere := newTestEnvOn(t, bpcctest.Config{}, w.server.ClientURL())
	elsewhere.leaseTTL(0)
	elsewhere.nc.Close()
	restart(port)
	w.waitForJetStream()
	w.every("warn of the bucket after a reconnect", warned(leaseTTLCure))
	w.change()
	w.leaseTTL(2 * time.Second)
	w.every("be ready after a reconnect", withoutWarning)
	w.change()
}

// TestDeadLeader kills a leader whose lease does not end as it should. A standby leads soon, and the
// probe says what to change.
func TestDeadLeader(t *testing.T) {
	t.Parallel()
	const noTTL, longTTL = "has lost its max_age", "is 1h0m0s, not 1s"
	replaceBucket := func(w *testEnv, c jetstream.KeyValueConfig) {
		c.Bucket = "bpcc_lease"
		if err := w.js.DeleteKeyValue(w.t.Context(), c.Bucket); err != nil {
			w.t.Fatal(err)
		}
		if _, err := w.js.CreateKeyValue(w.t.Context(), c); err != nil {
			w.t.Fatal(err)
		}
	}
	putKey := func(w *testEnv, value string) {
		kv, err := w.js.KeyValue(w.t.Context(), "bpcc_lease")
		if err == nil && value != "" {
			_, err = kv.PutString(w.t.Context(), "acme", value)
		} else if err == nil {
			err = kv.Delete(w.t.Context(), "acme")
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
	tests := map[string]struct {
		before, after func(w *testEnv) // the leader is killed
		restart       bool             // the server is restarted, too
		warning       string
	}{
		"as usual":                    {},
		"no TTL":                      {before: func(w *testEnv) { w.leaseTTL(0) }, warning: noTTL},
		"no TTL from then on":         {after: func(w *testEnv) { w.leaseTTL(0) }, warning: noTTL},
		"a long TTL":                  {before: func(w *testEnv) { w.leaseTTL(time.Hour) }, warning: longTTL},
		"a long TTL from then on":     {after: func(w *testEnv) { w.leaseTTL(time.Hour) }, warning: longTTL},
		"the bucket is deleted":       {before: func(w *testEnv) { _ = w.js.DeleteKeyValue(t.Context(), "bpcc_lease") }},
		"made by hand":                {before: func(w *testEnv) { replaceBucket(w, jetstream.KeyValueConfig{}) }, warning: noTTL},
		"made by hand from then on":   {after: func(w *testEnv) { replaceBucket(w, jetstream.KeyValueConfig{}) }, warning: noTTL},
		"overwritten by a person":     {after: func(w *testEnv) { putKey(w, "operator") }},
		"overwritten, no TTL":         {after: func(w *testEnv) { w.leaseTTL(0); putKey(w, "operator") }, warning: noTTL},
		"overwritten while it leads":  {before: func(w *testEnv) { w.leaseTTL(0); putKey(w, "operator") }, warning: noTTL},
		"deleted by a person, no TTL": {after: func(w *testEnv) { w.leaseTTL(0); putKey(w, "") }, warning: noTTL},
		"purging is denied, no TTL": {before: func(w *testEnv) {
			w.updateStream("KV_bpcc_lease", func(c *jetstream.StreamConfig) { c.MaxAge, c.DenyPurge, c.AllowRollup = 0, true, false })
		}, warning: noTTL},
		"in memory, and lost": {before: func(w *testEnv) {
			replaceBucket(w, jetstream.KeyValueConfig{TTL: time.Second, Storage: jetstream.MemoryStorage})
		}, restart: true},
		"restarted without a TTL": {before: func(w *testEnv) { w.leaseTTL(0) }, restart: true, warning: noTTL},
	}
	for name, test := range variants.Select(tests, "as usual", "no TTL", "a long TTL from then on", "overwritten, no TTL", "in memory, and lost") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: dir})
			w := newTestEnvOn(t, bpcctest.Config{}, s.ClientURL())
			w.env["BRIDGE_LEASE_TTL"] = "1s"
			w.waitsDividedBy = 5
			w.setAgent("anna", "ready", "")
			w.provisionStreams()
			var fleets []*runningFleet
			var conns []*nats.Conn
			for range 2 {
				js := natstest.Connect(t, s.ClientURL(), reconnecting()...)
				fleets, conns = append(fleets, w.runFleet(js)), append(conns, js.Conn())
			}
			health := func(i int) bridge.Health { return fleets[i].fleet.Health()[0] }
			leads := func(i int) bool { return health(i).Role == "leader" && health(i).Status == "live" }
			w.waitUntil("both to be ready", func() bool { return health(0).Ready && health(1).Ready })
			if test.before != nil {
				test.before(w)
				w.waitUntil("one to lead, and to see the change", func() bool {
					return (leads(0) || leads(1)) && strings.Contains(health(0).Warning, test.warning) && strings.Contains(health(1).Warning, test.warning)
				})
			}
			leader := 0
			if leads(1) {
				leader = 1
			}
			conns[leader].Close()
			if test.after != nil {
				test.after(w)
			}
			if test.restart {
				port := s.Addr().(*net.TCPAddr).Port
				s.Shutdown()
				s.WaitForShutdown()
				natstest.Start(t, &server.Options{JetStream: true, StoreDir: dir, Port: port})
				w.waitForJetStream()
			}
			other := 1 - leader
			w.waitUntil("the other one to lead", func() bool { return leads(other) })
			w.tenant.SetState("anna", "busy", "")
			w.waitFor("agent.anna.state_changed", 1)
			w.waitUntil("the warning", func() bool {
				h := health(other)
				return h.Ready && strings.Contains(h.Warning, test.warning) && (h.Warning != "") == (test.warning != "")
			})
			if n := strings.Count(w.log.String(), "bucket of leases should be changed"); test.warning != "" && (n < 1 || n > 2) || test.warning == "" && n > 0 {
				t.Errorf("the warning is logged %d times by two bridges", n)
			}
			w.auditStream()
		})
	}
}

// TestOldServer meets a server of an old release: at the start, in a check, and when
// the connections of a leader and of a standby move to it. They publish nothing there
// and report why. When a newer server is back, they go on.
func TestOldServer(t *testing.T) {
	t.Parallel()
	const cure = "upgrade all NATS servers to release 2.12.1 or later"
	oldDir := t.TempDir()
	address, stopOld := natstest.StartOld(t, oldDir, 0)
	old := newTestEnvOn(t, bpcctest.Config{}, address)
	said := "release " + old.nc.ConnectedServerVersion()
	done, err := old.provision(t.Context(), old.js)
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
	streams := stream.Names(w.config().Stream)
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
	w.waitForJetStream()
	w.waitFor("agent.anna.state_changed", 2)
	every("be ready again", builtEvents)
	w.auditStream()
}
