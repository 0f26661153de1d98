package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"bpcc-nats/bridge"
)

func (p *program) check(ctx context.Context, args []string) error {
	f := p.flags("check")
	asJSON := f.Bool("json", false, "print each step as a line of JSON")
	if err := parse(f, args, 0); err != nil {
		return err
	}
	all, _, err := p.configureAll(bridge.ForSource)
	if err != nil {
		return err
	}
	d := doctor{program: p, paint: painter(p.stdout, p.env), json: *asJSON}
	for _, c := range all {
		d.begin(fmt.Sprintf("%s as tenant %q", c.URL, c.Tenant), c.Tenant)
		if err := bridge.Check(ctx, c, d.tell); err != nil && !errors.Is(err, bridge.ErrCheck) {
			return err
		}
	}
	if err := d.examineNATS(ctx); err != nil {
		return err
	}
	return d.end()
}

// doctor writes the report of a check.
type doctor struct {
	program *program
	paint   func(colour, text string) string
	json    bool

	patient            string // the tenant, or NATS
	failures, warnings int
	broken             error // why nothing more can be written
}

func (d *doctor) begin(title, patient string) {
	if d.patient != "" && !d.json {
		d.printf("\n")
	}
	if d.patient = patient; !d.json {
		d.printf("%s\n", title)
	}
}

func (d *doctor) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(d.program.stdout, format, args...); err != nil && d.broken == nil {
		d.broken = err
	}
}

// tell writes one step: what was looked at, what was seen, what to mend.
func (d *doctor) tell(s bridge.Step) {
	colour := green
	switch s.Outcome {
	case bridge.Failure:
		d.failures++
		colour = red
	case bridge.Warning:
		d.warnings++
		colour = yellow
	}
	if d.json {
		line, err := json.Marshal(struct {
			Of      string `json:"of"`
			Name    string `json:"step"`
			Outcome string `json:"outcome"`
			Saw     string `json:"saw"`
			Mend    string `json:"mend,omitempty"`
		}{d.patient, s.Name, string(s.Outcome), s.Saw, s.Mend})
		d.broken = errors.Join(d.broken, err)
		d.printf("%s\n", line)
		return
	}
	const indent = 2 + 4 + 2 + 13 + 1
	d.printf("  %s  %-13s %s\n", d.paint(colour, fmt.Sprintf("%-4s", s.Outcome)), s.Name, d.wrap(s.Saw, indent))
	if s.Mend != "" {
		d.printf("%s%s %s\n", strings.Repeat(" ", indent), d.paint(colour, "→"), d.wrap(s.Mend, indent+2))
	}
}

// wrap breaks a text at words to fit the terminal, if there is one.
func (d *doctor) wrap(text string, indent int) string {
	most := terminalWidth(d.program.stdout) - indent
	if most < 20 {
		return text
	}
	var b strings.Builder
	n := 0
	for i, word := range strings.Fields(text) {
		if w := columns(word); i > 0 && n+1+w > most {
			b.WriteString("\n" + strings.Repeat(" ", indent))
			n = w
		} else {
			if i > 0 {
				b.WriteString(" ")
				n++
			}
			n += w
		}
		b.WriteString(word)
	}
	return b.String()
}

// natsPatience bounds how long a check waits for the NATS server.
const natsPatience = 5 * time.Second

// examineNATS looks at the NATS side if the environment names one.
func (d *doctor) examineNATS(ctx context.Context) error {
	named := slices.ContainsFunc(d.program.env, func(v string) bool {
		return strings.HasPrefix(v, "NATS_URL=") || strings.HasPrefix(v, "NATS_CONTEXT=")
	})
	if !named {
		if !d.json {
			d.printf("\nNATS_URL is not set: bridge run would bring a server of its own, which needs no check\n")
		}
		return nil
	}
	c, _, err := d.program.configure(bridge.ForStream)
	if err != nil {
		return err
	}
	d.begin("NATS", "NATS")
	waiting, cancel := context.WithTimeout(ctx, natsPatience)
	defer cancel()
	_, l, err := open(waiting, c, slog.New(slog.DiscardHandler))
	if err != nil {
		d.tell(bridge.Step{Name: "connect", Outcome: bridge.Failure, Saw: err.Error(),
			Mend: "is NATS_URL right, does the server run, and does this machine reach it?"})
		return nil
	}
	defer l.close()
	if err := bridge.CheckStreams(ctx, c, l.nc, l.js, d.tell); err != nil && !errors.Is(err, bridge.ErrCheck) {
		return err
	}
	return nil
}

// end writes the diagnosis.
func (d *doctor) end() error {
	diagnosis := d.paint(green, "all is well") + ": bridge run can work with this"
	switch {
	case d.failures > 0:
		diagnosis = fmt.Sprintf("%s: %d thing(s) to mend, %d to look at", d.paint(red, "not well"), d.failures, d.warnings)
	case d.warnings > 0:
		diagnosis = fmt.Sprintf("%s: bridge run can work with this; %d thing(s) to look at", d.paint(yellow, "well enough"), d.warnings)
	}
	if !d.json {
		d.printf("\n%s\n", diagnosis)
	}
	if d.failures > 0 {
		return errors.Join(d.broken, bridge.ErrCheck)
	}
	return d.broken
}
