package record_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/record"
	"bpcc-nats/bridge/rule"
	"bpcc-nats/schemas"
)

// recordingStart is when written recordings begin.
var recordingStart = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// recordingTime is an instant of a written recording, in seconds after noon.
func recordingTime(seconds float64) string {
	return recordingStart.Add(time.Duration(seconds * float64(time.Second))).Format(time.RFC3339Nano)
}

// recordingHead writes the first line of a recording that begins some seconds after noon.
func recordingHead(tenant string, seconds float64) string {
	return fmt.Sprintf(`{"format":"bpcc-recording","version":1,"program":"test","tenant":%q,"source":"https://acme.example/statsapi","recorded_at":%q,
		"subscription":{"x":{"service_grids":[{"id":"s","columns":[{"id":"1","stat_name":"name"},{"id":"2","stat_name":"in_calls_waiting"}]}]}},
		"agent_key":"login_id","poll_interval":"2s","checkpoint_interval":"30s","availability_debounce":"0s","retention":"720h",
		"volatile_stats":[],"disappear_after":2}`, tenant, recordingTime(seconds))
}

// recordCallsWaiting writes a look that shows how many calls wait.
func recordCallsWaiting(seconds float64, calls int) string {
	return fmt.Sprintf(`{"at":%q,"sent":%q,"received":%q,"body":{"x~recorded":{"service_grids":[{"id":"s","values":[{"1":"Voice","2":"%d"}]}]}}}`,
		recordingTime(seconds), recordingTime(seconds-0.1), recordingTime(seconds), calls)
}

func recordFailure(seconds float64, kind string) string {
	return fmt.Sprintf(`{"at":%q,"error":{"kind":%q,"status":0,"text":"it failed"}}`, recordingTime(seconds), kind)
}

func recordingEnd(seconds float64) string {
	return fmt.Sprintf(`{"at":%q,"end":"stopped"}`, recordingTime(seconds))
}

// recordingLines joins the lines of a recording, each on one line.
func recordingLines(l ...string) string {
	for i := range l {
		l[i] = strings.NewReplacer("\n", "", "\t", "").Replace(l[i]) + "\n"
	}
	return strings.Join(l, "")
}

