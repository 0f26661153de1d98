package reader

import (
	"fmt"
	"time"

	"bpcc-nats/bridge/event"
)

// Item is what a reading of the stream finds: an [*Event], a [*Checkpoint], a [*Gap], a [*Hole], a
// [*Foreign] or an [*Unreadable]. Every message is one of the first three or foreign; holes and unreadable
// messages lie between messages.
type Item interface{ item() }

// EventOf returns the event of an item that is one: of an [*Event], a [*Checkpoint] or a [*Gap]. It is nil
// for the others.
func EventOf(i Item) *Event {
	switch i := i.(type) {
	case *Event:
		return i
	case *Checkpoint:
		return &i.Event
	case *Gap:
		return &i.Event
	}
	return nil
}

// Event is an event of the tenant. Its data is decoded when it is asked for.
type Event struct {
	// Seq is the sequence of the message, Stored when the server stored it.
	Seq    uint64
	Stored time.Time
	// Subject is that of the message.
	Subject string
	// ID is the event's position among those of the tenant. It rises from event to event.
	ID event.ID
	// Name is kind and verb, such as "agent.state_changed".
	Name string
	// Body is the event as stored.
	Body []byte
	// Pending is how many messages to read the stream held after it when it was sent: 0 at the present end.
	Pending uint64

	tenant  string
	decoder *event.Decoder // of all events that are read with this one
	decoded *event.Event   // if it had to be decoded already
}

func (*Event) item() {}

// MsgID is the CloudEvents id, which is also the message's Nats-Msg-Id.
func (e *Event) MsgID() string { return string(e.ID.Append(nil, e.tenant)) }

// Decode decodes the event. The error is [event.ErrForeign]: the message has an event's id, subject and
// envelope, and no such data.
func (e *Event) Decode() (event.Event, error) {
	if e.decoded != nil {
		return *e.decoded, nil
	}
	return e.decoder.Parse(e.tenant, e.Subject, e.MsgID(), e.Body)
}

// Checkpoint is the event that closes a batch: all events since the checkpoint before.
type Checkpoint struct {
	Event
	Data *event.CheckpointData
	// Count is how many events of the batch were read before it, and First the first of them, if any was.
	// Where some subjects alone are read, or the reading began within the batch, it is less than
	// Data.Events.
	Count int
	First event.ID
}

// Gap is a time in which the source was not seen: the event feed.resumed that ends it. What changed in
// the meantime follows as net changes.
type Gap struct {
	Event
	// Data has the window of the gap, and its cause.
	Data *event.ResumedData
}

// String says from when to when the source was not seen.
func (g *Gap) String() string {
	from := "the beginning"
	if w := g.Data.Observed; !w.After.IsZero() {
		from = w.After.String()
	}
	return fmt.Sprintf("gap: the source was not seen from %s to %s: %s", from, g.Data.Observed.By, g.Data.Cause)
}

// Hole says that events are missing between two others.
type Hole struct {
	// Key is the entity of which events are missing, as its key in the view below the tenant, such as
	// "agent.john=2Esmith". It is "" where all subjects of the tenant are read: then the ids prove that
	// something is missing, and not of whom it was.
	Key string
	// After and Before are the events around the hole, AfterSeq and BeforeSeq their sequences. AfterSeq is 0
	// if the event is not in the stream any more.
	After, Before       event.ID
	AfterSeq, BeforeSeq uint64
	// Missing is how many events are missing, checkpoints included; at least so many if AtLeast is set.
	Missing uint64
	AtLeast bool
	// Cause is why.
	Cause HoleCause
}

func (*Hole) item() {}

// String says what is missing where.
func (h *Hole) String() string {
	of, least, after := "", "", fmt.Sprintf("message %d", h.AfterSeq)
	if h.Key != "" {
		of = " about " + h.Key
	}
	if h.AtLeast {
		least = "at least "
	}
	if h.AfterSeq == 0 {
		after = "what is not in the stream any more"
	}
	return fmt.Sprintf("hole: %s%d event(s)%s %s between %s and message %d", least, h.Missing, of, h.Cause, after, h.BeforeSeq)
}

// HoleCause is why events are missing.
type HoleCause string

// Causes of holes.
const (
	// HoleMissing is a hole that nothing explains: messages were deleted, or the end of a stream was lost.
	HoleMissing HoleCause = "missing"
	// HoleErased is one that an event feed.erased states.
	HoleErased HoleCause = "erased"
	// HoleUnreadable is one where the server cannot load what it holds. [*Unreadable] items precede it.
	HoleUnreadable HoleCause = "unreadable"
	// HoleExpired is the beginning of a reading after an event that is not in the stream any more.
	HoleExpired HoleCause = "expired"
)

// Foreign is a message on the tenant's subjects that the bridge did not write there, such as a copy of an
// older event. Its content says nothing.
type Foreign struct {
	Seq     uint64
	Stored  time.Time
	Subject string
	Body    []byte
	// Err says what is wrong with it; it wraps [event.ErrForeign].
	Err error
}

func (*Foreign) item() {}

// String says where it is and why it is foreign.
func (f *Foreign) String() string {
	return fmt.Sprintf("foreign: message %d on %s: %s", f.Seq, f.Subject, event.Truncate(f.Err.Error(), 200))
}

// Unreadable are messages that the stream holds and the server cannot load, as after a fault of its disk:
// those from one sequence to another. They may be those of another tenant.
type Unreadable struct{ First, Last uint64 }

func (*Unreadable) item() {}

// String names the messages.
func (u *Unreadable) String() string {
	return fmt.Sprintf("unreadable: the server cannot load messages %d to %d", u.First, u.Last)
}
