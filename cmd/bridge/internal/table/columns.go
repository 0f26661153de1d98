package table

import (
	"encoding/json"
	"math"
	"strings"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/internal/jsonscan"
)

// Type is the type of a column's values.
type Type string

// The types of columns, with the Go types of their values.
const (
	Text      Type = "text"      // string
	Integer   Type = "integer"   // int64
	Number    Type = "number"    // float64
	Boolean   Type = "boolean"   // bool
	Timestamp Type = "timestamp" // [time.Time], UTC, microseconds
	JSON      Type = "json"      // string
)

// Column is a column of every table.
type Column struct {
	Name string
	Type Type

	value func(*record) any // nil is no value
}

// StatPrefix is what the name of a column with a statistic begins with.
const StatPrefix = "after_"

// Columns returns the columns of a table in their order. Those of the statistics in stats follow the
// ones that every table has.
func Columns(stats []string) []Column {
	columns := []Column{
		{"sequence", Integer, func(r *record) any { return integer(r.message.Seq) }},
		{"stored", Timestamp, func(r *record) any { return timestamp(r.message.Stored) }},
		{"subject", Text, func(r *record) any { return text(r.message.Subject) }},
		{"id", Text, func(r *record) any { return text(r.id) }},
		{"type", Text, func(r *record) any { return text(r.typ) }},
		{"time", Timestamp, func(r *record) any { return timestamp(r.event.Time) }},
		{"tenant", Text, func(r *record) any { return text(r.tenant) }},
		{"epoch", Integer, func(r *record) any { return integer(r.event.ID.Epoch) }},
		{"poll", Integer, func(r *record) any { return integer(r.event.ID.Poll) }},
		{"kind", Text, func(r *record) any { return text(r.event.Kind()) }},
		{"entity_id", Text, func(r *record) any { return text(r.entityID()) }},
		{"entity_kind", Text, func(r *record) any { return text(r.threshold.Entity.Kind) }},
		{"name", Text, func(r *record) any { return text(r.agent.Agent.Name) }},
		{"team", Text, func(r *record) any { return text(r.agent.Agent.Team) }},
		{"from_state", Text, func(r *record) any { return text(r.from.State) }},
		{"from_next_state", Text, func(r *record) any { return text(r.from.NextState) }},
		{"from_reason", Text, func(r *record) any { return text(r.from.Reason) }},
		{"to_state", Text, func(r *record) any { return text(r.to.State) }},
		{"to_next_state", Text, func(r *record) any { return text(r.to.NextState) }},
		{"to_reason", Text, func(r *record) any { return text(r.to.Reason) }},
		{"since", Timestamp, func(r *record) any { return timestamp(r.agent.Since) }},
		{"reentered", Boolean, func(r *record) any { return boolean(r.agent.Reentered, r.isAgent) }},
		{"revision", Integer, func(r *record) any { return integer(r.entity.Revision) }},
		{"state_revision", Integer, func(r *record) any { return integer(r.entity.StateRevision) }},
		{"observed_after", Timestamp, func(r *record) any { return timestamp(r.observed.After.Time) }},
		{"observed_by", Timestamp, func(r *record) any { return timestamp(r.observed.By.Time) }},
		{"after_gap", Boolean, func(r *record) any { return boolean(r.afterGap, r.isChange) }},
		{"rule", Text, func(r *record) any { return text(r.threshold.Rule) }},
		{"severity", Text, func(r *record) any { return text(r.threshold.Severity) }},
		{"stat", Text, func(r *record) any { return text(r.threshold.Stat) }},
		{"value", Text, func(r *record) any { return pointer(r.threshold.Value) }},
		{"op", Text, func(r *record) any { return text(r.threshold.Op) }},
		{"limit_value", Number, func(r *record) any { return number(r.threshold.Limit, r.isThreshold) }},
		{"cleared_by", Text, func(r *record) any { return text(r.threshold.ClearedBy) }},
		{"available", Boolean, func(r *record) any { return pointer(r.availability.Available) }},
		{"previous_available", Boolean, func(r *record) any { return pointer(r.availability.Previous) }},
		{"unknown_reason", Text, func(r *record) any { return text(r.availability.Reason) }},
		{"status", Text, func(r *record) any { return text(r.status) }},
		{"cause", Text, func(r *record) any { return text(r.cause) }},
		{"observed_until", Timestamp, func(r *record) any { return timestamp(r.observedUntil.Time) }},
		{"data", JSON, func(r *record) any { return text(r.data) }},
	}
	for _, stat := range stats {
		columns = append(columns, Column{StatPrefix + stat, Text, func(r *record) any {
			if value, known := r.row.After.Get(stat); known {
				return value
			}
			return nil
		}})
	}
	return columns
}

