// Package table turns the messages of a stream into rows with fixed columns, and writes them as CSV or
// NDJSON.
package table

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"bpcc-nats/bridge/event"
)

// Message is a message of a stream.
type Message struct {
	Seq     uint64 // 0 if it is not known
	Stored  time.Time
	Subject string // "" if it is not known
	// ID is its Nats-Msg-Id, "" if it has none.
	ID   string
	Body []byte
}

// RowWriter writes rows in one format. It does not close what it writes to.
type RowWriter interface {
	// WriteRow writes a row: of each column nil, for no value, or a value of the Go type of its [Type]. The
	// values are the caller's again when it returns.
	WriteRow(values []any) error
	// Flush passes on what is written, as far as the format allows.
	Flush() error
	// Close ends the table. A table that is not complete must not look complete, if the format has a mark
	// for that.
	Close(complete bool) error
}

// Writer writes messages as rows.
type Writer struct {
	RowWriter

	columns []Column
	values  []any // memory for one row
	decoder event.Decoder
}

// NewWriter returns a writer of rows with these columns.
func NewWriter(rows RowWriter, columns []Column) *Writer {
	return &Writer{RowWriter: rows, columns: columns, values: make([]any, len(columns))}
}

// Write writes a message as a row.
func (t *Writer) Write(m Message) error {
	r := newRecord(&t.decoder, m)
	for i := range t.columns {
		t.values[i] = t.columns[i].value(r)
	}
	return t.WriteRow(t.values)
}

// ParseStats parses names of statistics that are separated by commas, and adds them to a list.
func ParseStats(stats []string, list string) ([]string, error) {
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		switch {
		case name == "":
			return nil, errors.New("the name of a statistic is empty")
		case slices.Contains(stats, name):
			return nil, fmt.Errorf("statistic %s is there twice", name)
		}
		stats = append(stats, name)
	}
	return stats, nil
}
