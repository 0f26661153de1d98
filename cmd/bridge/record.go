package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/record"
	"bpcc-nats/cmd/bridge/internal/reader"
)

func (p *program) recordCommand() *cobra.Command {
	var out string
	var limit time.Duration
	c := &cobra.Command{
		Use: "record", Short: "record the source's responses; publish nothing",
		Example: `
bridge record --out monday.ndjson.gz --for 8h`,
		RunE: func(c *cobra.Command, _ []string) error { return p.record(c.Context(), out, limit) },
	}
	c.Flags().StringVar(&out, "out", "", "`file` to write, which must not exist; - is standard output (default recording-<tenant>-<time>.ndjson.gz)")
	c.Flags().DurationVar(&limit, "for", 0, "end after this long; 0 = until Ctrl-C")
	completeFlag(c, "out", files)
	return c
}

func (p *program) record(ctx context.Context, out string, limit time.Duration) error {
	if limit < 0 {
		return fmt.Errorf("%w: --for %v is negative", reader.ErrUsage, limit)
	}
	c, log, err := p.configure(config.ForSource)
	if err != nil {
		return err
	}
	ctx, cancel := limited(ctx, limit)
	defer cancel()
	if out == "-" {
		if p.out.Terminal {
			return fmt.Errorf("%w: a recording is compressed, not text for a terminal; redirect the output or set --out", reader.ErrUsage)
		}
		return recordTo(ctx, c, p.data, log)
	}
	if out == "" {
		out = "recording-" + event.Token(c.Tenant) + "-" + time.Now().UTC().Format("20060102T150405Z") + ".ndjson.gz"
	}
	// A recording holds personal data: only the owner may read it, and it never replaces
	// another file.
	file, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("%w: %w", reader.ErrUsage, err)
	}
	log.Info("recording, publishing nothing", "file", out)
	if err := recordTo(ctx, c, file, log); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}

// limited ends a context after a duration as a signal does; 0 is no limit.
func limited(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, limit, context.Canceled)
}

func recordTo(ctx context.Context, c *config.Config, w io.Writer, log *slog.Logger) error {
	r, err := record.NewRecorder(c, w, log)
	if err != nil {
		return err
	}
	return r.Run(ctx)
}
