//go:build linux

package main_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"bpcc-nats/bpcc/bpcctest"
)

// script makes the tenant live: agents and queues change, come and go. Every
// version of an agent or a queue carries a number of its own, in a counter of
// the day, so that it can be told from all others.
type script struct {
	truth    *truth
	random   *rand.Rand
	agents   []string
	services []string
	version  map[string]int
	away     map[string]bpcctest.Agent
	later    []later // what is to be done later
	changes  int
}

type later struct {
	at time.Time
	do func()
}

const scriptStep = 150 * time.Millisecond

func newScript(tr *truth, seed uint64, agents int) *script {
	s := &script{
		truth: tr, random: rand.New(rand.NewPCG(seed, 1)), version: map[string]int{}, away: map[string]bpcctest.Agent{},
		services: []string{"Voice", "Chat", "Mail & Fax", "Überlauf"},
	}
	for i := range agents {
		s.agents = append(s.agents, fmt.Sprintf("agent.%02d", i))
	}
	available := map[string]string{}
	tr.change(func(w *bpcctest.World) {
		for _, name := range s.services {
			w.SetService(bpcctest.Service{Name: name, Stats: map[string]string{"in_calls_waiting": "0"}})
			yes := true
			w.SetAvailability(name, &yes)
			available[name] = "true"
		}
		for i, login := range s.agents {
			w.SetAgent(bpcctest.Agent{
				Login: login, First: "A", Last: strconv.Itoa(i), Team: "Sales", State: "ready",
				Services: s.services[:1+i%len(s.services)], Stats: map[string]string{"in_calls_handled_per_day": "0"},
			})
		}
	}, available)
	return s
}

// run lives until ctx ends; then everybody is back.
func (s *script) run(ctx context.Context) {
	tick := time.NewTicker(scriptStep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			for _, l := range s.later {
				l.do()
			}
			return
		case now := <-tick.C:
			var rest []later
			for _, l := range s.later {
				if now.Before(l.at) {
					rest = append(rest, l)
				} else {
					l.do()
				}
			}
			s.later = rest
			s.step()
		}
	}
}

func (s *script) change(do func(*bpcctest.World)) {
	s.changes++
	s.truth.change(do, nil)
}

func (s *script) after(least, most time.Duration, do func()) {
	s.later = append(s.later, later{time.Now().Add(least + time.Duration(s.random.Int64N(int64(most-least)))), do})
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

func (s *script) step() {
	login := pick(s.random, s.agents)
	_, gone := s.away[login]
	switch n := s.random.IntN(20); {
	case n < 3:
		s.queue(pick(s.random, s.services))
	case n < 5:
		s.flip(pick(s.random, s.services))
	case gone:
	case n < 6 && len(s.away) < 4:
		s.leave(login)
	case n < 8:
		s.roundTrip(login)
	case n < 11:
		s.change(func(w *bpcctest.World) { s.mark(w, login) })
	case n < 12:
		s.state(login, "", "")
	default:
		state := pick(s.random, []string{"ready", "not_ready", "busy", "after_call_work"})
		reason := ""
		if state == "not_ready" {
			reason = pick(s.random, []string{"Lunch", "Break", ""})
		}
		s.state(login, state, reason)
	}
}

// mark gives an agent its next version.
func (s *script) mark(w *bpcctest.World, login string) {
	s.version[login]++
	w.SetAgentStat(login, "in_calls_handled_per_day", strconv.Itoa(s.version[login]))
}

func (s *script) state(login, state, reason string) {
	s.change(func(w *bpcctest.World) {
		w.SetState(login, state, reason)
		s.mark(w, login)
	})
}

// roundTrip is A→B→A, sometimes within one poll and sometimes over several.
func (s *script) roundTrip(login string) {
	var was bpcctest.Agent
	s.change(func(w *bpcctest.World) {
		was, _ = w.Agent(login)
		w.SetState(login, map[bool]string{true: "ready", false: "busy"}[was.State != "ready"], "")
		s.mark(w, login)
	})
	s.after(50*time.Millisecond, 2*time.Second, func() {
		if _, gone := s.away[login]; !gone {
			s.state(login, was.State, was.Reason)
		}
	})
}

// leave takes a row away, for less than a poll or for many. Who comes back has changed.
func (s *script) leave(login string) {
	s.change(func(w *bpcctest.World) {
		s.away[login], _ = w.Agent(login)
		w.RemoveAgent(login)
	})
	back := func() {
		a := s.away[login]
		delete(s.away, login)
		s.change(func(w *bpcctest.World) {
			w.SetAgent(a)
			s.mark(w, login)
		})
	}
	if s.random.IntN(2) == 0 {
		s.after(100*time.Millisecond, 1100*time.Millisecond, back)
	} else {
		s.after(2*time.Second, 12*time.Second, back)
	}
}

func (s *script) queue(name string) {
	s.change(func(w *bpcctest.World) {
		s.version[name]++
		count := strconv.Itoa(s.version[name])
		w.SetServiceStat(name, "in_calls_waiting", strconv.Itoa(s.random.IntN(9)))
		w.SetServiceStat(name, "in_calls_received_per_day", count)
		w.SetServiceStat(name, "in_calls_queued_per_day", count)
	})
}

// flip changes a service's availability, at most every 3 s so that checks see it.
func (s *script) flip(name string) {
	if at, there := s.truth.lastFlip(name); there && time.Since(at) < 3*time.Second {
		return
	}
	s.changes++
	available := !s.truth.available(name)
	s.truth.change(func(w *bpcctest.World) { w.SetAvailability(name, &available) },
		map[string]string{name: strconv.FormatBool(available)})
}

func (tr *truth) lastFlip(service string) (time.Time, bool) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	list := tr.spans["availability."+service]
	if len(list) < 2 {
		return time.Time{}, false
	}
	return list[len(list)-1].since, true
}

func (tr *truth) available(service string) bool {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	list := tr.spans["availability."+service]
	return strings.HasPrefix(list[len(list)-1].image, "true")
}
