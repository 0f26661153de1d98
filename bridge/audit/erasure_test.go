package audit_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/event"
)

// judgeErased is judge with what is stated as erased read before, as bridge verify does.
func judgeErased(t *testing.T, o audit.Options, all []message) audit.Report {
	t.Helper()
	a, err := audit.New(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		a.ReadErasure(m.subject, m.header, m.body)
	}
	for _, m := range all {
		a.Add(m.message())
	}
	return a.Report()
}

// term appends a term to a stream: the events between its feed.started and its checkpoint, which counts
// so many agents more than the last one.
func term(t *testing.T, all []message, agents int, events ...event.Event) []message {
	t.Helper()
	all = slices.Clone(all)
	last := all[len(all)-1]
	before, err := event.Parse("acme", last.subject, last.id(), last.body)
	if err != nil {
		t.Fatal(err)
	}
	closing := *before.Data.(*event.CheckpointData)
	id := event.ID{Epoch: before.ID.Epoch + 1, Poll: before.ID.Poll + 1, Index: 1}
	base, now := event.Base{Tenant: "acme", Poll: id.Poll}, before.Time.Add(time.Second)
	feed := event.FeedData{Base: base, Epoch: id.Epoch, Instance: "admin", ObservedUntil: closing.ObservedUntil}
	started, stopped := feed, feed
	started.Version, stopped.Reason = "test", "erasure"
	closing.Base, closing.Epoch, closing.Follows, closing.Status, closing.Part, closing.Parts = base, id.Epoch, last.id(), event.StatusStopped, 1, 1
	closing.Agents, closing.Events = closing.Agents+agents, len(events)+2
	events = slices.Concat([]event.Event{{Name: event.Started, Data: &started}}, events, []event.Event{{Name: event.Stopped, Data: &stopped}, {Name: event.Checkpoint, Data: &closing}})
	encoder := event.NewEncoder("https://acme.brightpattern.com/statsapi")
	for i := range events {
		e := &events[i]
		e.ID, e.Time = id, now
		if d, ok := e.Data.(*event.ErasedData); ok {
			d.Base, d.Epoch, d.Instance = base, id.Epoch, "admin"
		}
		body, err := encoder.Append(nil, e)
		if err != nil {
			t.Fatal(err)
		}
		m := message{seq: all[len(all)-1].seq + 1, subject: e.Subject(), body: body, header: nats.Header{"Content-Type": {event.ContentType}}}
		m.header["Nats-Msg-Id"] = []string{m.id()}
		all, id.Index = append(all, m), id.Index+1
	}
	return all
}

// stating is a feed.erased that states messages, and a key.
func stating(messages []message) event.Event {
	d := &event.ErasedData{Messages: uint64(len(messages)), Keys: 1, Sequences: []event.SequenceRange{}}
	for _, m := range messages {
		if n := len(d.Sequences); n > 0 && d.Sequences[n-1].Last+1 == m.seq {
			d.Sequences[n-1].Last = m.seq
			continue
		}
		d.Sequences = append(d.Sequences, event.SequenceRange{First: m.seq, Last: m.seq})
	}
	return event.Event{Name: event.Erased, Data: d}
}

// present counts the events of an agent that arrive, less those that leave.
func present(messages []message) (n int) {
	for _, m := range messages {
		switch verb := m.subject[strings.LastIndexByte(m.subject, '.')+1:]; {
		case !strings.Contains(m.subject, ".agent."):
		case verb == "observed" || verb == "appeared":
			n++
		case verb == "disappeared":
			n--
		}
	}
	return n
}

