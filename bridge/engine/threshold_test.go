package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
)

const backlog = `[{"name":"backlog","kind":"service","match":["Voice*"],"stat":"in_calls_waiting",
	"raise":{"op":">=","value":5},"clear":{"op":"<=","value":2},"for":"4s","severity":"critical"}]`

// thresholdsOf names the events about thresholds, as "raised backlog/Voice".
func thresholdsOf(events []event.Event) string {
	var out []string
	for i := range events {
		if about, ok := strings.CutPrefix(events[i].CESubject(), "threshold/"); ok {
			out = append(out, events[i].Verb()+" "+about)
		}
	}
	return strings.Join(out, ", ")
}

// TestThresholds: what a series of polls raises and clears.
func TestThresholds(t *testing.T) {
	t.Parallel()
	type step struct {
		show string // services and how many calls wait in each
		want string
	}
	const raised, cleared = "raised backlog/Voice", "cleared backlog/Voice"
	const simple = `[{"name":"backlog","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":5}%s}]`
	for name, test := range map[string]struct {
		rules string
		steps []step
		// Before the step of that number, from 1, it does something else.
		before map[int]func(b *bridge)
	}{
		"holds for its time":                        {backlog, []step{{"Voice=5", ""}, {"Voice=5", ""}, {"Voice=5", raised}, {"Voice=5", ""}}, nil},
		"holds while it changes":                    {backlog, []step{{"Voice=5", ""}, {"Voice=6", ""}, {"Voice=7", raised}}, nil},
		"breaks off":                                {backlog, []step{{"Voice=5", ""}, {"Voice=4", ""}, {"Voice=5", ""}, {"Voice=5", ""}, {"Voice=5", raised}}, nil},
		"between the two conditions nothing clears": {backlog, []step{{"Voice=5", ""}, {"Voice=5", ""}, {"Voice=5", raised}, {"Voice=3", ""}, {"Voice=2", cleared}, {"Voice=3", ""}}, nil},
		"rises and falls again": {backlog, []step{
			{"Voice=5", ""}, {"Voice=5", ""}, {"Voice=5", raised}, {"Voice=0", cleared},
			{"Voice=5", ""}, {"Voice=5", ""}, {"Voice=5", raised}, {"Voice=0", cleared},
		}, nil},
		"matches by glob":             {backlog, []step{{"Chat=9 Voice=0", ""}, {"Chat=9 Voice=0", ""}, {"Chat=9 Voice=0", ""}, {"Chat=9 Voice=0", ""}}, nil},
		"at once, without a duration": {fmt.Sprintf(simple, ""), []step{{"Voice=5", raised}, {"Voice=4", cleared}}, nil},
		"a row that appears":          {fmt.Sprintf(simple, ""), []step{{"Chat=0", ""}, {"Chat=0 Voice=5", raised}}, nil},
		"several, by rule and then by id": {
			`[{"name":"b","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":5}},{"name":"a","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":1}}]`,
			[]step{{"Voice=5 Chat=6", "raised b/Chat, raised b/Voice, raised a/Chat, raised a/Voice"}, {"Voice=0 Chat=0", "cleared b/Chat, cleared b/Voice, cleared a/Chat, cleared a/Voice"}}, nil,
		},
		"no value holds":                       {fmt.Sprintf(simple, ""), []step{{"Voice=7", raised}, {"Voice=", ""}, {"Voice=none", ""}, {"Voice=1", cleared}}, nil},
		"no value clears, if the rule says so": {fmt.Sprintf(simple, `,"missing":"clear"`), []step{{"Voice=7", raised}, {"Voice=", cleared}, {"Voice=none", ""}, {"Voice=7", raised}, {"Voice=none", cleared}}, nil},
		"no value does not raise":              {backlog, []step{{"Voice=", ""}, {"Voice=", ""}, {"Voice=", ""}, {"Voice=", ""}}, nil},
		"no value leaves what is pending":      {backlog, []step{{"Voice=5", ""}, {"Voice=", ""}, {"Voice=5", raised}}, nil},
		"raised is not raised again by a restart": {backlog, []step{{"Voice=5", ""}, {"Voice=5", ""}, {"Voice=5", raised}, {"Voice=7", ""}, {"Voice=7", ""}, {"Voice=2", cleared}},
			map[int]func(*bridge){4: func(b *bridge) { b.restart() }}},
		"cleared by what a restart finds": {backlog, []step{{"Voice=5", ""}, {"Voice=5", ""}, {"Voice=5", raised}, {"Voice=1", cleared}},
			map[int]func(*bridge){4: func(b *bridge) { b.restart() }}},
		"pending begins again at a restart": {backlog, []step{{"Voice=5", ""}, {"Voice=5", ""}, {"Voice=5", ""}, {"Voice=5", ""}, {"Voice=5", raised}},
			map[int]func(*bridge){3: func(b *bridge) { b.restart() }}},
		// What was not seen does not count.
		"pending begins again after an interruption": {backlog, []step{{"Voice=5", ""}, {"Voice=5", ""}, {"Voice=5", ""}, {"Voice=5", ""}, {"Voice=5", raised}},
			map[int]func(*bridge){3: func(b *bridge) { b.interrupt("source") }}},
		"pending goes on over a poll that fails": {backlog, []step{{"Voice=5", ""}, {"Voice=5", raised}},
			map[int]func(*bridge){2: func(b *bridge) { b.fail("source") }}},
		"raised stays raised over an interruption": {backlog, []step{{"Voice=5", ""}, {"Voice=5", ""}, {"Voice=5", raised}, {"Voice=5", ""}, {"Voice=2", cleared}},
			map[int]func(*bridge){4: func(b *bridge) { b.interrupt("source") }}},
		"the service is gone":                     {fmt.Sprintf(simple, ""), []step{{"Chat=0 Voice=7", raised}, {"Chat=0", ""}, {"Chat=0", cleared}, {"Chat=0", ""}, {"Chat=0 Voice=7", raised}}, nil},
		"the service is gone while it is pending": {backlog, []step{{"Chat=0 Voice=7", ""}, {"Chat=0", ""}, {"Chat=0", ""}, {"Chat=0 Voice=7", ""}, {"Chat=0 Voice=7", ""}, {"Chat=0 Voice=7", raised}}, nil},
		"the rule is gone": {fmt.Sprintf(simple, ""), []step{{"Voice=7", raised}, {"Voice=7", cleared}, {"Voice=7", ""}},
			map[int]func(*bridge){2: func(b *bridge) { b.restart(func(o *engine.Options) { o.Rules = nil }) }}},
		"the rule does not match any more": {fmt.Sprintf(simple, ""), []step{{"Voice=7", raised}, {"Voice=7", cleared}, {"Voice=7", ""}},
			map[int]func(*bridge){2: func(b *bridge) { b.restart(func(o *engine.Options) { o.Rules[0].Match = []string{"Chat"} }) }}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, rules(t, test.rules))
			for i, step := range test.steps {
				if before := test.before[i+1]; before != nil {
					before(b)
				}
				if got := thresholdsOf(b.poll(services(step.show))); got != step.want {
					t.Errorf("step %d, %s: %q, want %q", i+1, step.show, got, step.want)
				}
			}
		})
	}
}

