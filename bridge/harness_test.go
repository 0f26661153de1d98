package bridge_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge"
	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/bridge/view"
	"bpcc-nats/internal/bridgetest"
	"bpcc-nats/internal/natstest"
)

// testTimeout bounds every wait of a test; nothing waits so long unless it fails.
const testTimeout = 40 * time.Second

func TestMain(m *testing.M) { bridgetest.Main(m, 40) }

// testEnv is a simulated tenant over HTTP and a real NATS server, with a bridge
// between them that a test starts and stops.
type testEnv struct {
	t       *testing.T
	tenant  *bpcctest.Server
	server  *stream.Server // the NATS server, if it is the one inside the bridge
	nc      *nats.Conn
	js      jetstream.JetStream
	env     map[string]string
	decoded map[string]storedEvent // events that were read and validated before, by their bodies
	log     *bridgetest.Buffer     // what the bridges have logged
	// Messages that the test itself has put among the events, by sequence: the
	// promises do not hold for them.
	foreignSeqs map[uint64]bool
	// waitsDividedBy, unless it is 0, is how many times as short the waits of a bridge are that are
	// not configured.
	waitsDividedBy time.Duration
	// timeoutsDividedBy is that of the timeouts of requests to NATS, for tests in which they pass.
	timeoutsDividedBy time.Duration
	// simulatedTime says that the durations which the tenant shows do not grow as time passes: the auditor
	// cannot tell by them whether a state began again.
	simulatedTime bool
	// pollInterval, unless it is 0, is that of polls; it may be shorter than a configuration allows.
	pollInterval time.Duration
	// The bridges that the test has run.
	bridges []*bridge.Bridge
}

func newTestEnv(t *testing.T, tenant bpcctest.Config) *testEnv {
	t.Helper()
	w := newTestEnvOn(t, tenant, startServer(t))
	t.Cleanup(w.auditStream)
	return w
}

// startServer starts a server until the test ends, and returns its URL: the embedded one, or that of
// another release ([natstest.Server]).
func startServer(t *testing.T) (url string) {
	t.Helper()
	if os.Getenv(natstest.Server) != "" {
		url, _ = natstest.StartProgram(t, natstest.Server, t.TempDir(), 0)
		return url
	}
	server, err := stream.StartServer(t.TempDir(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server.URL()
}

// inOwnProcess runs a test that measures the process in one of its own, beside the other tests. It reports
// whether this is that process.
func inOwnProcess(t *testing.T) bool {
	t.Helper()
	const variable = "TEST_IN_OWN_PROCESS"
	if os.Getenv(variable) != "" {
		return true
	}
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), variable+"=1")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	return false
}

// auditStream judges with the product's own auditor what a test leaves behind.
func (w *testEnv) auditStream() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), testTimeout)
	defer cancel()
	if _, err := w.js.Stream(ctx, "BPCC_EVENTS"); err != nil {
		return // the test made none
	}
	a, err := audit.New(audit.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	all := w.rawMessages()
	w.compareFold(all)
	for _, add := range []func(storedEvent, string){
		func(s storedEvent, subject string) { a.ReadErasure(subject, s.Header, s.Body) },
		func(s storedEvent, subject string) {
			a.Add(audit.Message{Seq: s.Seq, Stored: s.Stored, Subject: subject, Header: s.Header, Body: s.Body})
		},
	} {
		for _, s := range all {
			if s.Header == nil {
				s.Header = nats.Header{}
			}
			subject := s.Subject
			if !strings.HasPrefix(subject, "bpcc.v1.") { // else of another tenant
				subject = "bpcc.v1.acme." + subject
			}
			add(s, subject)
		}
	}
	for _, s := range all {
		if s.Subject == event.Checkpoint && !w.foreignSeqs[s.Seq] && !bytes.Contains(s.Body, []byte(`"chain":"`)) {
			w.t.Errorf("the checkpoint at %d has no chain", s.Seq)
		}
	}
	r := a.Report()
	named := map[uint64]bool{}
	for _, f := range r.Faults {
		if f.Code == "foreign" && w.foreignSeqs[f.Seq] {
			named[f.Seq] = true
		} else if w.simulatedTime && strings.HasSuffix(f.Text, "it did not start again") {
			continue
		} else if r.Events > 0 {
			w.t.Errorf("the auditor finds %+v", f)
		}
	}
	if got, want := r.ByCode["foreign"], len(w.foreignSeqs); got != want || len(named) < min(want, 200) {
		w.t.Errorf("of %d messages that are no events the auditor counts %d and names %d", want, got, len(named))
	}
}

