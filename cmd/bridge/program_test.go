package main

import (
	"os"
	"path/filepath"
	"testing"

	"bpcc-nats/internal/bridgetest"
)

// programName is the name under which the test's own binary is the program.
const programName = "bridge-process"

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == programName {
		main()
		return
	}
	bridgetest.Main(m, 16)
}

// programFile returns a file that is the program, for tests that run it as a process.
func programFile(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), programName)
	if err := os.Symlink(self, file); err != nil {
		t.Fatal(err)
	}
	return file
}
