package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/diff/image"
	"bpcc-nats/diff/layout"
)

// showing is services whose value - means that the row lacks the column.
func showing(text string) snapshot {
	s := services(text)
	for _, r := range s.services {
		if r["in_calls_waiting"] == "-" {
			delete(r, "in_calls_waiting")
		}
	}
	return s
}

// withQueues is that text for each of so many more services without calls, from one number on.
func withQueues(text string, from, to int) string {
	for i := from; i < to; i++ {
		text += fmt.Sprintf(" Q%02d=0", i)
	}
	return text
}

// TestUnseen: what a poll does not show neither counts nor raises nor clears.
func TestUnseen(t *testing.T) {
	t.Parallel()
	const rule = `[{"name":"backlog","kind":"service","match":["Voice"],"stat":"in_calls_waiting","raise":{"op":">=","value":5},"clear":{"op":"<=","value":2},"for":"4s"%s}]`
	held, simple := fmt.Sprintf(rule, ""), strings.ReplaceAll(fmt.Sprintf(rule, ""), `"4s"`, `"0s"`)
	const raised, cleared = "raised backlog/Voice", "cleared backlog/Voice"
	later := func(after int) func(*engine.Options) { return func(o *engine.Options) { o.DisappearAfter = after } }
	limited := func(o *engine.Options) { o.Layout.Grids[1].Limit = 2 }
	type steps [][2]string // what a poll shows, and the events about thresholds
	for name, test := range map[string]struct {
		rules   string
		options func(*engine.Options)
		before  map[int]func(*bridge)
		steps   steps
	}{
		"a row that is missing once begins the time anew": {held, nil, nil, steps{
			{"Voice=9 Chat=0", ""}, {"Chat=0", ""}, {"Voice=9 Chat=0", ""}, {"Voice=9 Chat=0", ""}, {"Voice=9 Chat=0", raised},
		}},
		"a row that stays missing raises nothing": {held, later(9), nil, steps{
			{"Voice=9 Chat=0", ""}, {"Chat=0", ""}, {"Chat=1", ""}, {"Chat=2", ""}, {"Chat=2", ""}, {"Chat=2", ""},
		}},
		"missing in the same bytes": {held, later(9), nil, steps{
			{"Voice=9 Chat=0", ""}, {"Chat=0", ""}, {"Chat=0", ""}, {"Chat=0", ""}, {"Chat=0", ""}, {"Voice=9 Chat=0", ""}, {"Voice=9 Chat=0", ""}, {"Voice=9 Chat=0", raised},
		}},
		"a row that is back with less": {held, nil, nil, steps{{"Voice=9 Chat=0", ""}, {"Chat=0", ""}, {"Voice=1 Chat=0", ""}, {"Voice=9 Chat=0", ""}, {"Voice=9 Chat=0", ""}, {"Voice=9 Chat=0", raised}}},
		"a missing row clears nothing": {simple, later(3), nil, steps{{"Voice=9 Chat=0", raised}, {"Chat=0", ""}, {"Chat=1", ""}, {"Voice=3 Chat=0", ""}, {"Voice=2 Chat=0", cleared}}},
		"a row that is gone clears":    {simple, later(3), nil, steps{{"Voice=9 Chat=0", raised}, {"Chat=0", ""}, {"Chat=1", ""}, {"Chat=1", cleared}}},
		"a column that is missing once begins the time anew": {held, nil, nil, steps{
			{"Voice=9", ""}, {"Voice=-", ""}, {"Voice=9", ""}, {"Voice=9", ""}, {"Voice=9", raised},
		}},
		"a column that stays missing raises nothing": {held, nil, nil, steps{{"Voice=9", ""}, {"Voice=-", ""}, {"Voice=-", ""}, {"Voice=-", ""}, {"Voice=-", ""}, {"Voice=-", ""}}},
		"a missing column clears nothing":            {simple, nil, nil, steps{{"Voice=9", raised}, {"Voice=-", ""}, {"Voice=-", ""}, {"Voice=3", ""}, {"Voice=-", ""}, {"Voice=2", cleared}}},
		"a missing column is not an empty value": {strings.ReplaceAll(fmt.Sprintf(rule, `,"missing":"clear"`), `"4s"`, `"0s"`), nil, nil,
			steps{{"Voice=9", raised}, {"Voice=-", ""}, {"Voice=", cleared}, {"Voice=-", ""}, {"Voice=9", raised}}},
		"a column and a row by turns": {held, nil, nil, steps{
			{"Voice=9 Chat=0", ""}, {"Voice=- Chat=0", ""}, {"Chat=0", ""}, {"Voice=- Chat=0", ""}, {"Voice=9 Chat=0", ""}, {"Voice=9 Chat=0", ""}, {"Voice=9 Chat=0", raised},
		}},
		"a row behind a limit raises nothing": {held, limited, nil, steps{
			{"Chat=9 Voice=9", ""}, {"Chat=9 Mail=9", ""}, {"Chat=9 Mail=9", ""}, {"Chat=9 Mail=9", ""}, {"Chat=8 Mail=9", ""}, {"Chat=8 Voice=9", ""}, {"Chat=8 Voice=9", ""}, {"Chat=8 Voice=9", raised},
		}},
		"a row behind a limit clears nothing": {simple, limited, nil, steps{
			{"Chat=9 Voice=9", raised}, {"Chat=9 Mail=9", ""}, {"Chat=9 Mail=9", ""}, {"Chat=9 Mail=9", ""}, {"Chat=9 Voice=9", ""}, {"Chat=9 Voice=1", cleared},
		}},
		"a departure in a mass raises nothing": {held, nil, nil, steps{
			{withQueues("Voice=9", 0, 19), ""}, {withQueues("", 11, 19), ""}, {withQueues("", 11, 19), ""}, {withQueues("", 11, 19), ""}, {withQueues("", 11, 19), ""}, {withQueues("Voice=9", 11, 19), ""},
			{withQueues("Voice=9", 11, 19), ""}, {withQueues("Voice=9", 11, 19), raised},
		}},
		"a departure in a mass clears nothing": {simple, nil, nil, steps{
			{withQueues("Voice=9", 0, 19), raised}, {withQueues("", 11, 19), ""}, {withQueues("", 11, 19), ""}, {withQueues("", 11, 19), ""}, {withQueues("Voice=2", 11, 19), cleared},
		}},
		"an empty grid begins the time anew": {held, nil, nil, steps{{"Voice=9", ""}, {"", ""}, {"Voice=9", ""}, {"Voice=9", ""}, {"Voice=9", raised}}},
		"an empty grid clears nothing":       {simple, nil, nil, steps{{"Voice=9", raised}, {"", ""}, {"Voice=3", ""}}},
		"the same bytes show all that they showed": {held, nil, nil, steps{
			{"Voice=9", ""}, {"Voice=9", ""}, {"Voice=9", raised},
		}},
		"a row that a restart does not find": {simple, later(3), map[int]func(*bridge){2: func(b *bridge) { b.restart() }}, steps{
			{"Voice=9 Chat=0", raised}, {"Chat=0", ""}, {"Chat=0", ""}, {"Chat=0", cleared}, {"Chat=0", ""},
		}},
		"a row that a restart finds later": {simple, later(3), map[int]func(*bridge){2: func(b *bridge) { b.restart() }}, steps{
			{"Voice=9 Chat=0", raised}, {"Chat=0", ""}, {"Voice=3 Chat=0", ""}, {"Voice=0 Chat=0", cleared},
		}},
		"a column that a restart does not find": {simple, nil, map[int]func(*bridge){2: func(b *bridge) { b.restart() }}, steps{
			{"Voice=9", raised}, {"Voice=-", ""}, {"Voice=-", ""}, {"Voice=9", ""}, {"Voice=0", cleared},
		}},
		"a mass that a restart does not find": {simple, nil, map[int]func(*bridge){2: func(b *bridge) { b.restart() }}, steps{
			{withQueues("Voice=9", 0, 19), raised}, {withQueues("", 11, 19), ""}, {withQueues("", 11, 19), ""}, {withQueues("", 11, 19), ""}, {withQueues("Voice=0", 11, 19), cleared},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := []func(*engine.Options){rules(t, test.rules)}
			if test.options != nil {
				options = append(options, test.options)
			}
			b := start(t, options...)
			for i, step := range test.steps {
				if before := test.before[i+1]; before != nil {
					before(b)
				}
				if got := thresholdsOf(b.observe(b.answer(showing(step[0])))); got != step[1] {
					t.Errorf("step %d, %q: %q, want %q", i+1, step[0], got, step[1])
				}
			}
		})
	}
}

