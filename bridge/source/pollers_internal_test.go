package source

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bpcc"
	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/internal/bridgetest"
)

// parseConfig returns the configuration of a tenant's source, and its warnings.
func parseConfig(t *testing.T, url string, env map[string]string) (c *config.Config, warnings []string) {
	t.Helper()
	environ := []string{"BPCC_URL=" + url, "BPCC_CLIENT_ID=sim", "BPCC_CLIENT_SECRET=sim-secret"}
	for name, value := range env {
		environ = append(environ, name+"="+value)
	}
	c, warnings, err := config.Parse(environ, config.ForSource)
	if err != nil {
		t.Fatalf("configuration: %v, warnings %v", err, warnings)
	}
	return c, warnings
}

// newPollers starts a simulated tenant and makes the pollers of its availability and its
// directories, logged in.
func newPollers(t *testing.T, env map[string]string) (*bpcctest.Server, *directoryPoller, *availabilityPoller, *strings.Builder) {
	t.Helper()
	sim := bpcctest.NewServer(bpcctest.Config{})
	t.Cleanup(sim.Close)
	environ := map[string]string{"BRIDGE_TENANT": "acme", "BPCC_MAX_REQUESTS": "1000"}
	maps.Copy(environ, env)
	c, _ := parseConfig(t, sim.URL, environ)
	c.BPCC.AvailabilityInterval = 10 * time.Millisecond
	var text strings.Builder
	l, err := NewLoop(c, Options{}, slog.New(slog.NewTextHandler(&text, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.session.Client.AccessToken(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.directory.interval = time.Millisecond
	return sim, l.directory, l.availability, &text
}

// answers are the results of checks by service: yes, no, failed or removed.
func answers(results []engine.AvailabilityResult) map[string]string {
	out := map[string]string{}
	for _, r := range results {
		switch {
		case errors.Is(r.Err, engine.ErrServiceRemoved):
			out[r.Service] = "removed"
		case r.Err != nil:
			out[r.Service] = "failed"
		case r.Available:
			out[r.Service] = "yes"
		default:
			out[r.Service] = "no"
		}
	}
	return out
}

// TestAvailabilityChecks: what a check gives, and that a failure does not replace the last good check.
func TestAvailabilityChecks(t *testing.T) {
	t.Parallel()
	sim, _, p, _ := newPollers(t, nil)
	outcomes := map[string]int{}
	p.countMetric = func(outcome string) { outcomes[outcome]++ }
	yes := true
	sim.SetService(bpcctest.Service{Name: "Voice"})
	sim.SetService(bpcctest.Service{Name: "Chat"})
	sim.SetAvailability("Voice", &yes)
	began := time.Now()
	check := func(ctx context.Context, services ...string) {
		for _, service := range services {
			_ = p.checkOnce(ctx, service) // a failure is a result
		}
	}
	check(t.Context(), "Voice", "Chat", "Typo", "Voice")
	results := p.drainResults()
	if d := cmp.Diff(map[string]string{"Voice": "yes", "Chat": "no", "Typo": "no"}, answers(results)); d != "" {
		t.Errorf("available (-want +got)\n%s", d)
	}
	for _, r := range results {
		if r.Sent.Before(began) || r.Received.Before(r.Sent) || time.Now().Before(r.Received) {
			t.Errorf("%s: sent %v, received %v", r.Service, r.Sent, r.Received)
		}
	}
	if got := p.drainResults(); len(got) > 0 {
		t.Errorf("the results are given twice: %v", got)
	}
	check(t.Context(), "Voice")
	sim.Inject(bpcctest.Fault{Path: "/check_available_agents", Status: 500, Times: 2})
	check(t.Context(), "Voice", "Chat")
	results = p.drainResults()
	if len(results) != 3 || results[0].Service != "Chat" || results[0].Err == nil || results[1].Err != nil || !results[1].Available || results[2].Err == nil {
		t.Errorf("a good check and failures: %+v", results)
	}
	check(t.Context(), "Voice", "Chat")
	if d := cmp.Diff(map[string]string{"Voice": "yes", "Chat": "no"}, answers(p.drainResults())); d != "" {
		t.Errorf("good again (-want +got)\n%s", d)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	check(ctx, "Voice")
	if got := p.drainResults(); len(got) > 0 {
		t.Errorf("a check that was cancelled is a result: %v", got)
	}
	if d := cmp.Diff(map[string]int{"ok": 7, "unavailable": 2}, outcomes); d != "" {
		t.Errorf("counted (-want +got)\n%s", d)
	}
}

// TestRemovedServices: a service that the tenant does not list any more is a result
// once, and so is one that an earlier term has published. A list without any is not
// believed.
func TestRemovedServices(t *testing.T) {
	t.Parallel()
	_, _, p, _ := newPollers(t, nil)
	for i, step := range []struct {
		seed   []string // services of an earlier term, where one begins
		listed []string
		want   map[string]string
	}{
		{nil, []string{"Voice", "Chat", "Mail"}, map[string]string{}},
		{nil, []string{"Voice", "Mail"}, map[string]string{"Chat": "removed"}},
		{nil, []string{"Voice", "Mail"}, map[string]string{}},
		{[]string{"Voice", "Mail"}, []string{"Voice"}, map[string]string{"Mail": "removed"}},
		{nil, nil, map[string]string{}},
		{nil, []string{"Voice"}, map[string]string{}},
	} {
		if step.seed != nil {
			p.seedServices(step.seed)
		}
		listed := map[string]bool{}
		for _, name := range step.listed {
			listed[name] = true
		}
		p.markRemoved(listed)
		if d := cmp.Diff(step.want, answers(p.drainResults())); d != "" {
			t.Errorf("step %d (-want +got)\n%s", i+1, d)
		}
	}
}

// TestShortListing: a service counts as removed once two listings in a row lack it.
func TestShortListing(t *testing.T) {
	t.Parallel()
	type listing struct {
		listed, want string
		again        bool // the services must be listed again soon
	}
	for name, test := range map[string]struct {
		expected string // services of an earlier term
		listings []listing
	}{
		"one is missing once":          {"", []listing{{"A B C", "A B C", false}, {"A B", "A B C", true}, {"A B C", "A B C", false}, {"A B", "A B C", true}}},
		"one is gone":                  {"", []listing{{"A B C", "A B C", false}, {"A B", "A B C", true}, {"A B", "A B", false}, {"A B", "A B", false}}},
		"most are missing once":        {"", []listing{{"A B C D", "A B C D", false}, {"A", "A B C D", true}, {"A B C D", "A B C D", false}}},
		"others in turns":              {"", []listing{{"A B C", "A B C", false}, {"A B", "A B C", true}, {"A C", "A B C", true}, {"A B C", "A B C", false}}},
		"one is gone, another missing": {"", []listing{{"A B C", "A B C", false}, {"A B", "A B C", true}, {"A", "A B", true}, {"A", "A", false}}},
		"one comes":                    {"", []listing{{"A", "A", false}, {"A B", "A B", false}}},
		"one comes, another goes":      {"", []listing{{"A", "A", false}, {"B", "A B", true}, {"B", "B", false}}},
		"none at all":                  {"", []listing{{"A B", "A B", false}, {"", "A B", true}, {"", "A B", false}, {"A B", "A B", false}}},
		"none from the start":          {"", []listing{{"", "", false}, {"A", "A", false}}},
		"twice the same name":          {"", []listing{{"A A B", "A B", false}}},
		"missing after a restart":      {"A B", []listing{{"A", "A B", true}, {"A B", "A B", false}}},
		"gone after a restart":         {"A B", []listing{{"A", "A B", true}, {"A", "A", false}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, p, _, _ := newPollers(t, nil)
			p.expectServices(strings.Fields(test.expected))
			if names, known := p.serviceNames(); known || strings.Join(names, " ") != test.expected {
				t.Errorf("before the first listing: %v, %v", names, known)
			}
			for i, l := range test.listings {
				p.setServices(strings.Fields(l.listed))
				names, known := p.serviceNames()
				if got := strings.Join(names, " "); got != l.want || !known || p.mustRelist() != l.again {
					t.Errorf("listing %d, %q: %q, known %v, again %v; want %q, again %v", i+1, l.listed, got, known, p.mustRelist(), l.want, l.again)
				}
			}
		})
	}
}

// TestShortListingIsAskedAgain: the second listing comes soon, and not at the next interval.
func TestShortListingIsAskedAgain(t *testing.T) {
	t.Parallel()
	sim, directories, p, _ := newPollers(t, nil)
	directories.interval, directories.relistAfter = time.Hour, time.Millisecond
	sim.SetService(bpcctest.Service{Name: "Voice", ID: "S-1"})
	p.seedServices([]string{"Voice", "Chat"})
	p.markRemoved(map[string]bool{"Voice": true, "Chat": true})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { directories.runDirectories(ctx) })
	running.Go(func() { p.runAvailability(ctx) })
	seen := map[string]string{}
	for deadline := time.Now().Add(30 * time.Second); seen["Chat"] != "removed" || seen["Voice"] != "no"; <-time.After(time.Millisecond) {
		maps.Copy(seen, answers(p.drainResults()))
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %v", seen)
		}
	}
	if n := sim.Counts().Config; n != 5 {
		t.Errorf("%d listings, want 4 and one of the services again", n)
	}
}

// TestAvailabilityFollowsTheList: where no services are configured, those are asked
// about that the tenant lists.
func TestAvailabilityFollowsTheList(t *testing.T) {
	t.Parallel()
	sim, directories, p, log := newPollers(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	sim.SetService(bpcctest.Service{Name: "Voice"})
	sim.SetService(bpcctest.Service{Name: "Chat"})
	running.Go(func() { directories.runDirectories(ctx) })
	running.Go(func() { p.runAvailability(ctx) })
	seen := map[string]string{}
	wait := func(service, answer string) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); seen[service] != answer; <-time.After(time.Millisecond) {
			maps.Copy(seen, answers(p.drainResults()))
			if time.Now().After(deadline) {
				t.Fatalf("waited in vain for %s %s: %v", service, answer, seen)
			}
		}
	}
	wait("Voice", "no")
	wait("Chat", "no")
	sim.RemoveService("Chat")
	wait("Chat", "removed")
	yes := true
	sim.SetAvailability("Voice", &yes)
	wait("Voice", "yes")
	cancel()
	running.Wait()
	if strings.Contains(log.String(), "level=WARN") {
		t.Errorf("log: %s", log)
	}
}

// TestConfiguredServices: those are asked about that the configuration names; one that
// the tenant does not list is warned of once.
func TestConfiguredServices(t *testing.T) {
	t.Parallel()
	sim, directories, p, log := newPollers(t, map[string]string{"BPCC_SERVICES": "Voice,Typo"})
	sim.SetService(bpcctest.Service{Name: "Voice"})
	sim.SetService(bpcctest.Service{Name: "Chat"})
	if !directories.pollDirectories(t.Context()) {
		t.Fatal("a directory cannot be listed")
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { p.runAvailability(ctx) })
	bridgetest.WaitUntil(t, "ten checks", func() bool { return sim.Counts().Availability >= 10 })
	cancel()
	running.Wait()
	if d := cmp.Diff(map[string]string{"Voice": "no", "Typo": "no"}, answers(p.drainResults())); d != "" {
		t.Errorf("available (-want +got)\n%s", d)
	}
	if n := strings.Count(log.String(), "BPCC_SERVICES names an unlisted service"); n != 1 || !strings.Contains(log.String(), "service=Typo") {
		t.Errorf("warned %d times:\n%s", n, log)
	}
}

// TestDirectoryListings: what the tenant's lists give as directories.
func TestDirectoryListings(t *testing.T) {
	t.Parallel()
	sim, p, _, _ := newPollers(t, nil)
	sim.SetAgent(bpcctest.Agent{Login: "anna", UserID: "U-1", Team: "Sales"})
	sim.SetService(bpcctest.Service{Name: "Voice", ID: "S-1"})
	sim.SetTeams("Sales", "Support")
	if !p.pollDirectories(t.Context()) {
		t.Fatal("a directory cannot be listed")
	}
	got := map[string][]string{}
	for _, s := range p.drainSnapshots() {
		got[s.Directory] = slices.Sorted(maps.Values(s.Names))
		if s.Sent.IsZero() || s.Received.Before(s.Sent) {
			t.Errorf("%s: sent %v, received %v", s.Directory, s.Sent, s.Received)
		}
		if s.Directory == engine.Agents && s.Names["U-1"] != "anna" || s.Directory == engine.Services && s.Names["S-1"] != "Voice" {
			t.Errorf("%s: %v", s.Directory, s.Names)
		}
	}
	dispositions := got[engine.Dispositions]
	delete(got, engine.Dispositions)
	want := map[string][]string{engine.Agents: {"anna"}, engine.Services: {"Voice"}, engine.Teams: {"Sales", "Support"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("names (-want +got)\n%s", d)
	}
	all, err := p.client.Dispositions(t.Context(), bpcc.DispositionQuery{})
	if d := cmp.Diff(slices.Sorted(slices.Values(all)), dispositions); err != nil || d != "" {
		t.Errorf("dispositions, error %v (-tenant +got)\n%s", err, d)
	}
	p.allDirectories = false
	if !p.pollDirectories(t.Context()) || p.drainSnapshots() != nil {
		t.Error("where only services are wanted, listings are given all the same")
	}
	if names, known := p.serviceNames(); !known || len(names) != 1 || names[0] != "Voice" {
		t.Errorf("services %v, %v", names, known)
	}
}

// TestDirectoryPrivacy: agents' ids and logins are keyed hashes, as in their events.
func TestDirectoryPrivacy(t *testing.T) {
	t.Parallel()
	const key = "0123456789abcdef-key"
	sim, p, _, _ := newPollers(t, map[string]string{"BRIDGE_PSEUDONYM_KEY": key})
	sim.SetAgent(bpcctest.Agent{Login: "anna.lopez", UserID: "U-1", Team: "Sales"})
	p.pollDirectories(t.Context())
	names := event.NewPseudonyms(key)
	for _, s := range p.drainSnapshots() {
		if s.Directory == engine.Agents {
			if d := cmp.Diff(map[string]string{names.Hash("U-1"): names.Hash("anna.lopez")}, s.Names); d != "" {
				t.Errorf("agents (-want +got)\n%s", d)
			}
		} else if strings.Contains(strings.Join(slices.Collect(maps.Values(s.Names)), " "), "anna") {
			t.Errorf("%s: %v", s.Directory, s.Names)
		}
	}
}

// TestDirectoryFailures: a directory that fails is asked for again soon, one that the
// tenant does not have or does not show is not; either is logged once.
func TestDirectoryFailures(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		path       string
		status     int
		all, known bool // whether nothing is to be asked for again, and whether there are service names
		warnings   int
	}{
		"a fault":               {"/cfg/teams", 500, false, true, 1},
		"no such directory":     {"/cfg/teams", 404, true, true, 1},
		"no privilege":          {"/cfg/agents", 403, true, true, 1},
		"services fail":         {"/cfg/services", 500, false, false, 1},
		"no list of services":   {"/cfg/services", 404, true, true, 1},
		"the session has ended": {"/cfg/dispositions", 401, false, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, p, _, log := newPollers(t, nil)
			sim.SetService(bpcctest.Service{Name: "Voice"})
			sim.Inject(bpcctest.Fault{Path: test.path, Status: test.status, Times: -1})
			for range 3 {
				if got := p.pollDirectories(t.Context()); got != test.all {
					t.Errorf("listed as far as it goes: %v, want %v", got, test.all)
				}
			}
			if _, known := p.serviceNames(); known != test.known {
				t.Errorf("service names are known: %v, want %v", known, test.known)
			}
			if n := strings.Count(log.String(), "cannot list directory"); n != test.warnings {
				t.Errorf("warned %d times, want %d:\n%s", n, test.warnings, log)
			}
			if got := len(p.drainSnapshots()); got != 3 {
				t.Errorf("%d directories are listed, want the 3 others", got)
			}
		})
	}
}