// openRecordings opens recordings of these texts.
func openRecordings(t *testing.T, texts ...string) []*record.Recording {
	t.Helper()
	var opened []*record.Recording
	for _, text := range texts {
		r, err := record.Open("tape", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		opened = append(opened, r)
	}
	return opened
}

func ruleSet(t *testing.T, text string) record.RuleSet {
	t.Helper()
	r, err := rule.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return record.RuleSet{Name: text, Rules: r}
}

func backlogRules(t *testing.T, raise, clear int, hold string) record.RuleSet {
	return ruleSet(t, fmt.Sprintf(`[{"name":"backlog","kind":"service","stat":"in_calls_waiting","for":%q,
		"raise":{"op":">=","value":%d},"clear":{"op":"<=","value":%d}}]`, hold, raise, clear))
}

// backtestEvent is an event of a backtest.
type backtestEvent struct {
	Subject string `json:"-"` // below the tenant
	ID      string
	Data    map[string]any
}

// backtest runs recordings and returns the events, which must be valid, with the summary.
func backtest(t *testing.T, sets []record.RuleSet, recordings ...string) (all []backtestEvent, sum *record.Summary) {
	t.Helper()
	b := record.Backtest{Recordings: openRecordings(t, recordings...), Sets: sets}
	b.Emit = func(subject string, body []byte) error {
		e := backtestEvent{Subject: strings.TrimPrefix(subject, "bpcc.v1.acme.")}
		if err := json.Unmarshal(body, &e); err != nil {
			return err
		}
		all = append(all, e)
		return schemas.Validate(body)
	}
	sum, err := b.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all, sum
}

// withSubject are the events with a subject.
func withSubject(all []backtestEvent, subject string) []backtestEvent {
	return slices.DeleteFunc(slices.Clone(all), func(e backtestEvent) bool { return e.Subject != subject })
}

// TestRuleSetsAreCompared runs two rule sets over one afternoon, and a third
// that reads a column that was not recorded.
func TestRuleSetsAreCompared(t *testing.T) {
	t.Parallel()
	recording := recordingLines(recordingHead("acme", 0), recordCallsWaiting(2, 0), recordCallsWaiting(4, 6), recordCallsWaiting(6, 6), recordCallsWaiting(8, 3), recordCallsWaiting(10, 1), recordCallsWaiting(12, 7), recordCallsWaiting(14, 2), recordCallsWaiting(16, 9), recordingEnd(20))
	all, sum := backtest(t, []record.RuleSet{backlogRules(t, 5, 2, "0s"), backlogRules(t, 3, 1, "4s")}, recording)
	want := [][]record.RuleSummary{
		{{Name: "backlog", Raised: 3, Cleared: 2, StillRaised: 1, Total: 12 * time.Second, Longest: 6 * time.Second, Entities: 1}},
		{{Name: "backlog", Raised: 1, Cleared: 1, Total: 2 * time.Second, Longest: 2 * time.Second, Entities: 1}},
	}
	if diff := cmp.Diff(want, [][]record.RuleSummary{sum.Sets[0].Rules, sum.Sets[1].Rules}); diff != "" {
		t.Errorf("summaries (-want +got)\n%s", diff)
	}
	if n := len(withSubject(all, "threshold.backlog.Voice.raised")); n != 3 || sum.Events["threshold.raised"] != 3 {
		t.Errorf("%d raised events and %d counted, want the 3 of the first rule set", n, sum.Events["threshold.raised"])
	}
	if sum.Polls != 8 || sum.GoodPolls != 8 || len(sum.Gaps) != 0 || !sum.To.Equal(recordingStart.Add(20*time.Second)) {
		t.Errorf("summary: %+v", sum)
	}
	recordings := openRecordings(t, recordingLines(recordingHead("acme", 0)))
	unread := ruleSet(t, `[{"name":"a","kind":"service","stat":"service_level","raise":{"op":"<","value":0.8}}]`)
	if _, err := (&record.Backtest{Recordings: recordings, Sets: []record.RuleSet{unread}}).Run(t.Context()); !errors.Is(err, rule.ErrInvalid) {
		t.Errorf("a rule on what is not recorded: %v, want %v", err, rule.ErrInvalid)
	}
}

// TestRecordingsRunOneAfterAnother runs three recordings given in disorder, the
// first one cut, as the terms of one bridge.
func TestRecordingsRunOneAfterAnother(t *testing.T) {
	t.Parallel()
	first := strings.TrimSuffix(recordingLines(recordingHead("acme", 0), recordCallsWaiting(2, 0), recordCallsWaiting(4, 6), `{"at":"2026-11-23T12:00:06Z","er`), "\n")
	second := recordingLines(recordingHead("acme", 100), recordCallsWaiting(102, 6), recordCallsWaiting(104, 7), recordingEnd(106))
	third := recordingLines(recordingHead("acme", 200), recordCallsWaiting(202, 1), recordingEnd(204))
	all, sum := backtest(t, []record.RuleSet{backlogRules(t, 5, 2, "0s")}, third, first, second)
	var got []string
	for _, s := range all {
		if s.Subject == "feed.checkpoint" {
			continue
		}
		line := fmt.Sprintf("%s %s", s.ID, s.Subject)
		if s.Data["after_gap"] == true {
			line += " after gap"
		}
		got = append(got, line)
	}
	want := []string{
		"acme-1-1-1 feed.started",
		"acme-1-2-1 service.Voice.observed",
		"acme-1-3-1 service.Voice.stats_changed",
		"acme-1-3-2 threshold.backlog.Voice.raised",
		"acme-2-4-1 feed.started",
		"acme-2-5-1 feed.interrupted",
		"acme-2-5-2 feed.resumed",
		"acme-2-6-1 service.Voice.stats_changed",
		"acme-2-7-1 feed.stopped",
		"acme-3-8-1 feed.started",
		"acme-3-9-1 feed.interrupted",
		"acme-3-9-2 feed.resumed",
		"acme-3-9-3 service.Voice.stats_changed after gap",
		"acme-3-9-4 threshold.backlog.Voice.cleared after gap",
		"acme-3-10-1 feed.stopped",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got)\n%s", diff)
	}
	gap := func(from, to float64) record.Gap {
		return record.Gap{From: recordingStart.Add(time.Duration(from * float64(time.Second))), To: recordingStart.Add(time.Duration(to * float64(time.Second)))}
	}
	if diff := cmp.Diff([]record.Gap{gap(3.9, 102), gap(103.9, 202)}, sum.Gaps); diff != "" {
		t.Errorf("gaps (-want +got)\n%s", diff)
	}
	if len(sum.Warnings) != 1 || !strings.Contains(sum.Warnings[0], "line 3") {
		t.Errorf("warnings: %v", sum.Warnings)
	}
	if r := sum.Sets[0].Rules[0]; r.Total != 198*time.Second || r.Raised != 1 || r.Cleared != 1 {
		t.Errorf("rule: %+v", r)
	}
}

