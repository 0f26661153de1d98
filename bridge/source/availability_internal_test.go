package source

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/internal/bridgetest"
)

// TestCheckReasons: why a check fails, as events and metrics name it.
func TestCheckReasons(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault bpcctest.Fault
		want  string
	}{
		"hangs":            {bpcctest.Fault{Delay: time.Minute}, "timeout"},
		"drips":            {bpcctest.Fault{Drip: time.Minute}, "timeout"},
		"no privilege":     {bpcctest.Fault{Status: 403}, "refused"},
		"no login":         {bpcctest.Fault{Status: 401}, "refused"},
		"too many":         {bpcctest.Fault{Status: 429}, "throttled"},
		"asked to wait":    {bpcctest.Fault{Status: 503, RetryAfter: "60"}, "throttled"},
		"a fault":          {bpcctest.Fault{Status: 500}, "unavailable"},
		"a gateway":        {bpcctest.Fault{Status: 502}, "unavailable"},
		"reset":            {bpcctest.Fault{Reset: true}, "unavailable"},
		"a login page":     {bpcctest.Fault{Body: "<html>"}, "malformed"},
		"truncated":        {bpcctest.Fault{Truncate: true}, "malformed"},
		"not the method":   {bpcctest.Fault{Status: 404}, "unexpected"},
		"another location": {bpcctest.Fault{Status: 302}, "unexpected"},
		"not understood":   {bpcctest.Fault{Status: 400}, "unexpected"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, _, p, _ := newPollers(t, map[string]string{"BPCC_TIMEOUT": "300ms"})
			test.fault.Path, test.fault.Times = "/check_available_agents", -1
			sim.Inject(test.fault)
			_ = p.checkOnce(t.Context(), "Voice") // a failure is a result
			results := p.drainResults()
			if len(results) != 1 || results[0].Err == nil || results[0].Reason != test.want {
				t.Errorf("%+v, want the reason %s", results, test.want)
			}
			if hint := checkFailureHint(test.want, results[0].Err); hint == "" {
				t.Error("no hint")
			}
		})
	}
}

// TestCheckFailureLog: one warning for each reason and not for each check, and again once it had
// recovered.
func TestCheckFailureLog(t *testing.T) {
	t.Parallel()
	sim, _, p, log := newPollers(t, nil)
	const warning, recovered = "availability check failed", "availability checks recovered"
	var services []string
	for i := range 20 {
		services = append(services, "S"+strconv.Itoa(i))
	}
	check := func(rounds int) {
		for range rounds {
			for _, service := range services {
				_ = p.checkOnce(t.Context(), service) // a failure is a result
			}
		}
	}
	expect := func(when string, warnings, recoveries int) {
		t.Helper()
		if w, r := strings.Count(log.String(), warning), strings.Count(log.String(), recovered); w != warnings || r != recoveries {
			t.Errorf("%s: %d warnings and %d recoveries, want %d and %d:\n%s", when, w, r, warnings, recoveries, log)
		}
	}
	fail := func(status, times int) {
		sim.ClearFaults()
		sim.Inject(bpcctest.Fault{Path: "/check_available_agents", Status: status, Times: times})
	}
	check(2)
	expect("all is well", 0, 0)
	fail(403, -1)
	check(3)
	expect("refused", 1, 0)
	if text := log.String(); !strings.Contains(text, "reason=refused") || !strings.Contains(text, "hint=") || !strings.Contains(text, "HTTP 403") {
		t.Errorf("log: %s", text)
	}
	fail(500, 30)
	check(1)
	expect("another reason", 2, 1)
	check(1) // ten fail still
	expect("some fail still", 2, 1)
	sim.ClearFaults()
	check(1)
	expect("recovered", 2, 2)
	fail(403, 1)
	check(2)
	expect("again", 3, 3)
}

