package engine_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
)

var errCheck = errors.New("check failed")

// checks adds availability checks to an observation: "Voice=yes Chat=no Mail=failed
// Fax=removed" are four of them. They were sent 20 ms before they were answered.
func (b *bridge) checks(text string) func(*engine.Observation) {
	return func(o *engine.Observation) {
		for _, word := range strings.Fields(text) {
			service, answer, _ := strings.Cut(word, "=")
			r := engine.AvailabilityResult{Service: service, Available: answer == "yes", Sent: b.now.Add(-20 * time.Millisecond), Received: b.now}
			switch answer {
			case "failed":
				r.Err = errCheck
			case "removed":
				r.Err = fmt.Errorf("check %s: %w", service, engine.ErrServiceRemoved)
			}
			o.Availability = append(o.Availability, r)
		}
	}
}

// spell writes an availability.
func spell(value *bool) string {
	switch {
	case value == nil:
		return "unknown"
	case *value:
		return "yes"
	}
	return "no"
}

// spellEvents writes events about availability, as "Voice yes>no".
func spellEvents(b *bridge, events []event.Event) string {
	b.t.Helper()
	var out []string
	for i := range events {
		text := ""
		switch d := events[i].Data.(type) {
		case *event.AvailabilityObservedData:
			text = d.Service + " " + spell(d.Available)
		case *event.AvailabilityChangedData:
			text = d.Service + " " + spell(d.Previous) + ">" + spell(d.Available)
		default:
			continue
		}
		if events[i].EntityBase().AfterGap {
			text += " after gap"
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

// TestAvailability: what a series of checks publishes, an interval apart.
func TestAvailability(t *testing.T) {
	t.Parallel()
	type step struct{ checks, want string }
	restart := func(b *bridge) { b.stop(); b.restart() }
	for name, test := range map[string]struct {
		debounce, unknownAfter time.Duration
		steps                  []step
		before                 map[int]func(b *bridge) // the step of that number, from 1
	}{
		"observed, and then every change": {steps: []step{
			{"Voice=yes", "Voice yes"}, {"Voice=yes", ""}, {"Voice=no", "Voice yes>no"}, {"Voice=yes", "Voice no>yes"}, {"Voice=no", "Voice yes>no"}, {"Voice=no", ""},
		}},
		"each service by itself": {steps: []step{
			{"Voice=yes Chat=no Typo=no", "Voice yes, Chat no, Typo no"}, {"Chat=yes Voice=yes", "Chat no>yes"}, {"Chat=failed Voice=no", "Voice yes>no"},
		}},
		"a poll without checks": {steps: []step{{"Voice=yes", "Voice yes"}, {"", ""}, {"Voice=no", "Voice yes>no"}}},
		"back within the debounce nothing has happened": {debounce: 4 * time.Second, steps: []step{
			{"Voice=yes", "Voice yes"}, {"Voice=no", ""}, {"Voice=yes", ""}, {"Voice=no", ""}, {"Voice=no", ""}, {"Voice=no", "Voice yes>no"}, {"Voice=no", ""},
		}},
		"the first value waits for no debounce": {debounce: time.Hour, steps: []step{{"Voice=yes", "Voice yes"}}},
		"a check that fails within the debounce decides nothing": {debounce: 4 * time.Second, steps: []step{
			{"Voice=yes", "Voice yes"}, {"Voice=no", ""}, {"Voice=failed", ""}, {"Voice=no", "Voice yes>no"},
		}},
		"unknown after failing for long": {unknownAfter: 6 * time.Second, steps: []step{
			{"Voice=no", "Voice no"}, {"Voice=failed", ""}, {"Voice=failed", ""}, {"Voice=failed", ""}, {"Voice=failed", "Voice no>unknown"},
			{"Voice=failed", ""}, {"Voice=no", "Voice unknown>no"},
		}},
		"unknown after 30 s by default": {steps: append(append([]step{{"Voice=yes", "Voice yes"}}, repeated(15, step{"Voice=failed", ""})...), step{"Voice=failed", "Voice yes>unknown"})},
		"a good check in between begins the wait again": {unknownAfter: 4 * time.Second, steps: []step{
			{"Voice=yes", "Voice yes"}, {"Voice=failed", ""}, {"Voice=failed", ""}, {"Voice=yes", ""}, {"Voice=failed", ""}, {"Voice=failed", ""}, {"Voice=failed", "Voice yes>unknown"},
		}},
		"unknown from the start": {unknownAfter: 4 * time.Second, steps: []step{
			{"Voice=failed", ""}, {"Voice=failed", ""}, {"Voice=failed", "Voice unknown"}, {"Voice=yes", "Voice unknown>yes after gap"},
		}},
		"a service that is gone is unknown, once": {steps: []step{
			{"Voice=yes Chat=yes", "Voice yes, Chat yes"}, {"Voice=yes Chat=removed", "Chat yes>unknown"}, {"Chat=removed", ""}, {"Voice=yes", ""}, {"Chat=yes", "Chat unknown>yes"},
		}},
		"a restart publishes the difference": {steps: []step{{"Voice=no Chat=no", "Voice no, Chat no"}, {"Voice=yes Chat=no", "Voice no>yes after gap"}, {"Voice=no", "Voice yes>no"}},
			before: map[int]func(*bridge){2: restart}},
		"a service that is gone when the bridge starts": {steps: []step{{"Mail=yes", "Mail yes"}, {"Mail=removed", "Mail yes>unknown after gap"}, {"Mail=removed", ""}},
			before: map[int]func(*bridge){2: restart}},
		"unknown is kept over a restart": {unknownAfter: 4 * time.Second, steps: []step{
			{"Voice=yes", "Voice yes"}, {"Voice=failed", ""}, {"Voice=failed", ""}, {"Voice=failed", "Voice yes>unknown"}, {"Voice=failed", ""}, {"Voice=failed", ""}, {"Voice=failed", ""},
			{"Voice=yes", "Voice unknown>yes after gap"},
		}, before: map[int]func(*bridge){5: restart}},
		"failing begins again at a restart": {unknownAfter: 4 * time.Second, steps: []step{
			{"Voice=yes", "Voice yes"}, {"Voice=failed", ""}, {"Voice=failed", ""}, {"Voice=failed", ""}, {"Voice=failed", ""}, {"Voice=failed", "Voice yes>unknown after gap"},
		}, before: map[int]func(*bridge){4: restart}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, func(o *engine.Options) {
				o.AvailabilityDebounce, o.AvailabilityUnknownAfter = test.debounce, test.unknownAfter
			})
			for i, step := range test.steps {
				if before := test.before[i+1]; before != nil {
					before(b)
				}
				if got := spellEvents(b, b.poll(agents("anna=ready"), b.checks(step.checks))); got != step.want {
					t.Errorf("step %d, %s: %q, want %q", i+1, step.checks, got, step.want)
				}
			}
		})
	}
}

func repeated[T any](n int, value T) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = value
	}
	return out
}

