package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"bpcc-nats/schemas"
)

// ErrForeign is the error for a foreign message: a message that the bridge did not write. Any
// client that may publish on a tenant's subjects can store one. Readers ignore it. The check finds
// mistakes; it cannot detect a forged event.
var ErrForeign = errors.New("not an event of the bridge")

// Envelope is an event of which only the envelope was decoded.
type Envelope struct {
	ID   string          `json:"id"`
	Type string          `json:"type"`
	Time time.Time       `json:"time"`
	Data json.RawMessage `json:"data"`
}

// ReadEnvelope decodes the envelope. The error is [ErrForeign].
func ReadEnvelope(body []byte) (Envelope, error) {
	var v Envelope
	if err := json.Unmarshal(body, &v); err != nil {
		return v, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	return v, nil
}

// Tenant returns the tenant in the data, "" if there is none.
func (v *Envelope) Tenant() string {
	var b Base
	if json.Unmarshal(v.Data, &b) != nil {
		return ""
	}
	return b.Tenant
}

// TenantOfBody returns the tenant of a body that may not be an event, "" if it names none.
func TenantOfBody(body []byte) string {
	v, err := ReadEnvelope(body)
	if err != nil {
		return ""
	}
	return v.Tenant()
}

// Name returns kind and verb, such as "agent.state_changed"; false if the type is not that of an
// event.
func (v *Envelope) Name() (string, bool) {
	name := strings.TrimSuffix(strings.TrimPrefix(v.Type, "bpcc."), ".v1")
	_, verb, ok := strings.Cut(name, ".")
	return name, ok && !strings.Contains(verb, ".") && schemas.Type(name) == v.Type
}

// Event decodes the data. The error is [ErrForeign]; the event then holds what could be decoded.
func (v *Envelope) Event() (Event, error) {
	e := Event{Time: v.Time}
	name, ok := v.Name()
	if ok {
		e.Name, e.Data = name, newData(name)
	}
	if e.Data == nil {
		return e, fmt.Errorf("%w: type %q", ErrForeign, v.Type)
	}
	if err := json.Unmarshal(v.Data, e.Data); err != nil {
		return e, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	var err error
	if e.ID, err = ParseID(e.Tenant(), v.ID); err != nil {
		return e, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	return e, nil
}

// newData returns the data struct for the events of a name; nil for an unknown kind. The verb may
// be unknown: a later version may have more of them.
func newData(name string) Data {
	switch kind, verb, _ := strings.Cut(name, "."); kind {
	case "agent":
		return &AgentData{}
	case "service":
		return &ServiceData{}
	case "totals":
		return &TotalsData{}
	case "availability":
		if verb == "observed" {
			return &AvailabilityObservedData{}
		}
		return &AvailabilityChangedData{}
	case "threshold":
		return &ThresholdData{}
	case "directory":
		return &DirectoryData{}
	case "chat":
		return &ChatData{}
	case "feed":
		switch name {
		case Checkpoint:
			return &CheckpointData{}
		case Resumed:
			return &ResumedData{}
		case Erased:
			return &ErasedData{}
		}
		return &FeedData{}
	}
	return nil
}

// Parse decodes a message as [Decoder.Parse] does. For many messages a [Decoder] needs less time and memory.
func Parse(tenant, subject, msgID string, body []byte) (Event, error) {
	return (*Decoder)(nil).Parse(tenant, subject, msgID, body)
}

// Parse decodes a message of the stream and checks that it is an event of the tenant, on its
// subject, with its id as Nats-Msg-Id. The error is [ErrForeign].
func (d *Decoder) Parse(tenant, subject, msgID string, body []byte) (Event, error) {
	e, id, err := d.parse(tenant, body)
	if err != nil {
		return e, err
	}
	if msgID != id {
		return e, fmt.Errorf("%w: Nats-Msg-Id %q, id %q", ErrForeign, msgID, id)
	}
	if want := e.Subject(); subject != want {
		return e, fmt.Errorf("%w: content belongs on %s", ErrForeign, want)
	}
	return e, nil
}

// ParseValue decodes the value of a view key as [Decoder.ParseValue] does.
func ParseValue(tenant, key string, body []byte) (Event, error) {
	return (*Decoder)(nil).ParseValue(tenant, key, body)
}

// ParseValue decodes the value of a view key, below the tenant. The error is [ErrForeign].
func (d *Decoder) ParseValue(tenant, key string, body []byte) (Event, error) {
	e, _, err := d.parse(tenant, body)
	if err != nil {
		return e, err
	}
	if want := e.ViewKey(); key != want {
		return e, fmt.Errorf("%w: content belongs under key %q", ErrForeign, want)
	}
	return e, nil
}

// parse decodes a body. It returns the event and its id as written.
func (d *Decoder) parse(tenant string, body []byte) (Event, string, error) {
	v, e, err := d.Decode(body)
	switch {
	case e.Data != nil && e.Tenant() != tenant:
		return e, v.ID, fmt.Errorf("%w: tenant %q", ErrForeign, e.Tenant())
	case err != nil:
		return e, v.ID, err
	}
	if reason := e.incomplete(); reason != "" {
		return e, v.ID, fmt.Errorf("%w: %s", ErrForeign, reason)
	}
	return e, v.ID, nil
}

// incomplete names what the event lacks of the data that recovery needs; "" if it lacks nothing.
func (e *Event) incomplete() string {
	base := e.Data.base()
	if e.ID.Epoch == 0 || e.ID.Poll != base.Poll {
		return fmt.Sprintf("id %q, poll %d", e.MsgID(), base.Poll)
	}
	if epoch, ok := e.DataEpoch(); ok && epoch != e.ID.Epoch {
		return fmt.Sprintf("id %q, epoch %d", e.MsgID(), epoch)
	}
	var buf [2]string
	for _, id := range e.ids(&buf) {
		if id == "" {
			return "no entity id"
		}
	}
	if d := e.EntityBase(); d != nil && d.Revision == 0 {
		return "no revision"
	}
	if row := e.Row(); row != nil && row.After.IsZero() && !e.Removes() {
		return "no image after"
	}
	return ""
}

// DataEpoch returns the epoch in the data of an event about the feed. Other data has none.
func (e *Event) DataEpoch() (uint64, bool) {
	switch d := e.Data.(type) {
	case *FeedData:
		return d.Epoch, true
	case *ResumedData:
		return d.Epoch, true
	case *CheckpointData:
		return d.Epoch, true
	case *ErasedData:
		return d.Epoch, true
	}
	return 0, false
}

// Truncate cuts a text from another party to a number of bytes.
func Truncate(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most] + "…"
}