// TestErrorKindsMatchCauses gives a feed nothing but one kind of error.
func TestErrorKindsMatchCauses(t *testing.T) {
	t.Parallel()
	causes := map[string]string{
		"not_ready": "source", "auth": "auth", "forbidden": "auth", "no_subscription": "subscription_lost", "limit": "subscription_lost",
		"throttled": "source", "rejected": "source", "malformed": "truncated", "too_large": "truncated", "server": "source",
		"unexpected": "source", "transport": "source", "malformed_snapshot": "truncated", "foreign": "subscription_lost", "empty": "empty",
		"slow": "source", "other": "source",
	}
	for kind, cause := range causes {
		all, _ := backtest(t, nil, recordingLines(recordingHead("acme", 0), recordCallsWaiting(2, 0), recordFailure(4, kind), recordFailure(6, kind), recordFailure(9, kind), recordCallsWaiting(11, 1)))
		interrupted, resumed := withSubject(all, "feed.interrupted"), withSubject(all, "feed.resumed")
		if len(interrupted) != 1 || len(resumed) != 1 || interrupted[0].Data["cause"] != cause {
			t.Errorf("%s: %v, then %v; want one interruption with cause %s", kind, interrupted, resumed, cause)
		}
	}
}

func TestFaultyRecordings(t *testing.T) {
	t.Parallel()
	valid := recordingHead("acme", 0)
	tests := map[string]struct{ body, want string }{
		"nothing":             {"", "empty"},
		"no header":           {recordingLines(recordCallsWaiting(2, 0)), "line 1"},
		"of the future":       {recordingLines(strings.Replace(valid, `"version":1`, `"version":2`, 1)), "version is 2"},
		"no interval":         {recordingLines(strings.Replace(valid, `"2s"`, `"0s"`, 1)), "above zero"},
		"a foreign key":       {recordingLines(strings.Replace(valid, `"login_id"`, `"name"`, 1)), "agent_key"},
		"an empty grid":       {recordingLines(strings.Replace(valid, `"columns":[{"id":"1","stat_name":"name"},{"id":"2","stat_name":"in_calls_waiting"}]`, `"columns":[]`, 1)), `no "columns"`},
		"no JSON":             {recordingLines(valid, recordCallsWaiting(2, 0), "{", recordCallsWaiting(4, 0)), "line 3"},
		"no time":             {recordingLines(valid, `{"error":{"kind":"auth","text":"x"}}`), "line 2"},
		"neither":             {recordingLines(valid, fmt.Sprintf(`{"at":%q}`, recordingTime(2))), "line 2"},
		"both":                {recordingLines(valid, strings.Replace(recordCallsWaiting(2, 0), `{"at"`, `{"error":{"kind":"auth","text":"x"},"at"`, 1)), "an error and a body"},
		"unknown kind":        {recordingLines(valid, recordFailure(2, "mood")), `"mood"`},
		"unknown directory":   {recordingLines(valid, strings.Replace(recordFailure(2, "auth"), `{"at"`, `{"directories":[{"directory":"cats"}],"at"`, 1)), `"cats"`},
		"check of no service": {recordingLines(valid, strings.Replace(recordFailure(2, "auth"), `{"at"`, `{"checks":[{"service":"","available":true}],"at"`, 1)), "line 2"},
		"more after the end":  {recordingLines(valid, recordingEnd(2), recordCallsWaiting(4, 0)), "line 3"},
		"broken compression":  {"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff", "line 1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := record.Open("tape", strings.NewReader(test.body))
			if err == nil {
				_, err = (&record.Backtest{Recordings: []*record.Recording{r}}).Run(t.Context())
			}
			if !errors.Is(err, record.ErrInvalid) || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "tape") {
				t.Errorf("%v, want %v with %q", err, record.ErrInvalid, test.want)
			}
		})
	}
}

