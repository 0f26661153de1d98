package event_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/event"
	"bpcc-nats/diff/image"
	"bpcc-nats/schemas"
)

// TestWindowSurvivesTheClock: a window never ends before it begins, whatever
// happened to the machine's clock.
func TestWindowSurvivesTheClock(t *testing.T) {
	t.Parallel()
	by := time.Date(2026, 11, 23, 10, 0, 2, 500_000, time.UTC)
	for name, test := range map[string]struct {
		after time.Time
		want  string
	}{
		"earlier":       {by.Add(-2 * time.Second), "2026-11-23T10:00:00.000Z"},
		"same instant":  {by, "2026-11-23T10:00:02.000Z"},
		"never":         {time.Time{}, "null"},
		"in the future": {by.Add(time.Hour), "null"}, // from before the clock was set back
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := event.Between(test.after, by)
			if got, want := w.By.String(), "2026-11-23T10:00:02.001Z"; got != want {
				t.Errorf("by %s, want %s", got, want)
			}
			if got := w.After.String(); got != test.want {
				t.Errorf("after %s, want %s", got, test.want)
			}
		})
	}
}

// TestSince: whatever the source says of a state's age, the beginning is written
// in whole seconds of UTC, or left out.
func TestSince(t *testing.T) {
	t.Parallel()
	received := time.Date(2026, 11, 28, 0, 0, 2, 900_000_000, time.FixedZone("", 3600))
	for text, want := range map[string]string{"2": "2026-11-27T23:00:00Z", "0": "2026-11-27T23:00:02Z", "": "", "-1": "", "1.5": "", "x": ""} {
		got := ""
		if since := event.Since(text, received); !since.IsZero() {
			got = since.Format(time.RFC3339Nano)
		}
		if got != want {
			t.Errorf("since of %q is %q, want %q", text, got, want)
		}
	}
}

// sample is one event of every kind of data.
func sample() []event.Event {
	now := time.Date(2026, 11, 23, 10, 0, 2, 113_000_000, time.UTC)
	base := event.Base{Tenant: "ac-me", Poll: 7}
	entity := event.EntityBase{Base: base, Revision: 3, Observed: event.Between(now.Add(-time.Second), now), AfterGap: true}
	counted := entity
	counted.StateRevision = 2
	image, yes, value := image.New(image.Stat{Name: "acd_state", Text: "ready"}), true, "7"
	of := func(name string, index uint64, d event.Data) event.Event {
		return event.Event{ID: event.ID{Epoch: 2, Poll: 7, Index: index}, Name: name, Time: now, Data: d}
	}
	observed := event.AvailabilityObservedData{EntityBase: entity, Service: "Voice Inbound", Available: &yes}
	return []event.Event{
		of("agent.state_changed", 1, &event.AgentData{
			EntityBase: counted, Agent: event.AgentRef{ID: "john.smith", Name: "John Smith"}, From: &event.AgentState{State: "ready"},
			To: &event.AgentState{State: event.LoggedOut}, Since: now.Truncate(time.Second), RowData: event.RowData{Changed: []string{"acd_state"}, Before: image, After: image},
		}),
		of("agent.disappeared", 2, &event.AgentData{EntityBase: entity, Agent: event.AgentRef{ID: "john.smith"}, RowData: event.RowData{Before: image}}),
		of("service.stats_changed", 3, &event.ServiceData{EntityBase: entity, Service: "Voice Inbound", RowData: event.RowData{Before: image, After: image, Changed: []string{"x"}}}),
		of("totals.observed", 4, &event.TotalsData{EntityBase: entity, App: "bridge", RowData: event.RowData{After: image}}),
		of("availability.observed", 5, &observed),
		of("availability.changed", 6, &event.AvailabilityChangedData{AvailabilityObservedData: observed}),
		of("threshold.raised", 7, &event.ThresholdData{
			EntityBase: entity, Rule: "backlog", Severity: "warning", Entity: event.EntityRef{Kind: "service", ID: "Voice Inbound"},
			Stat: "in_calls_waiting", Value: &value, Limit: 5, Op: ">=", For: "10s", PendingSince: event.Ceil(now),
		}),
		of("directory.changed", 8, &event.DirectoryData{
			Base: base, Kind: "teams", Observed: event.Window{By: event.Ceil(now)}, Added: []event.DirectoryEntry{{ID: "1", Name: "Sales"}},
			Removed: []event.DirectoryEntry{}, Renamed: []event.DirectoryRename{},
		}),
		of("chat.message_posted", 9, &event.ChatData{Base: base, App: "bridge", Observed: event.Window{By: event.Ceil(now)}, Message: event.ChatMessage{ID: "m1"}}),
		of("feed.interrupted", 10, &event.FeedData{Base: base, Epoch: 2, Instance: "i", Cause: "auth", Error: "no"}),
		of("feed.erased", 12, &event.ErasedData{Base: base, Epoch: 2, Instance: "i", Reason: "request 4711", Messages: 3, Keys: 1, Sequences: []event.SequenceRange{{First: 7, Last: 7}, {First: 9, Last: 10}}}),
		of("feed.resumed", 11, &event.ResumedData{Base: base, Epoch: 2, Instance: "i", Cause: "auth", Observed: event.Between(now.Add(-time.Minute), now)}),
		of("feed.checkpoint", 12, &event.CheckpointData{
			Base: base, Epoch: 2, Status: event.StatusLive, Part: 1, Parts: 1, Events: 11, ObservedUntil: event.Floor(now), Observing: []string{"agent"},
		}),
	}
}

