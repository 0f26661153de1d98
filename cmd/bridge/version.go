package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// buildVersion is the module's version as the Go toolchain recorded it.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}

func (p *program) versionCommand() *cobra.Command {
	var short bool
	c := &cobra.Command{
		Use: "version", Short: "print the version",
		Example: `
bridge version`,
		RunE: func(*cobra.Command, []string) error { return p.version(short) },
	}
	c.Flags().BoolVar(&short, "short", false, "print only the version")
	return c
}

func (p *program) version(short bool) error {
	if short {
		return p.out.Printf("%s\n", buildVersion())
	}
	w, flush := p.out.Aligned()
	w.Printf("bridge %s\n", buildVersion())
	if info, ok := debug.ReadBuildInfo(); ok {
		settings := map[string]string{}
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
		if revision := settings["vcs.revision"]; revision != "" {
			dirty := ""
			if settings["vcs.modified"] == "true" {
				dirty = ", with uncommitted changes"
			}
			w.Printf("  revision\t%s%s\n  committed\t%s\n", revision, dirty, settings["vcs.time"])
		}
		for _, m := range info.Deps {
			if m.Path == "github.com/nats-io/nats-server/v2" {
				w.Printf("  nats-server\t%s (embedded)\n", m.Version)
			}
		}
	}
	w.Printf("  go\t%s\n  platform\t%s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return flush()
}
