package rule_test

import (
	"fmt"
	"testing"

	"bpcc-nats/bridge/rule"
)

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
