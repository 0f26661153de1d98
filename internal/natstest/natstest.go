// Package natstest runs NATS servers for tests: in the process, or as another process where a test
// needs another release than the embedded one.
package natstest

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
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
	var log bytes.Buffer
	cmd := exec.Command(program, "--jetstream", "--store_dir", dir, "--addr", "127.0.0.1", "--port", strconv.Itoa(port), "--ports_file_dir", ports)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop = sync.OnceFunc(func() {
		// A server that has already ended cannot be signalled, and need not be.
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	t.Cleanup(stop)
	file := filepath.Join(ports, "nats-server_"+strconv.Itoa(cmd.Process.Pid)+".ports")
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(10 * time.Millisecond) {
		var listens struct {
			URLs []string `json:"nats"`
		}
		// The file may not be complete yet.
		if body, err := os.ReadFile(file); err == nil && json.Unmarshal(body, &listens) == nil && len(listens.URLs) > 0 {
			return listens.URLs[0], stop
		}
		if time.Now().After(deadline) {
			stop()
			t.Fatalf("NATS server is not listening:\n%s", log.String())
		}
	}
}
