package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/erase"
	"bpcc-nats/cmd/bridge/internal/reader"
)

// eraseFlags are the flags of bridge erase.
type eraseFlags struct {
	tenant, reason string
	dryRun, json   bool
	timeout        time.Duration
}

func (p *program) eraseCommand() *cobra.Command {
	var o eraseFlags
	c := &cobra.Command{
		Use: "erase AGENT", Short: "erase one person from stream and view",
		Long: "All bridges of the tenant must be stopped. The stream must have been made with BRIDGE_AUDIT=false.",
		Example: `
bridge erase john.smith --tenant acme --dry-run
bridge erase john.smith --tenant acme --reason 'request 4711'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || strings.TrimSpace(args[0]) == "" {
				return fmt.Errorf("%w: name one agent, by the id in subjects: bridge erase AGENT", reader.ErrUsage)
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return p.erase(c.Context(), o, args[0]) },
	}
	f := c.Flags()
	f.StringVar(&o.tenant, "tenant", "", "the `tenant` of the person; needed where there are several")
	f.StringVar(&o.reason, "reason", "", "`text` that the stream keeps with the erasure; it must not name the person")
	f.BoolVar(&o.dryRun, "dry-run", false, "list what would be erased, and change nothing")
	f.BoolVar(&o.json, "json", false, "print the result as JSON")
	timeoutFlag(c, &o.timeout)
	return c
}

// erasure is the result of bridge erase.
type erasure struct {
	// Erased reports whether Found was erased; false for a dry run.
	Erased bool `json:"erased"`
	erase.Found
}

func (p *program) erase(ctx context.Context, o eraseFlags, agent string) error {
	sessionCtx, c, l, err := p.openReadOnly(ctx, o.timeout)
	if err != nil {
		return reader.Unfinished(ctx, err)
	}
	defer l.Close()
	if c.Tenant, err = onlyTenant(sessionCtx, c, l, o); err != nil {
		return reader.Unfinished(sessionCtx, err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "bridge"
	}
	options := erase.Options{
		Agent: agent, Reason: o.reason, Timeout: o.timeout,
		Instance: host + "-erase-" + strings.ToLower(rand.Text()[:6]),
	}
	result := erasure{Erased: !o.dryRun}
	if o.dryRun {
		result.Found, err = erase.Find(sessionCtx, l.JS, c, options)
		if err != nil && !errors.Is(err, erase.ErrAudit) {
			return reader.Unfinished(sessionCtx, err)
		}
	} else if result.Found, err = erase.Run(sessionCtx, l.JS, c, options, p.err.Logger(c.Log.Level, c.Log.Format)); err != nil {
		return reader.Unfinished(sessionCtx, err)
	}
	if o.json {
		return errors.Join(p.writeJSON(result), err)
	}
	return errors.Join(p.writeErasure(c, result), err)
}

// onlyTenant returns the tenant of the flags or of the configuration, or else the only one.
func onlyTenant(ctx context.Context, c *config.Config, l *reader.Session, o eraseFlags) (string, error) {
	if o.tenant != "" {
		return o.tenant, nil
	}
	if c.Tenant != "" {
		return c.Tenant, nil
	}
	var tenants []string
	err := reader.Retry(ctx, l.NC, o.timeout, func(ctx context.Context) (err error) {
		tenants, err = erase.Tenants(ctx, l.JS, c)
		return err
	})
	switch {
	case err != nil:
		return "", err
	case len(tenants) == 1:
		return tenants[0], nil
	case len(tenants) == 0:
		return "", fmt.Errorf("view %s has no tenant; check BRIDGE_STATE_BUCKET, and NATS_URL or BRIDGE_STORE_DIR", c.Stream.StateBucket)
	}
	return "", fmt.Errorf("%w: name the tenant with --tenant: %s", reader.ErrUsage, strings.Join(tenants, ", "))
}

// writeErasure writes the result for people.
func (p *program) writeErasure(c *config.Config, r erasure) error {
	p.out.Printf("%s of tenant %s", r.Agent, r.Tenant)
	if len(r.AlsoKnownAs) > 0 {
		p.out.Printf(", also known as %s", strings.Join(r.AlsoKnownAs, ", "))
	}
	p.out.Printf("\n")
	if !r.Erased && len(r.Messages)+len(r.Keys) > 0 {
		w, flush := p.out.Aligned()
		w.Printf("\nSEQUENCE\tSUBJECT OR KEY\tHOLDS\n")
		for _, m := range r.Messages {
			holds := "the person"
			if m.Shared {
				holds = "others, too"
			}
			w.Printf("%d\t%s\t%s\n", m.Seq, m.Subject, holds)
		}
		for _, key := range r.Keys {
			w.Printf("–\t%s.%s\tkey of the view\n", r.Tenant, key.Key)
		}
		if err := flush(); err != nil {
			return err
		}
		p.out.Printf("\n")
	}
	verb := "erased"
	if !r.Erased {
		verb = "would erase"
	}
	what := "nothing"
	if len(r.Messages)+len(r.Keys) > 0 {
		what = fmt.Sprintf("%d message(s) of stream %s, %d of them with others, and %d key(s) of view %s", len(r.Messages), c.Stream.Name, r.Shared, len(r.Keys), c.Stream.StateBucket)
	}
	if r.Kept > 0 {
		what += fmt.Sprintf("; %d event(s) about the feed hold such a text and stay", r.Kept)
	}
	return p.out.Printf("%s %s\n", verb, what)
}
