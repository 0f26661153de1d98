package record

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/rule"
	"bpcc-nats/bridge/source"
)

// Summary is the result of a backtest.
type Summary struct {
	Tenant string
	// From is when the first recording began, To when the last poll ended.
	From, To time.Time
	// Polls counts the polls, Good the good ones.
	Polls, GoodPolls int
	// Gaps are the gaps that the feed would have published.
	Gaps []Gap
	// Events counts the events by name, checkpoints included; with several rule sets those of the
	// first one.
	Events map[string]int
	// Sets holds, for each rule set, what it would have raised, in the order given.
	Sets []SetSummary
	// Warnings name incomplete recordings, and rules that cannot read their statistic.
	Warnings []string
}

// Gap is a time without a good poll.
type Gap struct {
	// From is when the last good poll before it was sent, zero if there was
	// none; To when the first one after it was received, zero if there is none.
	From, To time.Time
}

// SetSummary is what one rule set would have raised.
type SetSummary struct {
	Name  string
	Rules []RuleSummary
}

// RuleSummary is what one rule would have raised.
type RuleSummary struct {
	Name string
	// Raised and Cleared count events; Open is how many are still raised at the end.
	Raised, Cleared, StillRaised int
	// Total is how long it was raised, summed over entities, and Longest the longest of these
	// times. What is still raised counts up to the end.
	Total, Longest time.Duration
	// Entities counts the entities that it was raised on.
	Entities int
}

// gapEndedBy returns the gap that a good poll ends. It must be called before the engine gets the
// observation.
func gapEndedBy(o engine.Observation, e *engine.Engine) *Gap {
	if o.Err != nil || !e.EndsGap(o.Received) {
		return nil
	}
	return &Gap{e.Stats().ObservedUntil, o.Received}
}

// addPoll counts one poll; err is the engine's error for it.
func (s *Summary) addPoll(o engine.Observation, err error, gap *Gap) {
	s.To = o.At
	if errors.Is(o.Err, engine.ErrPending) {
		return
	}
	s.Polls++
	if o.Err != nil || err != nil {
		return
	}
	s.GoodPolls++
	if gap != nil {
		s.Gaps = append(s.Gaps, *gap)
	}
}

// finish completes the summary.
func (s *Summary) finish(runs []*ruleSetRun) {
	for _, t := range runs {
		s.Sets = append(s.Sets, SetSummary{t.set.Name, t.stats.finishRules(s.To)})
		for _, u := range t.unreadable {
			s.Warnings = append(s.Warnings, fmt.Sprintf("%s: rule %s; %s", t.set.Name, source.DescribeUnreadable(u), source.UnreadableHint))
		}
	}
	if e := runs[0].engine; e != nil {
		if stats := e.Stats(); stats.Cause != "" {
			s.Gaps = append(s.Gaps, Gap{From: stats.ObservedUntil})
		}
	}
}

// alert is a rule on one entity.
type alert struct {
	rule   string
	entity event.EntityRef
}

// ruleStats counts what the rules of a set raise.
type ruleStats struct {
	rules       []RuleSummary
	raisedSince map[alert]time.Time // since when
	everRaised  map[alert]bool      // at any time
}

func newRuleStats(rules []rule.Rule) ruleStats {
	t := ruleStats{raisedSince: map[alert]time.Time{}, everRaised: map[alert]bool{}}
	for _, r := range rules {
		t.rules = append(t.rules, RuleSummary{Name: r.Name})
	}
	return t
}

// countEvent counts an event of a threshold.
func (t *ruleStats) countEvent(ev *event.Event) {
	d, ok := ev.Data.(*event.ThresholdData)
	if !ok {
		return
	}
	i := slices.IndexFunc(t.rules, func(r RuleSummary) bool { return r.Name == d.Rule })
	if i < 0 {
		return
	}
	r, key := &t.rules[i], alert{d.Rule, d.Entity}
	if ev.Name == event.ThresholdRaised {
		r.Raised++
		if !t.everRaised[key] {
			r.Entities++
		}
		t.everRaised[key], t.raisedSince[key] = true, ev.Time
		return
	}
	r.Cleared++
	r.addDuration(ev.Time.Sub(t.raisedSince[key]))
	delete(t.raisedSince, key)
}

func (r *RuleSummary) addDuration(d time.Duration) {
	r.Total += d
	r.Longest = max(r.Longest, d)
}

// finishRules counts what is still raised at the end and orders the rules by name.
func (t *ruleStats) finishRules(end time.Time) []RuleSummary {
	for key, since := range t.raisedSince {
		i := slices.IndexFunc(t.rules, func(r RuleSummary) bool { return r.Name == key.rule })
		t.rules[i].StillRaised++
		t.rules[i].addDuration(end.Sub(since))
	}
	slices.SortFunc(t.rules, func(a, b RuleSummary) int { return cmp.Compare(a.Name, b.Name) })
	return t.rules
}
