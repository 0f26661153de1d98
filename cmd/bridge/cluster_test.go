//go:build linux

package main_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
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
	f := newTestFleet(t, cmp.Or(programs.oldestServer, programs.server))
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

	injector := &faultInjector{
		fleet: f, tenant: tr.tenant, rand: rand.New(rand.NewPCG(seed, 2)), ttl: *clusterTTL,
		history: tr, programs: programs, quiet: s.quiet, setsClocks: canSetClocks(t), upgraded: programs.oldestServer == "",
	}
	stale := staleMessages{}
	watchCtx, stopWatch := context.WithCancel(t.Context())
	defer stopWatch()
	var watch sync.WaitGroup
	watch.Go(func() {
		if err := stale.watch(watchCtx, f.js); err != nil {
			t.Errorf("read the watchdog's messages: %v", err)
		}
	})
	asker := &requester{nc: f.nc, history: tr, services: s.services, agents: slices.Concat(s.agents, s.quiet)}
	watch.Go(func() { asker.run(watchCtx) })
	injectCtx, stopInjecting := context.WithDeadline(t.Context(), end.Add(-settleTime))
	injector.run(injectCtx, *clusterFaults)
	stopInjecting()
	sleep(t.Context(), time.Second)
	stopScript()
	life.Wait()

	r := clusterReport{seed: seed, injector: injector, script: s}
	r.stopAndAudit(t, f, tr)
	stopWatch()
	watch.Wait()
	r.auditReplies(asker.replies, tr)
	t.Logf("the watchdog has declared the feed stale %d times", len(stale))
	r.findings = append(r.findings, stale.falseAlarms(r.totals.responseTimes)...)
	for i := 1; i < len(r.totals.responseTimes); i++ {
		if d := r.totals.responseTimes[i].Sub(r.totals.responseTimes[i-1]); d > 2*clusterPoll {
			t.Logf("no poll published from %s for %.1f s", r.totals.responseTimes[i-1].Format("15:04:05.000"), d.Seconds())
		}
	}
	fmt.Print(r.render())
	for kind, n := range countByKind(r.findings) {
		t.Errorf("%s: %d", kind, n)
	}
	for line := range strings.Lines(firstFindings(r.findings, 8)) {
		t.Log(strings.TrimSuffix(line, "\n"))
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
