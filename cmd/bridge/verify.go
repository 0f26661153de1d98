package main

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
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/cmd/bridge/internal/console"
	"bpcc-nats/cmd/bridge/internal/reader"
)

// errFaults is returned when the events break the contract.
var errFaults = errors.New("verification failed")

// verifyFlags are the flags of bridge verify.
type verifyFlags struct {
	reader.Range
	tenant  string
	json    bool
	timeout time.Duration
}

func (p *program) verifyCommand() *cobra.Command {
	o := verifyFlags{Range: reader.Range{CompleteBatch: true}}
	c := &cobra.Command{
		Use: "verify [FILE]", Short: "check the stream, or an export of it",
		Example: `
bridge verify
bridge verify --since 24h --json
bridge verify tuesday.ndjson.gz
bridge replay --since 1h | bridge verify -`,
		Args: atMost(1), ValidArgsFunction: files,
		RunE: func(c *cobra.Command, args []string) error { return p.verify(c.Context(), o, strings.Join(args, "")) },
	}
	f := c.Flags()
	o.AddFlags(f)
	f.StringVar(&o.tenant, "tenant", "", "check only this `tenant`; default all")
	f.BoolVar(&o.json, "json", false, "print the report as JSON")
	timeoutFlag(c, &o.timeout)
	return c
}

func (p *program) verify(ctx context.Context, o verifyFlags, file string) error {
	if err := o.Validate(); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	o.WriteLocalTimes(p.err)
	report, err := p.auditOf(ctx, o, file)
	if err != nil {
		return err
	}
	if o.json {
		err = p.writeJSON(report)
	} else {
		err = p.writeAudit(report)
	}
	if err == nil && !report.OK {
		n := 0
		for _, count := range report.ByCode {
			n += count
		}
		err = fmt.Errorf("%w: %d fault(s)", errFaults, n)
	}
	return err
}

// auditOf checks an exported file, or a range of the stream if file is "".
func (p *program) auditOf(ctx context.Context, f verifyFlags, file string) (audit.Report, error) {
	o := audit.Options{Tenant: f.tenant}
	if file != "" {
		if f.From > 0 || f.To > 0 || !f.Since.IsZero() || !f.Until.IsZero() {
			return audit.Report{}, fmt.Errorf("%w: --since, --until, --from-seq and --to-seq are for the stream, not for an exported file", errUsage)
		}
		if list := env.ToMap(p.env)["BRIDGE_VOLATILE_STATS"]; list != "" {
			var stats config.List
			if err := stats.UnmarshalText([]byte(list)); err != nil {
				return audit.Report{}, fmt.Errorf("%w: BRIDGE_VOLATILE_STATS: %w", errUsage, err)
			}
			o.Volatile = config.GlobMatcher(stats)
		}
		a, err := audit.New(o)
		if err == nil {
			err = auditFile(ctx, file, a)
		}
		if err != nil {
			return audit.Report{}, reader.Unfinished(ctx, err)
		}
		return a.Report(), nil
	}
	sessionCtx, c, l, err := p.openReadOnly(ctx, f.timeout)
	if err != nil {
		return audit.Report{}, reader.Unfinished(ctx, err)
	}
	defer l.Close()
	o.CheckpointInterval, o.Retention, o.Volatile = c.CheckpointInterval, c.Retention, config.GlobMatcher(c.VolatileStats)
	f.Subjects = []string{event.SubjectPrefix + ".>"}
	if o.Whole = o.Tenant == ""; !o.Whole {
		f.Subjects = []string{event.Prefix(o.Tenant) + ">"}
	}
	a, err := audit.New(o)
	if err != nil {
		return audit.Report{}, err
	}
	events := reader.Reader{Range: f.Range, JS: l.JS, Stream: c.Stream, Timeout: f.timeout, Handle: func(m reader.Message) error {
		a.Add(m.Seq, m.Subject, m.Header, m.Body)
		return nil
	}}
	if err := events.Read(sessionCtx); err != nil {
		return audit.Report{}, reader.Unfinished(sessionCtx, err)
	}
	return a.Report(), nil
}

// exportedMessage is a line of an export made with --with-meta: an event with what the
// stream has stored with it.
type exportedMessage struct {
	Seq     uint64          `json:"sequence"`
	Subject string          `json:"subject"`
	Stored  time.Time       `json:"stored"`
	Header  nats.Header     `json:"headers"`
	Event   json.RawMessage `json:"event"`
}

// maxLine is longer than any message that NATS accepts.
const maxLine = 64 << 20