// TestHangingChecks: of many services some hang. Each other one is checked at its interval, and
// changes are seen at once.
func TestHangingChecks(t *testing.T) {
	t.Parallel()
	const hanging, all = 40, 200
	var names []string
	for i := range all {
		names = append(names, fmt.Sprintf("S%03d", i))
	}
	var flipped atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		service := r.URL.Query().Get("service")
		if service < fmt.Sprintf("S%03d", hanging) {
			<-r.Context().Done()
			return
		}
		fmt.Fprintf(w, `{"availability": %v}`, flipped.Load())
	}))
	t.Cleanup(server.Close)
	_, directories, p, log := newPollers(t, map[string]string{"BPCC_SERVICES": strings.Join(names, ",")})
	client, err := bpcc.New(bpcc.Config{URL: server.URL, Timeout: time.Hour, Governor: bpcc.NewGovernor(1000)})
	if err != nil {
		t.Fatal(err)
	}
	p.client, directories.client = client, client
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { p.runAvailability(ctx) })
	wait := func(answer string) {
		t.Helper()
		seen := map[string]string{}
		for deadline := time.Now().Add(30 * time.Second); len(seen) < all-hanging; <-time.After(time.Millisecond) {
			for service, got := range answers(p.drainResults()) {
				if got == answer {
					seen[service] = got
				}
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d services are seen as %s\n%s", len(seen), all-hanging, answer, log)
			}
		}
	}
	wait("no")
	flipped.Store(true)
	wait("yes")
	flipped.Store(false)
	wait("no")
}

// TestRequestBound: the checks of many services keep within the bound of requests, and a poll does
// not wait behind them.
func TestRequestBound(t *testing.T) {
	t.Parallel()
	const perSecond = 100
	var names []string
	for i := range 300 {
		names = append(names, "S"+strconv.Itoa(i))
	}
	sim, _, p, _ := newPollers(t, map[string]string{"BPCC_MAX_REQUESTS": strconv.Itoa(perSecond), "BPCC_SERVICES": strings.Join(names, ",")})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	before, began := sim.Counts().Availability, time.Now()
	running.Go(func() { p.runAvailability(ctx) })
	bridgetest.WaitUntil(t, "checks of the services", func() bool { return sim.Counts().Availability >= before+perSecond/2 })
	checks := sim.Counts().Availability
	if _, err := p.client.AccessToken(ctx); err != nil {
		t.Error(err)
	}
	// A tenth of the bound may be sent at once, and a login waits for two others at most.
	if n := sim.Counts().Availability - checks; n > perSecond/4 {
		t.Errorf("a login waits for %d checks", n)
	}
	if n, most := sim.Counts().Availability-before, perSecond/10+1+int(time.Since(began).Seconds()*perSecond); n > most {
		t.Errorf("%d checks in %v, want %d at most", n, time.Since(began), most)
	}
	cancel()
	running.Wait()
}

// TestStretchedInterval: where the bound of requests does not allow the interval, the log says which
// one results, once, and it is what the engine judges by.
func TestStretchedInterval(t *testing.T) {
	t.Parallel()
	_, _, p, log := newPollers(t, map[string]string{"BPCC_MAX_REQUESTS": "50"})
	p.config.AvailabilityInterval = 2 * time.Second
	p.setInterval(80)
	if got := p.stretchedUnknownAfter(); got != 0 || log.Len() > 0 {
		t.Errorf("80 services: unknown after %v, log %s", got, log)
	}
	p.setInterval(1000)
	p.setInterval(1000)
	// 1,000 services, and 44.5 requests a second beside the polls.
	if got := p.stretchedUnknownAfter(); got != 3*22472*time.Millisecond {
		t.Errorf("1,000 services: unknown after %v", got)
	}
	if n := strings.Count(log.String(), "availability checked less often than configured"); n != 1 || !strings.Contains(log.String(), "resulting_interval=22.472s") {
		t.Errorf("logged %d times:\n%s", n, log)
	}
	p.setInterval(10)
	if got := p.stretchedUnknownAfter(); got != 0 {
		t.Errorf("10 services: unknown after %v", got)
	}
}
