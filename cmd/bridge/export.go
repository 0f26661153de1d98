package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"bpcc-nats/bridge/audit"
	"bpcc-nats/cmd/bridge/internal/bundle"
	"bpcc-nats/cmd/bridge/internal/console"
	"bpcc-nats/cmd/bridge/internal/export"
	"bpcc-nats/cmd/bridge/internal/reader"
	"bpcc-nats/cmd/bridge/internal/render"
)

// exportFlags are the flags of bridge export.
type exportFlags struct {
	reader.Range
	tenant, out string
	timeout     time.Duration
}

func (p *program) exportCommand() *cobra.Command {
	var o exportFlags
	c := &cobra.Command{
		Use: "export", Short: "write a range of the stream into a bundle of evidence",
		Long: "The bundle has the events of whole batches and what their verification needs: bridge verify FILE.",
		Example: `
bridge export --since 2026-11-17 --until 2026-11-18 --out tuesday.tar.zst
bridge export --since 24h --tenant acme --out day.tar.zst`,
		RunE: func(c *cobra.Command, _ []string) error { return p.export(c.Context(), o) },
	}
	f := c.Flags()
	o.AddFlags(f)
	f.StringVar(&o.tenant, "tenant", "", "export only this `tenant`; default all")
	f.StringVar(&o.out, "out", "", "`file` to write, which must not exist")
	completeFlag(c, "out", files)
	timeoutFlag(c, &o.timeout)
	return c
}

func (p *program) export(ctx context.Context, o exportFlags) error {
	if err := o.Validate(); err != nil {
		return fmt.Errorf("%w: %w", reader.ErrUsage, err)
	}
	o.WriteLocalTimes(p.err)
	if o.out == "" {
		return fmt.Errorf("%w: name the file to write with --out, such as --out day.tar.zst", reader.ErrUsage)
	}
	defer p.collectLess()()
	out, err := bundle.NewOutput(o.out)
	if err != nil {
		return err
	}
	defer out.Close()
	sessionCtx, c, l, err := p.openReadOnly(ctx, o.timeout)
	if err != nil {
		return reader.Unfinished(ctx, err)
	}
	defer l.Close()
	report, size, err := out.Create(sessionCtx, export.Stream{
		Range: o.Range, Session: l, Config: c, Timeout: o.timeout, Options: audit.Options{Tenant: o.tenant},
	})
	if err != nil {
		return reader.Unfinished(sessionCtx, err)
	}
	p.out.Printf("%s has %d events, sequences %d to %d, %s to %s, in %s\n", o.out, report.Events, report.FirstSeq, report.LastSeq,
		console.FormatTime(report.From), console.FormatTime(report.To), humanize.IBytes(uint64(size)))
	return errors.Join(render.Verdict(p.out, report), faultsOf(report))
}