// auditFile adds every line of an export, plain or compressed; - is standard input.
func auditFile(ctx context.Context, name string, a *audit.Auditor) error {
	in := io.Reader(os.Stdin)
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
		defer file.Close()
		in = file
	}
	// A signal does not end a read of a terminal or a pipe. The goroutine then ends
	// with the program.
	text, pipe := io.Pipe()
	defer text.Close()
	go func() {
		_, err := io.Copy(pipe, in)
		pipe.CloseWithError(err)
	}()
	defer context.AfterFunc(ctx, func() { text.CloseWithError(ctx.Err()) })()
	buffered, err := config.NewTextReader(text)
	switch {
	case errors.Is(err, config.ErrUTF16):
		return fmt.Errorf("%w: %s: %w", errUsage, name, err)
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	}
	lines := bufio.NewScanner(buffered)
	lines.Buffer(nil, maxLine)
	for lines.Scan() && ctx.Err() == nil {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		var e exportedMessage
		if json.Unmarshal(line, &e) == nil && len(e.Event) > 0 {
			a.Add(e.Seq, e.Subject, e.Header, e.Event)
			continue
		}
		a.Add(0, "", nil, line)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return ctx.Err()
}

// writeAudit writes the report for people.
func (p *program) writeAudit(r audit.Report) error {
	c := p.out
	w, flush := c.Aligned()
	what := fmt.Sprintf("%d events", r.Events)
	if r.LastSeq > 0 {
		what += fmt.Sprintf(", sequences %d to %d", r.FirstSeq, r.LastSeq)
	}
	if !r.From.IsZero() {
		what += fmt.Sprintf(", %s to %s", console.FormatTime(r.From), console.FormatTime(r.To))
	}
	w.Printf("%s\n\n", what)
	w.Printf("TENANT\tEVENTS\tCHECKPOINTS\tENTITIES\tEPOCH\tPOLL\tSTATUS\tOBSERVED UNTIL\tGAPS\tGAP TIME\n")
	for _, t := range r.Tenants {
		w.Printf("%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%d\t%v\n", t.Tenant, t.Events, t.Checkpoints, t.Entities, t.LastEpoch, t.LastPoll,
			console.OrDash(t.Status), console.FormatTime(t.ObservedUntil), t.GapCount, console.RoundDuration(time.Duration(t.GapSeconds*float64(time.Second))))
	}
	for _, t := range r.Tenants {
		if len(t.Gaps) > 0 {
			w.Printf("\nGAPS of %s\tfrom\tto\tduration\tnet changes\tevent\n", t.Tenant)
		}
		for _, g := range t.Gaps {
			to, duration := "open", "–"
			if !g.To.IsZero() {
				to = console.FormatTime(g.To)
			}
			if !g.From.IsZero() && !g.To.IsZero() {
				duration = console.RoundDuration(g.To.Sub(g.From)).String()
			}
			w.Printf("  %s: %s\t%s\t%s\t%s\t%d\t%s\n", g.Kind, g.Cause, console.FormatTime(g.From), to, duration, g.Changes, g.ID)
		}
		if more := t.GapCount - len(t.Gaps); more > 0 {
			w.Printf("  and %d more\n", more)
		}
	}
	if err := flush(); err != nil {
		return err
	}
	writeFindings(c, "NOTES", console.Yellow, r.Notes)
	writeFindings(c, "FAULTS", console.Red, r.Faults)
	if r.OK {
		return c.Printf("\n%s every event is valid, unique, in order, counted by its checkpoint, and consistent with all others\n", c.Paint(console.Green, "SOUND"))
	}
	c.Printf("\n%s", c.Paint(console.Red, "UNSOUND"))
	for _, code := range slices.Sorted(maps.Keys(r.ByCode)) {
		c.Printf("  %s %d", code, r.ByCode[code])
	}
	return c.Printf("\n")
}

func writeFindings(c *console.Console, title, colour string, list []audit.Finding) {
	if len(list) > 0 {
		c.Printf("\n%s\n", title)
	}
	for _, f := range list {
		where := fmt.Sprintf("line %d", f.N)
		if f.Seq > 0 {
			where = fmt.Sprintf("sequence %d", f.Seq)
		}
		entity := f.Tenant
		if f.Entity != "" {
			entity += " " + f.Entity
		}
		c.Printf("  %s  %s  %s  %s\n      %s\n", c.Paint(colour, fmt.Sprintf("%-9s", f.Code)), where, entity, console.OrDash(f.ID), f.Text)
	}
}
