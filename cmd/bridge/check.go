package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bpcc-nats/bridge/check"
	"bpcc-nats/bridge/config"
	"bpcc-nats/cmd/bridge/internal/console"
	"bpcc-nats/cmd/bridge/internal/reader"
)

func (p *program) checkCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "check", Short: "examine BPCC and NATS step by step; publish nothing",
		Example: `
BPCC_URL=https://acme.brightpattern.com BPCC_CLIENT_ID=stats.user BPCC_CLIENT_SECRET_FILE=/run/secrets/bpcc bridge check`,
		RunE: func(c *cobra.Command, _ []string) error { return p.check(c.Context(), asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print each step as a line of JSON")
	return c
}

func (p *program) check(ctx context.Context, asJSON bool) error {
	all, _, err := p.configureAll(config.ForSource)
	if err != nil {
		return err
	}
	d := checkReport{program: p, json: asJSON}
	for _, c := range all {
		d.startTarget(fmt.Sprintf("%s as tenant %q", c.URL, c.Tenant), c.Tenant)
		if err := unlessReported(check.Source(ctx, c, d.writeStep)); err != nil {
			return err
		}
	}
	if err := d.checkNATS(ctx); err != nil {
		return err
	}
	return d.finish()
}

// checkReport writes the report of a check.
type checkReport struct {
	program *program
	json    bool

	target             string // the tenant, or NATS
	failures, warnings int
	writeErr           error // why nothing more can be written
}

func (d *checkReport) startTarget(title, target string) {
	if d.target != "" && !d.json {
		d.printf("\n")
	}
	if d.target = target; !d.json {
		d.printf("%s\n", title)
	}
}

func (d *checkReport) printf(format string, args ...any) {
	d.writeErr = cmp.Or(d.writeErr, d.program.out.Printf(format, args...))
}

// writeStep writes one step: its name, what was found, what to do.
func (d *checkReport) writeStep(s check.Step) {
	colour := console.Green
	switch s.Outcome {
	case check.Failure:
		d.failures++
		colour = console.Red
	case check.Warning:
		d.warnings++
		colour = console.Yellow
	}
	if d.json {
		line, err := json.Marshal(struct {
			Target  string `json:"target"`
			Name    string `json:"step"`
			Outcome string `json:"outcome"`
			Found   string `json:"found"`
			Hint    string `json:"hint,omitempty"`
		}{d.target, s.Name, string(s.Outcome), s.Found, s.Hint})
		if err == nil {
			_, err = fmt.Fprintf(d.program.data, "%s\n", line)
		}
		d.writeErr = cmp.Or(d.writeErr, err)
		return
	}
	const indent = 2 + 4 + 2 + 13 + 1
	c := d.program.out
	d.printf("  %s  %-13s %s\n", c.Paint(colour, fmt.Sprintf("%-4s", s.Outcome)), s.Name, c.Wrap(s.Found, indent))
	if s.Hint != "" {
		d.printf("%s%s %s\n", strings.Repeat(" ", indent), c.Paint(colour, "→"), c.Wrap(s.Hint, indent+2))
	}
}

// natsTimeout bounds how long a check waits for the NATS server.
const natsTimeout = 5 * time.Second

// checkNATS checks the NATS side that the environment names, else the store of the
// embedded server.
func (d *checkReport) checkNATS(ctx context.Context) error {
	c, warnings, err := config.Parse(d.program.env, config.ForStream)
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if c.Embedded() {
		d.startTarget("NATS_URL is not set: bridge run starts its own server", "NATS")
		return unlessReported(check.Store(c, d.writeStep))
	}
	d.program.logger([]*config.Config{c}, warnings)
	d.startTarget("NATS", "NATS")
	_, l, err := reader.Connect(ctx, c, natsTimeout, slog.New(slog.DiscardHandler))
	if err != nil {
		d.writeStep(check.Step{Name: "connect", Outcome: check.Failure, Found: err.Error(),
			Hint: reader.HintUnreachable})
		return nil
	}
	defer l.Close()
	return unlessReported(check.Streams(ctx, c, l.NC, l.JS, d.writeStep))
}

// unlessReported drops the error of a check whose failed steps have been reported.
func unlessReported(err error) error {
	if errors.Is(err, check.ErrFailed) {
		return nil
	}
	return err
}

// finish writes the summary. The error is [check.ErrFailed] if a step failed.
func (d *checkReport) finish() error {
	c := d.program.out
	summary := console.Safef("%s: bridge run can work with this", c.Paint(console.Green, "OK"))
	switch {
	case d.failures > 0:
		summary = console.Safef("%s: %d problem(s), %d warning(s)", c.Paint(console.Red, "FAILED"), d.failures, d.warnings)
	case d.warnings > 0:
		summary = console.Safef("%s: bridge run can work with this, %d warning(s)", c.Paint(console.Yellow, "OK"), d.warnings)
	}
	if !d.json {
		d.printf("\n%s\n", summary)
	}
	if d.failures > 0 {
		return errors.Join(d.writeErr, check.ErrFailed)
	}
	return d.writeErr
}
