package bridge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"bpcc-nats/diff"
	"bpcc-nats/schemas"
)

// encoder writes events as structured-mode JSON. What encoding/json would make
// of them, byte by byte, it makes for the events that come by the thousand
// without a look at their types; the others it leaves to encoding/json.
type encoder struct {
	source string
	heads  map[string]*head // by name
	at     time.Time        // the instant of heads
	name   string           // of the last event at that instant, and its head
	latest *head
	// What the last event's data began with, and its window, and how they are written.
	common common
	begin  []byte
	window window
	bounds []byte
	// longest is how long the longest event was, and a little more.
	longest int
}

// head is what all events of one name and instant share: what stands between
// the id and the subject, and between the subject and the data.
type head struct{ source, time []byte }

// appender is data that writes itself as JSON.
type appender interface {
	appendJSON(b []byte, c *encoder) []byte
}

func newEncoder(source string) *encoder {
	return &encoder{source: source, heads: map[string]*head{}}
}

// head gives what events of a name share at an instant.
func (c *encoder) head(name string, at time.Time) *head {
	if at != c.at {
		clear(c.heads)
		c.at, c.name = at, ""
	}
	if name == c.name {
		return c.latest
	}
	h := c.heads[name]
	if h == nil {
		h = &head{source: quote([]byte(`","source":`), c.source)}
		h.source = append(quote(append(h.source, `,"type":`...), schemas.Type(name)), `,"subject":"`...)
		h.time = quote([]byte(`","time":`), stampBy(at))
		h.time = quote(append(h.time, `,"datacontenttype":"application/json","dataschema":`...), schemas.ID(name))
		h.time = append(h.time, `,"data":`...)
		c.heads[name] = h
	}
	c.name, c.latest = name, h
	return h
}

// append writes one event.
func (c *encoder) append(b []byte, id string, e *event) ([]byte, error) {
	from := len(b)
	b, err := c.event(b, id, e)
	c.longest = max(c.longest, len(b)-from+len(b)/8)
	return b, err
}

func (c *encoder) event(b []byte, id string, e *event) ([]byte, error) {
	h := c.head(e.name, e.at)
	b = escape(append(b, `{"specversion":"1.0","id":"`...), id)
	b = append(b, h.source...)
	if e.about == "" {
		b = append(append(b, e.told.kind...), '/')
		b = escape(b, e.told.id)
	} else {
		b = escape(b, e.about)
	}
	b = append(b, h.time...)
	if data, ok := e.data.(appender); ok {
		return append(data.appendJSON(b, c), '}'), nil
	}
	data, err := plainJSON(e.data)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", e.name, err)
	}
	return append(append(b, data...), '}'), nil
}

// begun gives how data begins.
func (c *encoder) begun(d common) []byte {
	if c.begin == nil || d != c.common {
		c.common, c.begin = d, quote([]byte(`{"tenant":`), d.Tenant)
		c.begin = strconv.AppendUint(append(c.begin, `,"poll":`...), d.Poll, 10)
	}
	return c.begin
}

// observed gives how a window is written.
func (c *encoder) observed(w window) []byte {
	if c.bounds != nil && w == c.window { // the lower bound is the same text, not just alike
		return c.bounds
	}
	b := append(c.bounds[:0], `,"observed":{"after":`...)
	if w.After == nil {
		b = append(b, "null"...)
	} else {
		b = quote(b, *w.After)
	}
	c.window, c.bounds = w, append(quote(append(b, `,"by":`...), w.By), '}')
	return c.bounds
}

// quote writes s as encoding/json does where it need not think of HTML.
func quote(b []byte, s string) []byte { return append(escape(append(b, '"'), s), '"') }

// escape is quote without the quotes.
func escape(b []byte, s string) []byte {
	i := diff.Plain(s)
	if i == len(s) {
		return append(b, s...)
	}
	return escapeFrom(b, s, i)
}