// TestUnseenWhen: a rule that a column limits waits until the column is shown, too.
func TestUnseenWhen(t *testing.T) {
	t.Parallel()
	b := start(t, rules(t, `[{"name":"break","kind":"agent","stat":"state_duration","when":{"acd_state":["not_ready"]},"raise":{"op":">","value":900}}]`))
	without := func(s snapshot) snapshot { delete(s.agents["anna"], "acd_state"); return s }
	b.poll(agents("anna=not_ready:0"))
	b.expect("without the state", b.poll(without(agents("anna=x:950"))), "")
	b.expect("with it", b.poll(agents("anna=not_ready:952")), "threshold/break/anna raised")
	b.expect("without the state again", b.poll(without(agents("anna=x:954"))), "")
	b.expect("in another state", b.poll(agents("anna=ready:1")), "agent/anna state_changed, threshold/break/anna cleared")
}

// TestColumnOfAnotherGrid: an entity is in two grids, and the one with the rule's column loses it.
func TestColumnOfAnotherGrid(t *testing.T) {
	t.Parallel()
	b := start(t, rules(t, strings.ReplaceAll(backlog, `"Voice*"`, `"*"`)), func(o *engine.Options) {
		o.Layout = &layout.Layout{Grids: []layout.Grid{
			{Kind: event.Service, App: "app", Section: "agent_grids", ID: "agents", Key: "login_id", Columns: []layout.Column{{ID: "login_id"}, {ID: "group", Stat: "group"}}},
			{Kind: event.Service, App: "app", Section: "service_grids", ID: "services", Key: "name", Columns: []layout.Column{{ID: "name"}, {ID: "in_calls_waiting", Stat: "in_calls_waiting"}}},
		}}
	})
	show := func(text string) snapshot {
		s := services(text)
		s.agents = map[string]row{"Voice": {"group": "A"}, "Chat": {"group": "A"}}
		return s
	}
	b.poll(show("Voice=9 Chat=0"))
	for range 5 {
		b.expect("its number is not shown", b.poll(show("Chat=0")), "")
	}
	b.expect("seen again", b.poll(show("Voice=9 Chat=0")), "")
	b.expect("seen again", b.poll(show("Voice=9 Chat=0")), "")
	b.expect("held for its time", b.poll(show("Voice=9 Chat=0")), "threshold/backlog/Voice raised")
}

