//go:build linux

package main_test

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

var (
	clusterFor    = flag.Duration("cluster.for", 0, "how long TestCluster runs; 0 skips it")
	clusterSeed   = flag.Uint64("cluster.seed", 0, "seed of TestCluster; 0 takes a new one")
	clusterFaults = flag.Int("cluster.faults", 0, "most faults of TestCluster; 0 is as many as its time allows")
	clusterOnly   = flag.String("cluster.only", "", "strike only faults whose name holds this text")
	clusterTTL    = flag.Duration("cluster.ttl", 5*time.Second, "BRIDGE_LEASE_TTL of TestCluster")
)

const (
	clusterPoll       = 500 * time.Millisecond
	clusterTimeout    = 2 * time.Second
	clusterMaxSilence = 5 * time.Second // of a poll interval below 5/3 s
	clusterAgents     = 30
)

// TestCluster runs a pair of bridges and a cluster of three NATS servers, as
// processes of their own, through faults of all kinds, and holds what the
// stream then holds against what the tenant has shown.
func TestCluster(t *testing.T) {
	if *clusterFor == 0 {
		t.Skip("runs for minutes: go test ./cmd/bridge -run TestCluster -cluster.for 150s -v")
	}
	seed := cmp.Or(*clusterSeed, rand.Uint64())
	t.Logf("-cluster.seed %d", seed)
	programs := findPrograms(t)
	end := time.Now().Add(*clusterFor)

	tr := newTenantHistory(t, clusterTimeout)
	s := newTenantScript(tr, seed, clusterAgents)
	f := newTestFleet(t, programs)
	for _, name := range []string{"a", "b"} {
		handler := httptest.NewServer(tr.handlerFor(name))
		t.Cleanup(handler.Close)
		f.addBridge(name, programs.bridge, clusterEnv(handler.URL, *clusterTTL)...)
	}
	scriptCtx, stopScript := context.WithCancel(t.Context())
	var life sync.WaitGroup
	life.Go(func() { s.run(scriptCtx) })
	defer life.Wait()
	defer stopScript()
	for _, b := range f.bridges {
		if err := b.start(); err != nil {
			t.Fatal(err)
		}
	}
	if !f.waitUntil(30*time.Second, f.healthy) {
		t.Fatal("the bridges do not come up")
	}

	injector := &faultInjector{fleet: f, tenant: tr.tenant, rand: rand.New(rand.NewPCG(seed, 2)), ttl: *clusterTTL}
	injectCtx, stopInjecting := context.WithDeadline(t.Context(), end.Add(-settleTime))
	injector.run(injectCtx, *clusterFaults)
	stopInjecting()
	sleep(t.Context(), time.Second)
	stopScript()
	life.Wait()

	r := clusterReport{seed: seed, injector: injector, script: s}
	r.stopAndAudit(t, f, tr)
	for i := 1; i < len(r.totals.responseTimes); i++ {
		if d := r.totals.responseTimes[i].Sub(r.totals.responseTimes[i-1]); d > 2*clusterPoll {
			t.Logf("no poll published from %s for %.1f s", r.totals.responseTimes[i-1].Format("15:04:05.000"), d.Seconds())
		}
	}
	fmt.Print(r.render())
	for kind, n := range countByKind(r.findings) {
		t.Errorf("%s: %d", kind, n)
	}
	if t.Failed() {
		t.Log("\n" + firstFindings(r.findings, 8))
	}
}

// settleTime is what remains of the run after the last fault.
const settleTime = 15 * time.Second

func clusterEnv(url string, ttl time.Duration) []string {
	return []string{
		"BPCC_URL=" + url, "BPCC_CLIENT_ID=sim", "BPCC_CLIENT_SECRET=sim-secret",
		"BPCC_POLL_INTERVAL=" + clusterPoll.String(), "BPCC_TIMEOUT=" + clusterTimeout.String(), "BPCC_AVAILABILITY_INTERVAL=" + clusterPoll.String(),
		"BPCC_DIRECTORY_INTERVAL=0s", "BRIDGE_TENANT=acme", "BRIDGE_REPLICAS=3", "BRIDGE_LEASE_TTL=" + ttl.String(),
		`BRIDGE_THRESHOLDS=[{"name":"backlog","kind":"service","match":["*"],"stat":"in_calls_waiting","raise":{"op":">=","value":6},"clear":{"op":"<=","value":3}}]`,
	}
}

// clusterReport is what a run has shown.
type clusterReport struct {
	seed      uint64
	injector  *faultInjector
	script    *tenantScript
	events    int
	polls     int // checkpoints
	epochs    uint64
	totals    auditTotals
	findings  []finding
	takeover  []time.Duration
	viewDelay time.Duration // the view, after the last event
}

