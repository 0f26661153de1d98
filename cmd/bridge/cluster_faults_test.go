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

// storm injects faults into a fleet and its tenant, one at a time, each of them
// no more than a cluster of three and a pair of bridges bear.
type storm struct {
	fleet  *fleet
	tenant *bpcctest.Tenant
	random *rand.Rand
	ttl    time.Duration // of the lease
	struck []struck
	unfit  []string // what did not recover in time
}

// struck is a fault that was injected.
type struck struct {
	kind string
	at   time.Time
	// leaderGone tells that another bridge had to take over.
	leaderGone bool
}

// fault is one kind of fault. It returns when what it has broken is running
// again, and tells whether the bridge that led could not go on.
type fault struct {
	kind string
	do   func(*storm, context.Context) (leaderGone bool)
}

// must are the faults of every run, however short; more come with time.
var (
	must = []fault{
		{"leading bridge killed", (*storm).killLeader},
		{"leading bridge frozen past its lease", (*storm).freezeLeader},
		{"standby bridge killed", (*storm).killStandby},
		{"both bridges killed at once", (*storm).killBoth},
		{"stream's leader killed", (*storm).killStreamLeader},
		{"NATS server frozen", (*storm).freezeServer},
		{"rolling restart of the servers", (*storm).rollServers},
		{"rolling restart of the bridges", (*storm).rollBridges},
		{"leader hears no acknowledgement", (*storm).deafLeader},
		{"source: 5xx", source(bpcctest.Fault{Status: 502, Times: 3})},
		{"source: cut, truncated, slow, emptied", (*storm).rag},
		{"source: subscription stolen", (*storm).steal},
		{"source: away for long", (*storm).sourceAway},
	}
	more = []fault{
		{"leading bridge and stream's leader killed at once", (*storm).killLeaders},
		{"leading bridge frozen for less than its lease", (*storm).pauseLeader},
		{"leading bridge stopped", (*storm).stopLeader},
		{"any NATS server killed", (*storm).killServer},
		{"view's leader killed", (*storm).killViewLeader},
		{"stream's leader frozen", (*storm).freezeStreamLeader},
		{"stream's leader steps down", (*storm).stepDown},
		{"quorum lost for some seconds", (*storm).loseQuorum},
		{"leader cut off from NATS", (*storm).severLeader},
		{"leader cut off from NATS for a moment", (*storm).blip},
		{"source: connection reset", source(bpcctest.Fault{Close: true, Times: 2})},
		{"source: truncated", source(bpcctest.Fault{Truncate: true, Times: 2})},
		{"source: slow", source(bpcctest.Fault{Delay: 3 * time.Second, Times: 2})},
		{"source: token ended", (*storm).expire},
		{"source: subscription dropped", (*storm).drop},
		{"source: another program's data", source(bpcctest.Fault{Foreign: true})},
		{"source: empty grids", source(bpcctest.Fault{EmptyGrids: true, Times: 3})},
		{"source: 429", source(bpcctest.Fault{Status: 429, RetryAfter: "2"})},
		{"source away while the leader is killed", (*storm).awayAndKill},
	}
)

// deck is the order of faults: first those of every run, then all of them
// shuffled again and again.
func deck(random *rand.Rand, round int) []fault {
	cards := slices.Clone(must)
	if round > 0 || *clusterOnly != "" {
		cards = append(cards, more...)
	}
	cards = slices.DeleteFunc(cards, func(f fault) bool { return !strings.Contains(f.kind, *clusterOnly) })
	random.Shuffle(len(cards), func(i, j int) { cards[i], cards[j] = cards[j], cards[i] })
	return cards
}

// run strikes until ctx ends or most faults are struck; 0 is no limit.
func (s *storm) run(ctx context.Context, most int) {
	for round := 0; ; round++ {
		for _, f := range deck(s.random, round) {
			if ctx.Err() != nil || most > 0 && len(s.struck) == most {
				return
			}
			at := time.Now()
			s.fleet.t.Logf("%s %s", at.Format("15:04:05.000"), f.kind)
			gone := f.do(s, ctx)
			s.struck = append(s.struck, struck{f.kind, at, gone})
			begin := time.Now()
			if !s.fleet.until(time.Minute, s.fleet.settled) {
				s.unfit = append(s.unfit, f.kind)
			}
			s.fleet.t.Logf("%s settled after %v", time.Now().Format("15:04:05.000"), time.Since(begin).Round(time.Millisecond))
			s.wait(300*time.Millisecond, 2*time.Second)
		}
	}
}

