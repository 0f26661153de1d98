package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"bpcc-nats/cmd/bridge/internal/reader"
	"bpcc-nats/schemas"
)

func (p *program) schemasCommand() *cobra.Command {
	return &cobra.Command{
		Use: "schemas [TYPE]", Short: "list the event types, or print the schema of one",
		Long: "Every schema is self-contained; event is the schema of any event, and asyncapi the AsyncAPI document.",
		Example: `
bridge schemas
bridge schemas agent.state_changed
bridge schemas event`,
		Args: atMost(1), ValidArgs: append(schemas.Names(), schemas.AnyEvent, schemas.AsyncAPI),
		RunE: func(_ *cobra.Command, args []string) error { return p.schemas(args) },
	}
}

func (p *program) schemas(args []string) error {
	if len(args) == 1 {
		schema, err := schemas.Schema(args[0])
		if err != nil {
			return fmt.Errorf("%w: %w", reader.ErrUsage, err)
		}
		_, err = p.data.Write(schema)
		return err
	}
	list := schemas.Names()
	for i, name := range list {
		if !strings.Contains(name, "/") {
			list[i] = schemas.Type(name)
		}
	}
	for _, name := range append(list, schemas.AnyEvent, schemas.AsyncAPI) {
		if _, err := fmt.Fprintln(p.data, name); err != nil {
			return err
		}
	}
	return nil
}
