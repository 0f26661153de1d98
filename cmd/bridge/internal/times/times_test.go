package times

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"bpcc-nats/cmd/bridge/internal/console"
	"bpcc-nats/cmd/bridge/internal/reader"
	"bpcc-nats/internal/hostile"
)

// TestBounds: a time without a zone is in that of the days, and without bounds the report is of today.
func TestBounds(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 29, 10, 0, 0, 0, time.UTC) // Berlin puts its clock forward
	local := func(text string) (at reader.Time) {
		if text != "" {
			if err := at.Set(text); err != nil {
				t.Fatal(err)
			}
		}
		return at
	}
	for name, test := range map[string]struct {
		zone, since, until string
		ofFile             bool
		wantSince, want    string
	}{
		"today":            {"Europe/Berlin", "", "", false, "2026-03-29T00:00:00+01:00", "2026-03-29T12:00:00+02:00"},
		"without a zone":   {"Europe/Berlin", "2026-03-28", "2026-03-29T06:00", false, "2026-03-28T00:00:00+01:00", "2026-03-29T06:00:00+02:00"},
		"until midnight":   {"Europe/Berlin", "", "2026-03-29", false, "2026-03-28T00:00:00+01:00", "2026-03-29T00:00:00+01:00"},
		"with a zone":      {"Europe/Berlin", "2026-03-28T00:00Z", "2026-03-29Z", false, "2026-03-28T01:00:00+01:00", "2026-03-29T01:00:00+01:00"},
		"no midnight":      {"Asia/Beirut", "2026-03-29", "", false, "2026-03-29T01:00:00+03:00", "2026-03-29T13:00:00+03:00"},
		"until the future": {"UTC", "", "2027-01-01Z", false, "2026-03-29T00:00:00Z", "2026-03-29T10:00:00Z"},
		"of a file":        {"UTC", "", "", true, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := Options{Zone: test.zone, Since: local(test.since), Until: local(test.until)}
			b, err := o.Bounds(now, test.ofFile, console.New(&bytes.Buffer{}, nil))
			if err != nil {
				t.Fatal(err)
			}
			write := func(at time.Time) string {
				if at.IsZero() {
					return ""
				}
				return at.In(b.Zone).Format(time.RFC3339)
			}
			if write(b.Since) != test.wantSince || write(b.Until) != test.want {
				t.Errorf("%s to %s", write(b.Since), write(b.Until))
			}
		})
	}
}

// TestCells: no cell is a formula, and none acts on a terminal.
func TestCells(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", "Anna": "Anna", "=1+1": "'=1+1", "+49": "'+49", "-1": "'-1", "@x": "'@x", "  =x": "'  =x", "\t=x": `\t=x`, "＝x": "'＝x", "'=x": "'=x", "a=b": "a=b", "\x1b[2J": `\x1b[2J`,
	} {
		if got := cells([]string{text}); got[0] != want {
			t.Errorf("%q is %q, want %q", text, got[0], want)
		}
	}
	for _, name := range hostile.Names() {
		if got := cells([]string{name})[0]; len(hostile.Controls(got)) > 0 || strings.ContainsAny(got, "\r\n") {
			t.Errorf("%q is %q", name, got)
		}
	}
}
