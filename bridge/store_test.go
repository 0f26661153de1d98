package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge"
)

// embeddedWorld is a world whose NATS server is the one inside the bridge.
type embeddedWorld struct {
	*testEnv
	config *bridge.Config
	server *bridge.Server
}

// newEmbeddedWorld starts the embedded server on dir, with more variables.
func newEmbeddedWorld(t *testing.T, dir string, more map[string]string) *embeddedWorld {
	t.Helper()
	// The tenant's address is all that is needed of a world before its server runs.
	e := &embeddedWorld{testEnv: &testEnv{t: t, tenant: bpcctest.NewServer(bpcctest.Config{}), validatedBodies: map[string]bool{}, log: &safeBuffer{}, foreignSeqs: map[uint64]bool{}}}
	t.Cleanup(e.tenant.Close)
	environ := []string{
		"BPCC_URL=" + e.tenant.URL, "BPCC_CLIENT_ID=sim", "BPCC_CLIENT_SECRET=sim-secret", "BPCC_POLL_INTERVAL=100ms",
		"BRIDGE_TENANT=acme", "BPCC_SERVICES=none", "BPCC_DIRECTORY_INTERVAL=0s", "BRIDGE_LEASE_TTL=1s",
		"BRIDGE_STORE_DIR=" + dir, "BRIDGE_EMBEDDED_LISTEN=127.0.0.1:0",
	}
	for name, value := range more {
		environ = append(environ, name+"="+value)
	}
	c, warnings, err := bridge.ParseConfig(environ, bridge.ForBridge)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("configuration: %v, warnings %v", err, warnings)
	}
	e.config = c
	if e.server, err = bridge.StartEmbedded(c, e.logger()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.server.Close)
	if e.nc, err = nats.Connect(e.server.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ReconnectBufSize(-1)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.nc.Close)
	if e.js, err = jetstream.New(e.nc); err != nil {
		t.Fatal(err)
	}
	return e
}

// run provisions the streams and runs the bridge, until stop or the test ends.
func (e *embeddedWorld) run() *runningFleet {
	e.t.Helper()
	e.provisioned()
	f, err := bridge.NewFleet([]*bridge.Config{e.config}, e.js, e.logger())
	if err != nil {
		e.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(e.t.Context())
	p := &runningFleet{fleet: f, ended: make(chan error, 1)}
	gone := make(chan struct{})
	go func() { defer close(gone); p.ended <- f.Run(ctx) }()
	p.stop = func() { cancel(); <-gone }
	e.t.Cleanup(p.stop)
	return p
}

// provisioned provisions, and returns what became of the stream of events.
func (e *embeddedWorld) provisioned() bridge.Provisioned {
	e.t.Helper()
	done, err := bridge.Provision(e.t.Context(), e.js, e.config)
	if err != nil {
		e.t.Fatal(err)
	}
	return done[0]
}

func (e *embeddedWorld) stream(name string) *jetstream.StreamInfo {
	e.t.Helper()
	s, err := e.js.Stream(e.t.Context(), name)
	if err != nil {
		e.t.Fatal(err)
	}
	return s.CachedInfo()
}

// crew makes agents, or changes the state of all of them.
func (e *embeddedWorld) crew(n int, state string) {
	for i := range n {
		if name := fmt.Sprintf("agent%03d", i); state == "" {
			e.setAgent(name, "ready", "")
		} else {
			e.tenant.SetState(name, state, "")
		}
	}
}

// fill changes all agents until the oldest events have left the stream, that many
// more times.
func (e *embeddedWorld) fill(agents, more int) {
	e.t.Helper()
	for i := 0; more > 0; i++ {
		before := e.stream("BPCC_EVENTS").State
		if before.FirstSeq > 1 {
			more--
		}
		e.crew(agents, []string{"busy", "ready"}[i%2])
		e.waitUntil("events of every agent", func() bool { return e.stream("BPCC_EVENTS").State.LastSeq >= before.LastSeq+uint64(agents) })
	}
}

// gauges scrapes the metrics of the store.
func gauges(t *testing.T, p *runningFleet) map[string]float64 {
	t.Helper()
	server := httptest.NewServer(p.fleet.Handler())
	defer server.Close()
	_, body := httpGet(t, server.URL+"/metrics")
	out := map[string]float64{}
	for line := range strings.Lines(body) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			out[strings.TrimPrefix(name, "bpcc_bridge_")] = n
		}
	}
	return out
}

