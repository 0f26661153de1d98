// Package build describes the program that runs, as the Go toolchain recorded it.
package build

import (
	"runtime"
	"runtime/debug"
)

// Info describes the program. What the toolchain has not recorded is empty.
type Info struct {
	Version   string `json:"version"`             // of the module; "devel" outside of a release
	Revision  string `json:"revision,omitempty"`  // the commit
	Committed string `json:"committed,omitempty"` // when, RFC 3339
	Modified  bool   `json:"modified"`            // with changes that are not committed
	Server    string `json:"nats_server"`         // the version of the embedded server
	Go        string `json:"go"`
	OS        string `json:"os"`
	Arch      string `json:"arch"`
}

// Read returns what is recorded in the program.
func Read() Info {
	i := Info{Version: "devel", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	recorded, ok := debug.ReadBuildInfo()
	if !ok {
		return i
	}
	if v := recorded.Main.Version; v != "" && v != "(devel)" {
		i.Version = v
	}
	for _, s := range recorded.Settings {
		switch s.Key {
		case "vcs.revision":
			i.Revision = s.Value
		case "vcs.time":
			i.Committed = s.Value
		case "vcs.modified":
			i.Modified = s.Value == "true"
		}
	}
	for _, m := range recorded.Deps {
		if m.Path == "github.com/nats-io/nats-server/v2" {
			i.Server = m.Version
		}
	}
	return i
}
