package test

import (
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDemo runs README.md's first command with an end, while a reader in another language holds its
// stream to the contract and `bridge replay` reads it.
func TestDemo(t *testing.T) {
	needScripts(t)
	env := cleanEnv()
	command := demo(t) + " --for 15s"
	s, err := startShell(command, root, env, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.stop(syscall.SIGINT) })
	if !s.waitFor(regexp.MustCompile(demoPrinted), 2*time.Minute) {
		t.Fatalf("%s tells no addresses:\n%s", command, s.tail())
	}
	nats := regexp.MustCompile(demoPrinted).FindStringSubmatch(s.printed())[1]
	t.Log(output(t, env, "node", "../.ci/watch.mjs", nats))
	events := output(t, append(env, "NATS_URL="+nats), findBridge(t), "replay", "--subject", "bpcc.v1.*.agent.>")
	if !strings.Contains(events, `"type":"bpcc.agent.state_changed.v1"`) {
		t.Errorf("bridge replay prints no change of state:\n%s", events)
	}
	if !s.waitEnd(time.Minute) || s.cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("%s: %v\n%s", command, s.cmd.ProcessState, s.tail())
	}
}
