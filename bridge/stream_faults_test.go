package bridge_test

import (
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
	"bpcc-nats/internal/natstest"
)

// updateStream changes the configuration of a stream, as a person does who does not
// ask.
func (w *testEnv) updateStream(stream string, change func(*jetstream.StreamConfig)) {
	w.t.Helper()
	s, err := w.js.Stream(w.t.Context(), stream)
	if err != nil {
		w.t.Fatal(err)
	}
	c := s.CachedInfo().Config
	change(&c)
	if _, err := w.js.UpdateStream(w.t.Context(), c); err != nil {
		w.t.Fatal(err)
	}
}

// startBridgeHandle is startBridge that lets the test look at the bridge's health.
func (w *testEnv) startBridgeHandle(js jetstream.JetStream) *bridge.Bridge {
	w.t.Helper()
	b, err := bridge.New(w.config(), js, w.logger())
	if err != nil {
		w.t.Fatal(err)
	}
	w.run(b, func(err error) {
		if err != nil {
			w.t.Logf("bridge: %v", err)
		}
	})
	return b
}

func (w *testEnv) provisionStreams() {
	w.t.Helper()
	if _, err := w.provision(w.t.Context(), w.js); err != nil {
		w.t.Fatal(err)
	}
}

// waitForReason waits until the bridge is not ready, for a reason that holds text.
func waitForReason(t *testing.T, b *bridge.Bridge, text string) {
	t.Helper()
	for deadline := time.Now().Add(testTimeout); ; <-time.After(10 * time.Millisecond) {
		h := b.Health()
		if !h.Ready && strings.Contains(h.Reason, text) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain to be not ready for a reason with %q: %+v", text, h)
		}
	}
}

func waitForReady(t *testing.T, b *bridge.Bridge) {
	t.Helper()
	for deadline := time.Now().Add(testTimeout); !b.Health().Ready; <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain to be ready: %+v", b.Health())
		}
	}
}

// TestStreamRefusesBatches makes the stream refuse batches in every way that can be
// corrected. The bridge holds one batch, says what to do, polls no further, informs
// readers through the watchdog, and goes on by itself when it is corrected.
func TestStreamRefusesBatches(t *testing.T) {
	t.Parallel()
	full := func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = 1, jetstream.DiscardNew }
	tests := map[string]struct {
		disrupt, restore func(*jetstream.StreamConfig)
		reason           string
		stale            bool // wait for the watchdog too
	}{
		"full by messages": {full, func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = -1, jetstream.DiscardOld }, "raise or remove max_bytes and max_msgs", true},
		"full by bytes": {
			func(c *jetstream.StreamConfig) { c.MaxBytes, c.Discard = 100, jetstream.DiscardNew },
			func(c *jetstream.StreamConfig) { c.MaxBytes = -1 },
			"raise or remove max_bytes and max_msgs", false,
		},
		"atomic batches switched off": {
			func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false },
			func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = true },
			"enable allow_atomic of stream BPCC_EVENTS", false,
		},
		"other subjects": {
			func(c *jetstream.StreamConfig) { c.Subjects = []string{"elsewhere.>"} },
			func(c *jetstream.StreamConfig) { c.Subjects = []string{"bpcc.v1.>"} },
			"restore in stream BPCC_EVENTS the subject bpcc.v1.>", false,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTestEnv(t, bpcctest.Config{})
			w.env["BRIDGE_LEASE_TTL"] = "2s"
			w.waitsDividedBy = 3
			w.setAgent("anna", "ready", "")
			w.provisionStreams()
			b := w.startBridgeHandle(w.js)
			w.waitForFeed("live")
			waitForReady(t, b)
			w.waitForPolls(2) // the watchdog follows the feed by a poll

			w.updateStream("BPCC_EVENTS", test.disrupt)
			w.tenant.SetState("anna", "not_ready", "")
			waitForReason(t, b, test.reason)
			polls := w.tenant.Counts().DataRequests()
			if test.stale {
				w.waitForFeed("stale") // the stream that publishes it is another one
			} else {
				<-time.After(2500 * time.Millisecond) // longer than a feed may be silent
			}
			if n := w.tenant.Counts().DataRequests() - polls; n > 1 {
				t.Errorf("%d polls while a batch is held", n)
			}
			// A batch that was under way when it began may fail in another word.
			if n := strings.Count(w.log.String(), "publish failed, retrying the same batch"); n == 0 || n > 2 {
				t.Errorf("logged %d times that publishing failed", n)
			}
			w.tenant.SetState("anna", "busy", "")

			w.updateStream("BPCC_EVENTS", test.restore)
			w.waitForFeed("live")
			waitForReady(t, b)
			// The batch that was held, and the net difference since, with the gap.
			w.waitForStateOnce(2, "busy")
			all := w.events()
			if starts := len(withSubject(all, "feed.started")); starts != 1 {
				t.Errorf("%d terms, want one", starts)
			}
			resumed := withSubject(all, "feed.resumed")
			if len(resumed) != 1 || resumed[0].field("bridge_away") != true || resumed[0].text("cause") != "nats" {
				t.Errorf("the gap is published %d times: %v", len(resumed), resumed)
			}
		})
	}
}

