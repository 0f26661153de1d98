package engine_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
)

// goodCheck is a check that was answered.
type goodCheck struct {
	value bool
	sent  time.Time
}

// checkOracle knows all checks, and judges what the engine says of them.
type checkOracle struct {
	*bridge
	good     map[string][]goodCheck
	thisTerm map[string]bool // services that a check of this term showed with that value: "Voice true"
	asked    int             // how often a claim was judged
}

// agreeing is when the last check was sent that showed a value; zero if none did.
func (o *checkOracle) agreeing(service string, value bool) (sent time.Time) {
	for _, c := range o.good[service] {
		if c.value == value {
			sent = c.sent
		}
	}
	return sent
}

// judge compares what the engine and the last checkpoint claim with the checks that were made.
func (o *checkOracle) judge(what string) {
	o.t.Helper()
	until := time.Time{}
	for _, ev := range o.stream {
		if d, ok := ev.Data.(*event.CheckpointData); ok {
			until = d.AvailabilityUntil.Time
		}
	}
	for service, value := range o.engine.Published().Availability {
		checked, own := o.engine.CheckedAt(service)
		if value == nil {
			if n := len(o.good[service]); n > 0 && checked.After(o.good[service][n-1].sent) {
				o.t.Errorf("%s: %s is unknown, checked at %v, later than any check", what, service, checked)
			}
			continue
		}
		o.asked++
		agreeing := o.agreeing(service, *value)
		wantOwn := o.thisTerm[fmt.Sprint(service, " ", *value)]
		if checked.After(agreeing) || wantOwn && !checked.Equal(agreeing) || own != wantOwn {
			o.t.Errorf("%s: %s is %v, checked at %v, in this term %v; want %v, %v", what, service, *value, checked, own, agreeing, wantOwn)
		}
		if until.After(agreeing) {
			o.t.Errorf("%s: all availabilities are checked up to %v, but %s only up to %v", what, until, service, agreeing)
		}
	}
}

// TestNoMoreThanWasChecked: whatever checks do, neither a checkpoint nor CheckedAt claims more than was
// checked, after each part of a batch, while changes wait for the debounce, and over restarts.
func TestNoMoreThanWasChecked(t *testing.T) {
	t.Parallel()
	names := []string{"Voice", "Chat", "Mail", "Fax"}
	asked := 0
	for seed := range uint64(25) {
		r := rand.New(rand.NewPCG(seed, 1))
		o := &checkOracle{good: map[string][]goodCheck{}, thisTerm: map[string]bool{}}
		o.bridge = start(t, func(options *engine.Options) {
			options.AvailabilityUnknownAfter = 6 * time.Second
			options.AvailabilityDebounce = time.Duration(r.IntN(3)) * 2 * time.Second
			options.InterruptAfter = time.Hour
		})
		o.size = 2 // an event and its checkpoint in each part
		for step := range 120 {
			what := fmt.Sprintf("seed %d, step %d", seed, step)
			if r.IntN(15) == 0 {
				if r.IntN(2) == 0 {
					o.stop()
				}
				o.now = o.now.Add(time.Duration(r.IntN(4)) * time.Second)
				clear(o.thisTerm)
				o.restart()
				o.judge(what + ", restarted")
			}
			var words []string
			var made []goodCheck
			var services []string
			for _, service := range names {
				result := []string{"", "yes", "yes", "no", "failed", "timeout", "removed"}[r.IntN(7)]
				if result == "" {
					continue
				}
				words = append(words, service+"="+result)
				if result == "yes" || result == "no" {
					made, services = append(made, goodCheck{value: result == "yes"}), append(services, service)
				}
			}
			observation := o.answer(agents(fmt.Sprintf("anna=%d", r.IntN(3))))
			if r.IntN(4) == 0 {
				observation = engine.Observation{At: o.now, Err: errSource}
			}
			o.checks(strings.Join(words, " "))(&observation)
			for i, service := range services {
				made[i].sent = o.now.Add(-20 * time.Millisecond)
				o.good[service] = append(o.good[service], made[i])
				o.thisTerm[fmt.Sprint(service, " ", made[i].value)] = true
			}
			if o.batch = o.engine.OnPoll(observation); !o.engine.NeedsCommit(o.batch) {
				o.engine.Skip(o.batch)
				o.judge(what)
				continue
			}
			for c := range o.engine.Chunks(o.batch, o.size) {
				o.store(c)
				o.judge(fmt.Sprintf("%s, part %d", what, c.Part))
			}
		}
		asked += o.asked
	}
	if asked < 1000 {
		t.Errorf("only %d claims were judged", asked)
	}
}

// TestFeed: what the engine says of the feed is what the stream holds, and newer only where a poll had
// nothing to publish.
func TestFeed(t *testing.T) {
	t.Parallel()
	b := start(t)
	expect := func(what string, want engine.Feed) {
		t.Helper()
		if got := b.engine.Feed(); got != want {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	expect("started", engine.Feed{Status: event.StatusInterrupted, Epoch: 1, Poll: 1})
	b.poll(agents("anna=ready bob=ready"))
	expect("the first poll", engine.Feed{Status: event.StatusLive, Epoch: 1, Poll: 2, ObservedUntil: b.sent()})
	b.poll(agents("anna=ready bob=ready"))
	expect("a poll without changes", engine.Feed{Status: event.StatusLive, Epoch: 1, Poll: 2, ObservedUntil: b.sent()})
	seen := b.sent()
	b.poll(agents("anna=ready"))
	expect("a row is missing", engine.Feed{Status: event.StatusLive, Epoch: 1, Poll: 2, ObservedUntil: b.sent(), MissingSince: seen})
	until := b.sent()
	b.interrupt("source")
	feed := b.engine.Feed()
	if feed.Status != event.StatusInterrupted || feed.Cause != "source" || !feed.ObservedUntil.Equal(until) || feed.Poll <= 2 {
		t.Errorf("interrupted: %+v", feed)
	}
	b.restart()
	if again := b.engine.Feed(); again.Epoch != 2 || again.Cause != "source" || again.ObservedUntil.After(until) {
		t.Errorf("restarted: %+v, before %+v", again, feed)
	}
}
