package event

// Statuses of a feed, as they stand in checkpoints.
const (
	// StatusLive is a feed that sees the source.
	StatusLive = "live"
	// StatusInterrupted is a feed whose source was not seen for too long.
	StatusInterrupted = "interrupted"
	// StatusStopped is a feed whose bridge has stopped in good order.
	StatusStopped = "stopped"
	// StatusStale stands in the view alone: the server wrote it, since no bridge did.
	StatusStale = "stale"
)

// FeedData is the data of feed.started, feed.stopped and feed.interrupted.
type FeedData struct {
	Base
	Epoch uint64 `json:"epoch"`
	// Instance names the process that leads.
	Instance string `json:"instance"`
	// Version is the program's, of feed.started.
	Version string `json:"version,omitempty"`
	// Reason is why the feed stopped: shutdown or handover.
	Reason string `json:"reason,omitempty"`
	// Cause is why the feed is interrupted, in one word; Error says more.
	Cause string `json:"cause,omitempty"`
	Error string `json:"error,omitempty"`
	// BridgeAway reports that the source may have been well, but no poll was made.
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
	// Observed is the time without sight.
	Observed Window `json:"observed"`
}

// CheckpointData closes every batch. Its sequence in the stream is the fence.
type CheckpointData struct {
	Base
	// Status is the feed's.
	Status string `json:"status"`
	Epoch  uint64 `json:"epoch"`
	// Part of Parts is this batch of the poll.
	Part  int `json:"part"`
	Parts int `json:"parts"`
	// Events counts those of the batch beside the checkpoint.
	Events int `json:"events"`
	// ObservedUntil is the watermark: nothing else changed until then. Zero before
	// the first good poll.
	ObservedUntil Time `json:"observed_until"`
	// MissingSince is when the first of the rows was last seen that are missing
	// and whose departure is not believed yet.
	MissingSince Time `json:"missing_since,omitzero"`
	// Agents and Services count those that are present.
	Agents   int    `json:"agents"`
	Services int    `json:"services"`
	Instance string `json:"instance"`
	// Observing lists the kinds whose first snapshot has been published.
	Observing []string `json:"observing"`
	// Follows is the id of the checkpoint before, so that the checkpoints alone
	// prove that no batch is missing; empty for the first one.
	Follows string `json:"follows,omitempty"`
}
