package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"bpcc-nats/bridge/audit/sequences"
	"bpcc-nats/bridge/event"
	"bpcc-nats/cmd/bridge/internal/export"
	"bpcc-nats/cmd/bridge/internal/reader"
	"bpcc-nats/cmd/bridge/internal/render"
	"bpcc-nats/cmd/bridge/internal/republish"
)

func (p *program) replayCommand() *cobra.Command {
	var s reader.Range
	var r replayer
	c := &cobra.Command{
		Use: "replay", Short: "print stored events as NDJSON or as a table, or publish them again under another prefix",
		Example: `
bridge replay --since 1h --type 'agent.*' --human
bridge replay --subject 'bpcc.v1.*.threshold.>' --follow
bridge replay --since 2026-11-17 --until 2026-11-18 --with-meta | gzip > tuesday.ndjson.gz
bridge replay --since 2026-11-17 --until 2026-11-18 --format parquet --stats in_calls_waiting > tuesday.parquet
bridge replay --since 2026-11-17 --until 2026-11-18 --into bpcc-replay.v1 --speed 10`,
		RunE: func(c *cobra.Command, _ []string) error { return p.replay(c.Context(), s, &r) },
	}
	f := c.Flags()
	s.AddFlags(f)
	addSelectionFlags(c, &r.selection)
	f.BoolVar(&s.Follow, "follow", false, "continue with new messages")
	f.BoolVar(&r.human, "human", false, "print lines for people instead of NDJSON")
	f.BoolVar(&r.meta, "with-meta", false, "print sequence, subject, headers and time of storage with each event, for bridge verify")
	r.table.AddFlags(f)
	f.StringVar(&r.into, "into", "", "publish again under this subject `prefix` instead of printing, as PREFIX.<tenant>.…")
	f.Func("speed", "`factor`: 1 is the original speed, 10 ten times as fast, max without pauses (default max, with --into 1)", r.setSpeed)
	timeoutFlag(c, &r.timeout)
	completeFlag(c, "format", words(export.TableFormats()...))
	completeFlag(c, "speed", words("1\toriginal speed", "10\tten times as fast", "max\twithout pauses"))
	return c
}

func (p *program) replay(ctx context.Context, s reader.Range, r *replayer) error {
	if err := s.Validate(); err != nil {
		return fmt.Errorf("%w: %w", reader.ErrUsage, err)
	}
	s.WriteLocalTimes(p.err)
	if outputs := []bool{r.human, r.meta, r.into != "", r.table.Format != ""}; len(slices.DeleteFunc(outputs, func(asked bool) bool { return !asked })) > 1 {
		return fmt.Errorf("%w: --human, --with-meta, --format and --into exclude each other", reader.ErrUsage)
	}
	if err := r.table.Validate(s.Follow, p.out.Terminal); err != nil {
		return fmt.Errorf("%w: %w", reader.ErrUsage, err)
	}
	defer p.collectLess()()
	s.Subjects = r.selection.Patterns()
	if !r.selection.All() {
		var err error
		if r.filter, err = json.Marshal(&r.selection); err != nil {
			return err
		}
	}
	ended := reader.Unfinished
	if s.Follow { // only a signal ends it
		ended = reader.StopCause
	}
	sessionCtx, c, l, err := p.openReadOnly(ctx, r.timeout)
	if err != nil {
		return ended(ctx, err)
	}
	defer l.Close()
	done := func(error) error { return nil }
	switch {
	case r.into != "":
		if !r.paced {
			r.speed = 1
		}
		out, err := republish.New(sessionCtx, c, l, r.into, r.timeout)
		if err != nil {
			return ended(sessionCtx, err)
		}
		r.emit, done = out.Publish, func(error) error { return out.Close(p.err) }
	case r.human:
		lines := render.NewLines(p.out)
		r.emit = func(_ context.Context, m reader.Message) error { return lines.Event(m.Body) }
	case r.table.Format != "":
		out := r.table.Begin(p.data)
		r.emit = func(_ context.Context, m reader.Message) error { return out.Write(m, m.Pending == 0 || r.speed > 0) }
		done = out.Close
	default:
		out := bufio.NewWriterSize(p.data, 64<<10)
		r.emit = func(_ context.Context, m reader.Message) error { return r.writeLine(out, m) }
		done = func(error) error { return out.Flush() }
	}
	// On one terminal the bar and the events would overwrite each other.
	if p.err.Terminal && !s.Follow && (r.into != "" || !p.out.Terminal) {
		r.progress = reader.NewProgress(p.err, s)
	}
	events := reader.Reader{
		Range: s, JS: l.JS, Stream: c.Stream.Name, Timeout: r.timeout, Whole: len(r.selection.Subjects) == 0, Unfiltered: l.Embedded,
		Unreadable: func(lost []uint64) {
			for _, run := range sequences.Runs(lost) {
				p.err.Printf("skipped, unreadable: %s of the stream %s: the server cannot load it\n", run, c.Stream.Name)
			}
		},
		Handle: func(m reader.Message) error { return r.handle(sessionCtx, m) },
	}
	err = events.Read(sessionCtx)
	if r.progress != nil {
		r.progress.Close()
	}
	if flushed := done(err); err == nil {
		err = flushed
	}
	return ended(sessionCtx, err)
}

