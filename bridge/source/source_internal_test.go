package source

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/config"
	"bpcc-nats/diff"
	"bpcc-nats/diff/layout"
)

// fakeClock returns a time without the monotonic reading that time.Now carries, so
// that it can jump as the clock on the wall does.
type fakeClock struct{ t time.Time }

func (c *fakeClock) now() time.Time          { return c.t }
func (c *fakeClock) advance(d time.Duration) { c.t = c.t.Add(d) }

func newFakeClock() *fakeClock {
	return &fakeClock{time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)}
}

// Faults as the client reports them.
var (
	errServerFault    = &bpcc.Error{Op: "get data", Kind: bpcc.ErrServer, Status: 502}
	errTransportFault = &bpcc.Error{Op: "get data", Kind: bpcc.ErrTransport}
	errLostFault      = &bpcc.Error{Op: "get data", Kind: bpcc.ErrNoSubscription, Status: 404}
	errForeignFault   = fmt.Errorf("read: %w", layout.ErrForeign)
	errForbiddenFault = &bpcc.Error{Op: "get data", Kind: bpcc.ErrForbidden, Status: 403}
	errLimitFault     = &bpcc.Error{Op: "create subscription", Kind: bpcc.ErrLimit, Status: 409}
	errSessionFault   = &bpcc.Error{Op: "get data", Kind: bpcc.ErrAuth, Status: 401}
	errLoginFault     = fmt.Errorf("%w: %w", errLogin, &bpcc.Error{Op: "get access token", Kind: bpcc.ErrAuth, Status: 401})
	errEmptyFault     = fmt.Errorf("read: %w", diff.ErrEmpty)
	errCutFault       = fmt.Errorf("read: %w", layout.ErrMalformed)
)

func throttledError(after time.Duration) error {
	return &bpcc.Error{Op: "get data", Kind: bpcc.ErrThrottled, Status: 429, RetryAfter: after}
}

// checkWait compares a wait with what it should be without its jitter of a fifth.
func checkWait(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if got < want || got > want+want/5 {
		t.Errorf("%s: waits %v, want %v to %v", what, got, want, want+want/5)
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	const s = time.Second
	tests := map[string]struct {
		errs []error
		want []time.Duration
	}{
		"no answer": {
			[]error{errTransportFault, errServerFault, errTransportFault, errServerFault, errServerFault, errServerFault},
			[]time.Duration{s / 2, s, 2 * s, 4 * s, 5 * s, 5 * s},
		},
		"cut answers":       {[]error{errCutFault, errCutFault, errCutFault}, []time.Duration{s / 2, s, 2 * s}},
		"refused login":     {[]error{errLoginFault, errLoginFault, errLoginFault, errLoginFault, errLoginFault}, []time.Duration{30 * s, 60 * s, 120 * s, 240 * s, 300 * s}},
		"missing privilege": {[]error{errForbiddenFault, errForbiddenFault}, []time.Duration{30 * s, 60 * s}},
		"full pool":         {[]error{errLimitFault, errLimitFault}, []time.Duration{30 * s, 60 * s}},
		"lost subscription": {
			[]error{errLostFault, errForeignFault, errLostFault, errForeignFault, errForeignFault, errForeignFault, errForeignFault, errForeignFault},
			[]time.Duration{0, s, 2 * s, 4 * s, 8 * s, 16 * s, 30 * s, 30 * s},
		},
		"lost session":       {[]error{errSessionFault, errSessionFault, errSessionFault}, []time.Duration{0, s, 2 * s}},
		"suddenly empty":     {[]error{errEmptyFault, errEmptyFault, errEmptyFault}, []time.Duration{0, 0, 0}},
		"throttled":          {[]error{throttledError(7 * s), throttledError(0), throttledError(3 * s)}, []time.Duration{7 * s, s, 3 * s}},
		"throttled for ages": {[]error{throttledError(900 * time.Hour)}, []time.Duration{time.Hour}},
		"a hundred times":    {make([]error, 100), append(make([]time.Duration, 99), 5*s)},
		// The server error in between neither shortens nor lengthens the wait
		// for what only a person can correct.
		"one fault does not reset another": {
			[]error{errLimitFault, errServerFault, errLimitFault, errServerFault, errLoginFault, errLimitFault, errLostFault, errLostFault},
			[]time.Duration{30 * s, s / 2, 60 * s, s, 30 * s, 120 * s, 0, s},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src := &Session{timing: config.DefaultTiming(), log: slog.New(slog.DiscardHandler), now: newFakeClock().now}
			for i, err := range test.errs {
				if err == nil {
					err = errTransportFault
				}
				if got := src.nextBackoff(err); name != "a hundred times" || i == 99 {
					checkWait(t, fmt.Sprintf("failure %d, %v", i, err), got, test.want[i])
				}
			}
		})
	}
}

