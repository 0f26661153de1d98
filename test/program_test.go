package test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/creack/pty"

	"bpcc-nats/internal/bridgetest"
)

// shell is a running script of bash with all that it has printed. It has a process group of its own,
// so that a signal reaches what it has started, as Ctrl-C does.
type shell struct {
	script string
	cmd    *exec.Cmd
	ended  chan struct{}
	output bridgetest.Buffer
}

func (s *shell) printed() string { return s.output.String() }

// startShell starts a script in a directory, "" for the present one. A terminal is for programs that
// behave differently without one.
func startShell(script, dir string, env []string, terminal bool) (*shell, error) {
	s := &shell{script: script, cmd: exec.Command("bash", "-euo", "pipefail", "-c", script), ended: make(chan struct{})}
	s.cmd.Dir, s.cmd.Env = dir, env
	if terminal {
		master, err := pty.Start(s.cmd)
		if err != nil {
			return nil, err
		}
		go func() {
			_, _ = io.Copy(&s.output, master) // reading fails when the other end is closed
			_ = s.cmd.Wait()
			_ = master.Close()
			close(s.ended)
		}()
		return s, nil
	}
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// What the script leaves in the background may hold its output open.
	s.cmd.WaitDelay = time.Second
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = s.cmd.Wait()
		close(s.ended)
	}()
	return s, nil
}

// waitFor waits until the output matches, and reports whether it did before the end and in time.
func (s *shell) waitFor(pattern *regexp.Regexp, limit time.Duration) bool {
	deadline := time.After(limit)
	for {
		select {
		case <-s.ended:
			return pattern.MatchString(s.printed())
		case <-deadline:
			return false
		case <-time.After(20 * time.Millisecond):
			if pattern.MatchString(s.printed()) {
				return true
			}
		}
	}
}

// waitEnd reports whether the script ended in time.
func (s *shell) waitEnd(limit time.Duration) bool {
	select {
	case <-s.ended:
		return true
	case <-time.After(limit):
		return false
	}
}

// stop ends the script by a signal, and reports whether it heeded that; otherwise it is killed.
func (s *shell) stop(signal syscall.Signal) bool {
	_ = syscall.Kill(-s.cmd.Process.Pid, signal)
	if s.waitEnd(15 * time.Second) {
		return true
	}
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	<-s.ended
	return false
}

var goRunFailed = regexp.MustCompile(`(?m)^exit status|^signal:`)

// endedWell reports whether the script that was interrupted ended with status 0. Interrupted, `go run`
// itself has status 1; it says so if its program had another than 0.
func (s *shell) endedWell() bool {
	return s.cmd.ProcessState.ExitCode() == 0 || strings.Contains(s.script, "go run ") && !goRunFailed.MatchString(s.printed())
}

// tail returns the last lines of the output.
func (s *shell) tail() string {
	lines := strings.Split(strings.TrimRight(s.printed(), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-25):], "\n")
}

// replacements are the values of a repeated flag, each "OLD=>NEW".
type replacements [][2]string

func (r *replacements) String() string { return fmt.Sprint(*r) }

func (r *replacements) Set(text string) error {
	before, after, found := strings.Cut(text, "=>")
	if !found || before == "" {
		return errors.New("want OLD=>NEW")
	}
	*r = append(*r, [2]string{before, after})
	return nil
}

// apply replaces in a command; what is not in it cannot be replaced.
func (r replacements) apply(command string) (string, error) {
	for _, pair := range r {
		if !strings.Contains(command, pair[0]) {
			return "", fmt.Errorf("replace %q: it is not in %q", pair[0], command)
		}
		command = strings.ReplaceAll(command, pair[0], pair[1])
	}
	return command, nil
}

// cleanEnv returns the environment without variables that configure the programs under test: those of
// a developer's machine must not.
func cleanEnv() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return slices.ContainsFunc([]string{"BPCC_", "BRIDGE_", "NATS_"}, func(p string) bool { return strings.HasPrefix(v, p) })
	})
}