// TestStreamSealed seals the stream, which nothing takes back: the bridge says so.
func TestStreamSealed(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.setAgent("anna", "ready", "")
	w.provisionStreams()
	b := w.startBridgeHandle(w.js)
	w.waitFor("totals.bridge.observed", 1)
	w.updateStream("BPCC_EVENTS", func(c *jetstream.StreamConfig) { c.Sealed, c.MaxAge = true, 0 })
	w.tenant.SetState("anna", "busy", "")
	waitForReason(t, b, "choose another name in BRIDGE_STREAM")
}

// TestStreamsDeleted deletes each stream under a running bridge. Only the
// bridge itself recreates it, as it would at its start.
func TestStreamsDeleted(t *testing.T) {
	t.Parallel()
	tests := [][]string{
		{"BPCC_EVENTS"}, {"KV_bpcc_lease"}, {"KV_bpcc_state"}, {"BPCC_EVENTS_WATCHDOG"},
		{"BPCC_EVENTS", "BPCC_EVENTS_WATCHDOG", "KV_bpcc_state", "KV_bpcc_lease"},
	}
	for _, names := range tests {
		t.Run(strings.Join(names, ","), func(t *testing.T) {
			t.Parallel()
			w := newTestEnv(t, bpcctest.Config{})
			w.env["BRIDGE_LEASE_TTL"] = "1s"
			w.waitsDividedBy = 5
			w.setAgent("anna", "ready", "")
			w.provisionStreams()
			p := w.runFleet(w.js)
			w.waitForFeed("live")
			for _, name := range names {
				if err := w.js.DeleteStream(t.Context(), name); err != nil {
					t.Fatal(err)
				}
			}
			w.tenant.SetState("anna", "busy", "")
			w.waitUntil(names[0]+" and a bridge that is ready", func() bool {
				_, err := w.js.Stream(t.Context(), names[0])
				return err == nil && p.fleet.Health()[0].Ready
			})
			// The first change after it may still be seen by the term before.
			var changed []storedEvent
			for i := 0; len(changed) == 0 && i < 100; i++ {
				w.tenant.SetState("anna", []string{"ready", "not_ready"}[i%2], "")
				w.waitForPolls(2)
				changed = withSubject(w.readEvents(), "agent.anna.state_changed")
			}
			if len(changed) == 0 {
				t.Fatal("no change is published any more")
			}
			w.waitForFeed("live")
			if len(names) == 1 && names[0] == "BPCC_EVENTS" && !strings.HasPrefix(changed[0].ID, "acme-2-") {
				t.Errorf("%s: want the second term, by what the view remembers of the first", changed[0].ID)
			}
			message := "stream was deleted; recreated it empty"
			if names[0] == "BPCC_EVENTS" {
				message = "history lost: stream recreated empty"
			}
			w.waitUntil("the recreation of a stream in the log: "+message, func() bool {
				return slices.ContainsFunc(strings.Split(w.log.String(), "\n"), func(line string) bool {
					return strings.Contains(line, message) && strings.Contains(line, " stream="+names[0])
				})
			})
		})
	}
}

// TestStreamMadeAnew makes the stream of events anew under a running bridge, as somebody else may: the
// bridge knows that it had history, and says so.
func TestStreamMadeAnew(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BRIDGE_LEASE_TTL"] = "1s"
	w.waitsDividedBy = 5
	w.setAgent("anna", "ready", "")
	w.provisionStreams()
	p := w.runFleet(w.js)
	w.waitForFeed("live")
	s, err := w.js.Stream(t.Context(), "BPCC_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.js.DeleteStream(t.Context(), "BPCC_EVENTS"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.js.CreateStream(t.Context(), s.CachedInfo().Config); err != nil {
		t.Fatal(err)
	}
	w.tenant.SetState("anna", "busy", "")
	w.waitUntil("the warning", func() bool {
		return strings.Contains(w.log.String(), `level=WARN msg="history lost: stream recreated empty" tenant=acme stream=BPCC_EVENTS lost="all events" hint=`)
	})
	w.waitUntil("the next term", func() bool { h := p.fleet.Health()[0]; return h.Ready && h.Epoch > 1 })
}

