package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/cobra"

	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/config"
	"bpcc-nats/cmd/bridge/internal/bundle"
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
	expected  export.Expected
	json      bool
	timeout   time.Duration
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
bridge verify tuesday.tar.zst
bridge verify --head heads.json
bridge replay --since 1h | bridge verify -
bridge replay --type agent.state_changed | bridge verify --type agent.state_changed -`,
		Args: atMost(1), ValidArgsFunction: files,
		RunE: func(c *cobra.Command, args []string) error { return p.verify(c.Context(), o, strings.Join(args, "")) },
	}
	f := c.Flags()
	o.AddFlags(f)
	addSelectionFlags(c, &o.selection)
	o.expected.AddFlags(f)
	f.BoolVar(&o.json, "json", false, "print the report as JSON")
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
		if report.Bundle != nil {
			report.Bundle.Write(p.out)
		}
		err = render.Audit(p.out, report.Report)
	}
	if file != "" && report.Part == nil && report.ByCode["missing"]+report.ByCode["count"] > 0 {
		p.err.Printf("if the input holds only some subjects or types, name them with --subject or --type\n")
	}
	return errors.Join(err, faultsOf(report.Report))
}

// faultsOf is the error of a report with faults.
func faultsOf(r audit.Report) error {
	if r.OK {
		return nil
	}
	n := 0
	for _, count := range r.ByCode {
		n += count
	}
	return fmt.Errorf("%w: %d fault(s)", errFaults, n)
}

// auditOf checks an exported file, or a range of the stream if file is "".
func (p *program) auditOf(ctx context.Context, f verifyFlags, file string) (bundle.Report, error) {
	o, err := f.expected.Options()
	if err != nil {
		return bundle.Report{}, err
	}
	if file != "" {
		if f.From > 0 || f.To > 0 || !f.Since.IsZero() || !f.Until.IsZero() {
			return bundle.Report{}, fmt.Errorf("%w: --since, --until, --from-seq and --to-seq are for the stream, not for an exported file", reader.ErrUsage)
		}
		if list := env.ToMap(p.env)["BRIDGE_VOLATILE_STATS"]; list != "" {
			var stats config.List
			if err := stats.UnmarshalText([]byte(list)); err != nil {
				return bundle.Report{}, fmt.Errorf("%w: BRIDGE_VOLATILE_STATS: %w", reader.ErrUsage, err)
			}
			o.Volatile = config.GlobMatcher(stats)
		}
		o.Part = f.selection.Part()
		report, err := bundle.Audit(ctx, file, o)
		return report, reader.Unfinished(ctx, err)
	}
	sessionCtx, c, l, err := p.openReadOnly(ctx, f.timeout)
	if err != nil {
		return bundle.Report{}, reader.Unfinished(ctx, err)
	}
	defer l.Close()
	stream := export.Stream{Range: f.Range, Session: l, Config: c, Timeout: f.timeout, Selection: f.selection, Options: o}
	report, err := stream.Audit(sessionCtx)
	return bundle.Report{Report: report}, reader.Unfinished(sessionCtx, err)
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
