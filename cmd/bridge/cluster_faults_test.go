//go:build linux

package main_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"

	"bpcc-nats/bpcc/bpcctest"
)

// faultInjector injects faults into a fleet and its tenant, one at a time, each of them
// no more than a cluster of three and a pair of bridges bear.
type faultInjector struct {
	fleet       *testFleet
	tenant      *bpcctest.Tenant
	rand        *rand.Rand
	ttl         time.Duration // of the lease
	history     *tenantHistory
	programs    programs
	quiet       []string                 // agents to whom nothing happens, and of whom no key was purged yet
	backups     map[string]*streamBackup // the last ones, by stream
	replaced    []replacedStream
	viewHarmed  bool  // a fault has taken from the view what the bridges publish again
	setsClocks  bool  // programs can be given another clock here
	upgraded    bool  // the servers are of the newest release
	skewed      *node // the bridge whose clock is off
	restarts    int   // of servers that did not become healthy by themselves
	injected    []injectedFault
	unrecovered []string // what did not recover in time
}

// injectedFault is a fault that was injected.
type injectedFault struct {
	kind string
	at   time.Time
	// newLeader reports that another bridge had to take over.
	newLeader bool
}

// fault is one kind of fault. It returns when what it has broken is running
// again, and reports whether the bridge that led could not go on.
type fault struct {
	kind   string
	inject func(*faultInjector, context.Context) (leaderGone bool)
}

// requiredFaults are the faults of every run, however short; more come with time.
var (
	requiredFaults = []fault{
		{"keys of the view purged", (*faultInjector).purgeView},
		{"leading bridge killed", (*faultInjector).killLeader},
		{"leading bridge frozen past its lease", (*faultInjector).freezeLeader},
		{"standby bridge killed", (*faultInjector).killStandby},
		{"both bridges killed at once", (*faultInjector).killBridges},
		{"stream's leader killed", (*faultInjector).killStreamLeader},
		{"NATS server frozen", (*faultInjector).freezeServer},
		{"rolling restart of the servers", (*faultInjector).rollServers},
		{"rolling restart of the bridges", (*faultInjector).rollBridges},
		{"leader hears no acknowledgement", (*faultInjector).dropLeaderAcks},
		{"source: 5xx", sourceFault(bpcctest.Fault{Status: 502, Times: 3})},
		{"source: cut, truncated, slow, emptied", (*faultInjector).mixedSourceFaults},
		{"source: subscription stolen", (*faultInjector).stealSubscription},
		{"source: away for long", (*faultInjector).sourceAway},
		{"view deleted", (*faultInjector).deleteView},
		{"older backup of the stream restored", restoreFault(eventsStream)},
		{changeOfRelease, (*faultInjector).changeRelease},
		{changeOfClock, (*faultInjector).changeClock},
	}
	optionalFaults = []fault{
		{"leading bridge and stream's leader killed at once", (*faultInjector).killLeaders},
		{"leading bridge frozen for less than its lease", (*faultInjector).pauseLeader},
		{"leading bridge stopped", (*faultInjector).stopLeader},
		{"any NATS server killed", (*faultInjector).killServer},
		{"view's leader killed", (*faultInjector).killViewLeader},
		{"stream's leader frozen", (*faultInjector).freezeStreamLeader},
		{"stream's leader steps down", (*faultInjector).stepDown},
		{"quorum lost for some seconds", (*faultInjector).loseQuorum},
		{"leader cut off from NATS", (*faultInjector).disconnectLeader},
		{"leader cut off from NATS for a moment", (*faultInjector).disconnectBriefly},
		{"source: connection reset", sourceFault(bpcctest.Fault{Close: true, Times: 2})},
		{"source: truncated", sourceFault(bpcctest.Fault{Truncate: true, Times: 2})},
		{"source: slow", sourceFault(bpcctest.Fault{Delay: 3 * time.Second, Times: 2})},
		{"source: token ended", (*faultInjector).expireTokens},
		{"source: subscription dropped", (*faultInjector).dropSubscription},
		{"source: another program's data", sourceFault(bpcctest.Fault{Foreign: true})},
		{"source: empty grids", sourceFault(bpcctest.Fault{EmptyGrids: true, Times: 3})},
		{"source: 429", sourceFault(bpcctest.Fault{Status: 429, RetryAfter: "2"})},
		{"source away while the leader is killed", (*faultInjector).sourceAwayAndKill},
		{"older backup of the view restored", restoreFault(viewStream)},
		{"older backup of stream and view restored", restoreFault(eventsStream, viewStream)},
	}
)

