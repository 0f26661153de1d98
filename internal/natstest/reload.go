package natstest

import (
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
	if err := serve(file); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve runs a server until a signal ends it.
func serve(configFile string) error {
	o, err := server.ProcessConfigFile(configFile)
	if err != nil {
		return err
	}
	s, err := server.NewServer(o)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	s.WaitForShutdown()
	return nil
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
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), configVariable+"="+file)
	url, _, log := startProcess(t, cmd, dir)
	address = strings.TrimPrefix(url, "nats://")
	_, port, _ := strings.Cut(address, ":")
	return address, func(config string) {
		t.Helper()
		const done = "Reloaded server configuration"
		before := strings.Count(log(), done)
		write(port, config)
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(startTimeout); strings.Count(log(), done) == before; <-time.After(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("the NATS server does not reload its configuration\n%s", log())
			}
		}
	}
}

// startProcess starts a server that writes its ports to a directory. It returns the URL, a function that stops the
// server and waits, which the end of the test calls too, and what the server has logged so far.
func startProcess(t testing.TB, cmd *exec.Cmd, portsDir string) (url string, stop func(), log func() string) {
	t.Helper()
	output, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close() // the process has its own
	log = func() string {
		text, err := os.ReadFile(output.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	cmd.Stdout, cmd.Stderr = output, output
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
	file := filepath.Join(portsDir, fmt.Sprintf("%s_%d.ports", filepath.Base(cmd.Path), cmd.Process.Pid))
	for deadline := time.Now().Add(startTimeout); ; <-time.After(10 * time.Millisecond) {
		var listens struct {
			URLs []string `json:"nats"`
		}
		// The file may not be complete yet.
		if body, err := os.ReadFile(file); err == nil && json.Unmarshal(body, &listens) == nil && len(listens.URLs) > 0 {
			return listens.URLs[0], stop, log
		}
		if time.Now().After(deadline) {
			stop()
			t.Fatalf("the NATS server does not listen\n%s", log())
		}
	}
}
