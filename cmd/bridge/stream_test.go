package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/cmd/bridge/internal/console"
)

// TestTimeFlag: a time has the zone that it is written with, else the local one, and then the
// command says so.
func TestTimeFlag(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("", 2*60*60)
	for text, want := range map[string]time.Time{
		"2026-11-23T10:00:00Z":      time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC),
		"2026-11-23T10:00:00.5Z":    time.Date(2026, 11, 23, 10, 0, 0, 5e8, time.UTC),
		"2026-11-23T10:00:00+02:00": time.Date(2026, 11, 23, 10, 0, 0, 0, zone),
		"2026-11-23T10:00+02:00":    time.Date(2026, 11, 23, 10, 0, 0, 0, zone),
		"2026-11-23 10:00:00+02:00": time.Date(2026, 11, 23, 10, 0, 0, 0, zone),
		"2026-11-23 10:00Z":         time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC),
		"2026-11-23Z":               time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC),
		"2026-11-23+02:00":          time.Date(2026, 11, 23, 0, 0, 0, 0, zone),
		"2026-11-23T10:00:00":       time.Date(2026, 11, 23, 10, 0, 0, 0, time.Local),
		"2026-11-23T10:00":          time.Date(2026, 11, 23, 10, 0, 0, 0, time.Local),
		"2026-11-23 10:00:00":       time.Date(2026, 11, 23, 10, 0, 0, 0, time.Local),
		"2026-11-23 10:00":          time.Date(2026, 11, 23, 10, 0, 0, 0, time.Local),
		"2026-11-23":                time.Date(2026, 11, 23, 0, 0, 0, 0, time.Local),
	} {
		var s streamRange
		if err := s.until.Set(text); err != nil || !s.until.Equal(want) {
			t.Errorf("%s is %v, want %v, error %v", text, s.until, want, err)
			continue
		}
		note := ""
		if want.Location() == time.Local {
			note = "--until is " + want.Format(time.RFC3339) + ": a time without a zone is local time\n"
		}
		var out bytes.Buffer
		s.writeLocalTimes(console.New(&out, nil))
		if out.String() != note {
			t.Errorf("%s: the command says %q, want %q", text, out.String(), note)
		}
	}
	var s streamRange
	if err := s.since.Set("90m"); err != nil || (time.Since(s.since.Time)-90*time.Minute).Abs() > time.Minute {
		t.Errorf("90m is %v, error %v", s.since, err)
	}
	var out bytes.Buffer
	if s.writeLocalTimes(console.New(&out, nil)); out.Len() > 0 {
		t.Errorf("a duration has a zone: %s", out.String())
	}
	for _, text := range []string{"", "yesterday", "2026-11-31", "10:00", "2026-11-23T10:00:00 CET"} {
		if err := s.since.Set(text); err == nil {
			t.Errorf("%q is %v", text, s.since)
		}
	}
}

// TestReplaySaysItsZone: a date is taken in the local zone and printed with it, apart from the
// events; and clocks for people have their zone.
func TestReplaySaysItsZone(t *testing.T) {
	t.Parallel()
	_, env := serverWithDay(t)
	midnight := time.Date(2020, 1, 2, 0, 0, 0, 0, time.Local).Format(time.RFC3339)
	for _, command := range []string{"replay", "verify"} {
		r := runCommand(t, t.Context(), env, command, "--since", "2020-01-02")
		if r.status != exitOK || !strings.Contains(r.stderr, "--since is "+midnight) {
			t.Errorf("%s: status %d\n%s", command, r.status, r.stderr)
		}
		if command == "replay" && strings.Count(r.stdout, "\n") != len(goldenDay(t)) {
			t.Errorf("events:\n%s", r.stdout)
		}
	}
	r := runCommand(t, t.Context(), env, "replay", "--human")
	clock := regexp.MustCompile(`^\d\d:\d\d:\d\d[+-]\d\d:\d\d  `)
	for line := range strings.Lines(r.stdout) {
		if !clock.MatchString(line) {
			t.Errorf("no zone: %s", line)
		}
	}
	var first event.Event
	for _, body := range goldenDay(t) {
		v, err := event.ReadEnvelope([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if first, err = v.Event(); err == nil && first.Verb() == "started" {
			break
		}
	}
	if want := first.Time.Local().Format("15:04:05-07:00"); !strings.HasPrefix(r.stdout, want) {
		t.Errorf("want %s at the start of:\n%s", want, r.stdout)
	}
}
