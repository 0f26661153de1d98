package export

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"bpcc-nats/cmd/bridge/internal/reader"
	"bpcc-nats/cmd/bridge/internal/table"
	"bpcc-nats/cmd/bridge/internal/table/parquetfile"
)

// Formats of tables.
const (
	csvFormat     = "csv"
	ndjsonFormat  = "ndjson"
	parquetFormat = "parquet"
)

// TableFormats lists the formats of tables.
func TableFormats() []string { return []string{csvFormat, ndjsonFormat, parquetFormat} }

// Table says which table a command writes. The zero Table is none.
type Table struct {
	// Format is one of [TableFormats]; "" is no table.
	Format string
	// Stats are the statistics that are columns, too.
	Stats []string
}

// AddFlags adds the flags that describe a table.
func (o *Table) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Format, "format", "", "print a table with a row for each event, in this `format`: "+strings.Join(TableFormats(), ", "))
	f.Func("stats", "`statistics` that are columns of the table, by their values after the event, separated by commas", func(list string) (err error) {
		o.Stats, err = table.ParseStats(o.Stats, list)
		return err
	})
}

// Validate refuses a table that cannot be. Follow says that it has no end, terminal that it goes to one.
func (o *Table) Validate(follow, terminal bool) error {
	switch {
	case o.Format == "" && len(o.Stats) > 0:
		return errors.New("--stats are columns of a table; choose its --format")
	case o.Format == "":
		return nil
	case !slices.Contains(TableFormats(), o.Format):
		return fmt.Errorf("--format %s: want %s", o.Format, strings.Join(TableFormats(), ", "))
	case o.Format == parquetFormat && follow:
		return errors.New("a Parquet file can be read when it has ended; with --follow choose --format csv or ndjson")
	case o.Format == parquetFormat && terminal:
		return errors.New("a Parquet file is binary; redirect it to a file")
	case o.Format == csvFormat && terminal: // JSON has escapes
		return errors.New("texts of a CSV file may control the terminal; redirect it to a file or a pipe")
	}
	return nil
}

// TableWriter writes messages as rows.
type TableWriter struct{ rows *table.Writer }

// Begin begins a valid table.
func (o *Table) Begin(w io.Writer) *TableWriter {
	columns := table.Columns(o.Stats)
	var rows table.RowWriter
	switch o.Format {
	case csvFormat:
		rows = table.NewCSV(w, columns)
	case ndjsonFormat:
		rows = table.NewNDJSON(w, columns)
	default:
		rows = parquetfile.New(w, columns)
	}
	return &TableWriter{table.NewWriter(rows, columns)}
}

// Write writes a message as a row. With flush, what is written is passed on, as far as the format allows.
func (t *TableWriter) Write(m reader.Message, flush bool) error {
	row := table.Message{Seq: m.Seq, Stored: m.Stored, Subject: m.Subject, ID: m.Header.Get("Nats-Msg-Id"), Body: m.Body}
	if err := t.rows.Write(row); err != nil || !flush {
		return err
	}
	return t.rows.Flush()
}

// Close ends a table after a reading that returned this error. No program takes a Parquet file for whole that is
// not.
func (t *TableWriter) Close(err error) error { return t.rows.Close(err == nil) }
