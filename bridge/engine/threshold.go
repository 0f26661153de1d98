package engine

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/rule"
	"bpcc-nats/diff"
)

// alertKey identifies a rule on one entity. As in Prometheus, an alert is pending while its
// condition holds and has not held for long enough, and then fires.
type alertKey struct {
	rule   string
	entity event.EntityRef
}

func keyOf(r *rule.Rule, id string) alertKey {
	return alertKey{r.Name, event.EntityRef{Kind: string(r.Kind), ID: id}}
}

// of reports whether the alert is of the rule.
func (k alertKey) of(r *rule.Rule) bool { return k.rule == r.Name && k.entity.Kind == string(r.Kind) }

// rules are the threshold rules and what they match.
type rules struct {
	all     []rule.Rule
	matches []*regexp.Regexp
}

func newRules(all []rule.Rule) rules {
	r := rules{all: all}
	for i := range all {
		r.matches = append(r.matches, rule.Globs(all[i].Match))
	}
	return r
}

// index returns the index of an alert's rule, -1 if the rule was removed.
func (r *rules) index(key alertKey) int {
	return slices.IndexFunc(r.all, func(r rule.Rule) bool { return key.of(&r) })
}

// thresholdEvents evaluates the rules on the latest images of the entities that have changed, are
// pending or are firing. For all others the result is the same as before.
func (e *Engine) thresholdEvents(o Observation, gap bool) []event.Event {
	if len(e.rules.all) == 0 && len(e.published.firing) == 0 {
		return nil
	}
	for key := range e.published.firing {
		delete(e.observed.pending, key)
	}
	alerts := slices.AppendSeq(slices.Collect(maps.Keys(e.published.firing)), maps.Keys(e.observed.pending))
	var out []event.Event
	for i := range e.rules.all {
		out = append(out, e.evaluateRule(i, alerts, o.Received)...)
	}
	out = append(out, e.resolveOrphans(alerts, o.Received)...)
	for i := range out {
		d := out[i].Data.(*event.ThresholdData)
		d.Base, d.Observed, d.AfterGap = e.base(), event.Between(e.observed.until, o.Received), gap
		out[i] = e.numbered(out[i])
	}
	return out
}

// restartPending lets conditions that hold begin to hold now: the time of a gap
// does not count. They stay pending, for a row that has not changed is evaluated for
// no other reason.
func (e *Engine) restartPending() {
	for key := range e.observed.pending {
		e.observed.pending[key] = time.Time{}
	}
}

// evaluateRule returns the events of one rule, in order of its entities.
func (e *Engine) evaluateRule(i int, alerts []alertKey, now time.Time) []event.Event {
	r, state := &e.rules.all[i], &e.published.state
	var out []event.Event
	evaluate := func(latest diff.EntityView) {
		if ev, ok := e.evaluateOne(i, latest, now); ok {
			out = append(out, ev)
		}
	}
	for _, key := range alerts {
		if !key.of(r) {
			continue
		}
		if latest, present := state.Latest(r.Kind, key.entity.ID); present {
			evaluate(latest)
		}
	}
	for latest := range state.Touched(r.Kind) {
		key := keyOf(r, latest.ID())
		if _, pending := e.observed.pending[key]; !pending && e.published.firing[key] == nil {
			evaluate(latest)
		}
	}
	slices.SortFunc(out, func(a, b event.Event) int {
		return strings.Compare(a.Data.(*event.ThresholdData).Entity.ID, b.Data.(*event.ThresholdData).Entity.ID)
	})
	return out
}

// evaluateOne reports whether a rule raises or clears on an entity now, and returns the event. It
// changes only the pending alerts; the firing ones change when the event is acknowledged.
func (e *Engine) evaluateOne(i int, latest diff.EntityView, now time.Time) (event.Event, bool) {
	r := &e.rules.all[i]
	text := latest.Text(r.Stat)
	value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	missing := err != nil
	holds := !missing && r.Raise.Holds(value)
	key := keyOf(r, latest.ID())
	firing := e.published.firing[key]
	since, pending := e.observed.pending[key]
	if firing == nil && !pending && !holds || !e.rules.matches[i].MatchString(latest.ID()) {
		return event.Event{}, false
	}
	applies := appliesTo(r, latest)
	if missing && applies && r.Missing != "clear" {
		return event.Event{}, false
	}
	if firing != nil {
		if missing || !applies || r.Clears(value) {
			d := thresholdData(r, key, text, r.ClearCondition())
			d.PendingSince, d.ClearedBy = firing.PendingSince, "condition"
			return event.Event{Name: "threshold.cleared", Time: now, Data: d}, true
		}
		return event.Event{}, false
	}
	if !holds || !applies {
		delete(e.observed.pending, key)
		return event.Event{}, false
	}
	if since.IsZero() {
		since = now
		e.observed.pending[key] = since
	}
	if now.Sub(since) < time.Duration(r.For) {
		return event.Event{}, false
	}
	d := thresholdData(r, key, text, r.Raise)
	d.PendingSince = event.Ceil(since)
	return event.Event{Name: event.ThresholdRaised, Time: now, Data: d}, true
}

// appliesTo reports whether a rule applies to an entity with this image.
func appliesTo(r *rule.Rule, latest diff.EntityView) bool {
	for stat, texts := range r.When {
		if !slices.Contains(texts, latest.Text(stat)) {
			return false
		}
	}
	return true
}

func thresholdData(r *rule.Rule, key alertKey, value string, c rule.Condition) *event.ThresholdData {
	return &event.ThresholdData{
		Rule: r.Name, Severity: r.Severity, Entity: key.entity, Stat: r.Stat, Value: &value, Limit: c.Value, Op: c.Op, For: r.For.String(),
	}
}

// resolveOrphans clears the alerts whose entity or rule no longer exists, in order of both.
func (e *Engine) resolveOrphans(alerts []alertKey, now time.Time) []event.Event {
	var out []event.Event
	for _, key := range alerts {
		i := e.rules.index(key)
		_, present := e.published.state.Latest(diff.Kind(key.entity.Kind), key.entity.ID)
		if present && i >= 0 && e.rules.matches[i].MatchString(key.entity.ID) {
			continue
		}
		firing := e.published.firing[key]
		if firing == nil {
			delete(e.observed.pending, key)
			continue
		}
		d := *firing
		d.Value, d.ClearedBy = nil, "entity_gone"
		if i < 0 {
			d.ClearedBy = "rule_removed"
		}
		out = append(out, event.Event{Name: "threshold.cleared", Time: now, Data: &d})
	}
	order := func(ev event.Event) string {
		d := ev.Data.(*event.ThresholdData)
		return d.Rule + "/" + d.Entity.ID
	}
	slices.SortFunc(out, func(a, b event.Event) int { return strings.Compare(order(a), order(b)) })
	return out
}