// replayer emits the messages of the wanted types, at the wanted speed.
type replayer struct {
	selection   export.Selection
	into        string // the prefix under which to publish; "" = print
	timeout     time.Duration
	human, meta bool
	table       export.Table
	paced       bool            // --speed was given
	speed       float64         // 0 = without pauses
	filter      json.RawMessage // of the lines with meta: the selection, nil if it is every event
	emit        func(context.Context, reader.Message) error
	progress    *reader.Progress // may be nil

	startedAt, firstStored time.Time // of the replay, and of the first message's storage
	line                   []byte    // memory for a line
}

func (r *replayer) setSpeed(text string) error {
	r.paced = true
	if text == "max" {
		r.speed = 0
		return nil
	}
	speed, err := strconv.ParseFloat(text, 64)
	if err != nil || !(speed > 0 && speed <= 1e9) { // NaN neither
		return errors.New("want max or a number above 0, such as 10")
	}
	r.speed = speed
	return nil
}

// wanted reports whether a message is of one of the types. A foreign message is of
// none; bridge verify reports it.
func (r *replayer) wanted(m reader.Message) bool {
	if len(r.selection.Types) == 0 {
		return true
	}
	if !r.selection.IncludesType(m.Subject) {
		return false
	}
	v, err := event.ReadEnvelope(m.Body)
	if err != nil {
		return false
	}
	name, ok := v.Name()
	return ok && r.selection.IncludesName(name)
}

func (r *replayer) handle(ctx context.Context, m reader.Message) error {
	if r.firstStored.IsZero() {
		r.startedAt, r.firstStored = time.Now(), m.Stored
	}
	if !r.wanted(m) {
		return nil
	}
	if err := r.pace(ctx, m); err != nil {
		return err
	}
	if err := r.emit(ctx, m); err != nil {
		return err
	}
	if r.progress != nil {
		r.progress.Update(m)
	}
	return nil
}

// pace waits until a message is due at the chosen speed.
func (r *replayer) pace(ctx context.Context, m reader.Message) error {
	if r.speed == 0 {
		return nil
	}
	due := r.startedAt.Add(time.Duration(float64(m.Stored.Sub(r.firstStored)) / r.speed))
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(due)):
		return nil
	}
}

// writeLine writes a message as one line. It flushes when no more messages are pending.
func (r *replayer) writeLine(out *bufio.Writer, m reader.Message) error {
	if r.meta {
		r.line = export.AppendLine(r.line[:0], m, r.filter)
	} else {
		r.line = append(append(r.line[:0], export.Text(m.Body)...), '\n')
	}
	if _, err := out.Write(r.line); err != nil || m.Pending > 0 && r.speed == 0 {
		return err
	}
	return out.Flush()
}
