package main

import (
	"context"
	"runtime"
	"runtime/debug"
)

// buildVersion is the module's version as the Go toolchain recorded it.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}

func (p *program) version(_ context.Context, args []string) error {
	f := p.flags("version")
	short := f.Bool("short", false, "print only the version")
	if err := parseFlags(f, args, 0); err != nil {
		return err
	}
	if *short {
		return p.out.printf("%s\n", buildVersion())
	}
	w, flush := p.out.aligned()
	w.printf("bridge %s\n", buildVersion())
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
			w.printf("  revision\t%s%s\n  committed\t%s\n", revision, dirty, settings["vcs.time"])
		}
		for _, m := range info.Deps {
			if m.Path == "github.com/nats-io/nats-server/v2" {
				w.printf("  nats-server\t%s (embedded)\n", m.Version)
			}
		}
	}
	w.printf("  go\t%s\n  platform\t%s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return flush()
}
