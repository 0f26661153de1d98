package engine

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/rule"
	"bpcc-nats/diff"
	"bpcc-nats/diff/image"
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

// evaluation is the evaluation of the rules on one snapshot.
type evaluation struct {
	*Engine
	batch *Batch
	now   time.Time // when the snapshot was received
	// refused reports, by rule, whether the server refuses a statistic that the rule reads.
	refused []bool
	// arrivals are the entities that no earlier snapshot has shown, with what is published of them;
	// nil until they are needed.
	arrivals map[event.EntityRef]diff.Op
}

// thresholdEvents evaluates the rules on the entities that have changed, are pending or are firing.
// For all others the result is the same as before. A rule is evaluated only on what this snapshot
// shows: where a row or a column is missing, the alert neither fires nor clears.
func (e *Engine) thresholdEvents(b *Batch, o Observation) []event.Event {
	if len(e.rules.all) == 0 && len(e.published.firing) == 0 {
		return nil
	}
	t := evaluation{Engine: e, batch: b, now: o.Received, refused: make([]bool, len(e.rules.all))}
	for i := range e.rules.all {
		t.refused[i] = e.rules.all[i].ReadsAny(o.Refused)
	}
	for key := range e.published.firing {
		delete(e.observed.pending, key)
	}
	alerts := slices.AppendSeq(slices.Collect(maps.Keys(e.published.firing)), maps.Keys(e.observed.pending))
	var out []event.Event
	for i := range e.rules.all {
		out = append(out, t.evaluateRule(i, alerts)...)
	}
	out = append(out, t.resolveOrphans(alerts)...)
	for i := range out {
		d := out[i].Data.(*event.ThresholdData)
		d.Base, d.AfterGap = e.base(), b.gap
		out[i] = e.numbered(out[i])
	}
	t.forgetDeparted()
	return out
}

// restartPending lets conditions that hold begin to hold at the next poll that shows them: what was
// not seen does not count. They stay pending, for a row that has not changed is evaluated for no
// other reason.
func (e *Engine) restartPending() {
	for key := range e.observed.pending {
		e.observed.pending[key] = time.Time{}
	}
}

