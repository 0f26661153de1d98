package console

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/lmittmann/tint"
)

// ClockLayout is a time of day for people, with its zone.
const ClockLayout = "15:04:05-07:00"

// Logger makes a logger: coloured text on a terminal, JSON elsewhere,
// unless format is text or json.
func (c *Console) Logger(level, format string) *slog.Logger {
	var l slog.Level
	// The configuration has validated the level; info is the fallback.
	if err := l.UnmarshalText([]byte(level)); err != nil {
		l = slog.LevelInfo
	}
	if format == "text" && c.Journal {
		return slog.New(tint.NewTextHandler(c.w, &tint.Options{Level: l, NoColor: true, ReplaceAttr: journalAttr}))
	}
	if format == "text" || format == "auto" && c.Terminal {
		return slog.New(tint.NewTextHandler(c.w, &tint.Options{Level: l, TimeFormat: ClockLayout, NoColor: !c.Colour, ReplaceAttr: visibleAttr}))
	}
	return slog.New(slog.NewJSONHandler(jsonLog{c.w}, &slog.HandlerOptions{Level: l}))
}

// jsonLog writes lines of JSON for programs and for terminals, where docker logs and
// others show them: what could act on a terminal is written as an escape of JSON, which
// stands for the same character. encoding/json escapes control characters of ASCII only.
type jsonLog struct{ w io.Writer }

func (j jsonLog) Write(line []byte) (int, error) {
	var b strings.Builder
	for _, r := range strings.TrimSuffix(string(line), "\n") {
		if !isActive(r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	b.WriteString("\n")
	_, err := io.WriteString(j.w, b.String())
	return len(line), err
}

// visibleAttr makes messages and values visible. Values that need quotes are passed
// to tint as bytes: in strings tint leaves escape sequences as they are, and turns
// the four characters \x1b into one.
func visibleAttr(groups []string, a slog.Attr) slog.Attr {
	switch value := a.Value.Any().(type) {
	case slog.Level, time.Time, time.Duration, bool, int64, uint64, float64:
		return a
	default:
		text := fmt.Sprintf("%+v", value)
		switch shown := Visible(text); {
		case len(groups) == 0 && a.Key == slog.MessageKey:
			return slog.String(a.Key, shown)
		case shown != text || strings.ContainsAny(text, " =\"\\"):
			return slog.Any(a.Key, []byte(text))
		}
		return slog.String(a.Key, text)
	}
}
