package past_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/event"
	"bpcc-nats/diff/image"
	"bpcc-nats/reader/past"
)

// noon is second 0 of the tests; the stream's checkpoints are some seconds after it.
var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func second(s float64) time.Time { return noon.Add(time.Duration(s * float64(time.Second))) }

func window(after, by float64) event.Window {
	w := event.Window{By: event.Floor(second(by))}
	if after > 0 {
		w.After = event.Floor(second(after))
	}
	return w
}

type decoded struct{ event.Event }

func (d decoded) Decode() (event.Event, error) { return d.Event, nil }

// script makes a fold of lines, each an event: "ann 2 busy 10 12" is revision 2 of the agent ann, which
// became busy in the window from second 10 to 12; "-" is absent, and a window from 0 has no lower bound.
//
//	checkpoint 12.5 10            made at second 12.5, observed until 10; with a status and missing_since
//	gap 10 20 source              a gap that has ended
//	term                          another bridge goes on
//	hole erased 3                 three messages are missing
//	foreign ann
type script struct {
	*past.Fold
	seq    uint64
	epoch  uint64
	states map[string]string
	began  bool
}

func fold(t *testing.T, at float64, lines string) *past.Fold {
	t.Helper()
	s := script{Fold: past.New(second(at)), states: map[string]string{}}
	for line := range strings.Lines(lines) {
		if words := strings.Fields(line); len(words) > 0 {
			s.add(t, words)
		}
	}
	return s.Fold
}

func (s *script) add(t *testing.T, words []string) {
	t.Helper()
	number := func(i int) (f float64) {
		if i < len(words) && words[i] != "-" {
			if _, err := fmt.Sscan(words[i], &f); err != nil {
				t.Fatalf("%v: %v", words, err)
			}
		}
		return f
	}
	s.seq++
	switch words[0] {
	case "aged": // the stream's beginning is gone
		s.began = true
	case "term":
		s.epoch++
	case "checkpoint":
		d := &event.CheckpointData{Status: event.StatusLive, Part: 1, Parts: 1, Epoch: s.epoch}
		if s.began {
			d.Follows = "acme-1-1-1"
		}
		s.began = true
		if len(words) > 2 && words[2] != "-" {
			d.ObservedUntil = event.Floor(second(number(2)))
		}
		if len(words) > 3 {
			d.Status = words[3]
		}
		if len(words) > 4 {
			d.MissingSince = event.Floor(second(number(4)))
		}
		d.AvailabilityUntil = d.ObservedUntil
		s.Checkpoint(d, event.ID{Epoch: 1, Poll: s.seq}, s.seq, second(number(1)))
	case "gap":
		s.Gap(&event.ResumedData{Observed: window(number(1), number(2)), Cause: words[3], BridgeAway: words[3] == "away"})
	case "hole":
		s.Hole(past.Reason(words[1]), uint64(number(2)), s.seq+1)
	case "foreign":
		s.Foreign("agent." + words[1])
	default:
		e := s.event(words[0], uint64(number(1)), words[2], window(number(3), number(4)))
		s.Event(e.ViewKey(), past.Message{Seq: s.seq, Source: decoded{e}})
	}
}

func (s *script) event(id string, revision uint64, state string, w event.Window) event.Event {
	base := event.EntityBase{Base: event.Base{Tenant: "acme", Poll: s.seq}, Revision: revision, Observed: w}
	if state == "true" || state == "false" || state == "null" { // an availability
		d := &event.AvailabilityChangedData{}
		d.EntityBase, d.Service, d.Available, d.Previous = base, id, yes(state), yes(s.states[id])
		s.states[id] = state
		if revision == 1 {
			return event.Event{Name: "availability.observed", Time: w.By.Time, Data: &d.AvailabilityObservedData}
		}
		return event.Event{Name: "availability.changed", Time: w.By.Time, Data: d}
	}
	d := &event.AgentData{EntityBase: base, Agent: event.AgentRef{ID: id}}
	before, was := s.states[id]
	verb := "state_changed"
	switch {
	case state == "-" && was:
		verb = "disappeared"
	case state == "-":
		verb, before, was = "disappeared", "lost", true
	case w.After.IsZero():
		verb, was = "observed", false
	case before == "-" || !was && revision == 1:
		verb, was = "appeared", false
	case !was: // the event before is not in the stream
		before, was = "lost", true
	}
	if was {
		d.Before = image.New(image.Stat{Name: event.ACDState, Text: before})
	}
	if state != "-" {
		d.After = image.New(image.Stat{Name: event.ACDState, Text: state})
	}
	s.states[id] = state
	return event.Event{Name: "agent." + verb, Time: w.By.Time, Data: d}
}

