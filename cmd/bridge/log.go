package main

import (
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"
)

// newLogger makes the logger: coloured text on a terminal, JSON elsewhere,
// unless format is text or json. NO_COLOR in env makes it plain.
func newLogger(w io.Writer, level, format string, env []string) *slog.Logger {
	var l slog.Level
	// The configuration has checked the level; info is what is left of a fault.
	if err := l.UnmarshalText([]byte(level)); err != nil {
		l = slog.LevelInfo
	}
	if format == "text" || format == "auto" && isTerminal(w) {
		return slog.New(tint.NewTextHandler(w, &tint.Options{Level: l, TimeFormat: time.TimeOnly, NoColor: !colourEnabled(w, env)}))
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: l}))
}

// painter returns what colours text for w: nothing, unless w is a terminal whose
// user has not asked for plain text (NO_COLOR, TERM=dumb).
func painter(w any, env []string) func(colour, text string) string {
	if !colourEnabled(w, env) {
		return func(_, text string) string { return text }
	}
	return func(colour, text string) string {
		if colour == "" {
			return text
		}
		return "\x1b[" + colour + "m" + text + "\x1b[0m"
	}
}

func colourEnabled(w any, env []string) bool {
	plain := slices.ContainsFunc(env, func(v string) bool {
		name, value, _ := strings.Cut(v, "=")
		return name == "NO_COLOR" && value != "" || v == "TERM=dumb"
	})
	return !plain && isTerminal(w)
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// terminalWidth is the number of columns of a terminal, 0 for anything else.
func terminalWidth(w any) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}
