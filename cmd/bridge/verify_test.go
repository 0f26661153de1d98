package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bpcc-nats/bridge/audit"
)

// goldenDay is a day's events as an export has them, one a line.
func goldenDay(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../bridge/testdata/golden/events.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		_, event, _ := strings.Cut(strings.TrimSpace(line), " ")
		lines = append(lines, event)
	}
	return lines
}

func writeFile(t *testing.T, name string, content []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestVerifyExport(t *testing.T) {
	t.Parallel()
	day := goldenDay(t)
	complete := strings.Join(day, "\n") + "\n"
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write([]byte(complete)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	gap := strings.Join(append(day[:20:20], day[21:]...), "\n")
	meta := `{"sequence":7,"subject":"bpcc.v1.acme.agent.bob.observed","headers":{"Nats-Msg-Id":["x"]},"event":` + day[0] + `}` + "\n"
	tests := map[string]struct {
		content []byte
		args    []string
		status  int
		want    []string
	}{
		"sound":            {[]byte(complete), nil, exitOK, []string{"SOUND", "acme", "66 events", "interrupted: source"}},
		"compressed":       {zipped.Bytes(), nil, exitOK, []string{"SOUND"}},
		"with a mark":      {[]byte("\ufeff" + complete), nil, exitOK, []string{"SOUND", "66 events"}},
		"in UTF-16":        {[]byte("\xff\xfe{\x00}\x00"), nil, exitUsage, nil},
		"a hole":           {[]byte(gap), nil, exitFailed, []string{"UNSOUND", "line 21", "acme-1-", "missing 1"}},
		"cut short":        {[]byte(complete[:len(complete)-900]), nil, exitFailed, []string{"UNSOUND", "not JSON", "uncovered"}},
		"empty":            {nil, nil, exitFailed, []string{"no events to check"}},
		"with sequences":   {[]byte(meta), nil, exitFailed, []string{"sequence 7", "stored on bpcc.v1.acme.agent.bob.observed", `Nats-Msg-Id is "x"`}},
		"another tenant":   {[]byte(complete), []string{"--tenant", "umbrella"}, exitFailed, []string{"no events to check"}},
		"from and to":      {[]byte(complete), []string{"--from", "acme-1-4-3", "--to", "acme-1-82-2"}, exitOK, []string{"SOUND", "RANGE  FIRST", "begins after checkpoint acme-1-4-3"}},
		"no such bounds":   {[]byte(complete), []string{"--to", "acme-1-82-3"}, exitFailed, []string{"UNSOUND", "bound 1"}},
		"bounds of a file": {[]byte(complete), []string{"--since", "1h"}, exitUsage, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := writeFile(t, "export", test.content)
			r := runCommand(t, t.Context(), nil, append(append([]string{"verify"}, test.args...), file)...)
			if r.status != test.status {
				t.Errorf("status %d, want %d\n%s%s", r.status, test.status, r.stdout, r.stderr)
			}
			for _, want := range test.want {
				if !strings.Contains(r.stdout, want) {
					t.Errorf("no %q in\n%s", want, r.stdout)
				}
			}
			if strings.Contains(r.stdout, "\x1b") {
				t.Error("colours, though this is no terminal")
			}
		})
	}
	file := writeFile(t, "export", []byte(gap))
	r := runCommand(t, t.Context(), nil, "verify", "--json", file)
	var report audit.Report
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil || r.status != exitFailed || report.OK || len(report.Faults) == 0 {
		t.Errorf("status %d, %v\n%s", r.status, err, r.stdout)
	}
}

func TestRangeUsage(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args []string
		want string
	}{
		"two beginnings":     {[]string{"verify", "--since", "1h", "--from-seq", "3"}, "--since and --from-seq exclude each other"},
		"backwards":          {[]string{"verify", "--from-seq", "9", "--to-seq", "3"}, "--from-seq 9 is after --to-seq 3"},
		"backwards in time":  {[]string{"replay", "--since", "1h", "--until", "2h"}, "later than"},
		"no time":            {[]string{"replay", "--since", "yesterday"}, "want a duration"},
		"an end that is not": {[]string{"replay", "--follow", "--until", "2h"}, "--follow excludes --until and --to-seq"},
		"nothing to read":    {[]string{"verify"}, "NATS_URL is not set, and there is no store in /no/such/store"},
		"no checkpoint":      {[]string{"verify", "--from", "acme"}, `--from and --to: bounds of a range: "acme" is not the id of a checkpoint`},
		"no such file":       {[]string{"verify", "/no/such/file"}, "no such file"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := runCommand(t, t.Context(), []string{"BRIDGE_STORE_DIR=/no/such/store"}, test.args...)
			if r.status != exitUsage || !strings.Contains(r.stderr, test.want) {
				t.Errorf("status %d\n%s", r.status, r.stderr)
			}
		})
	}
}

// TestVerifyStatements: what an event says is compared with the others, as far as the statistics
// that it speaks of are published at every change.
func TestVerifyStatements(t *testing.T) {
	t.Parallel()
	var day []string
	for _, line := range goldenDay(t) {
		if !strings.Contains(line, `"id":"acme-1-12-1"`) { // the queue fills up
			day = append(day, line)
		}
	}
	file := writeFile(t, "export", []byte(strings.Join(day, "\n")))
	const fault = `raised by in_calls_waiting "7", but the last image of service Voice Inbound has "1"`
	for list, want := range map[string]bool{
		"":                                  true,
		"state_duration":                    true,
		"state_duration,in_calls_waiting":   false,
		"state_duration, in_calls_*":        false,
		"state_duration,in_calls_wait":      true,
		"agent_total_*_time,in_*_wait_time": true,
		`["state_duration","in_calls_*"]`:   false,
	} {
		r := runCommand(t, t.Context(), []string{"BRIDGE_VOLATILE_STATS=" + list}, "verify", file)
		if got := strings.Contains(r.stdout, fault); got != want || strings.Contains(r.stdout, "value 1") != want {
			t.Errorf("%q: the value is a fault: %v, want %v\n%s%s", list, got, want, r.stdout, r.stderr)
		}
	}
	r := runCommand(t, t.Context(), nil, "verify", "--json", file)
	var report audit.Report
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil || report.ByCode["value"] != 1 {
		t.Fatalf("%v: codes %v\n%s", err, report.ByCode, r.stdout)
	}
	for _, f := range report.Faults {
		if f.Code == "value" && (f.Entity != "threshold.backlog.Voice=20Inbound" || f.ID != "acme-1-14-1" || f.Text != fault) {
			t.Errorf("%+v", f)
		}
	}
}
