package test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestReaderElsewhere makes a module outside of the repository as docs/reading.md says, and runs its program
// against the demo.
func TestReaderElsewhere(t *testing.T) {
	needScripts(t)
	env := cleanEnv()
	d := readDocument(t, "docs/reading.md")
	_, section, ok := strings.Cut(d.text, "## Reading in Go\n")
	program := regexp.MustCompile("(?s)```go\n(.*?)```").FindStringSubmatch(section)
	if !ok || program == nil {
		t.Fatal("docs/reading.md has no program")
	}
	dir := filepath.Join(t.TempDir(), "wallboard")
	top, err := filepath.Abs(root)
	if err == nil {
		err = os.Mkdir(dir, 0o755)
	}
	if err == nil {
		err = os.Symlink(top, filepath.Join(filepath.Dir(dir), "bpcc-nats"))
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "main.go"), []byte(program[1]), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	bridge := findBridge(t)
	// The feed is live once there are events about agents.
	nats := start(t, "exec '"+bridge+"' demo --listen 127.0.0.1:0 --http off", t.TempDir(), env, `(?s)(nats://[\d.]+:\d+).*\bagent +\S`, 2*time.Minute)[0]
	var printed string
	for _, command := range documentedCommands(t, document{d.name, section}) {
		if strings.HasPrefix(command, "go mod init") {
			// The sums of the modules are those of the repository: no server of sums is asked.
			sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		command = strings.ReplaceAll(command, "nats://127.0.0.1:4222", nats)
		printed = output(t, append(env, "PWD="+dir), "bash", "-c", "cd '"+dir+"' && "+command)
	}
	if !strings.HasSuffix(printed, "the feed is live\n") || strings.Count(printed, "\n") < 2 {
		t.Errorf("the program prints\n%s", printed)
	}
}
