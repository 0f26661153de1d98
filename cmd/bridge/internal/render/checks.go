package render

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"bpcc-nats/bridge/check"
	"bpcc-nats/cmd/bridge/internal/console"
)

// Checks writes the steps of a check as they are made, and its summary.
type Checks struct {
	Console *console.Console
	// Data takes a line for each step if JSON is set; the Console takes nothing then.
	Data io.Writer
	JSON bool

	target             string
	failures, warnings int
	writeErr           error // why nothing more can be written
}

// Start begins the steps of a target: a tenant, or NATS.
func (d *Checks) Start(title, target string) {
	if d.target != "" && !d.JSON {
		d.printf("\n")
	}
	if d.target = target; !d.JSON {
		d.printf("%s\n", title)
	}
}

func (d *Checks) printf(format string, args ...any) {
	d.writeErr = cmp.Or(d.writeErr, d.Console.Printf(format, args...))
}

// StepUntil is Step until ctx ends: a step that a signal has ended found nothing.
func (d *Checks) StepUntil(ctx context.Context) func(check.Step) {
	return func(s check.Step) {
		if ctx.Err() == nil {
			d.Step(s)
		}
	}
}

// Step writes one step: its name, what was found, what to do.
func (d *Checks) Step(s check.Step) {
	colour := console.Green
	switch s.Outcome {
	case check.Failure:
		d.failures++
		colour = console.Red
	case check.Warning:
		d.warnings++
		colour = console.Yellow
	}
	if d.JSON {
		line, err := json.Marshal(struct {
			Target  string `json:"target"`
			Name    string `json:"step"`
			Outcome string `json:"outcome"`
			Found   string `json:"found"`
			Hint    string `json:"hint,omitempty"`
		}{d.target, s.Name, string(s.Outcome), s.Found, s.Hint})
		if err == nil {
			_, err = fmt.Fprintf(d.Data, "%s\n", line)
		}
		d.writeErr = cmp.Or(d.writeErr, err)
		return
	}
	const indent = 2 + 4 + 2 + 13 + 1
	c := d.Console
	d.printf("  %s  %-13s %s\n", c.Paint(colour, fmt.Sprintf("%-4s", s.Outcome)), s.Name, c.Wrap(s.Found, indent))
	if s.Hint != "" {
		d.printf("%s%s %s\n", strings.Repeat(" ", indent), c.Paint(colour, "→"), c.Wrap(s.Hint, indent+2))
	}
}

// Finish writes the summary. The error is [check.ErrFailed] if a step failed.
func (d *Checks) Finish() error {
	c := d.Console
	summary := console.Safef("%s: bridge run can work with this", c.Paint(console.Green, "OK"))
	switch {
	case d.failures > 0:
		summary = console.Safef("%s: %d problem(s), %d warning(s)", c.Paint(console.Red, "FAILED"), d.failures, d.warnings)
	case d.warnings > 0:
		summary = console.Safef("%s: bridge run can work with this, %d warning(s)", c.Paint(console.Yellow, "OK"), d.warnings)
	}
	if !d.JSON {
		d.printf("\n%s\n", summary)
	}
	if d.failures > 0 {
		return errors.Join(d.writeErr, check.ErrFailed)
	}
	return d.writeErr
}
