package event_test

import (
	"strings"
	"testing"

	"bpcc-nats/bridge/event"
)

// TestDecimal: finite decimal numbers are numbers, and nothing else is.
func TestDecimal(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]float64{
		"0": 0, "5": 5, "-5": -5, "+5": 5, "1.50": 1.5, ".5": 0.5, "5.": 5, "1e2": 100, "1E2": 100, "1.5e+2": 150, "25e-1": 2.5,
		" 5 ": 5, "\t5\n": 5, "\u00a05": 5, "007": 7, "-0": 0, "12345678901234567890": 12345678901234567890, "1e308": 1e308, "1e-999": 0,
	} {
		if got, ok := event.Decimal(text); !ok || got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{
		"", " ", "NaN", "nan", "+NaN", "Inf", "inf", "-Inf", "+inf", "Infinity", "infinity", "0x10", "0X1P4", "0x1p4", "-0x1p-2", "1_000", "0b11", "0o17",
		"1e999", "-1e999", "1e", "e1", ".", "-", "+", "--5", "+-5", "5 5", "5-", "1.2.3", "1,5", "1,234", "87%", "00:05:12", "N/A", "none", "null", "true",
		"5s", "٥", "５", "½", "−5", "5\x00",
	} {
		if got, ok := event.Decimal(text); ok {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}

// FuzzDecimal checks that a number is what JSON takes for one, give or take the signs, zeros and
// points that people leave out or add.
func FuzzDecimal(f *testing.F) {
	for _, text := range []string{"5", "1e2", "NaN", "Inf", "0x1p4", "1_000", "1e999", " 5", "87%", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, ok := event.Decimal(text)
		if !ok {
			return
		}
		if v != v || v-v != 0 || strings.ContainsAny(text, "xXpP_nNiI") {
			t.Errorf("%q is taken for %v", text, v)
		}
	})
}
