package event

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"time"
)

// Duration is a duration as events hold it: seconds, with at most three decimals.
type Duration time.Duration

// longestDuration is more than any event holds, in seconds: 100 years.
const longestDuration = 100 * 366 * 24 * 3600

// DurationRange bounds a duration, both ends included. The zero range says that it is not known.
type DurationRange struct {
	Min Duration `json:"min"`
	Max Duration `json:"max"`
}

// MarshalJSON writes seconds.
func (d Duration) MarshalJSON() ([]byte, error) { return d.appendJSON(nil), nil }

func (d Duration) appendJSON(b []byte) []byte {
	ms := time.Duration(d).Milliseconds()
	if ms < 0 {
		b, ms = append(b, '-'), -ms
	}
	b = strconv.AppendInt(b, ms/1000, 10)
	if ms %= 1000; ms == 0 {
		return b
	}
	b = append(b, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
	return bytes.TrimRight(b, "0")
}

// UnmarshalJSON reads seconds, at most 100 years.
func (d *Duration) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte("null")) {
		return nil
	}
	seconds, err := strconv.ParseFloat(string(b), 64)
	if err != nil || math.Abs(seconds) > longestDuration {
		return fmt.Errorf("%s is not a duration in seconds, at most %d", Truncate(string(b), 40), int64(longestDuration))
	}
	*d = Duration(math.Round(seconds*1000)) * Duration(time.Millisecond)
	return nil
}

func (r DurationRange) appendJSON(b []byte) []byte {
	b = r.Min.appendJSON(append(b, `{"min":`...))
	return append(r.Max.appendJSON(append(b, `,"max":`...)), '}')
}
