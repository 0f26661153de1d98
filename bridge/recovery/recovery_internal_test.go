package recovery

import (
	"testing"
	"time"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
)

// TestCorrectClock recovers a checkpoint that a bridge with another clock has written.
func TestCorrectClock(t *testing.T) {
	t.Parallel()
	polled := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC) // by this machine's clock
	for name, test := range map[string]struct {
		writer time.Duration // how far the writer's clock was ahead of this machine's
		server time.Duration // the same for the server's
		took   time.Duration // from the poll to the storage of its batch
		back   time.Duration // by how much the recovered times are set back
	}{
		"the same clock":                 {took: 5 * time.Millisecond},
		"the same clock, a held batch":   {took: 20 * time.Second},
		"ahead":                          {writer: 40 * time.Second, took: 5 * time.Millisecond, back: 41*time.Second - 5*time.Millisecond},
		"ahead, a held batch":            {writer: 40 * time.Second, took: 10 * time.Second, back: 31 * time.Second},
		"ahead by less than the batch":   {writer: 2 * time.Second, took: 3 * time.Second},
		"behind":                         {writer: -40 * time.Second, took: 5 * time.Millisecond},
		"the server's clock is ahead":    {server: 40 * time.Second, took: 5 * time.Millisecond},
		"the server's clock is behind":   {server: -40 * time.Second, took: 5 * time.Millisecond},
		"both are ahead":                 {writer: 40 * time.Second, server: 40 * time.Second, back: 41 * time.Second},
		"ahead, and the server's behind": {writer: 40 * time.Second, server: -40 * time.Second, back: 41 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &Recovery{Engine: engine.New(engine.Options{Tenant: "acme"})}
			written := polled.Add(test.writer)
			r.Engine.Recover(&event.Event{Name: event.Checkpoint, Data: &event.CheckpointData{
				Status: event.StatusLive, Part: 1, Parts: 1,
				ObservedUntil: event.Floor(written), MissingSince: event.Floor(written.Add(-time.Second)), AvailabilityUntil: event.Floor(written.Add(-2 * time.Second)),
			}})
			r.written = addWritten(nil, writtenAt{event.ID{Epoch: 1, Poll: 9}, written, polled.Add(test.took + test.server)})
			ahead := r.setBack(nil, test.server)
			if (ahead > 0) != (test.back > 0) || ahead > test.writer && ahead > 0 {
				t.Errorf("%v ahead, is %v", ahead, test.writer)
			}
			got := r.Engine.Published()
			want := written.Add(-test.back)
			if !got.ObservedUntil.Equal(want) || !got.MissingSince.Equal(want.Add(-time.Second)) || !got.AvailabilityUntil.Equal(want.Add(-2*time.Second)) {
				t.Errorf("observed until %v, missing since %v, availability until %v; want %v, 1 s and 2 s before",
					got.ObservedUntil, got.MissingSince, got.AvailabilityUntil, want)
			}
			if test.writer > 0 && test.took <= aheadMargin && !got.ObservedUntil.Before(polled) {
				t.Errorf("observed until %v, later than the poll at %v", got.ObservedUntil, polled)
			}
		})
	}
}

// TestCorrectClockWithoutCheckpoint: a stream without a checkpoint says nothing of clocks.
func TestCorrectClockWithoutCheckpoint(t *testing.T) {
	t.Parallel()
	r := &Recovery{Engine: engine.New(engine.Options{Tenant: "acme"})}
	if ahead := r.CorrectClock(t.Context(), nil, time.Hour); ahead != 0 || !r.Engine.Published().ObservedUntil.IsZero() {
		t.Errorf("%v ahead", ahead)
	}
}

