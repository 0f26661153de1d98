package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// goldenMinute bounds the golden day.
var goldenMinute = []string{"--zone", "UTC", "--since", "2026-11-23T21:13:00Z", "--until", "2026-11-23T21:15:00Z"}

// TestReport reports the golden day for people: with gaps, a reason, a rule and an availability.
func TestReport(t *testing.T) {
	t.Parallel()
	_, env := serverWithDay(t)
	r := runCommand(t, t.Context(), env, append([]string{"report"}, goldenMinute...)...)
	if r.status != exitOK || r.stderr != "" {
		t.Errorf("status %d\n%s", r.status, r.stderr)
	}
	for _, want := range []string{
		"acme  2026-11-23  2026-11-23T21:13:00Z to 2026-11-23T21:15:00Z (UTC)  unseen ", "AT LEAST", "UNSEEN",
		"anna.lopez  Anna López", "not_ready (Lunch)", "unavailable", "above threshold backlog",
	} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("no %q in\n%s", want, r.stdout)
		}
	}
	if strings.Contains(r.stdout, "logged_out") {
		t.Errorf("it has the time of agents who are logged out:\n%s", r.stdout)
	}
	today := runCommand(t, t.Context(), env, "report", "--zone", "Europe/Berlin")
	date := time.Now().In(mustLoad(t, "Europe/Berlin")).Format(time.DateOnly)
	if today.status != exitOK || !strings.Contains(today.stdout, "acme  "+date) || !strings.Contains(today.stdout, "(Europe/Berlin)") {
		t.Errorf("today: status %d\n%s%s", today.status, today.stdout, today.stderr)
	}
}

func mustLoad(t *testing.T, zone string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// TestReportForPrograms: JSON and CSV have the same rows, and an export has those of the stream.
func TestReportForPrograms(t *testing.T) {
	t.Parallel()
	_, env := serverWithDay(t)
	jsonLines := runCommand(t, t.Context(), env, append([]string{"report", "--json"}, goldenMinute...)...)
	var rows []string
	for line := range strings.Lines(jsonLines.stdout) {
		var row struct {
			Tenant, Day          string
			Agent, Team, State   string
			Service              string
			Times                int
			AtLeast              float64 `json:"at_least_s"`
			AtMost               float64 `json:"at_most_s"`
			Unseen               float64 `json:"unseen_s"`
			Unavailable, Waiting *struct {
				Times           int
				AtLeast, AtMost float64
			}
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if row.Tenant != "acme" || row.Day != "2026-11-23" || (row.Agent == "") == (row.Service == "") || row.AtLeast > row.AtMost || row.Agent != "" && (row.Unseen == 0 || row.State == "") {
			t.Errorf("%s", line)
		}
		if row.Agent != "" {
			rows = append(rows, fmt.Sprintf("%s %s %s %d %.3f %.3f", row.Agent, row.Team, row.State, row.Times, row.AtLeast, row.AtMost))
		}
	}
	table, err := csv.NewReader(strings.NewReader(runCommand(t, t.Context(), env, append([]string{"report", "--csv"}, goldenMinute...)...).stdout)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column := func(name string) int { return slices.Index(table[0], name) }
	var inCSV []string
	for _, row := range table[1:] {
		if row[column("agent")] != "" {
			inCSV = append(inCSV, strings.Join([]string{row[column("agent")], row[column("team")], row[column("state")], row[column("times")], row[column("at_least_s")], row[column("at_most_s")]}, " "))
		}
	}
	if len(rows) < 3 || !slices.Equal(rows, inCSV) {
		t.Errorf("JSON has %q, CSV %q", rows, inCSV)
	}
	for _, args := range [][]string{{"replay"}, {"replay", "--with-meta"}} {
		file := writeFile(t, "export.ndjson", []byte(runCommand(t, t.Context(), env, args...).stdout))
		r := runCommand(t, t.Context(), nil, append([]string{"report", "--json", file}, goldenMinute...)...)
		if r.status != exitOK || r.stdout != jsonLines.stdout {
			t.Errorf("of an export: status %d\n%s%s\nwant\n%s", r.status, r.stdout, r.stderr, jsonLines.stdout)
		}
		if r := runCommand(t, t.Context(), nil, "report", file); r.status != exitOK || !strings.Contains(r.stdout, "2026-11-23") {
			t.Errorf("all of an export: status %d\n%s%s", r.status, r.stdout, r.stderr)
		}
	}
}

// TestReportOfDamagedStream: what is missing and what is not the bridge's is said, and is unseen.
func TestReportOfDamagedStream(t *testing.T) {
	t.Parallel()
	day := goldenDay(t)
	file := writeFile(t, "export.ndjson", []byte(strings.Join(slices.Concat(day[:20], day[22:40], []string{day[3]}, day[40:]), "\n")))
	r := runCommand(t, t.Context(), nil, append([]string{"report", file}, goldenMinute...)...)
	if r.status != exitOK || !strings.Contains(r.stderr, "missing: ") || !strings.Contains(r.stderr, "skipped, foreign: 1 message(s)") {
		t.Errorf("status %d\n%s", r.status, r.stderr)
	}
}

// TestReportRefuses: wrong usage is status 2, and nothing to report status 1.
func TestReportRefuses(t *testing.T) {
	t.Parallel()
	_, env := serverWithDay(t)
	for name, test := range map[string]struct {
		args   []string
		status int
		want   string
	}{
		"two forms":         {[]string{"--csv", "--json"}, exitUsage, "exclude each other"},
		"no such zone":      {[]string{"--zone", "Europe/Bielefeld"}, exitUsage, "IANA"},
		"a path for a zone": {[]string{"--zone", "../etc/passwd"}, exitUsage, "IANA"},
		"backwards":         {[]string{"--since", "1h", "--until", "2h"}, exitUsage, "is not before"},
		"future":            {[]string{"--since", time.Now().Add(time.Hour).Format(time.RFC3339)}, exitUsage, "is not before"},
		"no time":           {[]string{"--since", "yesterday"}, exitUsage, "want a duration"},
		"zone of a time":    {[]string{"--zone", "Asia/Tokyo", "--since", "2026-11-23", "--until", "2026-11-22"}, exitUsage, "--since is 2026-11-23T00:00:00+09:00: a time without a zone is in --zone Asia/Tokyo"},
		"no such tenant":    {[]string{"--tenant", "umbrella"}, exitFailed, "has no events of tenant umbrella"},
		"no such file":      {[]string{"nothing.ndjson"}, exitUsage, "nothing.ndjson"},
		"an empty file":     {[]string{writeFile(t, "empty", nil)}, exitFailed, "has no events"},
		"part of a stream":  {[]string{writeFile(t, "part", []byte(goldenDay(t)[3]))}, exitFailed, "no checkpoint says that the source was observed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := runCommand(t, t.Context(), env, append([]string{"report"}, test.args...)...)
			if r.status != test.status || !strings.Contains(r.stderr, test.want) || r.stdout != "" {
				t.Errorf("status %d, want %d and %q\n%s%s", r.status, test.status, test.want, r.stderr, r.stdout)
			}
		})
	}
}
