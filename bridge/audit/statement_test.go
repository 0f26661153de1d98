package audit_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/event"
	"bpcc-nats/diff/image"
)

// step is one event of a stream that is made by hand. Steps of one time are one poll.
type step struct {
	at            float64 // when the poll was received, in seconds
	name, id      string
	before, after string // images: "acd_state=ready state_duration=3"
	edit          func(*event.Event)
}

// began is when the steps begin to count.
var began = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time {
	return began.Add(time.Duration(seconds * float64(time.Second))).Round(time.Millisecond)
}

// sent is when the request of a poll was sent.
func sent(seconds float64) event.Time { return event.Floor(at(seconds - 0.01)) }

// stream makes the messages of a tenant's first term: the start, and polls that each close with a
// checkpoint. An edit changes an event after all else of it is set; that of a checkpoint or of an
// event about the feed is the step's own.
func stream(t *testing.T, steps ...step) []message {
	t.Helper()
	w := newWriter(t)
	for len(steps) > 0 {
		n := 1
		for n < len(steps) && steps[n].at == steps[0].at {
			n++
		}
		w.poll(steps[:n])
		steps = steps[n:]
	}
	return w.out
}

// newWriter returns a writer that has written the start.
func newWriter(t *testing.T) *writer {
	w := &writer{t: t, encoder: event.NewEncoder("https://acme.example/statsapi"), reader: event.NewAgentReader(),
		id: event.ID{Epoch: 1, Poll: 1, Index: 1}, revisions: map[string]uint64{}, states: map[string]uint64{}, pending: map[string]event.Time{}, count: map[string]int{}}
	w.poll([]step{{at: -2, name: event.Started}})
	return w
}

// writer writes the messages of a stream.
type writer struct {
	t         *testing.T
	encoder   *event.Encoder
	reader    *event.AgentReader
	id        event.ID // of the next event
	revisions map[string]uint64
	states    map[string]uint64 // by key of the view
	pending   map[string]event.Time
	count     map[string]int // present entities by kind
	until     event.Time     // the last poll was sent then
	follows   string
	out       []message
}

// poll writes the events of one poll and its checkpoint.
func (w *writer) poll(steps []step) {
	w.part(steps, 1, 1)
	w.id.Poll, w.id.Index = w.id.Poll+1, 1
}

// part writes a part of a poll. Only the last one shows the status and the watermark of the poll.
func (w *writer) part(steps []step, part, parts int) {
	received := steps[0].at
	if steps[0].name == event.Started && len(w.out) > 0 {
		w.id.Epoch++
	}
	closing := &event.CheckpointData{Status: event.StatusLive, ObservedUntil: sent(received)}
	if steps[0].name == event.Started || part < parts {
		closing.Status, closing.ObservedUntil = event.StatusInterrupted, w.until
	}
	checkpoint := event.Event{Name: event.Checkpoint, Data: closing}
	for _, s := range steps {
		if s.name == event.Checkpoint {
			s.edit(&checkpoint)
			continue
		}
		closing.Events++
		w.write(s, w.make(s))
	}
	closing.Part, closing.Parts, closing.Epoch, closing.Instance, closing.Observing = part, parts, w.id.Epoch, "test", []string{}
	closing.Tenant, closing.Poll, closing.Agents, closing.Services, closing.Follows = "acme", w.id.Poll, w.count["agent"], w.count["service"], w.follows
	w.write(steps[0], checkpoint)
	w.follows, w.until = w.out[len(w.out)-1].id(), closing.ObservedUntil
}

// make makes the event of a step.
func (w *writer) make(s step) event.Event {
	e := event.Event{Name: s.name}
	base := event.Base{Tenant: "acme", Poll: w.id.Poll}
	entity := event.EntityBase{Base: base, Observed: event.Window{After: w.until, By: event.Ceil(at(s.at))}}
	row := event.RowData{Before: imageOf(s.before), After: imageOf(s.after)}
	verb := e.Verb()
	if verb == "observed" {
		entity.Observed.After = event.Time{}
	}
	if strings.HasSuffix(verb, "_changed") {
		row.Changed = slices.DeleteFunc(image.Differences(row.Before, row.After), func(stat string) bool {
			return volatile(stat) || (verb == "state_changed") != event.IsStateStat(stat)
		})
	}
	switch e.Kind() {
	case "agent":
		d := &event.AgentData{EntityBase: entity, Agent: event.AgentRef{ID: s.id}, RowData: row}
		if from := w.reader.State(row.Before); !row.Before.IsZero() && verb != "stats_changed" {
			d.From = &from
		}
		if to := w.reader.State(row.After); !row.After.IsZero() && verb != "stats_changed" {
			d.To, d.Since = &to, event.Since(row.After.Text(event.StateDuration), at(s.at))
		}
		e.Data = d
	case "service":
		e.Data = &event.ServiceData{EntityBase: entity, Service: s.id, RowData: row}
	case "totals":
		e.Data = &event.TotalsData{EntityBase: entity, App: s.id, RowData: row}
	case "threshold":
		d := &event.ThresholdData{EntityBase: entity, Rule: "backlog", Severity: "warning", Entity: event.EntityRef{Kind: "service", ID: s.id},
			Stat: "in_calls_waiting", Value: &s.after, Limit: 5, Op: ">=", For: "4s", PendingSince: event.Ceil(at(s.at - 4))}
		if verb == "cleared" {
			d.Op, d.ClearedBy = "<=", "condition"
		}
		e.Data = d
	case "feed":
		if s.name == event.Resumed {
			e.Data = &event.ResumedData{Base: base, Epoch: w.id.Epoch, Instance: "test", Cause: "source", Observed: entity.Observed}
			break
		}
		e.Data = &event.FeedData{Base: base, Epoch: w.id.Epoch, Instance: "test", ObservedUntil: w.until}
		if s.name == event.Started {
			e.Data.(*event.FeedData).Version = "test"
		}
	default:
		w.t.Fatalf("no event %s", s.name)
	}
	return e
}

