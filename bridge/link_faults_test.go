package bridge_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/internal/natstest"
	"bpcc-nats/internal/variants"
)

// waitForStateOnce waits for the n-th change of anna's state, lets a few polls more pass, and
// checks that it was published once.
func (w *testEnv) waitForStateOnce(n int, state string) storedEvent {
	w.t.Helper()
	changed := w.waitFor("agent.anna.state_changed", n)
	w.waitForPolls(3)
	if again := withSubject(w.events(), "agent.anna.state_changed"); len(again) != n {
		w.t.Errorf("%d changes of state, want %d", len(again), n)
	}
	if got := changed[n-1].text("to", "state"); got != state {
		w.t.Errorf("change %d is to %s, want %s", n, got, state)
	}
	return changed[n-1]
}

// TestFaultsDuringCommit loses what bridge and server say to each other at every point
// of a commit. Each change is stored once, in whole batches.
func TestFaultsDuringCommit(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		ttl     string
		drop    func(w *testEnv, p *natsProxy) // called right before the change
		restore func(w *testEnv, p *natsProxy) // called after it
		terms   int
	}{
		// The batch is stored, and the bridge does not receive the acknowledgement.
		"the acknowledgement": {
			"5s",
			func(_ *testEnv, p *natsProxy) { p.onClientSends("Nats-Batch-Commit: 1", p.toClient.pause) },
			func(w *testEnv, p *natsProxy) {
				w.waitFor("agent.anna.state_changed", 1)
				p.closeConns()
				p.toClient.resume()
			},
			1,
		},
		"the commit": {
			"5s",
			func(_ *testEnv, p *natsProxy) { p.onClientSends("Nats-Batch-Commit: 1", p.closeConns) },
			func(*testEnv, *natsProxy) {},
			1,
		},
		"half a batch": {
			"5s",
			func(_ *testEnv, p *natsProxy) { p.onClientSends("Nats-Batch-Sequence: 2", p.closeConns) },
			func(*testEnv, *natsProxy) {},
			1,
		},
		"the answer to a batch's first message": {
			"5s",
			func(_ *testEnv, p *natsProxy) { p.onClientSends("Nats-Batch-Sequence: 1", p.toClient.pause) },
			func(_ *testEnv, p *natsProxy) { <-time.After(time.Second); p.closeConns(); p.toClient.resume() },
			1,
		},
		// The batch never arrives.
		"the request": {
			"5s",
			func(_ *testEnv, p *natsProxy) { p.toServer.pause() },
			func(_ *testEnv, p *natsProxy) { <-time.After(time.Second); p.closeConns(); p.toServer.resume() },
			1,
		},
		// The batch arrives when the bridge has long begun to send it again.
		"time, for the request": {
			"30s",
			func(_ *testEnv, p *natsProxy) { p.toServer.pause() },
			func(_ *testEnv, p *natsProxy) { <-time.After(1500 * time.Millisecond); p.toServer.resume() },
			1,
		},
		"time, for the answer": {
			"30s",
			func(_ *testEnv, p *natsProxy) { p.toClient.pause() },
			func(_ *testEnv, p *natsProxy) { <-time.After(1500 * time.Millisecond); p.toClient.resume() },
			1,
		},
		// The answers to renewals are lost as well, but not for as long as it lasts.
		"a good part of the lease": {
			"10s",
			func(_ *testEnv, p *natsProxy) { p.toClient.pause() },
			func(_ *testEnv, p *natsProxy) {
				<-time.After(4 * time.Second)
				p.closeConns()
				p.toClient.resume()
			},
			1,
		},
		"the lease": {
			"2s",
			func(_ *testEnv, p *natsProxy) { p.toClient.pause() },
			func(_ *testEnv, p *natsProxy) { <-time.After(5 * time.Second); p.closeConns(); p.toClient.resume() },
			2,
		},
		"the lease, with the request": {
			"2s",
			func(_ *testEnv, p *natsProxy) { p.toServer.pause() },
			func(_ *testEnv, p *natsProxy) { <-time.After(5 * time.Second); p.toServer.resume() },
			2,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, p := newProxiedEnv(t)
			w.waitsDividedBy, w.timeoutsDividedBy = 4, 4 // half a second for the first acknowledgement of a batch
			w.env["BRIDGE_LEASE_TTL"] = test.ttl
			w.setAgent("anna", "ready", "")
			stop := w.startOn(p.connect(t))
			w.waitFor("totals.bridge.observed", 1)
			w.waitForPolls(2)
			test.drop(w, p)
			w.tenant.SetState("anna", "not_ready", "Lunch")
			test.restore(w, p)
			w.waitForStateOnce(1, "not_ready")
			w.tenant.SetState("anna", "supervising", "")
			w.waitForStateOnce(2, "supervising")
			if n := len(withSubject(w.events(), "feed.started")); n != test.terms {
				t.Errorf("%d terms, want %d", n, test.terms)
			}
			stop()
			w.waitFor("feed.stopped", 1)
			w.compareView(w.events())
		})
	}
}

