package event

import (
	"slices"
	"strconv"
	"strings"
)

// notCounted are the words in the names of statistics that are computed and not counted: their
// values may fall at any time.
var notCounted = [...]string{"average", "avg", "ratio", "percent", "percentage", "rate", "level"}

// IsDailyCounter reports whether a statistic is a counter that the tenant resets once a day: one
// whose name ends in _per_day, with or without dispositions in brackets, or begins with
// agent_total_. Averages, ratios and percentages are no counters.
func IsDailyCounter(stat string) bool {
	// The dispositions are names of the tenant: their words say nothing about the statistic.
	name, _, _ := strings.Cut(stat, "[")
	if !strings.HasSuffix(name, "_per_day") && !strings.HasPrefix(name, "agent_total_") {
		return false
	}
	for word := range strings.SplitSeq(name, "_") {
		if slices.Contains(notCounted[:], word) {
			return false
		}
	}
	return true
}

// CounterReset reports whether two texts of a daily counter show its reset: it falls to no value,
// to 0, or below half of what it was. A smaller fall is a correction. A text that is no finite
// decimal number shows nothing.
func CounterReset(before, after string) bool {
	was, ok := Decimal(before)
	if !ok || was <= 0 {
		return false
	}
	if after == "" {
		return true
	}
	is, ok := Decimal(after)
	return ok && is < was/2 // 0 is below half of every count
}

// Decimal reads a finite decimal number: a sign, digits, a fraction, an exponent. Blanks around it
// are ignored. It reports whether the text is one; NaN, Inf, hexadecimal numbers, underscores and
// numbers beyond the range of float64 are none.
func Decimal(text string) (value float64, ok bool) {
	text = strings.TrimSpace(text)
	for i := range len(text) {
		switch c := text[i]; {
		case c >= '0' && c <= '9', c == '+', c == '-', c == '.', c == 'e', c == 'E':
		default:
			return 0, false // what ParseFloat reads beyond decimal numbers needs another letter
		}
	}
	value, err := strconv.ParseFloat(text, 64)
	return value, err == nil
}
