package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
	"golang.org/x/text/width"
)

// console writes for people. Names and texts are input: from the contact centre, from
// every program that may publish to the stream, and from servers. What could
// act on a terminal in them is written as an escape such as \x1b or \u202e. A
// console is not an io.Writer, so that nothing bypasses that. Output for
// programs goes to program.data, byte for byte.
type console struct {
	w        io.Writer
	terminal bool
	colour   bool
	width    int // in columns; 0 = no limit
}

// newConsole makes a console, with colours on a terminal unless NO_COLOR or TERM=dumb
// is in env.
func newConsole(w io.Writer, env []string) *console {
	c := &console{w: w}
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return c
	}
	c.terminal = true
	c.colour = !slices.ContainsFunc(env, func(v string) bool {
		name, value, _ := strings.Cut(v, "=")
		return name == "NO_COLOR" && value != "" || v == "TERM=dumb"
	})
	if width, _, err := term.GetSize(int(f.Fd())); err == nil {
		c.width = width
	}
	return c
}

// over is a console with the same colours that writes to w, without a width.
func (c *console) over(w io.Writer) *console { return &console{w: w, colour: c.colour} }

// aligned is a console that aligns the columns between tabs when it is flushed.
func (c *console) aligned() (t *console, flush func() error) {
	w := tabwriter.NewWriter(c.w, 0, 0, 2, ' ', 0)
	return c.over(w), w.Flush
}

// writer is the console for a library that writes text for people.
func (c *console) writer() io.Writer { return textWriter{c} }

type textWriter struct{ c *console }

// Write makes each line visible.
func (t textWriter) Write(text []byte) (int, error) {
	return len(text), t.c.printf("%s", visibleLines(string(text)))
}

// printf writes format as it is, and makes its arguments visible.
func (c *console) printf(format string, args ...any) error {
	_, err := io.WriteString(c.w, string(safef(format, args...)))
	return err
}

// safe is text that is visible already, with colours perhaps.
type safe string

// safef is printf to a string.
func safef(format string, args ...any) safe {
	for i := range args {
		args[i] = sanitized{args[i]}
	}
	return safe(fmt.Sprintf(format, args...))
}

// Terminal colours.
const (
	colourRed    = "31"
	colourGreen  = "32"
	colourYellow = "33"
	colourCyan   = "36"
	colourFaint  = "2"
)

// paint makes a text visible and colours it; "" is no colour.
func (c *console) paint(colour, text string) safe {
	text = visible(text)
	if c.colour && colour != "" {
		text = "\x1b[" + colour + "m" + text + "\x1b[0m"
	}
	return safe(text)
}

// sanitized is an argument of printf that is made visible when it is formatted.
type sanitized struct{ value any }

// Format implements [fmt.Formatter].
func (g sanitized) Format(f fmt.State, verb rune) {
	if text, ok := g.value.(safe); ok {
		fmt.Fprintf(f, fmt.FormatString(f, 's'), string(text))
		return
	}
	if verb == 's' || verb == 'v' { // visible first, since a width is that of the result
		fmt.Fprintf(f, fmt.FormatString(f, 's'), visible(fmt.Sprintf("%"+string(verb), g.value)))
		return
	}
	io.WriteString(f, visible(fmt.Sprintf(fmt.FormatString(f, verb), g.value)))
}

// visible returns text with escapes in the place of what could act on a terminal or
// look like other text: control characters with line breaks, characters that change
// the direction of writing or have no width, and bytes that are not UTF-8.
func visible(text string) string {
	if strings.IndexFunc(text, isActive) < 0 && utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case isActive(r):
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		default:
			b.WriteRune(r)
		}
		i += size
	}
	return b.String()
}

// isActive reports whether a terminal does not just show a character. Variation
// selectors, which are a part of emoji, are not active.
func isActive(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Cs, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point)
}

// visibleLines is visible for each line of a text.
func visibleLines(text string) safe {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = visible(line)
	}
	return safe(strings.Join(lines, "\n"))
}

// displayWidth is the width of a text on a terminal: wide letters take two columns.
func displayWidth(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

func runeWidth(r rune) int {
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// truncate keeps a text within a number of columns.
func truncate(s string, limit int) string {
	if displayWidth(s) <= limit {
		return s
	}
	n := 0
	for i, r := range s {
		if n += runeWidth(r); n >= limit { // one column is for …
			return s[:i] + "…"
		}
	}
	return s
}

// padRight makes a text exactly as wide as a number of columns.
func padRight(s string, to int) string {
	s = truncate(s, to)
	return s + strings.Repeat(" ", max(0, to-displayWidth(s)))
}
