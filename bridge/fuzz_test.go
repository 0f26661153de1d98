package bridge_test

import (
	"errors"
	"strings"
	"testing"

	"bpcc-nats/bridge"
)

// FuzzToken checks that tokens are legal in subjects and keys, and reversible.
func FuzzToken(f *testing.F) {
	for _, id := range []string{"john.smith", "Voice Inbound", "a.b*c>d", "김", "=41", "", "\x00", "x=2Ey", strings.Repeat("ü", 50)} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		token := bridge.Token(id)
		if strings.Trim(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-=") != "" {
			t.Errorf("%q has an illegal token %q", id, token)
		}
		back, err := bridge.ParseToken(token)
		if id == "" {
			if !errors.Is(err, bridge.ErrToken) {
				t.Errorf("an empty token is read as %q, %v", back, err)
			}
			return
		}
		if err != nil || back != id {
			t.Errorf("%q comes back as %q, %v", id, back, err)
		}
		// The other way: what can be read is what would be written.
		if parsed, err := bridge.ParseToken(id); err == nil && bridge.Token(parsed) != id {
			t.Errorf("%q is read as %q, whose token is %q", id, parsed, bridge.Token(parsed))
		}
	})
}

// FuzzParseRules checks that no rules, however broken, do harm.
func FuzzParseRules(f *testing.F) {
	for _, rules := range []string{
		``, `[]`, `{}`, `[{}]`, `[{"name":"x","kind":"service","stat":"s","raise":{"op":">","value":1}}]`,
		`[{"name":"x","kind":"agent","match":["*a?"],"stat":"s","when":{"acd_state":["busy"]},"raise":{"op":"!=","value":-1e3},"clear":{"op":"==","value":0},"for":"1h2m","severity":"info","missing":"clear"}]`,
		`[{"name":"x","kind":"totals","stat":"s","raise":{"op":">","value":1},"for":"99999999999h"}]`, `[1`, `null`,
	} {
		f.Add([]byte(rules))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		rules, err := bridge.ParseRules(body)
		if err != nil {
			if !errors.Is(err, bridge.ErrRules) {
				t.Errorf("the error is no %v: %v", bridge.ErrRules, err)
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
