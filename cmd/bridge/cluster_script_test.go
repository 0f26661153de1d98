//go:build linux

package main_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"bpcc-nats/bpcc/bpcctest"
)

// tenantScript makes the tenant live: agents and queues change, come and go. Every
// version of an agent or a queue carries a number of its own, in a counter of
// the day, so that it differs from all others.
type tenantScript struct {
	history  *tenantHistory
	random   *rand.Rand
	agents   []string
	quiet    []string // agents to whom nothing ever happens
	services []string
	version  map[string]int
	absent   map[string]bpcctest.Agent
	pending  []scheduledChange // what is to be done later
	changes  int
}

type scheduledChange struct {
	at time.Time
	do func()
}

const (
	scriptStep = 150 * time.Millisecond
	// quietAgents is how many agents never change: no event of theirs brings a lost key of the view back.
	quietAgents = 12
)

func newTenantScript(tr *tenantHistory, seed uint64, agents int) *tenantScript {
	s := &tenantScript{
		history: tr, random: rand.New(rand.NewPCG(seed, 1)), version: map[string]int{}, absent: map[string]bpcctest.Agent{},
		services: []string{"Voice", "Chat", "Mail & Fax", "Überlauf"},
	}
	for i := range agents {
		s.agents = append(s.agents, fmt.Sprintf("agent.%02d", i))
	}
	for i := range quietAgents {
		s.quiet = append(s.quiet, fmt.Sprintf("quiet.%02d", i))
	}
	available := map[string]string{}
	tr.update(func(w *bpcctest.World) {
		for _, name := range s.services {
			w.SetService(bpcctest.Service{Name: name, Stats: map[string]string{"in_calls_waiting": "0"}})
			yes := true
			w.SetAvailability(name, &yes)
			available[name] = "true"
		}
		for i, login := range slices.Concat(s.agents, s.quiet) {
			w.SetAgent(bpcctest.Agent{
				Login: login, First: "A", Last: strconv.Itoa(i), Team: "Sales", State: "ready",
				Services: s.services[:1+i%len(s.services)], Stats: map[string]string{"in_calls_handled_per_day": "0"},
			})
		}
	}, available)
	return s
}

// run lives until ctx ends; then everybody is back.
func (s *tenantScript) run(ctx context.Context) {
	tick := time.NewTicker(scriptStep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			for _, l := range s.pending {
				l.do()
			}
			return
		case now := <-tick.C:
			var rest []scheduledChange
			for _, l := range s.pending {
				if now.Before(l.at) {
					rest = append(rest, l)
				} else {
					l.do()
				}
			}
			s.pending = rest
			s.step()
		}
	}
}

func (s *tenantScript) updateTenant(do func(*bpcctest.World)) {
	s.changes++
	s.history.update(do, nil)
}

func (s *tenantScript) schedule(minimum, limit time.Duration, do func()) {
	s.pending = append(s.pending, scheduledChange{time.Now().Add(minimum + time.Duration(s.random.Int64N(int64(limit-minimum)))), do})
}

func pickRandom[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

func (s *tenantScript) step() {
	login := pickRandom(s.random, s.agents)
	_, absent := s.absent[login]
	switch n := s.random.IntN(20); {
	case n < 3:
		s.setQueue(pickRandom(s.random, s.services))
	case n < 5:
		s.flipAvailability(pickRandom(s.random, s.services))
	case absent:
	case n < 6 && len(s.absent) < 4:
		s.removeForAWhile(login)
	case n < 8:
		s.reenterState(login)
	case n < 11:
		s.updateTenant(func(w *bpcctest.World) { s.nextVersion(w, login) })
	case n < 12:
		s.setState(login, "", "")
	default:
		state := pickRandom(s.random, []string{"ready", "not_ready", "busy", "after_call_work"})
		reason := ""
		if state == "not_ready" {
			reason = pickRandom(s.random, []string{"Lunch", "Break", ""})
		}
		s.setState(login, state, reason)
	}
}

// nextVersion gives an agent its next version.
func (s *tenantScript) nextVersion(w *bpcctest.World, login string) {
	s.version[login]++
	w.SetAgentStat(login, "in_calls_handled_per_day", strconv.Itoa(s.version[login]))
}

func (s *tenantScript) setState(login, state, reason string) {
	s.updateTenant(func(w *bpcctest.World) {
		w.SetState(login, state, reason)
		s.nextVersion(w, login)
	})
}

// reenterState is A→B→A, sometimes within one poll and sometimes over several.
func (s *tenantScript) reenterState(login string) {
	var was bpcctest.Agent
	s.updateTenant(func(w *bpcctest.World) {
		was, _ = w.Agent(login)
		w.SetState(login, map[bool]string{true: "ready", false: "busy"}[was.State != "ready"], "")
		s.nextVersion(w, login)
	})
	s.schedule(50*time.Millisecond, 2*time.Second, func() {
		if _, absent := s.absent[login]; !absent {
			s.setState(login, was.State, was.Reason)
		}
	})
}

// removeForAWhile takes a row away, for less than a poll or for many. Who comes back has changed.
func (s *tenantScript) removeForAWhile(login string) {
	s.updateTenant(func(w *bpcctest.World) {
		s.absent[login], _ = w.Agent(login)
		w.RemoveAgent(login)
	})
	back := func() {
		a := s.absent[login]
		delete(s.absent, login)
		s.updateTenant(func(w *bpcctest.World) {
			w.SetAgent(a)
			s.nextVersion(w, login)
		})
	}
	if s.random.IntN(2) == 0 {
		s.schedule(100*time.Millisecond, 1100*time.Millisecond, back)
	} else {
		s.schedule(2*time.Second, 12*time.Second, back)
	}
}

func (s *tenantScript) setQueue(name string) {
	s.updateTenant(func(w *bpcctest.World) {
		s.version[name]++
		count := strconv.Itoa(s.version[name])
		w.SetServiceStat(name, "in_calls_waiting", strconv.Itoa(s.random.IntN(9)))
		w.SetServiceStat(name, "in_calls_received_per_day", count)
		w.SetServiceStat(name, "in_calls_queued_per_day", count)
	})
}

// flipAvailability changes a service's availability, at most every 3 s so that checks see it.
func (s *tenantScript) flipAvailability(name string) {
	if at, there := s.history.lastAvailabilityChange(name); there && time.Since(at) < 3*time.Second {
		return
	}
	s.changes++
	available := !s.history.available(name)
	s.history.update(func(w *bpcctest.World) { w.SetAvailability(name, &available) },
		map[string]string{name: strconv.FormatBool(available)})
}

func (tr *tenantHistory) lastAvailabilityChange(service string) (time.Time, bool) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	list := tr.versions["availability."+service]
	if len(list) < 2 {
		return time.Time{}, false
	}
	return list[len(list)-1].since, true
}

func (tr *tenantHistory) available(service string) bool {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	list := tr.versions["availability."+service]
	return strings.HasPrefix(list[len(list)-1].image, "true")
}
