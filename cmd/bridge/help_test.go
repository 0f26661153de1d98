package main

import (
	"io"
	osexec "os/exec"
	"strings"
	"testing"

	"bpcc-nats/internal/hostile"
)

// TestHelp: every command explains itself, with an example, on standard output.
func TestHelp(t *testing.T) {
	t.Parallel()
	listed := runCommand(t, t.Context(), nil, "help").stdout
	for _, c := range newProgram(nil, io.Discard, io.Discard).root().Commands() {
		t.Run(c.Name(), func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(listed, "  bridge "+c.Name()+" ") {
				t.Errorf("bridge help does not list it:\n%s", listed)
			}
			r := runCommand(t, t.Context(), nil, c.Name(), "--help")
			if r.status != exitOK || r.stderr != "" {
				t.Errorf("status %d\n%s", r.status, r.stderr)
			}
			for _, want := range []string{"bridge " + c.Name(), c.Short, "\nExamples:\n  "} {
				if !strings.Contains(r.stdout, want) {
					t.Errorf("no %q in\n%s", want, r.stdout)
				}
			}
			if again := runCommand(t, t.Context(), nil, "help", c.Name()); again.stdout != r.stdout {
				t.Errorf("bridge help %s says\n%s", c.Name(), again.stdout)
			}
			for line := range strings.Lines(c.Example) {
				if line = strings.TrimSpace(line); line != "" && !strings.Contains(line, "bridge "+c.Name()) {
					t.Errorf("the example %q is none of this command", line)
				}
			}
		})
	}
}

func TestCompletionWords(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		words []string
		want  []string // beginnings of lines
	}{
		"commands":        {[]string{"re"}, []string{"report\t", "replay\t", "record\t"}},
		"help":            {[]string{"help", "ver"}, []string{"verify\t", "version\t"}},
		"flags":           {[]string{"replay", "--fol"}, []string{"--follow\t"}},
		"flag's words":    {[]string{"replay", "--speed", "m"}, []string{"max\t"}},
		"timeouts":        {[]string{"state", "--timeout", ""}, []string{"10s", "1m"}},
		"types":           {[]string{"replay", "--type", "agent.s"}, []string{"agent.state_changed", "agent.stats_changed"}},
		"schemas":         {[]string{"schemas", "threshold"}, []string{"threshold.cleared", "threshold.raised"}},
		"shells":          {[]string{"completion", ""}, []string{"bash", "fish", "powershell", "zsh"}},
		"rule sets":       {[]string{"backtest", "--events", ""}, []string{"all", "thresholds"}},
		"no files":        {[]string{"state", "x"}, nil},
		"files":           {[]string{"verify", "x"}, nil},
		"files of a flag": {[]string{"backtest", "--rules", "x"}, nil},
		"nothing":         {[]string{"nonsense", "--x"}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := runCommand(t, t.Context(), nil, append([]string{"__complete"}, test.words...)...)
			lines := strings.Split(strings.TrimSuffix(r.stdout, "\n"), "\n")
			want := ":4" // no files
			if strings.HasPrefix(name, "files") {
				want = ":0"
			}
			if last := len(lines) - 1; lines[last] != want {
				t.Errorf("it ends with %q, want %q", lines[last], want)
			} else {
				lines = lines[:last]
			}
			if r.status != exitOK || len(lines) != len(test.want) {
				t.Fatalf("status %d, want %q\n%s", r.status, test.want, r.stdout)
			}
			for _, want := range test.want {
				if !strings.Contains("\n"+r.stdout, "\n"+want) {
					t.Errorf("no %q in\n%s", want, r.stdout)
				}
			}
		})
	}
	if r := runCommand(t, t.Context(), nil, "completion", "tcsh"); r.status != exitUsage {
		t.Errorf("tcsh: status %d", r.status)
	}
}

// TestCompletionScripts asks each shell that is installed whether it can read
// its script.
func TestCompletionScripts(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "fish", "powershell", "zsh"} {
		r := runCommand(t, t.Context(), nil, "completion", shell)
		if r.status != exitOK || !strings.Contains(r.stdout, "__complete") {
			t.Errorf("%s: status %d\n%s", shell, r.status, r.stdout)
		}
		program, err := osexec.LookPath(shell)
		if err != nil {
			t.Logf("%s is not installed: its script is not read", shell)
			continue
		}
		if shell == "powershell" {
			continue // it has no option that only reads
		}
		check := osexec.CommandContext(t.Context(), program, "-n")
		check.Stdin = strings.NewReader(r.stdout)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
	}
}

// TestCompletionErrors: what was typed does not act on the terminal.
func TestCompletionErrors(t *testing.T) {
	t.Parallel()
	binary := programFile(t)
	out, err := osexec.CommandContext(t.Context(), binary, "__complete", "state", "--"+hostile.Text(), "").CombinedOutput()
	if bad := hostile.Controls(string(out)); err != nil || len(bad) > 0 || !strings.Contains(string(out), `\x1b]0;title`) {
		t.Errorf("%v, it writes %s\n%q", err, strings.Join(bad, "\n"), out)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	r := runCommand(t, t.Context(), nil, "version")
	for _, want := range []string{"bridge ", "go1.", "/"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("no %q in\n%s", want, r.stdout)
		}
	}
	if short := runCommand(t, t.Context(), nil, "version", "--short"); strings.Count(short.stdout, "\n") != 1 || strings.Contains(short.stdout, " ") {
		t.Errorf("--short: %q", short.stdout)
	}
}
