package bridgetest

import (
	"os"
	"path/filepath"
	"testing"
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
