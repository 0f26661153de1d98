// Package parquetfile writes tables as Parquet files.
package parquetfile

import (
	"io"
	"time"

	"github.com/parquet-go/parquet-go"

	"bpcc-nats/cmd/bridge/internal/table"
)

// rowGroupRows bounds the rows of a row group, and with them the memory that a table takes.
const rowGroupRows = 20_000

// Writer is a [table.RowWriter] of a Parquet file. All columns are optional. Texts are in dictionaries, and
// everything is compressed by Zstandard.
type Writer struct {
	w   *parquet.GenericWriter[any]
	row [1]parquet.Row
}

// New begins a file.
func New(w io.Writer, columns []table.Column) *Writer { return newWriter(w, columns, rowGroupRows) }

func newWriter(w io.Writer, columns []table.Column, groupRows int64) *Writer {
	return &Writer{w: parquet.NewGenericWriter[any](w, schema(columns), parquet.Compression(&parquet.Zstd),
		parquet.MaxRowsPerRowGroup(groupRows), parquet.DataPageStatistics(true))}
}

func schema(columns []table.Column) *parquet.Schema {
	g := group{Group: parquet.Group{}}
	for i := range columns {
		g.Group[columns[i].Name] = parquet.Optional(node(columns[i].Type))
		g.order = append(g.order, columns[i].Name)
	}
	return parquet.NewSchema("event", g)
}

func node(t table.Type) parquet.Node {
	switch t {
	case table.Integer:
		return parquet.Int(64)
	case table.Number:
		return parquet.Leaf(parquet.DoubleType)
	case table.Boolean:
		return parquet.Leaf(parquet.BooleanType)
	case table.Timestamp:
		return parquet.Timestamp(parquet.Microsecond)
	case table.JSON:
		return parquet.JSON()
	}
	return parquet.Encoded(parquet.String(), &parquet.RLEDictionary)
}

// group is a group whose fields are in the order of the columns; a [parquet.Group] sorts them by name.
type group struct {
	parquet.Group
	order []string
}

// Fields implements [parquet.Node].
func (g group) Fields() []parquet.Field {
	byName := map[string]parquet.Field{}
	for _, f := range g.Group.Fields() {
		byName[f.Name()] = f
	}
	fields := make([]parquet.Field, len(g.order))
	for i, name := range g.order {
		fields[i] = byName[name]
	}
	return fields
}

// WriteRow implements [table.RowWriter].
func (p *Writer) WriteRow(values []any) error {
	row := p.row[0][:0]
	for i, v := range values {
		if v == nil {
			row = append(row, parquet.NullValue().Level(0, 0, i))
			continue
		}
		if t, ok := v.(time.Time); ok {
			v = t.UnixMicro()
		}
		row = append(row, parquet.ValueOf(v).Level(0, 1, i))
	}
	p.row[0] = row
	_, err := p.w.WriteRows(p.row[:])
	return err
}

// Flush does nothing: it would end a row group.
func (p *Writer) Flush() error { return nil }

// Close writes the end of a complete file. Without it, no program reads the file.
func (p *Writer) Close(complete bool) error {
	if !complete {
		return nil
	}
	return p.w.Close()
}
