package parquetfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"bpcc-nats/cmd/bridge/internal/table"
	"bpcc-nats/internal/hostile"
)

var stored = time.Date(2026, 11, 23, 21, 13, 40, 123456789, time.UTC)

// messages are the first event of each type, as a stream holds them, with foreign messages.
func messages(t *testing.T) []table.Message {
	t.Helper()
	var all []table.Message
	for i, e := range hostile.FirstOfEachType(t, "../../../../../bridge/testdata/golden/events.ndjson") {
		all = append(all, table.Message{Seq: uint64(i + 1), Stored: stored.Add(time.Duration(i) * time.Second), Subject: e.Address, ID: e.ID, Body: e.Body})
	}
	for _, body := range []string{"", "no JSON \xff", `{"any": "JSON"}`} {
		all = append(all, table.Message{Seq: 99, Stored: stored, Subject: "bpcc.v1.acme.agent.x.observed", Body: []byte(body)})
	}
	return all
}

// testGroupRows are more rows than the messages of one test, and fewer than those of another.
const testGroupRows = 100

// rows takes rows as they are given to a writer.
type rows [][]any

func (r *rows) WriteRow(values []any) error {
	*r = append(*r, slices.Clone(values))
	return nil
}

func (r *rows) Flush() error { return nil }

func (r *rows) Close(bool) error { return nil }

// write writes messages to a file, and returns the file and the values of its rows.
func write(t *testing.T, columns []table.Column, complete bool, messages ...table.Message) (file []byte, want rows) {
	t.Helper()
	var out bytes.Buffer
	for _, w := range []*table.Writer{table.NewWriter(newWriter(&out, columns, testGroupRows), columns), table.NewWriter(&want, columns)} {
		for _, m := range messages {
			if err := w.Write(m); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(w.Flush(), w.Close(complete)); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes(), want
}

// read reads the rows of a file, which must have these columns in this order.
func read(t *testing.T, columns []table.Column, text []byte) (got rows, groups int) {
	t.Helper()
	file, err := parquet.OpenFile(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range file.Schema().Fields() {
		if f.Name() != columns[i].Name || !f.Optional() || f.Type().String() != physical[columns[i].Type] {
			t.Fatalf("column %d is %q %v, optional %t; want %q", i, f.Name(), f.Type(), f.Optional(), columns[i].Name)
		}
	}
	for _, group := range file.RowGroups() {
		in, buf := group.Rows(), make([]parquet.Row, 100)
		for {
			n, err := in.ReadRows(buf)
			for _, values := range buf[:n] {
				row := make([]any, len(columns))
				for _, v := range values {
					row[v.Column()] = value(columns[v.Column()].Type, v)
				}
				got = append(got, row)
			}
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		in.Close()
	}
	return got, len(file.RowGroups())
}

// physical are the types of columns as the library writes them.
var physical = map[table.Type]string{
	table.Text: "STRING", table.Integer: "INT(64,true)", table.Number: "DOUBLE", table.Boolean: "BOOLEAN",
	table.Timestamp: "TIMESTAMP(isAdjustedToUTC=true,unit=MICROS)", table.JSON: "JSON",
}

func value(t table.Type, v parquet.Value) any {
	if v.IsNull() {
		return nil
	}
	switch t {
	case table.Integer:
		return v.Int64()
	case table.Number:
		return v.Double()
	case table.Boolean:
		return v.Boolean()
	case table.Timestamp:
		return time.UnixMicro(v.Int64()).UTC()
	}
	return string(v.ByteArray())
}

// TestRoundTrip: what is read back of a file is what the stream holds, over several row groups; also of a
// file without rows, and with columns of any name.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	all := messages(t)
	for len(all) <= testGroupRows {
		all = append(all, all...)
	}
	for name, test := range map[string]struct {
		stats    []string
		messages []table.Message
		groups   int
	}{
		"no rows":        {nil, nil, 0},
		"statistics":     {[]string{"in_calls_waiting", "reason", `a "b"\x.y[z] ü`, "After", "after"}, messages(t), 1},
		"two row groups": {nil, all[:testGroupRows+10], 2},
	} {
		columns := table.Columns(test.stats)
		file, want := write(t, columns, true, test.messages...)
		got, groups := read(t, columns, file)
		if !reflect.DeepEqual(want, got) {
			t.Errorf("%s (-want +got)\n%.3000s", name, cmp.Diff(want, got))
		}
		if groups != test.groups {
			t.Errorf("%s: %d row groups, want %d", name, groups, test.groups)
		}
	}
	// Of an event nothing is lost: its envelope and its data are in the row.
	columns := table.Columns(nil)
	file, _ := write(t, columns, true, messages(t)...)
	got, _ := read(t, columns, file)
	for i, m := range messages(t) {
		if m.ID == "" {
			continue // foreign
		}
		var e struct {
			ID, Type string
			Time     time.Time
			Data     json.RawMessage
		}
		if err := json.Unmarshal(m.Body, &e); err != nil {
			t.Fatal(err)
		}
		want := []any{int64(m.Seq), m.Stored.Truncate(time.Microsecond), m.Subject, e.ID, e.Type, e.Time, string(e.Data)}
		if diff := cmp.Diff(want, append(got[i][:6:6], got[i][len(columns)-1])); diff != "" {
			t.Errorf("row %d (-stream +file)\n%s", i, diff)
		}
	}
}

// TestIncomplete: no program takes a file that was not ended for a whole one.
func TestIncomplete(t *testing.T) {
	t.Parallel()
	file, _ := write(t, table.Columns(nil), false, messages(t)...)
	if _, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file))); err == nil {
		t.Error("the file can be read")
	}
}

// TestHostile puts every kind of wrong value in every place of an event of each type: each is one row, which
// is read back as it was written.
func TestHostile(t *testing.T) {
	t.Parallel()
	var all []table.Message
	for _, m := range messages(t) {
		for change := range hostile.Changes(m.Body) {
			all = append(all, table.Message{Seq: uint64(len(all)), Stored: stored, Subject: m.Subject, Body: change.Apply(m.Body)})
		}
	}
	columns := table.Columns([]string{"acd_state"})
	file, want := write(t, columns, true, all...)
	got, _ := read(t, columns, file)
	if !reflect.DeepEqual(want, got) { // cmp takes long for many rows
		t.Errorf("(-want +got)\n%.3000s", cmp.Diff(want, got))
	}
	t.Logf("%d rows", len(all))
}
