package bridge_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/crypto/bcrypt"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge"
	"bpcc-nats/bridge/check"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/page"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/bridgetest"
	"bpcc-nats/internal/natstest"
)

// roleServer is a NATS server with the files of deploy/nats, and a user of the
// test's own that may do everything in the bridge's account.
type roleServer struct {
	t       *testing.T
	options *server.Options
	url     string
	ca      string
}

// newRoleServer starts the server with what the files leave open put into copies of
// them: tests that run in parallel have no environment of their own. change, if
// any, spoils the options.
func newRoleServer(t *testing.T, change func(*server.Options)) *roleServer {
	t.Helper()
	a := bridgetest.NewCA(t)
	var pairs []string
	for name, value := range roleSettings(t, a) {
		pairs = append(pairs, "$"+name, value)
	}
	dir := t.TempDir()
	for _, file := range []string{"server.conf", "acme.conf"} {
		content, err := os.ReadFile("../deploy/nats/" + file)
		if err != nil {
			t.Fatal(err)
		}
		bridgetest.ReplaceFile(t, filepath.Join(dir, file), strings.NewReplacer(pairs...).Replace(string(content)))
	}
	o, err := server.ProcessConfigFile(filepath.Join(dir, "server.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(o)
	}
	return startRoleServer(t, a, o)
}

// roleSettings are what the files leave open.
func roleSettings(t *testing.T, a *bridgetest.CA) map[string]string {
	t.Helper()
	cert, key := a.IssueCert("nats")
	s := map[string]string{"NATS_TLS_CERT": cert, "NATS_TLS_KEY": key, "NATS_STORE_DIR": t.TempDir()}
	for _, role := range []string{"provisioner", "bridge", "router", "auditor"} {
		hash, err := bcrypt.GenerateFromPassword([]byte("the "+role+"'s"), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		s["ACME_"+strings.ToUpper(role)+"_PASSWORD"] = `"` + string(hash) + `"`
	}
	return s
}

const rootURL = "nats://root:root@"

func startRoleServer(t *testing.T, a *bridgetest.CA, o *server.Options) *roleServer {
	t.Helper()
	acme := o.Accounts[slices.IndexFunc(o.Accounts, func(a *server.Account) bool { return a.Name == "ACME" })]
	o.Users = append(o.Users, &server.User{Username: "root", Password: "root", Account: acme})
	o.Port = server.RANDOM_PORT
	s := natstest.Start(t, o)
	return &roleServer{t: t, options: o, url: s.Addr().String(), ca: a.File}
}

// connectAs connects as a role, in the way that the bridge's commands do.
func (r *roleServer) connectAs(role, inbox, api string, log *safeBuffer) (*nats.Conn, jetstream.JetStream) {
	r.t.Helper()
	env := []string{"NATS_URL=tls://" + r.url, "NATS_CA=" + r.ca, "NATS_USER=" + role, "NATS_PASSWORD=the " + role + "'s",
		"NATS_INBOX_PREFIX=" + inbox, "NATS_JS_API_PREFIX=" + api}
	nc, err := connectFromEnv(r.t, log, func(error) {}, env...)
	if err != nil {
		r.t.Fatal(err)
	}
	c, _, err := config.Parse(env, config.ForStream)
	if err != nil {
		r.t.Fatal(err)
	}
	js, err := stream.OpenJetStream(c, nc)
	if err != nil {
		r.t.Fatal(err)
	}
	return nc, js
}

// newEnv adds a tenant to the server; its own connection may do everything.
func (r *roleServer) newEnv() *testEnv {
	r.t.Helper()
	w := newTestEnvOn(r.t, bpcctest.Config{}, rootURL+r.url, nats.RootCAs(r.ca))
	w.setAgent("anna", "ready", "")
	return w
}

// permissionErrors are what the server did not permit, by the log.
func permissionErrors(log *safeBuffer) (refused []string) {
	for line := range strings.Lines(log.String()) {
		var entry struct{ Err string }
		if err := json.Unmarshal([]byte(line), &entry); err == nil && strings.Contains(entry.Err, "Permissions Violation") {
			refused = append(refused, entry.Err)
		}
	}
	return refused
}

// asserts that the server does not permit what try tries, and names the subject.
func (r *roleServer) checkRefused(log *safeBuffer, what, subject string, try func(ctx context.Context) error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := try(ctx); err == nil {
		r.t.Errorf("%s: it is permitted", what)
		return
	}
	for deadline := time.Now().Add(testTimeout); time.Now().Before(deadline); <-time.After(10 * time.Millisecond) {
		if slices.ContainsFunc(permissionErrors(log), func(text string) bool { return strings.Contains(text, subject) }) {
			return
		}
	}
	r.t.Errorf("%s: refused, but not for %s: %q", what, subject, permissionErrors(log))
}

// TestRoles leads a whole life with the users of deploy/nats: the provisioner
// makes the streams, the bridge does all it ever does, and readers read.
func TestRoles(t *testing.T) {
	t.Parallel()
	r := newRoleServer(t, nil)
	w := r.newEnv()
	w.waitsDividedBy, w.timeoutsDividedBy = 5, 5
	ctx := t.Context()
	used := w.recordSubjects()

	// The bridge may not make the streams, and says so.
	var bridgeLog safeBuffer
	_, bridgeJS := r.connectAs("bridge", "_INBOX_bridge", "", &bridgeLog)
	_, err := stream.Provision(ctx, bridgeJS, w.config(), nil)
	if !errors.Is(err, stream.ErrNATSPermission) || !strings.Contains(err.Error(), "$JS.API.STREAM.CREATE.BPCC_EVENTS") {
		t.Fatalf("the bridge makes streams: %v; want the permission that it lacks", err)
	}
	used.drain()
	var log safeBuffer
	_, js := r.connectAs("provisioner", "_INBOX_provisioner", "", &log)
	for _, created := range []bool{true, false} {
		done, err := stream.Provision(ctx, js, w.config(), nil)
		if err != nil {
			t.Fatalf("the provisioner: %v", err)
		}
		for _, p := range done {
			if p.Created != created {
				t.Errorf("stream %s created: %v; want %v", p.Stream, p.Created, created)
			}
		}
	}
	r.checkUsedPermissions("provisioner", used.drain(), &log)
	r.checkNamesPermission(w, js, "$JS.API.INFO")
	r.checkRefused(&log, "the provisioner deletes", "STREAM.DELETE.BPCC_EVENTS", func(ctx context.Context) error { return js.DeleteStream(ctx, "BPCC_EVENTS") })

	// A whole life of the bridge.
	bridgeLog = safeBuffer{}
	_, bridgeJS = r.connectAs("bridge", "_INBOX_bridge", "", &bridgeLog)
	used.drain()
	if _, err := stream.Provision(ctx, bridgeJS, w.config(), nil); err != nil {
		t.Fatalf("the bridge compares the streams: %v", err)
	}
	if err := check.Streams(ctx, w.config(), bridgeJS.Conn(), bridgeJS, func(check.Step) {}); err != nil {
		t.Errorf("the bridge checks the streams: %v", err)
	}
	first := w.runFleet(bridgeJS)
	w.waitFor("agent.anna.observed", 1)
	page := httptest.NewServer(page.New(bridgeJS, w.config(), slog.New(slog.DiscardHandler)))
	t.Cleanup(page.Close)
	openSSE(t, page.URL+"/live/events").nextEvent("heartbeat", &struct{}{})
	for _, request := range []string{"bpcc.svc.acme.health", "$SRV.PING.bpcc-bridge"} {
		w.waitUntil("an answer to "+request, func() bool { _, err := w.nc.Request(request, nil, time.Second); return err == nil })
	}
	standby := w.runFleet(bridgeJS)
	w.waitUntil("a look at who leads", func() bool { return used.contains("$JS.API.DIRECT.GET.KV_bpcc_lease.$KV.bpcc_lease.acme") })
	w.tenant.SetState("anna", "not_ready", "Lunch")
	w.waitFor("agent.anna.state_changed", 1)
	first.stop()
	w.tenant.SetState("anna", "ready", "")
	w.waitFor("agent.anna.state_changed", 2)
	standby.stop()
	w.compareView(w.events())
	w.publishForeign("agent.anna.state_changed", []byte("{}"), nil) // to be read around with what is granted
	fenced := w.runFleet(bridgeJS)
	w.waitFor("feed.started", 3)
	w.publishForeign("feed.checkpoint", []byte("{}"), nil)
	w.tenant.SetState("anna", "not_ready", "")
	w.waitFor("agent.anna.state_changed", 3)
	w.publishHigherEpochCheckpoint()
	w.tenant.SetState("anna", "busy", "")
	if err := <-fenced.ended; !errors.Is(err, bridge.ErrFenced) {
		t.Errorf("after another writer: %v; want to be fenced", err)
	}
	r.checkUsedPermissions("bridge", used.drain(), &bridgeLog)
	for what, subject := range map[string]string{
		"another tenant's event": "bpcc.v1.beta.agent.bob.state_changed", "the view": "$KV.bpcc_state.acme.feed",
		"another tenant's lease": "$KV.bpcc_lease.beta", "another's answers": "_INBOX_provisioner.x",
	} {
		r.checkRefused(&bridgeLog, what, subject, func(ctx context.Context) error {
			_, err := bridgeJS.Publish(ctx, subject, nil, jetstream.WithRetryAttempts(0))
			return err
		})
	}

	r.checkRouterReads(w)
	r.checkAuditorReads(w)
}

// checkNamesPermission checks that a check of the NATS side names a missing permission.
func (r *roleServer) checkNamesPermission(w *testEnv, js jetstream.JetStream, subject string) {
	r.t.Helper()
	var found strings.Builder
	err := check.Streams(r.t.Context(), w.config(), js.Conn(), js, func(s check.Step) { fmt.Fprintln(&found, s.Outcome, s.Found) })
	if !errors.Is(err, check.ErrFailed) || !strings.Contains(found.String(), subject) {
		r.t.Errorf("a check without the permission %s: %v, %s", subject, err, &found)
	}
}

// checkRouterReads reads the view as the router.
func (r *roleServer) checkRouterReads(w *testEnv) {
	t, ctx := r.t, r.t.Context()
	t.Helper()
	if _, err := w.js.Publish(ctx, "bpcc.v1.beta.feed.checkpoint", []byte(`{"data":{"status":"live"}}`)); err != nil {
		t.Fatal(err)
	}
	root, err := w.js.KeyValue(ctx, "bpcc_state")
	if err != nil {
		t.Fatal(err)
	}
	w.waitUntil("the other tenant in the view", func() bool { _, err := root.Get(ctx, "beta.feed"); return err == nil })

	var log safeBuffer
	nc, js := r.connectAs("router", "_INBOX_readers.router", "ACME.API", &log)
	kv, err := js.KeyValue(ctx, "bpcc_state")
	if err != nil {
		t.Fatalf("the router binds the view: %v", err)
	}
	if _, err := kv.Get(ctx, "acme.agent.anna"); err != nil {
		t.Errorf("the router gets: %v", err)
	}
	watch, err := kv.Watch(ctx, "acme.>")
	if err != nil {
		t.Fatalf("the router watches: %v", err)
	}
	keys := map[string]bool{}
	for entry := range watch.Updates() {
		if entry == nil {
			break
		}
		keys[entry.Key()] = true
	}
	if !keys["acme.agent.anna"] || !keys["acme.feed"] {
		t.Errorf("the router sees %v; want anna and the feed", keys)
	}
	if _, err := w.js.Publish(ctx, "bpcc.v1.acme.agent.anna.state_changed", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	select {
	case entry := <-watch.Updates():
		if entry.Key() != "acme.agent.anna" {
			t.Errorf("the router receives %s; want acme.agent.anna", entry.Key())
		}
	case <-time.After(testTimeout):
		t.Error("the router receives nothing of a change")
	}
	if err := watch.Stop(); err != nil {
		t.Errorf("the router stops its watch: %v", err)
	}
	if refused := permissionErrors(&log); len(refused) > 0 {
		t.Errorf("the router lacks %q", refused)
	}

	r.checkRefused(&log, "another tenant's key", "DIRECT.GET.KV_bpcc_state.$KV.bpcc_state.beta.feed", func(ctx context.Context) error { _, err := kv.Get(ctx, "beta.feed"); return err })
	r.checkRefused(&log, "another tenant's changes", "$KV.bpcc_state.beta.>", func(ctx context.Context) error { _, err := kv.Watch(ctx, "beta.>"); return err })
	r.checkRefused(&log, "everybody's changes", "$KV.bpcc_state.>", func(ctx context.Context) error { _, err := kv.WatchAll(ctx); return err })
	r.checkRefused(&log, "the events", "CONSUMER.CREATE.BPCC_EVENTS", func(ctx context.Context) error {
		_, err := js.OrderedConsumer(ctx, "BPCC_EVENTS", jetstream.OrderedConsumerConfig{})
		return err
	})
	r.checkCannotWrite(w, nc, js, &log)
	// A filter in the body that differs from the one in the subject.
	response, err := nc.Request("ACME.API.CONSUMER.CREATE.KV_bpcc_state.sly.$KV.bpcc_state.acme.feed",
		[]byte(`{"stream_name":"KV_bpcc_state","config":{"name":"sly","filter_subject":"$KV.bpcc_state.beta.>","deliver_subject":"_INBOX_readers.router.x"}}`), testTimeout)
	if err != nil || !strings.Contains(string(response.Data), "10131") {
		t.Errorf("a consumer of another tenant behind a subject of this one: %v, %s; want it refused", err, response.Data)
	}
}

// checkAuditorReads replays the stream as the auditor.
func (r *roleServer) checkAuditorReads(w *testEnv) {
	t, ctx := r.t, r.t.Context()
	t.Helper()
	stream, err := w.js.Stream(ctx, "BPCC_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	all := int(stream.CachedInfo().State.Msgs)
	var log safeBuffer
	nc, js := r.connectAs("auditor", "_INBOX_readers.auditor", "ACME.API", &log)
	for _, filters := range [][]string{nil, {"bpcc.v1.>"}, {"bpcc.v1.acme.>", "bpcc.v1.beta.>"}} {
		consumer, err := js.OrderedConsumer(ctx, "BPCC_EVENTS", jetstream.OrderedConsumerConfig{FilterSubjects: filters})
		if err != nil {
			t.Fatalf("the auditor opens a consumer of %v: %v", filters, err)
		}
		info, err := consumer.Info(ctx)
		if err != nil || int(info.NumPending) != all {
			t.Fatalf("the auditor sees %v messages in %v (%v); want %d", info, filters, err, all)
		}
		messages, err := consumer.Messages()
		if err != nil {
			t.Fatal(err)
		}
		for n := range all {
			if _, err := messages.Next(jetstream.NextMaxWait(testTimeout)); err != nil {
				t.Fatalf("the auditor reads %d of %d messages in %v: %v", n, all, filters, err)
			}
		}
		messages.Stop()
	}
	if refused := permissionErrors(&log); len(refused) > 0 {
		t.Errorf("the auditor lacks %q", refused)
	}
	r.checkRefused(&log, "the view", "STREAM.INFO.KV_bpcc_state", func(ctx context.Context) error { _, err := js.KeyValue(ctx, "bpcc_state"); return err })
	r.checkCannotWrite(w, nc, js, &log)
}

// checkCannotWrite tries every way to change what is stored.
func (r *roleServer) checkCannotWrite(w *testEnv, nc *nats.Conn, js jetstream.JetStream, log *safeBuffer) {
	t := r.t
	t.Helper()
	before := w.lastSeq()
	r.checkRefused(log, "an event", "bpcc.v1.acme.feed.checkpoint", func(ctx context.Context) error {
		_, err := js.Publish(ctx, "bpcc.v1.acme.feed.checkpoint", []byte("{}"), jetstream.WithRetryAttempts(0))
		return err
	})
	for _, call := range []string{"STREAM.DELETE.BPCC_EVENTS", "STREAM.PURGE.BPCC_EVENTS", "STREAM.PURGE.KV_bpcc_state", "STREAM.UPDATE.BPCC_EVENTS", "STREAM.MSG.DELETE.BPCC_EVENTS", "STREAM.CREATE.OTHER"} {
		for _, api := range []string{"ACME.API.", "$JS.API."} {
			r.checkRefused(log, call, api+call, func(ctx context.Context) error { _, err := nc.RequestWithContext(ctx, api+call, nil); return err })
		}
	}
	// The answer to a permitted question, sent to where events are stored.
	for _, call := range []string{
		"ACME.API.STREAM.INFO.KV_bpcc_state", "ACME.API.STREAM.INFO.BPCC_EVENTS", "ACME.API.DIRECT.GET.KV_bpcc_state.$KV.bpcc_state.acme.feed",
		"ACME.API.DIRECT.GET.BPCC_EVENTS.bpcc.v1.acme.feed.checkpoint", "ACME.API.CONSUMER.CREATE.BPCC_EVENTS.x",
	} {
		if err := nc.PublishRequest(call, "bpcc.v1.acme.feed.checkpoint", nil); err != nil {
			t.Fatal(err)
		}
	}
	// A consumer that delivers there.
	for stream, filter := range map[string]string{"KV_bpcc_state": "$KV.bpcc_state.acme.feed", "BPCC_EVENTS": "bpcc.v1.acme.feed.checkpoint"} {
		body := fmt.Sprintf(`{"stream_name":%q,"config":{"name":"sly","filter_subject":%q,"deliver_subject":"bpcc.v1.acme.feed.started","ack_policy":"none"}}`, stream, filter)
		if err := nc.PublishRequest("ACME.API.CONSUMER.CREATE."+stream+".sly."+filter, nc.NewInbox(), []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	// An answer to a last question shows that the server has dealt with the rest.
	if err := nc.FlushTimeout(testTimeout); err != nil {
		t.Fatal(err)
	}
	<-time.After(time.Second)
	if after := w.lastSeq(); after != before {
		t.Errorf("the stream has grown from %d to %d messages", before, after)
	}
}

// lastSeq is that of the last event.
func (w *testEnv) lastSeq() uint64 {
	w.t.Helper()
	stream, err := w.js.Stream(w.t.Context(), "BPCC_EVENTS")
	if err != nil {
		w.t.Fatal(err)
	}
	return stream.CachedInfo().State.LastSeq
}

// checkUsedPermissions checks that a role was refused nothing, and has used all that it may
// publish to.
func (r *roleServer) checkUsedPermissions(role string, used []string, log *safeBuffer) {
	r.t.Helper()
	for _, text := range permissionErrors(log) {
		r.t.Errorf("the %s lacks: %s", role, text)
	}
	user := r.options.Users[slices.IndexFunc(r.options.Users, func(u *server.User) bool { return u.Username == role })]
	for _, may := range user.Permissions.Publish.Allow {
		if may == "$JS.API.STREAM.LEADER.STEPDOWN.KV_bpcc_state" {
			continue // for the weather of clusters
		}
		if !slices.ContainsFunc(used, func(subject string) bool { return server.SubjectMatchesFilter(subject, may) }) {
			r.t.Errorf("the %s may publish to %s and never does", role, may)
		}
	}
}

// subjectRecorder is a list of the subjects that passed the server.
type subjectRecorder struct {
	mu   sync.Mutex
	seen []string
}

// recordSubjects listens to everything in the world's account.
func (w *testEnv) recordSubjects() *subjectRecorder {
	w.t.Helper()
	var s subjectRecorder
	_, err := w.nc.Subscribe(">", func(m *nats.Msg) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.seen = append(s.seen, m.Subject)
	})
	if err == nil {
		err = w.nc.FlushTimeout(testTimeout)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return &s
}

func (s *subjectRecorder) list() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

func (s *subjectRecorder) contains(subject string) bool { return slices.Contains(s.list(), subject) }

// drain forgets, and returns what it had.
func (s *subjectRecorder) drain() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	had := s.seen
	s.seen = nil
	return had
}

// TestMissingPermissions takes one permission at a time from the bridge: it must
// say which, and wait for it.
func TestMissingPermissions(t *testing.T) {
	t.Parallel()
	tests := []struct {
		subject string
		inbox   string // instead of the right prefix
		unready bool   // it cannot do anything without, and its probe says why
	}{
		{subject: "$JS.API.STREAM.INFO.KV_bpcc_lease", unready: true},
		{subject: "$KV.bpcc_lease.acme", unready: true},
		{subject: "$JS.API.CONSUMER.CREATE.KV_bpcc_state.*.$KV.bpcc_state.acme.>", unready: true},
		{subject: "bpcc.v1.acme.>"},
		{subject: "bpcc.watchdog.acme.armed"},
		{subject: "_INBOX", inbox: "_INBOX", unready: true},
	}
	for _, tt := range tests {
		t.Run(tt.subject, func(t *testing.T) {
			t.Parallel()
			r := newRoleServer(t, func(o *server.Options) {
				p := o.Users[slices.IndexFunc(o.Users, func(u *server.User) bool { return u.Username == "bridge" })].Permissions.Publish
				p.Allow = slices.DeleteFunc(p.Allow, func(s string) bool { return s == tt.subject })
			})
			w := r.newEnv()
			w.waitsDividedBy, w.timeoutsDividedBy = 5, 5
			if _, err := stream.Provision(t.Context(), w.js, w.config(), nil); err != nil {
				t.Fatal(err)
			}
			var log safeBuffer
			_, js := r.connectAs("bridge", cmp.Or(tt.inbox, "_INBOX_bridge"), "", &log)
			p := w.runFleet(js)
			named, _, _ := strings.Cut(strings.TrimSuffix(tt.subject, ">"), "*")
			w.waitUntil("the permission in the log", func() bool {
				return slices.ContainsFunc(permissionErrors(&log), func(text string) bool { return strings.Contains(text, named) })
			})
			if tt.unready {
				w.waitUntil("the permission in the probe", func() bool {
					h := p.fleet.Health()[0]
					return !h.Ready && strings.Contains(h.Reason, stream.ErrNATSPermission.Error()) && strings.Contains(h.Reason, named)
				})
			}
			select {
			case err := <-p.ended:
				t.Errorf("ended: %v", err)
			default:
			}
		})
	}
}

// runningFleet is a fleet that runs.
type runningFleet struct {
	fleet *bridge.Fleet
	stop  func()     // and wait
	ended chan error // what Run returned
}

// runFleet runs what `bridge run` does, on streams that are there, until stop or the
// end of the test.
func (w *testEnv) runFleet(js jetstream.JetStream, more ...*config.Config) *runningFleet {
	w.t.Helper()
	return w.runConfigs(js, append([]*config.Config{w.config()}, more...)...)
}

// runConfigs is runFleet with these configurations alone.
func (w *testEnv) runConfigs(js jetstream.JetStream, configs ...*config.Config) *runningFleet {
	w.t.Helper()
	f, err := bridge.NewFleet(configs, js, w.server, w.logger())
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	p := &runningFleet{fleet: f, ended: make(chan error, 1)}
	done := make(chan struct{})
	go func() { defer close(done); p.ended <- f.Run(ctx) }()
	p.stop = func() { cancel(); <-done }
	w.t.Cleanup(p.stop)
	return p
}

// TestRolesOfManyTenants grants what acme.conf says that a process with many
// tenants needs more.
func TestRolesOfManyTenants(t *testing.T) {
	t.Parallel()
	r := newRoleServer(t, func(o *server.Options) {
		p := o.Users[slices.IndexFunc(o.Users, func(u *server.User) bool { return u.Username == "bridge" })].Permissions
		for _, list := range []*[]string{&p.Publish.Allow, &p.Subscribe.Allow} {
			for i, subject := range *list {
				(*list)[i] = strings.ReplaceAll(subject, "acme", "*")
			}
		}
		p.Publish.Allow = append(p.Publish.Allow, "$KV.bpcc_lease.instances.*", "$JS.API.CONSUMER.CREATE.KV_bpcc_lease.*.$KV.bpcc_lease.instances.*",
			"$JS.API.CONSUMER.DELETE.KV_bpcc_lease.*", "$JS.FC.KV_bpcc_lease.>")
	})
	w := r.newEnv()
	w.env["BRIDGE_LEASE_TTL"] = "1s"
	if _, err := stream.Provision(t.Context(), w.js, w.config(), nil); err != nil {
		t.Fatal(err)
	}
	w.env["BRIDGE_TENANT"] = "beta"
	beta := w.config()
	w.env["BRIDGE_TENANT"] = "acme"
	var log safeBuffer
	_, js := r.connectAs("bridge", "_INBOX_bridge", "", &log)
	used := w.recordSubjects()
	p := w.runFleet(js, beta)
	for _, tenant := range []string{"acme", "beta"} {
		w.waitUntil("an event of "+tenant, func() bool { return used.contains("bpcc.v1." + tenant + ".agent.anna.observed") })
	}
	w.waitUntil("a count of instances", func() bool {
		return slices.ContainsFunc(used.list(), func(s string) bool { return strings.HasPrefix(s, "$JS.API.CONSUMER.DELETE.KV_bpcc_lease.") })
	})
	p.stop()
	if refused := permissionErrors(&log); len(refused) > 0 {
		t.Errorf("lacks %q", refused)
	}
}

// TestRolesFromTheEnvironment loads the files as they are.
func TestRolesFromTheEnvironment(t *testing.T) {
	a := bridgetest.NewCA(t)
	for name, value := range roleSettings(t, a) {
		t.Setenv(name, value)
	}
	o, err := server.ProcessConfigFile("../deploy/nats/server.conf")
	if err != nil {
		t.Fatal(err)
	}
	r := startRoleServer(t, a, o)
	for role, inbox := range map[string]string{
		"provisioner": "_INBOX_provisioner", "bridge": "_INBOX_bridge", "router": "_INBOX_readers.router", "auditor": "_INBOX_readers.auditor",
	} {
		var log safeBuffer
		nc, _ := r.connectAs(role, inbox, "", &log)
		if err := nc.FlushTimeout(testTimeout); err != nil || len(permissionErrors(&log)) > 0 {
			t.Errorf("%s: %v, %q", role, err, permissionErrors(&log))
		}
	}
	if _, err := nats.Connect("tls://"+r.url, nats.RootCAs(r.ca), nats.UserInfo("bridge", "")); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("without a password: %v; want it refused", err)
	}
}

// The files must not hold a secret, and every role's password must come from
// outside.
func TestRoleFilesHoldNoSecret(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../deploy/nats/*.conf")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(string(content), "\n") {
			if _, value, ok := strings.Cut(line, "password: "); ok && !strings.HasPrefix(value, "$") {
				t.Errorf("%s:%d: a password that is not taken from the environment", file, n+1)
			}
		}
	}
}
