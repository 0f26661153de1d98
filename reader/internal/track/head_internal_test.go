package track

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bpcc-nats/bridge/event"
	"bpcc-nats/diff/image"
)

// everyEvent has an event of each kind, as a bridge writes it.
func everyEvent() []event.Event {
	yes := true
	base := event.Base{Tenant: "acme", Poll: 7}
	entity := event.EntityBase{Base: base, Revision: 41, Observed: event.Window{By: event.Ceil(time.Unix(1, 0))}}
	row := event.RowData{Before: image.New(image.Stat{Name: "a", Text: "1"}), After: image.New(image.Stat{Name: "a", Text: "2"})}
	availability := event.AvailabilityObservedData{EntityBase: entity, Service: "Voice Inbound", Available: &yes}
	all := []event.Event{
		{Name: "agent.state_changed", Data: &event.AgentData{EntityBase: entity, Agent: event.AgentRef{ID: "john.smith"}, RowData: row}},
		{Name: "agent.stats_changed", Data: &event.AgentData{EntityBase: entity, Agent: event.AgentRef{ID: `"quoted" \ ü`}, RowData: row}},
		{Name: "agent.disappeared", Data: &event.AgentData{EntityBase: entity, Agent: event.AgentRef{ID: "a/b"}}},
		{Name: "service.stats_changed", Data: &event.ServiceData{EntityBase: entity, Service: "Voice Inbound", RowData: row}},
		{Name: "totals.stats_changed", Data: &event.TotalsData{EntityBase: entity, App: "bridge", RowData: row}},
		{Name: "availability.observed", Data: &availability},
		{Name: "availability.changed", Data: &event.AvailabilityChangedData{AvailabilityObservedData: availability}},
		{Name: "threshold.raised", Data: &event.ThresholdData{EntityBase: entity, Rule: "back.log", Entity: event.EntityRef{Kind: "service", ID: "Voice Inbound"}}},
		{Name: "directory.changed", Data: &event.DirectoryData{Base: base, Kind: "teams"}},
		{Name: "chat.message_posted", Data: &event.ChatData{Base: base, Message: event.ChatMessage{ID: "m1"}}},
		{Name: event.Checkpoint, Data: &event.CheckpointData{Base: base, Epoch: 3, Part: 1, Parts: 1}},
		{Name: event.Started, Data: &event.FeedData{Base: base, Epoch: 3}},
		{Name: event.Resumed, Data: &event.ResumedData{Base: base, Epoch: 3}},
		{Name: event.Erased, Data: &event.ErasedData{Base: base, Epoch: 3}},
	}
	for i := range all {
		all[i].ID, all[i].Time = event.ID{Epoch: 3, Poll: 7, Index: uint64(i + 1)}, time.Unix(2, 0)
	}
	return all
}

// messageOf is the message that holds an event.
func messageOf(t testing.TB, e *event.Event) *Message {
	t.Helper()
	body, err := event.NewEncoder(`https://acme.example/"statsapi"`).Append(nil, e)
	if err != nil {
		t.Fatal(err)
	}
	return &Message{Subject: e.Subject(), Body: body, Header: nats.Header{nats.MsgIdHdr: {e.MsgID()}}}
}

// TestHeadOfEveryEvent: the head of an event is found without decoding it, unless its ids need escapes.
func TestHeadOfEveryEvent(t *testing.T) {
	t.Parallel()
	for _, e := range everyEvent() {
		r := NewHeadReader("acme", new(event.Decoder))
		h, err := r.Read(messageOf(t, &e))
		if err != nil || h.ID != e.ID || h.Name != e.Name {
			t.Errorf("%s: head %+v, %v", e.MsgID(), h, err)
		}
		if base := e.EntityBase(); base != nil && h.Revision != base.Revision || base == nil && h.Revision != 0 {
			t.Errorf("%s: revision %d", e.MsgID(), h.Revision)
		}
		if escapes := strings.Contains(e.CESubject(), `"`); (h.Decoded != nil) != escapes {
			t.Errorf("%s %s: decoded %v", e.MsgID(), e.CESubject(), h.Decoded != nil)
		}
	}
}

// TestHeadOfForeignMessages changes one thing of an event: it is not the bridge's any more.
func TestHeadOfForeignMessages(t *testing.T) {
	t.Parallel()
	e := everyEvent()[0]
	good := messageOf(t, &e)
	replace := func(old, new string) func(*Message) {
		return func(m *Message) {
			if !strings.Contains(string(m.Body), old) {
				t.Fatalf("no %s in %s", old, m.Body)
			}
			m.Body = []byte(strings.Replace(string(m.Body), old, new, 1))
		}
	}
	tests := map[string]func(*Message){
		"no id":             func(m *Message) { m.Header = nil },
		"another id":        func(m *Message) { m.Header = nats.Header{nats.MsgIdHdr: {"acme-3-7-2"}} },
		"a text as id":      func(m *Message) { m.Header = nats.Header{nats.MsgIdHdr: {"hello"}} },
		"another subject":   func(m *Message) { m.Subject = "bpcc.v1.acme.agent.anna.state_changed" },
		"another verb":      func(m *Message) { m.Subject = "bpcc.v1.acme.agent.john=2Esmith.stats_changed" },
		"another tenant":    func(m *Message) { m.Subject = "bpcc.v1.umbrella.agent.john=2Esmith.State_changed" },
		"no token":          func(m *Message) { m.Subject = "bpcc.v1.acme.agent.john=smith.State_changed" },
		"nothing":           func(m *Message) { m.Body = nil },
		"another type":      replace("agent.state_changed.v1", "agent.state_changed.v2"),
		"another poll":      replace(`"poll":7`, `"poll":8`),
		"no poll":           replace(`"poll":7`, `"poll":"7"`),
		"tenant in data":    replace(`"tenant":"acme"`, `"tenant":"umbrella"`),
		"no revision":       replace(`"revision":41`, `"revision":0`),
		"revision as text":  replace(`"revision":41`, `"revision":"41"`),
		"cut off":           func(m *Message) { m.Body = m.Body[:len(m.Body)-5] },
		"another version":   replace(`"id":"acme-3-7-1"`, `"id":"acme-3-7-10"`),
		"another CE entity": func(m *Message) { m.Body = []byte(strings.ReplaceAll(string(m.Body), "john.smith", "john.smit")) },
	}
	for name, change := range tests {
		m := *good
		change(&m)
		r := NewHeadReader("acme", new(event.Decoder))
		if _, err := r.Read(&m); err == nil {
			t.Errorf("%s: it is taken as an event: %s on %s", name, m.Body, m.Subject)
		}
	}
}

// FuzzHead: what decodes as an event is never foreign, and its head is what decoding gives.
func FuzzHead(f *testing.F) {
	for _, e := range everyEvent() {
		m := messageOf(f, &e)
		f.Add(m.Subject, m.ID(), m.Body)
	}
	f.Fuzz(func(t *testing.T, subject, msgID string, body []byte) {
		m := &Message{Subject: subject, Body: body, Header: nats.Header{nats.MsgIdHdr: {msgID}}}
		r := NewHeadReader("acme", new(event.Decoder))
		h, err := r.Read(m)
		e, parseErr := event.Parse("acme", subject, msgID, body)
		if parseErr != nil {
			return // a head says less than the data
		}
		if err != nil {
			t.Fatalf("an event is taken as foreign: %v: %s", err, body)
		}
		if h.ID != e.ID || h.Name != e.Name {
			t.Errorf("head %+v, event %s %s", h, e.MsgID(), e.Name)
		}
	})
}
