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
	"bpcc-nats/bridge/source"
)

var errCheck = errors.New("check failed")

// checks adds availability checks to an observation: "Voice=yes Chat=no Mail=failed
// Fax=removed" are four of them, and "Mail=timeout" is one that failed for this reason. They were
// sent 20 ms before they were answered.
func (b *bridge) checks(text string) func(*engine.Observation) {
	return func(o *engine.Observation) {
		for _, word := range strings.Fields(text) {
			service, answer, _ := strings.Cut(word, "=")
			r := engine.AvailabilityResult{Service: service, Available: answer == "yes", Sent: b.now.Add(-20 * time.Millisecond), Received: b.now}
			switch answer {
			case "yes", "no":
			case "failed":
				r.Err = errCheck
			case "removed":
				r.Err = fmt.Errorf("check %s: %w", service, engine.ErrServiceRemoved)
				r.Reason = source.CheckReason(r.Err)
			case "unconfigured":
				r.Err = fmt.Errorf("check %s: %w", service, engine.ErrNotConfigured)
				r.Reason = source.CheckReason(r.Err)
			default:
				r.Err, r.Reason = errCheck, answer
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
		"unknown once the last good check is too old": {unknownAfter: 6 * time.Second, steps: []step{
			{"Voice=no", "Voice no"}, {"Voice=failed", ""}, {"Voice=failed", ""}, {"Voice=failed", "Voice no>unknown"},
			{"Voice=failed", ""}, {"Voice=no", "Voice unknown>no"},
		}},
		"unknown without any failure": {unknownAfter: 6 * time.Second, steps: []step{
			{"Voice=no Chat=yes", "Voice no, Chat yes"}, {"Chat=yes", ""}, {"", ""}, {"", "Voice no>unknown"}, {"", "Chat yes>unknown"}, {"Voice=no", "Voice unknown>no"},
		}},
		"many become unknown in one poll": {unknownAfter: 4 * time.Second, steps: []step{
			{"D=yes B=no C=yes A=no", "D yes, B no, C yes, A no"}, {"C=yes D=failed", ""}, {"D=failed", "D yes>unknown, A no>unknown, B no>unknown"}, {"", "C yes>unknown"},
		}},
		"unknown after 6 s by default": {steps: []step{{"Voice=yes", "Voice yes"}, {"", ""}, {"Voice=failed", ""}, {"", "Voice yes>unknown"}}},
		"a good check in between begins the wait again": {unknownAfter: 4 * time.Second, steps: []step{
			{"Voice=yes", "Voice yes"}, {"Voice=failed", ""}, {"Voice=yes", ""}, {"Voice=failed", ""}, {"Voice=failed", "Voice yes>unknown"},
		}},
		"unknown does not wait for the debounce": {unknownAfter: 4 * time.Second, debounce: time.Hour, steps: []step{
			{"Voice=yes", "Voice yes"}, {"Voice=no", ""}, {"", ""}, {"Voice=failed", "Voice yes>unknown"}, {"Voice=no", ""},
		}},
		"a change that fails before the debounce has passed is not published": {debounce: 2 * time.Second, steps: []step{
			{"Voice=yes", "Voice yes"}, {"Voice=no", ""}, {"Voice=failed", ""}, {"Voice=yes", ""}, {"Voice=no", ""}, {"Voice=no", "Voice yes>no"},
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
			{"Voice=yes", "Voice yes"}, {"Voice=failed", ""}, {"Voice=failed", "Voice yes>unknown"}, {"Voice=failed", ""}, {"Voice=failed", ""}, {"Voice=failed", ""},
			{"Voice=yes", "Voice unknown>yes after gap"},
		}, before: map[int]func(*bridge){4: restart}},
		"the age counts on over a restart": {unknownAfter: 6 * time.Second, steps: []step{
			{"Voice=yes", "Voice yes"}, {"Voice=failed", ""}, {"Voice=failed", ""}, {"Voice=failed", "Voice yes>unknown after gap"},
		}, before: map[int]func(*bridge){3: restart}},
		"a restart that takes long makes nothing unknown that is checked": {steps: []step{
			{"Voice=yes Chat=no", "Voice yes, Chat no"}, {"Voice=yes", "Chat no>unknown after gap"}, {"Chat=no", "Chat unknown>no after gap"},
		}, before: map[int]func(*bridge){2: func(b *bridge) { b.now = b.now.Add(time.Hour); restart(b) }}},
		"a service that is not configured any more": {steps: []step{{"Mail=yes", "Mail yes"}, {"Mail=unconfigured", "Mail yes>unknown"}, {"Mail=failed", ""}}},
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
	b.poll(snapshot{}, b.checks("Voice=no"))
	by := b.now // the first one that showed the new value was answered
	e = b.only("after the debounce", b.poll(snapshot{}, b.checks("Voice=no")), "availability/Voice changed")
	want := &event.AvailabilityChangedData{AvailabilityObservedData: event.AvailabilityObservedData{
		EntityBase: event.EntityBase{Base: event.Base{Tenant: "acme", Poll: 5}, Revision: 2, Observed: event.Between(seen, by)},
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
	e := b.only("unknown", b.poll(snapshot{}, b.checks("Voice=failed")), "availability/Voice changed")
	if got, want := b.encode(e), `"available":null,"reason":"unavailable","previous":false`; !strings.Contains(got, want) {
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

// TestUnknownReason: an event says why the availability is unknown, and its window goes from the
// last good check to the present.
func TestUnknownReason(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		after []string // checks after the good one, an interval apart
		want  string
	}{
		"a failure":                      {[]string{"Voice=timeout", "Voice=timeout"}, "timeout"},
		"the last one of several":        {[]string{"Voice=timeout", "Voice=refused"}, "refused"},
		"a failure without a reason":     {[]string{"Voice=failed", ""}, "unavailable"},
		"no check has ended":             {[]string{"", ""}, "not_checked"},
		"the service is gone":            {[]string{"Voice=removed"}, "service_removed"},
		"gone for the configuration":     {[]string{"Voice=unconfigured"}, "not_configured"},
		"a failure before it is removed": {[]string{"Voice=timeout", "Voice=removed"}, "service_removed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, func(o *engine.Options) { o.AvailabilityUnknownAfter = 4 * time.Second })
			b.poll(snapshot{}, b.checks("Voice=yes"))
			sent := b.now.Add(-20 * time.Millisecond)
			var events []event.Event
			for _, checks := range test.after {
				events = b.poll(snapshot{}, b.checks(checks))
			}
			d := dataOf[*event.AvailabilityChangedData](b, b.only("unknown", events, "availability/Voice changed"))
			if d.Available != nil || d.Reason != test.want {
				t.Errorf("available %s, reason %q, want unknown, %q", spell(d.Available), d.Reason, test.want)
			}
			if diff := cmp.Diff(event.Between(sent, b.now), d.Observed); diff != "" {
				t.Errorf("window (-want +got)\n%s", diff)
			}
			d = dataOf[*event.AvailabilityChangedData](b, b.only("known", b.poll(snapshot{}, b.checks("Voice=yes")), "availability/Voice changed"))
			if d.Reason != "" || !d.Observed.After.Equal(event.Floor(sent).Time) {
				t.Errorf("known again: reason %q, window from %v, want none, %v", d.Reason, d.Observed.After, sent)
			}
		})
	}
}

// TestUnknownWithoutPolls: also while the source does not answer, the age of checks counts.
func TestUnknownWithoutPolls(t *testing.T) {
	t.Parallel()
	for name, observe := range map[string]func(b *bridge) []event.Event{
		"polls fail": func(b *bridge) []event.Event { return b.fail("source") },
		"a poll hangs": func(b *bridge) []event.Event {
			b.now = b.now.Add(interval)
			b.batch = b.engine.OnTick(engine.Observation{At: b.now})
			return b.commitIfNeeded()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, func(o *engine.Options) { o.AvailabilityUnknownAfter, o.InterruptAfter = 4*time.Second, time.Hour })
			b.poll(snapshot{}, b.checks("Voice=yes"))
			b.expect("4 s", observe(b), "")
			b.expect("6 s", observe(b), "availability/Voice changed")
			b.restart()
			b.expect("after a restart", observe(b), "")
		})
	}
}

// TestUnknownAfterOfThePolls: where checks are less frequent than configured, observations say so.
func TestUnknownAfterOfThePolls(t *testing.T) {
	t.Parallel()
	b := start(t, func(o *engine.Options) { o.AvailabilityUnknownAfter = 4 * time.Second })
	stretched := func(o *engine.Observation) { o.AvailabilityUnknownAfter = 7 * time.Second }
	b.poll(snapshot{}, b.checks("Voice=yes"), stretched)
	for range 3 {
		b.expect("checks are seldom", b.poll(snapshot{}, stretched), "")
	}
	b.expect("too old", b.poll(snapshot{}, stretched), "availability/Voice changed")
}

// TestAvailabilityUntil: until when the checkpoints vouch for all known availabilities.
func TestAvailabilityUntil(t *testing.T) {
	t.Parallel()
	b := start(t, func(o *engine.Options) {
		o.AvailabilityUnknownAfter, o.AvailabilityDebounce = 6*time.Second, 2*time.Second
	})
	sent := map[int]time.Time{}
	restart := func() { b.stop(); b.restart() }
	for i, step := range []struct {
		checks string
		want   int // the number of the step whose checks are the oldest; -1 = no availability is known
		before func()
	}{
		{"", -1, nil},
		{"Voice=failed", -1, nil},
		{"Voice=yes Chat=no", 2, nil},
		{"Voice=yes Chat=no", 3, nil},
		{"Voice=yes", 3, nil}, // Chat's check hangs
		{"Voice=yes Chat=failed", 3, nil},
		{"Voice=no", 5, nil},          // Chat is unknown; Voice's change waits for the debounce
		{"Voice=no", 7, nil},          // and is published
		{"", 7, nil},                  // nothing was checked
		{"", 7, restart},              // as before
		{"Voice=no Chat=no", 10, nil}, // Chat is known again, though its change waits for the debounce
		{"Voice=no Chat=no", 11, nil},
		{"Voice=removed", 11, nil},
		{"Chat=removed", -1, nil},
	} {
		if step.before != nil {
			step.before()
		}
		b.poll(services("A="+fmt.Sprint(i)), b.checks(step.checks)) // something to commit
		sent[i] = b.now.Add(-20 * time.Millisecond)
		want := event.Time{}
		if step.want >= 0 {
			want = event.Floor(sent[step.want])
		}
		if got := b.checkpoint().AvailabilityUntil; !got.Equal(want.Time) {
			t.Errorf("step %d, %q: until %v, want %v", i, step.checks, got, want)
		}
	}
	// A quiet poll is checked, too.
	b.poll(services("A=0"), b.checks("Voice=yes"))
	for range 3 {
		b.poll(services("A=0"), b.checks("Voice=yes"))
	}
	stale := b.engine.StaleCheckpoint(b.now)
	if got, want := stale.Data.(*event.CheckpointData).AvailabilityUntil, event.Floor(b.now.Add(-20*time.Millisecond)); !got.Equal(want.Time) {
		t.Errorf("after quiet polls: until %v, want %v", got, want)
	}
}
