package bridge_test

import (
	"fmt"
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/scan"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/bridge/view"
	"bpcc-nats/internal/natstest"
	"bpcc-nats/internal/variants"
)

// storeEnv is a testEnv on a server whose store a test can damage while it is down.
type storeEnv struct {
	*testEnv
	dir    string
	server *server.Server
	stop   func() // ends the bridge
}

// newStoreEnv returns an environment with agents, a queue, and a stream that may be purged.
func newStoreEnv(t *testing.T) *storeEnv {
	t.Helper()
	dir := t.TempDir()
	s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: dir, SyncAlways: true})
	w := &storeEnv{testEnv: newTestEnvOn(t, bpcctest.Config{}, s.ClientURL()), dir: dir, server: s}
	w.waitsDividedBy = 20
	w.env["BRIDGE_LEASE_TTL"] = "1s"
	w.tenant.SetService(bpcctest.Service{Name: "Voice", Stats: map[string]string{"in_calls_waiting": "3"}})
	for _, login := range []string{"anna", "bob", "carl"} {
		w.setAgent(login, "ready", "")
	}
	c := stream.Configs(w.config().Stream)[0]
	c.DenyPurge, c.Duplicates = false, time.Second
	if _, err := w.js.CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *storeEnv) start() { w.stop = w.startBridge() }

// restartServer stops the server, lets the test change its store, and starts it again.
func (w *storeEnv) restartServer(change func()) {
	w.t.Helper()
	port := w.server.Addr().(*net.TCPAddr).Port
	w.server.Shutdown()
	w.server.WaitForShutdown()
	change()
	w.server = natstest.Start(w.t, &server.Options{JetStream: true, StoreDir: w.dir, SyncAlways: true, Port: port})
	w.waitForJetStream()
}

// live changes the tenant and waits until that is published: anna is busy, bob leaves, dora arrives.
func (w *storeEnv) live() {
	w.t.Helper()
	w.tenant.SetState("anna", "supervising", "")
	w.waitForUnvalidated("agent.anna.state_changed", 1)
	w.tenant.RemoveAgent("bob")
	w.waitForUnvalidated("agent.bob.disappeared", 1)
	w.setAgent("dora", "ready", "")
	w.waitForUnvalidated("agent.dora.appeared", 1)
	w.tenant.SetState("dora", "supervising", "")
	w.waitForUnvalidated("agent.dora.state_changed", 1)
}

// lastEpoch is the largest epoch that stream or view shows.
func (w *storeEnv) lastEpoch() int {
	w.t.Helper()
	last := 0
	add := func(id string) {
		var epoch int
		if _, err := fmt.Sscanf(id, "acme-%d-", &epoch); err != nil {
			w.t.Fatal(err)
		}
		last = max(last, epoch)
	}
	for _, s := range w.readEvents() {
		add(s.ID)
	}
	kv, err := w.js.KeyValue(w.t.Context(), "bpcc_state")
	if err != nil {
		return last
	}
	for _, id := range viewIDs(w.t, kv) {
		add(id)
	}
	return last
}

// countRestored counts the events of agents after a sequence, by subject.
func countRestored(all []storedEvent, after uint64) map[string]int {
	n := map[string]int{}
	for _, s := range afterSeq(all, after) {
		if strings.HasPrefix(s.Subject, "agent.") {
			n[s.Subject]++
		}
	}
	return n
}

// viewOfPresent are the keys of the view after [storeEnv.live].
var viewOfPresent = []string{"acme.agent.anna", "acme.agent.carl", "acme.agent.dora", "acme.feed", "acme.service.Voice", "acme.totals.bridge"}

// viewKeys lists the keys of the view, none while it is rebuilt.
func (w *storeEnv) viewKeys() []string {
	w.t.Helper()
	var keys []string
	entries, err := view.Read(w.t.Context(), w.js, w.config().Stream, "acme", testTimeout)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		keys = append(keys, "acme."+e.Key)
	}
	return keys
}

