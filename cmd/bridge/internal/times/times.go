// Package times reads the events of the stream or of an export, and writes for how long agents and services
// were in which state.
package times

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
	_ "time/tzdata" // for --zone, on machines and in images that have no zones

	"github.com/nats-io/nats.go"
	"github.com/spf13/pflag"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/cmd/bridge/internal/console"
	"bpcc-nats/cmd/bridge/internal/export"
	"bpcc-nats/cmd/bridge/internal/reader"
	"bpcc-nats/reader/report"
)

// Options are the flags of the command.
type Options struct {
	Since, Until reader.Time
	Zone         string // "" = local
	Tenant       string // "" = all
	CSV, JSON    bool
	Timeout      time.Duration
}

// AddFlags adds the flags, but for --timeout.
func (o *Options) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Zone, "zone", "", "`name` of the zone whose days are reported, such as Europe/Berlin (default: local)")
	f.Var(&o.Since, "since", "begin this long ago (1h, 90m) or at a time (2026-11-23T10:00:00Z); without a zone (2026-11-23) it is in --zone (default: the beginning of the day in which --until is; of a file, its first observation)")
	f.Var(&o.Until, "until", "end this long ago, or before a time (default: now; of a file, its last observation)")
	f.StringVar(&o.Tenant, "tenant", "", "report only this `tenant`; default all")
	f.BoolVar(&o.CSV, "csv", false, "print CSV, for spreadsheets")
	f.BoolVar(&o.JSON, "json", false, "print a JSON object per line")
}

// Bounds checks the options, and returns the time that they mean. It says in which zone a time without one is.
func (o *Options) Bounds(now time.Time, ofFile bool, notes *console.Console) (report.Options, error) {
	b := report.Options{Zone: time.Local}
	if o.Zone != "" {
		var err error
		if b.Zone, err = time.LoadLocation(o.Zone); err != nil {
			return b, fmt.Errorf("--zone %q: want a name of the IANA time zone database, such as Europe/Berlin or UTC", o.Zone)
		}
	}
	if o.CSV && o.JSON {
		return b, errors.New("--csv and --json exclude each other")
	}
	b.Since, b.Until = o.inZone("since", o.Since, b.Zone, notes), o.inZone("until", o.Until, b.Zone, notes)
	if !ofFile {
		if b.Until.IsZero() || b.Until.After(now) {
			b.Until = now
		}
		if b.Since.IsZero() {
			b.Since = report.BeginOfDay(b.Until.Add(-1), b.Zone)
		}
	}
	if !b.Since.IsZero() && !b.Until.IsZero() && !b.Since.Before(b.Until) {
		return b, fmt.Errorf("--since %s is not before --until %s", b.Since.Format(time.RFC3339), b.Until.Format(time.RFC3339))
	}
	return b, nil
}

// inZone returns the time of a flag. One without a zone is in the zone of the days.
func (o *Options) inZone(flag string, at reader.Time, zone *time.Location, notes *console.Console) time.Time {
	if at.IsZero() || at.Location() != time.Local {
		return at.Time
	}
	name := "local time"
	if o.Zone != "" {
		name = "in --zone " + o.Zone
	}
	y, m, d := at.Date()
	in := time.Date(y, m, d, at.Hour(), at.Minute(), at.Second(), at.Nanosecond(), zone)
	if first := report.BeginOfDay(time.Date(y, m, d, 12, 0, 0, 0, zone), zone); at.Hour()+at.Minute()+at.Second()+at.Nanosecond() == 0 {
		in = first // also where the clock leaves out midnight
	}
	notes.Printf("--%s is %s: a time without a zone is %s\n", flag, in.Format(time.RFC3339), name)
	return in
}

// Output reads events and writes the report.
type Output struct {
	Options
	Bounds report.Options
	// People is standard output for people, Data the same for programs, Notes standard error.
	People *console.Console
	Data   io.Writer
	Notes  *console.Console

	tenants []tenant
}

// tenant is the report of one tenant.
type tenant struct {
	name string
	*report.Report
}

// Stream reports the tenants of the stream, which it reads once.
func (o *Output) Stream(ctx context.Context, l *reader.Session, c config.Stream) error {
	all := sums{}
	events := reader.Reader{
		Range: reader.Range{Subjects: []string{export.AllSubjects}}, JS: l.JS, Stream: c.Name, Timeout: o.Timeout, Whole: o.Tenant == "", Unfiltered: l.Embedded,
		Handle: func(m reader.Message) error {
			o.take(all, report.Message{Seq: m.Seq, Subject: m.Subject, ID: m.Header.Get(nats.MsgIdHdr), Body: m.Body})
			return nil
		},
	}
	if o.Tenant != "" {
		events.Subjects = []string{event.Prefix(o.Tenant) + ">"}
	}
	if err := events.Read(ctx); err != nil {
		return err
	}
	return o.writeAll(all, "the stream "+c.Name)
}

// File reports the tenants of an export; - is standard input.
func (o *Output) File(ctx context.Context, file string) error {
	all := sums{}
	err := export.Read(ctx, file, func(m export.Message) {
		o.take(all, report.Message{Seq: m.Seq, Subject: m.Subject, ID: m.Header.Get(nats.MsgIdHdr), Body: m.Event})
	})
	if err != nil {
		return err
	}
	return o.writeAll(all, file)
}

// sums are those of each tenant.
type sums map[string]*report.Messages

// take adds a message to the sums of its tenant.
func (o *Output) take(all sums, m report.Message) {
	name, ok := event.TenantOf(m.Subject)
	if !ok || o.Tenant != "" && name != o.Tenant {
		return
	}
	if all[name] == nil {
		all[name] = report.NewMessages(name, o.Bounds)
	}
	all[name].Add(m)
}

// writeAll writes the sums.
func (o *Output) writeAll(all sums, source string) error {
	if len(all) == 0 {
		return fmt.Errorf("%s has no events%s", source, map[bool]string{true: " of tenant " + o.Tenant}[o.Tenant != ""])
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		found, err := all[name].Report()
		if err := o.add(name, found, err); err != nil {
			return err
		}
	}
	return o.write()
}

// add adds the report of a tenant. Where nothing was observed, it says so and goes on with the others.
func (o *Output) add(name string, r *report.Report, err error) error {
	switch {
	case errors.Is(err, report.ErrNoObservation):
		o.Notes.Printf("tenant %s: %s\n", name, err)
		return nil
	case err != nil:
		return err
	}
	if r.Missing > 0 {
		o.Notes.Printf("missing: %d event(s) of tenant %s; where they may have told of a state, the time is unseen\n", r.Missing, name)
	}
	if r.Foreign > 0 {
		o.Notes.Printf("skipped, foreign: %d message(s) of tenant %s that no bridge wrote\n", r.Foreign, name)
	}
	o.tenants = append(o.tenants, tenant{name, r})
	return nil
}

// write writes the report.
func (o *Output) write() error {
	switch {
	case len(o.tenants) == 0:
		return report.ErrNoObservation
	case o.JSON:
		return o.writeJSON()
	case o.CSV:
		return o.writeCSV()
	}
	for i, t := range o.tenants {
		if i > 0 {
			o.People.Printf("\n")
		}
		t.write(o.People, o.Bounds.Zone)
	}
	return nil
}
