package bridge_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/bridgetest"
	"bpcc-nats/internal/natstest"
)

// TestSourceFaults drives every fault of the source long enough to be published, and
// then lets it pass: the feed is interrupted once, resumed once, and what
// changed meanwhile is published as a net change with the complete gap as its window.
func TestSourceFaults(t *testing.T) {
	t.Parallel()
	always := func(f bpcctest.Fault) bpcctest.Fault { f.Times = -1; return f }
	tests := map[string]struct {
		fault bpcctest.Fault
		cause string
	}{
		"server error":            {always(bpcctest.Fault{Status: 502}), "source"},
		"premature close":         {always(bpcctest.Fault{Close: true}), "source"},
		"cut body":                {always(bpcctest.Fault{Truncate: true}), "truncated"},
		"HTML":                    {always(bpcctest.Fault{Status: 200, Body: "<html>log in</html>", ContentType: "text/html"}), "truncated"},
		"foreign data":            {always(bpcctest.Fault{Foreign: true}), "subscription_lost"},
		"no subscription":         {always(bpcctest.Fault{Status: 404}), "subscription_lost"},
		"throttled":               {always(bpcctest.Fault{Status: 429, RetryAfter: "1"}), "source"},
		"connection reset":        {always(bpcctest.Fault{Reset: true}), "source"},
		"a byte now and then":     {always(bpcctest.Fault{Drip: 50 * time.Millisecond}), "source"},
		"never ready":             {always(bpcctest.Fault{Status: 204}), "source"},
		"refused after the login": {always(bpcctest.Fault{Status: 401}), "auth"},
		"suddenly empty":          {always(bpcctest.Fault{EmptyGrids: true}), "empty"},
		"slower than the timeout": {always(bpcctest.Fault{Delay: 700 * time.Millisecond}), "source"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTestEnv(t, bpcctest.Config{})
			w.env["BPCC_TIMEOUT"] = "500ms"
			w.waitsDividedBy = 2 // a busy machine may not poll for a second
			w.setAgent("anna", "ready", "")
			w.setAgent("bob", "ready", "")
			w.startBridge()
			w.waitFor("totals.bridge.observed", 1)
			w.tenant.Inject(test.fault)
			interrupted := w.waitFor("feed.interrupted", 1)
			if got := interrupted[0].text("cause"); got != test.cause {
				t.Errorf("cause %q, want %q (%s)", got, test.cause, interrupted[0].text("error"))
			}
			w.tenant.SetState("anna", "not_ready", "Lunch")
			w.tenant.ClearFaults()
			changed := w.waitFor("agent.anna.state_changed", 1)[0]
			resumed := withSubject(w.events(), "feed.resumed")
			if len(resumed) != 1 {
				t.Fatalf("feed.resumed %d times", len(resumed))
			}
			if changed.field("after_gap") != true {
				t.Error("the net change does not say after_gap")
			}
			if diff := cmp.Diff(resumed[0].field("observed"), changed.field("observed")); diff != "" {
				t.Errorf("the change's window is not the gap (-gap +window)\n%s", diff)
			}
			if got, want := changed.text("observed", "after"), interrupted[0].text("observed_until"); got != want {
				t.Errorf("the gap begins at %s, the feed saw until %s", got, want)
			}
			all := w.events()
			for _, published := range []storedEvent{interrupted[0], resumed[0]} {
				want := map[string]string{"feed.interrupted": "interrupted", "feed.resumed": "live"}[published.Subject]
				if got := withSubject(afterSeq(all, published.Seq), "feed.checkpoint")[0].text("status"); got != want {
					t.Errorf("the checkpoint of %s says %s, want %s", published.Subject, got, want)
				}
			}
			for _, s := range all {
				if strings.HasSuffix(s.Subject, ".disappeared") || strings.HasPrefix(s.Subject, "agent.bob.") && s.Subject != "agent.bob.observed" {
					t.Errorf("%s was published from a bad answer", s.Subject)
				}
			}
			if n := len(withSubject(all, "feed.interrupted")); n != 1 {
				t.Errorf("feed.interrupted %d times", n)
			}
		})
	}
}

