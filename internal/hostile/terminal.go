package hostile

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Names are names that set the title of a window, ring the bell, write to the
// clipboard, clear the screen, begin lines and columns, and look like other names; in
// control characters of one byte and of two.
func Names() []string {
	return []string{
		"\x1b]0;title\x07", "\x1b]52;c;YQ==\x1b\\", "\x1b[2J\x1b[5m\x00", "\u009b2J\u009d0;c\u009c", "\b\x7f\r\n\t", "\u202eright\u202c",
		"\u2066\u2067", "\u2068\u2069", "\u202a\u202b\u202d", "\u200e\u200f\u061c", "\u200b\u200c", "\u200d\ufeff", "\u2028\u2029\u0085",
	}
}

// Text is all of [Names], and a byte that is not UTF-8. It has no NUL, since arguments and
// variables cannot hold one.
func Text() string { return strings.ReplaceAll(strings.Join(Names(), "|"), "\x00", "") + "\x9b5mz" }

// Plain is a text of the program without the control sequences that the program writes:
// colours, with those of the log, and what clears the line of a progress bar.
func Plain(text string) string {
	return regexp.MustCompile(`\x1b\[(0|2|22|31|32|33|36|91|92|93)m|\r\x1b\[K`).ReplaceAllString(text, "")
}

// Controls lists what else in a text of the program could act on a terminal.
func Controls(text string) []string {
	var found []string
	text = Plain(text)
	for i, r := range text {
		raw := r == utf8.RuneError && !strings.HasPrefix(text[i:], "\ufffd")
		if raw || r != '\n' && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			found = append(found, fmt.Sprintf("%q in %q", text[i:min(i+4, len(text))], text[max(0, i-30):min(i+30, len(text))]))
		}
	}
	return found
}
