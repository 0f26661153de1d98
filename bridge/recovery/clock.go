package recovery

import (
	"context"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/scan"
)

// writtenAt is one moment by two clocks, the second one later by what it took to store an event.
type writtenAt struct {
	id     event.ID
	writer time.Time // the event's time, by the clock of the bridge that wrote it
	stored time.Time // by the NATS server's
}

// ahead is by how much the writer's clock was at least ahead of the server's.
func (w writtenAt) ahead() time.Duration { return w.writer.Sub(w.stored) }

// addWritten notes when an event was written and stored, and forgets those of former polls: the clock of
// the bridge that wrote them may have been set since.
func addWritten(written []writtenAt, at writtenAt) []writtenAt {
	old := func(w writtenAt) bool { return w.id.Epoch != at.id.Epoch || w.id.Poll+clockPolls < at.id.Poll }
	if n := len(written); n > 0 {
		switch last := &written[n-1]; {
		case last.id.Compare(at.id) > 0:
			return written // of an older backup, or read again
		case last.id.Epoch == at.id.Epoch && last.id.Poll == at.id.Poll:
			if at.ahead() > last.ahead() {
				*last = at
			}
			return written
		}
	}
	return append(slices.DeleteFunc(written, old), at)
}

const (
	// aheadLeast is the least time by which the clock of the bridge that led before must have been ahead
	// to be corrected: less is within what its last batch may have taken.
	aheadLeast = 250 * time.Millisecond
	// aheadMargin is by how much more the recovered times are set back. It allows for the time that the
	// last batch took, so that windows are not too narrow.
	aheadMargin = time.Second
	// clockPolls is how many polls before the last one are compared with the times at which their events
	// were stored. The last batch may have been held for long; one of them was stored at once.
	clockPolls = 10
	// clockReach is how many messages of the stream are searched for the term that observed last.
	clockReach = 20_000
)

// CorrectClock sets the recovered times back if the clock of the bridge that wrote them was ahead of this
// machine's: they would be in the future, and a gap until now would not be noticed. offset is how far
// the server's clock is ahead of this machine's. It returns by how much the other clock was ahead; 0 if
// it was not. How far a clock was behind cannot be told from the time that its batch took: such times stay,
// and windows and gaps begin too early.
func (r *Recovery) CorrectClock(ctx context.Context, js jetstream.JetStream, offset time.Duration) time.Duration {
	if mostAhead(r.written, offset) == 0 {
		return 0
	}
	terms, err := r.readTerms(ctx, js)
	if err != nil { // then more is set back than necessary
		r.Foreign.log.Debug("terms before the last one unknown", "err", err)
	}
	return r.setBack(terms, offset)
}

// setBack sets the times back. The last of the terms is the one whose messages were recovered.
func (r *Recovery) setBack(terms []termClock, offset time.Duration) time.Duration {
	ahead := mostAhead(r.written, offset)
	polls := ahead
	if i := observer(terms); i >= 0 && i < len(terms)-1 {
		polls = mostAhead(terms[i].written, offset)
	}
	back := func(ahead time.Duration) time.Duration {
		if ahead == 0 {
			return 0
		}
		return ahead + aheadMargin
	}
	r.Engine.SetBack(back(polls), back(ahead))
	return ahead
}

// mostAhead is by how much a clock was at least ahead of this machine's; 0 if it was not.
func mostAhead(written []writtenAt, offset time.Duration) time.Duration {
	ahead := time.Duration(0)
	for _, w := range written {
		ahead = max(ahead, w.ahead()+offset)
	}
	if ahead < aheadLeast {
		return 0
	}
	return ahead
}

// termClock is what the checkpoints of a term say of its clock.
type termClock struct {
	epoch   uint64
	first   event.Time // until when the source was observed by the first checkpoint that is known
	last    event.Time // and by the last one
	written []writtenAt
}

// observer returns the term by whose clock the last checkpoint says until when the source was observed; -1 if
// there is no term. A term that has not observed the source itself repeats the time of the one before, unless it
// set that back to its own clock.
func observer(terms []termClock) int {
	i := len(terms) - 1
	for i > 0 && terms[i].first.Equal(terms[i].last.Time) && terms[i].first.Equal(terms[i-1].last.Time) {
		i--
	}
	return i
}

// readTerms reads the last checkpoints of the stream.
func (r *Recovery) readTerms(ctx context.Context, js jetstream.JetStream) (terms []termClock, err error) {
	err = scan.All(ctx, js, r.config.Stream.Name, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{event.Prefix(r.config.Tenant) + event.Checkpoint},
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:    max(r.Fence, clockReach) - clockReach + 1,
	}, func(msg jetstream.Msg, _ uint64) error {
		ev, err := ParseMessage(&r.decoder, r.config.Tenant, msg)
		meta, metaErr := msg.Metadata()
		if err != nil || metaErr != nil {
			return nil // another publisher's
		}
		d, ok := ev.Data.(*event.CheckpointData)
		if !ok {
			return nil
		}
		if n := len(terms); n == 0 || terms[n-1].epoch < ev.ID.Epoch {
			terms = append(terms, termClock{epoch: ev.ID.Epoch, first: d.ObservedUntil})
		}
		t := &terms[len(terms)-1]
		if t.epoch == ev.ID.Epoch {
			t.last, t.written = d.ObservedUntil, addWritten(t.written, writtenAt{ev.ID, ev.Time, meta.Timestamp})
		}
		return nil
	})
	return terms, err
}
