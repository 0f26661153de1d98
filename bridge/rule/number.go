package rule

import (
	"strconv"
	"strings"

	"bpcc-nats/bridge/event"
)

// Values of [Rule.Parse].
const (
	ParseNumber   = "number"
	ParsePercent  = "percent"
	ParseDuration = "duration"
)

// Empty reports whether a text is no value: nothing but blanks.
func Empty(text string) bool { return strings.TrimSpace(text) == "" }

// Number reads the text of the rule's statistic in the notation that the rule gives: percents, or
// seconds of a duration. It reports whether the text is such a number.
func (r *Rule) Number(text string) (value float64, ok bool) {
	switch r.Parse {
	case ParsePercent:
		share, percent := strings.CutSuffix(strings.TrimSpace(text), "%")
		if !percent {
			return 0, false
		}
		return r.grouped(share)
	case ParseDuration:
		return duration(text)
	}
	return r.grouped(text)
}

// grouped reads a number. If the rule names the decimal separator, the other one of point and comma
// may separate groups of three digits.
func (r *Rule) grouped(text string) (float64, bool) {
	if r.Decimal == "" {
		return event.Decimal(text)
	}
	group := ","
	if r.Decimal == "," {
		group = "."
	}
	whole, fraction, fractional := strings.Cut(strings.TrimSpace(text), r.Decimal)
	if strings.Contains(whole, group) {
		parts := strings.Split(strings.TrimLeft(whole, "+-"), group)
		for i, part := range parts {
			if !digits(part) || len(part) > 3 || i > 0 && len(part) < 3 {
				return 0, false
			}
		}
		whole = strings.ReplaceAll(whole, group, "")
	}
	switch {
	case strings.ContainsAny(fraction, ".,"):
		return 0, false
	case fractional:
		return event.Decimal(whole + "." + fraction)
	}
	return event.Decimal(whole)
}

// duration reads h:mm:ss or m:ss, or a number of seconds.
func duration(text string) (seconds float64, ok bool) {
	parts := strings.Split(strings.TrimSpace(text), ":")
	if len(parts) == 1 {
		seconds, ok = event.Decimal(text)
		return seconds, ok && seconds >= 0
	}
	if len(parts) > 3 {
		return 0, false
	}
	total := 0
	for i, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil || !digits(part) || len(part) > 9 || i > 0 && (len(part) != 2 || n > 59) {
			return 0, false
		}
		total = total*60 + n
	}
	return float64(total), true
}

// digits reports whether a text is one digit or more.
func digits(text string) bool { return text != "" && strings.Trim(text, "0123456789") == "" }