func TestStoreMaxFaults(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ value, natsURL, fault, warning string }{
		"not set":            {},
		"decimal":            {value: "50GB"},
		"binary":             {value: "50GiB"},
		"least":              {value: "1MiB"},
		"bytes":              {value: "1048576"},
		"follows the disk":   {value: "0"},
		"no size":            {value: "much", fault: `BRIDGE_STORE_MAX: "much" is not a size (want a size such as 50GB or 50GiB)`},
		"negative":           {value: "-1GB", fault: `BRIDGE_STORE_MAX: "-1GB" is not a size`},
		"a forgotten unit":   {value: "50", fault: "BRIDGE_STORE_MAX: 50 bytes is below 1.0 MiB; give a size with its unit"},
		"a server elsewhere": {value: "50GB", natsURL: "nats://elsewhere", warning: "BRIDGE_STORE_MAX is not used"},
	}
	for name, test := range tests {
		_, warnings, err := bridge.ParseConfig([]string{"BRIDGE_STORE_MAX=" + test.value, "NATS_URL=" + test.natsURL}, bridge.ForStream)
		if (err != nil) != (test.fault != "") || err != nil && !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%s: %v, want %q", name, err, test.fault)
		}
		if text := strings.Join(warnings, "\n"); (text != "") != (test.warning != "") || !strings.Contains(text, test.warning) {
			t.Errorf("%s: warnings %q, want %q", name, text, test.warning)
		}
	}
}

