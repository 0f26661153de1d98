package engine_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
)

// spoilt is the answer to a poll in which some texts are in arrays.
func (b *bridge) spoilt(s snapshot, texts ...string) []event.Event {
	b.t.Helper()
	o := b.answer(s)
	for _, text := range texts {
		o.Body = bytes.ReplaceAll(o.Body, fmt.Appendf(nil, `:%q`, text), fmt.Appendf(nil, `:[%q]`, text))
	}
	return b.observe(o)
}

// TestUnreadableRow: a value that is no text spoils its row alone. It is counted and named, and the
// checkpoint says since when the row is missing.
func TestUnreadableRow(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(agents("anna=ready bob=busy"))
	seen := event.Floor(b.sent())
	for range 5 {
		b.expect("anna cannot be read", b.spoilt(agents("anna=strange bob=busy"), "strange"), "")
		if d := cmp.Diff(map[string]int{"unnamed": 0, "duplicate": 0, "oversized": 0, "limit": 0, "unreadable": 1}, b.batch.SkippedRows); d != "" {
			t.Errorf("skipped rows (-want +got)\n%s", d)
		}
		want := `1 row(s) skipped that are no object or have an array or an object as a value: agent_grids agents "anna" column "acd_state"`
		if d := cmp.Diff([]string{want}, b.batch.Problems); d != "" {
			t.Errorf("problems (-want +got)\n%s", d)
		}
	}
	b.expect("bob changes meanwhile", b.spoilt(agents("anna=strange bob=ready"), "strange"), "agent/bob state_changed")
	if got := b.checkpoint().MissingSince; got.String() != seen.String() {
		t.Errorf("missing since %v, want %v", got, seen)
	}
	b.expect("anna is back", b.poll(agents("anna=busy bob=ready")), "agent/anna state_changed")
	if got := last[*event.AgentData](b, "agent.anna").Observed.After; got.String() != seen.String() {
		t.Errorf("the window begins at %v, want the last sight at %v", got, seen)
	}
	if len(b.batch.Problems) > 0 || !b.checkpoint().MissingSince.IsZero() {
		t.Errorf("problems %q, missing since %v", b.batch.Problems, b.checkpoint().MissingSince)
	}
}

// TestUnreadableGrid: a grid all of whose rows cannot be read is not empty.
func TestUnreadableGrid(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(agents("anna=ready bob=ready"))
	for range 40 {
		b.expect("no row can be read", b.spoilt(agents("anna=strange bob=strange"), "strange"), "")
		if b.batch.Err != nil {
			t.Fatal(b.batch.Err)
		}
	}
	b.expect("all rows can be read", b.poll(agents("anna=ready bob=ready")), "")
}

// TestInterruptionExplainsTheAnswer: the error says where a response is not as expected, and what there
// is to say about it.
func TestInterruptionExplainsTheAnswer(t *testing.T) {
	t.Parallel()
	explain := func(err error, body []byte) error { return fmt.Errorf("%w; %d bytes explained", err, len(body)) }
	for name, test := range map[string]struct{ body, cause, with string }{
		"an error":          {`{"error":"x"}`, "truncated", `member "error": want an object, have text; 13 bytes explained`},
		"an error's object": {`{"error":{"code":1}}`, "subscription_lost", `unexpected app id "error"; 20 bytes explained`},
		"a wrong grid":      {`{"app":{"agent_grids":[{"id":"agents","values":{"x":1}}]}}`, "truncated", `agent_grids "agents", values: want an array of rows, have an object`},
		"cut":               {`{"app":{"agent_grids":[{"id":"agents"`, "truncated", "unexpected end"},
		"foreign":           {`{"other":{"agent_grids":[]}}`, "subscription_lost", `"other"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, func(o *engine.Options) { o.Explain = explain })
			b.poll(agents("anna=ready"))
			var events []event.Event
			for range 3 {
				o := b.answer(snapshot{})
				o.Body = []byte(test.body)
				events = b.observe(o)
			}
			d := dataOf[*event.FeedData](b, b.only("interruption", events, "feed interrupted"))
			if d.Cause != test.cause || !strings.Contains(d.Error, test.with) || !strings.HasSuffix(d.Error, "explained") {
				t.Errorf("cause %s, error %q; want %s, %q", d.Cause, d.Error, test.cause, test.with)
			}
		})
	}
}

// TestUnreadableDirectoryEntries: a listing some of whose entries cannot be read removes nothing.
func TestUnreadableDirectoryEntries(t *testing.T) {
	t.Parallel()
	b := start(t)
	partly := func(text string) func(*engine.Observation) {
		return func(o *engine.Observation) {
			b.listing(engine.Teams, text)(o)
			o.Directories[len(o.Directories)-1].Skipped = 1
		}
	}
	b.poll(agents("anna=ready"), partly("1=Sales"))
	b.poll(agents("anna=ready"), b.listing(engine.Teams, "1=Sales 2=Support 3=Night"))
	for _, step := range []struct {
		listing func(*engine.Observation)
		want    string
	}{
		{partly("1=Sales 3=Night"), ""}, {partly("1=Sales"), ""}, {partly("1=Sale 4=Day"), "+4=Day 1=Sales>Sale"}, {partly(""), ""},
		{b.listing(engine.Teams, "1=Sale 3=Night 4=Day"), "-2=Support"},
	} {
		got := ""
		for _, e := range b.poll(agents("anna=ready"), step.listing) {
			got += spellDirectory(dataOf[*event.DirectoryData](b, &e))
		}
		if got != step.want {
			t.Errorf("%q, want %q", got, step.want)
		}
	}
}
