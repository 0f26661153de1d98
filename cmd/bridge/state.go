package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/spf13/cobra"

	"bpcc-nats/cmd/bridge/internal/reader"
	"bpcc-nats/cmd/bridge/internal/render"
)

// stateFlags are the flags of bridge state.
type stateFlags struct {
	tenant    string
	all, json bool
	timeout   time.Duration
}

func (p *program) stateCommand() *cobra.Command {
	var o stateFlags
	c := &cobra.Command{
		Use: "state", Short: "show the current state",
		Example: `
bridge state
bridge state --tenant acme --all
bridge state --json | jq '.tenants[].feed.fresh'`,
		RunE: func(c *cobra.Command, _ []string) error { return p.state(c.Context(), o) },
	}
	f := c.Flags()
	f.StringVar(&o.tenant, "tenant", "", "show only this `tenant`; default all")
	f.BoolVar(&o.all, "all", false, "list agents that are logged out too")
	f.BoolVar(&o.json, "json", false, "print the snapshot as JSON")
	timeoutFlag(c, &o.timeout)
	return c
}

func (p *program) state(ctx context.Context, o stateFlags) error {
	sessionCtx, c, l, err := p.openReadOnly(ctx, o.timeout)
	if err != nil {
		return reader.Unfinished(ctx, err)
	}
	defer l.Close()
	view, err := render.ReadView(sessionCtx, l.JS, c, o.tenant, o.timeout)
	if err != nil {
		return reader.Unfinished(sessionCtx, err)
	}
	for _, s := range view.Unreadable {
		p.err.Printf("skipped, unreadable: key %q of tenant %q in the view %s: %s\n", s.Key, s.Tenant, c.StateBucket, s.Error)
	}
	if o.json {
		return p.writeJSON(view)
	}
	view.Write(p.out, o.all)
	return nil
}

// writeJSON writes a result for programs.
func (p *program) writeJSON(v any) error {
	e := json.NewEncoder(p.data)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