// stopAndAudit waits for calm, stops the bridges, and audits.
func (r *clusterReport) stopAndAudit(t *testing.T, f *testFleet, tr *tenantHistory) {
	t.Helper()
	if !f.waitUntil(time.Minute, f.healthy) {
		r.addFinding(viewDiffersKind, "the fleet does not come to rest")
	}
	still := time.Now()
	var all []record
	var err error
	if !f.waitUntil(30*time.Second, func() bool { // until a poll after all changes is published
		all, err = readStream(t.Context(), f.js)
		return err == nil && len(all) > 0 && covers(all, still)
	}) {
		r.addFinding(viewDiffersKind, fmt.Sprintf("no checkpoint vouches for the end of the run: %v", err))
	}
	r.compareWithTenant(all, tr)
	for _, b := range f.bridges {
		if !b.stop(syscall.SIGTERM, 12*time.Second) {
			r.addFinding(viewDiffersKind, b.name+" does not stop within 12 s")
		}
	}
	stopped := time.Now()
	if all, err = readStream(t.Context(), f.js); err != nil {
		t.Fatal(err)
	}
	diff := "not read"
	if f.waitUntil(time.Minute, func() bool { diff = viewDiffers(t.Context(), f.js, all); return diff == "" }) {
		r.viewDelay = time.Since(stopped)
	} else {
		r.addFinding(viewDiffersKind, "the view after a minute: "+diff)
	}
	r.findings = append(r.findings, auditStream(all)...)
	found, totals := auditHistory(all, tr, clusterMaxSilence, 2)
	r.findings, r.totals = append(r.findings, found...), totals
	for _, text := range append(f.unexpectedExits(), r.injector.unrecovered...) {
		r.addFinding(viewDiffersKind, text)
	}
	r.takeover = r.injector.takeovers(all)
	for _, e := range all {
		if e.subject == "feed.checkpoint" {
			r.polls++
			r.epochs = e.Data.Epoch
		}
	}
	r.events = len(all) - r.polls
}

func (r *clusterReport) addFinding(kind, text string) {
	r.findings = append(r.findings, finding{kind, 0, text})
}

func covers(all []record, at time.Time) bool {
	last := all[len(all)-1]
	return last.Data.ObservedUntil != nil && last.Data.ObservedUntil.After(at) && last.Data.Status == "live"
}

// compareWithTenant holds the replay against what the tenant shows at the end.
func (r *clusterReport) compareWithTenant(all []record, tr *tenantHistory) {
	_, images := replay(all)
	tenantImage := tr.current()
	for entity, image := range tenantImage {
		if got := tr.imageOf(entity, images[entity]); got != image {
			r.addFinding(viewDiffersKind, fmt.Sprintf("%s: the tenant shows %q, the replay %q", entity, image, got))
		}
	}
	for entity, stats := range images {
		known := stats == nil || strings.HasPrefix(entity, "threshold.")
		if _, there := tenantImage[entity]; !there && !known {
			r.addFinding(viewDiffersKind, entity+" is in the replay, and the tenant does not show it")
		}
	}
}

// viewDiffers compares the view with the replay of the events: "" or what differs.
func viewDiffers(ctx context.Context, js jetstream.JetStream, all []record) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	kv, err := js.KeyValue(ctx, "bpcc_state")
	if err != nil {
		return err.Error()
	}
	watch, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return err.Error()
	}
	defer watch.Stop()
	want, _ := replay(all)
	seen := 0
	for {
		select {
		case <-ctx.Done():
			return "it cannot be read: " + ctx.Err().Error()
		case entry := <-watch.Updates():
			if entry == nil {
				if seen != len(want) {
					return fmt.Sprintf("%d keys, the replay has %d", seen, len(want))
				}
				return ""
			}
			var e struct{ ID string }
			if err := json.Unmarshal(entry.Value(), &e); err != nil {
				return err.Error()
			}
			tokens := strings.Split(strings.TrimPrefix(entry.Key(), "acme."), ".")
			for i := range tokens {
				tokens[i] = decodeToken(tokens[i])
			}
			if key := strings.Join(tokens, "."); want[key] != e.ID {
				return fmt.Sprintf("%s is %s, in the replay %s", key, e.ID, want[key])
			}
			seen++
		}
	}
}

// render says it all.
func (r *clusterReport) render() string {
	var b strings.Builder
	line := func(what string, value any) { fmt.Fprintf(&b, "| %s | %v |\n", what, value) }
	kinds := map[string]int{}
	for _, s := range r.injector.injected {
		kinds[s.kind]++
	}
	worst := r.injector.longestGap(r.totals.responseTimes)
	b.WriteString("\n| fault | times | longest time between two published polls |\n|---|---|---|\n")
	for _, f := range slices.Concat(requiredFaults, optionalFaults) {
		if kinds[f.kind] > 0 {
			fmt.Fprintf(&b, "| %s | %d | %.1f s |\n", f.kind, kinds[f.kind], worst[f.kind].Seconds())
		}
	}
	fmt.Fprintf(&b, "\n| seed %d, lease %v | %d faults in %v |\n|---|---|\n", r.seed, *clusterTTL, len(r.injector.injected), clusterFor.Round(time.Second))
	line("changes made by the tenant", r.script.changes)
	line("responses that the leader got and published", r.totals.responses)
	line("differences that these show", r.totals.changes)
	line("events stored", r.events)
	line("checkpoints", r.polls)
	line("epochs", r.epochs)
	n := countByKind(r.findings)
	for _, kind := range findingKinds {
		line("**"+kind+"**", n[kind])
	}
	line("windows held against the true instant", r.totals.windows)
	line("gaps, true / reported", fmt.Sprintf("%d / %d, %v in all", r.totals.expectedGaps, len(r.totals.gaps), r.totals.gapTime.Round(time.Second)))
	line("versions that came and went unseen", r.totals.unseen)
	if n := len(r.takeover); n > 0 {
		line("takeover, median / worst", fmt.Sprintf("%.1f s / %.1f s of %d", r.takeover[n/2].Seconds(), r.takeover[n-1].Seconds(), n))
	}
	line("view equal to the replay after", r.viewDelay.Round(time.Millisecond))
	return b.String()
}