// TestDuplicateID publishes the id that the bridge uses next. Its
// batch is refused whole until the id leaves the stream's window.
func TestDuplicateID(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir()})
	w := newTestEnvOn(t, bpcctest.Config{}, s.ClientURL())
	w.setAgent("anna", "ready", "")
	w.provisionStreams()
	w.updateStream("BPCC_EVENTS", func(c *jetstream.StreamConfig) {
		c.Duplicates, c.Subjects = 4*time.Second, append(c.Subjects, "elsewhere")
	})
	// The first batch of a first term begins with this one.
	if _, err := w.js.Publish(t.Context(), "elsewhere", nil, jetstream.WithMsgID("acme-1-1-1")); err != nil {
		t.Fatal(err)
	}
	b := w.startBridgeHandle(w.js)
	waitForReason(t, b, "another publisher used this bridge's message ids")
	waitForReady(t, b)
}

// TestJetStreamFull fills the server's own storage: nothing can be written, the
// lease and the watchdog's news included. When there is room, all goes on.
func TestJetStreamFull(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 4 << 20})
	w := newTestEnvOn(t, bpcctest.Config{}, s.ClientURL())
	w.env["BRIDGE_LEASE_TTL"] = "1s"
	w.setAgent("anna", "ready", "")
	w.provisionStreams()
	b := w.startBridgeHandle(w.js)
	w.waitFor("totals.bridge.observed", 1)
	other, err := w.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"other"}})
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = w.js.Publish(t.Context(), "other", make([]byte, 256<<10))
	}
	w.tenant.SetState("anna", "busy", "")
	waitForReason(t, b, "insufficient resources")
	polls := w.tenant.Counts().DataRequests()
	<-time.After(2 * time.Second)
	if n := w.tenant.Counts().DataRequests() - polls; n > 1 {
		t.Errorf("%d polls while nothing can be stored", n)
	}
	if err := other.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.waitForStateOnce(1, "busy")
	waitForReady(t, b)
}

// TestPermissionsTakenAway starts the server again with fewer permissions for the
// bridge's user, and then with enough. (While it serves, a reload of the server is
// a data race within the server.)
func TestPermissionsTakenAway(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		deny   []string
		reason string
	}{
		"events": {[]string{"bpcc.v1.>"}, `Permissions Violation for Publish to "bpcc.v1.acme.`},
		"lease":  {[]string{"$KV.bpcc_lease.>"}, `Permissions Violation for Publish to "$KV.bpcc_lease.acme"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			options := func(deny []string) *server.Options {
				p := &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{">"}, Deny: deny}}
				return &server.Options{
					JetStream: true, StoreDir: dir,
					Users: []*server.User{{Username: "test", Password: "t"}, {Username: "bridge", Password: "b", Permissions: p}},
				}
			}
			s := natstest.Start(t, options(nil))
			port := s.Addr().(*net.TCPAddr).Port
			address := strings.TrimPrefix(s.ClientURL(), "nats://")
			w := newTestEnvOn(t, bpcctest.Config{}, "nats://test:t@"+address)
			w.env["BRIDGE_LEASE_TTL"] = "1s"
			w.waitsDividedBy, w.timeoutsDividedBy = 5, 5
			w.setAgent("anna", "ready", "")
			w.provisionStreams()
			restart := func(deny []string) {
				t.Helper()
				o := options(deny)
				o.Port = port
				s.Shutdown()
				s.WaitForShutdown()
				s = natstest.Start(t, o)
				w.waitForJetStream()
			}
			js := natstest.Connect(t, "nats://bridge:b@"+address, append(reconnecting(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))...)
			b := w.startBridgeHandle(js)
			w.waitFor("totals.bridge.observed", 1)
			restart(test.deny)
			w.tenant.SetState("anna", "busy", "")
			waitForReason(t, b, test.reason)
			restart(nil)
			w.waitFor("agent.anna.state_changed", 1)
			waitForReady(t, b)
		})
	}
}
