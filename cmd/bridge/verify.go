package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/nats-io/nkeys"
	"github.com/spf13/cobra"

	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/cmd/bridge/internal/export"
	"bpcc-nats/cmd/bridge/internal/reader"
	"bpcc-nats/cmd/bridge/internal/render"
)

// errFaults is returned when the events break the contract.
var errFaults = errors.New("verification failed")

// verifyFlags are the flags of bridge verify.
type verifyFlags struct {
	reader.Range
	selection export.Selection
	tenant    string
	json      bool
	timeout   time.Duration
	signedBy  []string // public keys
	heads     []string // files
}

func (p *program) verifyCommand() *cobra.Command {
	o := verifyFlags{Range: reader.Range{}}
	c := &cobra.Command{
		Use: "verify [FILE]", Short: "check the stream, or an export of it",
		Example: `
bridge verify
bridge verify --since 24h --json
bridge verify --subject 'bpcc.v1.*.agent.*.state_changed'
bridge verify tuesday.ndjson.gz
bridge verify --head heads.json
bridge replay --since 1h | bridge verify -
bridge replay --type agent.state_changed | bridge verify --type agent.state_changed -`,
		Args: atMost(1), ValidArgsFunction: files,
		RunE: func(c *cobra.Command, args []string) error { return p.verify(c.Context(), o, strings.Join(args, "")) },
	}
	f := c.Flags()
	o.AddFlags(f)
	addSelectionFlags(c, &o.selection)
	f.StringVar(&o.tenant, "tenant", "", "check only this `tenant`; default all")
	f.BoolVar(&o.json, "json", false, "print the report as JSON")
	f.StringArrayVar(&o.heads, "head", nil, "check that the stream still has what bridge head printed into this `file`; may be repeated")
	f.StringArrayVar(&o.signedBy, "signed-by", nil, "check that each checkpoint is signed by this public `key`, or by another one given so")
	timeoutFlag(c, &o.timeout)
	return c
}

func (p *program) verify(ctx context.Context, o verifyFlags, file string) error {
	if err := o.Validate(); err != nil {
		return fmt.Errorf("%w: %w", reader.ErrUsage, err)
	}
	o.WriteLocalTimes(p.err)
	defer p.collectLess()()
	report, err := p.auditOf(ctx, o, file)
	if err != nil {
		return err
	}
	if o.json {
		err = p.writeJSON(report)
	} else {
		err = render.Audit(p.out, report)
	}
	if file != "" && report.Part == nil && report.ByCode["missing"]+report.ByCode["count"] > 0 {
		p.err.Printf("if the input holds only some subjects or types, name them with --subject or --type\n")
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
	o := audit.Options{Tenant: f.tenant, Part: f.selection.Part(), SignedBy: f.signedBy}
	for _, key := range f.signedBy {
		if !nkeys.IsValidPublicKey(key) {
			return audit.Report{}, fmt.Errorf("%w: --signed-by %s: not a public nkey, such as nk -inkey FILE -pubout prints", reader.ErrUsage, key)
		}
	}
	for _, name := range f.heads {
		heads, err := export.ReadHeads(name)
		if err != nil {
			return audit.Report{}, fmt.Errorf("%w: --head %w", reader.ErrUsage, err)
		}
		o.Heads = append(o.Heads, heads...)
	}
	if file != "" {
		if f.From > 0 || f.To > 0 || !f.Since.IsZero() || !f.Until.IsZero() {
			return audit.Report{}, fmt.Errorf("%w: --since, --until, --from-seq and --to-seq are for the stream, not for an exported file", reader.ErrUsage)
		}
		if list := env.ToMap(p.env)["BRIDGE_VOLATILE_STATS"]; list != "" {
			var stats config.List
			if err := stats.UnmarshalText([]byte(list)); err != nil {
				return audit.Report{}, fmt.Errorf("%w: BRIDGE_VOLATILE_STATS: %w", reader.ErrUsage, err)
			}
			o.Volatile = config.GlobMatcher(stats)
		}
		report, err := export.Audit(ctx, file, o, verifyWorkers())
		return report, reader.Unfinished(ctx, err)
	}
	sessionCtx, c, l, err := p.openReadOnly(ctx, f.timeout)
	if err != nil {
		return audit.Report{}, reader.Unfinished(ctx, err)
	}
	defer l.Close()
	o.CheckpointInterval, o.Retention, o.Volatile = c.Stream.CheckpointInterval, c.Stream.Retention, config.GlobMatcher(c.Events.VolatileStats)
	f.Subjects, f.CompleteBatch = f.selection.Patterns(), f.selection.IncludesCheckpoints()
	erased := event.SubjectPrefix + ".*." + event.Erased
	o.Whole = o.Tenant == "" && f.selection.All()
	if o.Tenant != "" {
		if len(f.selection.Subjects) == 0 {
			f.Subjects = []string{event.Prefix(o.Tenant) + ">"}
		}
		erased = event.Prefix(o.Tenant) + event.Erased
	}
	a, err := audit.New(o)
	if err != nil {
		return audit.Report{}, err
	}
	erasures := reader.Reader{JS: l.JS, Stream: c.Stream.Name, Timeout: f.timeout, Handle: func(m reader.Message) error {
		a.ReadErasure(m.Subject, m.Header, m.Body)
		return nil
	}}
	erasures.Subjects = []string{erased}
	if err := erasures.Read(sessionCtx); err != nil {
		return audit.Report{}, reader.Unfinished(sessionCtx, err)
	}
	pipe := audit.NewPipe(a, verifyWorkers())
	events := reader.Reader{
		Range: f.Range, JS: l.JS, Stream: c.Stream.Name, Timeout: f.timeout, Whole: o.Whole, Unfiltered: l.Embedded, Unreadable: pipe.AddUnreadable,
		Handle: func(m reader.Message) error {
			pipe.Add(func() audit.Message {
				return audit.Message{Seq: m.Seq, Subject: m.Subject, Header: m.Header, Body: m.Body}
			})
			return nil
		},
	}
	err = events.Read(sessionCtx)
	pipe.Close()
	if err != nil {
		return audit.Report{}, reader.Unfinished(sessionCtx, err)
	}
	return a.Report(), nil
}

// collectLess sets the collection of garbage to Go's default, instead of gcPercent, unless GOGC is set:
// commands that read streams make much garbage, and take a third of the CPU time with it. It returns a
// function that ends this.
func (p *program) collectLess() (end func()) {
	if env.ToMap(p.env)["GOGC"] != "" {
		return func() {}
	}
	before := debug.SetGCPercent(100)
	return func() { debug.SetGCPercent(before) }
}

// verifyWorkers is the number of goroutines that validate and decode events. Reading them and comparing
// them with each other takes about as long.
func verifyWorkers() int { return runtime.GOMAXPROCS(0) }
