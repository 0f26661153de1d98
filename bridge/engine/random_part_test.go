package engine_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/event"
	"bpcc-nats/internal/variants"
)

// storedEvent is an event as a reader of the stream has it.
type storedEvent struct {
	*event.Event
	subject string
	body    []byte
}

// TestRandomParts filters random histories by random subjects. An auditor finds no fault in what is left,
// whether it knows the subjects or not; and of a part without one event it finds that this is missing,
// where the part proves it.
func TestRandomParts(t *testing.T) {
	t.Parallel()
	parts := 2
	if variants.RunAll() {
		parts = 12
	}
	for _, seed := range []uint64{3, 4, 5} {
		w := newRandomTenant(t, seed)
		for range *randomSteps {
			w.step()
		}
		var all []storedEvent
		for i := range w.stream {
			e := &w.stream[i]
			all = append(all, storedEvent{e, e.Subject(), []byte(w.encode(e))})
		}
		random := rand.New(rand.NewPCG(seed, 1))
		for range parts {
			checkPart(t, random, all, randomSubjects(random, all))
		}
	}
}

// randomSubjects draws patterns from the subjects of a stream.
func randomSubjects(random *rand.Rand, all []storedEvent) (patterns []string) {
	for range 1 + random.IntN(4) {
		tokens := strings.Split(all[random.IntN(len(all))].subject, ".")
		if random.IntN(3) == 0 {
			tokens[2] = "*"
		}
		switch ids := tokens[4 : len(tokens)-1]; random.IntN(6) {
		case 0:
			tokens = append(tokens[:4], ">") // a kind
		case 1:
			tokens[len(tokens)-1] = "*" // an entity
		case 2: // one verb of one entity
		default: // a verb
			for i := range ids {
				ids[i] = "*"
			}
		}
		patterns = append(patterns, strings.Join(tokens, "."))
	}
	return patterns
}

// checkPart judges a part of a stream, and the part without one event.
func checkPart(t *testing.T, random *rand.Rand, all []storedEvent, patterns []string) {
	t.Helper()
	includes := func(subject string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return event.MatchSubject(p, subject) })
	}
	part := slices.DeleteFunc(slices.Clone(all), func(e storedEvent) bool { return !includes(e.subject) })
	known, unknown := &audit.Part{Includes: includes}, &audit.Part{}
	for _, p := range []*audit.Part{known, unknown} {
		if r := judgePart(t, p, part); !r.OK {
			t.Errorf("%v, known: %v: %d events, faults %v, the first %+v", patterns, p.Includes != nil, len(part), r.ByCode, r.Faults[0])
		}
	}
	for range 4 {
		i := random.IntN(len(part))
		less := slices.Concat(part[:i], part[i+1:])
		if len(less) == 0 {
			return
		}
		for _, p := range []*audit.Part{known, unknown} {
			if proves(p, part, i) && judgePart(t, p, less).OK {
				t.Errorf("%v, known: %v: %s %s is missing, which is not found", patterns, p.Includes != nil, part[i].MsgID(), part[i].subject)
			}
		}
	}
}

// judgePart returns what an auditor reports of a part.
func judgePart(t *testing.T, p *audit.Part, part []storedEvent) audit.Report {
	t.Helper()
	a, err := audit.New(audit.Options{Part: p})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range part {
		a.Add(audit.Message{Body: e.body})
	}
	return a.Report()
}

// proves reports whether a part without its i-th event must prove that this is missing: there are events
// about the entity before and after it, and the part has all events about the entity, or the event is a
// change of state and the part has all of these. A checkpoint is named by the next one.
func proves(p *audit.Part, part []storedEvent, i int) bool {
	of := func(e storedEvent) string { return e.subject[:strings.LastIndexByte(e.subject, '.')] }
	same := func(e storedEvent) bool { return of(e) == of(part[i]) && e.Verb() != "erased" }
	sameName := func(e storedEvent) bool { return e.subject == part[i].subject }
	between := func(same func(storedEvent) bool) bool {
		return slices.ContainsFunc(part[:i], same) && slices.ContainsFunc(part[i+1:], same)
	}
	kind := part[i].Kind()
	switch {
	case part[i].Name == event.Checkpoint:
		return between(sameName)
	case part[i].EntityBase() == nil || !between(same):
		return false
	case part[i].Name == event.StateChanged:
		return p.Includes != nil || between(sameName)
	}
	verbs := map[string][]string{
		"agent": {"observed", "appeared", "disappeared", "state_changed", "stats_changed"}, "service": {"observed", "appeared", "disappeared", "stats_changed"},
		"totals": {"observed", "stats_changed"}, "availability": {"observed", "changed"}, "threshold": {"raised", "cleared"},
	}[kind]
	return !slices.ContainsFunc(verbs, func(verb string) bool {
		if p.Includes != nil {
			return !p.Includes(of(part[i]) + "." + verb)
		}
		return !slices.ContainsFunc(slices.Delete(slices.Clone(part), i, i+1), func(e storedEvent) bool { return e.subject == of(part[i])+"."+verb })
	})
}
