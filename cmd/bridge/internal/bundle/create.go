package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/scan"
	"bpcc-nats/cmd/bridge/internal/export"
	"bpcc-nats/cmd/bridge/internal/reader"
	"bpcc-nats/schemas"
)

// ErrEmpty is returned where there is nothing to export.
var ErrEmpty = errors.New("the range holds no events")

// Create writes a bundle of a range of a stream, completed to whole batches, and returns the report of its
// verification, and its size in bytes.
func (o *Output) Create(ctx context.Context, s export.Stream) (report audit.Report, size int64, err error) {
	c := creation{Stream: s, made: time.Now().UTC().Truncate(time.Second), seen: newCheckpoints()}
	if err := c.begin(ctx); err != nil {
		return report, 0, err
	}
	if err := c.readBefore(ctx); err != nil {
		return report, 0, err
	}
	if c.events, err = newSpool(o.name); err != nil {
		return report, 0, err
	}
	defer c.events.close()
	c.Handle, c.Erasure = c.add, c.keepErasure
	if report, err = c.Audit(ctx); err != nil {
		return report, 0, err
	}
	if report.Events == 0 {
		return report, 0, ErrEmpty
	}
	files, err := c.files(report)
	if err != nil {
		return report, 0, err
	}
	if err := write(o.file, c.manifest(s.Range), files, c.events); err != nil {
		return report, 0, fmt.Errorf("write %s: %w", o.name, err)
	}
	info, err := o.file.Stat()
	if err != nil {
		return report, 0, err
	}
	return report, info.Size(), o.commit()
}

// creation is a bundle that is being made.
type creation struct {
	export.Stream
	made     time.Time
	events   *spool
	seen     *checkpoints
	erasures []reader.Message // all that the stream has
	line     []byte           // memory for a line
}

// add writes an event.
func (c *creation) add(m reader.Message) error {
	c.line = export.AppendLine(c.line[:0], m, nil)
	if isCheckpoint(m.Subject) {
		c.seen.add(exported(m))
	}
	_, err := c.events.Write(c.line)
	return err
}

func (c *creation) keepErasure(m reader.Message) error {
	c.erasures = append(c.erasures, m)
	return nil
}

// exported is a message as it stands in an export.
func exported(m reader.Message) export.Message {
	return export.Message{Seq: m.Seq, Subject: m.Subject, Stored: m.Stored.UTC(), Header: m.Header, Event: export.Text(m.Body)}
}

// manifest describes the bundle but for its files.
func (c *creation) manifest(asked reader.Range) Manifest {
	return Manifest{
		Format: format, Version: c.Config.Version, Made: c.made, Stream: c.Config.Stream.Name, Tenant: c.Options.Tenant,
		Asked: Asked{Since: asked.Since.UTC(), Until: asked.Until.UTC(), FromSeq: asked.From, ToSeq: asked.To},
		Settings: Settings{
			CheckpointInterval: c.Config.Stream.CheckpointInterval.Seconds(), Retention: c.Config.Stream.Retention.Seconds(),
			Volatile: c.Config.Events.VolatileStats,
		},
	}
}

// files are the small files of the bundle.
func (c *creation) files(report audit.Report) ([]small, error) {
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return nil, err
	}
	heads, keys := c.seen.files()
	var before, erasures []byte
	for _, m := range c.Before {
		tenant, _ := event.TenantOf(m.Subject)
		if slices.ContainsFunc(report.Tenants, func(t audit.TenantReport) bool { return t.Tenant == tenant }) {
			before = append(m.AppendJSON(before), '\n')
		}
	}
	for _, m := range c.erasures {
		if (m.Seq < report.FirstSeq || m.Seq > report.LastSeq) && erases(m, report.FirstSeq, report.LastSeq) {
			erasures = export.AppendLine(erasures, m, nil)
		}
	}
	files := []small{
		{reportFile, append(text, '\n')},
		{headsFile, heads},
		{keysFile, keys},
		{beforeFile, before},
		{erasuresFile, erasures},
	}
	for _, name := range schemas.Names() {
		if strings.Contains(name, "/") { // of requests and configuration
			continue
		}
		schema, err := schemas.Schema(name)
		if err != nil {
			return nil, err
		}
		files = append(files, small{schemasDir + name + ".json", schema})
	}
	return files, nil
}