// TestFaultsBetweenChunks loses what bridge and server send while a poll goes out in several
// parts. Each change is stored once, and the parts in their order, which the auditor knows.
func TestFaultsBetweenChunks(t *testing.T) {
	t.Parallel()
	const agents = 2_000 // three parts
	commit := "Nats-Batch-Commit: 1"
	tests := map[string]struct {
		commits int                // how many of them are sent before it happens
		text    string             // behind the last of them, if not ""
		drop    func(p *natsProxy) // right then
		restore func(p *natsProxy) // some time after it
		after   time.Duration
		timeout time.Duration // after which the server abandons a batch that is not committed; 0 = 10 s
	}{
		"the second commit":             {2, "", (*natsProxy).closeConns, nil, 0, 0},
		"the events of the second part": {1, "Nats-Batch-Sequence: 500", (*natsProxy).closeConns, nil, 0, 0},
		"the second acknowledgement": {
			2, "", func(p *natsProxy) { p.toClient.pause() }, func(p *natsProxy) { p.closeConns(); p.toClient.resume() }, time.Second, 0,
		},
		"the first acknowledgement, and the events sent again": {
			1, "", func(p *natsProxy) { p.toClient.pause(); p.onClientSends("Nats-Batch-Sequence: 500", p.closeConns) }, func(p *natsProxy) { p.toClient.resume() }, time.Second, 0,
		},
		"longer than the server keeps a batch": {
			2, "", func(p *natsProxy) { p.toServer.pause() }, func(p *natsProxy) { p.toServer.resume() }, 4 * time.Second, 2 * time.Second,
		},
	}
	for name, test := range variants.Select(tests, "the second commit", "longer than the server keeps a batch") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir(), JetStreamLimits: server.JSLimitOpts{MaxBatchTimeout: test.timeout}})
			w := newTestEnvOn(t, bpcctest.Config{}, s.ClientURL())
			t.Cleanup(w.auditStream)
			p := w.newProxy()
			w.env["BRIDGE_LEASE_TTL"] = "30s"
			w.env["BPCC_POLL_INTERVAL"] = "300ms"
			w.waitsDividedBy, w.timeoutsDividedBy = 4, 4
			// Few columns, since the events are many.
			w.writeSubscription(`{"bridge":{"stats_totals":["agents_logged"],"agent_grids":[{"id":"a","columns":` + columnsOf("login_id", "acd_state") + `}]}}`)
			all := func(state string) {
				w.tenant.Update(func(world *bpcctest.World) {
					for i := range agents {
						world.SetAgent(bpcctest.Agent{Login: fmt.Sprintf("agent%04d", i), State: state})
					}
				})
			}
			all("ready")
			w.startOn(p.connect(t))
			w.waitForSubject("totals.bridge.observed")
			w.waitTwoPolls()
			lost := make(chan struct{})
			watch := func(text string, do func()) func() { return func() { p.onClientSends(text, do) } }
			inject := func() { test.drop(p); close(lost) }
			if test.text != "" {
				inject = watch(test.text, inject)
			}
			for range test.commits {
				inject = watch(commit, inject)
			}
			inject()
			all("supervising")
			select {
			case <-lost:
			case <-time.After(testTimeout):
				t.Fatal("nothing was lost")
			}
			if test.restore != nil {
				<-time.After(test.after)
				test.restore(p)
			}
			w.waitForSubject("agent.agent1999.state_changed")
			w.waitTwoPolls()
			published, parts := map[string]int{}, map[any]bool{}
			for _, s := range w.events() {
				if strings.HasSuffix(s.Subject, ".state_changed") {
					published[s.Subject]++
				}
				if s.Subject == "feed.checkpoint" && s.field("parts") == 3.0 {
					parts[s.field("poll")] = true
				}
			}
			for subject, n := range published {
				if n != 1 {
					t.Errorf("%s is published %d times", subject, n)
				}
			}
			if len(published) != agents || len(parts) != 2 {
				t.Errorf("%d agents have changed, %d polls went out in three parts; want %d and 2", len(published), len(parts), agents)
			}
		})
	}
}

// waitForSubject waits until there is an event with a subject. It looks at no other.
func (w *testEnv) waitForSubject(subject string) {
	w.t.Helper()
	w.waitUntil(subject, func() bool {
		stream, err := w.js.Stream(w.t.Context(), "BPCC_EVENTS")
		if err == nil {
			_, err = stream.GetLastMsgForSubject(w.t.Context(), "bpcc.v1.acme."+subject)
		}
		return err == nil
	})
}

