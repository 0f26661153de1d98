package console

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// isJournal reports whether a file is the stream to the journal that systemd has made for this process: it names the
// device and the inode.
func isJournal(f *os.File, env []string) bool {
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return false
	}
	return slices.Contains(env, fmt.Sprintf("JOURNAL_STREAM=%d:%d", stat.Dev, stat.Ino))
}

// journalError begins a line with the priority err of the journal.
const journalError = "<3>"

// Error writes an error, each of its lines visible and, in the journal, with its priority.
func (c *Console) Error(command string, err error) error {
	text := fmt.Sprintf("%s: %s", command, err)
	if !c.Journal {
		return c.Printf("%s\n", VisibleLines(text))
	}
	for line := range strings.SplitSeq(text, "\n") {
		if err := c.Printf(journalError+"%s\n", line); err != nil {
			return err
		}
	}
	return nil
}

// journalAttr is [visibleAttr] for the journal: each line begins with its priority, and the journal knows the time.
func journalAttr(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return visibleAttr(groups, a)
	}
	switch level, ok := a.Value.Any().(slog.Level); {
	case a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime:
		return slog.Attr{}
	case !ok || a.Key != slog.LevelKey:
		return visibleAttr(groups, a)
	case level >= slog.LevelError:
		return slog.String(a.Key, journalError+"ERR")
	case level >= slog.LevelWarn:
		return slog.String(a.Key, "<4>WRN")
	case level >= slog.LevelInfo:
		return slog.String(a.Key, "<6>INF")
	default:
		return slog.String(a.Key, "<7>DBG")
	}
}
