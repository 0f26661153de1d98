package report_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/event"
	"bpcc-nats/diff/image"
	"bpcc-nats/reader/past"
	"bpcc-nats/reader/report"
)

// noon is second 0 of the tests.
var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func second(s float64) time.Time { return noon.Add(time.Duration(s * float64(time.Second))) }

func window(after, by float64) event.Window {
	w := event.Window{By: event.Floor(second(by))}
	if after != 0 {
		w.After = event.Floor(second(after))
	}
	return w
}

// script makes messages of lines, each an event: "ann 2 busy 10 12" is revision 2 of the agent ann, who became
// busy in the window from second 10 to 12; "-" is absent, and a window from 0 has no lower bound. More words are
// team=Support, reason=Lunch, name=Ann, trip, restated.
//
//	checkpoint 12.5 10            made at second 12.5, observed until 10; with a status and missing_since
//	gap 10 20 source              a gap that has ended; away is one in which no bridge polled
//	chat 1 3/20 10 12             the service chat has three calls waiting, the longest for 20 s
//	open 1 true 10 12             the availability of the service chat
//	rule 1 raised 10 12           a rule on it
//	term                          another bridge goes on
//	lost 3                        three messages are missing
//	aged                          the beginning of the stream has expired
//	foreign                       a message that no bridge wrote
//	broken ann                    an event about ann whose data is none
type script struct {
	t        *testing.T
	encoder  *event.Encoder
	id       event.ID
	seq      uint64
	images   map[string]image.Image
	opened   *bool
	follows  string
	messages []report.Message
	fold     *past.Fold // may be nil
}

func newScript(t *testing.T) *script {
	return &script{t: t, encoder: event.NewEncoder("https://acme.example/statsapi"), id: event.ID{Epoch: 1, Poll: 1, Index: 1}, images: map[string]image.Image{}}
}

func (s *script) read(lines string) *script {
	s.t.Helper()
	for line := range strings.Lines(lines) {
		if words := strings.Fields(line); len(words) > 0 {
			s.line(words)
		}
	}
	return s
}

func (s *script) add(name string, at float64, d event.Data) event.Event {
	s.t.Helper()
	e := event.Event{ID: s.id, Name: name, Time: second(at), Data: d}
	body, err := s.encoder.Append(nil, &e)
	if err != nil {
		s.t.Fatal(err)
	}
	s.id.Index++
	s.seq++
	s.messages = append(s.messages, report.Message{Seq: s.seq, Subject: e.Subject(), ID: e.MsgID(), Body: body})
	if s.fold != nil && e.EntityBase() != nil {
		s.fold.Event(e.ViewKey(), past.Message{Seq: s.seq, Source: decoded{e}})
	}
	return e
}

type decoded struct{ event.Event }

func (d decoded) Decode() (event.Event, error) { return d.Event, nil }