// TestSlowRenewals lets every answer to a renewal come so late that another one
// has been asked for. The lease is renewed all the same.
func TestSlowRenewals(t *testing.T) {
	t.Parallel()
	const ttl = 6 * time.Second
	w, p := newProxiedEnv(t)
	w.env["BRIDGE_LEASE_TTL"] = ttl.String()
	w.setAgent("anna", "ready", "")
	w.startOn(p.connect(t))
	w.waitFor("totals.bridge.observed", 1)
	var late sync.WaitGroup
	ended := make(chan struct{})
	var armFault func()
	armFault = func() {
		p.onClientSends("PUB $KV.bpcc_lease.acme", func() {
			p.toClient.pause()
			late.Go(func() {
				select {
				case <-time.After(ttl * 2 / 5):
				case <-ended:
				}
				p.toClient.resume()
				armFault()
			})
		})
	}
	armFault()
	<-time.After(2 * ttl)
	close(ended)
	p.onClientSends("", nil)
	late.Wait()
	p.toClient.resume()
	w.tenant.SetState("anna", "supervising", "")
	w.waitForStateOnce(1, "supervising")
	if n := len(withSubject(w.events(), "feed.started")); n != 1 {
		t.Errorf("%d terms, want one", n)
	}
}

// TestRecoveryOverAnUnstableConnection cuts the line again and again while a new leader reads
// a long history: it starts again until it has all of it, and repeats nothing.
func TestRecoveryOverAnUnstableConnection(t *testing.T) {
	t.Parallel()
	const agents = 1200
	w, p := newProxiedEnv(t)
	w.tenant.Update(func(world *bpcctest.World) {
		for i := range agents {
			world.SetAgent(bpcctest.Agent{Login: fmt.Sprintf("agent%04d", i), State: "ready"})
		}
	})
	stop := w.startBridge()
	w.waitFor("totals.bridge.observed", 1)
	stop()
	w.waitFor("feed.stopped", 1)

	js := p.connect(t)
	bad := make(chan struct{})
	closing := make(chan struct{})
	go func() {
		defer close(closing)
		for {
			select {
			case <-bad:
				return
			case <-time.After(time.Duration(5+rand.IntN(40)) * time.Millisecond):
				p.closeConns()
			}
		}
	}()
	w.startOn(js)
	<-time.After(4 * time.Second)
	close(bad)
	<-closing
	w.tenant.SetState("agent0007", "supervising", "")
	w.waitFor("agent.agent0007.state_changed", 1)
	observed := 0
	for _, s := range w.events() {
		if strings.HasSuffix(s.Subject, ".observed") {
			observed++
		}
	}
	if observed != agents+1 {
		t.Errorf("%d pictures observed, want %d once each", observed, agents+1)
	}
}

// TestLongNATSOutage takes NATS away for many leases while everything at the source
// changes all the time. The bridge holds one batch and nothing else: neither
// memory nor goroutines grow.
func TestLongNATSOutage(t *testing.T) {
	if !inOwnProcess(t) {
		return
	}
	const (
		agents       = 500
		mostBytes    = 4 << 20
		mostRoutines = 8
	)
	w, p := newProxiedEnv(t)
	w.env["BRIDGE_LEASE_TTL"] = "1s"
	w.env["BPCC_SERVICES"] = ""
	w.env["BPCC_DIRECTORY_INTERVAL"] = "100ms"
	change := func(round int) {
		w.tenant.Update(func(world *bpcctest.World) {
			for i := range agents {
				world.SetAgent(bpcctest.Agent{Login: fmt.Sprintf("agent%04d", (i+round)%(2*agents)), State: []string{"ready", "supervising"}[round%2]})
			}
			for i := range 20 {
				world.SetService(bpcctest.Service{Name: fmt.Sprintf("Service %d", (i+round)%40)})
			}
		})
	}
	change(0)
	w.startOn(p.connect(t))
	w.waitFor("totals.bridge.observed", 1)
	round := 0
	busy := func(d time.Duration) (heap uint64, goroutines int) {
		for end := time.Now().Add(d); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
			round++
			change(round)
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc, runtime.NumGoroutine()
	}
	p.setDown(true)
	heap, goroutines := busy(2500 * time.Millisecond) // the lease is lost by then
	t.Logf("after 2.5 s: %d KiB, %d goroutines", heap>>10, goroutines)
	for range 2 {
		h, g := busy(1500 * time.Millisecond) // in all longer than the time after which a gap is published
		t.Logf("and then: %d KiB, %d goroutines", h>>10, g)
		if h > heap+mostBytes || g > goroutines+mostRoutines {
			t.Errorf("the heap has grown from %d to %d KiB, goroutines from %d to %d", heap>>10, h>>10, goroutines, g)
		}
	}
	p.setDown(false)
	started := w.waitFor("feed.started", 2)[1]
	w.waitForEvents("the first snapshot after it", func(all []storedEvent) bool { return len(withSubject(afterSeq(all, started.Seq), "feed.resumed")) > 0 })
}