// TestTotalsUnseen: totals that the source leaves out for a while, and those of an app id that is
// not subscribed any more.
func TestTotalsUnseen(t *testing.T) {
	t.Parallel()
	low := rules(t, `[{"name":"low","kind":"totals","stat":"service_level","raise":{"op":"<","value":0.8}}]`)
	show := func(level string) snapshot { return snapshot{totals: row{"service_level": level}} }
	b := start(t, low)
	b.expect("low", b.poll(show("0.5")), "totals/bridge observed, threshold/low/bridge raised")
	for range 4 {
		b.expect("left out", b.poll(snapshot{}), "")
	}
	b.stop()
	b.restart()
	b.expect("left out after a restart", b.poll(snapshot{}), "")
	b.expect("back", b.poll(show("0.9")), "totals/bridge stats_changed, threshold/low/bridge cleared")
	b.expect("low", b.poll(show("0.5")), "totals/bridge stats_changed, threshold/low/bridge raised")
	b.restart(func(o *engine.Options) {
		o.Layout = layoutOf(0)
		o.Layout.Grids[2].Entity = "another"
	})
	b.expect("another app id", b.poll(show("0.9")), "totals/another observed, threshold/low/bridge cleared")
	if got := last[*event.ThresholdData](b, "threshold.low.bridge").ClearedBy; got != event.ClearedByEntityGone {
		t.Errorf("cleared by %s", got)
	}
}