// wait lets a random time pass; a fault that has begun is brought to its end.
func (s *storm) wait(least, most time.Duration) {
	rest(s.fleet.t.Context(), least+time.Duration(s.random.Int64N(int64(most-least)+1)))
}

// start starts what was killed.
func (s *storm) start(nodes ...*node) {
	for _, n := range nodes {
		if err := n.start(); err != nil {
			s.fleet.t.Error(err)
		}
	}
}

// kill ends nodes at once and starts them again after a while.
func (s *storm) kill(least, most time.Duration, nodes ...*node) {
	nodes = slices.DeleteFunc(nodes, func(n *node) bool { return n == nil })
	for _, n := range nodes {
		n.signal(syscall.SIGKILL)
	}
	for _, n := range nodes {
		n.end(syscall.SIGKILL, time.Second)
	}
	s.wait(least, most)
	s.start(nodes...)
}

func (s *storm) killLeader(context.Context) bool {
	leader, _ := s.fleet.leader()
	s.kill(time.Second, 3*time.Second, leader)
	return leader != nil
}

func (s *storm) killStandby(context.Context) bool {
	_, standby := s.fleet.leader()
	s.kill(time.Second, 3*time.Second, standby)
	return false
}

func (s *storm) killBoth(context.Context) bool {
	s.kill(time.Second, s.ttl+4*time.Second, slices.Clone(s.fleet.bridges)...)
	return true
}

func (s *storm) freeze(n *node, least, most time.Duration) {
	if n == nil {
		return
	}
	n.signal(syscall.SIGSTOP)
	s.wait(least, most)
	n.signal(syscall.SIGCONT)
}

func (s *storm) freezeLeader(context.Context) bool {
	leader, _ := s.fleet.leader()
	s.freeze(leader, s.ttl+3*time.Second, s.ttl+6*time.Second)
	return leader != nil
}

func (s *storm) pauseLeader(context.Context) bool {
	leader, _ := s.fleet.leader()
	s.freeze(leader, time.Second, s.ttl/2)
	return false
}

func (s *storm) stopLeader(context.Context) bool {
	leader, _ := s.fleet.leader()
	s.stop(leader)
	s.wait(time.Second, 3*time.Second)
	s.start(leader)
	return leader != nil
}

// stop ends a node in good order.
func (s *storm) stop(n *node) {
	if n != nil && !n.end(syscall.SIGTERM, 12*time.Second) {
		s.unfit = append(s.unfit, n.name+" does not stop within 12 s")
	}
}

func (s *storm) killServer(context.Context) bool {
	s.kill(time.Second, 4*time.Second, pick(s.random, s.fleet.servers))
	return false
}

func (s *storm) killStreamLeader(context.Context) bool {
	s.kill(time.Second, 4*time.Second, s.fleet.streamLeader("BPCC_EVENTS"))
	return false
}

func (s *storm) killViewLeader(context.Context) bool {
	s.kill(time.Second, 4*time.Second, s.fleet.streamLeader("KV_bpcc_state"))
	return false
}

func (s *storm) killLeaders(context.Context) bool {
	leader, _ := s.fleet.leader()
	s.kill(time.Second, 4*time.Second, leader, s.fleet.streamLeader("BPCC_EVENTS"))
	return leader != nil
}

func (s *storm) freezeServer(context.Context) bool {
	s.freeze(pick(s.random, s.fleet.servers), 2*time.Second, 8*time.Second)
	return false
}

func (s *storm) freezeStreamLeader(context.Context) bool {
	s.freeze(s.fleet.streamLeader("BPCC_EVENTS"), 2*time.Second, 10*time.Second)
	return false
}

func (s *storm) stepDown(context.Context) bool {
	// Without an answer there is no leader that could step down.
	_, _ = s.fleet.nc.Request("$JS.API.STREAM.LEADER.STEPDOWN.BPCC_EVENTS", nil, 2*time.Second)
	return false
}

// loseQuorum kills two of three servers: nothing can be stored until they are back.
func (s *storm) loseQuorum(context.Context) bool {
	i := s.random.IntN(3)
	s.kill(5*time.Second, 10*time.Second, s.fleet.servers[i], s.fleet.servers[(i+1)%3])
	return false
}

func (s *storm) rollServers(context.Context) bool {
	for _, n := range s.fleet.servers {
		s.stop(n)
		s.start(n)
		if !s.fleet.until(time.Minute, s.fleet.serversHealthy) {
			s.unfit = append(s.unfit, n.name+" is not healthy a minute after its restart")
		}
	}
	return false
}