// TestBackoffJitter makes sure that bridges which fail together do not come
// back together.
func TestBackoffJitter(t *testing.T) {
	t.Parallel()
	waits := map[time.Duration]bool{}
	for range 50 {
		src := &Session{timing: config.DefaultTiming(), log: slog.New(slog.DiscardHandler), now: newFakeClock().now}
		waits[src.nextBackoff(errForbiddenFault)] = true
	}
	if len(waits) < 10 {
		t.Errorf("50 bridges wait only %d different times", len(waits))
	}
}

// TestGoodSnapshotResetsBackoff lets each fault pass: the next one is waited for
// again, but what another program contests is not won by one good snapshot.
func TestGoodSnapshotResetsBackoff(t *testing.T) {
	t.Parallel()
	clock := newFakeClock()
	src := &Session{timing: config.DefaultTiming(), log: slog.New(slog.DiscardHandler), now: clock.now}
	for range 3 {
		src.reportResult(nil)
		checkWait(t, "a server error after a good snapshot", src.nextBackoff(errServerFault), 500*time.Millisecond)
	}
	var waits []time.Duration
	for range 8 {
		wait := src.nextBackoff(errForeignFault)
		waits = append(waits, wait.Truncate(time.Second))
		clock.advance(wait + 5*time.Second) // taken back, and good for a few polls
		src.reportResult(nil)
	}
	if want := 30 * time.Second; waits[len(waits)-1] < want {
		t.Errorf("a rival that comes back each time is met after %v, want no sooner than %v in the end", waits, want)
	}
	clock.advance(src.timing.ContentionWindow)
	src.reportResult(nil)
	if got := src.nextBackoff(errForeignFault); got != 0 {
		t.Errorf("after a minute of peace a loss is waited out for %v, want at once", got)
	}
}