// TestThresholdWindows: the window of an alert begins where its entity was last seen before, and
// ends where it is seen.
func TestThresholdWindows(t *testing.T) {
	t.Parallel()
	type steps = []string
	const never, once = 0, 1
	for name, test := range map[string]struct {
		limit int
		steps steps // services, "restart"; the last poll has the event
		after int   // number of the poll where the window begins; 0 = null
	}{
		"seen before":                {0, steps{"Voice=1", "Voice=1", "Voice=9"}, 2},
		"first seen at the start":    {0, steps{"Voice=9"}, never},
		"appears":                    {0, steps{"Chat=1", "Chat=1", "Chat=1 Voice=9"}, 2},
		"enters a cut grid":          {2, steps{"Chat=1 Mail=1", "Chat=1 Mail=1", "Chat=1 Voice=9"}, never},
		"was missing":                {0, steps{"Chat=1 Voice=1", "Chat=1", "Chat=1 Voice=9"}, once},
		"was behind the limit":       {2, steps{"Chat=1 Voice=1", "Chat=1 Mail=1", "Chat=1 Mail=2", "Chat=1 Voice=9"}, once},
		"lacked the column":          {0, steps{"Voice=1", "Voice=-", "Voice=-", "Voice=9"}, once},
		"never had the column":       {0, steps{"Voice=-", "Voice=-", "Voice=9"}, never},
		"lacked the row, then more":  {0, steps{"Voice=1 Chat=1", "Chat=1", "Voice=- Chat=1", "Voice=9 Chat=1"}, once},
		"lacked more, then the row":  {0, steps{"Voice=1 Chat=1", "Voice=- Chat=1", "Chat=1", "Voice=9 Chat=1"}, once},
		"was back in between":        {0, steps{"Voice=1", "Voice=-", "Voice=1", "Voice=9"}, 3},
		"after a restart":            {0, steps{"Voice=1", "Voice=1", "restart", "Voice=9"}, 2},
		"missing over a restart":     {0, steps{"Voice=1 Chat=1", "Chat=1", "restart", "Chat=1", "Voice=9 Chat=1"}, once},
		"missing after a restart":    {0, steps{"Voice=1 Chat=1", "restart", "Chat=1", "Voice=9 Chat=1"}, once},
		"gone":                       {0, steps{"Voice=9 Chat=1", "Voice=9 Chat=1", "Chat=1", "Chat=1", "Chat=1"}, 2},
		"gone after a restart":       {0, steps{"Voice=9 Chat=1", "Voice=9 Chat=1", "restart", "Chat=1", "Chat=1", "Chat=1"}, 2},
		"cleared after missing":      {0, steps{"Voice=9 Chat=1", "Chat=1", "Voice=0 Chat=1"}, once},
		"cleared without the column": {0, steps{"Voice=9", "Voice=-", "Voice=-", "Voice=0"}, once},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, rules(t, strings.ReplaceAll(backlog, `"4s"`, `"0s"`)), func(o *engine.Options) {
				o.DisappearAfter, o.Layout.Grids[1].Limit = 3, test.limit
			})
			sent := []time.Time{{}} // of the polls
			var events []event.Event
			for _, step := range test.steps {
				if step == "restart" {
					b.stop()
					b.restart()
					continue
				}
				events = b.poll(showing(step))
				sent = append(sent, b.sent())
			}
			if !strings.Contains(thresholdsOf(events), "backlog/Voice") {
				t.Fatalf("no event about the threshold: %v", names(events))
			}
			got := last[*event.ThresholdData](b, "threshold.backlog.Voice").Observed
			if d := cmp.Diff(event.Between(sent[test.after], b.now), got); d != "" {
				t.Errorf("window (-want +got)\n%s", d)
			}
			for i := range events {
				if events[i].CESubject() == "service/Voice" && events[i].Verb() == "disappeared" && !got.After.Equal(events[i].EntityBase().Observed.After.Time) {
					t.Errorf("the alarm's window begins at %v, the departure's at %v", got.After, events[i].EntityBase().Observed.After)
				}
			}
		})
	}
}