func (s *script) line(words []string) {
	s.t.Helper()
	number := func(i int) (f float64) {
		if i < len(words) && words[i] != "-" {
			if _, err := fmt.Sscan(words[i], &f); err != nil {
				s.t.Fatalf("%v: %v", words, err)
			}
		}
		return f
	}
	base := func() event.EntityBase {
		return event.EntityBase{Base: event.Base{Tenant: "acme", Poll: s.id.Poll}, Revision: uint64(number(1)), Observed: window(number(3), number(4))}
	}
	switch words[0] {
	case "checkpoint":
		d := &event.CheckpointData{Base: event.Base{Tenant: "acme", Poll: s.id.Poll}, Epoch: s.id.Epoch, Status: event.StatusLive, Part: 1, Parts: 1, Follows: s.follows, Observing: []string{}}
		d.ObservedUntil = event.Floor(second(number(2)))
		if len(words) > 3 {
			d.Status = words[3]
		}
		if len(words) > 4 {
			d.MissingSince = event.Floor(second(number(4)))
		}
		d.AvailabilityUntil = d.ObservedUntil
		id := s.id
		e := s.add(event.Checkpoint, number(1), d)
		s.follows = e.MsgID()
		s.id = event.ID{Epoch: s.id.Epoch, Poll: s.id.Poll + 1, Index: 1}
		if s.fold != nil {
			s.fold.Checkpoint(d, id, s.seq, e.Time)
		}
	case "gap":
		d := &event.ResumedData{Base: event.Base{Tenant: "acme", Poll: s.id.Poll}, Epoch: s.id.Epoch, Observed: window(number(1), number(2)), Cause: words[3], BridgeAway: words[3] == "away"}
		s.add(event.Resumed, number(2), d)
		if s.fold != nil {
			s.fold.Gap(d)
		}
	case "term":
		s.id = event.ID{Epoch: s.id.Epoch + 1, Poll: s.id.Poll + 1, Index: 1}
	case "lost":
		s.id.Index += uint64(number(1))
		s.seq += uint64(number(1))
	case "aged":
		s.follows = "acme-1-0-9"
	case "foreign":
		s.seq++
		s.messages = append(s.messages, report.Message{Seq: s.seq, Subject: "bpcc.v1.acme.agent.ann.state_changed", Body: []byte("{}")})
	case "broken":
		s.add("agent.state_changed", 0, &event.AgentData{EntityBase: event.EntityBase{Base: event.Base{Tenant: "acme", Poll: s.id.Poll}, Revision: 9}, Agent: event.AgentRef{ID: words[1]}, RowData: event.RowData{After: image.New()}})
		m := &s.messages[len(s.messages)-1]
		m.Body = []byte(strings.Replace(string(m.Body), `"after":{}`, `"after":7`, 1))
	case "open":
		d := &event.AvailabilityChangedData{}
		d.EntityBase, d.Service, d.Previous = base(), "chat", s.opened
		if words[2] != "null" {
			yes := words[2] == "true"
			d.Available = &yes
		}
		s.opened = d.Available
		if d.Revision == 1 {
			s.add("availability.observed", number(4), &d.AvailabilityObservedData)
		} else {
			s.add("availability.changed", number(4), d)
		}
	case "rule":
		d := &event.ThresholdData{EntityBase: base(), Rule: "backlog", Entity: event.EntityRef{Kind: "service", ID: "chat"}, Stat: "in_calls_waiting", Op: ">=", For: "0s"}
		s.add("threshold."+words[2], number(4), d)
	case "chat":
		d := &event.ServiceData{EntityBase: base(), Service: "chat"}
		waiting, wait, _ := strings.Cut(words[2], "/")
		d.Before, d.After = s.images["chat"], image.New(image.Stat{Name: "in_calls_waiting", Text: waiting}, image.Stat{Name: "in_max_wait_time", Text: wait})
		verb := map[bool]string{true: "observed", false: "stats_changed"}[d.Before.IsZero()]
		s.images["chat"] = d.After
		s.add("service."+verb, number(4), d)
	default:
		s.agent(words, base(), number(4))
	}
}

func (s *script) agent(words []string, base event.EntityBase, by float64) {
	stats := map[string]string{"team": "Sales"}
	for _, word := range words[5:] {
		name, text, _ := strings.Cut(word, "=")
		stats[name] = text
	}
	d := &event.AgentData{EntityBase: base, Agent: event.AgentRef{ID: words[0], Name: stats["name"], Team: stats["team"]}}
	before, was := s.images[words[0]]
	_, d.Reentered = stats["trip"]
	_, restated := stats["restated"]
	state := words[2]
	if state == "logged_out" {
		state = ""
	}
	after := image.New(image.Stat{Name: "acd_state", Text: state}, image.Stat{Name: "reason", Text: stats["reason"]}, image.Stat{Name: "team_name", Text: stats["team"]})
	verb := "state_changed"
	switch {
	case state == "-":
		verb, d.Before = "disappeared", before
		delete(s.images, words[0])
		s.add("agent."+verb, by, d)
		return
	case restated || base.Observed.After.IsZero():
		verb = "observed"
	case !was:
		verb = "appeared"
	default:
		d.Before = before
	}
	d.After, s.images[words[0]] = after, after
	s.add("agent."+verb, by, d)
}

