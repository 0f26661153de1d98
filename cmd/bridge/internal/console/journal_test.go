package console

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestJournal: lines of text for the journal begin with their priority and have no time. Other files get neither.
func TestJournal(t *testing.T) {
	t.Parallel()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { read.Close(); write.Close() })
	var stat unix.Stat_t
	if err := unix.Fstat(int(write.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	journal := New(write, []string{fmt.Sprintf("JOURNAL_STREAM=%d:%d", stat.Dev, stat.Ino)})
	other := New(write, []string{fmt.Sprintf("JOURNAL_STREAM=%d:%d", stat.Dev, stat.Ino+1)})
	log := journal.Logger("debug", "text")
	log.Error("it failed", "err", errors.New("a \x1b[5m"), "level", 3, "time", "x")
	log.Warn("careful")
	log.Info("leading", "epoch", 1)
	log.Debug("committed")
	if err := journal.Error("bridge run", errors.New("configuration:\nBPCC_URL: not set\x1b")); err != nil {
		t.Fatal(err)
	}
	if err := other.Error("bridge run", errors.New("configuration:\nBPCC_URL: not set")); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(read)
	for _, want := range []string{
		`<3>ERR it failed err="a \x1b[5m" level=3 time=x`, `<4>WRN careful`, `<6>INF leading epoch=1`, `<7>DBG committed`,
		`<3>bridge run: configuration:`, `<3>BPCC_URL: not set\x1b`, `bridge run: configuration:`, `BPCC_URL: not set`,
	} {
		if lines.Scan(); lines.Text() != want {
			t.Errorf("written %q, want %q", lines.Text(), want)
		}
	}
	if other.Journal {
		t.Error("another file counts as the journal")
	}
}
