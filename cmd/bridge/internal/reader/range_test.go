package reader

import (
	"bytes"
	"testing"
	"time"

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
		var s Range
		if err := s.Until.Set(text); err != nil || !s.Until.Equal(want) {
			t.Errorf("%s is %v, want %v, error %v", text, s.Until, want, err)
			continue
		}
		note := ""
		if want.Location() == time.Local {
			note = "--until is " + want.Format(time.RFC3339) + ": a time without a zone is local time\n"
		}
		var out bytes.Buffer
		s.WriteLocalTimes(console.New(&out, nil))
		if out.String() != note {
			t.Errorf("%s: the command says %q, want %q", text, out.String(), note)
		}
	}
	var s Range
	if err := s.Since.Set("90m"); err != nil || (time.Since(s.Since.Time)-90*time.Minute).Abs() > time.Minute {
		t.Errorf("90m is %v, error %v", s.Since, err)
	}
	var out bytes.Buffer
	if s.WriteLocalTimes(console.New(&out, nil)); out.Len() > 0 {
		t.Errorf("a duration has a zone: %s", out.String())
	}
	for _, text := range []string{"", "yesterday", "2026-11-31", "10:00", "2026-11-23T10:00:00 CET"} {
		if err := s.Since.Set(text); err == nil {
			t.Errorf("%q is %v", text, s.Since)
		}
	}
}
