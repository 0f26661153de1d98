package console

import (
	"strings"

	"github.com/mattn/go-runewidth"
)

// Table writes rows in columns. Colours do not count in the widths, and the last column
// is truncated on a narrow terminal.
type Table struct {
	Head    []string
	rows    [][]string
	colours []string
}

// Add adds a row in a colour; "" is none.
func (t *Table) Add(colour string, cells ...string) {
	t.rows, t.colours = append(t.rows, cells), append(t.colours, colour)
}

// Write writes the table, unless it has no rows.
func (t *Table) Write(c *Console) {
	if len(t.rows) == 0 {
		return
	}
	widths := make([]int, len(t.Head))
	for _, row := range append([][]string{t.Head}, t.rows...) {
		for i, cell := range row {
			row[i] = Visible(cell)
			widths[i] = max(widths[i], min(runewidth.StringWidth(row[i]), maxCellWidth))
		}
	}
	line := func(row []string) string {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = runewidth.FillRight(runewidth.Truncate(cell, widths[i], "…"), widths[i])
		}
		text := strings.TrimRight(strings.Join(cells, "  "), " ")
		if c.Width > 0 {
			return runewidth.Truncate(text, c.Width, "…")
		}
		return text
	}
	c.Printf("\n%s\n", c.Paint(Faint, line(t.Head)))
	for i, row := range t.rows {
		c.Printf("%s\n", c.Paint(t.colours[i], line(row)))
	}
}

// maxCellWidth bounds the width of a column with a long name.
const maxCellWidth = 36

// Wrap breaks a text at words to fit the terminal, if there is one, with the next lines
// indented by a number of columns. Only ASCII
// whitespace separates words; other whitespace is made visible.
func (c *Console) Wrap(text string, indent int) Safe {
	limit := c.Width - indent
	if limit < 20 {
		return Safef("%s", text)
	}
	var b strings.Builder
	n := 0
	for i, word := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\r\n", r) }) {
		word = Visible(word)
		if w := runewidth.StringWidth(word); i > 0 && n+1+w > limit {
			b.WriteString("\n" + strings.Repeat(" ", indent))
			n = w
		} else {
			if i > 0 {
				b.WriteString(" ")
				n++
			}
			n += w
		}
		b.WriteString(word)
	}
	return Safe(b.String())
}
