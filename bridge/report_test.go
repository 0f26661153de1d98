package bridge_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/reader"
	"bpcc-nats/reader/report"
)

// serviceNames are the services of the history.
var serviceNames = []string{"Chat", "Voice"}

// backlog is the number of waiting calls from which the rule of the history is raised.
const backlog = 3

// randomServices are services that change at random.
type randomServices struct {
	tenant    *bpcctest.Server
	random    *rand.Rand
	waiting   map[string][]time.Time // when the calls arrived that wait; nil without the service
	available map[string]bool
}

// newRandomServices makes the services, and lets a bridge check them and apply a rule to them.
func (w *testEnv) newRandomServices(seed uint64) *randomServices {
	w.env["BPCC_SERVICES"], w.env["BPCC_AVAILABILITY_INTERVAL"], w.env["BPCC_AVAILABILITY_UNKNOWN_AFTER"] = "Chat,Voice", "100ms", "1s"
	w.env["BRIDGE_THRESHOLDS"] = fmt.Sprintf(`[{"name":"backlog","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":%d}}]`, backlog)
	s := &randomServices{w.tenant, rand.New(rand.NewPCG(seed, 12)), map[string][]time.Time{}, map[string]bool{}}
	for _, name := range serviceNames {
		s.setWaiting(name, 0)
		s.flip(name)
	}
	return s
}

// setWaiting lets so many calls wait: the oldest ones are answered, and others arrive. A service that is gone
// returns.
func (s *randomServices) setWaiting(name string, n int) {
	calls := s.waiting[name]
	calls = append([]time.Time{}, calls[max(len(calls)-n, 0):]...)
	for len(calls) < n {
		calls = append(calls, time.Now())
	}
	s.show(name, calls)
}

// arrive lets one call alone wait, which has waited for some time in another service.
func (s *randomServices) arrive(name string, waited time.Duration) {
	s.show(name, []time.Time{time.Now().Add(-waited)})
}

func (s *randomServices) show(name string, calls []time.Time) {
	s.waiting[name] = calls
	s.tenant.Update(func(w *bpcctest.World) { w.SetWaiting(name, calls...) })
}

func (s *randomServices) flip(name string) {
	available := !s.available[name]
	s.available[name] = available
	s.tenant.SetAvailability(name, &available)
}

// step changes each service, or leaves it as it is.
func (s *randomServices) step() {
	for _, name := range serviceNames {
		calls := len(s.waiting[name])
		switch n := s.random.IntN(12); {
		case s.waiting[name] == nil && n < 4:
			s.setWaiting(name, 0)
		case s.waiting[name] == nil:
		case n == 0:
			s.waiting[name] = nil
			s.tenant.RemoveService(name)
		case n < 3:
			s.setWaiting(name, calls+1+s.random.IntN(2*backlog))
		case n < 5:
			s.setWaiting(name, s.random.IntN(calls+1))
		}
		if s.random.IntN(5) == 0 {
			s.flip(name)
		}
	}
}

// addTo adds to a snapshot what no poll shows.
func (s *randomServices) addTo(shown snapshot) snapshot {
	shown["availability"], shown["oldest"] = map[string]map[string]string{}, map[string]map[string]string{}
	for _, name := range serviceNames {
		shown["availability"][name] = map[string]string{"available": strconv.FormatBool(s.available[name])}
		if calls := s.waiting[name]; len(calls) > 0 {
			shown["oldest"][name] = map[string]string{"arrived": calls[0].Format(time.RFC3339Nano)}
		}
	}
	return shown
}

// shownState is the state of somebody or something; "" is none of those that a report sums up.
type shownState struct{ of, state string }

// agentStates are the states of agents that a tenant showed.
func agentStates(h snapshot) (all []shownState) {
	for _, id := range agentNames {
		s := shownState{of: id}
		if stats := h["agent"][id]; stats["acd_state"] != "" {
			s.state = agentState(id, stats["team_name"], stats["acd_state"], map[bool]string{true: stats["reason"]}[stats["acd_state"] == "not_ready"])
		}
		all = append(all, s)
	}
	return all
}

