// Package console writes for people, on a terminal or not: text in which nothing acts
// on the terminal, colours, columns, and the log.
package console

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
)

// Console writes for people. Names and texts are input: from the contact centre, from
// every program that may publish to the stream, and from servers. What could
// act on a terminal in them is written as an escape such as \x1b or \u202e. A
// Console is not an io.Writer, so that nothing bypasses that.
type Console struct {
	Terminal bool // whether it writes to a terminal
	Journal  bool // whether it writes to the journal of systemd
	Colour   bool
	Width    int // in columns; 0 = no limit

	w io.Writer
}

// New makes a console, with colours on a terminal unless NO_COLOR or TERM=dumb
// is in env.
func New(w io.Writer, env []string) *Console {
	c := &Console{w: w}
	f, ok := w.(*os.File)
	if !ok {
		return c
	}
	if !term.IsTerminal(int(f.Fd())) {
		c.Journal = isJournal(f, env)
		return c
	}
	c.Terminal = true
	c.Colour = !slices.ContainsFunc(env, func(v string) bool {
		name, value, _ := strings.Cut(v, "=")
		return name == "NO_COLOR" && value != "" || v == "TERM=dumb"
	})
	if width, _, err := term.GetSize(int(f.Fd())); err == nil {
		c.Width = width
	}
	return c
}

// Over is a console with the same colours that writes to w, without a width.
func (c *Console) Over(w io.Writer) *Console { return &Console{w: w, Colour: c.Colour} }

// Aligned is a console that aligns the columns between tabs when it is flushed.
func (c *Console) Aligned() (t *Console, flush func() error) {
	w := tabwriter.NewWriter(c.w, 0, 0, 2, ' ', 0)
	return c.Over(w), w.Flush
}

// Writer is the console for a library that writes text for people.
func (c *Console) Writer() io.Writer { return textWriter{c} }

type textWriter struct{ c *Console }

// Write makes each line visible.
func (t textWriter) Write(text []byte) (int, error) {
	return len(text), t.c.Printf("%s", VisibleLines(string(text)))
}

// Printf writes format as it is, and makes its arguments visible.
func (c *Console) Printf(format string, args ...any) error {
	_, err := io.WriteString(c.w, string(Safef(format, args...)))
	return err
}

// Safe is text that is visible already, with colours perhaps.
type Safe string

// Safef is Printf to a string.
func Safef(format string, args ...any) Safe {
	for i := range args {
		args[i] = sanitized{args[i]}
	}
	return Safe(fmt.Sprintf(format, args...))
}

// Terminal colours.
const (
	Red    = "31"
	Green  = "32"
	Yellow = "33"
	Cyan   = "36"
	Faint  = "2"
)

// Paint makes a text visible and colours it; "" is no colour.
func (c *Console) Paint(colour, text string) Safe {
	text = Visible(text)
	if c.Colour && colour != "" {
		text = "\x1b[" + colour + "m" + text + "\x1b[0m"
	}
	return Safe(text)
}

// sanitized is an argument of printf that is made visible when it is formatted.
type sanitized struct{ value any }

// Format implements [fmt.Formatter].
func (g sanitized) Format(f fmt.State, verb rune) {
	if text, ok := g.value.(Safe); ok {
		fmt.Fprintf(f, fmt.FormatString(f, 's'), string(text))
		return
	}
	if verb == 's' || verb == 'v' { // Visible first, since a width is that of the result
		fmt.Fprintf(f, fmt.FormatString(f, 's'), Visible(fmt.Sprintf("%"+string(verb), g.value)))
		return
	}
	io.WriteString(f, Visible(fmt.Sprintf(fmt.FormatString(f, verb), g.value)))
}

// Visible returns text with escapes in the place of what could act on a terminal or
// look like other text: control characters with line breaks, characters that change
// the direction of writing or have no width, and bytes that are not UTF-8.
func Visible(text string) string {
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

// VisibleLines is [Visible] for each line of a text.
func VisibleLines(text string) Safe {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = Visible(line)
	}
	return Safe(strings.Join(lines, "\n"))
}
