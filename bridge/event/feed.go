package event

// Statuses of a feed in checkpoints.
const (
	// StatusLive is a feed with good polls.
	StatusLive = "live"
	// StatusInterrupted is a feed without a good poll for too long.
	StatusInterrupted = "interrupted"
	// StatusStopped is a feed whose bridge was shut down.
	StatusStopped = "stopped"
	// StatusStale is in the view alone: the server wrote it because no bridge postponed the
	// watchdog.
	StatusStale = "stale"
)

// BatchLimit is the maximum number of messages of a part: its events, and the checkpoint that closes
// it. It is what a server accepts in one atomic batch.
const BatchLimit = 1000

// FeedData is the data of feed.started, feed.stopped and feed.interrupted.
type FeedData struct {
	Base
	Epoch uint64 `json:"epoch"`
	// Instance is the name of the leading process.
	Instance string `json:"instance"`
	// Version is the version of the program, in feed.started.
	Version string `json:"version,omitempty"`
	// Reason is why the feed stopped: shutdown, handover or reload.
	Reason string `json:"reason,omitempty"`
	// Cause is why the feed is interrupted, in one word; Error has details.
	Cause string `json:"cause,omitempty"`
	Error string `json:"error,omitempty"`
	// BridgeAway reports whether no poll was made; the source may have been available.
	BridgeAway bool `json:"bridge_away,omitempty"`
	// ObservedUntil is when the last good poll was sent; zero if there was none.
	ObservedUntil Time `json:"observed_until"`
}

// ResumedData is the data of feed.resumed.
type ResumedData struct {
	Base
	Epoch    uint64 `json:"epoch"`
	Instance string `json:"instance"`
	Cause    string `json:"cause"`
	// BridgeAway is as in feed.interrupted.
	BridgeAway bool `json:"bridge_away,omitempty"`
	// Observed is the window of the gap.
	Observed Window `json:"observed"`
}

// CheckpointData is the data of feed.checkpoint, which closes every part of a batch. Its sequence
// in the stream is the fence.
type CheckpointData struct {
	Base
	// Status is the status of the feed.
	Status string `json:"status"`
	Epoch  uint64 `json:"epoch"`
	// Part of Parts is the number of this part of the batch.
	Part  int `json:"part"`
	Parts int `json:"parts"`
	// Events counts the events of the part without the checkpoint.
	Events int `json:"events"`
	// ObservedUntil is the watermark: all changes up to then are published. It is zero before the
	// first good poll.
	ObservedUntil Time `json:"observed_until"`
	// MissingSince is when the first of the missing rows that are not published as disappeared yet
	// was last seen.
	MissingSince Time `json:"missing_since,omitzero"`
	// Agents and Services count the present entities.
	Agents   int `json:"agents"`
	Services int `json:"services"`
	// AvailabilityUntil is until when all availabilities are checked that are published as known; zero
	// if none is known.
	AvailabilityUntil Time   `json:"availability_until,omitzero"`
	Instance          string `json:"instance"`
	// Observing lists the kinds whose first snapshot has been published.
	Observing []string `json:"observing"`
	// Follows is the id of the previous checkpoint, so that the checkpoints alone prove that no
	// part is missing; empty for the first one.
	Follows string `json:"follows,omitempty"`
	// Chain is the sum of the checkpoint before and of the events of the part; see [Chain].
	Chain string `json:"chain,omitempty"`
	// ClockSet is by how much the clock of the machine was set since the checkpoint before, in this term; negative
	// if it was set back.
	ClockSet Duration `json:"clock_set,omitempty"`
}

// ErasedData is the data of feed.erased: which messages of the stream were erased, and nothing about
// whom they were.
type ErasedData struct {
	Base
	Epoch    uint64 `json:"epoch"`
	Instance string `json:"instance"`
	// Reason is free text, "" if none was given.
	Reason string `json:"reason,omitempty"`
	// Messages counts the messages of Sequences, Keys the keys of the view that were purged.
	Messages uint64 `json:"messages"`
	Keys     int    `json:"keys"`
	// Sequences are those of the messages, in order, and never null.
	Sequences []SequenceRange `json:"sequences"`
}

// SequenceRange is a range of sequences, both ends included.
type SequenceRange struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}
