package bpcctest

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"bpcc-nats/bpcc"
)

// agent is an Agent with the state that the tenant keeps for it.
type agent struct {
	Agent
	teamID       string
	since        time.Time // start of the state
	accruedUntil time.Time // day includes the times up to here
	today        agentDay
	media        string        // of the active interaction; empty means voice
	holdTime     time.Duration // hold time of the active interaction
}

// agentDay is what an agent has done since the daily reset.
type agentDay struct {
	ready, busy, afterCall, pause, logged time.Duration
	callsIn, callsOut                     int // calls handled
	handling                              time.Duration
	dispositions                          map[string]int
	dispositionTotal                      int // all dispositions together
}

// accrue adds the time since the last call to the current state.
func (a *agent) accrue(now time.Time) {
	a.today = a.todayAt(now)
	a.accruedUntil = now
}

// todayAt is the day so far.
func (a *agent) todayAt(now time.Time) agentDay {
	d, elapsed := a.today, max(now.Sub(a.accruedUntil), 0)
	switch a.State {
	case "":
		return d
	case "ready":
		d.ready += elapsed
	case "busy":
		d.busy += elapsed
	case "after_call_work":
		d.afterCall += elapsed
	case "not_ready":
		d.pause += elapsed
	}
	d.logged += elapsed
	return d
}

// state is the state as the grid shows it.
func (a *agent) state() string {
	if v, ok := a.Stats["acd_state"]; ok {
		return v
	}
	return a.State
}

// hasSkill reports whether the agent has the skill for one of the services.
func (a *agent) hasSkill(services map[string]bool) bool {
	return slices.ContainsFunc(a.Services, func(s string) bool { return services[s] })
}

// agentStat computes one column of an agent.
type agentStat func(a *agent, c *bpcc.Column, now time.Time) string

// agentStats holds the agent statistics that the vendor has named.
var agentStats = map[string]agentStat{
	"login_id":        func(a *agent, _ *bpcc.Column, _ time.Time) string { return a.Login },
	"user_id":         func(a *agent, _ *bpcc.Column, _ time.Time) string { return a.UserID },
	"firstname":       func(a *agent, _ *bpcc.Column, _ time.Time) string { return a.First },
	"lastname":        func(a *agent, _ *bpcc.Column, _ time.Time) string { return a.Last },
	"first_last_name": func(a *agent, _ *bpcc.Column, _ time.Time) string { return strings.TrimSpace(a.First + " " + a.Last) },
	"last_first_name": func(a *agent, _ *bpcc.Column, _ time.Time) string { return strings.TrimSpace(a.Last + " " + a.First) },
	"team_id":         func(a *agent, _ *bpcc.Column, _ time.Time) string { return a.teamID },
	"team_name":       func(a *agent, _ *bpcc.Column, _ time.Time) string { return a.Team },
	"is_agent":        func(*agent, *bpcc.Column, time.Time) string { return "true" },
	"extension":       func(a *agent, _ *bpcc.Column, _ time.Time) string { return a.Extension },
	"acd_state":       func(a *agent, _ *bpcc.Column, _ time.Time) string { return a.State },
	"acd_next_state":  func(a *agent, _ *bpcc.Column, _ time.Time) string { return a.NextState },
	"reason":          func(a *agent, _ *bpcc.Column, _ time.Time) string { return a.Reason },
	"state_duration": func(a *agent, _ *bpcc.Column, now time.Time) string {
		if a.State == "" {
			return ""
		}
		return formatSeconds(now.Sub(a.since))
	},
	"login_time": func(a *agent, _ *bpcc.Column, now time.Time) string { return formatSeconds(a.todayAt(now).logged) },
	"active_item_talk_duration": func(a *agent, _ *bpcc.Column, now time.Time) string {
		if a.State != "busy" {
			return ""
		}
		return formatSeconds(now.Sub(a.since) - a.holdTime)
	},
	"active_item_hold_duration": whileBusy(func(a *agent) string { return formatSeconds(a.holdTime) }),
	"active_item_media_type":    whileBusy(func(a *agent) string { return cmp.Or(a.media, "voice") }),
	"in_calls_handled_per_day":  func(a *agent, _ *bpcc.Column, _ time.Time) string { return strconv.Itoa(a.today.callsIn) },
	"out_calls_handled_per_day": func(a *agent, _ *bpcc.Column, _ time.Time) string { return strconv.Itoa(a.today.callsOut) },
	"agent_total_ready_time":    func(a *agent, _ *bpcc.Column, now time.Time) string { return formatSeconds(a.todayAt(now).ready) },
	"agent_total_busy_time":     func(a *agent, _ *bpcc.Column, now time.Time) string { return formatSeconds(a.todayAt(now).busy) },
	"agent_total_ACW_time":      func(a *agent, _ *bpcc.Column, now time.Time) string { return formatSeconds(a.todayAt(now).afterCall) },
	"agent_total_break_time":    func(a *agent, _ *bpcc.Column, now time.Time) string { return formatSeconds(a.todayAt(now).pause) },
	"calls_dispositions_per_day": func(a *agent, c *bpcc.Column, _ time.Time) string {
		return strconv.Itoa(a.dispositionCount(c.Dispositions))
	},
	"calls_average_handling_time_per_day": func(a *agent, _ *bpcc.Column, _ time.Time) string {
		if a.today.callsIn+a.today.callsOut == 0 {
			return "" // an average over nothing has no value
		}
		return formatSeconds(a.today.handling / time.Duration(a.today.callsIn+a.today.callsOut))
	},
}

func whileBusy(value func(*agent) string) agentStat {
	return func(a *agent, _ *bpcc.Column, _ time.Time) string {
		if a.State != "busy" {
			return ""
		}
		return value(a)
	}
}

// dispositionCount counts the calls that ended with one of the dispositions, or with any
// when none are named.
func (a *agent) dispositionCount(dispositions []string) int {
	if len(dispositions) == 0 {
		return a.today.dispositionTotal
	}
	n := 0
	for i, name := range dispositions {
		if !slices.Contains(dispositions[:i], name) {
			n += a.today.dispositions[name]
		}
	}
	return n
}
