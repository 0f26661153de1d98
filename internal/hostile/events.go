package hostile

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
)

// Event is an event of a file.
type Event struct {
	Address  string `json:"-"` // what it is stored under
	ID, Type string
	Body     []byte `json:"-"`
}

// FirstOfEachType returns the first event of each type in a file that has an event on each line: its
// address, a space and its body.
func FirstOfEachType(t *testing.T, file string) []Event {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var events []Event
	known := map[string]bool{}
	for line := range bytes.Lines(text) {
		address, body, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		e := Event{Address: string(address), Body: body}
		if err := json.Unmarshal(body, &e); err != nil {
			t.Fatal(err)
		}
		if !known[e.Type] {
			known[e.Type] = true
			events = append(events, e)
		}
	}
	return events
}
