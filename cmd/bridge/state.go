package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/state"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/bridge/view"
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
	v, err := readView(sessionCtx, l.JS, c.Stream, o.tenant, o.timeout)
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

// readView reads the view, of one tenant or, if only is "", of all.
func readView(ctx context.Context, js jetstream.JetStream, c config.Stream, only string, timeout time.Duration) (*state.View, error) {
	var lag uint64
	err := reader.Retry(ctx, js.Conn(), timeout, func(ctx context.Context) (err error) {
		lag, err = view.Behind(ctx, js, c)
		return err
	})
	if err != nil {
		return nil, err
	}
	v, err := state.Read(ctx, c, func(ctx context.Context) (all []view.Entry, err error) {
		err = view.Read(ctx, js, c, only, timeout, func(e view.Entry) error {
			all = append(all, e)
			return nil
		})
		return all, err
	})
	if reader.MayAnswer(err) {
		err = reader.NoAnswer(js.Conn(), timeout, stream.AboutStream(stream.ViewStream(c), err))
	}
	if err != nil {
		return nil, err
	}
	v.Lag = lag
	if len(v.Tenants) == 0 && len(v.Unreadable) == 0 {
		return nil, fmt.Errorf("the view %s is empty%s", c.StateBucket, map[bool]string{true: " for tenant " + only}[only != ""])
	}
	return v, nil
}

// writeJSON writes a result for programs.
func (p *program) writeJSON(v any) error {
	e := json.NewEncoder(p.data)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
