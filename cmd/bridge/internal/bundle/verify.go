package bundle

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/nats-io/nats.go"

	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/cmd/bridge/internal/console"
	"bpcc-nats/cmd/bridge/internal/export"
)

// Report is the report of an audit of an export.
type Report struct {
	audit.Report
	// Bundle is what a bundle says of itself; nil if the export is none.
	Bundle *Contents `json:"bundle,omitempty"`
}

// Contents is what a bundle says of itself. Nothing of it proves anything: whoever changes the events can change it, too.
type Contents struct {
	Manifest
	// Heads are the last checkpoints of the events, Keys the public keys that they name.
	Heads []event.Head `json:"heads"`
	Keys  []Key        `json:"keys"`
}

// Audit verifies an exported file, which may be a bundle; - is standard input.
func Audit(ctx context.Context, name string, o audit.Options) (Report, error) {
	file, remove, err := export.Local(ctx, name)
	if err != nil {
		return Report{}, export.About(ctx, name, err)
	}
	defer remove()
	if !Is(file) {
		report, err := export.Audit(ctx, file, o)
		return Report{Report: report}, err
	}
	report, err := verify(ctx, file, o)
	return report, export.About(ctx, name, err)
}

// verify verifies a bundle.
func verify(ctx context.Context, file string, o audit.Options) (Report, error) {
	in, err := os.Open(file)
	if err != nil {
		return Report{}, err
	}
	defer in.Close()
	manifest, err := readManifest(ctx, in)
	if err != nil {
		return Report{}, err
	}
	settings := manifest.Settings
	o.CheckpointInterval, o.Retention = seconds(settings.CheckpointInterval), seconds(settings.Retention)
	if o.Volatile == nil {
		o.Volatile = config.GlobMatcher(settings.Volatile)
	}
	var c *contents
	var seen *checkpoints
	var lines export.Lines
	lines.Read = func(handle func([]byte)) error {
		if _, err := in.Seek(0, io.SeekStart); err != nil {
			return err
		}
		seen = newCheckpoints()
		var err error
		c, err = read(ctx, in, func(line []byte) {
			if export.IsCheckpoint(line) {
				seen.add(export.Parse(bytes.Clone(line)))
			}
			handle(line)
		})
		if err == nil {
			lines.Before, lines.Erasures = c.before, c.erasures
		}
		return err
	}
	report, err := lines.Audit(o)
	if err != nil {
		return Report{}, err
	}
	if err := seen.check(c.heads, c.keys); err != nil {
		return Report{}, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	for _, m := range c.erasures {
		tenant, _ := event.TenantOf(m.Subject)
		for i := range report.Tenants {
			if t := &report.Tenants[i]; t.Tenant == tenant {
				t.NotProved = append(t.NotProved, "erasures: "+m.Header.Get(nats.MsgIdHdr)+" is not in the range, so no chain proves that messages of the range were erased")
			}
		}
	}
	return Report{report, &Contents{Manifest: c.manifest, Heads: seen.heads(), Keys: seen.signers()}}, nil
}

// seconds is a duration, 0 for one that no setting has.
func seconds(s float64) time.Duration {
	if s > 0 && s < 1e9 {
		return time.Duration(s * float64(time.Second))
	}
	return 0
}

// Write writes for people what a bundle says of itself.
func (c *Contents) Write(to *console.Console) {
	to.Printf("bundle of the stream %s, made %s by bridge %s: %d files, whole\n", c.Stream, console.FormatTime(c.Made), c.Version, len(c.Files)+1)
	for _, k := range c.Keys {
		to.Printf("  key   %s signs %d checkpoint(s), %s to %s\n", k.Key, k.Checkpoints, k.First, k.Last)
	}
	for _, h := range c.Heads {
		to.Printf("  head  %s ends with %s, sum %s\n", h.Tenant, h.ID, h.Sum)
	}
	to.Printf("  These are the bundle's own words. They prove nothing unless --signed-by or --head gives the same from elsewhere.\n\n")
}
