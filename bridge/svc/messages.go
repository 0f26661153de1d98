package svc

import (
	"bpcc-nats/bridge/event"
	"bpcc-nats/diff/image"
)

// AvailabilityRequest asks for the availability of a service.
type AvailabilityRequest struct {
	// Service is its name. An empty request, or one without a service, asks for all services.
	Service *string `json:"service,omitempty"`
}

// StateRequest asks for the published state of an entity.
type StateRequest struct {
	// Kind is agent, service, totals, availability or threshold.
	Kind string `json:"kind"`
	// ID is the entity's id itself, not its token. For a threshold it is that of the entity which the
	// rule is about.
	ID string `json:"id"`
	// Rule is the name of the rule of a threshold.
	Rule string `json:"rule,omitempty"`
}

// Freshness says how old a reply is.
type Freshness struct {
	// Fresh reports whether the reply can be relied upon: Age is at most MaxAge, and what the method of
	// the reply demands in addition.
	Fresh bool `json:"fresh"`
	// Age is how old the last observation is that showed what is published; [NoAge] if none is known.
	Age Age `json:"age"`
	// MaxAge is the age from which on the reply is not fresh.
	MaxAge Age `json:"max_age"`
}

// LastEvent is the last event about an entity that the stream holds.
type LastEvent struct {
	// ID, Type and Time are the attributes of the CloudEvent.
	ID   string     `json:"id"`
	Type string     `json:"type"`
	Time event.Time `json:"time"`
	// The others are those of its data. StateRevision is 0 unless it is about an agent.
	Revision      uint64       `json:"revision"`
	StateRevision uint64       `json:"state_revision,omitempty"`
	Observed      event.Window `json:"observed"`
	AfterGap      bool         `json:"after_gap,omitempty"`
}

// ServiceAvailability is the published availability of a service.
type ServiceAvailability struct {
	Service string `json:"service"`
	// Available is whether an agent is available for it; nil = unknown.
	Available *bool `json:"available"`
	// Reason is why it is unknown, in one word.
	Reason string `json:"reason,omitempty"`
	// Freshness is that of the check. An unknown availability is never fresh, nor one that only a former
	// leader has checked. The status of the feed does not matter, since checks are made while polls fail.
	Freshness
	// CheckedAt is when the last good check that showed Available was sent; if Available is nil, when the
	// last good check was sent. It is zero if there was none.
	CheckedAt event.Time `json:"checked_at"`
	Event     LastEvent  `json:"event"`
}

// Route reports whether an agent is available, by a check that is fresh.
func (a *ServiceAvailability) Route() bool { return a.Fresh && a.Available != nil && *a.Available }

// AvailabilityReply is the reply to a request for one service.
type AvailabilityReply struct {
	Tenant string `json:"tenant"`
	ServiceAvailability
	Feed Feed `json:"feed"`
}

// AvailabilitiesReply is the reply to a request for all services.
type AvailabilitiesReply struct {
	Tenant string `json:"tenant"`
	// Services are in the order of their names, and never null.
	Services []ServiceAvailability `json:"services"`
	Feed     Feed                  `json:"feed"`
}

// StateReply is the published state of an entity.
type StateReply struct {
	Tenant string `json:"tenant"`
	StateRequest
	// Freshness is that of the feed, which must be live; for an availability it is that of the check.
	Freshness
	Event LastEvent `json:"event"`
	// Agent and State are those of an agent.
	Agent *event.AgentRef   `json:"agent,omitempty"`
	State *event.AgentState `json:"state,omitempty"`
	// Image is all statistics of an agent, a service or totals, as of the last event. Statistics that are
	// volatile, such as running clocks, cause no event.
	Image image.Image `json:"image,omitzero"`
	// Availability and Threshold are those of these kinds.
	Availability *CheckedAvailability `json:"availability,omitempty"`
	Threshold    *Threshold           `json:"threshold,omitempty"`
	Feed         Feed                 `json:"feed"`
}

// CheckedAvailability is an availability in a [StateReply], with the fields of [ServiceAvailability].
type CheckedAvailability struct {
	Available *bool      `json:"available"`
	Reason    string     `json:"reason,omitempty"`
	CheckedAt event.Time `json:"checked_at"`
}

// Threshold is a rule about an entity. The fields are those of [event.ThresholdData].
type Threshold struct {
	// Raised reports whether the rule is raised.
	Raised       bool            `json:"raised"`
	Severity     string          `json:"severity"`
	Entity       event.EntityRef `json:"entity"`
	Stat         string          `json:"stat"`
	Value        *string         `json:"value,omitempty"`
	Limit        float64         `json:"limit"`
	Op           string          `json:"op"`
	For          string          `json:"for"`
	PendingSince event.Time      `json:"pending_since"`
	ClearedBy    string          `json:"cleared_by,omitempty"`
}

// Feed is the state of the tenant's feed, and who answers.
type Feed struct {
	// Status is that of the last checkpoint: live, interrupted or stopped.
	Status string `json:"status"`
	// Cause is why the feed is interrupted, in one word.
	Cause string `json:"cause,omitempty"`
	// ObservedUntil is until when all changes are in the stream; zero if there was no good poll. Age is its
	// age. It may be later than that of the last checkpoint: a poll that shows no change stores nothing.
	ObservedUntil event.Time `json:"observed_until"`
	Age           Age        `json:"age"`
	// MissingSince is as in a checkpoint.
	MissingSince event.Time `json:"missing_since,omitzero"`
	// Epoch is the term of the leader, Instance its name. Poll is the number of the last checkpoint's poll.
	Epoch    uint64 `json:"epoch"`
	Instance string `json:"instance"`
	Poll     uint64 `json:"poll"`
}