func TestTokenExpiryIsNotAGap(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.setAgent("anna", "ready", "")
	w.startBridge()
	w.waitFor("agent.anna.observed", 1)
	w.tenant.ExpireTokens()
	w.tenant.SetState("anna", "not_ready", "")
	changed := w.waitFor("agent.anna.state_changed", 1)[0]
	if changed.field("after_gap") != nil {
		t.Error("a renewed token counts as a gap")
	}
	if got := w.tenant.Counts().Logins; got != 2 {
		t.Errorf("%d logins, want 2", got)
	}
}

func TestLargePollIsPublishedInChunks(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.tenant.Update(func(world *bpcctest.World) {
		for i := range 2500 {
			world.SetAgent(bpcctest.Agent{Login: fmt.Sprintf("agent%04d", i), State: "ready"})
		}
	})
	w.startBridge()
	all := w.waitForEvents("the first snapshot", func(all []storedEvent) bool { return len(withSubject(all, "totals.bridge.observed")) > 0 })
	var parts []string
	poll := withSubject(all, "totals.bridge.observed")[0].field("poll")
	for _, s := range withSubject(all, "feed.checkpoint") {
		if s.field("poll") == poll {
			parts = append(parts, fmt.Sprintf("%v/%v: %v events, %v agents, until %v, observing %v",
				s.field("part"), s.field("parts"), s.field("events"), s.field("agents"), s.field("observed_until") != nil, s.field("observing")))
		}
	}
	want := []string{
		"1/3: 999 events, 999 agents, until false, observing []",
		"2/3: 999 events, 1998 agents, until false, observing []",
		"3/3: 503 events, 2500 agents, until true, observing [agent service totals]",
	}
	if diff := cmp.Diff(want, parts); diff != "" {
		t.Errorf("parts (-want +got)\n%s", diff)
	}
}

