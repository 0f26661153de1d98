package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"bpcc-nats/bridge/event"
	"bpcc-nats/cmd/bridge/internal/export"
	"bpcc-nats/cmd/bridge/internal/reader"
)

func (p *program) headCommand() *cobra.Command {
	var tenant string
	var timeout time.Duration
	c := &cobra.Command{
		Use: "head", Short: "print the newest checkpoint, for safekeeping elsewhere",
		Example: `
bridge head > heads.json
bridge head --tenant acme | jq -r .chain`,
		RunE: func(c *cobra.Command, _ []string) error { return p.head(c.Context(), tenant, timeout) },
	}
	c.Flags().StringVar(&tenant, "tenant", "", "print only that of this `tenant`; default all")
	timeoutFlag(c, &timeout)
	return c
}

// head prints the heads, one a line.
func (p *program) head(ctx context.Context, tenant string, timeout time.Duration) error {
	sessionCtx, c, l, err := p.openReadOnly(ctx, timeout)
	if err != nil {
		return reader.Unfinished(ctx, err)
	}
	defer l.Close()
	tenants := []string{tenant}
	if tenant == "" {
		if tenants, err = reader.Tenants(sessionCtx, l.JS, c.Stream.Name, timeout); err != nil {
			return reader.Unfinished(sessionCtx, err)
		}
	}
	lines := json.NewEncoder(p.data)
	for _, name := range tenants {
		var head event.Head
		err := reader.Retry(sessionCtx, l.JS.Conn(), timeout, func(ctx context.Context) (err error) {
			head, err = export.NewestHead(ctx, l.JS, c.Stream, name)
			return err
		})
		if err != nil {
			return reader.Unfinished(sessionCtx, fmt.Errorf("read the newest checkpoint of %s: %w", name, err))
		}
		if err := lines.Encode(head); err != nil {
			return err
		}
	}
	return nil
}