// TestRestore restores what was lost in every way that the documents describe, and in some that nobody
// chooses. After each the next term publishes what the tenant shows and nothing that did not happen; no
// epoch is given again; the view is what a replay of the stream gives; and the auditor finds no fault.
func TestRestore(t *testing.T) {
	t.Parallel()
	net := map[string]int{"agent.anna.state_changed": 1, "agent.bob.disappeared": 1, "agent.dora.appeared": 1}
	observed := map[string]int{"agent.anna.observed": 1, "agent.carl.observed": 1, "agent.dora.observed": 1}
	type backups struct{ events, view, laterEvents, laterView *natstest.Backup }
	tests := map[string]struct {
		harm    func(*testing.T, *storeEnv, backups)
		want    map[string]int // events of agents afterwards
		rebuilt bool           // the view is of another timeline
	}{
		"nothing": {harm: func(*testing.T, *storeEnv, backups) {}},
		"older stream": {
			harm: func(t *testing.T, w *storeEnv, b backups) { b.events.Restore(t, w.js, "BPCC_EVENTS") },
			want: net, rebuilt: true,
		},
		"older stream, view of a time between": {
			harm: func(t *testing.T, w *storeEnv, b backups) {
				b.events.Restore(t, w.js, "BPCC_EVENTS")
				b.laterView.Restore(t, w.js, "KV_bpcc_state")
			},
			want: net, rebuilt: true,
		},
		"older view": {harm: func(t *testing.T, w *storeEnv, b backups) { b.view.Restore(t, w.js, "KV_bpcc_state") }},
		"stream of a time between, older view": {
			harm: func(t *testing.T, w *storeEnv, b backups) {
				b.view.Restore(t, w.js, "KV_bpcc_state")
				b.laterEvents.Restore(t, w.js, "BPCC_EVENTS")
			},
			want: map[string]int{"agent.bob.disappeared": 1, "agent.dora.appeared": 1},
		},
		"both older": {
			harm: func(t *testing.T, w *storeEnv, b backups) {
				b.events.Restore(t, w.js, "BPCC_EVENTS")
				b.view.Restore(t, w.js, "KV_bpcc_state")
			},
			want: net,
		},
		"older stream, no view": {
			harm: func(t *testing.T, w *storeEnv, b backups) {
				b.events.Restore(t, w.js, "BPCC_EVENTS")
				w.deleteStreams("KV_bpcc_state")
			},
			want: net,
		},
		"stream recreated empty": {
			harm: func(t *testing.T, w *storeEnv, _ backups) { w.deleteStreams("BPCC_EVENTS") },
			want: observed, rebuilt: true,
		},
		"no view":                {harm: func(t *testing.T, w *storeEnv, _ backups) { w.deleteStreams("KV_bpcc_state") }},
		"stream purged":          {harm: func(t *testing.T, w *storeEnv, _ backups) { w.purge("BPCC_EVENTS") }},
		"stream purged, no view": {harm: func(t *testing.T, w *storeEnv, _ backups) { w.purge("BPCC_EVENTS"); w.deleteStreams("KV_bpcc_state") }, want: observed},
		"stream purged up to the last changes": {harm: func(t *testing.T, w *storeEnv, _ backups) {
			w.purge("BPCC_EVENTS", jetstream.WithPurgeSequence(withSubject(w.readEvents(), "agent.bob.disappeared")[0].Seq))
		}},
		"end of the stream lost": {
			harm: func(t *testing.T, w *storeEnv, _ backups) {
				w.restartServer(func() { natstest.CutBlock(t, w.dir, "BPCC_EVENTS", []byte("bpcc.v1.acme.agent.anna.state_changed")) })
			},
			want: net, rebuilt: true,
		},
		"end of the stream lost within a batch": {
			harm: func(t *testing.T, w *storeEnv, _ backups) {
				w.restartServer(func() { natstest.CutBlock(t, w.dir, "BPCC_EVENTS", []byte("bpcc.v1.acme.feed.stopped")) })
			},
			rebuilt: true,
		},
		"view purged": {harm: func(t *testing.T, w *storeEnv, _ backups) { w.purge("KV_bpcc_state") }, want: observed},
		"an agent purged from the view": {
			harm: func(t *testing.T, w *storeEnv, _ backups) {
				w.purge("KV_bpcc_state", jetstream.WithPurgeSubject("$KV.bpcc_state.acme.agent.carl"))
			},
			want: map[string]int{"agent.carl.observed": 1},
		},
	}
	some := []string{
		"older stream, view of a time between", "both older", "stream purged", "end of the stream lost within a batch", "an agent purged from the view",
	}
	for name, test := range variants.Select(tests, some...) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newStoreEnv(t)
			w.start()
			w.waitFor("agent.carl.observed", 1)
			w.waitForFeed("live")
			var b backups
			// The view first, so that it shows nothing that is not in the other backup.
			b.view, b.events = natstest.BackUp(t, w.js, "KV_bpcc_state"), natstest.BackUp(t, w.js, "BPCC_EVENTS")
			w.tenant.SetState("anna", "supervising", "")
			w.waitFor("agent.anna.state_changed", 1)
			w.waitUntil("the view", func() bool {
				kv, err := w.js.KeyValue(t.Context(), "bpcc_state")
				if err != nil {
					t.Fatal(err)
				}
				return strings.Contains(viewIDs(t, kv)["acme.agent.anna"], withSubject(w.readEvents(), "agent.anna.state_changed")[0].ID)
			})
			b.laterView, b.laterEvents = natstest.BackUp(t, w.js, "KV_bpcc_state"), natstest.BackUp(t, w.js, "BPCC_EVENTS")
			w.live()
			w.stop()
			w.start() // another epoch that is lost
			w.waitFor("feed.started", 2)
			w.waitForFeed("live")
			w.stop()
			w.waitForFeed("stopped")
			w.bridges = nil

			given := w.lastEpoch()
			test.harm(t, w, b)
			w.provisionStreams()
			harmed := w.lastSeq()
			w.start()
			w.waitUntil("a checkpoint of a live feed", func() bool {
				all := afterSeq(w.readEvents(), harmed)
				return len(all) > 0 && all[len(all)-1].text("status") == "live"
			})
			w.waitUntil("a complete view", func() bool { return cmp.Equal(w.viewKeys(), viewOfPresent) })
			w.waitUntil("the events", func() bool {
				return cmp.Equal(countRestored(w.readEvents(), harmed), test.want, cmpopts.EquateEmpty())
			})
			w.tenant.SetState("carl", "supervising", "")
			w.waitUntil("the next change", func() bool {
				changed := withSubject(afterSeq(w.readEvents(), harmed), "agent.carl.state_changed")
				return len(changed) == 1 && changed[0].text("from", "state") == "ready"
			})
			w.stop()
			want := maps.Clone(test.want)
			if want == nil {
				want = map[string]int{}
			}
			want["agent.carl.state_changed"]++
			all := w.readEvents()
			if d := cmp.Diff(want, countRestored(all, harmed)); d != "" {
				t.Errorf("events after the restore (-want +got)\n%s", d)
			}
			for _, s := range withSubject(afterSeq(all, harmed), "feed.started") {
				var epoch int
				if _, err := fmt.Sscanf(s.ID, "acme-%d-", &epoch); err != nil || epoch <= given {
					t.Errorf("epoch %d is given again after %d: %v", epoch, given, err)
				}
			}
			if got := strings.Contains(w.log.String(), "view did not match the stream"); got != test.rebuilt {
				t.Errorf("the view was rebuilt: %v, want %v", got, test.rebuilt)
			}
			w.compareViewNow(all)
			if test.rebuilt {
				w.bridges = nil // they know departures that neither stream nor view has any more
			}
			w.auditStream()
		})
	}
}