// TestRefusedStatistic: a rule whose statistic the server refuses ends its alarms, and waits for it.
func TestRefusedStatistic(t *testing.T) {
	t.Parallel()
	refuse := func(kind image.Kind, stats ...string) func(*engine.Observation) {
		return func(o *engine.Observation) { o.Refused = map[image.Kind][]string{kind: stats} }
	}
	for name, test := range map[string]struct {
		rules   string
		refused func(*engine.Observation)
		want    string
	}{
		"the statistic":      {`"stat":"in_calls_waiting"`, refuse(event.Service, "in_calls_waiting"), "cleared backlog/Chat, cleared backlog/Voice"},
		"a column of when":   {`"stat":"in_calls_waiting","when":{"group":["A"]}`, refuse(event.Service, "group"), "cleared backlog/Chat, cleared backlog/Voice"},
		"another statistic":  {`"stat":"in_calls_waiting"`, refuse(event.Service, "in_calls_received_per_day"), ""},
		"that of other rows": {`"stat":"in_calls_waiting"`, refuse(event.Totals, "in_calls_waiting"), ""},
		"none":               {`"stat":"in_calls_waiting"`, refuse(event.Service), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, rules(t, `[{"name":"backlog","kind":"service",`+test.rules+`,"raise":{"op":">=","value":5}}]`))
			show := services("Chat=7 Voice=9").setService("Chat", "group", "A").setService("Voice", "group", "A")
			b.poll(show)
			sent := b.sent()
			b.restart()
			less := showing("Chat=- Voice=-")
			if got := thresholdsOf(b.poll(less, test.refused)); got != test.want {
				t.Fatalf("%q, want %q", got, test.want)
			}
			if test.want == "" {
				return
			}
			got := last[*event.ThresholdData](b, "threshold.backlog.Voice")
			if got.ClearedBy != event.ClearedByStatUnavailable || got.Value != nil || got.Revision != 2 {
				t.Errorf("cleared: %+v", got)
			}
			if d := cmp.Diff(event.Between(sent, b.now), got.Observed); d != "" {
				t.Errorf("window (-want +got)\n%s", d)
			}
			for range 3 {
				b.expect("nothing more", b.poll(less, test.refused), "")
			}
			b.stop()
			b.restart()
			b.expect("accepted again", b.poll(show), "threshold/backlog/Chat raised, threshold/backlog/Voice raised")
		})
	}
}

// TestRefusedWhilePending: what is pending on a refused statistic is forgotten.
func TestRefusedWhilePending(t *testing.T) {
	t.Parallel()
	b := start(t, rules(t, backlog))
	b.poll(services("Voice=9"))
	for range 3 {
		b.poll(showing("Voice=-"), func(o *engine.Observation) {
			o.Refused = map[image.Kind][]string{event.Service: {"in_calls_waiting"}}
		})
	}
	b.expect("accepted again", b.poll(services("Voice=9")), "")
	b.expect("held", b.poll(services("Voice=9")), "")
	b.expect("held for its time", b.poll(services("Voice=9")), "threshold/backlog/Voice raised")
}