func yes(text string) *bool {
	b := text == "true"
	if text == "null" || text == "" {
		return nil
	}
	return &b
}

// text writes an entity in one line: its possible states, and for how long they are certain or why they
// are not.
func text(e past.Entity) string {
	var states []string
	for _, p := range e.Possible {
		switch {
		case p.Event == nil:
			states = append(states, "absent")
		case p.Event.Availability() != nil:
			state := "null"
			if a := p.Event.Availability().Available; a != nil {
				state = fmt.Sprint(*a)
			}
			states = append(states, state)
		default:
			states = append(states, p.Event.Row().After.Text(event.ACDState))
		}
	}
	out := strings.Join(states, " or ")
	if e.Certain() {
		return fmt.Sprintf("%s from %s to %s", out, clock(e.From), clock(e.Until))
	}
	return fmt.Sprintf("%s: %s %s %s", out, e.Unknown.Reason, clock(e.Unknown.After), clock(e.Unknown.By))
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return fmt.Sprint(t.Sub(noon).Seconds())
}

// day is a stream from its beginning: ann and bob are observed at second 2, ann changes in (10, 12] and in
// (30, 32], bob leaves in (20, 22], eve appears in (40, 42].
const day = `
	ann 1 ready 0 2
	bob 1 ready 0 2
	Sales 1 true 0 2
	checkpoint 2.5 1
	ann 2 busy 10 12
	checkpoint 12.5 11
	bob 2 - 20 22
	Sales 2 false 20 22
	checkpoint 22.5 21
	ann 3 ready 30 32
	checkpoint 32.5 31
	eve 1 ready 40 42
	checkpoint 42.5 41
	checkpoint 60.5 60`