// TestLeadership runs two bridges for one tenant: one leads, the other stands by
// without a BPCC session. When the lease is taken from the leader, as a pause or
// a partition would, the other takes over, and the old leader stores nothing
// more and stands by. A clean stop hands back at once.
func TestLeadership(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.setAgent("anna", "ready", "")
	stopFirst := w.startBridge()
	w.waitFor("agent.anna.observed", 1)
	logins := w.tenant.Counts().Logins
	stopSecond := w.startBridge()
	w.waitTwoPolls()
	w.waitTwoPolls()
	if n := len(withSubject(w.events(), "feed.started")); n != 1 || w.tenant.Counts().Logins != logins {
		t.Fatalf("%d leaders, %d logins by a standby", n, w.tenant.Counts().Logins-logins)
	}

	leases, err := w.js.KeyValue(t.Context(), "bpcc_lease")
	if err != nil {
		t.Fatal(err)
	}
	if err := leases.Delete(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	newTerm := w.waitFor("feed.started", 2)[1]
	w.tenant.SetState("anna", "not_ready", "")
	changed := w.waitFor("agent.anna.state_changed", 1)[0]
	if newTerm.text("instance") == withSubject(w.events(), "feed.started")[0].text("instance") {
		// The old leader was quicker to take the free lease; that is a term too.
		t.Log("the lease went back to the instance that lost it")
	}
	for _, s := range afterSeq(w.events(), newTerm.Seq) {
		if strings.HasPrefix(s.ID, "acme-1-") {
			t.Errorf("%s was stored by a leader that was fenced", s.ID)
		}
	}
	if changed.ID[:7] != "acme-2-" {
		t.Errorf("the change was published by %s, want the second epoch", changed.ID)
	}

	stopFirst()
	stopSecond()
	starts, stops := len(withSubject(w.events(), "feed.started")), len(withSubject(w.events(), "feed.stopped"))
	if stops == 0 || starts < 2 {
		t.Errorf("%d starts, %d stops", starts, stops)
	}
}

// TestHandover stops the leader in order: the standby leads within moments.
func TestHandover(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BRIDGE_LEASE_TTL"] = "60s" // so that its end cannot be what hands over
	w.setAgent("anna", "ready", "")
	stop := w.startBridge()
	w.waitFor("agent.anna.observed", 1)
	w.startBridge()
	w.waitTwoPolls()
	stop()
	stopped := w.waitFor("feed.stopped", 1)[0]
	started := w.waitFor("feed.started", 2)[1]
	if gap := started.Time.Sub(stopped.Time); gap > 20*time.Second {
		t.Errorf("no instance led for %v: the lease was waited for", gap)
	}
	w.tenant.SetState("anna", "supervising", "")
	w.waitFor("agent.anna.state_changed", 1)
}

// TestStreamRecreated deletes the events under a running bridge: it notices at
// the fence, takes back what the view still has, and goes on in a new term.
func TestStreamRecreated(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BPCC_DIRECTORY_INTERVAL"] = "100ms"
	w.setAgent("anna", "ready", "")
	w.startBridge()
	w.waitFor("agent.anna.observed", 1)
	w.waitFor("directory.agents.changed", 1)
	w.setAgent("bob", "ready", "")
	w.waitFor("agent.bob.appeared", 1)
	w.waitFor("directory.agents.changed", 2)
	w.compareView(w.events()) // a new view takes a moment, and is all that will be left
	if err := w.js.DeleteStream(t.Context(), "BPCC_EVENTS"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.provision(t.Context(), w.js); err != nil {
		t.Fatal(err)
	}
	w.tenant.SetState("anna", "supervising", "")
	changed := w.waitForUnvalidated("agent.anna.state_changed", 1)[0]
	if changed.field("epoch") == 1.0 || changed.field("after_gap") != true || changed.field("revision") != 2.0 {
		t.Errorf("%v", changed.Data)
	}
	// The view has only the last change of a directory: a start restores nothing from it.
	agents := w.waitForUnvalidated("directory.agents.changed", 1)[0]
	if added, _ := agents.field("added").([]any); agents.field("baseline") != true || len(added) != 2 {
		t.Errorf("the directory begins with %v, not with a baseline of two agents", agents.Data)
	}
}

// TestServerUnavailable takes the NATS server away under a running bridge. It holds its
// batch, and when the server is back publishes each change once.
func TestServerUnavailable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	address := natstest.FreeAddress(t)
	server, err := stream.StartServer(dir, address)
	if err != nil {
		t.Fatal(err)
	}
	w := newTestEnvOn(t, bpcctest.Config{}, server.URL())
	w.setAgent("anna", "ready", "")
	stop := w.startBridge()
	w.waitFor("agent.anna.observed", 1)

	server.Close()
	w.tenant.SetState("anna", "not_ready", "")
	w.waitTwoPolls()
	w.tenant.SetState("anna", "supervising", "")
	if server, err = stream.StartServer(dir, address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	w.waitUntil("the connection", w.nc.IsConnected)
	all := w.waitForEvents("the last state", func(all []storedEvent) bool {
		changes := withSubject(all, "agent.anna.state_changed")
		return len(changes) > 0 && changes[len(changes)-1].text("to", "state") == "supervising"
	})
	if n := len(withSubject(all, "agent.anna.state_changed")); n > 2 {
		t.Errorf("%d changes of state, there were two", n)
	}
	stop() // before the server that it publishes feed.stopped to
}

// TestSecretsStayOut runs through logins, refusals and echoes at the debug level
// and looks for every secret in the log and the stream.
func TestSecretsStayOut(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{ClientSecret: "hunter2-very-secret"})
	w.env["BPCC_CLIENT_SECRET"] = "hunter2-very-secret"
	w.setAgent("anna", "ready", "")
	w.tenant.Inject(bpcctest.Fault{Path: "/oauth/token", Status: 500, Body: "no such secret: hunter2-very-secret"})
	c := w.config()
	if text := fmt.Sprintf("%v %+v %#v", *c, *c, *c); strings.Contains(text, "hunter2") {
		t.Error("the printed configuration holds the secret")
	}
	if _, err := stream.Provision(t.Context(), w.js, c.Stream, c.Times(), nil); err != nil {
		t.Fatal(err)
	}
	var log bridgetest.Buffer
	b, err := bridge.New(c, w.js, slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	stop := w.run(b, func(err error) {
		if err != nil {
			t.Errorf("bridge: %v", err)
		}
	})
	w.waitFor("agent.anna.observed", 1)
	w.tenant.ExpireTokens()
	w.tenant.SetState("anna", "not_ready", "")
	w.waitFor("agent.anna.state_changed", 1)
	stop()
	text := log.String()
	if !strings.Contains(text, "[redacted]") {
		t.Errorf("the server's echo was not logged, so nothing was tested:\n%s", text)
	}
	if strings.Contains(text, "hunter2") {
		t.Errorf("the secret is in the log:\n%s", text)
	}
}
