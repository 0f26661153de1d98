package report

import (
	"math"
	"sort"
	"time"
)

// Instants are nanoseconds since 1970. These are before and after all others.
const (
	never   = math.MinInt64
	forever = math.MaxInt64
)

// nanos is an instant; the zero time is never.
func nanos(t time.Time) int64 {
	switch {
	case t.Before(time.Unix(0, never)):
		return never
	case t.After(time.Unix(0, forever)):
		return forever
	}
	return t.UnixNano()
}

// span is the time from one instant to before another.
type span struct{ from, to int64 }

// spans are in order and apart from each other.
type spans []span

// add adds a span, most often the last one.
func (s *spans) add(from, to int64) {
	if from >= to {
		return
	}
	at := sort.Search(len(*s), func(i int) bool { return (*s)[i].to >= from })
	end := at
	for end < len(*s) && (*s)[end].from <= to {
		from, to = min(from, (*s)[end].from), max(to, (*s)[end].to)
		end++
	}
	*s = append((*s)[:at], append(spans{{from, to}}, (*s)[end:]...)...)
}

// overlap is how much of a time the spans cover.
func (s spans) overlap(from, to int64) (sum int64) {
	for i := sort.Search(len(s), func(i int) bool { return s[i].to > from }); i < len(s) && s[i].from < to; i++ {
		sum += min(to, s[i].to) - max(from, s[i].from)
	}
	return sum
}

// calendar divides time into the days of a zone, from one day on. Days begin where the date changes: most often
// at midnight, and later where the clock leaves midnight out.
type calendar struct {
	zone   *time.Location
	begins []int64 // of each day, and of the one after the last
	dates  []string
	date   time.Time // the date after the last day, at noon UTC
	last   int       // the day that was looked up last
}

// newCalendar returns the days from the one of an instant on.
func newCalendar(zone *time.Location, from int64) *calendar {
	y, m, d := time.Unix(0, from).In(zone).Date()
	c := &calendar{zone: zone, date: time.Date(y, m, d, 12, 0, 0, 0, time.UTC)}
	c.begins = []int64{nanos(beginOfDay(y, m, d, zone))}
	return c
}

// grow adds the next day.
func (c *calendar) grow() {
	date := c.date
	for { // a zone may leave out a date
		c.date = c.date.AddDate(0, 0, 1)
		next := nanos(beginOfDay(c.date.Year(), c.date.Month(), c.date.Day(), c.zone))
		if next > c.begins[len(c.begins)-1] {
			c.dates = append(c.dates, date.Format(time.DateOnly))
			c.begins = append(c.begins, next)
			return
		}
		date = c.date
	}
}

// day is the number of the day that an instant is in; 0 for those before the first day.
func (c *calendar) day(at int64) int {
	for c.begins[len(c.begins)-1] <= at {
		c.grow()
	}
	if len(c.dates) == 0 {
		c.grow()
	}
	if c.begins[c.last] > at || c.begins[c.last+1] <= at {
		c.last = max(sort.Search(len(c.begins), func(i int) bool { return c.begins[i] > at })-1, 0)
	}
	return c.last
}

// beginOfDay is the first instant of a date in a zone.
func beginOfDay(year int, month time.Month, day int, zone *time.Location) time.Time {
	t := time.Date(year, month, day, 0, 0, 0, 0, zone)
	begin, end := t.ZoneBounds()
	_, offset := t.Zone()
	got := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	switch want := time.Date(year, month, day, 0, 0, 0, 0, time.UTC); {
	case got.Before(want): // there is no midnight
		return end
	case got.After(want), t.Hour() != 0:
		return begin
	case !begin.IsZero(): // there may be two of them
		if _, before := begin.Add(-1).Zone(); before > offset {
			if first := t.Add(time.Duration(offset-before) * time.Second); first.Before(begin) && first.Day() == t.Day() {
				return first
			}
		}
	}
	return t
}
