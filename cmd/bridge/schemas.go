package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"bpcc-nats/schemas"
)

func (p *program) schemasCommand() *cobra.Command {
	return &cobra.Command{
		Use: "schemas [TYPE]", Short: "list the event types, or print the schema of one",
		Example: `
bridge schemas
bridge schemas agent.state_changed`,
		Args: atMost(1), ValidArgs: append(schemas.Names(), schemas.AsyncAPI),
		RunE: func(_ *cobra.Command, args []string) error { return p.schemas(args) },
	}
}

func (p *program) schemas(args []string) error {
	if len(args) == 1 {
		schema, err := schemas.Schema(args[0])
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