// TestParseReadsWhatTheEncoderWrites: an event comes back as it was.
func TestParseReadsWhatTheEncoderWrites(t *testing.T) {
	t.Parallel()
	encoder := event.NewEncoder("https://acme.example/statsapi")
	for _, e := range sample() {
		body, err := encoder.Append(nil, &e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := event.Parse("ac-me", e.Subject(), e.MsgID(), body)
		if err != nil {
			t.Errorf("%s: %v", e.Name, err)
			continue
		}
		if d := cmp.Diff(e, got); d != "" {
			t.Errorf("%s (-written +read)\n%s", e.Name, d)
		}
		if key := e.ViewKey(); key != "" {
			if _, err := event.ParseValue("ac-me", key, body); err != nil {
				t.Errorf("%s under key %s: %v", e.Name, key, err)
			}
		}
	}
}

// TestNames: subject, key of the view and CloudEvents subject follow one rule.
func TestNames(t *testing.T) {
	t.Parallel()
	want := [][4]string{
		{"agent.state_changed", "bpcc.v1.ac-me.agent.john=2Esmith.state_changed", "agent.john=2Esmith", "agent/john.smith"},
		{"agent.disappeared", "bpcc.v1.ac-me.agent.john=2Esmith.disappeared", "agent.john=2Esmith", "agent/john.smith"},
		{"service.stats_changed", "bpcc.v1.ac-me.service.Voice=20Inbound.stats_changed", "service.Voice=20Inbound", "service/Voice Inbound"},
		{"totals.observed", "bpcc.v1.ac-me.totals.bridge.observed", "totals.bridge", "totals/bridge"},
		{"availability.observed", "bpcc.v1.ac-me.availability.Voice=20Inbound.observed", "availability.Voice=20Inbound", "availability/Voice Inbound"},
		{"availability.changed", "bpcc.v1.ac-me.availability.Voice=20Inbound.changed", "availability.Voice=20Inbound", "availability/Voice Inbound"},
		{"threshold.raised", "bpcc.v1.ac-me.threshold.backlog.Voice=20Inbound.raised", "threshold.backlog.Voice=20Inbound", "threshold/backlog/Voice Inbound"},
		{"directory.changed", "bpcc.v1.ac-me.directory.teams.changed", "directory.teams", "directory/teams"},
		{"chat.message_posted", "bpcc.v1.ac-me.chat.message_posted", "", "chat/m1"},
		{"feed.interrupted", "bpcc.v1.ac-me.feed.interrupted", "", "feed"},
		{"feed.erased", "bpcc.v1.ac-me.feed.erased", "", "feed"},
		{"feed.resumed", "bpcc.v1.ac-me.feed.resumed", "", "feed"},
		{"feed.checkpoint", "bpcc.v1.ac-me.feed.checkpoint", "feed", "feed"},
	}
	var got [][4]string
	for _, e := range sample() {
		got = append(got, [4]string{e.Name, e.Subject(), e.ViewKey(), e.CESubject()})
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("names (-want +got)\n%s", d)
	}
}

// TestForeign: what the bridge has not written so is no event.
func TestForeign(t *testing.T) {
	t.Parallel()
	encoder := event.NewEncoder("https://acme.example/statsapi")
	e := sample()[0]
	body, err := encoder.Append(nil, &e)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ tenant, subject, msgID, old, new string }{
		"another tenant":        {tenant: "other"},
		"another subject":       {subject: "bpcc.v1.ac-me.agent.anna.state_changed"},
		"another message id":    {msgID: "ac-me-2-7-2"},
		"no message id":         {msgID: "-"},
		"no JSON":               {old: `{"specversion"`, new: `"specversion"`},
		"another type":          {old: "bpcc.agent.state_changed.v1", new: "acme.agent.state_changed.v1"},
		"a later major version": {old: "state_changed.v1", new: "state_changed.v2"},
		"an unknown kind":       {old: "bpcc.agent.", new: "bpcc.call."},
		"an id of another kind": {old: `"id":"ac-me-2-7-1"`, new: `"id":"ac-me-2-7"`},
		"an id of epoch 0":      {old: `"id":"ac-me-2-7-1"`, new: `"id":"ac-me-0-7-1"`},
		"another poll":          {old: `"poll":7`, new: `"poll":8`},
		"no revision":           {old: `"revision":3`, new: `"revision":0`},
		"no agent":              {old: `"id":"john.smith"`, new: `"id":""`},
		"no image after":        {old: `"after":{"acd_state":"ready"}`, new: `"then":{}`},
		"data of another shape": {old: `"agent":{`, new: `"agent":7,"x":{`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tenant, subject, msgID := "ac-me", e.Subject(), e.MsgID()
			if test.tenant != "" {
				tenant = test.tenant
			}
			if test.subject != "" {
				subject = test.subject
			}
			if test.msgID != "" {
				msgID = test.msgID
			}
			if test.old != "" && !strings.Contains(string(body), test.old) {
				t.Fatalf("no %s in %s", test.old, body)
			}
			if _, err := event.Parse(tenant, subject, msgID, []byte(strings.Replace(string(body), test.old, test.new, 1))); !errors.Is(err, event.ErrForeign) {
				t.Errorf("error %v, want %v", err, event.ErrForeign)
			}
		})
	}
}

