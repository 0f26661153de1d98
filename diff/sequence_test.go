package diff_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/diff"
	"bpcc-nats/diff/image"
	"bpcc-nats/diff/layout"
)

// FuzzSequence: whatever three bodies come one after the other, and come back,
// a state that reads each aligned with the last finds the changes that the oracle
// foretells, refuses what a layout refuses, and is then as it was.
func FuzzSequence(f *testing.F) {
	add := func(bodies ...string) {
		f.Add([]byte(bodies[0]), []byte(bodies[1]), []byte(bodies[2]))
	}
	add(body("anna ready 1; ben busy 1", ""), body("anna ready 2; ben busy 2", ""), body("ben busy 3; anna busy 3", ""))
	add(body("anna ready 1; ben busy 1", "carl ready 1"), body("anna ready 1", "ben busy 1"), body("", "carl ready 1"))
	add(grid(`{"1":"anna","2":"ready","3":"1"},{"1":"ben","2":"busy","3":"1"}`),
		grid(`{"1":"anna","3":"2","2":"ready"},{"1":"ben","2":"busy"}`),
		grid(`{ "1" : "anna", "2" : "r\u0065ady", "3" : 3 }, {"1":"ben","2":null,"3":true}`))
	add(grid(`{"1":"anna","2":"ready"},{"1":"anna","2":"busy"}`), grid(`{"1":"ben"},{"1":"anna","2":"ready","2":"gone"}`), grid(`{"1":"anna","2":"ready"`))
	add(grid(`{"1":"anna","2":"ready","3":1},{"1":"anna","2":"busy","3":1}`), grid(`{"1":"anna","2":"busy","3":2},{"1":"anna","2":"ready","3":9},{"1":"anna","3":2}`),
		grid(`{"1":"anna","2":"gone"},{"1":"anna","2":"ready","3":3}`))
	add(grid(`{"2":"ready","1":"anna","99":1}`), grid(`{"2":"busy","1":"anna","99":2}`), grid(`{"2":"busy","1":"annabel","99":{}}`))
	add(`{"app":{"agent_grids":[{"values":[{"1":"x"}],"id":"a"},{"id":"b","values":[{"1":"x"}]}],"stats_totals":{"waiting":1}}}`,
		`{"app":{"stats_totals":{"waiting":"1"},"agent_grids":[{"id":"b","values":[{"1":"x","2":"y"}]}]}}`,
		`{"app":{"agent_grids":[{"ID":"a","Values":[{"1":"x"}]}],"stats_totals":null}}`)
	add(grid(`{"1":"anna","2":"ready"},{"1":"ben","2":"busy"}`), grid(`{"1":"anna","2":["ready"]},{"1":"ben","2":"busy"}`), grid(`[1],{"1":"ben","2":"busy"}`))
	f.Fuzz(func(t *testing.T, a, b, c []byte) {
		l := layoutOf()
		o := newOracle()
		var s diff.State
		o.hold = 2 * time.Second
		options := diff.Options{DisappearAfter: 2, EmptyHold: o.hold}
		var prevBody []byte // what the state reads
		for n, body := range [][]byte{a, b, b, c, a, c, b} {
			// The memory of a body is used again when another was compared.
			body = bytes.Clone(body)
			_, want := diff.Parse(layoutOf(), body)
			snap, err := s.Parse(l, body)
			if (err == nil) != (want == nil) || err != nil && err.Error() != want.Error() {
				t.Fatalf("body %d: error %v aligned, unaligned %v", n, err, want)
			}
			if err != nil {
				continue
			}
			seen, err := parseReference(l, body, o)
			if err != nil {
				t.Fatalf("body %d is accepted, but encoding/json says %v", n, err)
			}
			if d := cmp.Diff(seen.counts, countsOf(snap)); d != "" {
				t.Errorf("body %d: counts (-oracle +package)\n%s", n, d)
			}
			snap.Sent, snap.Received = second(n), second(n).Add(100*time.Millisecond)
			refused := o.empty(l, seen, snap.Received)
			changes, err := s.Compare(l, snap, options)
			if errors.Is(err, diff.ErrEmpty) != refused {
				t.Fatalf("body %d: error %v, want a refusal: %v", n, err, refused)
			}
			if err != nil {
				continue
			}
			options.Baseline = map[image.Kind]bool{agent: true, totals: true}
			expected := o.expect(l, seen, snap.Sent, snap.Received)
			if d := cmp.Diff(expected, expectedOf(t, changes)); d != "" {
				t.Fatalf("body %d: changes (-oracle +package)\n%s", n, d)
			}
			if d := o.checkMissing(&s); d != "" {
				t.Errorf("body %d: %s", n, d)
			}
			for i, change := range changes {
				if i%5 == 4 {
					continue // left out, and to be found again
				}
				s.Set(change.Kind, change.ID, change.After, 1)
				o.known.set(change.Kind, change.ID, expected[string(change.Kind)+"/"+change.ID].After)
			}
			overwrite(prevBody)
			prevBody = body
			for kind, entities := range o.known {
				for id, stats := range entities {
					if d := cmp.Diff(stats, asMap(s.Image(kind, id))); d != "" {
						t.Fatalf("body %d: %s %s is known as (-oracle +package)\n%s", n, kind, id, d)
					}
				}
			}
		}
	})
}

