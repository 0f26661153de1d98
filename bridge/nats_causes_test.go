package bridge_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/internal/bridgetest"
	"bpcc-nats/internal/natstest"
)

// TestCauses takes from a running bridge what it needs of its server. /readyz names the true cause, with
// what to do, and the bridge goes on when it is back.
func TestCauses(t *testing.T) {
	t.Parallel()
	type fault struct {
		options          server.Options
		disrupt, restore func(t *testing.T, w *testEnv, s *server.Server, o server.Options) *server.Server // the one that runs then
		reasons          []string                                                                          // all of them, in this order
	}
	restart := func(jetStream bool) func(*testing.T, *testEnv, *server.Server, server.Options) *server.Server {
		return func(t *testing.T, _ *testEnv, s *server.Server, o server.Options) *server.Server {
			t.Helper()
			s.Shutdown()
			s.WaitForShutdown()
			o.JetStream = jetStream
			return natstest.Start(t, &o)
		}
	}
	tests := map[string]fault{
		"JetStream switched off": {server.Options{}, restart(false), restart(true), []string{"enable JetStream on the NATS server"}},
		"lame duck": {
			server.Options{LameDuckDuration: time.Minute, LameDuckGracePeriod: 30 * time.Second}, func(_ *testing.T, _ *testEnv, s *server.Server, _ server.Options) *server.Server {
				go s.LameDuckShutdown() // returns when the server ends
				return s
			}, restart(true), []string{"not connected to NATS: NATS server is in lame duck mode", "the bridge continues when it reaches another NATS server"},
		},
		"subject taken by another stream": {
			server.Options{}, func(t *testing.T, w *testEnv, s *server.Server, _ server.Options) *server.Server {
				t.Helper()
				w.updateStream("BPCC_EVENTS", func(c *jetstream.StreamConfig) { c.Subjects = []string{"elsewhere.>"} })
				if _, err := w.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"bpcc.v1.>"}, AllowAtomicPublish: true}); err != nil {
					t.Fatal(err)
				}
				return s
			}, func(t *testing.T, w *testEnv, s *server.Server, _ server.Options) *server.Server {
				t.Helper()
				if err := w.js.DeleteStream(t.Context(), "OTHER"); err != nil {
					t.Fatal(err)
				}
				w.updateStream("BPCC_EVENTS", func(c *jetstream.StreamConfig) { c.Subjects = []string{"bpcc.v1.>"} })
				return s
			}, []string{"stream lacks its subject", "nats stream find --subject 'bpcc.v1.>'"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := test.options
			o.JetStream, o.StoreDir = true, t.TempDir()
			started := o
			s := natstest.Start(t, &started)
			o.Host, o.Port, o.NoSigs, o.NoLog = "127.0.0.1", s.Addr().(*net.TCPAddr).Port, true, true
			testCause(t, s.Addr().String(), test.reasons, func(w *testEnv) { s = test.disrupt(t, w, s, o) }, func(w *testEnv) { test.restore(t, w, s, o) })
		})
	}
	t.Run("credentials refused", func(t *testing.T) {
		t.Parallel()
		users := func(password string) string {
			return fmt.Sprintf("authorization: {users: [{user: root, password: root}, {user: bridge, password: %s}]}", password)
		}
		address, reload := natstest.StartReloadable(t, users("first"))
		testCause(t, address, []string{"not connected to NATS: nats: ", "check NATS_CREDS"}, func(*testEnv) { reload(users("second")) }, func(*testEnv) { reload(users("first")) })
	})
}

// testCause disrupts the server of a running bridge, and restores it when all reasons were given.
func testCause(t *testing.T, address string, reasons []string, disrupt, restore func(*testEnv)) {
	t.Helper()
	w := newTestEnvOn(t, bpcctest.Config{}, "nats://root:root@"+address)
	w.env["BRIDGE_LEASE_TTL"] = "2s"
	w.waitsDividedBy = 3
	w.setAgent("anna", "ready", "")
	w.provisionStreams()
	js, err := openFromEnv(t, &bridgetest.Buffer{}, func(error) {}, "NATS_URL=nats://bridge:first@"+address)
	if err != nil {
		t.Fatal(err)
	}
	b := w.startBridgeHandle(js)
	w.waitFor("agent.anna.observed", 1)
	waitForReady(t, b)
	disrupt(w)
	w.tenant.SetState("anna", "supervising", "")
	for _, reason := range reasons {
		waitForReason(t, b, reason)
	}
	restore(w)
	waitForReady(t, b)
	w.waitFor("agent.anna.state_changed", 1)
}

// TestStandbyNamesWhatItCannotRead takes all consumers that the stream allows from a standby: it is not
// ready for that reason, and is when it can read.
func TestStandbyNamesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	const maxCount = 20
	w := newTestEnv(t, bpcctest.Config{})
	w.setAgent("anna", "ready", "")
	events, err := w.js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "BPCC_EVENTS", Subjects: []string{"bpcc.v1.>"}, AllowAtomicPublish: true, AllowDirect: true, AllowMsgTTL: true, MaxConsumers: maxCount,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.provisionStreams()
	waitForReady(t, w.startBridgeHandle(w.js))
	var names []string
	w.waitUntil("all consumers to be taken", func() bool {
		name := fmt.Sprint(len(names))
		if _, err := events.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Name: name}); err != nil {
			return true
		}
		names = append(names, name)
		return false
	})
	if _, err := events.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{}); err == nil {
		t.Skipf("release %s does not count the consumers of readers", w.nc.ConnectedServerVersion())
	}
	standby := w.startBridgeHandle(w.js)
	waitForReason(t, standby, "maximum consumers limit reached; raise the limit of consumers of the account or of stream BPCC_EVENTS")
	for _, name := range names {
		if err := events.DeleteConsumer(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	waitForReady(t, standby)
}