// TestForeignEverywhere: nothing that people and programs put on a tenant's subjects is an event,
// nor a value of the view, whatever the subject and the message id.
func TestForeignEverywhere(t *testing.T) {
	t.Parallel()
	body := func(typ, tenant, data string) string {
		return `{"specversion":"1.0","id":"` + tenant + `-9-900-1","source":"x","type":"` + typ + `","time":"2026-11-23T10:00:02Z",` +
			`"data":{"tenant":"` + tenant + `","poll":900,"epoch":9,"revision":900,"status":"live",` + data + `}}`
	}
	bodies := map[string]string{
		"no JSON":           "junk",
		"empty":             "",
		"not an object":     "[1,2]",
		"null":              "null",
		"no fields of ours": `{"hello":"world"}`,
		"other types":       `{"id":7,"type":[],"data":"x"}`,
		"foreign event":     body("com.example.thing.v1", "acme", `"after":{"a":"b"}`),
		"another tenant":    body("bpcc.agent.state_changed.v1", "umbrella", `"agent":{"id":"anna"},"after":{"acd_state":"busy"}`),
		"another subject":   body("bpcc.agent.state_changed.v1", "acme", `"agent":{"id":"someone"},"after":{"acd_state":"busy"}`),
		"no image":          body("bpcc.agent.state_changed.v1", "acme", `"agent":{"id":"anna"}`),
		"huge":              strings.Repeat("x", 200_000),
	}
	for name, body := range bodies {
		for _, subject := range []string{
			"agent.anna.state_changed", "agent.anna.observed", "agent.anna.stats_changed", "agent.nobody.state_changed", "agent.anna.hello",
			"service.Voice.stats_changed", "availability.Voice.changed", "availability.Voice.observed",
			"totals.bridge.stats_changed", "threshold.backlog.Voice.raised", "threshold.backlog.Voice.cleared",
			"other.Voice.changed", "directory.agents.changed", "directory.services.changed", "chat.message_posted",
			"feed.checkpoint", "feed.interrupted", "feed.resumed", "feed.started", "hello", "agent.*.state_changed",
		} {
			for _, msgID := range []string{"", "acme-9-900-1"} {
				if _, err := event.Parse("acme", "bpcc.v1.acme."+subject, msgID, []byte(body)); !errors.Is(err, event.ErrForeign) {
					t.Errorf("%s on %s with the id %q: error %v, want %v", name, subject, msgID, err, event.ErrForeign)
				}
			}
			if key := event.ViewKey(subject); key != "" {
				if _, err := event.ParseValue("acme", key, []byte(body)); !errors.Is(err, event.ErrForeign) {
					t.Errorf("%s under %s: error %v, want %v", name, key, err, event.ErrForeign)
				}
			}
		}
	}
}