// TestClockOfHeldBatch compares events of several polls, of which one was stored at once.
func TestClockOfHeldBatch(t *testing.T) {
	t.Parallel()
	stored := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	at := func(epoch, poll uint64, ahead time.Duration) writtenAt {
		return writtenAt{event.ID{Epoch: epoch, Poll: poll}, stored.Add(ahead), stored}
	}
	for name, test := range map[string]struct {
		written []writtenAt
		want    time.Duration
	}{
		"the last one was held":         {[]writtenAt{at(3, 20, 39*time.Second), at(3, 21, 40*time.Second), at(3, 22, 31*time.Second)}, 40 * time.Second},
		"one before was held":           {[]writtenAt{at(3, 20, 31*time.Second), at(3, 22, 40*time.Second)}, 40 * time.Second},
		"the clock was set since":       {[]writtenAt{at(3, 20, 40*time.Second), at(3, 31, 0)}, 0},
		"another bridge has led before": {[]writtenAt{at(2, 21, 40*time.Second), at(3, 22, 0)}, 0},
		"one that comes late":           {[]writtenAt{at(3, 22, 0), at(2, 21, 40*time.Second)}, 0},
	} {
		r := &Recovery{Engine: engine.New(engine.Options{Tenant: "acme"})}
		for _, w := range test.written {
			r.written = addWritten(r.written, w)
		}
		if got := r.setBack(nil, 0); got != test.want {
			t.Errorf("%s: %v ahead; want %v", name, got, test.want)
		}
	}
}

// TestClockOfObserver: a term that has not observed the source repeats until when it was observed before. That
// time is by the clock of the term that observed.
func TestClockOfObserver(t *testing.T) {
	t.Parallel()
	const ahead = 12 * time.Second
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	term := func(epoch uint64, clock time.Duration, first, last int) termClock {
		stored := noon.Add(time.Duration(epoch) * time.Minute)
		return termClock{
			epoch, event.Floor(noon.Add(time.Duration(first) * time.Second)), event.Floor(noon.Add(time.Duration(last) * time.Second)),
			[]writtenAt{{event.ID{Epoch: epoch, Poll: 10 * epoch}, stored.Add(clock), stored}},
		}
	}
	for name, test := range map[string]struct {
		terms []termClock
		want  time.Duration // by how much the polls' times are set back
	}{
		"it observed":                                {[]termClock{term(1, 0, 0, 10), term(2, ahead, 10, 40)}, ahead + aheadMargin},
		"nobody observed":                            {[]termClock{term(1, ahead, 0, 0)}, ahead + aheadMargin},
		"the one before observed":                    {[]termClock{term(1, 0, 0, 10), term(2, ahead, 10, 10)}, 0},
		"two before observed":                        {[]termClock{term(1, 0, 0, 10), term(2, ahead, 10, 10), term(3, ahead, 10, 10)}, 0},
		"the one before, with the same clock":        {[]termClock{term(1, ahead, 0, 10), term(2, ahead, 10, 10)}, ahead + aheadMargin},
		"the one before, with a clock further ahead": {[]termClock{term(1, 2*ahead, 0, 30), term(2, ahead, 17, 17)}, ahead + aheadMargin},
		"only the last term is known":                {[]termClock{term(2, ahead, 10, 10)}, ahead + aheadMargin},
		"no term is known":                           {nil, ahead + aheadMargin},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			until := noon.Add(time.Hour)
			r := &Recovery{Engine: engine.New(engine.Options{Tenant: "acme"}), written: term(9, ahead, 0, 0).written}
			r.Engine.Recover(&event.Event{Name: event.Checkpoint, Data: &event.CheckpointData{
				Status: event.StatusLive, Part: 1, Parts: 1, ObservedUntil: event.Floor(until), AvailabilityUntil: event.Floor(until),
			}})
			if got := r.setBack(test.terms, 0); got != ahead {
				t.Errorf("%v ahead", got)
			}
			got := r.Engine.Published()
			if back := until.Sub(got.ObservedUntil); back != test.want {
				t.Errorf("set back by %v, want %v", back, test.want)
			}
			if back := until.Sub(got.AvailabilityUntil); back != ahead+aheadMargin {
				t.Errorf("the checks are set back by %v", back)
			}
		})
	}
}