// TestWallClockJumps sets the wall clock while a fault is waited out. It may end
// the wait early, by one request, and must never make it longer.
func TestWallClockJumps(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(server.Close)
	clock := newFakeClock()
	client, err := bpcc.New(bpcc.Config{URL: server.URL, ClientID: "a", ClientSecret: "bcd", Now: clock.now})
	if err != nil {
		t.Fatal(err)
	}
	src := &Session{Client: client, timing: config.DefaultTiming(), log: slog.New(slog.DiscardHandler), now: clock.now}
	poll := func(what string, n int32) {
		t.Helper()
		requests.Store(0)
		for range 5 {
			if _, err := src.poll(t.Context()); !errors.Is(err, bpcc.ErrForbidden) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if got := requests.Load(); got != n {
			t.Errorf("%s: %d requests, want %d", what, got, n)
		}
	}
	poll("the first time", 1)
	clock.advance(10 * time.Second)
	poll("during the wait", 0)
	clock.advance(-time.Hour)
	poll("an hour back", 1)
	clock.advance(time.Hour)
	poll("an hour on", 1)
}

// TestLoginsByLifetime polls a tenant whose tokens have odd lifetimes. A token whose lifetime is
// unknown is used until it is refused; a short one costs one login for a poll, and no more.
func TestLoginsByLifetime(t *testing.T) {
	t.Parallel()
	const polls = 10
	tests := map[string]struct {
		expiresIn string        // as the tenant states it; "" = the truth
		ttl       time.Duration // the truth
		logins    int           // within the polls, two seconds apart
	}{
		"stated":              {"", time.Hour, 1},
		"zero":                {"0", time.Hour, 1},
		"negative":            {"-1", time.Hour, 1},
		"left out":            {"none", time.Hour, 1},
		"null":                {"null", time.Hour, 1},
		"a word":              {`"soon"`, time.Hour, 1},
		"with decimals":       {`"3600.5"`, time.Hour, 1},
		"beyond a duration":   {"1e10", time.Hour, 1},
		"a second":            {"", time.Second, polls},
		"less than a second":  {"0.25", time.Hour, polls},
		"as long as two":      {"", 4 * time.Second, polls / 2},
		"longer than in fact": {"3600", 11 * time.Second, 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src, sim, clock := newTestSource(t, bpcctest.Config{TokenTTL: tt.ttl})
			if tt.expiresIn != "" {
				sim.Inject(bpcctest.Fault{Path: "/oauth/token", ExpiresIn: tt.expiresIn, Times: -1})
			}
			for range polls {
				if _, err := src.poll(t.Context()); err != nil {
					t.Fatal(err)
				}
				src.reportResult(nil)
				clock.advance(2 * time.Second)
			}
			if got := sim.Counts().Logins; got != tt.logins {
				t.Errorf("%d logins in %d polls, want %d", got, polls, tt.logins)
			}
			clock.advance(2 * time.Minute)
			src.reportResult(nil)
			before := sim.Counts().Logins
			sim.ExpireTokens()
			if _, err := src.poll(t.Context()); err != nil {
				t.Fatalf("after the token was ended: %v", err)
			}
			if got := sim.Counts().Logins - before; got != 1 {
				t.Errorf("%d logins after the token was ended, want 1", got)
			}
		})
	}
}

// TestRefusedTokenIsNotRenewedTwice polls a tenant that refuses every token: no poll logs in twice.
func TestRefusedTokenIsNotRenewedTwice(t *testing.T) {
	t.Parallel()
	src, sim, clock := newTestSource(t, bpcctest.Config{})
	sim.Inject(bpcctest.Fault{Status: 401, Times: -1})
	for n := range 5 {
		before := sim.Counts().Logins
		if _, err := src.poll(t.Context()); !errors.Is(err, bpcc.ErrAuth) {
			t.Fatalf("poll %d: %v", n, err)
		}
		if got := sim.Counts().Logins - before; got > 1 {
			t.Errorf("poll %d logs in %d times", n, got)
		}
		clock.advance(src.backoff)
	}
}

// newTestSource returns a source of a simulated tenant, with the default waits, the tenant and the clock
// of both. The tenant is ready at the first poll.
func newTestSource(t *testing.T, tenant bpcctest.Config) (*Session, *bpcctest.Server, *fakeClock) {
	t.Helper()
	clock := newFakeClock()
	tenant.Now, tenant.NotReadyPolls = clock.now, -1
	sim := bpcctest.NewServer(tenant)
	t.Cleanup(sim.Close)
	client, err := bpcc.New(bpcc.Config{URL: sim.URL, ClientID: "sim", ClientSecret: "sim-secret", Now: clock.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	c := &config.Config{Events: config.Events{AgentKey: "login_id"}, BPCC: config.BPCC{Subscription: config.BuiltinSubscription()}}
	return &Session{
		Client: client, Plan: NewPlan(c.BPCC.Subscription, c.Events, "test"), timing: config.DefaultTiming(), log: slog.New(slog.DiscardHandler), now: clock.now,
	}, sim, clock
}
