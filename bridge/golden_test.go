package bridge_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/record"
	"bpcc-nats/bridge/rule"
	"bpcc-nats/schemas"
)

var update = flag.Bool("update", false, "rewrite the golden files instead of comparing with them")

// TestGoldenEvents runs a recorded day of a small contact centre through the
// engine and compares every byte that the stream would hold. The day has a
// break, a round trip, a queue that builds up, arrivals and departures, an
// outage and a daily reset.
func TestGoldenEvents(t *testing.T) {
	t.Parallel()
	const dir = "testdata/golden/"
	file, err := os.Open(dir + "day.ndjson.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	recording, err := record.Open("day.ndjson.gz", file)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(dir + "rules.json")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := rule.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	types := map[string]bool{}
	b := record.Backtest{
		Recordings: []*record.Recording{recording},
		Sets:       []record.RuleSet{{Name: "golden", Rules: rules}},
		Emit: func(subject string, body []byte) error {
			if err := schemas.Validate(body); err != nil {
				t.Errorf("%s: %v", subject, err)
			}
			var e struct{ Type string }
			if err := json.Unmarshal(body, &e); err != nil {
				return err
			}
			types[e.Type] = true
			got.WriteString(subject + " ")
			got.Write(append(body, '\n'))
			return nil
		},
	}
	if _, err := b.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	const golden = dir + "events.ndjson"
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("events (-golden +got); -update accepts them\n%s", diff)
	}
	for _, name := range schemas.Names() {
		switch name {
		case "chat.message_posted": // nobody wrote in the chat that day
		case "feed.erased": // no poll makes it
		default:
			if strings.Contains(name, "/") {
				continue // no event
			}
			if typ := schemas.Type(name); !types[typ] {
				t.Errorf("the day has no %s", typ)
			}
		}
	}
}
