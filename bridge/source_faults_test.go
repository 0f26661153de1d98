package bridge_test

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"bpcc-nats/bpcc/bpcctest"
)

// TestPermanentErrorsBackOff meets the source with what only a person can
// correct. The feed reports it, and the source gets few requests.
func TestPermanentErrorsBackOff(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		disrupt func(*bpcctest.Server)
		cause   string
		text    string // in the error that is logged
	}{
		"a privilege is taken away": {func(s *bpcctest.Server) { s.Inject(bpcctest.Fault{Status: 403, Times: -1}) }, "auth", "forbidden"},
		"the pool is full": {func(s *bpcctest.Server) {
			s.DropSubscriptions()
			s.FillSubscriptions()
		}, "subscription_lost", "limit of active subscriptions"},
		"the password is changed": {func(s *bpcctest.Server) {
			s.AddUser("sim", "another")
			s.ExpireTokens()
		}, "auth", "not authorized"},
		"throttled for long": {func(s *bpcctest.Server) { s.Inject(bpcctest.Fault{Status: 429, RetryAfter: "60", Times: -1}) }, "source", "throttled"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTestEnv(t, bpcctest.Config{})
			w.waitsDividedBy = 4
			w.setAgent("anna", "ready", "")
			w.startBridge()
			w.waitFor("totals.bridge.observed", 1)
			test.disrupt(w.tenant)
			before := w.tenant.Counts()
			interrupted := w.waitFor("feed.interrupted", 1)[0] // after 1.25 s, that is twelve intervals
			if interrupted.text("cause") != test.cause || !strings.Contains(interrupted.text("error"), test.text) {
				t.Errorf("cause %s, error %q; want %s, %q", interrupted.text("cause"), interrupted.text("error"), test.cause, test.text)
			}
			now := w.tenant.Counts()
			for what, n := range map[string]int{
				"data requests": now.DataRequests() - before.DataRequests(),
				"subscriptions": now.Subscribes - before.Subscribes,
				"logins":        now.Logins - before.Logins,
			} {
				if n > 3 {
					t.Errorf("%d %s until the feed was interrupted", n, what)
				}
			}
		})
	}
}

// TestContendedSubscriptionBacksOff lets another program take the subscription, or the
// session, again each time the bridge has taken it back.
func TestContendedSubscriptionBacksOff(t *testing.T) {
	t.Parallel()
	const (
		waitsDividedBy = 4
		watched        = 8 * time.Second / waitsDividedBy
	)
	tests := map[string]struct {
		config    bpcctest.Config
		env       map[string]string
		takeOver  func(*bpcctest.Server)
		takenOver func(bpcctest.Counts) int // how often the bridge has taken it
		wantLog   string
	}{
		"subscription": {
			takeOver:  (*bpcctest.Server).ReplaceSubscription,
			takenOver: func(c bpcctest.Counts) int { return c.Subscribes },
			wantLog:   "another program uses the same API user",
		},
		"cookie session": {
			config:    bpcctest.Config{CookieLogin: true},
			env:       map[string]string{"BPCC_AUTH": "cookie", "BPCC_USERNAME": "sim", "BPCC_PASSWORD": "sim-secret"},
			takeOver:  (*bpcctest.Server).StealSession,
			takenOver: func(c bpcctest.Counts) int { return c.CookieLogins },
			wantLog:   "that no other program uses this API user",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.config.NotReadyPolls = -1
			w := newTestEnv(t, test.config)
			w.waitsDividedBy = waitsDividedBy
			for name, value := range test.env {
				w.env[name] = value
			}
			w.setAgent("anna", "ready", "")
			w.startBridge()
			w.waitFor("totals.bridge.observed", 1)

			// The first loss is made good at once, without a gap.
			test.takeOver(w.tenant)
			w.tenant.SetState("anna", "not_ready", "")
			if changed := w.waitFor("agent.anna.state_changed", 1)[0]; changed.field("after_gap") != nil {
				t.Errorf("a single loss counts as a gap: %v", changed.Data)
			}
			start, good := test.takenOver(w.tenant.Counts()), w.tenant.Counts().Data[200]
			for end := time.Now().Add(watched); time.Now().Before(end); <-time.After(10 * time.Millisecond) {
				// Each time there is good data again the rival strikes back.
				if c := w.tenant.Counts(); c.Data[200] > good {
					test.takeOver(w.tenant)
					good = w.tenant.Counts().Data[200] + 1
				}
			}
			if n := test.takenOver(w.tenant.Counts()) - start; n == 0 || n > 6 {
				t.Errorf("taken back %d times within %v, want 1 to 6", n, watched)
			}
			if !strings.Contains(w.log.String(), test.wantLog) {
				t.Errorf("%q was not logged", test.wantLog)
			}
			w.tenant.SetState("anna", "supervising", "")
			w.waitFor("agent.anna.state_changed", 2) // the rival has gone
		})
	}
}

