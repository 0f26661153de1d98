package schemas

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"testing"

	"bpcc-nats/internal/variants"
)

// goldenEvents are the events of the recorded day.
func goldenEvents(t testing.TB) (all [][]byte) {
	t.Helper()
	text, err := os.ReadFile("../bridge/testdata/golden/events.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		_, body, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		all = append(all, body)
	}
	return all
}

// quickValidator returns a validator that knows the source of the recorded day.
func quickValidator(t testing.TB) *Validator {
	t.Helper()
	v, err := New()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Event(goldenEvents(t)[0]); err != nil || v.uri.Load() == nil {
		t.Fatalf("the first event: %v", err)
	}
	return v
}

// checkQuick checks that what is accepted quickly is valid, and reports whether it is accepted.
func checkQuick(t *testing.T, v *Validator, body []byte) bool {
	t.Helper()
	accepted := v.acceptsQuickly(body)
	if accepted {
		library := &Validator{schemas: v.schemas, uri: v.uri} // has no quick schemas
		if err := library.Event(body); err != nil {
			t.Fatalf("accepted: %s: %v", body, err)
		}
	}
	return accepted
}

// TestQuickAccepts: the frequent events are accepted without the library.
func TestQuickAccepts(t *testing.T) {
	t.Parallel()
	v := quickValidator(t)
	accepted := map[string]int{}
	for _, body := range goldenEvents(t) {
		var e struct{ Type string }
		if err := json.Unmarshal(body, &e); err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(strings.TrimPrefix(e.Type, "bpcc."), ".v1")
		if kind, _, _ := strings.Cut(name, "."); checkQuick(t, v, body) {
			accepted[kind]++
		} else if kind != "directory" {
			t.Errorf("not accepted: %s", body)
		}
	}
	for _, kind := range []string{"agent", "service", "availability", "totals", "threshold", "feed"} {
		if accepted[kind] == 0 {
			t.Errorf("no event of %s is accepted", kind)
		}
	}
}

// TestQuickAcceptsNothingInvalid changes events at random: what is still accepted, is valid for the
// library.
func TestQuickAcceptsNothingInvalid(t *testing.T) {
	t.Parallel()
	v, all, random := quickValidator(t), goldenEvents(t), rand.New(rand.NewPCG(5, 6))
	pieces := []string{
		`""`, `"a"`, `null`, `true`, `false`, `0`, `1`, `-1`, `1.5`, `1e3`, `{}`, `[]`, `["a"]`, `["a","a"]`, `[1,1]`, `{"a":"b"}`, `{"a":1}`,
		`"2026-11-23T10:00:00Z"`, `"2026-02-30T10:00:00Z"`, `"2026-11-23T24:00:00Z"`, `"2026-11-23T10:00:00+01:00"`, `"2026-11-23T10:00:60.5Z"`, `"\u0061"`, `"\ud800"`,
	}
	accepted, refused, events := 0, 0, 18_000
	if variants.RunAll() {
		events = 30_000
	}
	for range events {
		body := bytes.Clone(all[random.IntN(len(all))])
		for range 1 + random.IntN(2) {
			body = mutate(random, body, pieces)
		}
		if checkQuick(t, v, body) {
			accepted++
		} else {
			refused++
		}
	}
	if accepted < 1000 || refused < 1000 {
		t.Errorf("%d accepted, %d not: the changes are too small or too large", accepted, refused)
	}
}

// memberAt finds a member whose value is no object and no array.
var memberAt = regexp.MustCompile(`"\w+":("[^"\\]*"|[a-z0-9.-]+|\{\}|\[[^\[\]{}]*\])`)

// mutate removes a member, replaces its value, adds it a second time, or changes a byte.
func mutate(random *rand.Rand, body []byte, pieces []string) []byte {
	members := memberAt.FindAllIndex(body, -1)
	if len(members) == 0 || random.IntN(5) == 0 {
		i := random.IntN(len(body))
		body[i] = "\"{}[],:0aZ\\ \x00\xff"[random.IntN(14)]
		return body
	}
	m := members[random.IntN(len(members))]
	name, value := bytes.SplitAfterN(body[m[0]:m[1]], []byte(":"), 2)[0], pieces[random.IntN(len(pieces))]
	text := ""
	switch random.IntN(4) {
	case 0: // removed
		text = `"x":1`
	case 1:
		text = fmt.Sprintf("%s%s", name, value)
	case 2: // twice
		text = fmt.Sprintf("%s%s,%s", name, value, body[m[0]:m[1]])
	default:
		text = fmt.Sprintf(" %s %s , %s%s", name, value, name, value)
	}
	return []byte(string(body[:m[0]]) + text + string(body[m[1]:]))
}

// FuzzQuick: what is accepted quickly is valid for the library.
func FuzzQuick(f *testing.F) {
	v := quickValidator(f)
	for _, body := range goldenEvents(f) {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) { checkQuick(t, v, body) })
}

// BenchmarkQuick validates the events of the recorded day.
func BenchmarkQuick(b *testing.B) {
	v, all := quickValidator(b), goldenEvents(b)
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		if err := v.Event(all[n%len(all)]); err != nil {
			b.Fatal(err)
		}
		n++
	}
}
