package main

import (
	"context"
	"fmt"
	"strings"

	"bpcc-nats/schemas"
)

func (p *program) schemas(_ context.Context, args []string) error {
	f := p.flags("schemas")
	if err := parseFlags(f, args, 1); err != nil {
		return err
	}
	if f.NArg() == 1 {
		schema, err := schemas.Schema(f.Arg(0))
		if err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
		_, err = p.data.Write(schema)
		return err
	}
	for _, name := range append(schemas.Names(), schemas.AsyncAPI) {
		if name != schemas.AsyncAPI && !strings.Contains(name, "/") {
			name = schemas.Type(name)
		}
		if _, err := fmt.Fprintln(p.data, name); err != nil {
			return err
		}
	}
	return nil
}