// erases reports whether a message states that messages of a range are erased.
func erases(m reader.Message, first, last uint64) bool {
	v, err := event.ReadEnvelope(m.Body)
	if err != nil {
		return false
	}
	e, err := v.Event()
	if err != nil {
		return false
	}
	d, ok := e.Data.(*event.ErasedData)
	return ok && slices.ContainsFunc(d.Sequences, func(r event.SequenceRange) bool { return r.First <= last && r.Last >= first })
}

// read reads a part of the range's subjects.
func (c *creation) read(ctx context.Context, part reader.Range, handle func(reader.Message) error) error {
	if len(part.Subjects) == 0 {
		part.Subjects = c.Selection.Patterns()
		if c.Options.Tenant != "" {
			part.Subjects = []string{event.Prefix(c.Options.Tenant) + ">"}
		}
	}
	r := reader.Reader{Range: part, JS: c.Session.JS, Stream: c.Config.Stream.Name, Timeout: c.Timeout, Handle: handle}
	return r.Read(ctx)
}

// first returns the first message of a part of the stream; nil if there is none.
func (c *creation) first(ctx context.Context, part reader.Range) (*reader.Message, error) {
	var found *reader.Message
	err := c.read(ctx, part, func(m reader.Message) error {
		found = &m
		return scan.ErrStop
	})
	return found, err
}

// maxPart is how many messages an atomic batch has at most. They follow each other in the stream.
const maxPart = 1000

// begin lets the range begin with a batch: the first one of which it has a message.
func (c *creation) begin(ctx context.Context) error {
	first := c.From
	if !c.Since.IsZero() {
		m, err := c.first(ctx, reader.Range{Since: c.Since, Until: c.Until, To: c.To})
		if err != nil {
			return err
		}
		if m == nil {
			return ErrEmpty
		}
		first = m.Seq
	}
	c.Since = reader.Time{}
	if c.From = first; first <= 1 {
		return nil
	}
	return c.read(ctx, reader.Range{From: max(first, maxPart+1) - maxPart, To: first - 1}, func(m reader.Message) error {
		switch {
		case isCheckpoint(m.Subject):
			c.From = first
		case c.From == first:
			c.From = m.Seq
		}
		return nil
	})
}

// readBefore reads the checkpoint before the range of each tenant, where it is still stored: the first one of the
// range has its sequence in a header.
func (c *creation) readBefore(ctx context.Context) error {
	tenants := []string{c.Options.Tenant}
	if c.Options.Tenant == "" {
		var err error
		if tenants, err = reader.Tenants(ctx, c.Session.JS, c.Config.Stream.Name, c.Timeout); err != nil {
			return err
		}
	}
	for _, tenant := range tenants {
		subjects := []string{event.Prefix(tenant) + event.Checkpoint}
		first, err := c.first(ctx, reader.Range{From: c.From, Subjects: subjects})
		if err != nil {
			return err
		}
		if first == nil {
			continue
		}
		d := checkpointOf(first)
		if d == nil {
			continue
		}
		seq, err := strconv.ParseUint(first.Header.Get(jetstream.ExpectedLastSubjSeqHeader), 10, 64)
		if err != nil || seq == 0 || seq >= c.From {
			continue
		}
		before, err := c.first(ctx, reader.Range{From: seq, To: seq, Subjects: subjects})
		if err != nil {
			return err
		}
		if before != nil && checkpointOf(before) != nil && before.Header.Get(nats.MsgIdHdr) == d.Follows {
			c.Before = append(c.Before, exported(*before))
		}
	}
	return nil
}

// checkpointOf returns what a checkpoint states; nil of any other message.
func checkpointOf(m *reader.Message) *event.CheckpointData {
	v, err := event.ReadEnvelope(m.Body)
	if err != nil || v.ID != m.Header.Get(nats.MsgIdHdr) {
		return nil
	}
	e, err := v.Event()
	if err != nil {
		return nil
	}
	d, _ := e.Data.(*event.CheckpointData)
	return d
}