// TestRetryAfterIsHonoured lets the server ask for a pause in both its forms.
func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	tests := map[string]func() string{
		"seconds": func() string { return "2" },
		// A date has whole seconds, so that it is up to one earlier.
		"date": func() string { return time.Now().Add(3 * time.Second).UTC().Format(http.TimeFormat) },
	}
	for name, after := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTestEnv(t, bpcctest.Config{})
			w.startBridge()
			w.waitFor("totals.bridge.observed", 1)
			w.tenant.Inject(bpcctest.Fault{Status: 503, RetryAfter: after()})
			met := w.waitForCounts("the fault", func(c bpcctest.Counts) bool { return c.Data[503] == 1 })
			start := time.Now()
			w.waitForCounts("the next request", func(c bpcctest.Counts) bool { return c.DataRequests() > met.DataRequests() })
			if waited := time.Since(start); waited < 1500*time.Millisecond {
				t.Errorf("asked again after %v", waited)
			}
		})
	}
}

func (w *testEnv) waitForCounts(what string, condition func(bpcctest.Counts) bool) bpcctest.Counts {
	w.t.Helper()
	for deadline := time.Now().Add(testTimeout); time.Now().Before(deadline); <-time.After(5 * time.Millisecond) {
		if c := w.tenant.Counts(); condition(c) {
			return c
		}
	}
	w.t.Fatalf("waited in vain for %s: %+v", what, w.tenant.Counts())
	return bpcctest.Counts{}
}

// TestOneRequestInFlight makes every answer slower than the interval: the bridge
// polls slower, and neither queues nor sends requests side by side.
func TestOneRequestInFlight(t *testing.T) {
	t.Parallel()
	const slow = 400 * time.Millisecond // four intervals
	w := newTestEnv(t, bpcctest.Config{})
	w.setAgent("anna", "ready", "")
	w.tenant.Inject(bpcctest.Fault{Delay: slow, Times: -1})
	w.startBridge()
	w.waitFor("totals.bridge.observed", 1)
	start, from := time.Now(), w.tenant.Counts().DataRequests()
	w.tenant.SetState("anna", "not_ready", "")
	w.waitFor("agent.anna.state_changed", 1)
	w.waitForCounts("eight slow polls", func(c bpcctest.Counts) bool { return c.DataRequests() >= from+8 })
	if duration := time.Since(start); duration < 7*slow {
		t.Errorf("eight polls within %v, each of which takes %v", duration, slow)
	}
	if n := w.tenant.Counts().MaxInFlightData; n != 1 {
		t.Errorf("%d data requests at one time", n)
	}
	if n := len(withSubject(w.events(), "feed.interrupted")); n != 0 {
		t.Errorf("a slow source is reported as lost %d times", n)
	}
}

// TestSourceUnavailable begins without a source, by a name that does not exist and at a
// port without a listener: the feed reports it with a helpful reason, and the
// source is found as soon as it is there.
func TestSourceUnavailable(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.waitsDividedBy = 5
	w.env["BPCC_URL"] = "https://no-such-tenant.invalid"
	w.startBridge()
	interrupted := w.waitFor("feed.interrupted", 1)[0]
	if text := interrupted.text("error"); interrupted.text("cause") != "source" || !strings.Contains(text, "no-such-tenant.invalid") {
		t.Errorf("cause %s, error %q; want source, and the name", interrupted.text("cause"), text)
	}

	sim := bpcctest.New(bpcctest.Config{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	w = newTestEnv(t, bpcctest.Config{})
	w.waitsDividedBy = 5
	w.env["BPCC_URL"] = "http://" + address
	w.startBridge()
	interrupted = w.waitFor("feed.interrupted", 1)[0]
	if text := interrupted.text("error"); interrupted.text("cause") != "source" || !strings.Contains(text, "refused") {
		t.Errorf("cause %s, error %q; want source, refused", interrupted.text("cause"), text)
	}
	for round := range 2 {
		if l, err = net.Listen("tcp", address); err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: sim, ReadHeaderTimeout: time.Second}
		go func() { _ = server.Serve(l) }() // ends with Close
		resumed := w.waitFor("feed.resumed", round+1)[round]
		sim.SetAgent(bpcctest.Agent{Login: "anna", State: []string{"ready", "supervising"}[round]})
		if round == 0 {
			w.waitFor("agent.anna.appeared", 1)
		} else if resumed.text("observed", "after") == "" {
			t.Errorf("the way back does not state the gap: %v", resumed.Data)
		}
		server.Close()
		if round == 0 {
			w.waitFor("feed.interrupted", 2)
		}
	}
}