// compareFold compares view and stream, folded from empty, with what the bridge that
// wrote the last checkpoint believes to be published: to have run on is as to have
// restarted.
func (w *testEnv) compareFold(all []storedEvent) {
	w.t.Helper()
	if len(all) == 0 || all[0].Seq != 1 {
		return // its beginning is gone
	}
	folded := engine.New(engine.Options{})
	// What only the view still has comes first, as at a start.
	entries, err := view.Read(context.WithoutCancel(w.t.Context()), w.js, config.Stream{StateBucket: "bpcc_state"}, "acme", testTimeout)
	if err != nil {
		return // the view is gone
	}
	for _, entry := range entries {
		if ev := entry.Event; entry.Err == nil && ev.Kind() != "directory" {
			folded.Recover(&ev)
		}
	}
	for _, s := range all {
		ev, err := event.Parse("acme", "bpcc.v1.acme."+s.Subject, s.Header.Get(nats.MsgIdHdr), s.Body)
		if err != nil {
			continue // of another tenant, or put there by the test
		}
		folded.Recover(&ev)
	}
	want := folded.Published()
	for _, b := range w.bridges {
		if got := b.Published(); got.Checkpoint == want.Checkpoint {
			if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
				w.t.Errorf("published (-folded from the stream +believed)\n%s", d)
			}
		}
	}
}

// reconnecting are the options of a connection that soon returns to its server, and buffers nothing
// until then.
func reconnecting() []nats.Option {
	return []nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(50 * time.Millisecond), nats.ReconnectBufSize(-1)}
}

// newTestEnvOn is newTestEnv with a NATS server that the test starts itself.
func newTestEnvOn(t *testing.T, tenant bpcctest.Config, url string, options ...nats.Option) *testEnv {
	t.Helper()
	js := natstest.Connect(t, url, append(options, reconnecting()...)...)
	w := newTenantEnv(t, tenant)
	w.nc, w.js, w.env["NATS_URL"] = js.Conn(), js, url
	return w
}

// newTenantEnv is newTestEnv without a NATS server.
func newTenantEnv(t *testing.T, tenant bpcctest.Config) *testEnv {
	t.Helper()
	sim := bpcctest.NewServer(tenant)
	t.Cleanup(sim.Close)
	return &testEnv{t: t, tenant: sim, decoded: map[string]storedEvent{}, log: &bridgetest.Buffer{}, foreignSeqs: map[uint64]bool{}, env: map[string]string{
		"BPCC_URL": sim.URL, "BPCC_CLIENT_ID": "sim", "BPCC_CLIENT_SECRET": "sim-secret",
		"BPCC_POLL_INTERVAL": "100ms", "BPCC_AVAILABILITY_INTERVAL": "100ms",
		"BRIDGE_TENANT": "acme", "BPCC_SERVICES": "none", "BPCC_DIRECTORY_INTERVAL": "0s",
	}}
}

// environ lists the variables of the environment.
func (w *testEnv) environ() []string {
	var environ []string
	for name, value := range w.env {
		environ = append(environ, name+"="+value)
	}
	return environ
}

