package audit_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/event"
)

// partHistory is a stream with two agents, a queue, a rule and a checkpoint for each poll.
func partHistory(t *testing.T) []message {
	t.Helper()
	agent := func(at float64, verb, before, after string) step {
		return step{at: at, name: "agent." + verb, id: "anna", before: before, after: after}
	}
	return stream(t,
		agent(0, "observed", "", "acd_state=ready extension=1"),
		step{at: 0, name: "agent.observed", id: "bob", after: "acd_state=ready"},
		step{at: 0, name: "service.observed", id: "Sales", after: "in_calls_waiting=1"},
		agent(2, "stats_changed", "acd_state=ready extension=1", "acd_state=ready extension=2"),
		agent(4, "state_changed", "acd_state=ready extension=2", "acd_state=busy extension=2"),
		agent(6, "stats_changed", "acd_state=busy extension=2", "acd_state=busy extension=3"),
		agent(8, "disappeared", "acd_state=busy extension=3", ""),
		agent(10, "appeared", "", "acd_state=ready extension=3"),
		agent(12, "state_changed", "acd_state=ready extension=3", "acd_state=busy extension=3"),
		agent(14, "stats_changed", "acd_state=busy extension=3", "acd_state=busy extension=4"),
		agent(16, "state_changed", "acd_state=busy extension=4", "acd_state=ready extension=4"),
		agent(18, "stats_changed", "acd_state=ready extension=4", "acd_state=ready extension=5"),
		step{at: 20, name: "service.stats_changed", id: "Sales", before: "in_calls_waiting=1", after: "in_calls_waiting=7"},
		step{at: 22, name: "threshold.raised", id: "Sales", after: "7"},
		step{at: 24, name: "service.stats_changed", id: "Sales", before: "in_calls_waiting=7", after: "in_calls_waiting=1"},
		step{at: 26, name: "threshold.cleared", id: "Sales", after: "1"},
		step{at: 28, name: "service.stats_changed", id: "Sales", before: "in_calls_waiting=1", after: "in_calls_waiting=8"},
		step{at: 30, name: "threshold.raised", id: "Sales", after: "8"},
	)
}

// label names an event of partHistory: the second of its poll, and its verb.
func label(t *testing.T, m message) string {
	t.Helper()
	e, err := event.Parse("acme", m.subject, m.id(), m.body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(e.Time.Sub(began).Seconds(), " ", e.Verb())
}

// TestParts: parts of a history have no fault. A part without some of its events shows that they are
// missing, unless they need not be in the part.
func TestParts(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		subjects string // separated by spaces, without the tenant
		without  string // the missing events, separated by commas
		known    string // faults if the subjects are known, separated by commas: code and event
		unknown  string // if they are not
	}{
		"changes of state":               {subjects: "agent.*.state_changed"},
		"of them, one":                   {"agent.*.state_changed", "12 state_changed", "revision 16 state_changed", "revision 16 state_changed"},
		"of them, the first":             {subjects: "agent.*.state_changed", without: "4 state_changed"},
		"of them, the last":              {subjects: "agent.*.state_changed", without: "16 state_changed"},
		"statistics":                     {subjects: "agent.*.stats_changed"},
		"of statistics, one":             {subjects: "agent.*.stats_changed", without: "14 stats_changed"},
		"an agent":                       {subjects: "agent.anna.>"},
		"of an agent, statistics":        {"agent.anna.>", "6 stats_changed", "revision 8 disappeared", "revision 8 disappeared"},
		"of an agent, early statistics":  {"agent.anna.>", "2 stats_changed", "revision 4 state_changed", "revision 4 state_changed"},
		"of an agent, a departure":       {"agent.anna.>", "8 disappeared", "revision 10 appeared", ""},
		"of an agent, both":              {"agent.anna.>", "8 disappeared, 10 appeared", "revision 12 state_changed", ""},
		"of an agent, a change of state": {"agent.anna.>", "4 state_changed", "revision 6 stats_changed", "revision 6 stats_changed"},
		"both changes":                   {subjects: "agent.*.state_changed agent.*.stats_changed"},
		"of both, statistics":            {"agent.*.state_changed agent.*.stats_changed", "14 stats_changed", "revision 16 state_changed", "revision 16 state_changed"},
		"presence":                       {subjects: "agent.*.observed agent.*.appeared agent.*.disappeared"},
		"of presence, a departure":       {"agent.*.observed agent.*.appeared agent.*.disappeared", "8 disappeared", "revision 10 appeared", ""},
		"a rule":                         {subjects: "threshold.>"},
		"of a rule, the end":             {"threshold.>", "26 cleared", "revision 30 raised", ""},
		"what raises":                    {subjects: "threshold.*.*.raised"},
		"a queue with its rule":          {subjects: "threshold.> service.>"},
		"of them, what raised it":        {"threshold.> service.>", "20 stats_changed", "value 22 raised, revision 24 stats_changed", "revision 24 stats_changed"},
		"checkpoints":                    {subjects: "feed.checkpoint"},
		"of checkpoints, one":            {"feed.checkpoint", "12 checkpoint", "missing 14 checkpoint", "missing 14 checkpoint"},
		"the feed":                       {subjects: "feed.>"},
		"agents with checkpoints":        {subjects: "agent.> feed.checkpoint"},
		"of them, a checkpoint": {"agent.> feed.checkpoint", "12 checkpoint", "uncovered 14 stats_changed, missing 14 checkpoint",
			"uncovered 14 stats_changed, missing 14 checkpoint"},
		"all":         {subjects: ">"},
		"of all, one": {">", "6 stats_changed", "missing 6 checkpoint, count 6 checkpoint, revision 8 disappeared", "revision 8 disappeared"},
	}
	for name, test := range tests {
		for _, known := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", known ", known), func(t *testing.T) {
				t.Parallel()
				includes := func(subject string) bool {
					return slices.ContainsFunc(strings.Fields(test.subjects), func(pattern string) bool {
						return event.MatchSubject("bpcc.v1.acme."+pattern, subject)
					})
				}
				p, want := &audit.Part{}, test.unknown
				if known {
					p, want = &audit.Part{Includes: includes}, test.known
				}
				a, err := audit.New(audit.Options{Part: p})
				if err != nil {
					t.Fatal(err)
				}
				labels := map[string]string{}
				for _, m := range partHistory(t) {
					labels[m.id()] = label(t, m)
					if includes(m.subject) && !slices.Contains(strings.Split(test.without, ", "), labels[m.id()]) {
						a.Add(audit.Message{Body: m.body})
					}
				}
				r := a.Report()
				var got []string
				for _, f := range r.Faults {
					got = append(got, f.Code+" "+labels[f.ID])
					t.Log(f.Text)
				}
				if d := cmp.Diff(want, strings.Join(got, ", ")); d != "" {
					t.Errorf("faults (-want +got)\n%s", d)
				}
				if r.Part == nil || r.Part.Inferred == known || r.OK != (want == "") || len(r.Notes) > 0 {
					t.Errorf("part %+v, ok %v, notes %v", r.Part, r.OK, r.Notes)
				}
			})
		}
	}
}