func (s *storm) rollBridges(context.Context) bool {
	for _, n := range s.fleet.bridges {
		s.stop(n)
		s.start(n)
		if !s.fleet.until(time.Minute, s.fleet.settled) {
			s.unfit = append(s.unfit, n.name+" is not ready a minute after its restart")
		}
	}
	return true
}

// deafLeader lets what the leader publishes arrive, and no acknowledgement.
func (s *storm) deafLeader(context.Context) bool {
	leader, _ := s.fleet.leader()
	if leader == nil {
		return false
	}
	leader.wire.deafen()
	s.wait(time.Second, s.ttl+4*time.Second)
	leader.wire.mend()
	return false
}

func (s *storm) severLeader(context.Context) bool {
	leader, _ := s.fleet.leader()
	s.sever(leader, s.ttl+2*time.Second, s.ttl+6*time.Second)
	return leader != nil
}

func (s *storm) blip(context.Context) bool {
	leader, _ := s.fleet.leader()
	s.sever(leader, 10*time.Millisecond, time.Second)
	return false
}

func (s *storm) sever(n *node, least, most time.Duration) {
	if n == nil {
		return
	}
	n.wire.sever()
	s.wait(least, most)
	n.wire.mend()
}

// source makes a fault of the tenant a fault of the storm.
func source(f bpcctest.Fault) func(*storm, context.Context) bool {
	return func(s *storm, _ context.Context) bool {
		s.tenant.Inject(f)
		s.wait(2*time.Second, 4*time.Second)
		s.tenant.ClearFaults()
		return false
	}
}

// rag is one of everything that a source does to its answers.
func (s *storm) rag(context.Context) bool {
	for _, f := range []bpcctest.Fault{
		{Close: true}, {}, {Truncate: true}, {}, {Delay: 1200 * time.Millisecond}, {EmptyGrids: true}, {}, {Status: 429, RetryAfter: "1"},
		{Status: 200, Body: "<html>", ContentType: "text/html"}, {Status: 204}, {Status: 401}, {},
	} {
		s.tenant.Inject(f)
	}
	s.tenant.ExpireTokens()
	s.wait(6*time.Second, 8*time.Second)
	s.tenant.ClearFaults()
	return false
}

func (s *storm) steal(context.Context) bool {
	s.tenant.ReplaceSubscription()
	s.wait(time.Second, 3*time.Second)
	return false
}

func (s *storm) expire(context.Context) bool {
	s.tenant.ExpireTokens()
	s.wait(time.Second, 2*time.Second)
	return false
}

func (s *storm) drop(context.Context) bool {
	s.tenant.DropSubscriptions()
	s.wait(time.Second, 2*time.Second)
	return false
}

// sourceAway lasts long enough to be told as an interruption.
func (s *storm) sourceAway(context.Context) bool {
	s.tenant.Inject(bpcctest.Fault{Status: 503, Times: -1})
	s.wait(7*time.Second, 10*time.Second)
	s.tenant.ClearFaults()
	return false
}

func (s *storm) awayAndKill(ctx context.Context) bool {
	s.tenant.Inject(bpcctest.Fault{Status: 503, Times: -1})
	s.wait(time.Second, 8*time.Second)
	gone := s.killLeader(ctx)
	s.wait(0, 3*time.Second)
	s.tenant.ClearFaults()
	return gone
}

// longestBlind is the longest time without a told poll that each kind of fault
// has caused.
func (s *storm) longestBlind(sights []time.Time) map[string]time.Duration {
	worst := map[string]time.Duration{}
	for i := 1; i < len(sights); i++ {
		// The last fault that struck before sight came back is taken for the cause.
		for _, f := range slices.Backward(s.struck) {
			if f.at.Before(sights[i]) {
				worst[f.kind] = max(worst[f.kind], sights[i].Sub(sights[i-1]))
				break
			}
		}
	}
	return worst
}

// takeovers are the times from the loss of a leader to the next epoch's first
// checkpoint.
func (s *storm) takeovers(all []record) []time.Duration {
	var out []time.Duration
	for _, f := range s.struck {
		if !f.leaderGone || strings.HasPrefix(f.kind, "rolling") {
			continue
		}
		epoch := uint64(0)
		for _, r := range all {
			if r.subject != "feed.checkpoint" {
				continue
			}
			if r.stored.Before(f.at) {
				epoch = r.Data.Epoch
			} else if r.Data.Epoch > epoch {
				out = append(out, r.stored.Sub(f.at))
				break
			}
		}
	}
	slices.Sort(out)
	return out
}