func agentState(id, team, state, reason string) string {
	return fmt.Sprint(id, " ", team, " ", state, " ", reason)
}

// serviceStates are whether services were without an available agent, and had too many calls.
func serviceStates(h snapshot) (all []shownState) {
	for _, name := range serviceNames {
		unavailable, raised := shownState{of: name + " unavailable"}, shownState{of: name + " backlog"}
		if h["availability"][name]["available"] == "false" {
			unavailable.state = unavailable.of
		}
		if n, err := strconv.Atoi(h["service"][name]["in_calls_waiting"]); err == nil && n >= backlog {
			raised.state = raised.of
		}
		all = append(all, unavailable, raised)
	}
	return all
}

// trueTimes are for how long a tenant showed states, in a time.
type trueTimes struct {
	states map[string]*trueTime
	// brief is how much of the time each of them was in states that may not be seen.
	brief map[string]time.Duration
	// compared counts the states that are certain for some time, and widest is the widest range.
	compared int
	widest   time.Duration
}

// trueTime bounds for how long a state was shown, since a change of the tenant takes some time.
type trueTime struct{ least, most, longest time.Duration }

// newTrueTimes sums a history up.
func newTrueTimes(history []tenantVersion, since, until time.Time, states func(snapshot) []shownState) *trueTimes {
	all := &trueTimes{states: map[string]*trueTime{}, brief: map[string]time.Duration{}}
	clip := func(from, to time.Time) time.Duration {
		if from.Before(since) {
			from = since
		}
		if to.After(until) {
			to = until
		}
		return max(to.Sub(from), 0)
	}
	lasted, was := map[string]time.Duration{}, map[string]string{}
	end := func(of string) {
		if d := lasted[of]; d < unseen {
			all.brief[of] += d
		}
		if s := all.states[was[of]]; s != nil {
			s.longest = max(s.longest, lasted[of])
		}
	}
	for i, h := range history {
		from, to := until, until // of the next version
		if i+1 < len(history) {
			from, to = history[i+1].from, history[i+1].since
		}
		for _, shown := range states(h.snapshot) {
			if shown.state != "" {
				s := all.states[shown.state]
				if s == nil {
					s = &trueTime{}
					all.states[shown.state] = s
				}
				s.least += clip(h.since, from)
				s.most += clip(h.from, to)
			}
			if shown.state != was[shown.of] {
				end(shown.of)
				lasted[shown.of], was[shown.of] = 0, shown.state
			}
			lasted[shown.of] += clip(h.from, from)
		}
	}
	for of := range lasted {
		end(of)
	}
	return all
}

// margin is by how much clocks and polls may differ.
const margin = 20 * time.Millisecond

// compare compares a range of a report with for how long a state was shown.
func (c *trueTimes) compare(t *testing.T, s shownState, r report.Range) {
	t.Helper()
	was := c.states[s.state]
	if delete(c.states, s.state); was == nil {
		was = &trueTime{}
	}
	// What is short may not be seen, since some polls fail before that counts as a gap.
	if slack := c.brief[s.of] + margin; r.AtLeast > was.most+slack || r.AtMost < was.least-slack {
		t.Errorf("%s: %v to %v, and the tenant showed it for %v to %v; %v were brief", s.state, r.AtLeast, r.AtMost, was.least, was.most, c.brief[s.of])
	}
	if r.AtLeast > 0 {
		c.compared++
	}
	c.widest = max(c.widest, r.AtMost-r.AtLeast)
}

// finish reports what was shown and not compared, unless it may have been hidden for so long, and if fewer than so
// many states were compared.
func (c *trueTimes) finish(t *testing.T, what string, least int, hidden time.Duration) {
	t.Helper()
	for state, was := range c.states {
		if was.longest > unseen+hidden {
			t.Errorf("the report has no %s, and the tenant showed it for %v at once", state, was.longest)
		}
	}
	t.Logf("%d times of %s are compared; the widest range is %v; brief: %v", c.compared, what, c.widest, c.brief)
	if c.compared < least {
		t.Errorf("%d times of %s are compared", c.compared, what)
	}
}