// TestChecks: a report says what of a part was checked, and what was not.
func TestChecks(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		subjects string // "" is all of the stream
		want     string // checks that were made of all; + begins those made of some
	}{
		"all":              {"", "event order time header sequence revision state_revision batch checkpoint term gap rule"},
		"all of a tenant":  {"bpcc.v1.acme.>", "event order time header revision state_revision batch checkpoint term gap rule"},
		"changes of state": {"bpcc.v1.*.agent.*.state_changed", "event order header state_revision"},
		"an agent":         {"bpcc.v1.acme.agent.anna.>", "event order header revision state_revision"},
		"one in full":      {"bpcc.v1.acme.agent.bob.> bpcc.v1.*.agent.*.observed", "event order header +revision +state_revision"},
		"statistics":       {"bpcc.v1.*.agent.*.stats_changed", "event order header"},
		"rules alone":      {"bpcc.v1.*.threshold.>", "event order header revision"},
		"rules and queues": {"bpcc.v1.*.threshold.> bpcc.v1.*.service.>", "event order header revision rule"},
		"the feed":         {"bpcc.v1.*.feed.>", "event order time header checkpoint term gap"},
		"checkpoints":      {"bpcc.v1.*.feed.checkpoint", "event order time header checkpoint"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := audit.Options{Whole: true}
			if test.subjects != "" {
				o = audit.Options{Part: &audit.Part{Name: test.subjects, Includes: func(subject string) bool {
					return slices.ContainsFunc(strings.Fields(test.subjects), func(pattern string) bool { return event.MatchSubject(pattern, subject) })
				}}}
			}
			r := judge(t, o, partHistory(t))
			var got []string
			for _, c := range r.Checks {
				switch {
				case c.Made == "all":
					got = append(got, c.Check)
				case c.Made == "some":
					got = append(got, "+"+c.Check)
				}
				if c.Complete() != (c.Made == "all") || c.Proves == "" {
					t.Errorf("%+v", c)
				}
			}
			if d := cmp.Diff(test.want, strings.Join(got, " ")); d != "" || !r.OK {
				t.Errorf("checked (-want +got), faults %v\n%s", r.Faults, d)
			}
		})
	}
}

// TestUncountedStates: what is not counted is not said to be proved.
func TestUncountedStates(t *testing.T) {
	t.Parallel()
	all := partHistory(t)
	for uncounted, want := range map[string]string{"": "all", "4 state_changed": "some", "18 stats_changed": "some"} {
		for i, m := range all {
			if label(t, m) == uncounted {
				all[i].body = regexp.MustCompile(`"state_revision":\d+,`).ReplaceAll(m.body, nil)
			}
		}
		r := judge(t, audit.Options{Whole: true}, all)
		for _, c := range r.Checks {
			if c.Check == "state_revision" && c.Made != want {
				t.Errorf("%q without a number: made of %s, want %s", uncounted, c.Made, want)
			}
		}
		all = partHistory(t)
	}
}