// Faults that cannot be injected everywhere: changeOfRelease needs a server of another release.
const (
	changeOfRelease = "servers upgraded in turn, or back"
	changeOfClock   = "clock of a bridge set"
)

// shuffledFaults is the order of faults: first those of every run, then all of them
// shuffled again and again.
func (s *faultInjector) shuffledFaults(round int) []fault {
	faults := slices.Clone(requiredFaults)
	faults = slices.DeleteFunc(faults, func(f fault) bool {
		return f.kind == changeOfRelease && s.programs.oldestServer == "" || f.kind == changeOfClock && !s.setsClocks
	})
	if round > 0 || *clusterOnly != "" {
		faults = append(faults, optionalFaults...)
	}
	faults = slices.DeleteFunc(faults, func(f fault) bool { return !strings.Contains(f.kind, *clusterOnly) })
	// The first fault of all stays: the bridges look for lost keys of the view once a minute.
	rest := faults[min(len(faults), max(0, 1-round)):]
	s.rand.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	return faults
}

// run strikes until ctx ends or most faults are struck; 0 is no limit.
func (s *faultInjector) run(ctx context.Context, limit int) {
	for round := 0; ; round++ {
		for _, f := range s.shuffledFaults(round) {
			if ctx.Err() != nil || limit > 0 && len(s.injected) == limit {
				return
			}
			at := time.Now()
			s.fleet.t.Logf("%s %s", at.Format("15:04:05.000"), f.kind)
			leaderGone := f.inject(s, ctx)
			s.injected = append(s.injected, injectedFault{f.kind, at, leaderGone})
			begin := time.Now()
			if !s.settle(s.fleet.healthy) {
				s.unrecovered = append(s.unrecovered, f.kind)
			}
			s.fleet.t.Logf("%s settled after %v", time.Now().Format("15:04:05.000"), time.Since(begin).Round(time.Millisecond))
			if s.backups == nil {
				s.backUp()
			}
			s.randomPause(300*time.Millisecond, 2*time.Second)
		}
	}
}

// settle waits until the fleet is well again. A server that says for half a minute that it is unhealthy is
// restarted, as by the probes of its operator: old releases may come back without a working replica.
func (s *faultInjector) settle(well func() bool) bool {
	if s.fleet.waitUntil(30*time.Second, well) {
		return true
	}
	for _, n := range s.fleet.servers {
		if !n.healthy() {
			s.fleet.t.Logf("%s is unhealthy and restarted: %s", n.name, n.healthText())
			s.restarts++
			s.stop(n)
			s.start(n)
		}
	}
	return s.fleet.waitUntil(time.Minute, well)
}

// randomPause lets a random time pass; a fault that has begun is brought to its end.
func (s *faultInjector) randomPause(minimum, limit time.Duration) {
	sleep(s.fleet.t.Context(), minimum+time.Duration(s.rand.Int64N(int64(limit-minimum)+1)))
}

// start starts what was killed.
func (s *faultInjector) start(nodes ...*node) {
	for _, n := range nodes {
		if err := n.start(); err != nil {
			s.fleet.t.Error(err)
		}
	}
}

