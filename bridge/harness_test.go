package bridge_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge"
	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/schemas"
)

// testTimeout bounds every wait of a test; nothing waits so long unless it fails.
const testTimeout = 40 * time.Second

// TestMain lets more tests run at once than there are cores: they wait more
// than they compute.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "10"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// testEnv is a simulated tenant over HTTP and a real NATS server, with a bridge
// between them that a test starts and stops.
type testEnv struct {
	t               *testing.T
	tenant          *bpcctest.Server
	nc              *nats.Conn
	js              jetstream.JetStream
	env             map[string]string
	validatedBodies map[string]bool // bodies that were validated before
	log             *safeBuffer     // what the bridges have logged
	// Messages that the test itself has put among the events, by sequence: the
	// promises do not hold for them.
	foreignSeqs map[uint64]bool
	// The bridges that the test has run.
	bridges []*bridge.Bridge
}

func newTestEnv(t *testing.T, tenant bpcctest.Config) *testEnv {
	t.Helper()
	server, err := bridge.StartServer(t.TempDir(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	w := newTestEnvOn(t, tenant, server.URL())
	t.Cleanup(w.auditStream)
	return w
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
	all := w.readAllMessages()
	w.compareFold(all)
	for _, s := range all {
		if s.Header == nil {
			s.Header = nats.Header{}
		}
		subject := s.Subject
		if !strings.HasPrefix(subject, "bpcc.v1.") { // else of another tenant
			subject = "bpcc.v1.acme." + subject
		}
		a.Add(s.Seq, subject, s.Header, s.Body)
	}
	r := a.Report()
	named := map[uint64]bool{}
	for _, f := range r.Faults {
		if f.Code == "foreign" && w.foreignSeqs[f.Seq] {
			named[f.Seq] = true
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
	err := bridge.ReadView(context.WithoutCancel(w.t.Context()), w.js, &bridge.Config{StateBucket: "bpcc_state"}, "acme", testTimeout, func(entry bridge.ViewEntry) error {
		if ev := entry.Event; entry.Err == nil && ev.Kind() != "directory" {
			folded.Recover(&ev)
		}
		return nil
	})
	if err != nil {
		return // the view is gone
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

// newTestEnvOn is newWorld with a NATS server that the test minds itself.
func newTestEnvOn(t *testing.T, tenant bpcctest.Config, url string, options ...nats.Option) *testEnv {
	t.Helper()
	nc, err := nats.Connect(url, append(options, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ReconnectBufSize(-1))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	sim := bpcctest.NewServer(tenant)
	t.Cleanup(sim.Close)
	return &testEnv{t: t, tenant: sim, nc: nc, js: js, validatedBodies: map[string]bool{}, log: &safeBuffer{}, foreignSeqs: map[uint64]bool{}, env: map[string]string{
		"BPCC_URL": sim.URL, "BPCC_CLIENT_ID": "sim", "BPCC_CLIENT_SECRET": "sim-secret",
		"BPCC_POLL_INTERVAL": "100ms", "BPCC_AVAILABILITY_INTERVAL": "100ms",
		"NATS_URL": url, "BRIDGE_TENANT": "acme", "BPCC_SERVICES": "none", "BPCC_DIRECTORY_INTERVAL": "0s",
	}}
}

func (w *testEnv) config() *bridge.Config {
	w.t.Helper()
	var environ []string
	for name, value := range w.env {
		environ = append(environ, name+"="+value)
	}
	c, warnings, err := bridge.ParseConfig(environ, bridge.ForBridge)
	if err != nil || len(warnings) > 0 {
		w.t.Fatalf("configuration: %v, warnings %v", err, warnings)
	}
	c.Version = "test"
	return c
}

// startBridge provisions and runs a bridge; stop ends it and waits.
func (w *testEnv) startBridge() (stop func()) { return w.startOn(w.js) }

// startCrashable is start on a connection of the bridge's own; crash cuts it, so
// that the bridge can publish neither events nor feed.stopped any more.
func (w *testEnv) startCrashable() (crash func()) {
	w.t.Helper()
	nc, err := nats.Connect(w.nc.ConnectedUrl(), nats.ReconnectBufSize(-1))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		w.t.Fatal(err)
	}
	w.startOn(js)
	return nc.Close
}

func (w *testEnv) startOn(js jetstream.JetStream) (stop func()) {
	w.t.Helper()
	c := w.config()
	if _, err := bridge.Provision(w.t.Context(), w.js, c); err != nil {
		w.t.Fatal(err)
	}
	b, err := bridge.New(c, js, w.logger())
	if err != nil {
		w.t.Fatal(err)
	}
	w.bridges = append(w.bridges, b)
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, bridge.ErrUnfinished) {
			w.t.Errorf("bridge: %v", err)
		}
	}
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

// storedEvent is an event as it lies in the stream.
type storedEvent struct {
	Seq     uint64
	Subject string // below the tenant
	Header  nats.Header
	ID      string
	Type    string
	Time    time.Time
	Data    map[string]any
	Body    []byte
}

func (s storedEvent) text(path ...string) string {
	v, _ := s.field(path...).(string)
	return v
}

func (s storedEvent) field(path ...string) any {
	var v any = s.Data
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[p]
	}
	return v
}

// events reads the whole stream of the tenant and checks every promise that
// holds for any stream: schemas, ids, revisions, joins, checkpoints.
func (w *testEnv) events() []storedEvent {
	w.t.Helper()
	all := w.readEvents()
	checkStream(w.t, all)
	return all
}

// readEvents is events without the promises that rest on the stream's beginning.
func (w *testEnv) readEvents() []storedEvent {
	w.t.Helper()
	all := slices.DeleteFunc(w.readAllMessages(), func(s storedEvent) bool { return w.foreignSeqs[s.Seq] })
	// A reader may look while a batch is being stored; its checkpoint ends it.
	for len(all) > 0 && all[len(all)-1].Subject != "feed.checkpoint" {
		all = all[:len(all)-1]
	}
	return all
}

// readAllMessages is read with what the test has put in itself. A request to a server that
// is just restarted may never be answered: it is put again.
func (w *testEnv) readAllMessages() []storedEvent {
	w.t.Helper()
	for deadline := time.Now().Add(testTimeout); ; {
		all, err := w.tryReadAll()
		if err == nil {
			return all
		}
		if time.Now().After(deadline) {
			w.t.Fatal(err)
		}
		w.waitTwoPolls()
	}
}

func (w *testEnv) tryReadAll() ([]storedEvent, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), testTimeout/8)
	defer cancel()
	consumer, err := w.js.OrderedConsumer(ctx, "BPCC_EVENTS", jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, err
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return nil, err
	}
	var all []storedEvent
	for pending := info.NumPending; pending > 0; {
		batch, err := consumer.Fetch(int(min(pending, 500)), jetstream.FetchMaxWait(testTimeout/8))
		if err != nil {
			return nil, err
		}
		before := pending
		for msg := range batch.Messages() {
			all = append(all, w.decodeMessage(msg))
			pending--
		}
		if batch.Error() != nil {
			return nil, batch.Error()
		}
		if pending == before {
			return nil, errors.New("the reader of the test was sent nothing")
		}
	}
	return all, nil
}

func (w *testEnv) decodeMessage(msg jetstream.Msg) storedEvent {
	w.t.Helper()
	meta, err := msg.Metadata()
	if err != nil {
		w.t.Fatal(err)
	}
	if w.foreignSeqs[meta.Sequence.Stream] {
		return storedEvent{Seq: meta.Sequence.Stream, Header: msg.Headers(), Body: msg.Data(), Subject: strings.TrimPrefix(msg.Subject(), "bpcc.v1.acme.")}
	}
	if body := string(msg.Data()); !w.validatedBodies[body] {
		if err := schemas.Validate(msg.Data()); err != nil {
			w.t.Errorf("%s: %v\n%s", msg.Subject(), err, body)
		}
		w.validatedBodies[body] = true
	}
	var s storedEvent
	if err := json.Unmarshal(msg.Data(), &s); err != nil {
		w.t.Fatal(err)
	}
	s.Seq, s.Header, s.Body = meta.Sequence.Stream, msg.Headers(), msg.Data()
	s.Subject = strings.TrimPrefix(msg.Subject(), "bpcc.v1.acme.")
	return s
}

// checkStream checks what an auditor would.
func checkStream(t *testing.T, all []storedEvent) {
	t.Helper()
	ids := map[string]bool{}
	revisions := map[string]float64{}
	images := map[string]any{}
	inBatch := 0
	for _, s := range all {
		if ids[s.ID] || s.ID == "" || s.Header.Get("Nats-Msg-Id") != s.ID {
			t.Errorf("id %q is empty, doubled or not the message id %q", s.ID, s.Header.Get("Nats-Msg-Id"))
		}
		ids[s.ID] = true
		if got := s.Header.Get("Content-Type"); got != "application/cloudevents+json" {
			t.Errorf("%s: content type %q", s.ID, got)
		}
		if s.Subject == "feed.checkpoint" {
			if got := s.field("events"); got != float64(inBatch) {
				t.Errorf("%s: checkpoint counts %v events, the batch holds %d", s.ID, got, inBatch)
			}
			inBatch = 0
			continue
		}
		inBatch++
		key := entityKey(s.Subject)
		if key == "" {
			continue
		}
		if got := s.field("revision"); got != revisions[key]+1 {
			t.Errorf("%s: %s has revision %v after %v", s.ID, key, got, revisions[key])
		}
		revisions[key]++
		if prevImage := s.field("before"); prevImage != nil || images[key] != nil {
			if diff := cmp.Diff(images[key], prevImage); diff != "" {
				t.Errorf("%s: %s: before is not the last after (-want +got)\n%s", s.ID, key, diff)
			}
		}
		images[key] = s.field("after")
	}
}

// entityKey is the key in the view of the entity that a subject is about, "" for
// events without a revision.
func entityKey(subject string) string {
	t := strings.Split(subject, ".")
	switch t[0] {
	case "agent", "service", "availability", "totals", "threshold":
		return strings.Join(t[:len(t)-1], ".")
	}
	return ""
}

// viewKey is the key in the view of a subject's last event, "" for none.
func viewKey(subject string) string {
	if subject == "feed.checkpoint" {
		return "feed"
	}
	if name, ok := strings.CutSuffix(subject, ".changed"); ok && strings.HasPrefix(name, "directory.") {
		return name
	}
	return entityKey(subject)
}

// waitForEvents reads the stream until enough says so.
func (w *testEnv) waitForEvents(what string, condition func([]storedEvent) bool) []storedEvent {
	w.t.Helper()
	for deadline := time.Now().Add(testTimeout); ; {
		all := w.events()
		if condition(all) {
			return all
		}
		if time.Now().After(deadline) {
			for _, s := range all {
				w.t.Logf("%d %s %v", s.Seq, s.Subject, s.Data)
			}
			w.t.Fatalf("waited in vain for %s", what)
		}
		w.waitTwoPolls()
	}
}

// waitTwoPolls waits for the bridge to poll once or twice.
func (w *testEnv) waitTwoPolls() {
	polls := w.tenant.Counts().DataRequests()
	for deadline := time.Now().Add(time.Second); w.tenant.Counts().DataRequests() < polls+2 && time.Now().Before(deadline); {
		<-time.After(10 * time.Millisecond)
	}
}

// waitFor waits until n events have a subject, and returns all that have it.
func (w *testEnv) waitFor(subject string, n int) []storedEvent {
	w.t.Helper()
	all := w.waitForEvents(subject, func(all []storedEvent) bool { return len(withSubject(all, subject)) >= n })
	return withSubject(all, subject)
}

// waitForUnvalidated is waitFor in a stream whose beginning is gone.
func (w *testEnv) waitForUnvalidated(subject string, n int) []storedEvent {
	w.t.Helper()
	for deadline := time.Now().Add(testTimeout); time.Now().Before(deadline); w.waitTwoPolls() {
		if found := withSubject(w.readEvents(), subject); len(found) >= n {
			return found
		}
	}
	w.t.Fatalf("waited in vain for %s", subject)
	return nil
}

// withSubject picks the events with a subject.
func withSubject(all []storedEvent, subject string) []storedEvent {
	return slices.DeleteFunc(slices.Clone(all), func(s storedEvent) bool { return s.Subject != subject })
}

// subjectsOf lists subjects without checkpoints, in order.
func subjectsOf(all []storedEvent) []string {
	var out []string
	for _, s := range all {
		if s.Subject != "feed.checkpoint" {
			out = append(out, s.Subject)
		}
	}
	return out
}

func afterSeq(all []storedEvent, seq uint64) []storedEvent {
	return slices.DeleteFunc(slices.Clone(all), func(s storedEvent) bool { return s.Seq <= seq })
}

func lastSeqOf(all []storedEvent) uint64 { return all[len(all)-1].Seq }

// stats makes columns of an agent or a service.
func (w *testEnv) setAgent(login, state, reason string) {
	w.tenant.SetAgent(bpcctest.Agent{
		Login: login, First: strings.ToUpper(login[:1]) + login[1:], Last: "Doe", Team: "Sales",
		Services: []string{"Voice"}, State: state, Reason: reason,
	})
}

// viewIDs reads the view: the id of the event under each key.
func viewIDs(t *testing.T, kv jetstream.KeyValue) map[string]string {
	t.Helper()
	watch, err := kv.WatchAll(t.Context(), jetstream.IgnoreDeletes())
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	ids := map[string]string{}
	for entry := range watch.Updates() {
		if entry == nil {
			break
		}
		var s storedEvent
		if err := json.Unmarshal(entry.Value(), &s); err != nil {
			t.Fatal(err)
		}
		ids[entry.Key()] = s.ID
	}
	return ids
}

// compareView waits until the view is what a replay of the events gives, and
// returns that: the id of the last event by key.
func (w *testEnv) compareView(all []storedEvent) map[string]string {
	w.t.Helper()
	want := map[string]string{}
	for _, s := range all {
		key := viewKey(s.Subject)
		if key == "" {
			continue
		}
		want["acme."+key] = s.ID
		if s.Header.Get("KV-Operation") != "" {
			delete(want, "acme."+key)
		}
	}
	kv, err := w.js.KeyValue(w.t.Context(), "bpcc_state")
	if err != nil {
		w.t.Fatal(err)
	}
	var diff string
	for deadline := time.Now().Add(testTimeout); time.Now().Before(deadline); {
		if diff = cmp.Diff(want, viewIDs(w.t, kv)); diff == "" {
			return want
		}
	}
	w.t.Errorf("view (-replay +view)\n%s", diff)
	return want
}
