package export

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// TestMessage: a line of an export is what encoding/json writes, and the event in it is as stored.
func TestMessage(t *testing.T) {
	t.Parallel()
	stored := time.Date(2026, 11, 23, 10, 0, 0, 1000, time.UTC)
	for name, e := range map[string]Message{
		"an event":   {7, "bpcc.v1.acme.feed.checkpoint", stored, nats.Header{"Nats-Msg-Id": {"a\"1"}, "Content-Type": {"x", "y"}}, nil, json.RawMessage(`{"a":1}`)},
		"no headers": {1, "a", stored, nats.Header{}, json.RawMessage(`{"types":["agent.*"]}`), json.RawMessage(`"text"`)},
	} {
		var want bytes.Buffer
		encoder := json.NewEncoder(&want)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(&e); err != nil {
			t.Fatal(err)
		}
		if got := string(e.AppendJSON(nil)) + "\n"; got != want.String() {
			t.Errorf("%s:\n got %swant %s", name, got, want.String())
		}
	}
	e := Message{Event: json.RawMessage(`{"a": "<&>"}`)}
	if line := string(e.AppendJSON(nil)); !strings.Contains(line, `"event":{"a": "<&>"}}`) {
		t.Error(line)
	}
}