// TestAvailabilityEvents: what the events of one service say; their windows are those
// of the checks and not of the polls.
func TestAvailabilityEvents(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	b := start(t, func(o *engine.Options) { o.AvailabilityDebounce = 2 * time.Second })
	e := b.only("first", b.poll(snapshot{}, b.checks("Voice=yes")), "availability/Voice observed")
	observed := &event.AvailabilityObservedData{
		EntityBase: event.EntityBase{Base: event.Base{Tenant: "acme", Poll: 2}, Revision: 1, Observed: event.Window{By: event.Ceil(b.now)}},
		Service:    "Voice", Available: &yes,
	}
	if d := cmp.Diff(observed, dataOf[*event.AvailabilityObservedData](b, e)); d != "" || e.ViewKey() != "availability.Voice" {
		t.Errorf("observed under %s (-want +got)\n%s", e.ViewKey(), d)
	}
	b.poll(snapshot{}, b.checks("Voice=yes"))
	seen := b.now.Add(-20 * time.Millisecond) // the last check that showed the old value was sent
	b.poll(snapshot{}, b.checks("Voice=failed"))
	b.poll(snapshot{}, b.checks("Voice=no"))
	by := b.now // the first one that showed the new value was answered
	e = b.only("after the debounce", b.poll(snapshot{}, b.checks("Voice=no")), "availability/Voice changed")
	want := &event.AvailabilityChangedData{AvailabilityObservedData: event.AvailabilityObservedData{
		EntityBase: event.EntityBase{Base: event.Base{Tenant: "acme", Poll: 6}, Revision: 2, Observed: event.Between(seen, by)},
		Service:    "Voice", Available: &no,
	}, Previous: &yes}
	if d := cmp.Diff(want, dataOf[*event.AvailabilityChangedData](b, e)); d != "" {
		t.Errorf("changed (-want +got)\n%s", d)
	}
}

// TestUnknownIsNull: unknown is a null that is there, in either place.
func TestUnknownIsNull(t *testing.T) {
	t.Parallel()
	b := start(t, func(o *engine.Options) { o.AvailabilityUnknownAfter = time.Second })
	b.poll(snapshot{}, b.checks("Voice=no"))
	b.poll(snapshot{}, b.checks("Voice=failed"))
	e := b.only("unknown", b.poll(snapshot{}, b.checks("Voice=failed")), "availability/Voice changed")
	if got, want := b.encode(e), `"available":null,"previous":false`; !strings.Contains(got, want) {
		t.Errorf("%s lacks %s", got, want)
	}
	e = b.only("known again", b.poll(snapshot{}, b.checks("Voice=no")), "availability/Voice changed")
	if got, want := b.encode(e), `"available":false,"previous":null`; !strings.Contains(got, want) {
		t.Errorf("%s lacks %s", got, want)
	}
}

// TestAvailabilityWithoutSource: checks are published while the source is not seen.
func TestAvailabilityWithoutSource(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(agents("anna=ready"), b.checks("Voice=yes"))
	b.expect("a poll fails", b.fail("source", b.checks("Voice=no")), "availability/Voice changed")
	b.now = b.now.Add(interval)
	o := engine.Observation{At: b.now}
	b.checks("Voice=yes")(&o)
	b.expect("no answer yet", b.commit(b.engine.OnTick(o)), "availability/Voice changed")
}

// TestKnownAvailability: which services a start must ask about.
func TestKnownAvailability(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(snapshot{}, b.checks("Voice=yes Chat=no Fax=yes"))
	b.poll(snapshot{}, b.checks("Fax=removed"))
	b.restart()
	if d := cmp.Diff([]string{"Chat", "Voice"}, b.engine.KnownAvailability()); d != "" {
		t.Errorf("services (-want +got)\n%s", d)
	}
}