// TestLaterVersion: an event of a later version of v1 is read as far as it is
// known.
func TestLaterVersion(t *testing.T) {
	t.Parallel()
	body := `{"id":"acme-1-2-3","type":"bpcc.agent.team_changed.v1","time":"2026-11-23T10:00:02.113Z","data":{"tenant":"acme","poll":2,` +
		`"revision":4,"observed":{"after":null,"by":"2026-11-23T10:00:02.113Z"},"agent":{"id":"anna"},"shift":"late","after":{"team_name":"Sales"}}}`
	e, err := event.Parse("acme", "bpcc.v1.acme.agent.anna.team_changed", "acme-1-2-3", []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if d, ok := e.Data.(*event.AgentData); !ok || d.After.Text("team_name") != "Sales" || d.Revision != 4 {
		t.Errorf("read %+v", e.Data)
	}
}

// FuzzParse checks that no message does harm, and that what is accepted can be
// written again.
func FuzzParse(f *testing.F) {
	encoder := event.NewEncoder("x")
	for _, e := range sample() {
		body, err := encoder.Append(nil, &e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Add([]byte(`{"data":null}`))
	f.Add([]byte(`{"id":"ac-me-1-1-1","type":"bpcc.agent.observed.v1","data":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		v, err := event.ReadEnvelope(body)
		if err != nil {
			return
		}
		v.Tenant()
		e, err := v.Event()
		if err != nil {
			if !errors.Is(err, event.ErrForeign) {
				t.Errorf("error %v, want %v", err, event.ErrForeign)
			}
			return
		}
		e, err = event.Parse(e.Tenant(), e.Subject(), e.MsgID(), body)
		if err != nil {
			return
		}
		written, err := encoder.Append(nil, &e)
		if err != nil || !json.Valid(written) {
			t.Fatalf("%s is written as %s, error %v", body, written, err)
		}
		again, err := event.Parse(e.Tenant(), e.Subject(), e.MsgID(), written)
		if err != nil {
			t.Fatalf("%s is written as %s: %v", body, written, err)
		}
		if e.ID != again.ID || e.Name != again.Name {
			t.Errorf("%s comes back as %s", body, written)
		}
	})
}

// FuzzToken checks that tokens are legal in subjects and keys, and reversible.
func FuzzToken(f *testing.F) {
	for _, id := range []string{"john.smith", "Voice Inbound", "a.b*c>d", "김", "=41", "", "\x00", "x=2Ey", strings.Repeat("ü", 50)} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		token := event.Token(id)
		if strings.Trim(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-=") != "" {
			t.Errorf("%q has an illegal token %q", id, token)
		}
		back, err := event.ParseToken(token)
		if id == "" {
			if !errors.Is(err, event.ErrToken) {
				t.Errorf("an empty token is read as %q, %v", back, err)
			}
			return
		}
		if err != nil || back != id {
			t.Errorf("%q comes back as %q, %v", id, back, err)
		}
		// The other way: what can be read is what would be written.
		if parsed, err := event.ParseToken(id); err == nil && event.Token(parsed) != id {
			t.Errorf("%q is read as %q, whose token is %q", id, parsed, event.Token(parsed))
		}
	})
}

// TestControlCharacters: names with control characters give events that keep their schemas and the rules of
// CloudEvents, and are read back as they were.
func TestControlCharacters(t *testing.T) {
	t.Parallel()
	by := time.Date(2026, 11, 23, 10, 0, 2, 0, time.UTC)
	encoder := event.NewEncoder("https://acme.example/statsapi")
	base := event.EntityBase{Base: event.Base{Tenant: "acme", Poll: 7}, Revision: 1, Observed: event.Window{By: event.Ceil(by)}}
	for name, want := range map[string]string{"A\nB": "A=0AB", "\n": "=0A", "\u0085x": "=C2=85x", "\u2028": "=E2=80=A8", "A B\x7f": "A B=7F", "größe": "größe"} {
		available := true
		for i, data := range []event.Data{
			&event.ServiceData{EntityBase: base, Service: name, RowData: event.RowData{After: image.New(image.Stat{Name: "name", Text: name})}},
			&event.AvailabilityObservedData{EntityBase: base, Service: name, Available: &available},
		} {
			verb := []string{"service.observed", "availability.observed"}[i]
			e := event.Event{ID: event.ID{Epoch: 2, Poll: 7, Index: 1}, Name: verb, Time: by, Data: data}
			if got, want := e.CESubject(), e.Kind()+"/"+want; got != want {
				t.Errorf("%q: CloudEvents subject %q, want %q", name, got, want)
			}
			if got := e.EntityID(); got != name {
				t.Errorf("id %q, want %q", got, name)
			}
			body, err := encoder.Append(nil, &e)
			if err == nil {
				err = schemas.Validate(body)
			}
			if err != nil {
				t.Errorf("%q: %v", name, err)
				continue
			}
			got, err := event.Parse("acme", e.Subject(), e.MsgID(), body)
			if err != nil {
				t.Errorf("%q: %v", name, err)
			}
			if d := cmp.Diff(e, got); d != "" {
				t.Errorf("%q (-written +read)\n%s", name, d)
			}
		}
	}
}
