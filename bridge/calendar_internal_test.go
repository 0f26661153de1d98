package bridge

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestCalendar: whatever instants it is asked for, in whatever order, it writes them
// as time.RFC3339 does, in UTC and without what is less than a second.
func TestCalendar(t *testing.T) {
	t.Parallel()
	var c calendar
	berlin := time.FixedZone("", 3600)
	day := time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
	instants := []time.Time{
		{}, day, day.Add(-1), day.Add(24*time.Hour - 1), day.AddDate(-1970, 0, 0), time.Unix(-1, 1), time.Unix(0, 0), time.Date(10000, 1, 1, 0, 0, 0, 0, berlin),
	}
	for range 10_000 {
		instants = append(instants, day.Add(time.Duration(rand.Int64N(int64(72*time.Hour)))-36*time.Hour).In(berlin))
	}
	for _, at := range instants {
		if got, want := c.text(at), at.UTC().Format(time.RFC3339); got != want {
			t.Fatalf("%v is written %s, want %s", at, got, want)
		}
	}
}
