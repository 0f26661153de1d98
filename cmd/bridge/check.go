package main

import (
	"context"

	"bpcc-nats/bridge"
)

func (p *program) check(ctx context.Context, args []string) error {
	if err := parse(p.flags("check"), args, 0); err != nil {
		return err
	}
	c, _, err := p.configure(bridge.ForSource)
	if err != nil {
		return err
	}
	return bridge.Check(ctx, c, p.stdout)
}