// TestStoreLimit fills a small store several times over. The oldest events leave
// it; the lease is renewed, the view and the watchdog are written, new events are
// stored, what is left is sound, and a restart tells nothing twice.
func TestStoreLimit(t *testing.T) {
	t.Parallel()
	const agents = 60
	e := newEmbeddedWorld(t, t.TempDir(), map[string]string{"BRIDGE_STORE_MAX": "1MiB"})
	e.crew(agents, "")
	p := e.run()
	e.waitFor("totals.bridge.observed", 1)
	lease, err := e.js.KeyValue(t.Context(), "bpcc_lease")
	if err != nil {
		t.Fatal(err)
	}
	e.fill(agents, 10)

	held, err := lease.Get(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	e.waitUntil("the lease to be renewed", func() bool {
		now, err := lease.Get(t.Context(), "acme")
		return err == nil && now.Revision() > held.Revision() && string(now.Value()) == string(held.Value())
	})
	if h := p.fleet.Health()[0]; !h.Ready || h.Role != "leader" || h.Epoch != 1 {
		t.Errorf("the bridge is %+v", h)
	}
	if s := e.viewFeed(); s.text("status") != "live" {
		t.Errorf("the view says %v", s.Data)
	}
	e.waitUntil("the view's room to be made", func() bool { return e.server.Used() <= 1<<20 })
	events := e.stream("BPCC_EVENTS")
	if total := e.server.Used(); total > 1<<20 || events.Config.MaxBytes >= 1<<20 || int64(events.State.Bytes) > events.Config.MaxBytes {
		t.Errorf("%d bytes are stored, %d of them events, max_bytes %d", total, events.State.Bytes, events.Config.MaxBytes)
	}
	if c := events.Config; !c.DenyDelete || !c.DenyPurge || c.Discard != jetstream.DiscardOld {
		t.Errorf("the stream was reshaped: %+v", c)
	}
	var g map[string]float64
	e.waitUntil("the oldest event to be measured", func() bool { g = gauges(t, p); return g["oldest_event_timestamp_seconds"] > 0 })
	if g["store_limit_bytes"] != 1<<20 || g["store_used_bytes"] < 0.85*(1<<20) || g["store_used_bytes"] > 1<<20 || g["retention_seconds"] != 720*3600 {
		t.Errorf("gauges %v", g)
	}
	if oldest := time.Unix(int64(g["oldest_event_timestamp_seconds"]), 0); time.Since(oldest) > time.Hour || time.Since(oldest) < 0 {
		t.Errorf("the oldest event is from %v", oldest)
	}
	p.stop()
	e.auditStream()

	before := lastSeqOf(e.readAllMessages())
	e.tenant.SetState("agent007", "not_ready", "Lunch")
	e.run()
	e.waitForUnvalidated("feed.started", 1)
	e.waitUntil("the change", func() bool {
		return len(withSubject(afterSeq(e.readEvents(), before), "agent.agent007.state_changed")) > 0
	})
	for _, s := range afterSeq(e.readEvents(), before) {
		if strings.HasPrefix(s.Subject, "agent.") && s.Subject != "agent.agent007.state_changed" {
			t.Errorf("a restart tells %s", s.Subject)
		}
	}
	e.auditStream()
}

// TestStoreSmallerThanASnapshot gives the store less than the first snapshot takes. The
// view has all of it, and a restart takes nothing for new.
func TestStoreSmallerThanASnapshot(t *testing.T) {
	t.Parallel()
	const agents = 1500
	e := newEmbeddedWorld(t, t.TempDir(), map[string]string{"BRIDGE_STORE_MAX": "1MiB"})
	e.crew(agents, "")
	p := e.run()
	e.waitFor("totals.bridge.observed", 1)
	e.waitUntil("the limit to be told too low", func() bool { return strings.Contains(e.log.String(), "store limit too low") })
	if view := e.stream("KV_bpcc_state").State; view.Msgs < agents || view.Bytes < 1<<20 {
		t.Errorf("the view has %d messages of %d bytes", view.Msgs, view.Bytes)
	}
	e.fill(agents, 2)
	p.stop()
	before := lastSeqOf(e.readAllMessages())
	e.run()
	e.waitUntil("a new term", func() bool { return len(withSubject(afterSeq(e.readAllMessages(), before), "feed.checkpoint")) > 1 })
	for _, s := range afterSeq(e.readAllMessages(), before) {
		if strings.HasPrefix(s.Subject, "agent.") {
			t.Fatalf("a restart tells %s", s.Subject)
		}
	}
	if n := strings.Count(e.log.String(), "store limit too low"); n != 1 {
		t.Errorf("told %d times that the limit is too low", n)
	}
	e.auditStream()
}

// TestFormerStoreLimit starts on a store that a server with a limit of its own has
// filled until it refused the lease too. Whatever the limit is now, the bridge works.
func TestFormerStoreLimit(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]string{"follows the disk": "", "lower than what is there": "1MiB", "higher": "16MiB"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const agents = 60
			dir := t.TempDir()
			s := natsServer(t, &server.Options{JetStream: true, StoreDir: dir, JetStreamMaxStore: 1 << 20})
			w := newTestEnvOn(t, bpcctest.Config{}, s.ClientURL())
			w.env["BRIDGE_LEASE_TTL"] = "1s"
			former := &embeddedWorld{testEnv: w}
			former.crew(agents, "")
			w.provisionStreams()
			b := w.startBridgeHandle(w.js)
			w.waitFor("totals.bridge.observed", 1)
			turns := 0
			w.waitUntil("the former limit to be reached", func() bool {
				former.crew(agents, []string{"busy", "ready"}[turns/10%2]) // every tenth of a second
				turns++
				return strings.Contains(b.Health().Reason, "insufficient resources")
			})
			full := former.stream("BPCC_EVENTS").State
			w.nc.Close()
			s.Shutdown()
			s.WaitForShutdown()

			e := newEmbeddedWorld(t, dir, map[string]string{"BRIDGE_STORE_MAX": limit})
			for i := range agents {
				e.setAgent(fmt.Sprintf("agent%03d", i), "not_ready", "")
			}
			changed := e.provisioned().Changed
			now := e.stream("BPCC_EVENTS")
			if want := fmt.Sprintf("max_bytes is %d, not -1", now.Config.MaxBytes); changed != want {
				t.Errorf("provisioning says %q, want %q", changed, want)
			}
			if lost := now.State.FirstSeq > full.FirstSeq; lost != (limit == "1MiB") {
				t.Errorf("the first event was %d and is %d", full.FirstSeq, now.State.FirstSeq)
			} else if lost != strings.Contains(e.log.String(), "dropping the oldest events") {
				t.Errorf("that events are dropped is not told, or told in vain:\n%s", e.log.String())
			}
			e.run()
			e.waitUntil("new events", func() bool {
				return len(withSubject(afterSeq(e.readEvents(), full.LastSeq), "agent.agent059.state_changed")) > 0
			})
			e.waitForFeed("live")
			e.auditStream()
		})
	}
}

