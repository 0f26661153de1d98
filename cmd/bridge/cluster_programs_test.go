//go:build linux

package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// programs are the binaries that the fleet runs.
type programs struct{ bridge, server string }

// findPrograms takes the binaries that CI has built, or builds them.
func findPrograms(t *testing.T) programs {
	t.Helper()
	p := programs{os.Getenv("CI_BRIDGE"), os.Getenv("CI_NATS_SERVER")}
	if p.bridge != "" && p.server != "" {
		return p
	}
	dir := t.TempDir()
	p = programs{filepath.Join(dir, "bridge"), filepath.Join(dir, "nats-server")}
	build := func(env []string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Env = append(os.Environ(), env...)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go %s: %v", strings.Join(args, " "), err)
		}
		return strings.TrimSpace(string(out))
	}
	const module = "github.com/nats-io/nats-server/v2"
	build(nil, "build", "-o", p.bridge, "bpcc-nats/cmd/bridge")
	build([]string{"GOBIN=" + dir}, "install", module+"@"+build(nil, "list", "-m", "-f", "{{.Version}}", module))
	return p
}
