package main

import (
	"context"
	"errors"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSignalEndsReadingOfAPipe: a signal ends verify, report and backtest while standard input is
// silent.
func TestSignalEndsReadingOfAPipe(t *testing.T) {
	t.Parallel()
	binary := programFile(t)
	// More than a pipe holds: when it is written the program has begun to read.
	events := strings.Repeat(goldenDay(t)[0]+"\n", 500)
	header := `{"format":"` + strings.Repeat(" ", 200<<10)
	for name, test := range map[string]struct {
		args []string
		text string // for standard input
	}{
		"verify":   {[]string{"verify", "-"}, events},
		"report":   {[]string{"report", "-"}, events},
		"backtest": {[]string{"backtest", "/dev/stdin"}, header},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, silent, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			defer silent.Close()
			cmd := osexec.Command(binary, test.args...)
			var stdout, stderr syncBuffer
			cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &stdout, &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			defer func() { _ = cmd.Process.Kill() }() // it has mostly ended by then
			if _, err := silent.WriteString(test.text); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-ended:
				var exit *osexec.ExitError
				if !errors.As(err, &exit) || exit.ExitCode() != exitFailed || !strings.Contains(stderr.String(), "did not finish: terminated") || stdout.String() != "" {
					t.Errorf("%v\n%s%s", err, stdout.String(), stderr.String())
				}
			case <-time.After(10 * time.Second):
				t.Error("it is still there")
			}
		})
	}
}

// TestSignalEndsOpeningOfAPipe: a signal ends them while nobody writes to a named pipe.
func TestSignalEndsOpeningOfAPipe(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"verify", "report", "backtest"} {
		fifo := filepath.Join(t.TempDir(), "fifo")
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errSignal)
		defer cancel()
		r := runCommand(t, ctx, nil, command, fifo)
		if want := "bridge " + command + ": did not finish: SIGTERM\n"; r.status != exitFailed || r.stderr != want || r.stdout != "" {
			t.Errorf("status %d, want %q\n%s%s", r.status, want, r.stdout, r.stderr)
		}
		// The goroutine that opens the pipe ends when somebody writes to it.
		writer, err := os.OpenFile(fifo, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		writer.Close()
	}
}