// write numbers and stores an event.
func (w *writer) write(s step, e event.Event) {
	w.t.Helper()
	e.ID, e.Time = w.id, at(s.at)
	w.id.Index++
	key := e.ViewKey()
	if base := e.EntityBase(); base != nil {
		w.revisions[key]++
		base.Revision = w.revisions[key]
		if e.Kind() == "agent" {
			if states := w.states[key]; states == 0 || e.Name == event.StateChanged {
				w.states[key]++
			}
			base.StateRevision = w.states[key]
		}
	}
	switch {
	case e.Arrives():
		w.count[e.Kind()]++
	case e.Removes():
		w.count[e.Kind()]--
	}
	d, ofRule := e.Data.(*event.ThresholdData)
	if since, known := w.pending[key]; ofRule && known && e.Name == event.ThresholdCleared {
		d.PendingSince = since
	}
	if s.edit != nil && e.Name != event.Checkpoint {
		s.edit(&e)
	}
	if ofRule {
		w.pending[key] = d.PendingSince
		if held := d.Observed.By.Sub(d.PendingSince.Time); held < 4*time.Second && d.For == "4s" {
			d.For = held.String()
		}
	}
	body, err := w.encoder.Append(nil, &e)
	if err != nil {
		w.t.Fatal(err)
	}
	m := message{seq: uint64(len(w.out) + 1), subject: e.Subject(), body: body, header: nats.Header{}}
	m.header.Set(nats.MsgIdHdr, e.MsgID())
	m.header.Set("Content-Type", event.ContentType)
	if e.Removes() {
		m.header.Set("KV-Operation", "DEL")
	}
	w.out = append(w.out, m)
}

// volatile reports whether a statistic is in no list of changes.
func volatile(stat string) bool {
	return stat == event.StateDuration || stat == "in_max_wait_time" || stat == "clock" || strings.HasPrefix(stat, "agent_total_")
}

// image reads "name=text name=text"; "" is the image of no entity.
func imageOf(text string) image.Image {
	if text == "" {
		return image.Image{}
	}
	var stats []image.Stat
	for _, word := range strings.Fields(text) {
		name, value, _ := strings.Cut(word, "=")
		stats = append(stats, image.Stat{Name: name, Text: value})
	}
	return image.New(stats...)
}

// agentEdit is an edit of an event about an agent.
func agentEdit(change func(*event.AgentData)) func(*event.Event) {
	return func(e *event.Event) { change(e.Data.(*event.AgentData)) }
}

// thresholdEdit is an edit of an event of a rule.
func thresholdEdit(change func(*event.ThresholdData)) func(*event.Event) {
	return func(e *event.Event) { change(e.Data.(*event.ThresholdData)) }
}

// reset is an edit that names statistics as reset.
func reset(stats ...string) func(*event.Event) {
	return func(e *event.Event) { e.Row().Reset = stats }
}

// missingSince is a checkpoint alone that says since when a row is missing.
func missingSince(seconds, since float64) step {
	return step{at: seconds, name: event.Checkpoint, edit: func(e *event.Event) {
		e.Data.(*event.CheckpointData).MissingSince = sent(since)
	}}
}

// statement is a stream, and what an auditor must say of it: code, entity and verb of each fault.
type statement struct {
	steps   []step
	options audit.Options
	want    []string
}

func checkStatements(t *testing.T, tests map[string]statement) {
	t.Helper()
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := stream(t, test.steps...)
			test.options.Whole = true
			r := judge(t, test.options, all)
			var got []string
			for _, f := range r.Faults {
				verb := f.Type[strings.Index(f.Type, ".")+1:]
				_, verb, _ = strings.Cut(strings.TrimSuffix(verb, ".v1"), ".")
				got = append(got, fmt.Sprintf("%s %s %s", f.Code, f.Entity, verb))
				m := all[index(t, all, f.ID)]
				if f.Seq != m.seq || f.N != int(m.seq) {
					t.Errorf("%s is said to have sequence %d and line %d, it has %d", f.ID, f.Seq, f.N, m.seq)
				}
				t.Log(f.Text)
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("faults (-want +got)\n%s", d)
			}
			for code, n := range r.ByCode {
				if n != len(slices.DeleteFunc(slices.Clone(got), func(s string) bool { return !strings.HasPrefix(s, code+" ") })) {
					t.Errorf("%d faults %s are counted", n, code)
				}
			}
			for _, n := range r.Notes {
				t.Errorf("note: %+v", n)
			}
		})
	}
}
