package track

import (
	"bytes"
	"fmt"
	"strings"

	"bpcc-nats/bridge/event"
	"bpcc-nats/schemas"
)

// Head is what is read of every message: enough to tell an event from a foreign message, and to find
// holes.
type Head struct {
	ID   event.ID
	Name string // kind and verb
	Rest string // the subject below the tenant
	// Revision and State are revision and state_revision of the data, 0 where it has none.
	Revision, State uint64
	Decoded         *event.Event // if it had to be decoded
}

// HeadReader reads heads. A bridge writes the members of an event in one order and without blanks, so
// that the head of its events is found without decoding them. What looks different is decoded.
type HeadReader struct {
	Decoder *event.Decoder // decodes them

	tenant, prefix string
	plain          bool // the tenant needs no escapes in JSON
	types          map[string]string
	buf            []byte
}

// NewHeadReader returns a reader of the heads of a tenant's events, with what decodes them where that is necessary.
func NewHeadReader(tenant string, d *event.Decoder) HeadReader {
	return HeadReader{
		Decoder: d,
		tenant:  tenant, prefix: event.Prefix(tenant), types: map[string]string{},
		plain: !strings.ContainsFunc(tenant, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }),
	}
}

// Read returns the head of an event. The error is [event.ErrForeign].
func (h *HeadReader) Read(m *Message) (Head, error) {
	rest, ok := strings.CutPrefix(m.Subject, h.prefix)
	if !ok {
		return Head{}, fmt.Errorf("%w: subject %q", event.ErrForeign, m.Subject)
	}
	out := Head{Rest: rest}
	msgID := m.ID()
	var err error
	if out.ID, err = event.ParseID(h.tenant, msgID); err != nil {
		return out, fmt.Errorf("%w: %w", event.ErrForeign, err)
	}
	kind, _, _ := strings.Cut(rest, ".")
	verb := rest[strings.LastIndexByte(rest, '.')+1:]
	out.Name = h.name(kind, verb)
	if h.plain && h.skim(m.Body, msgID, &out) {
		return out, nil
	}
	e, err := h.Decoder.Parse(h.tenant, m.Subject, msgID, m.Body)
	if err != nil {
		return out, err
	}
	out.Decoded, out.Name = &e, e.Name
	if base := e.EntityBase(); base != nil {
		out.Revision, out.State = base.Revision, base.StateRevision
	}
	return out, nil
}

// name joins kind and verb, without a new string for each event.
func (h *HeadReader) name(kind, verb string) string {
	h.buf = append(append(append(h.buf[:0], kind...), '.'), verb...)
	if _, ok := h.types[string(h.buf)]; !ok {
		if len(h.types) > 1000 { // foreign ones
			clear(h.types)
		}
		name := string(h.buf)
		h.types[name] = name
	}
	return h.types[string(h.buf)]
}

// skim reads what it needs of an event in the form in which a bridge writes it. It reports whether it is
// in that form.
func (h *HeadReader) skim(body []byte, msgID string, out *Head) bool {
	rest, ok := cut(body, `{"specversion":"1.0","id":"`, msgID, `","source":"`)
	if !ok || !bytes.HasSuffix(body, []byte("}}")) {
		return false
	}
	i := bytes.Index(rest, []byte(`","type":"`))
	if i < 0 {
		return false
	}
	if rest, ok = cut(rest[i:], `","type":"`, schemas.Type(out.Name), `","subject":"`); !ok {
		return false
	}
	if i = bytes.Index(rest, []byte(`","time":"`)); i < 0 || !h.isSubject(string(rest[:i]), out.Rest) {
		return false
	}
	if i = bytes.Index(rest, []byte(`,"data":{`)); i < 0 {
		return false
	}
	if rest, ok = cut(rest[i:], `,"data":{"tenant":"`, h.tenant, `","poll":`); !ok {
		return false
	}
	poll, rest, ok := number(rest)
	if !ok || poll != out.ID.Poll || out.ID.Epoch == 0 {
		return false
	}
	if after, ok := cut(rest, `,"revision":`); ok {
		if out.Revision, rest, ok = number(after); !ok || out.Revision == 0 {
			return false
		}
	}
	if after, ok := cut(rest, `,"state_revision":`); ok {
		if out.State, _, ok = number(after); !ok {
			return false
		}
	}
	return out.Revision > 0 || !hasRevisions(out.Rest)
}

// isSubject reports whether the CloudEvents subject is that of a NATS subject below the tenant.
func (h *HeadReader) isSubject(subject, rest string) bool {
	if strings.HasPrefix(rest, "chat.") {
		return strings.HasPrefix(subject, "chat/")
	}
	entity := rest[:strings.LastIndexByte(rest, '.')]
	for {
		token, others, more := strings.Cut(entity, ".")
		h.buf = append(h.buf[:0], token...)
		if strings.IndexByte(token, '=') >= 0 {
			id, err := event.ParseToken(token)
			if err != nil {
				return false
			}
			h.buf = append(h.buf[:0], id...)
		}
		if !strings.HasPrefix(subject, string(h.buf)) {
			return false
		}
		subject = subject[len(h.buf):]
		if !more {
			return subject == ""
		}
		if subject == "" || subject[0] != '/' {
			return false
		}
		subject, entity = subject[1:], others
	}
}

// hasRevisions reports whether the events on a subject, below the tenant, have revisions.
func hasRevisions(rest string) bool {
	switch kind, _, _ := strings.Cut(rest, "."); kind {
	case "feed", "chat", "directory":
		return false
	}
	return true
}

// cut cuts prefixes off a text, one after the other.
func cut(text []byte, prefixes ...string) ([]byte, bool) {
	for _, p := range prefixes {
		if len(text) < len(p) || string(text[:len(p)]) != p {
			return text, false
		}
		text = text[len(p):]
	}
	return text, true
}

// number reads the number that a text begins with.
func number(text []byte) (n uint64, rest []byte, ok bool) {
	i := 0
	for ; i < len(text) && i < 19 && text[i] >= '0' && text[i] <= '9'; i++ {
		n = 10*n + uint64(text[i]-'0')
	}
	return n, text[i:], i > 0 && i < len(text) && (text[i] == ',' || text[i] == '}')
}
