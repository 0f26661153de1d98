package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"bpcc-nats/diff/image"
	"bpcc-nats/schemas"
)

// Encoder writes events as structured JSON, with the same bytes as encoding/json. It writes the
// most frequent events without reflection and leaves the others to encoding/json. It is not safe
// for concurrent use.
type Encoder struct {
	source string
	// Events of a poll share their time, and most of them name, tenant, poll and window: what is
	// the same as in the previous event is cached.
	time     time.Time
	prefixes map[string]*envelopePrefix // by name, for that time
	base     Base
	baseJSON []byte
	window   Window
	windowJS []byte
}

// envelopePrefix is the JSON that all events of one name and time share: the bytes between the id
// and the subject, and between the subject and the data.
type envelopePrefix struct{ source, time []byte }

// appender is data that appends itself as JSON.
type appender interface {
	appendJSON(b []byte, c *Encoder) []byte
}

// NewEncoder returns an encoder for the events of one CloudEvents source.
func NewEncoder(source string) *Encoder {
	return &Encoder{source: source, prefixes: map[string]*envelopePrefix{}}
}

// Append appends one event to b.
func (c *Encoder) Append(b []byte, e *Event) ([]byte, error) {
	p := c.prefix(e)
	b = append(b, `{"specversion":"1.0","id":`...)
	b = image.AppendText(b, e.Tenant())
	b = append(e.ID.appendNumbers(b[:len(b)-1]), '"') // replaces the quote
	b = append(b, p.source...)
	var buf [128]byte
	b = image.AppendText(b, string(e.appendCESubject(buf[:0])))
	b = append(b, p.time...)
	if data, ok := e.Data.(appender); ok {
		return append(data.appendJSON(b, c), '}'), nil
	}
	data, err := marshal(e.Data)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", e.Name, err)
	}
	return append(append(b, data...), '}'), nil
}

// prefix returns what events of a name share at a time.
func (c *Encoder) prefix(e *Event) *envelopePrefix {
	if e.Time != c.time {
		clear(c.prefixes)
		c.time = e.Time
	}
	p := c.prefixes[e.Name]
	if p == nil {
		p = &envelopePrefix{source: image.AppendText([]byte(`,"source":`), c.source)}
		p.source = append(image.AppendText(append(p.source, `,"type":`...), schemas.Type(e.Name)), `,"subject":`...)
		p.time = Ceil(e.Time).appendJSON([]byte(`,"time":`))
		p.time = image.AppendText(append(p.time, `,"datacontenttype":"application/json","dataschema":`...), schemas.ID(e.Name))
		p.time = append(p.time, `,"data":`...)
		c.prefixes[e.Name] = p
	}
	return p
}

func (b *Base) appendHead(out []byte, c *Encoder) []byte {
	if c.baseJSON == nil || *b != c.base {
		c.base, c.baseJSON = *b, image.AppendText(append(c.baseJSON[:0], `{"tenant":`...), b.Tenant)
		c.baseJSON = strconv.AppendUint(append(c.baseJSON, `,"poll":`...), b.Poll, 10)
	}
	return append(out, c.baseJSON...)
}

func (w Window) appendJSON(out []byte, c *Encoder) []byte {
	if c.windowJS == nil || w != c.window {
		b := w.After.appendJSON(append(c.windowJS[:0], `{"after":`...))
		c.window, c.windowJS = w, append(w.By.appendJSON(append(b, `,"by":`...)), '}')
	}
	return append(out, c.windowJS...)
}

func (d *EntityBase) appendHead(b []byte, c *Encoder) []byte {
	b = d.Base.appendHead(b, c)
	b = strconv.AppendUint(append(b, `,"revision":`...), d.Revision, 10)
	if d.StateRevision > 0 {
		b = strconv.AppendUint(append(b, `,"state_revision":`...), d.StateRevision, 10)
	}
	b = d.Observed.appendJSON(append(b, `,"observed":`...), c)
	if d.AfterGap {
		b = append(b, `,"after_gap":true`...)
	}
	return b
}

func (d *AgentData) appendJSON(b []byte, c *Encoder) []byte {
	b = d.EntityBase.appendHead(b, c)
	b = image.AppendText(append(b, `,"agent":{"id":`...), d.Agent.ID)
	b = appendMember(b, `,"login_id":`, d.Agent.LoginID)
	b = appendMember(b, `,"user_id":`, d.Agent.UserID)
	b = appendMember(b, `,"name":`, d.Agent.Name)
	b = append(appendMember(b, `,"team":`, d.Agent.Team), '}')
	if d.From != nil {
		b = d.From.appendJSON(append(b, `,"from":`...))
	}
	if d.To != nil {
		b = d.To.appendJSON(append(b, `,"to":`...))
	}
	if !d.Since.IsZero() {
		b = append(d.Since.AppendFormat(append(b, `,"since":"`...), time.RFC3339Nano), '"')
	}
	if d.PreviousDuration != (DurationRange{}) {
		b = d.PreviousDuration.appendJSON(append(b, `,"previous_duration":`...))
	}
	if d.Reentered {
		b = append(b, `,"reentered":true`...)
	}
	return d.RowData.appendJSON(b)
}

func (s *AgentState) appendJSON(b []byte) []byte {
	from := len(b)
	b = appendMember(b, `,"state":`, s.State)
	b = appendMember(b, `,"next_state":`, s.NextState)
	b = appendMember(b, `,"reason":`, s.Reason)
	if len(b) == from {
		return append(b, "{}"...)
	}
	b[from] = '{' // replaces the first comma
	return append(b, '}')
}

func (d *ServiceData) appendJSON(b []byte, c *Encoder) []byte {
	b = image.AppendText(append(d.EntityBase.appendHead(b, c), `,"service":`...), d.Service)
	return d.RowData.appendJSON(b)
}

func (d *TotalsData) appendJSON(b []byte, c *Encoder) []byte {
	b = image.AppendText(append(d.EntityBase.appendHead(b, c), `,"app":`...), d.App)
	return d.RowData.appendJSON(b)
}

// appendMember appends a member of an object, unless its text is ""; begin is a comma, the name and
// a colon.
func appendMember(b []byte, begin, text string) []byte {
	if text == "" {
		return b
	}
	return image.AppendText(append(b, begin...), text)
}

// appendJSON appends the members, and closes the object of the data.
func (r *RowData) appendJSON(b []byte) []byte {
	if r.Changed != nil {
		b = appendNames(append(b, `,"changed":`...), r.Changed)
	}
	if !r.Before.IsZero() {
		b = r.Before.AppendJSON(append(b, `,"before":`...))
	}
	if !r.After.IsZero() {
		b = r.After.AppendJSON(append(b, `,"after":`...))
	}
	if len(r.Reset) > 0 {
		b = appendNames(append(b, `,"reset":`...), r.Reset)
	}
	return append(b, '}')
}

func appendNames(b []byte, names []string) []byte {
	b = append(b, '[')
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = image.AppendText(b, name)
	}
	return append(b, ']')
}

// marshal is json.Marshal without HTML escaping: the text is data for programs, not for a page.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
