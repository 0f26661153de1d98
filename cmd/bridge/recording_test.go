package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/schemas"
)

// TestRecordAndBacktest records a tenant to a file and to standard output, and
// runs both through every kind of backtest.
func TestRecordAndBacktest(t *testing.T) {
	t.Parallel()
	s := startTenant(t, bpcctest.Config{})
	dir := t.TempDir()
	file, second := filepath.Join(dir, "one.ndjson.gz"), filepath.Join(dir, "two")
	env := append(sourceEnv(s.URL), "BRIDGE_TENANT=acme")
	var busy sync.WaitGroup
	busy.Go(func() {
		// What waits must change between two polls.
		polls := s.Counts().DataRequests()
		for deadline := time.Now().Add(2 * time.Second); s.Counts().DataRequests() < polls+5 && time.Now().Before(deadline); {
			<-time.After(10 * time.Millisecond)
		}
		s.SetServiceStat("Voice", "in_calls_waiting", "7")
	})
	r := runCommand(t, t.Context(), env, "record", "--out", file, "--for", "4s")
	busy.Wait()
	if r.status != exitOK || !strings.Contains(r.stderr, "personal data") || strings.Contains(r.stderr, "sim-secret") {
		t.Fatalf("record: status %d\n%s", r.status, r.stderr)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is for everyone: %v, %v", info, err)
	}
	if again := runCommand(t, t.Context(), env, "record", "--out", file, "--for", "1s"); again.status != exitUsage {
		t.Errorf("a second recording over the first: status %d\n%s", again.status, again.stderr)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	r = runCommand(t, ctx, env, "record", "--out", "-")
	zip, err := gzip.NewReader(strings.NewReader(r.stdout))
	if r.status != exitOK || err != nil {
		t.Fatalf("record to standard output: status %d, %v\n%s", r.status, err, r.stderr)
	}
	plain, err := io.ReadAll(zip)
	if err != nil || bytes.Contains(plain, []byte("sim-secret")) {
		t.Errorf("the recording on standard output: %v, or it holds the secret", err)
	}
	if err := os.WriteFile(second, plain, 0o600); err != nil {
		t.Fatal(err)
	}

	wide, narrow := filepath.Join(dir, "loose.json"), filepath.Join(dir, "tight.json")
	for name, limit := range map[string]string{wide: "9", narrow: "5"} {
		rule := `[{"name":"backlog","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":` + limit + `}}]`
		// An editor may write a byte order mark.
		if err := os.WriteFile(name, []byte("\ufeff"+rule), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// A backtest needs no configuration: nothing of the environment is given.
	all := runCommand(t, t.Context(), nil, "backtest", "--events", "all", "--rules", narrow, "--rules", wide, second, file)
	if all.status != exitOK {
		t.Fatalf("backtest: status %d\n%s", all.status, all.stderr)
	}
	for line := range strings.Lines(all.stdout) {
		if err := schemas.Validate([]byte(line)); err != nil {
			t.Error(err)
		}
	}
	for _, want := range []string{"bpcc.feed.checkpoint.v1", "bpcc.threshold.raised.v1", "bpcc.agent.observed.v1", "bpcc.availability.observed.v1"} {
		if !strings.Contains(all.stdout, want) {
			t.Errorf("no %s in the events", want)
		}
	}
	for _, want := range []string{"acme, ", "polls ", "gaps 1", "RULES of " + narrow, "RULES of " + wide, "COMPARED", "bpcc.agent.observed.v1"} {
		if !strings.Contains(all.stderr, want) {
			t.Errorf("no %q in the summary\n%s", want, all.stderr)
		}
	}
	tests := map[string]struct {
		args   []string
		lines  func(n int) bool
		with   string
		absent string
	}{
		"as a rule":       {[]string{"--rules", narrow, file}, func(n int) bool { return n > 4 }, "bpcc.feed.started.v1", "feed.checkpoint"},
		"thresholds":      {[]string{"--events", "thresholds", "--rules", narrow, file}, func(n int) bool { return n == 1 }, "bpcc.threshold.raised.v1", "agent"},
		"without rules":   {[]string{"--events", "thresholds", file}, func(n int) bool { return n == 0 }, "", "threshold"},
		"for people":      {[]string{"--human", "--rules", narrow, file}, func(n int) bool { return n > 2 }, "raised backlog: in_calls_waiting is 7", "{"},
		"rules of people": {[]string{"--human", "--events", "thresholds", "--rules", narrow, file}, func(n int) bool { return n == 1 }, "raised backlog", "snapshot"},
	}
	for name, test := range tests {
		r := runCommand(t, t.Context(), nil, append([]string{"backtest"}, test.args...)...)
		if r.status != exitOK || !test.lines(strings.Count(r.stdout, "\n")) || !strings.Contains(r.stdout, test.with) || strings.Contains(r.stdout, test.absent) {
			t.Errorf("%s: status %d\n%s%s", name, r.status, r.stdout, r.stderr)
		}
	}
}

func TestRecordingUsage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bad, rules := filepath.Join(dir, "bad"), filepath.Join(dir, "rules.json")
	for name, text := range map[string]string{bad: "no recording\n", rules: `[{"name":"x"}]`} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]struct {
		args, env []string
		status    int
		want      string
	}{
		"record without configuration": {[]string{"record"}, nil, exitUsage, "BPCC_URL"},
		"record for less than nothing": {[]string{"record", "--for", "-1s"}, nil, exitUsage, "negative"},
		"record to nowhere":            {[]string{"record", "--out", filepath.Join(dir, "no", "such")}, sourceEnv("http://127.0.0.1:1"), exitUsage, "no such"},
		"backtest of nothing":          {[]string{"backtest"}, nil, exitUsage, "name the recordings"},
		"backtest of a missing file":   {[]string{"backtest", filepath.Join(dir, "none")}, nil, exitUsage, "none"},
		"backtest of something else":   {[]string{"backtest", bad}, nil, exitFailed, "line 1"},
		"events of a strange kind":     {[]string{"backtest", "--events", "some", bad}, nil, exitUsage, `"some"`},
		"faulty rules":                 {[]string{"backtest", "--rules", rules, bad}, nil, exitUsage, "threshold rules"},
		"missing rules":                {[]string{"backtest", "--rules", filepath.Join(dir, "none"), bad}, nil, exitUsage, "none"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := runCommand(t, t.Context(), test.env, test.args...)
			if r.status != test.status || !strings.Contains(r.stderr, test.want) {
				t.Errorf("status %d, want %d and %q\n%s", r.status, test.status, test.want, r.stderr)
			}
		})
	}
}
