package table

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/event"
	"bpcc-nats/internal/hostile"
)

var update = flag.Bool("update", false, "write the golden files")

const goldenEvents = "../../../../bridge/testdata/golden/events.ndjson"

var stored = time.Date(2026, 11, 23, 21, 13, 40, 123456789, time.UTC)

// messages are the first event of each type, as a stream holds them, and foreign messages.
func messages(t *testing.T) []Message {
	t.Helper()
	var all []Message
	add := func(subject, id string, body []byte) {
		n := uint64(len(all) + 1)
		all = append(all, Message{n, stored.Add(time.Duration(n) * time.Second), subject, id, body})
	}
	for _, e := range hostile.FirstOfEachType(t, goldenEvents) {
		add(e.Address, e.ID, e.Body)
	}
	first := all[0]
	add("bpcc.v1.acme.agent.x.observed", "", []byte(`{"any": "JSON"}`))
	add("bpcc.v1.acme.agent.x.observed", "", []byte("no JSON,\r\n\"quoted\" \xff"))
	add("bpcc.v1.acme.agent.x.observed", "", nil)
	add("bpcc.v1.acme.agent.x.observed", "acme-1-1-1", first.Body) // on another subject
	add(first.Subject, "acme-9-9-9", first.Body)                   // with another id
	return all
}

// The formats of this package.
const (
	asCSV    = "csv"
	asNDJSON = "ndjson"
)

// write writes messages in a format.
func write(t testing.TB, format string, stats []string, messages ...Message) []byte {
	t.Helper()
	var out bytes.Buffer
	columns := Columns(stats)
	var rows RowWriter = NewCSV(&out, columns)
	if format == asNDJSON {
		out.Reset()
		rows = NewNDJSON(&out, columns)
	}
	w := NewWriter(rows, columns)
	for _, m := range messages {
		if err := w.Write(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(true); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestGolden: the rows of one event of each type.
func TestGolden(t *testing.T) {
	t.Parallel()
	for _, format := range []string{asCSV, asNDJSON} {
		got := write(t, format, []string{"in_calls_waiting", "reason"}, messages(t)...)
		file := filepath.Join("testdata", "events."+format)
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", file, diff)
		}
	}
}

// csvRows reads CSV by encoding/csv, which takes an empty text for no value, and CRLF in a text for LF.
func csvRows(t testing.TB, columns []Column, text []byte) [][]any {
	t.Helper()
	lines, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatalf("%v\n%q", err, text)
	}
	for i, c := range columns {
		if lines[0][i] != c.Name {
			t.Fatalf("column %d is %q, not %q", i, lines[0][i], c.Name)
		}
	}
	var all [][]any
	for _, line := range lines[1:] {
		row := make([]any, len(columns))
		for i, field := range line {
			if field != "" {
				row[i] = field
			}
		}
		all = append(all, row)
	}
	return all
}

func ndjsonRows(t testing.TB, columns []Column, text []byte) [][]any {
	t.Helper()
	var all [][]any
	for line := range bytes.Lines(text) {
		d := json.NewDecoder(bytes.NewReader(line))
		d.UseNumber()
		var object map[string]any
		if err := d.Decode(&object); err != nil || len(object) != len(columns) {
			t.Fatalf("%v, %d members, want %d\n%s", err, len(object), len(columns), line)
		}
		row := make([]any, len(columns))
		for i, c := range columns {
			row[i] = object[c.Name]
		}
		all = append(all, row)
	}
	return all
}

// asRead turns a value of a record into what the reader of a format gives.
func asRead(format string, v any) any {
	text, isText := v.(string)
	switch {
	case v == nil:
		return v
	case isText && format == asCSV:
		if text = strings.ReplaceAll(text, "\r\n", "\n"); text == "" {
			return nil
		}
		return text
	case isText:
		return text
	}
	switch v := v.(type) {
	case bool:
		if format == asNDJSON {
			return v
		}
	case time.Time:
		return string(appendScalar(nil, v))
	case int64, float64:
		if format == asNDJSON {
			return json.Number(appendScalar(nil, v))
		}
	}
	return string(appendScalar(nil, v))
}

// checkRoundTrip writes messages in both formats, and reads them back.
func checkRoundTrip(t testing.TB, stats []string, messages ...Message) {
	t.Helper()
	var d event.Decoder
	columns := Columns(stats)
	for format, read := range map[string]func(testing.TB, []Column, []byte) [][]any{asCSV: csvRows, asNDJSON: ndjsonRows} {
		var want [][]any
		for _, m := range messages {
			r, row := newRecord(&d, m), make([]any, len(columns))
			for i, c := range columns {
				row[i] = asRead(format, c.value(r))
			}
			want = append(want, row)
		}
		got := read(t, columns, write(t, format, stats, messages...))
		if !reflect.DeepEqual(want, got) { // cmp takes long for many rows
			t.Errorf("%s (-want +got)\n%.3000s", format, cmp.Diff(want, got))
		}
	}
}

// TestRoundTrip: what is read back of a table is what its messages are; also of a table without rows.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	checkRoundTrip(t, nil)
	checkRoundTrip(t, []string{"in_calls_waiting", "reason", `a "b"\x.y[z] ü`}, messages(t)...)
}