// kill ends nodes at once and starts them again after a while.
func (s *faultInjector) kill(minimum, limit time.Duration, nodes ...*node) {
	nodes = slices.DeleteFunc(nodes, func(n *node) bool { return n == nil })
	for _, n := range nodes {
		n.signal(syscall.SIGKILL)
	}
	for _, n := range nodes {
		n.stop(syscall.SIGKILL, time.Second)
	}
	s.randomPause(minimum, limit)
	s.start(nodes...)
}

func (s *faultInjector) killLeader(context.Context) bool {
	leader, _ := s.fleet.leader()
	s.kill(time.Second, 3*time.Second, leader)
	return leader != nil
}

func (s *faultInjector) killStandby(context.Context) bool {
	_, standby := s.fleet.leader()
	s.kill(time.Second, 3*time.Second, standby)
	return false
}

func (s *faultInjector) killBridges(context.Context) bool {
	s.kill(time.Second, s.ttl+4*time.Second, slices.Clone(s.fleet.bridges)...)
	return true
}

func (s *faultInjector) freeze(n *node, minimum, limit time.Duration) {
	if n == nil {
		return
	}
	n.signal(syscall.SIGSTOP)
	s.randomPause(minimum, limit)
	n.signal(syscall.SIGCONT)
}

func (s *faultInjector) freezeLeader(context.Context) bool {
	leader, _ := s.fleet.leader()
	s.freeze(leader, s.ttl+3*time.Second, s.ttl+6*time.Second)
	return leader != nil
}

func (s *faultInjector) pauseLeader(context.Context) bool {
	leader, _ := s.fleet.leader()
	s.freeze(leader, time.Second, s.ttl/2)
	return false
}

func (s *faultInjector) stopLeader(context.Context) bool {
	leader, _ := s.fleet.leader()
	s.stop(leader)
	s.randomPause(time.Second, 3*time.Second)
	s.start(leader)
	return leader != nil
}

// stop ends a node in good order.
func (s *faultInjector) stop(n *node) {
	if n != nil && !n.stop(syscall.SIGTERM, 12*time.Second) {
		s.unrecovered = append(s.unrecovered, n.name+" does not stop within 12 s")
	}
}

func (s *faultInjector) killServer(context.Context) bool {
	s.kill(time.Second, 4*time.Second, pickRandom(s.rand, s.fleet.servers))
	return false
}

func (s *faultInjector) killStreamLeader(context.Context) bool {
	s.kill(time.Second, 4*time.Second, s.fleet.streamLeader("BPCC_EVENTS"))
	return false
}

func (s *faultInjector) killViewLeader(context.Context) bool {
	s.kill(time.Second, 4*time.Second, s.fleet.streamLeader("KV_bpcc_state"))
	return false
}

func (s *faultInjector) killLeaders(context.Context) bool {
	leader, _ := s.fleet.leader()
	s.kill(time.Second, 4*time.Second, leader, s.fleet.streamLeader("BPCC_EVENTS"))
	return leader != nil
}

func (s *faultInjector) freezeServer(context.Context) bool {
	s.freeze(pickRandom(s.rand, s.fleet.servers), 2*time.Second, 8*time.Second)
	return false
}

func (s *faultInjector) freezeStreamLeader(context.Context) bool {
	s.freeze(s.fleet.streamLeader("BPCC_EVENTS"), 2*time.Second, 10*time.Second)
	return false
}

func (s *faultInjector) stepDown(context.Context) bool {
	// Without an answer there is no leader that could step down.
	_, _ = s.fleet.nc.Request("$JS.API.STREAM.LEADER.STEPDOWN.BPCC_EVENTS", nil, 2*time.Second)
	return false
}

// loseQuorum kills two of three servers: nothing can be stored until they are back.
func (s *faultInjector) loseQuorum(context.Context) bool {
	i := s.rand.IntN(3)
	s.kill(5*time.Second, 10*time.Second, s.fleet.servers[i], s.fleet.servers[(i+1)%3])
	return false
}

