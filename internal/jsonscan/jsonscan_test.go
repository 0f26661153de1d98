package jsonscan_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"bpcc-nats/internal/jsonscan"
)

// FuzzValid: what is valid is what encoding/json takes for valid.
func FuzzValid(f *testing.F) {
	for _, seed := range []string{
		``, ` `, `{}`, `[]`, ` {"a" : [1, {"b":null}, "\u00fc"] } `, `{"a":1,}`, `[1,]`, `{"a"}`, `{1:2}`, `[1 2]`, `01`, `-`, `1e`, `nul`, `"a`, "\"\n\"", `{"a":1}x`, `[[[]]]`, `}`, `{"a":{}]`,
	} {
		f.Add([]byte(seed))
	}
	f.Add(bytes.Repeat([]byte("["), 200))
	f.Add(append(bytes.Repeat([]byte("["), 200), bytes.Repeat([]byte("]"), 200)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, want := jsonscan.Valid(b), json.Valid(b); got != want {
			t.Errorf("%q is valid: %v, want %v", b, got, want)
		}
	})
}

// FuzzValue: a value is read if encoding/json accepts it, to its end; what is a text or a scalar is read
// alike.
func FuzzValue(f *testing.F) {
	for _, seed := range []string{
		`"a"`, `""`, `"seven77"`, `"eight888"`, `"\u00fc\"\\"`, "\"\x1f\"", "\"\xff\"", `1.50e+02`, `01`, `null`, `nul`, `true`, `{"a":[1,{"b":null}]}`, `[1,]`, `{"a"}`, `[`, ``,
	} {
		f.Add([]byte(seed), []byte(","))
	}
	f.Fuzz(func(t *testing.T, b, rest []byte) {
		if len(b) == 0 || len(rest) > 0 && (rest[0] != ',' && rest[0] != '}' && rest[0] != ']') || jsonscan.SkipSpace(b, 0) > 0 || jsonscan.SkipSpace(b, len(b)-1) == len(b) {
			return // of a number or a name only what follows shows the end
		}
		if bytes.Count(b, []byte("["))+bytes.Count(b, []byte("{")) > 1000 {
			return // encoding/json decides about deep nesting
		}
		if !json.Valid(b) {
			if end := jsonscan.Value(b, 0); end == len(b) {
				t.Fatalf("%q is read, and is not JSON", b)
			}
			return
		}
		all := append(append([]byte{}, b...), rest...)
		if end := jsonscan.Value(all, 0); end != len(b) {
			t.Fatalf("%q in %q ends at %d", b, all, end)
		}
		if short := jsonscan.Short(all, 0); short >= 0 && short != jsonscan.String(all, 0) {
			t.Errorf("Short reads %q to %d, String to %d", all, short, jsonscan.String(all, 0))
		}
		var text string
		if b[0] == '"' {
			if err := json.Unmarshal(b, &text); err != nil {
				t.Fatal(err)
			}
			if got := string(jsonscan.Unquote(b)); got != text {
				t.Errorf("%q is the text %q, want %q", b, got, text)
			}
			if plain := string(b) == `"`+text+`"`; jsonscan.EndsPlain(b[:len(b)-1], len(b)-2) && !plain {
				t.Errorf("%q counts as plain", b)
			}
		}
	})
}

// TestCommonPrefix compares texts of which each byte in turn differs.
func TestCommonPrefix(t *testing.T) {
	t.Parallel()
	text := []byte("twenty-one characters")
	for n := range text {
		other := append([]byte{}, text...)
		other[n] ^= 1
		if got := jsonscan.CommonPrefix(text, other); got != n {
			t.Errorf("%q and %q have %d bytes in common, want %d", text, other, got, n)
		}
		if got := jsonscan.CommonPrefix(text, text[:n]); got != n {
			t.Errorf("%q and its first %d bytes have %d in common", text, n, got)
		}
	}
}
