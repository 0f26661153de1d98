package report

import (
	"fmt"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"
)

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// TestDays: days begin where the date changes, also where the clock is changed at midnight.
func TestDays(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		zone string
		from string
		want string // dates and how many hours they have
	}{
		"UTC":                          {"UTC", "2026-12-31T12:00:00Z", "2026-12-31 24 2027-01-01 24"},
		"the clock is put forward":     {"Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-28 24 2026-03-29 23 2026-03-30 24"},
		"the clock is put back":        {"Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-24 24 2026-10-25 25 2026-10-26 24"},
		"no midnight":                  {"Asia/Beirut", "2026-03-28T12:00:00Z", "2026-03-28 24 2026-03-29 23 2026-03-30 24"},
		"no midnight in the west":      {"America/Asuncion", "2023-09-30T12:00:00Z", "2023-09-30 24 2023-10-01 23 2023-10-02 24"},
		"two midnights":                {"America/Havana", "2026-10-31T12:00:00Z", "2026-10-31 24 2026-11-01 25 2026-11-02 24"},
		"back over midnight":           {"Asia/Beirut", "2026-10-24T12:00:00Z", "2026-10-24 25 2026-10-25 24"},
		"a date is left out":           {"Pacific/Apia", "2011-12-29T12:00:00Z", "2011-12-29 24 2011-12-31 24 2012-01-01 24"},
		"half an hour":                 {"Australia/Lord_Howe", "2026-04-04T12:00:00Z", "2026-04-04 24 2026-04-05 24.5"},
		"the first day of an old zone": {"Europe/Berlin", "1880-01-01T12:00:00Z", "1880-01-01 24"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, err := time.Parse(time.RFC3339, test.from)
			if err != nil {
				t.Fatal(err)
			}
			c := newCalendar(zone(t, test.zone), nanos(from))
			at := nanos(from)
			var got []string
			for range strings.Count(test.want, " ")/2 + 1 {
				day := c.day(at)
				length := time.Duration(c.begins[day+1] - c.begins[day])
				got = append(got, fmt.Sprint(c.dates[day], " ", length.Hours()))
				if begin, last := c.day(c.begins[day]), c.day(c.begins[day+1]-1); begin != day || last != day {
					t.Errorf("%s begins on day %d and ends on %d, want %d", c.dates[day], begin, last, day)
				}
				if date := time.Unix(0, c.begins[day]).In(c.zone).Format(time.DateOnly); date != c.dates[day] {
					t.Errorf("%s begins on %s", c.dates[day], date)
				}
				at = c.begins[day+1]
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("%v, want %s", got, test.want)
			}
		})
	}
}

// TestSpans adds spans in any order.
func TestSpans(t *testing.T) {
	t.Parallel()
	var s spans
	for _, add := range [][2]int64{{10, 20}, {40, 50}, {20, 22}, {30, 30}, {5, 6}, {48, 60}, {21, 35}, {never, 1}, {70, forever}, {80, 90}} {
		s.add(add[0], add[1])
	}
	if got, want := fmt.Sprint(s), fmt.Sprint(spans{{never, 1}, {5, 6}, {10, 35}, {40, 60}, {70, forever}}); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, test := range [][3]int64{{0, 100, 1 + 1 + 25 + 20 + 30}, {12, 13, 1}, {35, 40, 0}, {34, 41, 2}, {60, 70, 0}} {
		if got := s.overlap(test[0], test[1]); got != test[2] {
			t.Errorf("%d to %d: %d, want %d", test[0], test[1], got, test[2])
		}
	}
}
