package test

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// root is the repository's directory as the tests see it.
const root = ".."

// output runs a program to its end and returns what it prints.
func output(t *testing.T, env []string, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = env
	out, err := cmd.Output()
	if err != nil {
		var stderr string
		if exit, ok := err.(*exec.ExitError); ok {
			stderr = string(exit.Stderr)
		}
		t.Fatalf("%s %s: %v\n%s%s", program, strings.Join(args, " "), err, out, stderr)
	}
	return string(out)
}

// findBridge returns the program that the variable CI_BRIDGE names, or builds it.
func findBridge(t *testing.T) string {
	t.Helper()
	return findProgram(t, "CI_BRIDGE", "bridge", "bpcc-nats/cmd/bridge")
}

// findProgram returns the program that a variable names, or builds it of a package.
func findProgram(t *testing.T, variable, name, pkg string) string {
	t.Helper()
	if file := os.Getenv(variable); file != "" {
		return file
	}
	file := filepath.Join(t.TempDir(), name)
	output(t, append(os.Environ(), "CGO_ENABLED=0"), "go", "build", "-o", file, pkg)
	return file
}

// start runs a script until its output matches, and ends it with the test, which fails if it does not
// end well. It returns what the pattern's groups matched.
func start(t *testing.T, script, dir string, env []string, pattern string, limit time.Duration) []string {
	t.Helper()
	s, err := startShell(script, dir, env, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if heeded := s.stop(syscall.SIGINT); !heeded || !s.endedWell() {
			t.Errorf("%s: it ended with %v:\n%s", script, s.cmd.ProcessState, s.tail())
		}
	})
	wanted := regexp.MustCompile(pattern)
	if !s.waitFor(wanted, limit) {
		t.Fatalf("%s: no output like %s:\n%s", script, pattern, s.tail())
	}
	return wanted.FindStringSubmatch(s.printed())[1:]
}

// freeAddress returns an address of this machine with a port that is free now.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		err = listener.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return listener.Addr().String()
}

// startServer starts a NATS server of its own process on a free port, and returns its URL.
func startServer(t *testing.T, env []string) string {
	t.Helper()
	dir := t.TempDir()
	script := "exec '" + findProgram(t, "CI_NATS_SERVER", "nats-server", "github.com/nats-io/nats-server/v2") +
		"' --addr 127.0.0.1 --port -1 --jetstream --store_dir '" + dir + "' --ports_file_dir '" + dir + "'"
	start(t, script, dir, env, `Server is ready`, 20*time.Second)
	var url string
	for deadline := time.Now().Add(20 * time.Second); url == ""; {
		files, err := filepath.Glob(filepath.Join(dir, "*.ports"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			var listens struct {
				URLs []string `json:"nats"`
			}
			// The file may not be complete yet.
			if body, err := os.ReadFile(file); err == nil && json.Unmarshal(body, &listens) == nil && len(listens.URLs) > 0 {
				url = listens.URLs[0]
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("the NATS server tells no address")
		}
		<-time.After(10 * time.Millisecond)
	}
	return url
}

// startTenant starts a simulated tenant, and returns its URL, client id and secret.
func startTenant(t *testing.T, env []string, bridge, flags string) (url, id, secret string) {
	t.Helper()
	found := start(t, "exec '"+bridge+"' sim --listen 127.0.0.1:0 "+flags, "", env, `BPCC_URL=(\S+) BPCC_CLIENT_ID=(\S+) BPCC_CLIENT_SECRET=(\S+)\n`, 20*time.Second)
	return found[0], found[1], found[2]
}

// clone copies the repository into a directory, with what is not committed yet on top. Its origin is a
// repository beside it.
func clone(t *testing.T, dir string) {
	t.Helper()
	git := func(args ...string) string { return output(t, os.Environ(), "git", args...) }
	origin := dir + "-origin.git"
	git("clone", "--quiet", "--no-hardlinks", root, dir)
	git("init", "--quiet", "--bare", origin)
	git("-C", dir, "remote", "set-url", "origin", origin)
	changed := git("-C", root, "ls-files", "-z", "--modified", "--deleted", "--others", "--exclude-standard") +
		git("-C", root, "diff", "--cached", "--name-only", "-z")
	for _, file := range strings.Split(changed, "\x00") {
		if file == "" {
			continue
		}
		target := filepath.Join(dir, file)
		content, err := os.ReadFile(filepath.Join(root, file))
		if os.IsNotExist(err) {
			_ = os.Remove(target) // it may be gone from both
			continue
		}
		if err == nil {
			err = os.MkdirAll(filepath.Dir(target), 0o755)
		}
		if err == nil {
			err = os.WriteFile(target, content, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// demoPrinted matches what the demo prints when it runs: the addresses of its NATS server and of its live page.
const demoPrinted = `(?s)(nats://[\d.]+:\d+).*live page +http://([\d.]+:\d+)/`

// demo returns README.md's first command, which runs the demo.
func demo(t *testing.T) string {
	t.Helper()
	command := documentedCommands(t, readDocument(t, "README.md"))[0]
	if !strings.HasSuffix(command, "bridge demo") {
		t.Fatalf("README.md's first command is not the demo: %s", command)
	}
	return command
}

// startDemo runs README.md's first command in a clone, and returns the addresses of its NATS server
// and of its live page.
func startDemo(t *testing.T, dir string, env []string) (nats, page string) {
	t.Helper()
	found := start(t, demo(t), dir, env, demoPrinted, 10*time.Minute)
	return found[0], found[1]
}

// scrape returns the demo's metrics when its store has been measured: until then some are absent.
func scrape(t *testing.T, page string) string {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(200 * time.Millisecond) {
		response, err := http.Get("http://" + page + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err = errors.Join(err, response.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(body), "# TYPE bpcc_bridge_oldest_event_timestamp_seconds ") {
			return string(body)
		}
		if time.Now().After(deadline) {
			t.Fatalf("the demo measures no store:\n%s", body)
		}
	}
}
