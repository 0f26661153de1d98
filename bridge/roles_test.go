package bridge_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/crypto/bcrypt"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/check"
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
func (r *roleServer) connectAs(role, inbox, api string, log *bridgetest.Buffer) (*nats.Conn, jetstream.JetStream) {
	r.t.Helper()
	env := []string{"NATS_URL=tls://" + r.url, "NATS_CA=" + r.ca, "NATS_USER=" + role, "NATS_PASSWORD=the " + role + "'s",
		"NATS_INBOX_PREFIX=" + inbox, "NATS_JS_API_PREFIX=" + api}
	js, err := openFromEnv(r.t, log, func(error) {}, env...)
	if err != nil {
		r.t.Fatal(err)
	}
	return js.Conn(), js
}

// newEnv adds a tenant to the server; its own connection may do everything.
func (r *roleServer) newEnv() *testEnv {
	r.t.Helper()
	w := newTestEnvOn(r.t, bpcctest.Config{}, rootURL+r.url, nats.RootCAs(r.ca))
	w.setAgent("anna", "ready", "")
	return w
}

// permissionErrors are what the server did not permit, by the log.
func permissionErrors(log *bridgetest.Buffer) (refused []string) {
	for line := range strings.Lines(log.String()) {
		var entry struct{ Err string }
		if err := json.Unmarshal([]byte(line), &entry); err == nil && strings.Contains(entry.Err, "Permissions Violation") {
			refused = append(refused, entry.Err)
		}
	}
	return refused
}

// TestRoles leads a whole life with the users of deploy/nats: the provisioner
// makes the streams, the bridge does all it ever does, and readers read.
func TestRoles(t *testing.T) {
	t.Parallel()
	r := newRoleServer(t, nil)
	w := r.newEnv()
	w.waitsDividedBy, w.timeoutsDividedBy = 5, 5
	ctx := t.Context()
	r.checkRouterAsks(w, false)
	used := w.recordSubjects()

	// The bridge may not make the streams, and says so.
	var bridgeLog bridgetest.Buffer
	_, bridgeJS := r.connectAs("bridge", "_INBOX_bridge", "", &bridgeLog)
	_, err := w.provision(ctx, bridgeJS)
	if !errors.Is(err, stream.ErrNATSPermission) || !strings.Contains(err.Error(), "$JS.API.STREAM.CREATE.BPCC_EVENTS") {
		t.Fatalf("the bridge makes streams: %v; want the permission that it lacks", err)
	}
	used.drain()
	var log bridgetest.Buffer
	_, js := r.connectAs("provisioner", "_INBOX_provisioner", "", &log)
	for _, created := range []bool{true, false} {
		done, err := w.provision(ctx, js)
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
	bridgeLog = bridgetest.Buffer{}
	_, bridgeJS = r.connectAs("bridge", "_INBOX_bridge", "", &bridgeLog)
	used.drain()
	if _, err := w.provision(ctx, bridgeJS); err != nil {
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
	for _, path := range []string{"/live/history", "/api/state?tenant=acme"} {
		response, err := http.Get(page.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		if response.Body.Close(); response.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d", path, response.StatusCode)
		}
	}
	for _, request := range []string{"bpcc.svc.acme.health", "$SRV.PING.bpcc-bridge"} {
		w.waitUntil("an answer to "+request, func() bool { _, err := w.nc.Request(request, nil, time.Second); return err == nil })
	}
	r.checkRouterAsks(w, true)
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
	w.fenceUntilEnd(fenced)
	backup := natstest.BackUp(t, w.js, "BPCC_EVENTS")
	w.publishHigherEpochCheckpoint()
	w.waitUntil("a view of what is lost then", func() bool {
		all := withSubject(w.readEvents(), "feed.checkpoint")
		return w.viewFeed().ID == all[len(all)-1].ID
	})
	backup.Restore(t, w.js, "BPCC_EVENTS")
	restored := w.runFleet(bridgeJS)
	w.waitUntil("a view of the restored stream", func() bool { return strings.Contains(w.log.String(), "rebuilt it") })
	restored.stop()
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
	response, err := http.Get(page.URL + "/api/state")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if response.Body.Close(); response.StatusCode != http.StatusForbidden || !strings.Contains(string(body), "name one, as in ?tenant=acme") {
		t.Errorf("the state of all tenants: status %d, %v\n%s", response.StatusCode, err, body)
	}

	r.checkRouterReads(w)
	r.checkAuditorReads(w)
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
		{subject: "bpcc.watchdog.acme.term"},
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
			if _, err := w.provision(t.Context(), w.js); err != nil {
				t.Fatal(err)
			}
			var log bridgetest.Buffer
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
	if _, err := w.provision(t.Context(), w.js); err != nil {
		t.Fatal(err)
	}
	w.env["BRIDGE_TENANT"] = "beta"
	beta := w.config()
	w.env["BRIDGE_TENANT"] = "acme"
	var log bridgetest.Buffer
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
		var log bridgetest.Buffer
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