// TestRefusedBodyChangesNothing: of a body that is cut anywhere nothing is
// taken, not even where its rows repeat those of the last one.
func TestRefusedBodyChangesNothing(t *testing.T) {
	t.Parallel()
	l, o := layoutOf(), diff.Options{DisappearAfter: 1}
	first := body("anna ready 1; ben busy 1; carl ready 1", "dora busy 1")
	second := body("anna ready 2; ben busy 1; carl busy 1", "dora busy 1")
	var s diff.State
	acknowledge(&s, compare(t, &s, l, 0, first, o))
	for cut := range len(second) {
		for _, tail := range []string{"", "}", "x", "\x00"} {
			text := second[:cut] + tail
			if text == second {
				continue
			}
			if _, err := s.Parse(l, []byte(text)); !errors.Is(err, layout.ErrMalformed) && !errors.Is(err, layout.ErrForeign) {
				t.Fatalf("%s gives error %v", text, err)
			}
		}
	}
	if got := describeChanges(compare(t, &s, l, 1, second, o)); got != "changed carl state=busy" {
		t.Errorf("after all the refusals the full body gives %q", got)
	}
}

// TestWildTexts: keys and texts without measure do no harm.
func TestWildTexts(t *testing.T) {
	t.Parallel()
	long := func(n int, unit string) string { return string(bytes.Repeat([]byte(unit), n)) }
	rows := func(state string) string {
		return grid(`{"1":"` + long(512, "k") + `","2":"` + state + `"},{"1":"` + long(513, "k") + `"},{"1":"anna","2":"` + state + `"}`)
	}
	tests := map[string]struct {
		state, want string
		cut         int
	}{
		"as long as may be":    {long(4096, "x"), long(4096, "x"), 0},
		"one too long":         {long(4097, "x"), long(4096, "x"), 2},
		"inside a character":   {"x" + long(2048, "ü"), "x" + long(2047, "ü"), 2},
		"of escapes":           {long(4097, `\n`), long(4096, "\n"), 2},
		"long by replacements": {long(1366, "\xff"), long(1365, "\ufffd"), 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := layoutOf()
			var s diff.State
			for n := range 3 {
				text := rows(tt.state)
				if n == 2 {
					text += " " // not the same body, but the same rows
				}
				snap := read(t, &s, l, n, text)
				if got, want := countsOf(snap), (counts{Oversized: 1, Cut: tt.cut}); got != want {
					t.Errorf("snapshot %d counts %+v, want %+v", n, got, want)
				}
				changes, err := s.Compare(l, snap, diff.Options{DisappearAfter: 1})
				if err != nil {
					t.Fatal(err)
				}
				if n == 0 && len(changes) != 2 || n > 0 && len(changes) > 0 {
					t.Errorf("snapshot %d has %d changes", n, len(changes))
				}
				acknowledge(&s, changes)
			}
			if got := s.Image(agent, "anna").Text("state"); got != tt.want {
				t.Errorf("%d bytes are kept, want %d", len(got), len(tt.want))
			}
			// What comes behind the cut is not seen.
			if tt.cut > 0 {
				if got := describeChanges(compare(t, &s, l, 3, rows(tt.state+"!"), diff.Options{})); got != "" {
					t.Errorf("a change after the cut is reported: %d bytes", len(got))
				}
			}
		})
	}
}

func expectedOf(t *testing.T, changes []diff.Change) map[string]expected {
	t.Helper()
	all := map[string]expected{}
	for _, c := range changes {
		for _, m := range []image.Image{c.Before, c.After} {
			var read map[string]string
			if b := m.AppendJSON(nil); json.Unmarshal(b, &read) != nil || !cmp.Equal(asMap(m), read) {
				t.Fatalf("the image %q is written %s", asMap(m), b)
			}
		}
		all[string(c.Kind)+"/"+c.ID] = expected{c.Op, slices.Sorted(slices.Values(c.Stats)), asMap(c.Before), asMap(c.After)}
	}
	return all
}

// overwrite does to a body what reading another one into its memory does.
func overwrite(body []byte) {
	for i := range body {
		body[i] = '!'
	}
}