func TestRecordingsOfTwoBridges(t *testing.T) {
	t.Parallel()
	for name, others := range map[string]string{
		"two tenants":       recordingLines(recordingHead("other", 100)),
		"overlapping times": recordingLines(recordingHead("acme", 1), recordCallsWaiting(2, 0)),
	} {
		b := record.Backtest{Recordings: openRecordings(t, recordingLines(recordingHead("acme", 0), recordCallsWaiting(2, 0)), others)}
		if _, err := b.Run(t.Context()); !errors.Is(err, record.ErrNotContiguous) {
			t.Errorf("%s: %v, want %v", name, err, record.ErrNotContiguous)
		}
	}
}

// FuzzRecording gives the reader and the engine arbitrary lines after a good
// header, and as the header itself.
func FuzzRecording(f *testing.F) {
	f.Add([]byte(recordingLines(recordCallsWaiting(2, 0), recordCallsWaiting(4, 9), recordFailure(6, "auth"), recordFailure(30, "slow"), recordingEnd(31))))
	f.Add([]byte(recordingLines(recordingHead("acme", 0), recordCallsWaiting(2, 0))))
	f.Add([]byte(recordingLines(strings.Replace(recordCallsWaiting(2, 1), `{"at"`, `{"checks":[{"service":"Voice","available":true}],"directories":[{"directory":"teams","names":{"1":"a"}}],"at"`, 1))))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, text := range []string{recordingLines(recordingHead("acme", 0)) + string(body), string(body)} {
			r, err := record.Open("tape", strings.NewReader(text))
			if err != nil {
				continue
			}
			b := record.Backtest{Recordings: []*record.Recording{r}, Sets: []record.RuleSet{{}}}
			b.Emit = func(_ string, body []byte) error { _, err := io.Discard.Write(body); return err }
			if _, err := b.Run(t.Context()); err != nil && !errors.Is(err, record.ErrInvalid) {
				t.Errorf("%v, want nothing but %v", err, record.ErrInvalid)
			}
		}
	})
}

// TestBacktestReportsUnreadable: the summary of a backtest names rules that cannot read what was
// recorded, and ends alarms on refused statistics as the bridge does.
func TestBacktestReportsUnreadable(t *testing.T) {
	t.Parallel()
	show := func(seconds float64, text string) string {
		return strings.Replace(recordCallsWaiting(seconds, 9), `"2":"9"`, `"2":"`+text+`"`, 1)
	}
	first := recordingLines(recordingHead("acme", 0), show(2, "9"), show(4, "87%"), show(6, "88%"), show(8, "9"), recordingEnd(10))
	refused := strings.Replace(strings.Replace(show(22, "9"), `,"2":"9"`, "", 1), `{"at"`, `{"refused":{"service":["in_calls_waiting"]},"at"`, 1)
	second := recordingLines(recordingHead("acme", 20), refused, recordingEnd(24))
	plain := backlogRules(t, 5, 2, "0s")
	plain.Name = "plain.json"
	percent := ruleSet(t, `[{"name":"backlog","kind":"service","stat":"in_calls_waiting","parse":"percent","raise":{"op":">=","value":5}}]`)
	percent.Name = "percent.json"
	all, sum := backtest(t, []record.RuleSet{plain, percent}, first, second)
	var got []string
	for _, warning := range sum.Warnings {
		text, _, _ := strings.Cut(warning, ";")
		got = append(got, text)
	}
	want := []string{
		`plain.json: rule "backlog" cannot read in_calls_waiting of "Voice": the text "87%" is not a number that it reads`,
		`percent.json: rule "backlog" cannot read in_calls_waiting of "Voice": the text "9" is not a number that it reads`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("warnings (-want +got)\n%s", d)
	}
	cleared := withSubject(all, "threshold.backlog.Voice.cleared")
	if len(cleared) != 1 || cleared[0].Data["cleared_by"] != "stat_unavailable" {
		t.Errorf("cleared: %v", cleared)
	}
}
