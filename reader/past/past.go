// Package past decides what is known of a tenant at an instant in the past, from the events around it. It has
// no clock and no network: [bpcc-nats/reader] finds the events.
//
// An event says that a change happened after one instant and by another, its window. So a state is certain
// from the end of the window of its event to the beginning of the window of the next one, and within a window
// there are two possibilities. Nothing is certain where nobody looked. What begins and ends between two polls
// is not in the stream, so that the certain state is the one that the polls around the instant show.
package past

import (
	"slices"
	"strings"
	"time"

	"bpcc-nats/bridge/event"
)

// State is what is known of a tenant, or of one entity of it, at an instant.
type State struct {
	// At is the instant.
	At time.Time
	// Feed is the state of the feed then.
	Feed Feed
	// Entities are those that were present or may have been, ordered by their keys. Of a rule there is one
	// if it was raised or may have been. An entity that was absent when somebody looked last is not there, nor
	// are availabilities and totals before their first observation.
	Entities []Entity
	// Unknown is what concerns more than one entity, so that others may be missing here.
	Unknown []Unknown
}

// Entity returns what is known of an entity, by its key in the view below the tenant, such as
// "agent.john=2Esmith". It is false for one that is not in the state.
func (s *State) Entity(key string) (Entity, bool) {
	i, found := slices.BinarySearchFunc(s.Entities, key, func(e Entity, key string) int { return strings.Compare(e.Key, key) })
	if !found {
		return Entity{}, false
	}
	return s.Entities[i], true
}

// StatusUnknown is the status of a feed of which the stream does not tell it.
const StatusUnknown = "unknown"

// Feed is the state of a feed at an instant, as it is known now.
type Feed struct {
	// Status is live if the source was observed at the instant, interrupted or stopped if it was not, and
	// unknown before the stream begins and after its last checkpoint.
	Status string
	// Checkpoint is the last one that was made by the instant, with its id, its sequence and when it was made;
	// nil if the stream has none.
	Checkpoint *event.CheckpointData
	ID         event.ID
	Seq        uint64
	Time       time.Time
	// From and Until bound the time around the instant in which the source was observed, with no gap. They
	// are zero if it was not.
	From, Until time.Time
	// Complete reports whether as many agents and services are known as the checkpoint counts.
	Complete bool
}

// Entity is what is known of one entity.
type Entity struct {
	// Key is that of the view, below the tenant.
	Key string
	// Possible are the states that it may have had at the instant, in their order: one if that is certain.
	// Where nobody looked, they are those before and after, and there may have been others.
	Possible []Possible
	// From and Until bound the time around the instant in which the state is certain. They are zero unless
	// it is.
	From, Until time.Time
	// Unknown is why the state is not certain; nil if it is.
	Unknown *Unknown
}

// Certain reports whether the state at the instant is certain.
func (e *Entity) Certain() bool { return e.Unknown == nil }

// Possible is a state that an entity may have had.
type Possible struct {
	// Event states the entity as it was; nil if it was absent, or a rule was not raised. Where the event is
	// not in the stream any more, it is made of what the next one says about the time before: its ID, Time
	// and window are zero then.
	Event *event.Event
	// Seq is the event's sequence in the stream, and Body the event as stored; 0 and nil if it is not there.
	Seq  uint64
	Body []byte
}

// Unknown is why something is not known.
type Unknown struct {
	Reason Reason
	// Text says more, for people.
	Text string
	// After and By bound the time in which it is not known; zero where there is no bound.
	After, By time.Time
	// Messages is how many messages are lost, erased, unreadable or foreign; at least so many.
	Messages uint64
}

// Reason is why something is not known. Others may follow.
type Reason string

// Reasons.
const (
	// Changing is an instant within the window of a change.
	Changing Reason = "changing"
	// Gap is a time in which the source was not seen.
	Gap Reason = "gap"
	// BridgeAway is a gap in which no bridge polled, or in which the stream took no events.
	BridgeAway Reason = "bridge_away"
	// Interrupted is a gap that has not ended, Stopped the time since the bridge was shut down.
	Interrupted Reason = "interrupted"
	Stopped     Reason = "stopped"
	// Unconfirmed is the time after the last checkpoint of a feed that was live.
	Unconfirmed Reason = "unconfirmed"
	// BeforeFirst is the time before the first observation.
	BeforeFirst Reason = "before_first_observation"
	// AgedOut is the time before the first event that the stream still holds.
	AgedOut Reason = "aged_out"
	// RowsMissing is a time in which the source did not show some rows, and it is not published of which.
	RowsMissing Reason = "rows_missing"
	// Lost, Erased and Unreadable say that events are missing in the stream, and why.
	Lost       Reason = "lost"
	Erased     Reason = "erased"
	Unreadable Reason = "unreadable"
	// Foreign is a message that no bridge wrote, and that hides what was known of an entity in the view.
	Foreign Reason = "foreign"
	// ClockSet says that the clock of the bridge was set back over the instant.
	ClockSet Reason = "clock_set"
)