// TestStoreMaxChanges starts on one store with other limits. The bridge follows,
// and leaves a limit alone that someone else has set.
func TestStoreMaxChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	with := func(limit string, do func(e *embeddedWorld)) {
		t.Helper()
		e := newEmbeddedWorld(t, dir, map[string]string{"BRIDGE_STORE_MAX": limit})
		do(e)
		if text := e.log.String(); strings.Contains(text, "NATS server") {
			t.Errorf("a server that starts on a store logs\n%s", text)
		}
		e.nc.Close()
		e.server.Close()
	}
	expect := func(limit string, want int64, changed string, differs int) {
		t.Helper()
		with(limit, func(e *embeddedWorld) {
			t.Helper()
			p := e.provisioned()
			if got := e.stream("BPCC_EVENTS").Config.MaxBytes; got != want || p.Changed != changed || len(p.Differs) != differs {
				t.Errorf("%s: max_bytes %d, want %d; %+v", limit, got, want, p)
			}
			var told []string
			if err := bridge.CheckStreams(t.Context(), e.config, e.nc, e.js, func(s bridge.Step) {
				if s.Outcome != bridge.OK {
					told = append(told, s.Found)
				}
			}); err != nil || len(told) != differs {
				t.Errorf("%s: a check finds %v, %v", limit, told, err)
			}
		})
	}
	expect("1GiB", 896<<20, "", 0)
	expect("1GiB", 896<<20, "", 0)
	expect("2GiB", 1792<<20, "max_bytes is 1879048192, not 939524096", 0)
	expect("512MiB", 448<<20, "max_bytes is 469762048, not 1879048192", 0)
	with("512MiB", func(e *embeddedWorld) {
		e.updateStream("BPCC_EVENTS", func(c *jetstream.StreamConfig) { c.MaxBytes = 3 << 20 })
	})
	expect("1GiB", 3<<20, "", 1)
	with("1GiB", func(e *embeddedWorld) {
		e.updateStream("BPCC_EVENTS", func(c *jetstream.StreamConfig) { c.MaxBytes = -1 })
	})
	expect("1GiB", 896<<20, "max_bytes is 939524096, not -1", 0)
	with("", func(e *embeddedWorld) {
		p := e.provisioned()
		free := e.server.StoreMax()
		if got := e.stream("BPCC_EVENTS").Config.MaxBytes; p.Changed == "" || got < int64(free)*13/16 || got > int64(free)*15/16 {
			t.Errorf("max_bytes %d of %v, %+v", got, free, p)
		}
		if again := e.provisioned(); again.Changed != "" {
			t.Errorf("it changes again: %+v", again)
		}
	})
}

// TestEmbeddedServerFails makes the embedded server fail at its start: the error
// tells why, and nothing hangs.
func TestEmbeddedServerFails(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	file := t.TempDir()
	if err := os.WriteFile(filepath.Join(file, "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct{ dir, listen, want string }{
		"the port is taken":        {t.TempDir(), taken.Addr().String(), "address already in use"},
		"JetStream cannot start":   {file, "127.0.0.1:0", "storage directory is not a directory"},
		"the store is a file":      {filepath.Join(file, "jetstream"), "127.0.0.1:0", "not a directory"},
		"the port is not a number": {t.TempDir(), "127.0.0.1:http!", "is not a number"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log safeBuffer
			begun := time.Now()
			s, err := bridge.StartEmbedded(&bridge.Config{StoreDir: test.dir, EmbeddedListen: test.listen}, slog.New(slog.NewTextHandler(&log, nil)))
			if err == nil {
				s.Close()
				t.Fatal("it has started")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v; want %q", err, test.want)
			}
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("it took %v to fail", took)
			}
			if text := log.String(); strings.Contains(text, test.want) {
				t.Errorf("what the error says is logged too:\n%s", text)
			}
			if name == "the port is taken" { // it leaves nothing that keeps the next one from starting
				s, err := bridge.StartServer(test.dir, "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				s.Close()
			}
		})
	}
}

