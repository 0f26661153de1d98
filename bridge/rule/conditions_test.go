package rule_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"bpcc-nats/bridge/rule"
)

// TestContradictions: conditions that can hold at once, and those that never end an alarm, are
// refused by name.
func TestContradictions(t *testing.T) {
	t.Parallel()
	condition := func(text string) string {
		op, value, _ := strings.Cut(text, " ")
		return fmt.Sprintf(`{"op":%q,"value":%s}`, op, value)
	}
	for _, test := range []struct{ raise, clear, want string }{
		{">= 5", "<= 2", ""}, {">= 5", "< 5", ""}, {"> 5", "<= 5", ""}, {">= 5", "== 0", ""}, {">= 5", "== 4.5", ""}, {">= 1", "<= 0", ""}, {"> 0", "<= 0", ""},
		{"<= 2", ">= 5", ""}, {"< 0.8", ">= 0.8", ""}, {"< 0.8", "> 0.9", ""}, {"<= 2", "== 3", ""}, {"<= 0", "> 0", ""}, {"<= 0", "!= 0", ""},
		{"== 3", "!= 3", ""}, {"== 3", "== 4", ""}, {"== 3", "> 3", ""}, {"== 3", "< 3", ""}, {"== 0", ">= 1", ""},
		{"!= 3", "== 3", ""}, {"!= 0", "<= 0", ""}, {"!= 0", "== 0", ""}, {"> 0", "!= 1", "both hold for 2"},
		{"<= -5", ">= -2", ""}, {"< 0", ">= 0", ""}, {">= -2", "<= -5", ""}, {"== -1", "!= -1", ""}, {"< 0", "== -0.0", ""},
		{">= 1e300", "< 1e299", ""}, {"> 1.7976931348623157e308", "<= 1.7976931348623157e308", ""},

		{">= 8", ">= 3", "both hold for 8"}, {"> 8", "> 3", "both hold for 9"}, {">= 8", "> 8", "both hold for 9"}, {">= 3", ">= 8", "both hold for 8"},
		{">= 5", "<= 5", "both hold for 5"}, {">= 5", "<= 8", "both hold for 8"}, {"> 3", "< 8", "both hold for 5.5"}, {"> 5", "< 5.000001", "both hold for 5.0000005"},
		{"> 1", "< 1.0000000000000004", "both hold for 1.0000000000000002"},
		{"<= 2", "<= 5", "both hold for 2"}, {"< 2", "< 5", "both hold for 1"}, {"< 0.5", "< 0.7", "both hold for 0"}, {"<= 5", ">= 5", "both hold for 5"},
		{"== 3", "== 3", "both hold for 3"}, {"== 3", ">= 3", "both hold for 3"}, {"== 3", "<= 8", "both hold for 3"}, {"== 3", "!= 4", "both hold for 3"},
		{"!= 3", "!= 3", "both hold for 4"}, {"!= 3", "!= 5", "both hold for 6"}, {"!= 3", "== 5", "both hold for 5"}, {"!= 0", ">= 0", "both hold for 1"}, {"!= 5", "<= 3", "both hold for 3"},
		{">= 5", "!= 3", "both hold for 5"}, {">= 5", "== 7", "both hold for 7"}, {">= 5", "!= 5", "both hold for 6"}, {"<= 0", "< 1", "both hold for 0"},
		{">= -5", "<= -5", "both hold for -5"}, {"> -8", "> -3", "both hold for -2"}, {">= 1e300", ">= 1e299", "both hold for 1e+300"},

		{">= 5", "< 0", "never holds"}, {">= 5", "<= -1", "never holds"}, {">= 5", "== -1", "never holds"}, {"> 0", "< 0", "never holds"}, {"== 0", "< 0", "never holds"},
		{"<= 0", "< 0", "never holds"}, {">= 5", "> 1.7976931348623157e308", "never holds"}, {"<= 5", "> 1.7976931348623157e308", "never holds"},
	} {
		_, err := rule.Parse([]byte(`[{"name":"backlog","kind":"service","stat":"s","raise":` + condition(test.raise) + `,"clear":` + condition(test.clear) + `}]`))
		if test.want == "" {
			if err != nil {
				t.Errorf("raise %s, clear %s: %v", test.raise, test.clear, err)
			}
			continue
		}
		shown := strings.NewReplacer("1.7976931348623157e308", "1.7976931348623157e+308", "e300", "e+300", "e299", "e+299")
		for _, want := range []string{`rule "backlog"`, shown.Replace(test.raise), "clear " + shown.Replace(test.clear), test.want} {
			if !errors.Is(err, rule.ErrInvalid) || !strings.Contains(err.Error(), want) {
				t.Errorf("raise %s, clear %s: error %v, want %v with %q", test.raise, test.clear, err, rule.ErrInvalid, want)
			}
		}
	}
}

// TestFaultsAreListed: all rules are checked, not only up to the first fault.
func TestFaultsAreListed(t *testing.T) {
	t.Parallel()
	_, err := rule.Parse([]byte(`[
		{"name":"a","kind":"service","stat":"s","raise":{"op":">","value":1},"clear":{"op":">","value":0}},
		{"name":"b","kind":"service","stat":"s","raise":{"op":">","value":1},"parse":"duration","decimal":","},
		{"name":"a","kind":"service","stat":"s","raise":{"op":">","value":1}}]`))
	for _, want := range []string{`rule "a": raise > 1 and clear > 0`, `rule "b": decimal`, `duplicate rule name "a"`} {
		if !errors.Is(err, rule.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %v with %q", err, rule.ErrInvalid, want)
		}
	}
}
