package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// rows decodes a body, by the text of each row's first column.
func rows(t *testing.T, body []byte) map[string]map[string]string {
	t.Helper()
	var apps map[string]map[string][]struct {
		ID     string
		Values []map[string]string
	}
	if err := json.Unmarshal(body, &apps); err != nil {
		t.Fatalf("the body is no JSON: %v", err)
	}
	all := map[string]map[string]string{}
	for _, grids := range apps["bench~1"] {
		for _, row := range grids[0].Values {
			all[row["1"]] = row
		}
	}
	return all
}

func TestWorldChangesTheShareOfRows(t *testing.T) {
	for _, l := range loads() {
		w := newWorld(300, 20, l)
		before := rows(t, w.body(nil, "bench~1"))
		if len(before) != 320 {
			t.Fatalf("%s: %d rows with keys of their own, want 320", l.Name, len(before))
		}
		for range 3 {
			w.advance()
			after := rows(t, w.body(nil, "bench~1"))
			counted, clocks := 0, 0
			for key, row := range after {
				grid := agentGrid
				if len(row) == len(serviceStats()) {
					grid = serviceGrid
				}
				differs := map[bool]int{}
				for column, value := range row {
					if before[key][column] != value {
						differs[slices.Contains(volatile()[grid], column)]++
					}
				}
				counted += differs[false]
				clocks += differs[true]
			}
			wantClocks := 0
			if l.Ticks {
				wantClocks = 2*300 + 20
			}
			if counted != w.changes() || clocks != wantClocks {
				t.Errorf("%s: %d counters and %d clocks went on, want %d and %d", l.Name, counted, clocks, w.changes(), wantClocks)
			}
			before = after
		}
	}
}

func TestStampsAreOfOnePoll(t *testing.T) {
	at := func(second int) time.Time { return time.Unix(int64(second), 0) }
	list := storedMessages{{at(1), true}, {at(3), true}, {at(4), true}, {at(5), false}, {at(9), true}}
	if events, last := list.countEvents(at(2), at(8)); events != 2 || !last.Equal(at(5)) {
		t.Errorf("%d events, the last message at %v; want 2 and %v", events, last, at(5))
	}
	if events, last := list.countEvents(at(6), at(8)); events != 0 || !last.IsZero() {
		t.Errorf("%d events, the last message at %v; want none", events, last)
	}
}

func TestMedian(t *testing.T) {
	for want, values := range map[int][]int{0: nil, 7: {7}, 5: {9, 1, 5}, 4: {9, 1, 3, 5}} {
		if have := median(values); have != want {
			t.Errorf("the median of %v is %d, want %d", values, have, want)
		}
	}
}

// TestNotes: a run keeps what is written by hand below its results.
func TestNotes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results.md")
	for text, want := range map[string]string{
		"figures":                      "",
		"figures" + notesMark + "text": notesMark + "text",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := notes(file); err != nil || string(got) != want {
			t.Errorf("notes of %q: %q, %v", text, got, err)
		}
	}
	if got, err := notes(file + ".absent"); err != nil || got != nil {
		t.Errorf("notes of no file: %q, %v", got, err)
	}
	if text, err := os.ReadFile("results.md"); err != nil || !bytes.Contains(text, []byte(notesMark)) {
		t.Errorf("results.md has no notes: %v", err)
	}
}

func TestReportHoldsEveryContender(t *testing.T) {
	o, err := parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := report{options: o}
	for i, trial := range o.benchRuns() {
		r.results = append(r.results, result{
			benchRun: trial, cost: time.Duration(i+1) * time.Millisecond, server: time.Millisecond, peak: 1 << 20, bytes: 1000, events: []int{1},
		})
	}
	for name, picture := range map[string][]byte{"changes": r.costByChanges(), "agents": r.costByAgents()} {
		for _, contender := range o.contenders {
			if !bytes.Contains(picture, []byte(">"+contender+": ")) {
				t.Errorf("the picture %s does not name %s", name, contender)
			}
		}
		for d := xml.NewDecoder(bytes.NewReader(picture)); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("the picture %s is no XML: %v", name, err)
			}
		}
	}
	var text bytes.Buffer
	r.writeTable(&text)
	r.writeSizes(&text)
	if bytes.Contains(text.Bytes(), []byte("NaN")) || bytes.Contains(text.Bytes(), []byte("%!")) {
		t.Errorf("the tables hold what is no number:\n%s", &text)
	}
}

// TestStoreGrowth measures a small contact centre, too small for a block to be compressed.
func TestStoreGrowth(t *testing.T) {
	t.Parallel()
	g, err := measureStore(t.Context(), 50, 1, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if g.span < storeSpeed*time.Second || g.events == 0 || g.changes == 0 || g.keys < 50 || g.disk != 0 {
		t.Errorf("%+v", g)
	}
	if perEvent := float64(g.bytes) / float64(g.events); perEvent < 500 || perEvent > 5000 {
		t.Errorf("an event takes %.0f bytes", perEvent)
	}
	if perKey := float64(g.view) / float64(g.keys); perKey < 500 || perKey > 5000 {
		t.Errorf("a key of the view takes %.0f bytes", perKey)
	}
}

// TestStoreReport writes a result, for a day and 1,000 agents.
func TestStoreReport(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	g := storeGrowth{agents: 100, changes: 2500, span: 15 * time.Minute, events: 4500, bytes: 4500 * 1500, disk: 0.125, view: 200_000, keys: 100}
	if err := g.write(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"an event               1500 bytes     187.50 bytes\n",
		"1,000 agents, a day    6.48 GB        0.81 GB\n",
		"100.0 changes of state of an agent an hour; 50.0 events a second of 1,000 agents\n",
		"the view holds 2000 bytes, counted, for each of 100 keys\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	g.disk, out = 0, bytes.Buffer{}
	if err := g.write(&out); err != nil || strings.Count(out.String(), "not known, too little was stored") != 2 {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// TestDiskRatio leaves the last block out, which is not compressed yet.
func TestDiskRatio(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	msgs := filepath.Join(dir, "jetstream", "$G", "streams", "S", "msgs")
	if err := os.MkdirAll(msgs, 0o700); err != nil {
		t.Fatal(err)
	}
	block := func(name string, size int) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(msgs, name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ratio := func(want float64) {
		t.Helper()
		if got, err := diskRatio(dir, "S", 10<<20); err != nil || got < 0.99*want || got > 1.01*want {
			t.Errorf("%v, %v, want %v", got, err, want)
		}
	}
	ratio(0)
	block("10.blk", 2<<20)
	ratio(0)
	block("8.blk", 1<<20)
	block("9.blk", 1<<20)
	ratio(0.25) // 2 MiB of the disk for 8 counted
}
