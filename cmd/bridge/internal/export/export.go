// Package export reads, writes and verifies exports of events, verifies a range of a stream, and selects events.
package export

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/cmd/bridge/internal/reader"
	"bpcc-nats/diff/image"
	"bpcc-nats/internal/jsonscan"
	"bpcc-nats/schemas"
)

// Message is a line of an export made with --with-meta: an event with what the
// stream has stored with it.
type Message struct {
	Seq     uint64      `json:"sequence"`
	Subject string      `json:"subject"`
	Stored  time.Time   `json:"stored"`
	Header  nats.Header `json:"headers"`
	// Filter is the [Selection] that the export holds; nil if that is every event.
	Filter json.RawMessage `json:"filter,omitempty"`
	Event  json.RawMessage `json:"event"`
}

// AppendJSON appends the message as encoding/json writes it, but for the event, which stays as it is.
func (e *Message) AppendJSON(b []byte) []byte {
	b = strconv.AppendUint(append(b, `{"sequence":`...), e.Seq, 10)
	b = image.AppendText(append(b, `,"subject":`...), e.Subject)
	b = e.Stored.AppendFormat(append(b, `,"stored":"`...), time.RFC3339Nano)
	b = append(b, `","headers":{`...)
	for i, name := range slices.Sorted(maps.Keys(e.Header)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(image.AppendText(b, name), ":["...)
		for j, value := range e.Header[name] {
			if j > 0 {
				b = append(b, ',')
			}
			b = image.AppendText(b, value)
		}
		b = append(b, ']')
	}
	b = append(b, '}')
	if e.Filter != nil {
		b = append(append(b, `,"filter":`...), e.Filter...)
	}
	return append(append(append(b, `,"event":`...), e.Event...), '}')
}

// AppendLine appends a message as a line of an export made with --with-meta. The filter is the [Selection] that the
// export holds; nil if that is every event.
func AppendLine(b []byte, m reader.Message, filter json.RawMessage) []byte {
	e := Message{Seq: m.Seq, Subject: m.Subject, Stored: m.Stored.UTC(), Header: m.Header, Filter: filter, Event: Text(m.Body)}
	return append(e.AppendJSON(b), '\n')
}

// Text returns the body of a message as JSON on one line: a foreign message must not end a replay, break its lines
// or overwrite them on a terminal.
func Text(body []byte) []byte {
	if bytes.IndexByte(body, '\n') >= 0 || bytes.IndexByte(body, '\r') >= 0 || !jsonscan.Valid(body) {
		body, _ = json.Marshal(string(body)) // never fails for a string
	}
	return body
}

func (e *Message) audited() audit.Message {
	return audit.Message{Seq: e.Seq, Stored: e.Stored, Subject: e.Subject, Header: e.Header, Body: e.Event}
}

const (
	// maxPiped is how long a line may be that is in memory with others, of which there are some thousands.
	maxPiped = 64 << 10
	// maxErasures is how long the lines may be that state erasures, together.
	maxErasures = 64 << 20
)

// maxLine is longer than any message that NATS accepts.
const maxLine = 64 << 20

// Audit checks the lines of an export, plain or compressed; - is standard input.
func Audit(ctx context.Context, name string, o audit.Options) (audit.Report, error) {
	file, remove, err := Local(ctx, name)
	if err != nil {
		return audit.Report{}, About(ctx, name, err)
	}
	defer remove()
	lines := Lines{Read: func(handle func(line []byte)) error { return readExport(ctx, file, handle) }}
	report, err := lines.Audit(o)
	return report, About(ctx, name, err)
}

// About names the export in an error of reading it.
func About(ctx context.Context, name string, err error) error {
	switch {
	case errors.Is(err, reader.ErrUsage):
		return err
	case errors.Is(err, config.ErrUTF16):
		return fmt.Errorf("%w: %s: %w", reader.ErrUsage, name, err)
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	}
	return ctx.Err()
}

// Read calls handle with every line of an export, plain or compressed; - is standard input. Of a line without
// subject and headers both are those that its event has; a line that is no event has no subject.
func Read(ctx context.Context, name string, handle func(Message)) error {
	line := uint64(0)
	return About(ctx, name, readExport(ctx, name, func(text []byte) {
		line++
		m := Parse(bytes.Clone(text))
		if m.Seq == 0 {
			m.Seq = line
		}
		if v, err := event.ReadEnvelope(m.Event); err == nil && m.Subject == "" {
			if e, err := v.Event(); err == nil {
				m.Subject, m.Header = e.Subject(), nats.Header{nats.MsgIdHdr: {v.ID}}
			}
		}
		handle(m)
	}))
}

// Lines are the lines of an export. What is erased is stated after the gaps that it leaves, and what the export has
// is known at its end, so they are read twice.
type Lines struct {
	// Read calls handle with every line that is not empty.
	Read func(handle func(line []byte)) error
	// Before are the checkpoints before the range, and Erasures states erasures outside of it. Read may set them.
	Before, Erasures []Message
}