// compareViewNow compares the view with the last event of each entity in the stream, as far as the stream
// has one.
func (w *storeEnv) compareViewNow(all []storedEvent) {
	w.t.Helper()
	kv, err := w.js.KeyValue(w.t.Context(), "bpcc_state")
	if err != nil {
		w.t.Fatal(err)
	}
	want := map[string]string{}
	for _, s := range all {
		if key := viewKey(s.Subject); key != "" {
			want["acme."+key] = s.ID
			if s.Header.Get("KV-Operation") != "" {
				delete(want, "acme."+key)
			}
		}
	}
	var wrong []string
	for deadline := time.Now().Add(testTimeout); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
		wrong = nil
		got := viewIDs(w.t, kv)
		for key, id := range want {
			if got[key] != id {
				wrong = append(wrong, fmt.Sprintf("%s is %s, want %s", key, got[key], id))
			}
		}
		if len(wrong) == 0 {
			return
		}
	}
	w.t.Errorf("the view is not what the stream gives: %v", wrong)
}

func (w *storeEnv) deleteStreams(names ...string) {
	w.t.Helper()
	for _, name := range names {
		if err := w.js.DeleteStream(w.t.Context(), name); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *storeEnv) purge(name string, options ...jetstream.StreamPurgeOpt) {
	w.t.Helper()
	s, err := w.js.Stream(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := s.Purge(w.t.Context(), options...); err != nil {
		w.t.Fatal(err)
	}
}

// TestPromotedMirror loses the stream and goes on with a mirror of it, which becomes a stream of its own,
// with a new view. The mirror may lack the end of the stream.
func TestPromotedMirror(t *testing.T) {
	t.Parallel()
	w := newStoreEnv(t)
	mirror, err := w.js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "BPCC_COPY", Mirror: &jetstream.StreamSource{Name: "BPCC_EVENTS"}, Storage: jetstream.FileStorage, Compression: jetstream.S2Compression,
		AllowDirect: true, AllowMsgTTL: true, MirrorDirect: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.start()
	w.waitFor("agent.carl.observed", 1)
	w.live()
	w.stop()
	last := w.lastSeq()
	w.waitUntil("the mirror", func() bool {
		info, err := mirror.Info(t.Context())
		return err == nil && info.State.LastSeq == last
	})
	w.bridges = nil
	w.deleteStreams("BPCC_EVENTS", "BPCC_EVENTS_WATCHDOG", "KV_bpcc_state")

	w.env["BRIDGE_STREAM"] = "BPCC_COPY"
	c := stream.Configs(w.config().Stream)[0]
	if _, err := w.js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	w.start()
	read := func() (all []storedEvent) {
		err := scan.All(t.Context(), w.js, "BPCC_COPY", jetstream.OrderedConsumerConfig{}, func(msg jetstream.Msg, _ uint64) error {
			all = append(all, w.decode(w.storedMessage(msg)))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	w.tenant.SetState("carl", "supervising", "")
	w.waitUntil("the next change", func() bool { return len(withSubject(afterSeq(read(), last), "agent.carl.state_changed")) == 1 })
	w.waitUntil("a complete view", func() bool { return cmp.Equal(w.viewKeys(), viewOfPresent) })
	w.stop()
	all := read()
	if d := cmp.Diff(map[string]int{"agent.carl.state_changed": 1}, countRestored(all, last)); d != "" {
		t.Errorf("events after the promotion (-want +got)\n%s", d)
	}
	checkStream(t, all)
}

// TestRestoreWithTwoTenants restores an older stream that two tenants share: each goes on without a false
// event, and the view, which the first to notice rebuilds, is complete for both.
func TestRestoreWithTwoTenants(t *testing.T) {
	t.Parallel()
	w := newStoreEnv(t)
	other := newTestEnvOn(t, bpcctest.Config{}, w.nc.ConnectedUrl())
	other.waitsDividedBy, other.env["BRIDGE_TENANT"], other.env["BRIDGE_LEASE_TTL"] = 20, "beta", "1s"
	other.setAgent("zoe", "ready", "")
	w.start()
	stopOther := other.startBridge()
	inView := func(key, state string) bool {
		kv, err := w.js.KeyValue(t.Context(), "bpcc_state")
		if err != nil {
			return false
		}
		entry, err := kv.Get(t.Context(), key)
		return err == nil && strings.Contains(string(entry.Value()), `"state":"`+state+`"`)
	}
	w.waitForUnvalidated("agent.carl.observed", 1)
	w.waitUntil("the other tenant", func() bool { return inView("beta.agent.zoe", "ready") })
	backup := natstest.BackUp(t, w.js, "BPCC_EVENTS")
	w.live()
	other.tenant.SetState("zoe", "supervising", "")
	w.waitUntil("the other tenant's change", func() bool { return inView("beta.agent.zoe", "supervising") })
	w.stop()
	stopOther()
	w.bridges, other.bridges = nil, nil

	backup.Restore(t, w.js, "BPCC_EVENTS")
	restored := w.lastSeq()
	w.start()
	stopOther = other.startBridge()
	want := map[string]int{"agent.anna.state_changed": 1, "agent.bob.disappeared": 1, "agent.dora.appeared": 1}
	w.waitUntil("the events, and both in the view", func() bool {
		return strings.Contains(w.log.String()+other.log.String(), "view did not match the stream") &&
			cmp.Equal(countRestored(w.readEvents(), restored), want) && cmp.Equal(w.viewKeys(), viewOfPresent) && inView("beta.agent.zoe", "supervising") && inView("acme.agent.anna", "supervising")
	})
	w.stop()
	stopOther()
	if d := cmp.Diff(want, countRestored(w.readEvents(), restored)); d != "" {
		t.Errorf("events after the restore (-want +got)\n%s", d)
	}
	w.bridges, other.bridges = nil, nil
	w.auditStream()
}
