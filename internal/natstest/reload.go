package natstest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// configVariable tells a test program to be a NATS server with this configuration.
const configVariable = "TEST_NATS_CONFIG"

// ServeIfAsked is the NATS server that [StartReloadable] has started this program for, and does not return then.
// A TestMain calls it first.
func ServeIfAsked() {
	file := os.Getenv(configVariable)
	if file == "" {
		return
	}
	o, err := server.ProcessConfigFile(file)
	if err == nil {
		var s *server.Server
		if s, err = server.NewServer(o); err == nil {
			s.ConfigureLogger()
			s.Start()
			s.WaitForShutdown()
			os.Exit(0)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// StartReloadable starts a server as a process of its own, because a server reads some options without a lock while
// it reloads them, which the race detector notes in this process. config is its configuration, but for the address.
// It returns the address, and a function that reloads another configuration. The package needs [ServeIfAsked].
func StartReloadable(t testing.TB, config string) (address string, reload func(config string)) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "nats.conf")
	write := func(port, config string) {
		content := fmt.Sprintf("listen: \"127.0.0.1:%s\"\nports_file_dir: %q\njetstream: {store_dir: %q}\n%s\n", port, dir, dir, config)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("-1", config)
	log := &processLog{}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), configVariable+"="+file)
	cmd.Stdout, cmd.Stderr = log, log
	url, _ := startProcess(t, cmd, dir, log)
	address = strings.TrimPrefix(url, "nats://")
	_, port, _ := strings.Cut(address, ":")
	return address, func(config string) {
		t.Helper()
		const done = "Reloaded server configuration"
		before := log.count(done)
		write(port, config)
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(startTimeout); log.count(done) == before; <-time.After(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("the NATS server does not reload its configuration\n%s", log)
			}
		}
	}
}

// startProcess starts a server that writes its ports to a directory. It returns the URL, and a function that stops
// the server and waits; the end of the test calls it too.
func startProcess(t testing.TB, cmd *exec.Cmd, portsDir string, log fmt.Stringer) (url string, stop func()) {
	t.Helper()
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
	for deadline := time.Now().Add(startTimeout); ; <-time.After(10 * time.Millisecond) {
		var listens struct {
			URLs []string `json:"nats"`
		}
		// The file may not be complete yet.
		files, err := filepath.Glob(filepath.Join(portsDir, "*_"+fmt.Sprint(cmd.Process.Pid)+".ports"))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) == 1 {
			if body, err := os.ReadFile(files[0]); err == nil && json.Unmarshal(body, &listens) == nil && len(listens.URLs) > 0 {
				return listens.URLs[0], stop
			}
		}
		if time.Now().After(deadline) {
			stop()
			t.Fatalf("the NATS server does not listen\n%s", log)
		}
	}
}

// processLog is the output of a process. It is safe for concurrent use.
type processLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *processLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *processLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *processLog) count(text string) int { return strings.Count(l.String(), text) }