// escapeFrom is escape for a text of which the first bytes are known to be plain.
func escapeFrom(b []byte, s string, i int) []byte {
	const hex = "0123456789abcdef"
	from := 0
	for i < len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		size := 1
		if c >= utf8.RuneSelf {
			var r rune
			r, size = utf8.DecodeRuneInString(s[i:])
			if r != '\u2028' && r != '\u2029' && (r != utf8.RuneError || size > 1) {
				i += size
				continue
			}
			b = append(b, s[from:i]...)
			b = append(b, '\\', 'u', hex[r>>12], hex[r>>8&15], hex[r>>4&15], hex[r&15])
		} else {
			b = append(b, s[from:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\b':
				b = append(b, '\\', 'b')
			case '\f':
				b = append(b, '\\', 'f')
			case '\n':
				b = append(b, '\\', 'n')
			case '\r':
				b = append(b, '\\', 'r')
			case '\t':
				b = append(b, '\\', 't')
			default:
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
		}
		i += size
		from = i
	}
	return append(b, s[from:]...)
}

// member writes a member of a text that is left out if it is "". It begins with
// a comma, its name, and the quote before the text. A plain text needs no escapes.
func member(b []byte, begin, text string, plain bool) []byte {
	if text == "" {
		return b
	}
	if plain {
		return append(append(append(b, begin...), text...), '"')
	}
	return append(escape(append(b, begin...), text), '"')
}

func appendNames(b []byte, names []string) []byte {
	b = append(b, '[')
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = quote(b, name)
	}
	return append(b, ']')
}

func (d *entityData) appendJSON(b []byte, c *encoder) []byte {
	b = append(b, c.begun(d.common)...)
	b = strconv.AppendUint(append(b, `,"revision":`...), d.Revision, 10)
	b = append(b, c.observed(d.Observed)...)
	if d.AfterGap {
		b = append(b, `,"after_gap":true`...)
	}
	return b
}

func (s *agentState) appendJSON(b []byte, plain bool) []byte {
	from := len(b)
	b = member(b, `,"state":"`, s.State, plain)
	b = member(b, `,"next_state":"`, s.NextState, plain)
	b = member(b, `,"reason":"`, s.Reason, plain)
	if len(b) == from {
		return append(b, "{}"...)
	}
	b[from] = '{' // in the place of the first comma
	return append(b, '}')
}

func (d *agentData) appendJSON(b []byte, c *encoder) []byte {
	b = d.entityData.appendJSON(b, c)
	b = quote(append(b, `,"agent":{"id":`...), d.Agent.ID)
	b = member(b, `,"login_id":"`, d.Agent.LoginID, d.plain)
	b = member(b, `,"user_id":"`, d.Agent.UserID, d.plain)
	b = member(b, `,"name":"`, d.Agent.Name, d.plain)
	b = append(member(b, `,"team":"`, d.Agent.Team, d.plain), '}')
	if d.From != nil {
		b = d.From.appendJSON(append(b, `,"from":`...), d.plain)
	}
	if d.To != nil {
		b = d.To.appendJSON(append(b, `,"to":`...), d.plain)
	}
	b = member(b, `,"since":"`, d.Since, false)
	if d.Reentered {
		b = append(b, `,"reentered":true`...)
	}
	return appendDifference(b, d.Changed, d.Before, d.After, d.Reset)
}

func (d *serviceData) appendJSON(b []byte, c *encoder) []byte {
	b = quote(append(d.entityData.appendJSON(b, c), `,"service":`...), d.Service)
	return appendDifference(b, d.Changed, d.Before, d.After, d.Reset)
}

func (d *totalsData) appendJSON(b []byte, c *encoder) []byte {
	b = quote(append(d.entityData.appendJSON(b, c), `,"app":`...), d.App)
	return appendDifference(b, d.Changed, d.Before, d.After, d.Reset)
}

// appendDifference writes what the events about rows end with.
func appendDifference(b []byte, changed []string, before, after diff.Image, reset []string) []byte {
	if changed != nil {
		b = appendNames(append(b, `,"changed":`...), changed)
	}
	if !before.IsZero() {
		b = before.AppendJSON(append(b, `,"before":`...))
	}
	if !after.IsZero() {
		b = after.AppendJSON(append(b, `,"after":`...))
	}
	if len(reset) > 0 {
		b = appendNames(append(b, `,"reset":`...), reset)
	}
	return append(b, '}')
}

// plainJSON is encoding/json's, which need not think of HTML: the text is data
// for programs, not for a page.
func plainJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
