package main

import (
	"github.com/spf13/cobra"

	"bpcc-nats/cmd/bridge/internal/build"
)

func (p *program) versionCommand() *cobra.Command {
	var short, json bool
	c := &cobra.Command{
		Use: "version", Short: "print the version",
		Example: `
bridge version
bridge version --json`,
		RunE: func(*cobra.Command, []string) error { return p.version(short, json) },
	}
	c.Flags().BoolVar(&short, "short", false, "print only the version")
	c.Flags().BoolVar(&json, "json", false, "print it as JSON")
	return c
}

func (p *program) version(short, json bool) error {
	i := build.Read()
	switch {
	case json:
		return p.writeJSON(i)
	case short:
		return p.out.Printf("%s\n", i.Version)
	}
	w, flush := p.out.Aligned()
	w.Printf("bridge %s\n", i.Version)
	if i.Revision != "" {
		dirty := ""
		if i.Modified {
			dirty = ", with uncommitted changes"
		}
		w.Printf("  revision\t%s%s\n  committed\t%s\n", i.Revision, dirty, i.Committed)
	}
	if i.Server != "" {
		w.Printf("  nats-server\t%s (embedded)\n", i.Server)
	}
	w.Printf("  go\t%s\n  platform\t%s/%s\n", i.Go, i.OS, i.Arch)
	return flush()
}
