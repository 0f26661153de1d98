package event

import "bpcc-nats/diff/image"

// RowData is the end of the data of every event about a row of the source.
type RowData struct {
	// Changed names the statistics that differ.
	Changed []string `json:"changed,omitzero"`
	// Before and After are images: statistic to the exact text of the source.
	Before image.Image `json:"before,omitzero"`
	After  image.Image `json:"after,omitzero"`
	// Reset names the daily counters that were reset, see [CounterReset].
	Reset []string `json:"reset,omitempty"`
}

func (r *RowData) row() *RowData { return r }

// Row returns the RowData of the data, nil for events about anything else.
func (e *Event) Row() *RowData {
	if d, ok := e.Data.(interface{ row() *RowData }); ok {
		return d.row()
	}
	return nil
}

// ServiceData is the data of the events about a service (a queue).
type ServiceData struct {
	EntityBase
	// Service is its name.
	Service string `json:"service"`
	RowData
}

// TotalsData is the data of the events about the totals of one app id.
type TotalsData struct {
	EntityBase
	// App is the app id of the subscription.
	App string `json:"app"`
	RowData
}

// AvailabilityObservedData is the data of availability.observed.
type AvailabilityObservedData struct {
	EntityBase
	Service string `json:"service"`
	// Available is whether an agent can take a call of the service; nil = unknown.
	Available *bool `json:"available"`
	// Reason is why it is unknown, in one word.
	Reason string `json:"reason,omitempty"`
}

func (d *AvailabilityObservedData) availability() *AvailabilityObservedData { return d }

// Availability returns the data of an event about availability, without the previous value; nil for
// other events.
func (e *Event) Availability() *AvailabilityObservedData {
	if d, ok := e.Data.(interface {
		availability() *AvailabilityObservedData
	}); ok {
		return d.availability()
	}
	return nil
}

// AvailabilityChangedData is the data of availability.changed.
type AvailabilityChangedData struct {
	AvailabilityObservedData
	// Previous is the value published before; nil = unknown.
	Previous *bool `json:"previous"`
}

// ThresholdData is the data of threshold.raised and threshold.cleared.
type ThresholdData struct {
	EntityBase
	Rule     string    `json:"rule"`
	Severity string    `json:"severity"`
	Entity   EntityRef `json:"entity"`
	// Stat is the statistic that the rule reads, Value its text; nil where a rule clears without
	// one.
	Stat  string  `json:"stat"`
	Value *string `json:"value,omitempty"`
	// Limit and Op are the condition that held.
	Limit float64 `json:"limit"`
	Op    string  `json:"op"`
	// For is how long the condition had to hold, PendingSince is since when it held.
	For          string `json:"for"`
	PendingSince Time   `json:"pending_since"`
	// ClearedBy is one of the constants below; "" for threshold.raised. Other words may follow.
	ClearedBy string `json:"cleared_by,omitempty"`
}

// Why an alarm ends: the clear condition held, the rule is no longer configured, the entity is no
// longer there or the rule does not match it any more, the server refuses a statistic of the rule.
const (
	ClearedByCondition       = "condition"
	ClearedByRuleRemoved     = "rule_removed"
	ClearedByEntityGone      = "entity_gone"
	ClearedByStatUnavailable = "stat_unavailable"
)

// EntityRef identifies an entity.
type EntityRef struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
}

// SameAvailability reports whether two published availabilities are the same.
func SameAvailability(a, b *bool) bool {
	return a == b || a != nil && b != nil && *a == *b
}