// longestWait bounds the longest wait for a service at any instant of a time. Where nobody waited for so long that
// it must be seen, the least is zero.
func longestWait(t *testing.T, history []tenantVersion, since, until time.Time, service string) (least, most time.Duration) {
	t.Helper()
	for i, h := range history {
		from, to := until, until // of the next version
		if i+1 < len(history) {
			from, to = history[i+1].from, history[i+1].since
		}
		text := h.snapshot["oldest"][service]["arrived"]
		if text == "" || to.Before(since) || h.from.After(until) {
			continue
		}
		arrived, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		if from.After(until) {
			from = until
		}
		if to.After(until) {
			to = until
		}
		if waited := from.Sub(arrived); waited > unseen && !from.Before(since) {
			least = max(least, waited)
		}
		most = max(most, to.Sub(arrived))
	}
	return least, most
}

// compareReport compares reports with how long the tenant showed each state, and with the longest waits: of all
// of the time, and of a part.
func (w *testEnv) compareReport(history []tenantVersion) {
	w.t.Helper()
	r, err := reader.Open(w.js, "acme", reader.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	all := w.events()
	for part, o := range []report.Options{
		{Since: all[0].Time.Add(-time.Second), Until: all[len(all)-1].Time.Add(200 * time.Millisecond)},
		{Since: history[len(history)/3].since, Until: history[2*len(history)/3].from.Add(20 * time.Millisecond)},
	} {
		o.Since, o.Until = o.Since.Round(0), o.Until.Round(0) // a report knows no monotonic clock
		found, err := report.Read(w.t.Context(), r, o)
		if err != nil {
			w.t.Fatal(err)
		}
		since := o.Since
		if found.First.After(since) {
			since = found.First
		}
		agents, services := newTrueTimes(history, since, o.Until, agentStates), newTrueTimes(history, since, o.Until, serviceStates)
		sums, longest := map[string]time.Duration{}, time.Duration(0)
		add := func(of string, r report.Range) { // what is certain was seen
			if sums[of] += r.AtLeast; sums[of] > o.Until.Sub(o.Since)-r.Unseen {
				w.t.Errorf("%s: %v in states and %v unseen, of %v", of, sums[of], r.Unseen, o.Until.Sub(o.Since))
			}
		}
		for _, a := range found.Agents {
			add(a.Day+a.Agent, a.Range)
			agents.compare(w.t, shownState{a.Agent, agentState(a.Agent, a.Team, a.State, a.Reason)}, a.Range)
		}
		agents.finish(w.t, "agents", 3, 0)
		for _, s := range found.Services {
			figures := map[string]report.Range{}
			if s.Unavailable != nil {
				figures[s.Service+" unavailable"] = s.Unavailable.Range
			}
			for _, rule := range s.Rules {
				figures[s.Service+" "+rule.Rule] = rule.Range
			}
			for of, r := range figures {
				add(s.Day+of, r)
				services.compare(w.t, shownState{of, of}, r)
			}
			least, most := longestWait(w.t, history, since, o.Until, s.Service)
			switch wait := s.LongestWait; {
			case wait == nil:
				w.t.Errorf("the report has no longest wait for %s", s.Service)
			case wait.AtLeast > most+margin || wait.AtMost < least-margin:
				w.t.Errorf("the longest wait for %s: %v to %v, and it was %v to %v", s.Service, wait.AtLeast, wait.AtMost, least, most)
			default:
				longest = max(longest, wait.AtLeast)
			}
		}
		hidden := time.Duration(0) // a rule that was raised in gaps alone is not in the report
		for _, day := range found.Days {
			hidden += day.Unseen
		}
		services.finish(w.t, "services", 2-part, hidden)
		if len(found.Services) != len(serviceNames) || part == 0 && longest == 0 {
			w.t.Errorf("services %+v; the longest wait of all is at least %v", found.Services, longest)
		}
	}
}