// TestUnreadableText: a rule reports once what it cannot read, and counts where.
func TestUnreadableText(t *testing.T) {
	t.Parallel()
	const rule = `[{"name":"backlog","kind":"service","match":["Voice*"],"stat":"in_calls_waiting","raise":{"op":">=","value":5}%s}]`
	long := strings.Repeat("ü", 200)
	type step struct {
		show   string
		report string // rule, statistic, entity, text
		count  int
	}
	for name, test := range map[string]struct {
		more  string
		steps []step
	}{
		"a percentage":            {"", []step{{"Voice=87%", "backlog in_calls_waiting Voice 87%", 1}, {"Voice=87%", "", 1}, {"Voice=88%", "", 1}, {"Voice=88", "", 0}, {"Voice=1%", "", 1}}},
		"not a finite number":     {"", []step{{"Voice=NaN", "backlog in_calls_waiting Voice NaN", 1}, {"Voice=Inf Voice2=0x1p4 Voice3=1_000", "", 3}}},
		"no value":                {"", []step{{"Voice=", "", 0}, {"Voice=-", "", 0}}},
		"a service of no rule":    {"", []step{{"Chat=N/A Voice=1", "", 0}}},
		"several":                 {"", []step{{"Voice=1 Voice2=1", "", 0}, {"Voice=1 Voice2=N/A", "backlog in_calls_waiting Voice2 N/A", 1}, {"Voice=N/A Voice2=N/A", "", 2}, {"Voice=N/A", "", 2}, {"Voice=N/A", "", 1}}},
		"while it is raised":      {"", []step{{"Voice=7", "", 0}, {"Voice=7%", "backlog in_calls_waiting Voice 7%", 1}, {"Voice=7", "", 0}}},
		"cut":                     {"", []step{{"Voice=" + long, "backlog in_calls_waiting Voice " + strings.Repeat("ü", 31) + "…", 1}}},
		"in its notation":         {`,"parse":"percent"`, []step{{"Voice=87%", "", 0}, {"Voice=87", "backlog in_calls_waiting Voice 87", 1}}},
		"where it does not apply": {`,"when":{"group":["A"]}`, []step{{"Voice=N/A", "", 0}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, rules(t, fmt.Sprintf(rule, test.more)))
			for i, step := range test.steps {
				b.poll(showing(step.show))
				got := ""
				for _, u := range b.batch.Unreadable {
					got += fmt.Sprint(u.Rule, " ", u.Stat, " ", u.Entity, " ", u.Text)
				}
				if count := b.engine.Stats().Unreadable["backlog"]; got != step.report || count != step.count {
					t.Errorf("step %d: report %q and %d counted, want %q and %d", i+1, got, count, step.report, step.count)
				}
			}
		})
	}
}

// TestNotations: the rule reads a number, and the events keep the text of the source.
func TestNotations(t *testing.T) {
	t.Parallel()
	for notation, texts := range map[string][3]string{ // below the limit of 80, above, and below again
		`"parse":"percent"`:               {"12%", "87.5 %", "80%"},
		`"parse":"percent","decimal":","`: {"80,0%", "80,1%", "3%"},
		`"parse":"duration"`:              {"00:00:59", "1:21", "00:01:20"},
		`"decimal":","`:                   {"80,0", "1.000", "0,99"},
		`"decimal":"."`:                   {"80.0", "1,000", "0.99"},
		`"parse":"number"`:                {"8", "1e2", "-1e2"},
	} {
		b := start(t, rules(t, `[{"name":"x","kind":"service","stat":"in_calls_waiting","raise":{"op":">","value":80},`+notation+`}]`))
		b.poll(services("Voice=").setService("Voice", "in_calls_waiting", texts[0]))
		b.poll(services("Voice=").setService("Voice", "in_calls_waiting", texts[1]))
		if got := *last[*event.ThresholdData](b, "threshold.x.Voice").Value; got != texts[1] {
			t.Errorf("%s: raised at %q, want %q", notation, got, texts[1])
		}
		b.poll(services("Voice=").setService("Voice", "in_calls_waiting", texts[2]))
		if got := last[*event.ThresholdData](b, "threshold.x.Voice"); got.ClearedBy != event.ClearedByCondition || *got.Value != texts[2] {
			t.Errorf("%s: %+v, want it cleared at %q", notation, got, texts[2])
		}
	}
}

// TestNotNumbers: what is no finite decimal number neither raises nor clears.
func TestNotNumbers(t *testing.T) {
	t.Parallel()
	b := start(t, rules(t, `[{"name":"x","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":5}}]`))
	texts := []string{"NaN", "nan", "Inf", "+Inf", "-Inf", "inf", "Infinity", "0x1p4", "0x10", "1_000", "1e999", "-1e999", "9 9", "1,234", "87%"}
	for _, text := range texts {
		b.poll(services("").setService("Voice", "in_calls_waiting", text))
	}
	if n := len(b.named("threshold.raised")); n != 0 {
		t.Errorf("raised %d times by no number", n)
	}
	b.expect("a number", b.poll(services("Voice=1e2")), "service/Voice stats_changed, threshold/x/Voice raised")
	for _, text := range texts {
		b.poll(services("").setService("Voice", "in_calls_waiting", text))
	}
	if n := len(b.named("threshold.cleared")); n != 0 {
		t.Errorf("cleared %d times by no number", n)
	}
}
