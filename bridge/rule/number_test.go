package rule_test

import (
	"fmt"
	"strings"
	"testing"

	"bpcc-nats/bridge/rule"
)

// TestNumber: finite decimal numbers are numbers, and nothing else is.
func TestNumber(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]float64{
		"0": 0, "5": 5, "-5": -5, "+5": 5, "1.50": 1.5, ".5": 0.5, "5.": 5, "1e2": 100, "1E2": 100, "1.5e+2": 150, "25e-1": 2.5,
		" 5 ": 5, "\t5\n": 5, "\u00a05": 5, "007": 7, "-0": 0, "12345678901234567890": 12345678901234567890, "1e308": 1e308, "1e-999": 0,
	} {
		if got, ok := rule.Number(text); !ok || got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{
		"", " ", "NaN", "nan", "+NaN", "Inf", "inf", "-Inf", "+inf", "Infinity", "infinity", "0x10", "0X1P4", "0x1p4", "-0x1p-2", "1_000", "0b11", "0o17",
		"1e999", "-1e999", "1e", "e1", ".", "-", "+", "--5", "+-5", "5 5", "5-", "1.2.3", "1,5", "1,234", "87%", "00:05:12", "N/A", "none", "null", "true",
		"5s", "٥", "５", "½", "−5", "5\x00",
	} {
		if got, ok := rule.Number(text); ok {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}

// TestNotations: what a rule reads that says how its statistic is written.
func TestNotations(t *testing.T) {
	t.Parallel()
	for notation, texts := range map[string]map[string]string{ // - is no number
		"":                  {"5": "5", "1e2": "100", "1,5": "-", "1,234": "-", "87%": "-", "5:12": "-"},
		`,"parse":"number"`: {"5": "5", "1,5": "-", "87%": "-"},
		`,"decimal":","`: {
			"1,5": "1.5", "1.234": "1234", "1.234,5": "1234.5", "-1.234.567,25": "-1.23456725e+06", ",5": "0.5", "5": "5", " 5,0 ": "5", "12": "12", "1,5e2": "150",
			"1.5": "-", "1234.567": "-", "12.34,5": "-", "1,234,567": "-", "1,234.5": "-", "1.2345": "-", ".234": "-", "1..234": "-", ",": "-", "": "-", "N,A": "-", "1_0,5": "-", "Inf": "-",
		},
		`,"decimal":"."`: {"1,234": "1234", "1,234.5": "1234.5", "1.5": "1.5", "999,999,999": "9.99999999e+08", "1,5": "-", "1,23": "-", "1.234,5": "-", "12345,678": "-"},
		`,"parse":"percent"`: {
			"87%": "87", " 87.5 % ": "87.5", "-3%": "-3", "87\u00a0%": "87", "0%": "0",
			"87": "-", "0.87": "-", "%": "-", "87%%": "-", "%87": "-", "NaN%": "-", "87,5%": "-", "": "-",
		},
		`,"parse":"percent","decimal":","`: {"87,5%": "87.5", "87,5": "-", "87.5%": "-", "1.087,5 %": "1087.5"},
		`,"parse":"duration"`: {
			"00:05:12": "312", "5:12": "312", "0:00": "0", "75:10": "4510", "100:00:01": "360001", " 5:12 ": "312", "312": "312", "312.5": "312.5", "1e2": "100",
			"5:1": "-", "5:60": "-", "5:99:00": "-", "1:05:123": "-", ":12": "-", "5:": "-", "1:2:3:4": "-", "-5:12": "-", "-5": "-", "5:+1": "-", "5:-1": "-",
			"5m12s": "-", "5:12.5": "-", "9999999999:00": "-", "NaN": "-", "": "-",
		},
	} {
		rules, err := rule.Parse([]byte(`[{"name":"x","kind":"service","stat":"s","raise":{"op":">","value":1}` + notation + `}]`))
		if err != nil {
			t.Fatalf("%s: %v", notation, err)
		}
		for text, want := range texts {
			got := "-"
			if v, ok := rules[0].Number(text); ok {
				got = fmt.Sprint(v)
			}
			if got != want {
				t.Errorf("%s: %q is %s, want %s", notation, text, got, want)
			}
		}
	}
}

// TestEmpty: no value is not a wrong one.
func TestEmpty(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"": true, " ": true, "\t": true, "0": false, "-": false, "N/A": false} {
		if got := rule.Empty(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// FuzzNumber checks that a number is what JSON takes for one, give or take the signs, zeros and
// points that people leave out or add.
func FuzzNumber(f *testing.F) {
	for _, text := range []string{"5", "1e2", "NaN", "Inf", "0x1p4", "1_000", "1e999", " 5", "87%", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, ok := rule.Number(text)
		if !ok {
			return
		}
		if v != v || v-v != 0 || strings.ContainsAny(text, "xXpP_nNiI") {
			t.Errorf("%q is taken for %v", text, v)
		}
	})
}
