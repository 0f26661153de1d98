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

// ErrForeign is why a message is no event of the bridge. Whoever may publish on a
// tenant's subjects can store there what the bridge never wrote. Readers pass
// such a message over. The check finds slips; it cannot find a forged event.
var ErrForeign = errors.New("not an event of the bridge")

// Envelope is an event of which only the envelope has been read.
type Envelope struct {
	ID   string          `json:"id"`
	Type string          `json:"type"`
	Time time.Time       `json:"time"`
	Data json.RawMessage `json:"data"`
}

// ReadEnvelope reads the envelope of what may be an event. The error is
// [ErrForeign].
func ReadEnvelope(body []byte) (Envelope, error) {
	var v Envelope
	if err := json.Unmarshal(body, &v); err != nil {
		return v, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	return v, nil
}

// Tenant reads whose event it is, "" if it does not say.
func (v *Envelope) Tenant() string {
	var b Base
	if json.Unmarshal(v.Data, &b) != nil {
		return ""
	}
	return b.Tenant
}

// Name is kind and verb, such as "agent.state_changed"; false if the type is not
// that of an event.
func (v *Envelope) Name() (string, bool) {
	name := strings.TrimSuffix(strings.TrimPrefix(v.Type, "bpcc."), ".v1")
	_, verb, ok := strings.Cut(name, ".")
	return name, ok && !strings.Contains(verb, ".") && schemas.Type(name) == v.Type
}

// Event reads the data. The error is [ErrForeign]; the event then holds what
// could be read.
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

// newData makes the data of a name's events; nil for a kind that is not known. A
// verb need not be known: a later version may have more of them.
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
		}
		return &FeedData{}
	}
	return nil
}

// Parse reads an event that the stream holds, as its writer must have written it:
// of the tenant, on its subject, with its id as Nats-Msg-Id. The error is
// [ErrForeign].
func Parse(tenant, subject, msgID string, body []byte) (Event, error) {
	e, id, err := parse(tenant, body)
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

// ParseValue reads the value of a key, below the tenant, of the view. The error
// is [ErrForeign].
func ParseValue(tenant, key string, body []byte) (Event, error) {
	e, _, err := parse(tenant, body)
	if err != nil {
		return e, err
	}
	if want := e.ViewKey(); key != want {
		return e, fmt.Errorf("%w: content belongs under key %q", ErrForeign, want)
	}
	return e, nil
}

// parse reads what only the body says, and its id as written.
func parse(tenant string, body []byte) (Event, string, error) {
	v, err := ReadEnvelope(body)
	if err != nil {
		return Event{}, "", err
	}
	e, err := v.Event()
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

// incomplete says what is missing that a start takes back from the event; "" if
// all is there.
func (e *Event) incomplete() string {
	base := e.Data.base()
	if e.ID.Epoch == 0 || e.ID.Poll != base.Poll {
		return fmt.Sprintf("id %q, poll %d", e.MsgID(), base.Poll)
	}
	if epoch, ok := e.dataEpoch(); ok && epoch != e.ID.Epoch {
		return fmt.Sprintf("id %q, epoch %d", e.MsgID(), epoch)
	}
	var buf [2]string
	for _, id := range e.ids(&buf) {
		if id == "" {
			return "no id of its entity"
		}
	}
	if d := e.EntityBase(); d != nil && d.Revision == 0 {
		return "no revision"
	}
	if after, ok := e.after(); ok && after.IsZero() && !e.Removes() {
		return "no image after"
	}
	return ""
}

// dataEpoch is the epoch that the data of an event about the feed names.
func (e *Event) dataEpoch() (uint64, bool) {
	switch d := e.Data.(type) {
	case *FeedData:
		return d.Epoch, true
	case *ResumedData:
		return d.Epoch, true
	case *CheckpointData:
		return d.Epoch, true
	}
	return 0, false
}

// Truncate cuts a text that somebody else has made up to a number of bytes.
func Truncate(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most] + "…"
}
