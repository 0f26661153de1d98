package bridge_test

import (
	"fmt"
	"time"

	"bpcc-nats/reader"
	"bpcc-nats/reader/report"
)

// trueTimes are for how long a tenant showed states, in a time.
type trueTimes struct {
	states map[string]*trueTime
	// brief is how much of the time each agent was in states that may not be seen.
	brief map[string]time.Duration
}

// trueTime bounds for how long an agent was in a state, since a change of the tenant takes some time.
type trueTime struct{ least, most, longest time.Duration }

// newTrueTimes sums a history up.
func newTrueTimes(history []tenantVersion, since, until time.Time) trueTimes {
	all := trueTimes{map[string]*trueTime{}, map[string]time.Duration{}}
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
	end := func(id string) {
		if d := lasted[id]; d < unseen {
			all.brief[id] += d
		}
		if s := all.states[was[id]]; s != nil {
			s.longest = max(s.longest, lasted[id])
		}
	}
	for i, h := range history {
		from, to := until, until // of the next version
		if i+1 < len(history) {
			from, to = history[i+1].from, history[i+1].since
		}
		for _, id := range agentNames {
			state, stats := "", h.snapshot["agent"][id]
			if acd := stats["acd_state"]; acd != "" {
				state = fmt.Sprint(id, " ", stats["team_name"], " ", acd, " ", map[bool]string{true: stats["reason"]}[acd == "not_ready"])
				s := all.states[state]
				if s == nil {
					s = &trueTime{}
					all.states[state] = s
				}
				s.least += clip(h.since, from)
				s.most += clip(h.from, to)
			}
			if state != was[id] {
				end(id)
				lasted[id], was[id] = 0, state
			}
			lasted[id] += clip(h.from, from)
		}
	}
	for _, id := range agentNames {
		end(id)
	}
	return all
}

// compareReport compares reports with how long the tenant showed each state: of all of the time, and of a part.
func (w *testEnv) compareReport(history []tenantVersion) {
	w.t.Helper()
	r, err := reader.Open(w.js, "acme", reader.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	all := w.events()
	for _, o := range []report.Options{
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
		truth, sums, compared, widest := newTrueTimes(history, since, o.Until), map[string]time.Duration{}, 0, time.Duration(0)
		for _, a := range found.Agents {
			if sums[a.Day+a.Agent] += a.AtLeast; sums[a.Day+a.Agent] > o.Until.Sub(o.Since)-a.Unseen {
				w.t.Errorf("%s: %v in states and %v unseen, of %v", a.Agent, sums[a.Day+a.Agent], a.Unseen, o.Until.Sub(o.Since))
			}
			state := fmt.Sprint(a.Agent, " ", a.Team, " ", a.State, " ", a.Reason)
			was := truth.states[state]
			if delete(truth.states, state); was == nil {
				was = &trueTime{}
			}
			// What is short may not be seen, since some polls fail before that counts as a gap.
			const margin = 20 * time.Millisecond
			if slack := truth.brief[a.Agent] + margin; a.AtLeast > was.most+slack || a.AtMost < was.least-slack {
				w.t.Errorf("%s: %v to %v, and the tenant showed it for %v to %v; %v were brief", state, a.AtLeast, a.AtMost, was.least, was.most, truth.brief[a.Agent])
			}
			if a.AtLeast > 0 {
				compared++
			}
			widest = max(widest, a.AtMost-a.AtLeast)
		}
		for state, was := range truth.states {
			if was.longest > unseen {
				w.t.Errorf("the report has no %s, and the tenant showed it for %v at once", state, was.longest)
			}
		}
		w.t.Logf("%d times are compared; the widest range is %v; brief: %v", compared, widest, truth.brief)
		if compared < 3 {
			w.t.Errorf("%d times are compared", compared)
		}
	}
}