// TestForeign: of a message that no bridge wrote there is no more than what it is.
func TestForeign(t *testing.T) {
	t.Parallel()
	n := 0
	for _, row := range ndjsonRows(t, Columns(nil), write(t, asNDJSON, nil, messages(t)...)) {
		known := 0
		for _, v := range row {
			if v != nil {
				known++
			}
		}
		if row[4] == nil {
			n++
			if known != 4 || row[40] == nil {
				t.Errorf("%d columns of a foreign message: %v", known, row)
			}
		}
	}
	if n != 5 {
		t.Errorf("%d foreign messages, want 5", n)
	}
}

// TestHostile puts every kind of wrong value in every place of an event of each type, and hostile names in an
// agent: each is one row, and no panic.
func TestHostile(t *testing.T) {
	t.Parallel()
	n, all := 0, []Message{}
	for _, e := range hostile.FirstOfEachType(t, goldenEvents) {
		for change := range hostile.Changes(e.Body) {
			n++
			all = append(all, Message{Seq: uint64(n), Stored: stored, Subject: e.Address, Body: change.Apply(e.Body)})
		}
		if e.Type != "bpcc.agent.state_changed.v1" {
			continue
		}
		for _, name := range append(hostile.Names(), "=1+1", "@SUM(A1)", " blank ", "a\x00b", "\r\n", `"`, `\.`, ",") {
			quoted, err := json.Marshal(name)
			if err != nil {
				t.Fatal(err)
			}
			body := regexp.MustCompile(`"(name|team|reason)":"[^"]+"`).ReplaceAllFunc(e.Body, func(member []byte) []byte {
				key, _, _ := bytes.Cut(member, []byte(":"))
				return append(append(key, ':'), quoted...)
			})
			all = append(all, Message{Seq: 1, Stored: stored, Subject: e.Address, Body: body})
		}
	}
	checkRoundTrip(t, []string{"acd_state"}, all...)
	t.Logf("%d rows", len(all))
}

// FuzzRow: whatever a message is, it is one row in each format, which is read back as it was written.
func FuzzRow(f *testing.F) {
	for _, body := range []string{
		`{"id":"acme-1-8-1","type":"bpcc.agent.state_changed.v1","time":"2026-11-23T21:13:40.968Z","data":{"tenant":"acme","poll":8,"revision":2,"observed":{"after":null,"by":"2026-11-23T21:13:40.968Z"},"agent":{"id":"a","name":"=1"},"to":{"state":"a,\"b\"\r\n"},"after":{"acd_state":"","x":"1"}}}`,
		`{"id":"acme-1-8-1","type":"bpcc.threshold.raised.v1","data":{"tenant":"acme","poll":8,"rule":"r","entity":{"id":"x"},"value":"","limit":1e99}}`,
		`{"id":"acme-1-8-1","type":"bpcc.availability.changed.v1","data":{"tenant":"acme","poll":8,"service":"\u0000","available":null,"previous":true}}`,
		"\xff\r\n", "",
	} {
		f.Add([]byte(body), "", int64(1), uint64(1))
	}
	f.Fuzz(func(t *testing.T, body []byte, subject string, at int64, seq uint64) {
		stored := time.UnixMicro(at % (200_000 * 365 * 24 * 3600)).UTC()
		checkRoundTrip(t, []string{"acd_state"}, Message{Seq: seq, Stored: stored, Subject: subject, Body: body})
	})
}

// TestDocumented: docs/sinks.md and the table in PostgreSQL have the same columns, with their types.
func TestDocumented(t *testing.T) {
	t.Parallel()
	sqlTypes := map[Type]string{
		Text: "text", Integer: "bigint", Number: "double precision", Boolean: "boolean", Timestamp: "timestamptz", JSON: "jsonb",
	}
	var documented, created []string
	for _, c := range Columns(nil) {
		documented = append(documented, fmt.Sprintf("%s %s", c.Name, c.Type))
		created = append(created, fmt.Sprintf("%s %s", c.Name, sqlTypes[c.Type]))
	}
	for file, pattern := range map[string]string{
		"docs/sinks.md":           "(?m)^\\| `(\\w+)` \\| (\\w+) \\| ",
		"deploy/sinks/schema.sql": `(?m)^    (\w+) +(text|bigint|double precision|boolean|timestamptz|jsonb)\b`,
	} {
		text, err := os.ReadFile("../../../../" + file)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range regexp.MustCompile(pattern).FindAllSubmatch(text, -1) {
			got = append(got, fmt.Sprintf("%s %s", m[1], m[2]))
		}
		want := documented
		if strings.HasSuffix(file, ".sql") {
			want = created
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-program +file)\n%s", file, diff)
		}
	}
}

// TestStats: names of statistics.
func TestStats(t *testing.T) {
	t.Parallel()
	got, err := ParseStats([]string{"x"}, "a, in_calls[dispositions]")
	if diff := cmp.Diff([]string{"x", "a", "in_calls[dispositions]"}, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for _, list := range []string{"", "a,", "a,a", "x"} {
		if got, err := ParseStats([]string{"x"}, list); err == nil {
			t.Errorf("%q is %v", list, got)
		}
	}
}