// record is a message as the columns read it: its event by kind. What the event does not have is zero.
type record struct {
	message Message
	// The event; zero for a foreign message.
	id, typ, tenant string
	event           event.Event
	data            string

	agent                          *event.AgentData
	from, to                       event.AgentState
	entity                         *event.EntityBase
	row                            *event.RowData
	observed                       event.Window
	afterGap                       bool
	threshold                      *event.ThresholdData
	availability                   event.AvailabilityChangedData
	status, cause                  string
	observedUntil                  event.Time
	isAgent, isChange, isThreshold bool
}

// newRecord reads a message. One that no bridge wrote, as far as can be seen, has nothing but its text.
func newRecord(d *event.Decoder, m Message) *record {
	r := &record{message: m, agent: &event.AgentData{}, entity: &event.EntityBase{}, row: &event.RowData{}, threshold: &event.ThresholdData{}}
	v, e, err := d.Decode(m.Body)
	if err != nil || m.Subject != "" && m.Subject != e.Subject() || m.ID != "" && m.ID != v.ID {
		r.data = foreignText(m.Body)
		return r
	}
	r.id, r.typ, r.tenant, r.event, r.data = v.ID, v.Type, e.Tenant(), e, string(v.Data)
	if row := e.Row(); row != nil {
		r.row = row
	}
	if entity := e.EntityBase(); entity != nil {
		r.entity, r.observed, r.afterGap, r.isChange = entity, entity.Observed, entity.AfterGap, true
	}
	if availability := e.Availability(); availability != nil {
		r.availability.AvailabilityObservedData = *availability
	}
	switch d := e.Data.(type) {
	case *event.AgentData:
		r.agent, r.isAgent = d, true
		if d.From != nil {
			r.from = *d.From
		}
		if d.To != nil {
			r.to = *d.To
		}
	case *event.ThresholdData:
		r.threshold, r.isThreshold = d, true
	case *event.AvailabilityChangedData:
		r.availability.Previous = d.Previous
	case *event.DirectoryData:
		r.observed, r.afterGap, r.isChange = d.Observed, d.AfterGap, true
	case *event.ChatData:
		r.observed, r.afterGap, r.isChange = d.Observed, d.AfterGap, true
	case *event.FeedData:
		r.cause, r.observedUntil = d.Cause, d.ObservedUntil
	case *event.ResumedData:
		r.cause, r.observed = d.Cause, d.Observed
	case *event.CheckpointData:
		r.status, r.observedUntil = d.Status, d.ObservedUntil
	}
	return r
}

// foreignText is a foreign body as JSON: itself, or else a string of it.
func foreignText(body []byte) string {
	if jsonscan.Valid(body) {
		return string(body)
	}
	quoted, _ := json.Marshal(string(body)) // never fails for a string
	return string(quoted)
}

// entityID is the id of what the event is about; "" for an event about the feed.
func (r *record) entityID() string {
	switch d := r.event.Data.(type) {
	case *event.AgentData:
		return d.Agent.ID
	case *event.ServiceData:
		return d.Service
	case *event.TotalsData:
		return d.App
	case *event.AvailabilityObservedData:
		return d.Service
	case *event.AvailabilityChangedData:
		return d.Service
	case *event.ThresholdData:
		return d.Entity.ID
	case *event.DirectoryData:
		return d.Kind
	case *event.ChatData:
		return d.Message.ID
	}
	return ""
}

// text returns a text; "" is no value. Bytes that are not UTF-8 become U+FFFD, since no format takes them.
func text(s string) any {
	if s == "" {
		return nil
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

// integer returns a number; 0, and what no table can hold, is no value.
func integer(n uint64) any {
	if n == 0 || n > math.MaxInt64 {
		return nil
	}
	return int64(n)
}

func number(f float64, known bool) any {
	if !known {
		return nil
	}
	return f
}

func boolean(b, known bool) any {
	if !known {
		return nil
	}
	return b
}

// pointer returns what p points to; nil is no value.
func pointer[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

// timestamp returns a time as all formats hold it; the zero time is no value.
func timestamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Truncate(time.Microsecond)
}