// sum sums messages up, and writes the rows as lines.
func (s *script) sum(o report.Options) []string {
	s.t.Helper()
	m := report.NewMessages("acme", o)
	for _, message := range s.messages {
		m.Add(message)
	}
	r, err := m.Report()
	if err != nil {
		return []string{err.Error()}
	}
	date := ""
	if len(r.Days) > 1 {
		date = "many"
	}
	day := func(d string) string {
		if date == "" {
			return ""
		}
		return d[len("2026-10-"):] + " "
	}
	var lines []string
	for _, a := range r.Agents {
		line := fmt.Sprintf("%s%s %s %s", day(a.Day), a.Agent, a.Team, a.State)
		if a.Reason != "" {
			line += "/" + a.Reason
		}
		line += fmt.Sprintf(" x%d %s", a.Times, text(a.Range))
		if a.LogIns > 0 {
			line += fmt.Sprintf(" log-ins %d", a.LogIns)
		}
		if a.RoundTrips > 0 {
			line += fmt.Sprintf(" trips %d", a.RoundTrips)
		}
		lines = append(lines, line)
	}
	for _, v := range r.Services {
		if v.Unavailable != nil {
			lines = append(lines, fmt.Sprintf("%s%s unavailable x%d %s", day(v.Day), v.Service, v.Unavailable.Times, text(v.Unavailable.Range)))
		}
		if v.LongestWait != nil {
			lines = append(lines, fmt.Sprintf("%s%s wait %s", day(v.Day), v.Service, text(*v.LongestWait)))
		}
		for _, rule := range v.Rules {
			lines = append(lines, fmt.Sprintf("%s%s %s x%d %s", day(v.Day), v.Service, rule.Rule, rule.Times, text(rule.Range)))
		}
	}
	if r.Missing+r.Foreign > 0 {
		lines = append(lines, fmt.Sprintf("missing %d foreign %d", r.Missing, r.Foreign))
	}
	return lines
}

func text(r report.Range) string {
	out := fmt.Sprintf("%v-%v", r.AtLeast.Seconds(), r.AtMost.Seconds())
	if r.Unseen > 0 {
		out += fmt.Sprintf(" unseen %v", r.Unseen.Seconds())
	}
	return out
}

// between are the bounds of a report in seconds; 0 is none.
func between(since, until float64) report.Options {
	var o report.Options
	if since != 0 {
		o.Since = second(since)
	}
	if until != 0 {
		o.Until = second(until)
	}
	return o
}