// TestStatedErasure erases everything about each entity of a day: that is sound, and one message less is not.
func TestStatedErasure(t *testing.T) {
	t.Parallel()
	day := goldenStream(t)
	entities := map[string]bool{}
	for _, m := range day {
		if parts := strings.Split(strings.TrimPrefix(m.subject, "bpcc.v1.acme."), "."); parts[0] != "feed" {
			entities[strings.Join(parts[:len(parts)-1], ".")+"."] = true
		}
	}
	if len(entities) < 10 {
		t.Fatalf("the day has only %v", entities)
	}
	for entity := range entities {
		t.Run(entity, func(t *testing.T) {
			t.Parallel()
			var erased, kept []message
			for _, m := range day {
				if strings.HasPrefix(m.subject, "bpcc.v1.acme."+entity) {
					erased = append(erased, m)
				} else {
					kept = append(kept, m)
				}
			}
			stated := term(t, day, -present(erased), stating(erased))[len(day):]
			all := slices.Concat(kept, stated)
			for _, o := range []audit.Options{{Whole: true}, {Tenant: "acme"}} {
				r := judgeErased(t, o, all)
				if !r.OK || len(r.Notes) != 1 || r.Notes[0].Code != "erased" {
					t.Errorf("unsound: %v, notes %v", r.Faults, r.Notes)
				}
				if r := judgeErased(t, o, kept); r.OK {
					t.Error("sound, although nothing is stated")
				}
				if o.Whole || entity != "agent.bob." && entity != "service.Voice=20Inbound." {
					continue // to be quick
				}
				for i, m := range kept {
					if !strings.Contains(m.subject, ".feed.") && judgeErased(t, o, slices.Delete(slices.Clone(all), i, i+1)).OK {
						t.Errorf("sound without %s, which is not stated", m.id())
					}
				}
			}
			// The erasure was not finished: all is still there, and counted again by the next term.
			unfinished := slices.Concat(day, stated)
			r := judgeErased(t, audit.Options{Whole: true}, unfinished)
			found := slices.DeleteFunc(slices.Clone(r.Notes), func(f audit.Finding) bool { return f.Code != "present" })
			if !r.OK || len(found) != len(erased) {
				t.Errorf("stated and still present: %v, %d notes, want %d", r.Faults, len(found), len(erased))
			}
			again := term(t, unfinished, present(erased))
			if r := judgeErased(t, audit.Options{Whole: true}, again); !r.OK {
				t.Errorf("still present in the next term: %v", r.Faults)
			}
			if r := judgeErased(t, audit.Options{Whole: true}, term(t, unfinished, 2)); r.OK {
				t.Error("sound, although a term counts two agents more than an erasure of one key explains")
			}
		})
	}
}

// TestErasureThatIsWrong: a statement that contradicts itself is a fault. One that another program has
// written explains nothing.
func TestErasureThatIsWrong(t *testing.T) {
	t.Parallel()
	day := goldenStream(t)
	i := slices.IndexFunc(day, func(m message) bool { return strings.Contains(m.subject, "agent.anna=2Elopez.state_changed") })
	if i < 0 {
		t.Fatal("the day has no change of state of anna")
	}
	without := slices.Delete(slices.Clone(day), i, i+1)
	for name, test := range map[string]struct {
		edit func(*event.ErasedData)
		harm func(*message)
		want string // code of the first fault
	}{
		"sound":          {},
		"count":          {edit: func(d *event.ErasedData) { d.Messages = 2 }, want: "erasure"},
		"order":          {edit: func(d *event.ErasedData) { d.Sequences[0].First++ }, want: "sequence"},
		"in the future":  {edit: func(d *event.ErasedData) { d.Sequences[0].Last, d.Messages = 1000, 1001-d.Sequences[0].First }, want: "erasure"},
		"another one":    {edit: func(d *event.ErasedData) { d.Sequences = []event.SequenceRange{{First: 11, Last: 11}} }, want: "sequence"},
		"of nobody's id": {harm: func(m *message) { m.header.Del("Nats-Msg-Id") }, want: "sequence"},
		"of another id":  {harm: func(m *message) { m.header.Set("Nats-Msg-Id", "acme-1-1-1") }, want: "sequence"},
		"no event": {harm: func(m *message) {
			var e map[string]any
			if err := json.Unmarshal(m.body, &e); err != nil {
				t.Fatal(err)
			}
			delete(e["data"].(map[string]any), "messages")
			m.body, _ = json.Marshal(e)
		}, want: "sequence"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			statement := stating(day[i : i+1])
			if test.edit != nil {
				test.edit(statement.Data.(*event.ErasedData))
			}
			stated := term(t, day, 0, statement)[len(day):]
			if test.harm != nil {
				test.harm(&stated[1])
			}
			r := judgeErased(t, audit.Options{Whole: true}, slices.Concat(without, stated))
			got := ""
			if len(r.Faults) > 0 {
				got = r.Faults[0].Code
			}
			if got != test.want {
				t.Errorf("first fault %q, want %q: %v", got, test.want, r.Faults)
			}
		})
	}
}

// TestErasedBeforeTheRange: the first batch of a range lacks what is erased of it, and not what is erased before.
func TestErasedBeforeTheRange(t *testing.T) {
	t.Parallel()
	day := goldenStream(t)
	begin, erased := 0, 0
	for i, m := range day {
		switch {
		case !strings.HasSuffix(m.subject, event.Checkpoint):
		case i-begin >= 3 && begin > 2:
			erased = begin + 1
		default:
			begin = i + 1
		}
		if erased > 0 {
			break
		}
	}
	all := term(t, day, 0, stating([]message{day[1], day[erased]}))
	r := judgeErased(t, audit.Options{Whole: true}, slices.Delete(slices.Clone(all), erased, erased+1)[begin:])
	if r.ByCode["count"] != 0 || r.ByCode["missing"] != 0 {
		t.Errorf("%+v", r.Faults)
	}
}
