package bridge

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/diff"
	"bpcc-nats/schemas"
)

// envelope is an event as encoding/json writes it: the specification of what
// the encoder appends.
type envelope struct {
	SpecVersion     string `json:"specversion"`
	ID              string `json:"id"`
	Source          string `json:"source"`
	Type            string `json:"type"`
	Subject         string `json:"subject"`
	Time            string `json:"time"`
	DataContentType string `json:"datacontenttype"`
	DataSchema      string `json:"dataschema"`
	Data            any    `json:"data"`
}

// dice makes random data of events.
type dice struct{ *rand.Rand }

// text is mostly what a contact centre has, and now and then anything.
func (d dice) text() string {
	usual := []string{"", "ready", "Voice Inbound", "v123", "größe", "12", "F4ED0A1B2C3D4E5F60718293A4B5C6D7"}
	if d.IntN(4) > 0 {
		return usual[d.IntN(len(usual))]
	}
	odd := []string{
		"\"", "\\", "/", "<&>", "\x00", "\x1f", "\x7f", "\b\f\n\r\t", "\u2028", "\u2029", "\ufffd", "\xff", "\xc3", "\xed\xa0\x80", "😀", "é", "a", "plain ascii",
	}
	text := ""
	for range d.IntN(12) {
		text += odd[d.IntN(len(odd))]
	}
	return text
}

func (d dice) names() []string {
	switch d.IntN(4) {
	case 0:
		return nil
	case 1:
		return []string{}
	}
	return []string{"acd_state", d.text()}
}

func (d dice) image() diff.Image {
	if d.IntN(5) == 0 {
		return diff.Image{}
	}
	var stats []diff.Stat
	for range d.IntN(6) {
		stats = append(stats, diff.Stat{Name: d.text(), Text: d.text()})
	}
	return diff.NewImage(stats...)
}

func (d dice) state() *agentState {
	if d.IntN(3) == 0 {
		return nil
	}
	return &agentState{d.text(), d.text(), d.text()}
}

func (d dice) entity() entityData {
	e := entityData{
		common: common{d.text(), d.Uint64()}, Revision: d.Uint64N(100), AfterGap: d.IntN(2) == 0, Observed: window{By: d.text()},
	}
	if d.IntN(2) == 0 {
		after := d.text()
		e.Observed.After = &after
	}
	return e
}

func (d dice) event() event {
	ev := event{name: "agent.state_changed", at: time.Unix(0, d.Int64N(1<<60)), told: told{kind: kindAgent, id: d.text()}}
	if d.IntN(2) == 0 {
		ev.about = d.text() + "x"
	}
	switch d.IntN(5) {
	case 0:
		ev.name = "service.stats_changed"
		ev.data = &serviceData{d.entity(), d.text(), d.names(), d.image(), d.image(), d.names()}
	case 1:
		ev.name = "totals.observed"
		ev.data = &totalsData{d.entity(), d.text(), d.names(), d.image(), d.image(), d.names()}
	case 2:
		ev.name = "chat.message_posted"
		ev.data = chatData{App: d.text(), Message: chatMessage{ID: d.text(), Content: d.text()}}
	default:
		ev.data = &agentData{
			entityData: d.entity(), Agent: agentRef{d.text(), d.text(), d.text(), d.text(), d.text()}, From: d.state(), To: d.state(),
			Since: d.text(), Reentered: d.IntN(2) == 0, Changed: d.names(), Before: d.image(), After: d.image(), Reset: d.names(),
		}
	}
	return ev
}

// TestEncoderAgreesWithEncodingJSON: the encoder writes, byte by byte, what
// encoding/json would.
func TestEncoderAgreesWithEncodingJSON(t *testing.T) {
	t.Parallel()
	d := dice{rand.New(rand.NewPCG(1, 2))}
	encoder := newEncoder("https://acme.example/statsapi?\u2028")
	for range 20_000 {
		ev, id := d.event(), d.text()
		got, err := encoder.append([]byte("before"), id, &ev)
		if err != nil {
			t.Fatal(err)
		}
		about := ev.about
		if about == "" {
			about = string(ev.told.kind) + "/" + ev.told.id
		}
		want, err := plainJSON(envelope{
			SpecVersion: "1.0", ID: id, Source: encoder.source, Type: schemas.Type(ev.name), Subject: about, Time: stampBy(ev.at),
			DataContentType: "application/json", DataSchema: schemas.ID(ev.name), Data: ev.data,
		})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff("before"+string(want), string(got)); d != "" {
			t.Fatalf("an event (-encoding/json +encoder)\n%s", d)
		}
		if !json.Valid(want) {
			t.Fatalf("not JSON: %s", want)
		}
	}
}

// TestEncoderOnSnapshots is the same for images as snapshots make them.
func TestEncoderOnSnapshots(t *testing.T) {
	t.Parallel()
	d := dice{rand.New(rand.NewPCG(3, 4))}
	c := newCentre(0)
	var s diff.State
	for range 300 {
		rows := map[string]any{}
		for _, column := range c.layout.Grids[0].Columns {
			if d.IntN(20) > 0 {
				rows[column.ID] = d.text()
			}
		}
		rows["1"] = "anna"
		body, err := json.Marshal(map[string]any{"app": map[string]any{"agent_grids": []any{map[string]any{"id": "agents", "values": []any{rows}}}}})
		if err != nil {
			t.Fatal(err)
		}
		snap, err := s.Parse(c.layout, body)
		if err != nil {
			t.Fatal(err)
		}
		changes, err := s.Compare(c.layout, snap, diff.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for change := range changes.All() {
			s.Set(change.Kind, change.ID, change.After, 1)
			data := &agentData{Before: change.Before, After: change.After, Changed: change.Stats}
			want, err := plainJSON(data)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(data.appendJSON(nil, newEncoder("")))); d != "" {
				t.Fatalf("an event (-encoding/json +encoder)\n%s", d)
			}
			plain, want2 := map[string]string{}, map[string]string{}
			if err := json.Unmarshal(change.After.AppendJSON(nil), &plain); err != nil {
				t.Fatal(err)
			}
			for name, text := range change.After.All() {
				want2[name] = text
			}
			if d := cmp.Diff(want2, plain); d != "" {
				t.Fatalf("an image (-texts +JSON)\n%s", d)
			}
		}
	}
}
