package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bpcc-nats/bridge/state"
	"bpcc-nats/cmd/bridge/internal/reader"
	"bpcc-nats/cmd/bridge/internal/render"
)

// stateFlags are the flags of bridge state.
type stateFlags struct {
	tenant    string
	all, json bool
	timeout   time.Duration
	at        reader.Time // zero is now
	entity    string      // "" = all
}

func (p *program) stateCommand() *cobra.Command {
	var o stateFlags
	c := &cobra.Command{
		Use: "state [KIND/ID]", Short: "show the current state, or that of a time in the past",
		Example: `
bridge state
bridge state --tenant acme --all
bridge state --json | jq '.tenants[].feed.fresh'
bridge state --at 2026-11-24T14:03:17Z
bridge state --at 2h agent/john.smith`,
		Args: atMost(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.entity = strings.Join(args, "")
			if c.Flags().Changed("at") || o.entity != "" {
				return p.stateAt(c.Context(), o)
			}
			return p.state(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.tenant, "tenant", "", "show only this `tenant`; default all")
	f.BoolVar(&o.all, "all", false, "list agents that are logged out too")
	f.BoolVar(&o.json, "json", false, "print the snapshot as JSON")
	f.Var(&o.at, "at", "show what is known of this time: how long ago (1h, 90m), or when, with a zone (2026-11-24T14:03:17Z); of one entity, KIND/ID, it is faster")
	timeoutFlag(c, &o.timeout)
	return c
}

func (p *program) state(ctx context.Context, o stateFlags) error {
	sessionCtx, c, l, err := p.openReadOnly(ctx, o.timeout)
	if err != nil {
		return reader.Unfinished(ctx, err)
	}
	defer l.Close()
	v, err := state.Read(sessionCtx, l.JS, c.Stream, o.tenant, o.timeout)
	switch {
	case err == nil && len(v.Tenants) == 0 && len(v.Unreadable) == 0:
		err = fmt.Errorf("the view %s is empty%s", c.Stream.StateBucket, map[bool]string{true: " for tenant " + o.tenant}[o.tenant != ""])
	case err != nil && reader.MayAnswer(err):
		err = reader.NoAnswer(l.NC, o.timeout, err)
	}
	if err != nil {
		return reader.Unfinished(sessionCtx, err)
	}
	for _, s := range v.Unreadable {
		p.err.Printf("skipped, unreadable: key %q of tenant %q in the view %s: %s\n", s.Key, s.Tenant, c.Stream.StateBucket, s.Error)
	}
	if o.json {
		return p.writeJSON(v)
	}
	render.WriteView(p.out, v, o.all)
	return nil
}

// writeJSON writes a result for programs.
func (p *program) writeJSON(v any) error {
	e := json.NewEncoder(p.data)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
