package stream

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/schemas"
)

// TestOneRule checks every type of event that has a schema: its example's subject,
// key in the view, CloudEvents subject, type and schema file all follow from the
// kind, the ids and the verb.
func TestOneRule(t *testing.T) {
	t.Parallel()
	type data struct {
		Agent, Entity            struct{ ID string }
		Service, App, Rule, Kind string
	}
	ids := map[string]func(data) []string{
		"agent":        func(d data) []string { return []string{d.Agent.ID} },
		"service":      func(d data) []string { return []string{d.Service} },
		"availability": func(d data) []string { return []string{d.Service} },
		"totals":       func(d data) []string { return []string{d.App} },
		"threshold":    func(d data) []string { return []string{d.Rule, d.Entity.ID} },
		"directory":    func(d data) []string { return []string{d.Kind} },
		"chat":         func(data) []string { return nil },
		"feed":         func(data) []string { return nil },
	}
	for _, name := range schemas.Names() {
		if strings.Contains(name, "/") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile("../../schemas/v1/" + name + ".json")
			if err != nil {
				t.Fatal(err)
			}
			var schema struct {
				ID       string `json:"$id"`
				Title    string
				Examples []json.RawMessage
			}
			if err := json.Unmarshal(text, &schema); err != nil {
				t.Fatal(err)
			}
			kind, verb, _ := strings.Cut(name, ".")
			if ids[kind] == nil || verb == "" || strings.Contains(verb, ".") {
				t.Fatal("the table of this test has no such kind, or the name is not <kind>.<verb>")
			}
			var example struct {
				Type, Subject, DataSchema string
				Data                      data
			}
			if err := json.Unmarshal(schema.Examples[0], &example); err != nil {
				t.Fatal(err)
			}
			key, about := kind, kind
			for _, id := range ids[kind](example.Data) {
				if id == "" {
					t.Fatal("the example does not say what it is about")
				}
				key, about = key+"."+event.Token(id), about+"/"+id
			}
			subject := key + "." + verb
			if key == kind && name != event.Checkpoint {
				key = ""
			}
			if kind == "chat" { // the message's id is not in the NATS subject
				about = example.Subject
			}
			for what, pair := range map[string][2]string{
				"type": {example.Type, "bpcc." + kind + "." + verb + ".v1"}, "title": {schema.Title, "bpcc." + kind + "." + verb + ".v1"},
				"schemas.Type": {schemas.Type(name), example.Type}, "$id": {schema.ID, "urn:bpcc:schema:v1:" + kind + "." + verb},
				"dataschema": {example.DataSchema, schema.ID}, "CloudEvents subject": {example.Subject, about},
				"key of the view": {event.ViewKey(subject), key},
			} {
				if pair[0] != pair[1] {
					t.Errorf("%s is %q, want %q", what, pair[0], pair[1])
				}
			}
			// Readers derive all of it from the content.
			v, err := event.ReadEnvelope(schema.Examples[0])
			if err != nil {
				t.Fatal(err)
			}
			e, err := v.Event()
			if err != nil || string(e.AppendSubject(nil, "")) != subject || e.ViewKey() != key || e.CESubject() != about {
				t.Errorf("read: subject %q, key %q, about %q, %v; want %q, %q and %q", e.AppendSubject(nil, ""), e.ViewKey(), e.CESubject(), err, subject, key, about)
			}
			if revised := key != "" && kind != "feed" && kind != "directory"; (e.EntityBase() != nil) != revised {
				t.Errorf("has a revision: %v, want %v", e.EntityBase() != nil, revised)
			}
			if got := transformed(t, subject); got != key {
				t.Errorf("the server gives key %q, want %q", got, key)
			}
		})
	}
}

// TestViewKeyIsTheTransforms compares event.ViewKey with the server's transforms, also
// on subjects that the bridge does not use.
func TestViewKeyIsTheTransforms(t *testing.T) {
	t.Parallel()
	for _, subject := range []string{
		"agent", "hello", "agent.anna", "feed.checkpoint", "feed.started", "feed.checkpoint.x", "feed.a.checkpoint",
		"agent.anna.hello", "agent.anna.hello.more", "agent.anna.hello.once.more", "service.Voice.hello_changed",
		"chat.message_posted", "directory.teams.changed", "threshold.backlog.Voice.raised", "what.ever.this.is",
	} {
		if got, want := event.ViewKey(subject), transformed(t, subject); got != want {
			t.Errorf("%s: key %q, the server gives %q", subject, got, want)
		}
	}
}

// transformed is the key, below the tenant, that the server gives a subject by the
// transforms of the view; "" for none.
func transformed(t *testing.T, subject string) string {
	t.Helper()
	view := viewConfig(config.Stream{Name: "BPCC_EVENTS", StateBucket: "bpcc_state"})
	i := slices.IndexFunc(view.Sources, func(s *jetstream.StreamSource) bool { return s.Name == "BPCC_EVENTS" })
	var keys []string
	for _, c := range view.Sources[i].SubjectTransforms {
		transform, err := server.NewSubjectTransform(c.Source, c.Destination)
		if err != nil {
			t.Fatal(err)
		}
		if to, err := transform.Match(event.SubjectPrefix + ".acme." + subject); err == nil {
			keys = append(keys, strings.TrimPrefix(to, "$KV.bpcc_state.acme."))
		}
	}
	if len(keys) > 1 {
		t.Errorf("%s: %d transforms apply: %q", subject, len(keys), keys)
	}
	return strings.Join(keys, " ")
}
