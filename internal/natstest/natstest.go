// Package natstest runs NATS servers for tests: in the process, or as another process where a test
// needs another release than the embedded one.
package natstest

import (
	"os"
	"os/exec"
	"strconv"
	"testing"
)

// Variables that name a nats-server of another release than the embedded one. Without them, tests
// that need one are skipped.
const (
	// OldServer is a release that the bridge refuses, such as 2.11.
	OldServer = "CI_NATS_SERVER_OLD"
	// OldestServer is the oldest release that the bridge supports.
	OldestServer = "CI_NATS_SERVER_OLDEST"
	// Server, if set, is what tests use that need no certain release.
	Server = "TEST_NATS_SERVER"
)

// StartOld starts the server that [OldServer] names, as [StartProgram] does.
func StartOld(t *testing.T, dir string, port int) (url string, stop func()) {
	t.Helper()
	return StartProgram(t, OldServer, dir, port)
}

// StartProgram starts the server that a variable names, with JetStream in dir, on a port of the
// loopback address; port 0 selects a free one. It returns the URL, and a function that stops the
// server and waits; the end of the test calls it too.
func StartProgram(t *testing.T, variable, dir string, port int) (url string, stop func()) {
	t.Helper()
	program := os.Getenv(variable)
	if program == "" {
		t.Skipf("NOT TESTED: another NATS server. %s is not set; .ci/run builds one", variable)
	}
	if port == 0 {
		port = -1
	}
	ports := t.TempDir()
	cmd := exec.Command(program, "--jetstream", "--store_dir", dir, "--addr", "127.0.0.1", "--port", strconv.Itoa(port), "--ports_file_dir", ports)
	url, stop, _ = startProcess(t, cmd, ports)
	return url, stop
}