func (w *testEnv) config() *config.Config {
	w.t.Helper()
	c, warnings, err := config.Parse(w.environ(), config.ForBridge)
	if err != nil || len(warnings) > 0 {
		w.t.Fatalf("configuration: %v, warnings %v", err, warnings)
	}
	c.Version = "test"
	if w.pollInterval > 0 {
		c.BPCC.PollInterval = w.pollInterval
	}
	c.Timing = bridgetest.Timing(max(w.waitsDividedBy, 1), max(w.timeoutsDividedBy, 1))
	return c
}

// provision provisions the streams by a connection.
func (w *testEnv) provision(ctx context.Context, js jetstream.JetStream) ([]stream.Provisioned, error) {
	c := w.config()
	return stream.Provision(ctx, js, c.Stream, c.Times(), nil)
}

// startBridge provisions and runs a bridge; stop ends it and waits.
func (w *testEnv) startBridge() (stop func()) { return w.startOn(w.js) }

// startCrashable is startBridge on a connection of the bridge's own; crash cuts it, so
// that the bridge can publish neither events nor feed.stopped any more.
func (w *testEnv) startCrashable() (crash func()) {
	w.t.Helper()
	js := natstest.Connect(w.t, w.nc.ConnectedUrl(), nats.ReconnectBufSize(-1))
	w.startOn(js)
	return js.Conn().Close
}

func (w *testEnv) startOn(js jetstream.JetStream) (stop func()) {
	w.t.Helper()
	c := w.config()
	if _, err := stream.Provision(w.t.Context(), w.js, c.Stream, c.Times(), nil); err != nil {
		w.t.Fatal(err)
	}
	b, err := bridge.New(c, js, w.logger())
	if err != nil {
		w.t.Fatal(err)
	}
	w.bridges = append(w.bridges, b)
	return w.run(b, func(err error) {
		if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, bridge.ErrUnfinished) {
			w.t.Errorf("bridge: %v", err)
		}
	})
}

// run runs a bridge, a fleet or a recorder until stop or the end of the test, and then passes what Run
// returned to ended, once.
func (w *testEnv) run(r interface{ Run(context.Context) error }, ended func(error)) (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		w.t.Helper()
		cancel()
		ended(<-done)
	})
	w.t.Cleanup(stop)
	return stop
}

// logger logs to the test and keeps a copy.
func (w *testEnv) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(io.MultiWriter(logWriter{w.t}, w.log), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// logWriter sends a bridge's log to the test's.
type logWriter struct{ t *testing.T }

func (l logWriter) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// setAgent makes or changes an agent.
func (w *testEnv) setAgent(login, state, reason string) {
	w.tenant.SetAgent(bpcctest.Agent{
		Login: login, First: strings.ToUpper(login[:1]) + login[1:], Last: "Doe", Team: "Sales",
		Services: []string{"Voice"}, State: state, Reason: reason,
	})
}

// waitForPolls waits for n more polls to be answered.
func (w *testEnv) waitForPolls(n int) {
	w.t.Helper()
	want := w.tenant.Counts().DataRequests() + n
	w.waitUntil(fmt.Sprint(n, " polls"), func() bool { return w.tenant.Counts().DataRequests() >= want })
}

// writeSubscription gives the bridge a subscription of its own.
func (w *testEnv) writeSubscription(body string) {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), "subscription.json")
	if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.env["BPCC_SUBSCRIPTION_FILE"] = file
}

// waitUntil waits for something that is not in the stream.
func (w *testEnv) waitUntil(what string, so func() bool) {
	w.t.Helper()
	bridgetest.WaitUntil(w.t, what, so)
}

// waitForJetStream waits until the test's own connection reads from a server that has been started again. It may
// not have noticed yet that the former one has ended.
func (w *testEnv) waitForJetStream() {
	w.t.Helper()
	w.waitUntil("JetStream", func() bool {
		// A request to a server that has just started may never be answered.
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		_, err := w.js.Stream(ctx, "BPCC_EVENTS")
		return err == nil
	})
}
