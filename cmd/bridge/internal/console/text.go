package console

import "time"

// FormatTime writes a time in UTC; the zero time is a dash.
func FormatTime(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format(time.RFC3339)
}

// RoundDuration rounds a duration for people.
func RoundDuration(d time.Duration) time.Duration {
	if d.Abs() < time.Minute {
		return d.Round(time.Millisecond)
	}
	return d.Round(time.Second)
}

// OrDash is a text, or a dash if it is empty.
func OrDash(text string) string {
	if text == "" {
		return "–"
	}
	return text
}
