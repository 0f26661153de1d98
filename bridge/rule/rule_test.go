package rule_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/rule"
	"bpcc-nats/diff/image"
)

func TestGlobs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		patterns string
		matches  string
		misses   string
	}{
		{"", "|x|a.b", "-"},
		{"*", "|x|a\nb", "-"},
		{"Voice *", "Voice A|Voice ", "Voice|A Voice A"},
		{"a?", "ab|a.|aü", "a|abc"},
		{"a.b", "a.b", "axb"},
		{"x,y*", "x|y|yz", "xz"},
		{"[a]", "[a]", "a"},
		{`\*Support`, "*Support", `Support|x*Support|\*Support`},
		{`Support \**`, "Support *|Support *1", "Support 1"},
		{`a\?`, "a?", `ab|a\?`},
		{`\[a\]`, "[a]", `\[a\]|a`},
		{`a\\*`, `a\|a\b`, "a*|ab"},
		{`a\\\*`, `a\*`, `a\b|a*`},
		{`ACME\john`, `ACME\john`, "ACMEjohn"},
		{`a\`, `a\`, "a"},
		{`ü\*ü`, "ü*ü", "üxü"},
		{"\xff*", "\xff|\xffa", "a"},
	} {
		var patterns []string
		if test.patterns != "" {
			patterns = strings.Split(test.patterns, ",")
		}
		g := rule.Globs(patterns)
		for _, text := range strings.Split(test.matches, "|") {
			if !g.MatchString(text) {
				t.Errorf("%q does not match %q", test.patterns, text)
			}
		}
		if test.misses == "-" {
			continue
		}
		for _, text := range strings.Split(test.misses, "|") {
			if g.MatchString(text) {
				t.Errorf("%q matches %q", test.patterns, text)
			}
		}
	}
}

func TestUnsubscribed(t *testing.T) {
	t.Parallel()
	rules, err := rule.Parse([]byte(`[
		{"name":"a","kind":"service","stat":"waiting","raise":{"op":">","value":1}},
		{"name":"b","kind":"service","stat":"other","when":{"group":["x"]},"raise":{"op":">","value":1}},
		{"name":"c","kind":"agent","stat":"waiting","raise":{"op":">","value":1}},
		{"name":"d","kind":"service","stat":"secret","raise":{"op":">","value":1}}]`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	subscribed := map[image.Kind][]string{"service": {"waiting", "secret"}, "agent": {"acd_state"}}
	for _, err := range rule.Unsubscribed(rules, subscribed, func(stat string) bool { return stat == "secret" }) {
		got = append(got, strings.Join(strings.Fields(err.Error())[:4], " "))
	}
	want := []string{`rule "b" reads group,`, `rule "b" reads other,`, `rule "c" reads waiting,`, `rule "d" reads secret,`}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("faults (-want +got)\n%s", d)
	}
}

// FuzzParse checks that no rules, however broken, do harm.
func FuzzParse(f *testing.F) {
	for _, rules := range []string{
		``, `[]`, `{}`, `[{}]`, `[{"name":"x","kind":"service","stat":"s","raise":{"op":">","value":1}}]`,
		`[{"name":"x","kind":"agent","match":["*a?"],"stat":"s","when":{"acd_state":["busy"]},"raise":{"op":"!=","value":-1e3},"clear":{"op":"==","value":0},"for":"1h2m","severity":"info","missing":"clear"}]`,
		`[{"name":"x","kind":"service","stat":"s","raise":{"op":">=","value":8},"clear":{"op":"<=","value":-3},"parse":"percent","decimal":","}]`,
		`[{"name":"x","kind":"totals","stat":"s","raise":{"op":">","value":1},"for":"99999999999h"}]`, `[1`, `null`,
	} {
		f.Add([]byte(rules))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		rules, err := rule.Parse(body)
		if err != nil {
			if !errors.Is(err, rule.ErrInvalid) {
				t.Errorf("error %v, want %v", err, rule.ErrInvalid)
			}
			return
		}
		for _, r := range rules {
			if r.Name == "" || r.Stat == "" || r.Severity == "" || r.For < 0 {
				t.Errorf("accepted %+v", r)
			}
		}
	})
}

// TestFaultsOfEachRule: a fault of one rule hides no fault of another, and no rule without one.
func TestFaultsOfEachRule(t *testing.T) {
	t.Parallel()
	rules, err := rule.Parse([]byte(`[
		{"name":"operator","kind":"service","stat":"s","raise":{"op":"=>","value":1}},
		{"name":"twice","kind":"service","stat":"s","raise":{"op":">","value":8},"clear":{"op":">","value":3}},
		{"name":"good","kind":"service","stat":"s","raise":{"op":">","value":1}},
		{"name":"good","kind":"service","stat":"s","raise":{"op":">","value":1}},
		{"name":"new\nline","kind":"service","stat":"s","raise":{"op":">","value":1}}
	]`))
	if !errors.Is(err, rule.ErrInvalid) {
		t.Fatal(err)
	}
	for _, want := range []string{`at "/0/raise/op": want one of ">", `, `got "=>"`, `rule "twice": raise > 8 and clear > 3 both hold`, `duplicate rule name "good"`, `at "/4/name"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	if len(rules) == 0 || rules[0].Name != "good" {
		t.Errorf("rules without a fault: %+v", rules)
	}
}
