package event_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"bpcc-nats/bridge/event"
)

// TestMatchSubject: a pattern matches what the NATS server says that it matches.
func TestMatchSubject(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	draw := func(tokens ...string) string {
		var out []string
		for range 1 + random.IntN(4) {
			out = append(out, tokens[random.IntN(len(tokens))])
		}
		return strings.Join(out, ".")
	}
	matches := 0
	for range 20_000 {
		pattern, subject := draw("a", "b", "*"), draw("a", "b")
		if random.IntN(3) == 0 {
			pattern += ".>"
		}
		got, want := event.MatchSubject(pattern, subject), server.SubjectMatchesFilter(subject, pattern)
		if got != want {
			t.Fatalf("%s matches %s: %v, want %v", pattern, subject, got, want)
		}
		if got {
			matches++
		}
	}
	if !event.MatchSubject(">", "a.b") || matches < 1000 {
		t.Errorf("%d matches", matches)
	}
}

// TestNameOf: the name of an event is in its subject.
func TestNameOf(t *testing.T) {
	t.Parallel()
	for _, e := range sample() {
		if name, ok := event.NameOf(e.Subject()); !ok || name != e.Name {
			t.Errorf("%s: %q, %v; want %s", e.Subject(), name, ok, e.Name)
		}
	}
	for _, subject := range []string{"", "bpcc.v1", "bpcc.v1.acme", "bpcc.v1.acme.hello", "acme.v1.acme.feed.checkpoint"} {
		if name, ok := event.NameOf(subject); ok {
			t.Errorf("%q has the name %q", subject, name)
		}
	}
}