// TestReport sums up scripts of events.
func TestReport(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	const begin = "ann 1 ready 0 2\ncheckpoint 2 2\n"
	for name, test := range map[string]struct {
		options report.Options
		lines   string
		want    string
	}{
		"a change": {between(0, 60), begin + "ann 2 busy 10 12\ncheckpoint 12.5 12\ncheckpoint 60 60",
			"ann Sales busy x1 48-50\nann Sales ready x1 8-10"},
		"no observation": {between(0, 60), "", report.ErrNoObservation.Error()},
		"reasons": {between(0, 60), begin + "ann 2 not_ready 10 12 reason=Lunch\ncheckpoint 12 12\nann 3 not_ready 20 22 reason=Call\ncheckpoint 22 22\nann 4 busy 30 32 reason=x\ncheckpoint 60 60",
			"ann Sales busy x1 28-30\nann Sales not_ready/Call x1 8-12\nann Sales not_ready/Lunch x1 8-12\nann Sales ready x1 8-10"},
		"statistics alone": {between(0, 60), begin + "ann 2 ready 10 12 name=Ann\ncheckpoint 60 60", "ann Sales ready x1 58-58"},
		"a team changes": {between(0, 60), begin + "ann 2 ready 10 12 team=Support\ncheckpoint 60 60",
			"ann Sales ready x1 8-10\nann Support ready x1 48-50"},
		"state and team in one poll": {between(0, 60), begin + "ann 2 busy 10 12\nann 3 busy 10 12 team=Support\ncheckpoint 60 60",
			"ann Sales ready x1 8-10\nann Support busy x1 48-50"},
		"logged out": {between(0, 60), begin + "ann 2 logged_out 10 12\ncheckpoint 12 12\nann 3 busy 20 22\ncheckpoint 60 60",
			"ann Sales busy x1 38-40 log-ins 1\nann Sales ready x1 8-10"},
		"absent": {between(0, 60), begin + "ann 2 - 10 12\ncheckpoint 12 12\nann 3 ready 20 22\ncheckpoint 60 60\n",
			"ann Sales ready x2 46-50 log-ins 1"},
		"somebody appears": {between(0, 60), begin + "bob 1 ready 20 22\ncheckpoint 60 60",
			"ann Sales ready x1 58-58\nbob Sales ready x1 38-40 log-ins 1"},
		"round trip": {between(0, 60), begin + "ann 2 ready 10 12 trip\ncheckpoint 12 12\nann 3 busy 30 32\ncheckpoint 60 60",
			"ann Sales busy x1 28-32\nann Sales ready x2 26-30 trips 1"},
		"stated again": {between(0, 60), begin + "ann 2 ready 0 20 restated\ncheckpoint 60 60", "ann Sales ready x1 58-58"},
		"windows overlap": {between(0, 60), begin + "ann 2 busy 9 13\ncheckpoint 13 11\nann 3 not_ready 11 15\ncheckpoint 60 60",
			"ann Sales busy x1 0-6\nann Sales not_ready x1 45-49\nann Sales ready x1 7-11"},
		"since and until": {between(5, 40), begin + "ann 2 busy 10 12\ncheckpoint 12.5 12\nann 3 ready 50 52\ncheckpoint 60 60",
			"ann Sales busy x1 28-30\nann Sales ready x1 5-7"},
		"the state at since is from long before": {between(30, 40), begin + "ann 2 busy 10 12\ncheckpoint 12.5 12\ncheckpoint 60 60", "ann Sales busy x1 10-10"},
		"since in a window":                      {between(11, 40), begin + "ann 2 busy 10 12\ncheckpoint 12.5 12\ncheckpoint 60 60", "ann Sales busy x1 28-29\nann Sales ready x0 0-1"},
		"until in a window":                      {between(0, 11), begin + "ann 2 busy 10 12\ncheckpoint 12.5 12\ncheckpoint 60 60", "ann Sales busy x0 0-1\nann Sales ready x1 8-9"},
		"after the last observation":             {between(0, 60), begin + "checkpoint 40 40", "ann Sales ready x1 38-58 unseen 20"},
		"nothing after the last observation":     {between(0, 0), begin + "checkpoint 40 40", "ann Sales ready x1 38-38"},
		"all of it after the last observation":   {between(50, 60), begin + "checkpoint 40 40", "ann Sales ready x0 0-10 unseen 10"},
		"all of it before the first observation": {between(-60, -50), begin + "checkpoint 40 40", ""},
		"before the first observation":           {between(-10, 60), begin + "checkpoint 60 60", "ann Sales ready x1 58-58 unseen 12"},
		"gap": {between(0, 60), begin + "checkpoint 12 10 interrupted\ngap 10 20 source\nann 2 busy 10 20\ncheckpoint 60 60",
			"ann Sales busy x1 40-50 unseen 10\nann Sales ready x1 8-18 unseen 10"},
		"gap without a change": {between(0, 60), begin + "gap 10 20 source\ncheckpoint 60 60", "ann Sales ready x1 48-58 unseen 10"},
		"frozen": {between(0, 60), begin + "checkpoint 12 12\ncheckpoint 20 5 interrupted\ngap 5 30 frozen\nann 2 busy 5 30\ncheckpoint 60 60",
			"ann Sales busy x1 30-55 unseen 25\nann Sales ready x1 3-28 unseen 25"},
		"frozen to the end": {between(0, 60), begin + "checkpoint 12 12\ncheckpoint 20 5 interrupted", "ann Sales ready x1 3-58 unseen 55"},
		"rows missing": {between(0, 60), begin + "bob 1 busy 4 6\ncheckpoint 20 20 live 15\nbob 2 - 15 25\ncheckpoint 25 25\ncheckpoint 60 60",
			"ann Sales ready x1 48-58 unseen 10\nbob Sales busy x1 9-21 unseen 10 log-ins 1"},
		"events are lost": {between(0, 60), begin + "checkpoint 10 10\nlost 2\ncheckpoint 20 20\nann 4 ready 30 32\ncheckpoint 60 60",
			"ann Sales ready x2 48-58 unseen 10\nmissing 2 foreign 0"},
		"events are lost of others": {between(0, 60), begin + "checkpoint 10 10\nlost 2\ncheckpoint 20 20\nann 2 busy 30 32\ncheckpoint 60 60",
			"ann Sales busy x1 28-30\nann Sales ready x1 28-30\nmissing 2 foreign 0"},
		"events are lost, and none comes after it": {between(0, 60), begin + "checkpoint 10 10\nlost 2\ncheckpoint 20 20\ncheckpoint 60 60",
			"ann Sales ready x1 8-58 unseen 50\nmissing 2 foreign 0"},
		"the first events are lost": {between(0, 60), "checkpoint 2 2\nlost 1\ncheckpoint 20 20\nann 3 busy 30 32\ncheckpoint 60 60",
			"ann Sales busy x1 28-48 unseen 18 log-ins 1\nmissing 1 foreign 0"},
		"the beginning has expired": {between(0, 60), "aged\nbob 1 ready 0 2\ncheckpoint 12 10\nbob 2 busy 20 22\ncheckpoint 60 60",
			"bob Sales busy x1 38-40\nbob Sales ready x1 8-10"},
		"foreign": {between(0, 60), begin + "foreign\nann 2 busy 10 12\ncheckpoint 60 60", "ann Sales busy x1 48-50\nann Sales ready x1 8-10\nmissing 0 foreign 1"},
		"data that is none": {between(0, 60), begin + "checkpoint 10 10\nbroken ann\ncheckpoint 20 20\ncheckpoint 60 60",
			"ann Sales ready x1 0-58 unseen 58\nmissing 0 foreign 1"},
		"the clock is set back": {between(0, 60), begin + "ann 2 busy 30 32\ncheckpoint 32 32\nann 3 ready 12 14\ncheckpoint 14 14\nann 4 busy 40 42\ncheckpoint 60 60",
			"ann Sales busy x2 18-22\nann Sales ready x2 36-40"},
		"midnight": {report.Options{Zone: berlin, Since: second(39000), Until: second(40000)}, begin + "ann 2 busy 39595 39605\ncheckpoint 39605 39605\ncheckpoint 41000 41000",
			"24 ann Sales busy x0 0-5\n24 ann Sales ready x1 595-600\n25 ann Sales busy x1 395-400\n25 ann Sales ready x0 0-5"},
		"a state over midnight": {report.Options{Zone: berlin, Since: second(39590), Until: second(39610)}, begin + "checkpoint 41000 41000",
			"24 ann Sales ready x1 10-10\n25 ann Sales ready x1 10-10"},
		"a change at midnight": {report.Options{Zone: berlin, Since: second(39590), Until: second(39610)}, begin + "ann 2 busy 39600 39600\ncheckpoint 41000 41000",
			"24 ann Sales ready x1 10-10\n25 ann Sales busy x1 10-10"},
		"a day of 25 hours": {report.Options{Zone: berlin, Since: second(-2642400), Until: second(-2552300)}, "ann 1 ready 0 -2700000\ncheckpoint -2700000 -2700000\ncheckpoint 10 10",
			"25 ann Sales ready x1 90000-90000\n26 ann Sales ready x1 100-100"},
		"availability": {between(0, 60), begin + "open 1 true 0 2\ncheckpoint 3 3\nopen 2 false 10 12\ncheckpoint 12 12\ngap 20 30 source\ncheckpoint 30 30\nopen 3 null 40 42\ncheckpoint 42 42\nopen 4 true 50 52\ncheckpoint 60 60",
			"ann Sales ready x1 48-58 unseen 10\nchat unavailable x1 28-42 unseen 12"},
		"availability while no bridge polls": {between(0, 60), begin + "open 1 false 0 2\ncheckpoint 3 3\ngap 20 30 away\ncheckpoint 60 60",
			"ann Sales ready x1 48-58 unseen 10\nchat unavailable x1 48-58 unseen 10"},
		"availability while a bridge has crashed in a gap": {between(0, 60), begin + "open 1 false 0 2\ncheckpoint 3 3\ncheckpoint 15 12 interrupted\nterm\ncheckpoint 25 12 interrupted\ngap 12 30 source\ncheckpoint 30 30\ncheckpoint 60 60",
			"ann Sales ready x1 40-58 unseen 18\nchat unavailable x1 45-58 unseen 13"},
		"availability while a bridge restarts": {between(0, 60), begin + "open 1 false 0 2\ncheckpoint 3 3\ncheckpoint 12 12\nterm\ncheckpoint 15 12\ncheckpoint 60 60",
			"ann Sales ready x1 58-58\nchat unavailable x1 58-58"},
		"a rule": {between(5, 60), begin + "rule 1 raised 10 12\ncheckpoint 12 12\nrule 2 cleared 20 22\ncheckpoint 22 22\nrule 3 raised 30 32\ncheckpoint 60 60",
			"ann Sales ready x1 55-55\nchat backlog x2 36-42"},
		"a rule that was raised before": {between(5, 60), "aged\ncheckpoint 4 4\nrule 2 cleared 20 22\ncheckpoint 60 60", "chat backlog x1 15-17"},
		"waits": {between(0, 60), begin + "chat 1 0/0 0 2\ncheckpoint 2 2\nchat 2 1/2 10 12\ncheckpoint 12 12\nchat 3 0/0 20 22\ncheckpoint 60 60",
			"ann Sales ready x1 58-58\nchat wait 2-15"},
		"nobody waits": {between(0, 60), begin + "chat 1 0/0 0 2\ncheckpoint 60 60", "ann Sales ready x1 58-58\nchat wait 0-0"},
		"nobody waits around lost events": {between(0, 60), begin + "chat 1 0/0 0 2\ncheckpoint 10 10\nlost 2\ncheckpoint 20 20\nann 2 ready 30 32\nchat 3 0/0 30 32\ncheckpoint 60 60",
			"ann Sales ready x1 58-58\nchat wait 0-10 unseen 10\nmissing 2 foreign 0"},
		"nobody waits before lost events": {between(0, 60), begin + "chat 1 0/0 0 2\ncheckpoint 10 10\nlost 2\ncheckpoint 20 20\nann 2 ready 30 32\ncheckpoint 60 60",
			"ann Sales ready x1 58-58\nchat wait 0-50 unseen 50\nmissing 2 foreign 0"},
		"nobody waits around a gap": {between(0, 60), begin + "chat 1 0/0 0 2\ncheckpoint 2 2\ngap 10 20 source\ncheckpoint 60 60",
			"ann Sales ready x1 48-58 unseen 10\nchat wait 0-10 unseen 10"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := newScript(t).read(test.lines).sum(test.options)
			if d := cmp.Diff(test.want, strings.Join(got, "\n")); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}