// TestWindows asks for instants before, in and after the windows of changes, and where nobody looked.
func TestWindows(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		at     float64
		lines  string
		status string
		want   string // entities and what else is unknown, one a line
	}{
		"before the first": {1, day, "unknown", "unknown: before_first_observation - 2.5"},
		"first":            {3, day, "live", "agent.ann ready from 2.5 to 10\nagent.bob ready from 2.5 to 20\navailability.Sales true from 2.5 to 20"},
		"beginning of a window": {10, day, "live",
			"agent.ann ready from 2.5 to 10\nagent.bob ready from 2.5 to 20\navailability.Sales true from 2.5 to 20"},
		"in a window":     {11, day, "live", "agent.ann ready or busy: changing 10 12\nagent.bob ready from 2.5 to 20\navailability.Sales true from 2.5 to 20"},
		"end of a window": {12, day, "live", "agent.ann busy from 12 to 30\nagent.bob ready from 2.5 to 20\navailability.Sales true from 2.5 to 20"},
		"leaving":         {21, day, "live", "agent.ann busy from 12 to 30\nagent.bob ready or absent: changing 20 22\navailability.Sales true or false: changing 20 22"},
		"gone":            {23, day, "live", "agent.ann busy from 12 to 30\navailability.Sales false from 22 to 60"},
		"appearing":       {41, day, "live", "agent.ann ready from 32 to 60\nagent.eve absent or ready: changing 40 42\navailability.Sales false from 22 to 60"},
		"present":         {50, day, "live", "agent.ann ready from 32 to 60\nagent.eve ready from 42 to 60\navailability.Sales false from 22 to 60"},
		"after the end": {70, day, "unknown",
			"agent.ann ready: unconfirmed 60 -\nagent.eve ready: unconfirmed 60 -\navailability.Sales false: unconfirmed 60 -\nunknown: unconfirmed 60 -"},
		"stopped": {70, day + "\ncheckpoint 65 62 stopped", "stopped",
			"agent.ann ready: stopped 62 -\nagent.eve ready: stopped 62 -\navailability.Sales false: stopped 62 -\nunknown: stopped 62 -"},
		"interrupted": {70, day + "\ncheckpoint 65 62 interrupted", "interrupted",
			"agent.ann ready: interrupted 62 -\nagent.eve ready: interrupted 62 -\navailability.Sales false: interrupted 62 -\nunknown: interrupted 62 -"},
		"gap": {70, day + "\ncheckpoint 65 62 interrupted\ngap 62 80 source\nann 4 busy 62 80\ncheckpoint 80.5 79\ncheckpoint 99 98", "interrupted",
			"agent.ann ready or busy: gap 62 80\nagent.eve ready: gap 62 80\navailability.Sales false from 22 to 98\nunknown: gap 62 80"},
		"frozen": {70, day + "\ngap 75 77 source\ncheckpoint 78 77.5\ngap 82 84 source\ncheckpoint 85 84.5\ngap 62 90 frozen\nann 4 busy 62 90\ncheckpoint 90.5 89.5\ncheckpoint 99 98", "interrupted",
			"agent.ann ready or busy: gap 62 90\nagent.eve ready: gap 62 90\navailability.Sales false from 22 to 75\nunknown: gap 62 90"},
		"frozen at the end": {76, day + "\ngap 77 78 source\ncheckpoint 79 78.5\ncheckpoint 84 62 interrupted", "interrupted",
			"agent.ann ready: interrupted 62 -\nagent.eve ready: interrupted 62 -\navailability.Sales false: interrupted 62 -\nunknown: interrupted 62 -"},
		"bridge away": {70, day + "\ncheckpoint 65 62 stopped\ngap 62 80 away\ncheckpoint 80.5 79", "stopped",
			"agent.ann ready: bridge_away 62 80\nagent.eve ready: bridge_away 62 80\navailability.Sales false: bridge_away 62 80\nunknown: bridge_away 62 80"},
		"a bridge crashes in a gap": {70, day + "\ncheckpoint 65 62 interrupted\nterm\ncheckpoint 75 62 interrupted\ngap 62 80 source\ncheckpoint 80.5 79", "interrupted",
			"agent.ann ready: bridge_away 62 80\nagent.eve ready: bridge_away 62 80\navailability.Sales false: bridge_away 62 80\nunknown: bridge_away 62 80"},
		"a bridge has crashed in a gap": {76, day + "\ncheckpoint 65 62 interrupted\nterm\ncheckpoint 75 62 interrupted\ngap 62 80 source\ncheckpoint 80.5 79", "interrupted",
			"agent.ann ready: gap 62 80\nagent.eve ready: gap 62 80\navailability.Sales false from 22 to 79\nunknown: gap 62 80"},
		"after a gap": {90, day + "\ngap 62 80 source\ncheckpoint 80.5 79\ncheckpoint 99 98", "live",
			"agent.ann ready from 80 to 98\nagent.eve ready from 80 to 98\navailability.Sales false from 80 to 98"},
		"before a gap": {50, day + "\ngap 60 80 source\ncheckpoint 80.5 79\ncheckpoint 99 98", "live",
			"agent.ann ready from 32 to 60\nagent.eve ready from 42 to 60\navailability.Sales false from 22 to 60"},
		"frozen, so that observed_until has gone back": {55, day + "\ncheckpoint 65 45 interrupted", "interrupted",
			"agent.ann ready: interrupted 45 -\nagent.eve ready: interrupted 45 -\navailability.Sales false: interrupted 45 -\nunknown: interrupted 45 -"},
		"frozen shortly, so that a window has": {38, `
			ann 1 ready 0 2
			checkpoint 2.5 1
			checkpoint 36.5 36
			ann 2 busy 35 42
			checkpoint 42.5 41`, "live", "agent.ann ready or busy: changing 35 42"},
		"published long after": {15, `
			ann 1 ready 0 2
			checkpoint 2.5 1
			ann 2 busy 10 12
			checkpoint 50 11
			ann 3 ready 60 62
			checkpoint 62.5 61`, "live", "agent.ann busy from 12 to 60"},
		"two polls that overlap": {12, `
			ann 1 ready 0 2
			checkpoint 2.5 1
			ann 2 busy 9 13
			checkpoint 13.5 11
			ann 3 not_ready 11 15
			checkpoint 15.5 13`, "live", "agent.ann ready or busy or not_ready: changing 9 15"},
		"two events of one poll": {11, `
			ann 1 ready 0 2
			checkpoint 2.5 1
			ann 2 busy 10 12
			ann 3 busy2 10 12
			checkpoint 12.5 11`, "live", "agent.ann ready or busy2: changing 10 12"},
		"stated again": {20, `
			ann 1 ready 0 2
			checkpoint 2.5 1
			ann 2 ready 0 30
			checkpoint 30.5 29
			ann 3 busy 40 42
			checkpoint 42.5 41`, "live", "agent.ann ready from 2.5 to 40"},
		"rows missing": {20, `
			ann 1 ready 0 2
			Sales 1 true 0 2
			checkpoint 2.5 1
			checkpoint 30.5 30 live 15
			checkpoint 40.5 40`, "live", "agent.ann ready: rows_missing 15 -\navailability.Sales true from 2.5 to 40\nunknown: rows_missing 15 -"},
		"rows missing at the end": {10, `
			ann 1 ready 0 2
			Sales 1 true 0 2
			checkpoint 2.5 1
			checkpoint 30.5 30 live 15`, "live", "agent.ann ready from 2.5 to 15\navailability.Sales true from 2.5 to 30"},
		"aged out": {5, `
			aged
			checkpoint 12.5 11
			ann 7 busy 20 22
			checkpoint 22.5 21`, "unknown", "unknown: aged_out - 12.5"},
		"the event before has aged out": {15, `
			aged
			checkpoint 12.5 11
			ann 7 busy 20 22
			bob 4 - 30 32
			eve 1 ready 40 42
			checkpoint 42.5 41`, "live", "agent.ann lost from 12.5 to 20\nagent.bob lost from 12.5 to 30"},
		"events are lost": {15, `
			ann 1 ready 0 2
			checkpoint 2.5 1
			hole erased 3
			ann 5 busy 20 22
			checkpoint 22.5 21`, "live", "agent.ann ready or ready: erased 2 20\nunknown: erased 1 22.5"},
		"events are lost of others": {15, `
			ann 1 ready 0 2
			bob 1 ready 0 2
			checkpoint 2.5 1
			hole lost 1
			ann 2 busy 20 22
			checkpoint 22.5 21
			checkpoint 30 29`, "live", "agent.ann ready from 2.5 to 20\nagent.bob ready: lost 1 22.5\nunknown: lost 1 22.5"},
		"foreign": {5, `
			ann 1 ready 0 2
			checkpoint 2.5 1
			foreign ann
			foreign joe
			checkpoint 30.5 30`, "live", "agent.ann ready from 2.5 to 30\nagent.joe : foreign - -\nunknown: foreign - -"},
		"the clock was set back": {15, `
			ann 1 ready 0 2
			checkpoint 2.5 1
			checkpoint 30.5 30
			checkpoint 9.5 9
			checkpoint 30.5 30`, "live", "agent.ann ready: clock_set - -"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := fold(t, test.at, test.lines).State(nil)
			var got []string
			for _, e := range s.Entities {
				got = append(got, e.Key+" "+text(e))
			}
			for _, u := range s.Unknown {
				got = append(got, fmt.Sprintf("unknown: %s %s %s", u.Reason, clock(u.After), clock(u.By)))
			}
			if d := cmp.Diff(test.want, strings.Join(got, "\n")); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if s.Feed.Status != test.status {
				t.Errorf("the feed is %s, want %s", s.Feed.Status, test.status)
			}
		})
	}
}