// TestThresholdEvents: what the events of one alert say.
func TestThresholdEvents(t *testing.T) {
	t.Parallel()
	b := start(t, rules(t, backlog))
	b.poll(services("Voice=1"))
	b.poll(services("Voice=5"))
	pending := event.Ceil(b.now)
	b.poll(services("Voice=5"))
	seen := b.sent()
	e := b.only("raised", b.poll(services("Voice=5")), "threshold/backlog/Voice raised")
	text := func(s string) *string { return &s }
	want := &event.ThresholdData{
		EntityBase: event.EntityBase{Base: event.Base{Tenant: "acme", Poll: 5}, Revision: 1, Observed: event.Between(seen, b.now)},
		Rule:       "backlog", Severity: "critical", Entity: event.EntityRef{Kind: "service", ID: "Voice"},
		Stat: "in_calls_waiting", Value: text("5"), Limit: 5, Op: ">=", For: "4s", PendingSince: pending,
	}
	if d := cmp.Diff(want, dataOf[*event.ThresholdData](b, e)); d != "" {
		t.Errorf("raised (-want +got)\n%s", d)
	}
	if !e.Time.Equal(b.now) || e.ViewKey() != "threshold.backlog.Voice" {
		t.Errorf("raised at %v under %s", e.Time, e.ViewKey())
	}
	seen = b.sent()
	events := b.poll(services("Voice=2"))
	b.expect("cleared", events, "service/Voice stats_changed, threshold/backlog/Voice cleared")
	want.Poll, want.Revision, want.Observed, want.Value = 6, 2, event.Between(seen, b.now), text("2")
	want.Limit, want.Op, want.ClearedBy = 2, "<=", "condition"
	if d := cmp.Diff(want, last[*event.ThresholdData](b, "threshold.backlog.Voice")); d != "" {
		t.Errorf("cleared (-want +got)\n%s", d)
	}
}