// evaluateRule returns the events of one rule, in order of its entities.
func (t *evaluation) evaluateRule(i int, alerts []alertKey) []event.Event {
	r, state := &t.rules.all[i], &t.published.state
	if t.refused[i] {
		return nil
	}
	var out []event.Event
	evaluate := func(latest diff.EntityView) {
		if ev, ok := t.evaluateOne(i, latest); ok {
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
		if _, pending := t.observed.pending[key]; !pending && t.published.firing[key] == nil {
			evaluate(latest)
		}
	}
	slices.SortFunc(out, func(a, b event.Event) int {
		return strings.Compare(a.Data.(*event.ThresholdData).Entity.ID, b.Data.(*event.ThresholdData).Entity.ID)
	})
	return out
}

// evaluateOne reports whether a rule raises or clears on an entity now, and returns the event. It
// changes only what is observed; the firing alerts change when the event is acknowledged.
func (t *evaluation) evaluateOne(i int, latest diff.EntityView) (event.Event, bool) {
	r, id := &t.rules.all[i], latest.ID()
	key, o := keyOf(r, id), &t.observed
	text, seen := latest.Seen(r.Stat)
	value, number := 0.0, false
	if seen {
		value, number = r.Number(text)
	}
	holds := number && r.Raise.Holds(value)
	firing := t.published.firing[key]
	since, pending := o.pending[key]
	if seen && !holds && firing == nil && !pending && (number || rule.Empty(text)) {
		delete(o.unseen, key)
		delete(o.unreadable[i].ids, id)
		return event.Event{}, false
	}
	if !t.rules.matches[i].MatchString(id) {
		return event.Event{}, false
	}
	applies, known := r.AppliesTo(latest.Seen)
	if !seen || !known {
		t.pause(key)
		return event.Event{}, false
	}
	seenUntil, returned := o.unseen[key]
	delete(o.unseen, key)
	t.checkText(i, id, text, !applies || number || rule.Empty(text))
	if !number && applies && r.Missing != "clear" {
		return event.Event{}, false
	}
	if firing != nil {
		if !number || !applies || r.Clears(value) {
			d := thresholdData(r, key, text, r.ClearCondition())
			d.PendingSince, d.ClearedBy, d.Observed = firing.PendingSince, event.ClearedByCondition, t.alertWindow(key, seenUntil, returned)
			return event.Event{Name: event.ThresholdCleared, Time: t.now, Data: d}, true
		}
		return event.Event{}, false
	}
	if !holds || !applies {
		delete(o.pending, key)
		return event.Event{}, false
	}
	if since.IsZero() {
		since = t.now
		o.pending[key] = since
	}
	if t.now.Sub(since) < time.Duration(r.For) {
		return event.Event{}, false
	}
	d := thresholdData(r, key, text, r.Raise)
	d.PendingSince, d.Observed = event.Ceil(since), t.alertWindow(key, seenUntil, returned)
	return event.Event{Name: event.ThresholdRaised, Time: t.now, Data: d}, true
}

// pause suspends an alert whose row or columns the snapshot does not show. If it is pending, its
// condition begins to hold again when it is seen again.
func (t *evaluation) pause(key alertKey) {
	o := &t.observed
	if _, pending := o.pending[key]; pending {
		o.pending[key] = time.Time{}
	}
	if _, known := o.unseen[key]; !known {
		o.unseen[key] = t.seenBefore(key.entity)
	}
}

// alertWindow returns the window of an alert that changes now. It begins where the entity was last
// seen before, or where the alert was paused.
func (t *evaluation) alertWindow(key alertKey, pausedSince time.Time, paused bool) event.Window {
	after := t.seenBefore(key.entity)
	if paused && pausedSince.Before(after) {
		after = pausedSince
	}
	return event.Between(after, t.now)
}

// seenBefore returns until when an entity was observed before this poll, zero if that is not known.
func (t *evaluation) seenBefore(entity event.EntityRef) time.Time {
	op, seenUntil := diff.Changed, t.published.state.SeenUntil(image.Kind(entity.Kind), entity.ID)
	if seenUntil.IsZero() {
		op = cmp.Or(t.arrival(entity), diff.Changed)
	}
	return t.windowStart(op, seenUntil)
}

// arrival returns what is published of an entity that no earlier snapshot has shown: that it is
// observed or has appeared; "" for another entity.
func (t *evaluation) arrival(entity event.EntityRef) diff.Op {
	if t.arrivals == nil {
		t.arrivals = map[event.EntityRef]diff.Op{}
		for _, c := range t.batch.changes {
			if c.Op == diff.Observed || c.Op == diff.Appeared {
				t.arrivals[event.EntityRef{Kind: string(c.Kind), ID: c.ID}] = t.publishedOp(t.batch, &c)
			}
		}
	}
	return t.arrivals[entity]
}

func thresholdData(r *rule.Rule, key alertKey, value string, c rule.Condition) *event.ThresholdData {
	return &event.ThresholdData{
		Rule: r.Name, Severity: r.Severity, Entity: key.entity, Stat: r.Stat, Value: &value, Limit: c.Value, Op: c.Op, For: r.For.String(),
	}
}

// resolveOrphans clears the alerts whose entity or rule no longer exists, or whose statistic the
// server refuses, in order of rule and entity.
func (t *evaluation) resolveOrphans(alerts []alertKey) []event.Event {
	var out []event.Event
	for _, key := range alerts {
		reason := t.orphanedBy(key)
		if reason == "" {
			continue
		}
		firing := t.published.firing[key]
		if firing == nil {
			delete(t.observed.pending, key)
			continue
		}
		d := *firing
		d.Value, d.ClearedBy, d.Observed = nil, reason, t.alertWindow(key, time.Time{}, false)
		out = append(out, event.Event{Name: event.ThresholdCleared, Time: t.now, Data: &d})
	}
	order := func(ev event.Event) string {
		d := ev.Data.(*event.ThresholdData)
		return d.Rule + "/" + d.Entity.ID
	}
	slices.SortFunc(out, func(a, b event.Event) int { return strings.Compare(order(a), order(b)) })
	return out
}

// orphanedBy returns why an alert must end without its condition, "" if it need not.
func (t *evaluation) orphanedBy(key alertKey) string {
	i := t.rules.index(key)
	if i < 0 {
		return event.ClearedByRuleRemoved
	}
	_, present := t.published.state.Latest(image.Kind(key.entity.Kind), key.entity.ID)
	switch {
	case !present || !t.rules.matches[i].MatchString(key.entity.ID):
		return event.ClearedByEntityGone
	case t.refused[i]:
		return event.ClearedByStatUnavailable
	}
	return ""
}
