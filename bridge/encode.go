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
	heads  map[string]head // by name
	at     time.Time       // the instant of stamp
	stamp  string
	// typical is how long events are in the longest batch, and a little more.
	typical int
}

// head is what all events of one name share.
type head struct{ typ, schema []byte }

// appender is data that writes itself as JSON.
type appender interface{ appendJSON(b []byte) []byte }

func newEncoder(source string) *encoder {
	return &encoder{source: source, heads: map[string]head{}}
}

// append writes one event.
func (c *encoder) append(b []byte, id string, e *event) ([]byte, error) {
	h, ok := c.heads[e.name]
	if !ok {
		h = head{quote(nil, schemas.Type(e.name)), quote(nil, schemas.ID(e.name))}
		c.heads[e.name] = h
	}
	if c.stamp == "" || !e.at.Equal(c.at) {
		c.at, c.stamp = e.at, stampBy(e.at)
	}
	b = quote(append(b, `{"specversion":"1.0","id":`...), id)
	b = quote(append(b, `,"source":`...), c.source)
	b = append(append(b, `,"type":`...), h.typ...)
	b = append(b, `,"subject":"`...)
	if e.about == "" {
		b = append(append(b, e.told.kind...), '/')
		b = escape(b, e.told.id)
	} else {
		b = escape(b, e.about)
	}
	b = append(b, '"')
	b = quote(append(b, `,"time":`...), c.stamp)
	b = append(b, `,"datacontenttype":"application/json","dataschema":`...)
	b = append(append(b, h.schema...), `,"data":`...)
	if data, ok := e.data.(appender); ok {
		return append(data.appendJSON(b), '}'), nil
	}
	data, err := plainJSON(e.data)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", e.name, err)
	}
	return append(append(b, data...), '}'), nil
}

// quote writes s as encoding/json does where it need not think of HTML.
func quote(b []byte, s string) []byte { return append(escape(append(b, '"'), s), '"') }

// escape is quote without the quotes.
func escape(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	from := 0
	for i := diff.Plain(s); i < len(s); {
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

// member writes a member of a text that is left out if it is "".
func member(b []byte, name, text string) []byte {
	if text == "" {
		return b
	}
	return quote(append(append(append(b, ",\""...), name...), "\":"...), text)
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

func (d *entityData) appendJSON(b []byte) []byte {
	b = quote(append(b, `{"tenant":`...), d.Tenant)
	b = strconv.AppendUint(append(b, `,"poll":`...), d.Poll, 10)
	b = strconv.AppendUint(append(b, `,"revision":`...), d.Revision, 10)
	b = append(b, `,"observed":{"after":`...)
	if d.Observed.After == nil {
		b = append(b, "null"...)
	} else {
		b = quote(b, *d.Observed.After)
	}
	b = append(quote(append(b, `,"by":`...), d.Observed.By), '}')
	if d.AfterGap {
		b = append(b, `,"after_gap":true`...)
	}
	return b
}

func (s *agentState) appendJSON(b []byte) []byte {
	from := len(b)
	b = member(b, "state", s.State)
	b = member(b, "next_state", s.NextState)
	b = member(b, "reason", s.Reason)
	if len(b) == from {
		return append(b, "{}"...)
	}
	b[from] = '{' // in the place of the first comma
	return append(b, '}')
}

func (d *agentData) appendJSON(b []byte) []byte {
	b = d.entityData.appendJSON(b)
	b = quote(append(b, `,"agent":{"id":`...), d.Agent.ID)
	b = member(b, "login_id", d.Agent.LoginID)
	b = member(b, "user_id", d.Agent.UserID)
	b = member(b, "name", d.Agent.Name)
	b = append(member(b, "team", d.Agent.Team), '}')
	if d.From != nil {
		b = d.From.appendJSON(append(b, `,"from":`...))
	}
	if d.To != nil {
		b = d.To.appendJSON(append(b, `,"to":`...))
	}
	b = member(b, "since", d.Since)
	if d.Reentered {
		b = append(b, `,"reentered":true`...)
	}
	return appendDifference(b, d.Changed, d.Before, d.After, d.Reset)
}

func (d *serviceData) appendJSON(b []byte) []byte {
	b = quote(append(d.entityData.appendJSON(b), `,"service":`...), d.Service)
	return appendDifference(b, d.Changed, d.Before, d.After, d.Reset)
}

func (d *totalsData) appendJSON(b []byte) []byte {
	b = quote(append(d.entityData.appendJSON(b), `,"app":`...), d.App)
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