// TestClearedBy: why alerts end whose entity or rule is gone, and that such an event
// has no value.
func TestClearedBy(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		then func(b *bridge)
		want string
	}{
		"entity_gone": {func(b *bridge) { b.poll(services("Chat=9")); b.poll(services("Chat=9")) }, "entity_gone"},
		"rule_removed": {func(b *bridge) {
			b.restart(func(o *engine.Options) { o.Rules = nil })
			b.poll(services("Chat=9 Voice=9"))
		}, "rule_removed"},
		"a rule of another kind": {func(b *bridge) {
			b.restart(func(o *engine.Options) { o.Rules[0].Kind = event.Agent })
			b.poll(services("Chat=9 Voice=9"))
		}, "rule_removed"},
		"no match any more": {func(b *bridge) {
			b.restart(func(o *engine.Options) { o.Rules[0].Match = []string{"Mail"} })
			b.poll(services("Chat=9 Voice=9"))
		}, "entity_gone"},
		"condition": {func(b *bridge) { b.poll(services("Chat=9 Voice=0")) }, "condition"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, rules(t, strings.ReplaceAll(backlog, `"4s"`, `"0s"`)))
			b.poll(services("Chat=9 Voice=9"))
			raised := last[*event.ThresholdData](b, "threshold.backlog.Voice")
			test.then(b)
			cleared := last[*event.ThresholdData](b, "threshold.backlog.Voice")
			if cleared.ClearedBy != test.want || cleared.Revision != 2 || (cleared.Value == nil) != (test.want != "condition") {
				t.Errorf("cleared: %+v; want it cleared by %s", cleared, test.want)
			}
			if !cleared.PendingSince.Equal(raised.PendingSince.Time) || cleared.Severity != "critical" {
				t.Errorf("pending since %v, %s; it was raised as pending since %v, critical", cleared.PendingSince, cleared.Severity, raised.PendingSince)
			}
			if n := len(b.named("threshold.raised")) + len(b.named("threshold.cleared")); n != 2 {
				t.Errorf("%d events about thresholds, want 2", n)
			}
		})
	}
}

// TestRuleChanged: what is raised stays raised under the changed rule, and clears by
// its condition.
func TestRuleChanged(t *testing.T) {
	t.Parallel()
	b := start(t, rules(t, `[{"name":"backlog","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":5}}]`))
	b.poll(services("Voice=7"))
	b.stop()
	b.restart(rules(t, `[{"name":"backlog","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":20},"clear":{"op":"<","value":3},"severity":"critical"}]`))
	b.expect("the rule is another", b.poll(services("Voice=7")), "")
	b.expect("its condition holds", b.poll(services("Voice=2")), "service/Voice stats_changed, threshold/backlog/Voice cleared")
	cleared := last[*event.ThresholdData](b, "threshold.backlog.Voice")
	if cleared.Limit != 3 || cleared.Op != "<" || cleared.Severity != "critical" || cleared.ClearedBy != "condition" {
		t.Errorf("cleared: %+v", cleared)
	}
	if n := len(b.named("threshold.raised")); n != 1 {
		t.Errorf("raised %d times", n)
	}
}