// Audit checks the lines.
func (l *Lines) Audit(o audit.Options) (audit.Report, error) {
	var s survey
	if err := l.Read(s.add); err != nil {
		return audit.Report{}, err
	}
	var err error
	if o.Part, err = s.part(o.Part); err != nil {
		return audit.Report{}, err
	}
	a, err := audit.New(o)
	if err != nil {
		return audit.Report{}, err
	}
	for _, e := range slices.Concat(s.erasures, l.Erasures) {
		a.ReadErasure(e.Subject, e.Header, e.Event)
	}
	for i, m := range l.Before {
		if !a.AddBefore(m.audited()) {
			return audit.Report{}, fmt.Errorf("message %d of those before the range is no checkpoint", i+1)
		}
	}
	pipe := audit.NewPipe(a, Workers())
	err = l.Read(func(line []byte) {
		line = bytes.Clone(line)
		if len(line) > maxPiped {
			pipe.Close()
			e := Parse(line)
			a.Add(e.audited())
			pipe = audit.NewPipe(a, Workers())
			return
		}
		pipe.Add(func() audit.Message {
			e := Parse(line)
			return e.audited()
		})
	})
	pipe.Close()
	return a.Report(), err
}

// IsCheckpoint reports whether a line may be a checkpoint; no other line is one.
func IsCheckpoint(line []byte) bool { return bytes.Contains(line, checkpointText) }

// survey is what the first reading of an export finds.
type survey struct {
	lines    int
	erasures []Message
	// erasureBytes is how long their lines are.
	erasureBytes int
	filter       json.RawMessage // of the first line
	// filterMember is its text in the lines.
	filterMember []byte
	mixed        bool // other lines have another filter
	checkpoints  bool // there are checkpoints
	others       bool // there are events that are not about the feed
}

// Texts that the lines have which a survey must look at. A text of the source cannot have the type of
// an event in it, since its quotes are escaped.
var (
	erasedText     = []byte(event.Erased)
	filterText     = []byte(`"filter"`)
	checkpointText = []byte(`"` + schemas.Type(event.Checkpoint) + `"`)
	feedText       = []byte(`"bpcc.feed.`)
	eventBegin     = []byte(`{"specversion":`)
)

func (s *survey) add(line []byte) {
	s.lines++
	var e Message
	same := s.filterMember != nil && bytes.Contains(line, s.filterMember)
	if s.lines == 1 || !same && bytes.Contains(line, filterText) || bytes.Contains(line, erasedText) {
		e = Parse(bytes.Clone(line))
		same = bytes.Equal(s.filter, e.Filter)
	}
	if s.lines == 1 && e.Filter != nil {
		s.filter, same = e.Filter, true
		s.filterMember = append(append(bytes.Clone(filterText), ':'), e.Filter...)
	}
	s.mixed = s.mixed || !same && s.filter != nil || s.filter == nil && e.Filter != nil
	if v, err := event.ReadEnvelope(e.Event); err == nil && v.Type == schemas.Type(event.Erased) {
		if s.erasureBytes += len(line); s.erasureBytes <= maxErasures {
			s.erasures = append(s.erasures, e)
		}
	}
	s.checkpoints = s.checkpoints || IsCheckpoint(line)
	s.others = s.others || !bytes.Contains(line, feedText)
}

// part returns what the export is a part of a stream: the asked one, what it says, or what it shows. A
// stream has checkpoints, and of each batch all events.
func (s *survey) part(asked *audit.Part) (*audit.Part, error) {
	if s.erasureBytes > maxErasures {
		return nil, fmt.Errorf("states erasures in %d bytes, more than %d", s.erasureBytes, maxErasures)
	}
	if s.mixed {
		return nil, fmt.Errorf("%w: the lines have different filters; verify each export by itself", reader.ErrUsage)
	}
	if s.filter != nil {
		held, err := parseSelection(s.filter)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", reader.ErrUsage, err)
		}
		if asked == nil {
			return held.Part(), nil
		}
		return &audit.Part{Name: asked.Name, Includes: func(subject string) bool { return asked.Includes(subject) && held.includes(subject) }}, nil
	}
	if asked != nil || s.lines == 0 || s.checkpoints && s.others {
		return asked, nil
	}
	return &audit.Part{Name: "some subjects"}, nil
}

// Local returns a file that can be read more than once: the named one, or a copy of what can be read only once, such
// as standard input. It must be removed.
func Local(ctx context.Context, name string) (file string, remove func(), err error) {
	if info, err := os.Stat(name); name != "-" && (err != nil || info.Mode().IsRegular()) {
		return name, func() {}, nil
	}
	text, err := Open(ctx, name)
	if err != nil {
		return "", nil, err
	}
	defer text.Close()
	to, err := os.CreateTemp("", "bridge-verify-*")
	if err != nil {
		return "", nil, err
	}
	remove = func() { os.Remove(to.Name()) }
	_, err = io.Copy(to, text)
	if err = errors.Join(err, to.Close()); err != nil {
		remove()
		return "", nil, err
	}
	return to.Name(), remove, nil
}

// readExport calls handle with every line of an export that is not empty.
func readExport(ctx context.Context, name string, handle func(line []byte)) error {
	file, err := Open(ctx, name)
	if err != nil {
		return err
	}
	defer file.Close()
	text, err := config.NewTextReader(file)
	if err != nil {
		return err
	}
	return Scan(ctx, text, handle)
}

// Scan calls handle with every line of a text that is not empty.
func Scan(ctx context.Context, text io.Reader, handle func(line []byte)) error {
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, maxLine)
	for lines.Scan() && ctx.Err() == nil {
		if line := bytes.TrimSpace(lines.Bytes()); len(line) > 0 {
			handle(line)
		}
	}
	return lines.Err()
}

// Parse parses a line: an event with what the stream has stored with it, or an event alone.
func Parse(line []byte) Message {
	var e Message
	if bytes.HasPrefix(line, eventBegin) {
		return Message{Event: line}
	}
	if json.Unmarshal(line, &e) == nil && len(e.Event) > 0 {
		return e
	}
	return Message{Event: line}
}
