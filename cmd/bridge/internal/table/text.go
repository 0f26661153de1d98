package table

import (
	"bufio"
	"io"
	"strconv"
	"strings"
	"time"

	"bpcc-nats/diff/image"
)

// timeLayout has microseconds and is as long for every time, so that the texts sort as the times do.
const timeLayout = "2006-01-02T15:04:05.000000Z07:00"

const bufferSize = 64 << 10

// CSV is a [RowWriter] of CSV as RFC 4180 has it: a header line, CRLF at the end of each line, and quotes around
// what needs them. encoding/csv would write the line breaks inside of values as CRLF, too, and
// "no value" in the same way as an empty text. Here no value is an empty field, and an empty text is "".
type CSV struct {
	w    *bufio.Writer
	line []byte
}

// NewCSV begins a table with its header line.
func NewCSV(w io.Writer, columns []Column) *CSV {
	c := &CSV{w: bufio.NewWriterSize(w, bufferSize)}
	names := make([]any, len(columns))
	for i := range columns {
		names[i] = columns[i].Name
	}
	_ = c.WriteRow(names) // an error of the writer stays, for the next write
	return c
}

// WriteRow implements [RowWriter].
func (c *CSV) WriteRow(values []any) error {
	c.line = c.line[:0]
	for i, v := range values {
		if i > 0 {
			c.line = append(c.line, ',')
		}
		if s, ok := v.(string); ok {
			c.line = appendField(c.line, s)
		} else if v != nil {
			c.line = appendScalar(c.line, v)
		}
	}
	c.line = append(c.line, '\r', '\n')
	_, err := c.w.Write(c.line)
	return err
}

// appendField appends a text as a field. Blanks at its ends are in quotes, since some programs drop others.
func appendField(b []byte, s string) []byte {
	if s != "" && !strings.ContainsAny(s, "\",\r\n") && s == strings.TrimSpace(s) {
		return append(b, s...)
	}
	b = append(b, '"')
	for i := range len(s) {
		if s[i] == '"' {
			b = append(b, '"')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

// Flush implements [RowWriter].
func (c *CSV) Flush() error { return c.w.Flush() }

// Close implements [RowWriter].
func (c *CSV) Close(bool) error { return c.w.Flush() }

// NDJSON is a [RowWriter] of one flat JSON object a line, with all columns.
type NDJSON struct {
	w    *bufio.Writer
	keys [][]byte // what precedes a value: ,"name":
	line []byte
}

// NewNDJSON begins a table.
func NewNDJSON(w io.Writer, columns []Column) *NDJSON {
	n := &NDJSON{w: bufio.NewWriterSize(w, bufferSize)}
	for i := range columns {
		before := ","
		if i == 0 {
			before = "{"
		}
		n.keys = append(n.keys, append(image.AppendText([]byte(before), columns[i].Name), ':'))
	}
	return n
}

// WriteRow implements [RowWriter].
func (n *NDJSON) WriteRow(values []any) error {
	n.line = n.line[:0]
	for i, v := range values {
		n.line = append(n.line, n.keys[i]...)
		switch v := v.(type) {
		case nil:
			n.line = append(n.line, "null"...)
		case string:
			n.line = image.AppendText(n.line, v)
		case time.Time:
			n.line = append(appendScalar(append(n.line, '"'), v), '"')
		default:
			n.line = appendScalar(n.line, v)
		}
	}
	n.line = append(n.line, '}', '\n')
	_, err := n.w.Write(n.line)
	return err
}

// Flush implements [RowWriter].
func (n *NDJSON) Flush() error { return n.w.Flush() }

// Close implements [RowWriter].
func (n *NDJSON) Close(bool) error { return n.w.Flush() }

// appendScalar appends a value that is no text, as CSV and JSON write it.
func appendScalar(b []byte, v any) []byte {
	switch v := v.(type) {
	case int64:
		return strconv.AppendInt(b, v, 10)
	case float64:
		return strconv.AppendFloat(b, v, 'g', -1, 64)
	case bool:
		return strconv.AppendBool(b, v)
	case time.Time:
		return v.AppendFormat(b, timeLayout)
	}
	return b
}
