package main

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
)

// day is a recorded day's events, as a bridge published them.
func day(t *testing.T) [][]byte {
	t.Helper()
	text, err := os.ReadFile("../../bridge/testdata/golden/events.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	var events [][]byte
	for line := range bytes.Lines(text) {
		_, body, _ := bytes.Cut(line, []byte(" ")) // the subject stands before it
		events = append(events, bytes.TrimSpace(body))
	}
	return events
}

func audit(events [][]byte) *Audit {
	a := NewAudit()
	for _, body := range events {
		a.Read(body)
	}
	a.Close()
	return a
}

func TestCompleteHistoryHasNoFault(t *testing.T) {
	events := day(t)
	a := audit(events)
	if len(a.Faults) > 0 {
		t.Errorf("faults in a good history:\n%s", strings.Join(a.Faults, "\n"))
	}
	if a.Events != len(events) || a.Polls == 0 || len(a.entities) == 0 {
		t.Errorf("%d events of %d polls, %d entities; there are %d events", a.Events, a.Polls, len(a.entities), len(events))
	}
	// What has aged out at the front is no fault, even within a poll.
	if a := audit(events[3:]); len(a.Faults) > 0 {
		t.Errorf("faults in the rest of a good history:\n%s", strings.Join(a.Faults, "\n"))
	}
}

func TestEveryManipulationIsFound(t *testing.T) {
	// find gives the place of the n-th event of a type, from 0.
	find := func(events [][]byte, typ string, n int) int {
		for i, body := range events {
			if bytes.Contains(body, []byte(`"type":"bpcc.`+typ+`.v1"`)) {
				if n == 0 {
					return i
				}
				n--
			}
		}
		t.Fatalf("the recorded day has no %s left", typ)
		return 0
	}
	edit := func(typ string, n int, old, new string) func([][]byte) [][]byte {
		return func(events [][]byte) [][]byte {
			i := find(events, typ, n)
			edited := bytes.Replace(events[i], []byte(old), []byte(new), 1)
			if bytes.Equal(edited, events[i]) {
				t.Fatalf("%s holds no %s", events[i], old)
			}
			events[i] = edited
			return events
		}
	}
	tests := map[string]struct {
		tamper func([][]byte) [][]byte
		want   string
	}{
		"an event is missing": {func(e [][]byte) [][]byte {
			i := find(e, "agent.state_changed", 1)
			return slices.Delete(e, i, i+1)
		}, "missing or duplicate"},
		"an event is duplicate": {func(e [][]byte) [][]byte {
			i := find(e, "agent.state_changed", 1)
			return slices.Insert(e, i, e[i])
		}, "missing or duplicate"},
		"a poll is missing": {func(e [][]byte) [][]byte {
			i := find(e, "agent.state_changed", 1)
			from, to := i, i
			for !bytes.Contains(e[from-1], []byte("feed.checkpoint")) {
				from--
			}
			for !bytes.Contains(e[to], []byte("feed.checkpoint")) {
				to++
			}
			return slices.Delete(e, from, to+1)
		}, "revision"},
		"the last checkpoint is missing": {func(e [][]byte) [][]byte { return e[:len(e)-1] }, "no checkpoint closes"},
		"a checkpoint miscounts":         {edit("feed.checkpoint", 2, `"events":`, `"events":1`), "counts "},
		"a revision is skipped":          {edit("agent.state_changed", 1, `"revision":`, `"revision":1`), "revision"},
		"an image is edited":             {edit("agent.state_changed", 1, `"before":{"`, `"before":{"x":"","`), "image before"},
		"an event is no JSON":            {edit("agent.state_changed", 1, `{`, `[`), "unreadable"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := audit(test.tamper(day(t)))
			if !slices.ContainsFunc(a.Faults, func(f string) bool { return strings.Contains(f, test.want) }) {
				t.Errorf("no fault says %q, but\n%s", test.want, strings.Join(a.Faults, "\n"))
			}
		})
	}
}
