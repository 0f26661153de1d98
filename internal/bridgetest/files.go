package bridgetest

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Mark is the byte order mark of UTF-8, which editors write and do not show.
const Mark = "\ufeff"

// WithMark writes a file's content behind a mark into another file.
func WithMark(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	marked := filepath.Join(t.TempDir(), filepath.Base(file))
	ReplaceFile(t, marked, Mark+string(content))
	return marked
}

// ReplaceFile replaces a file as secret stores do: whole, or not at all.
func ReplaceFile(t *testing.T, file, content string) {
	t.Helper()
	next := file + ".next"
	if err := os.WriteFile(next, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, file); err != nil {
		t.Fatal(err)
	}
}

// BlockRead replaces a file by one whose reader waits until unblock is called; then it reads nothing, and the
// file is gone.
func BlockRead(t *testing.T, file string) (unblock func()) {
	t.Helper()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	return func() {
		pipe, err := os.OpenFile(file, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(file); err != nil { // the next reader must not wait
			t.Error(err)
		}
		pipe.Close()
	}
}