// TestEmbeddedServerLog provokes an error of the server while it serves. It is in
// the bridge's log, without what the client sent.
func TestEmbeddedServerLog(t *testing.T) {
	t.Parallel()
	for name, sent := range map[string]string{
		"not the protocol":     "PASSWORD hunter2-very-secret\r\n",
		"a line without end":   `CONNECT {"user":"x","pass":"hunter2-very-secret","name":"` + strings.Repeat("x", 5000),
		"not even a character": "\x00\x1bhunter2-very-secret\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log safeBuffer
			c := &bridge.Config{StoreDir: t.TempDir(), EmbeddedListen: "127.0.0.1:0"}
			s, err := bridge.StartEmbedded(c, slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if text := log.String(); text != "" {
				t.Errorf("a start logs\n%s", text)
			}
			conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "nats://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, sent); err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(testTimeout); log.String() == ""; <-time.After(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("nothing is logged")
				}
			}
			text := log.String()
			if !strings.Contains(text, `"level":"ERROR","msg":"NATS server error","err":"`) || strings.Contains(text, "hunter2") || strings.Contains(text, "PASSWORD") {
				t.Errorf("logged:\n%s", text)
			}
		})
	}
}

// smallDisk mounts a file system of that many megabytes.
func smallDisk(t *testing.T, megabytes int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", megabytes)); err != nil {
		t.Skipf("a small disk cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestStoreFollowsTheDisk stores, without a limit of the operator's, twice as much as
// the disk holds, and nothing that compresses. The oldest goes before the disk is full.
func TestStoreFollowsTheDisk(t *testing.T) {
	t.Parallel()
	const disk = 64
	e := newEmbeddedWorld(t, smallDisk(t, disk), nil)
	e.provisioned()
	if limit := e.server.StoreMax(); limit < disk/4*3*2<<20 || limit > disk/4*3*3<<20 {
		t.Errorf("the limit of an empty store on a disk of %d MiB is %v", disk, limit)
	}
	body := make([]byte, 256<<10)
	noise := rand.NewChaCha8([32]byte{})
	for i := range 2 * disk << 20 / len(body) {
		if _, err := noise.Read(body); err != nil {
			t.Fatal(err)
		}
		if _, err := e.js.Publish(t.Context(), "bpcc.v1.noise", body); err != nil {
			t.Fatalf("after %d MiB: %v", i*len(body)>>20, err)
		}
		if i%8 == 0 {
			e.provisioned() // as often as a running bridge would look, were the disk as large as they are
		}
	}
	held := e.stream("BPCC_EVENTS").State
	if held.FirstSeq == 1 || held.Bytes < disk/4<<20 || held.Bytes > disk<<20 {
		t.Errorf("left are %d bytes from sequence %d on", held.Bytes, held.FirstSeq)
	}
	if text := e.log.String(); strings.Contains(text, "NATS server") || strings.Contains(text, "dropping") {
		t.Errorf("logged:\n%s", text)
	}
}

// TestDiskFull fills the disk under the embedded server. The log tells; when there
// is room again, the server serves again, and each change is told once.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, 64)
	e := newEmbeddedWorld(t, filepath.Join(dir, "store"), nil)
	// What cannot be stored, or only after a new term, takes as long as it takes.
	e.setAgent("anna", "ready", "")
	p := e.run()
	e.waitFor("totals.bridge.observed", 1)
	ballast := filepath.Join(dir, "ballast")
	fillDisk(t, ballast)
	e.tenant.SetState("anna", "busy", "")
	// A small write may fit into what a file has on the disk already.
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := e.js.Publish(ctx, "$KV.bpcc_lease.other", make([]byte, 64<<10)); err == nil {
		t.Fatal("the disk is not full")
	}
	e.waitUntil("the log to tell of it", func() bool {
		text := e.log.String()
		return strings.Contains(text, "store cannot be written") && strings.Contains(text, "NATS server error") && strings.Contains(text, "no space left on device")
	})
	e.waitUntil("the bridge to be not ready", func() bool { return !p.fleet.Health()[0].Ready })
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	e.waitUntil("the server to be started again", func() bool { return strings.Contains(e.log.String(), "embedded server started again") })
	e.waitForStateOnce(1, "busy")
	e.waitForFeed("live")
	e.waitUntil("the bridge to be ready", func() bool { return p.fleet.Health()[0].Ready })
	p.stop()
	e.auditStream()
}

// fillDisk writes a file until the disk takes no more.
func fillDisk(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, unix.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