func (s *faultInjector) rollServers(context.Context) bool {
	for _, n := range s.fleet.servers {
		s.stop(n)
		s.start(n)
		if !s.settle(s.fleet.serversHealthy) {
			s.unrecovered = append(s.unrecovered, n.name+" is not healthy a minute after its restart")
		}
	}
	return false
}

func (s *faultInjector) rollBridges(context.Context) bool {
	for _, n := range s.fleet.bridges {
		s.stop(n)
		s.start(n)
		if !s.fleet.waitUntil(time.Minute, s.fleet.healthy) {
			s.unrecovered = append(s.unrecovered, n.name+" is not ready a minute after its restart")
		}
	}
	return true
}

// dropLeaderAcks lets what the leader publishes arrive, and no acknowledgement.
func (s *faultInjector) dropLeaderAcks(context.Context) bool {
	leader, _ := s.fleet.leader()
	if leader == nil {
		return false
	}
	leader.proxy.dropReplies()
	s.randomPause(time.Second, s.ttl+4*time.Second)
	leader.proxy.restore()
	return false
}

func (s *faultInjector) disconnectLeader(context.Context) bool {
	leader, _ := s.fleet.leader()
	s.disconnect(leader, s.ttl+2*time.Second, s.ttl+6*time.Second)
	return leader != nil
}

func (s *faultInjector) disconnectBriefly(context.Context) bool {
	leader, _ := s.fleet.leader()
	s.disconnect(leader, 10*time.Millisecond, time.Second)
	return false
}

func (s *faultInjector) disconnect(n *node, minimum, limit time.Duration) {
	if n == nil {
		return
	}
	n.proxy.disconnect()
	s.randomPause(minimum, limit)
	n.proxy.restore()
}

// sourceFault makes a fault of the tenant a fault of the storm.
func sourceFault(f bpcctest.Fault) func(*faultInjector, context.Context) bool {
	return func(s *faultInjector, _ context.Context) bool {
		s.tenant.Inject(f)
		s.randomPause(2*time.Second, 4*time.Second)
		s.tenant.ClearFaults()
		return false
	}
}

// mixedSourceFaults is one of everything that a source does to its answers.
func (s *faultInjector) mixedSourceFaults(context.Context) bool {
	for _, f := range []bpcctest.Fault{
		{Close: true}, {}, {Truncate: true}, {}, {Delay: 1200 * time.Millisecond}, {EmptyGrids: true}, {}, {Status: 429, RetryAfter: "1"},
		{Status: 200, Body: "<html>", ContentType: "text/html"}, {Status: 204}, {Status: 401}, {},
	} {
		s.tenant.Inject(f)
	}
	s.tenant.ExpireTokens()
	s.randomPause(6*time.Second, 8*time.Second)
	s.tenant.ClearFaults()
	return false
}

func (s *faultInjector) stealSubscription(context.Context) bool {
	s.tenant.ReplaceSubscription()
	s.randomPause(time.Second, 3*time.Second)
	return false
}

func (s *faultInjector) expireTokens(context.Context) bool {
	s.tenant.ExpireTokens()
	s.randomPause(time.Second, 2*time.Second)
	return false
}

func (s *faultInjector) dropSubscription(context.Context) bool {
	s.tenant.DropSubscriptions()
	s.randomPause(time.Second, 2*time.Second)
	return false
}

// sourceAway lasts long enough to be reported as an interruption.
func (s *faultInjector) sourceAway(context.Context) bool {
	s.tenant.Inject(bpcctest.Fault{Status: 503, Times: -1})
	s.randomPause(7*time.Second, 10*time.Second)
	s.tenant.ClearFaults()
	return false
}

func (s *faultInjector) sourceAwayAndKill(ctx context.Context) bool {
	s.tenant.Inject(bpcctest.Fault{Status: 503, Times: -1})
	s.randomPause(time.Second, 8*time.Second)
	leaderGone := s.killLeader(ctx)
	s.randomPause(0, 3*time.Second)
	s.tenant.ClearFaults()
	return leaderGone
}
