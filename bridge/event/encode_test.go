package event

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/diff/image"
	"bpcc-nats/schemas"
)

// cloudEvent is an event as encoding/json writes it: the specification of what
// the encoder appends.
type cloudEvent struct {
	SpecVersion     string `json:"specversion"`
	ID              string `json:"id"`
	Source          string `json:"source"`
	Type            string `json:"type"`
	Subject         string `json:"subject"`
	Time            Time   `json:"time"`
	DataContentType string `json:"datacontenttype"`
	DataSchema      string `json:"dataschema"`
	Data            Data   `json:"data"`
}

// generator makes random events.
type generator struct{ *rand.Rand }

// text is mostly what a contact centre has, and now and then anything.
func (g generator) text() string {
	usual := []string{"", "ready", "Voice Inbound", "v123", "größe", "12", "F4ED0A1B2C3D4E5F60718293A4B5C6D7"}
	if g.IntN(4) > 0 {
		return usual[g.IntN(len(usual))]
	}
	odd := []string{
		"\"", "\\", "/", "<&>", "\x00", "\x1f", "\x7f", "\b\f\n\r\t", "\u2028", "\u2029", "\ufffd", "\xff", "\xc3", "\xed\xa0\x80", "😀", "é", "a", "plain ascii",
	}
	text := ""
	for range g.IntN(12) {
		text += odd[g.IntN(len(odd))]
	}
	return text
}

func (g generator) names() []string {
	switch g.IntN(4) {
	case 0:
		return nil
	case 1:
		return []string{}
	}
	return []string{"acd_state", g.text()}
}

func (g generator) image() image.Image {
	if g.IntN(5) == 0 {
		return image.Image{}
	}
	var stats []image.Stat
	for range g.IntN(6) {
		stats = append(stats, image.Stat{Name: g.text(), Text: g.text()})
	}
	return image.New(stats...)
}

func (g generator) state() *AgentState {
	if g.IntN(3) == 0 {
		return nil
	}
	return &AgentState{g.text(), g.text(), g.text()}
}

func (g generator) time() time.Time { return time.Unix(0, g.Int64N(1<<60)) }

// duration is none, one of few digits, or a long one, of whole milliseconds.
func (g generator) duration() Duration {
	return Duration(g.Int64N([]int64{1, 30, 5000, 1e12}[g.IntN(4)])) * Duration(time.Millisecond)
}

func (g generator) entity() EntityBase {
	e := EntityBase{
		Base: Base{g.text(), g.Uint64()}, Revision: g.Uint64N(100), StateRevision: g.Uint64N(3), AfterGap: g.IntN(2) == 0, Observed: Window{By: Ceil(g.time())},
	}
	if g.IntN(2) == 0 {
		e.Observed.After = Floor(g.time())
	}
	return e
}

func (g generator) row() RowData { return RowData{g.names(), g.image(), g.image(), g.names()} }

func (g generator) event() Event {
	e := Event{Name: "agent.state_changed", Time: g.time(), ID: ID{g.Uint64N(9), g.Uint64(), g.Uint64N(2000)}}
	switch g.IntN(6) {
	case 0:
		e.Name = "service.stats_changed"
		e.Data = &ServiceData{g.entity(), g.text(), g.row()}
	case 1:
		e.Name = "totals.observed"
		e.Data = &TotalsData{g.entity(), g.text(), g.row()}
	case 2:
		e.Name = "chat.message_posted"
		e.Data = &ChatData{App: g.text(), Message: ChatMessage{ID: g.text(), Content: g.text()}}
	case 3:
		value := g.text()
		e.Name = "threshold.raised"
		e.Data = &ThresholdData{EntityBase: g.entity(), Rule: g.text(), Entity: EntityRef{"agent", g.text()}, Value: &value, PendingSince: Ceil(g.time())}
	default:
		d := &AgentData{
			EntityBase: g.entity(), Agent: AgentRef{g.text(), g.text(), g.text(), g.text(), g.text()}, From: g.state(), To: g.state(),
			Reentered: g.IntN(2) == 0, RowData: g.row(),
		}
		if g.IntN(2) == 0 {
			d.Since = g.time().UTC().Truncate(time.Second)
		}
		if g.IntN(2) == 0 {
			d.PreviousDuration = DurationRange{g.duration(), g.duration()}
		}
		e.Data = d
	}
	return e
}

// TestEncoderAgreesWithEncodingJSON: the encoder writes, byte by byte, what
// encoding/json would.
func TestEncoderAgreesWithEncodingJSON(t *testing.T) {
	t.Parallel()
	g := generator{rand.New(rand.NewPCG(1, 2))}
	encoder := NewEncoder("https://acme.example/statsapi?\u2028")
	for range 20_000 {
		e := g.event()
		got, err := encoder.Append([]byte("before"), &e)
		if err != nil {
			t.Fatal(err)
		}
		want, err := marshal(cloudEvent{
			SpecVersion: "1.0", ID: e.MsgID(), Source: encoder.source, Type: schemas.Type(e.Name), Subject: e.CESubject(), Time: Ceil(e.Time),
			DataContentType: "application/json", DataSchema: schemas.ID(e.Name), Data: e.Data,
		})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff("before"+string(want), string(got)); d != "" {
			t.Fatalf("event (-encoding/json +encoder)\n%s", d)
		}
		if !json.Valid(want) {
			t.Fatalf("not JSON: %s", want)
		}
	}
}

// BenchmarkEncoder writes a poll's events about agents.
func BenchmarkEncoder(b *testing.B) {
	g := generator{rand.New(rand.NewPCG(1, 2))}
	stats := []image.Stat{{Name: "acd_state", Text: "ready"}, {Name: "first_last_name", Text: "Anna Doe"}}
	for _, name := range []string{"login_id", "team_name", "extension", "reason", "in_calls_handled_per_day", "agent_total_ready_time"} {
		stats = append(stats, image.Stat{Name: name, Text: "12345"})
	}
	now, image := g.time(), image.New(stats...)
	e := Event{Name: "agent.state_changed", Time: now, ID: ID{1, 2, 3}, Data: &AgentData{
		EntityBase: EntityBase{Base: Base{"acme", 2}, Revision: 7, Observed: Between(now.Add(-time.Second), now)},
		Agent:      AgentRef{ID: "anna", LoginID: "anna", Name: "Anna Doe", Team: "Sales"},
		From:       &AgentState{State: "ready"}, To: &AgentState{State: "busy"}, RowData: RowData{Changed: []string{"acd_state"}, Before: image, After: image},
	}}
	encoder := NewEncoder("https://acme.example/statsapi")
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = encoder.Append(buf[:0], &e); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(buf)))
}