// TestAgentThreshold: a rule on a clock that concerns some states alone.
func TestAgentThreshold(t *testing.T) {
	t.Parallel()
	b := start(t, rules(t, `[{"name":"long break","kind":"agent","stat":"state_duration","when":{"acd_state":["not_ready"]},"raise":{"op":">","value":900}}]`))
	b.poll(agents("anna=not_ready:0 bob=ready:0"))
	b.expect("in time", b.poll(agents("anna=not_ready:900 bob=ready:900")), "")
	// Nothing but clocks has changed.
	e := b.only("too long", b.poll(agents("anna=not_ready:960 bob=ready:960")), "threshold/long break/anna raised")
	if got := e.ViewKey(); got != "threshold.long=20break.anna" {
		t.Errorf("key %s", got)
	}
	b.expect("the rule does not concern her any more", b.poll(agents("anna=ready:1 bob=ready:962")),
		"agent/anna state_changed, threshold/long break/anna cleared")
	if got := last[*event.ThresholdData](b, "threshold.long=20break.anna"); got.ClearedBy != "condition" {
		t.Errorf("cleared by %s", got.ClearedBy)
	}
	b.expect("another state", b.poll(agents("anna=busy:901 bob=not_ready:1")), "agent/anna state_changed, agent/bob state_changed")
}

// TestTotalsThreshold: a rule on totals.
func TestTotalsThreshold(t *testing.T) {
	t.Parallel()
	b := start(t, rules(t, `[{"name":"low","kind":"totals","stat":"service_level","raise":{"op":"<","value":0.8}}]`))
	show := func(level string) snapshot { return snapshot{totals: row{"service_level": level}} }
	b.expect("good", b.poll(show("0.9")), "totals/bridge observed")
	b.expect("bad", b.poll(show("0.79")), "totals/bridge stats_changed, threshold/low/bridge raised")
	b.expect("good again", b.poll(show("0.8")), "totals/bridge stats_changed, threshold/low/bridge cleared")
}

// TestThresholdWithoutColumn: a row that is new and lacks the column of a rule has no
// value.
func TestThresholdWithoutColumn(t *testing.T) {
	t.Parallel()
	b := start(t, rules(t, `[
		{"name":"hold","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":0}},
		{"name":"clear","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":0},"missing":"clear"},
		{"name":"when","kind":"totals","stat":"service_level","when":{"in_calls_waiting":["0"]},"raise":{"op":">=","value":0}}]`))
	show := snapshot{services: map[string]row{"Voice": {"group": "A"}}, totals: row{}}
	b.expect("new", b.poll(show), "service/Voice observed, totals/bridge observed")
	b.expect("changed", b.poll(show.setService("Voice", "group", "B")), "service/Voice stats_changed")
	b.expect("with it", b.poll(show.setService("Voice", "in_calls_waiting", "0")),
		"service/Voice stats_changed, threshold/hold/Voice raised, threshold/clear/Voice raised")
	b.expect("without it again, it keeps its value", b.poll(show), "")
}

// TestThresholdAfterGap: an alert that a time without sight hides says so.
func TestThresholdAfterGap(t *testing.T) {
	t.Parallel()
	b := start(t, rules(t, `[{"name":"backlog","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":5}}]`))
	b.poll(services("Voice=1"))
	seen := b.sent()
	b.interrupt("source")
	b.poll(services("Voice=9"))
	got := last[*event.ThresholdData](b, "threshold.backlog.Voice")
	if d := cmp.Diff(event.Between(seen, b.now), got.Observed); d != "" || !got.AfterGap {
		t.Errorf("after_gap %v, window (-want +got)\n%s", got.AfterGap, d)
	}
	b.poll(services("Voice=1"))
	if got := last[*event.ThresholdData](b, "threshold.backlog.Voice"); got.AfterGap {
		t.Error("the next event says after_gap as well")
	}
}

// TestFiringIsCounted: what health and metrics show of alerts.
func TestFiringIsCounted(t *testing.T) {
	t.Parallel()
	b := start(t, rules(t, strings.ReplaceAll(backlog, `"4s"`, `"0s"`)))
	b.poll(services("Voice=5 Voice2=5 Chat=5"))
	want := map[engine.FiringRule]int{{Rule: "backlog", Severity: "critical"}: 2}
	if d := cmp.Diff(want, b.engine.Stats().Firing); d != "" {
		t.Errorf("firing (-want +got)\n%s", d)
	}
	b.poll(services("Voice=0 Voice2=0 Chat=5"))
	if got := b.engine.Stats().Firing; len(got) > 0 {
		t.Errorf("firing: %v", got)
	}
}
