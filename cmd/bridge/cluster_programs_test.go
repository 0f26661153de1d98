//go:build linux

package main_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"bpcc-nats/internal/natstest"
)

// programs are the binaries that the fleet runs.
type programs struct {
	bridge, server string
	oldestServer   string // of the oldest release that the bridge supports; "" if there is none
}

// findPrograms takes the binaries that CI has built, or builds them.
func findPrograms(t *testing.T) programs {
	t.Helper()
	p := programs{os.Getenv("CI_BRIDGE"), os.Getenv("CI_NATS_SERVER"), os.Getenv(natstest.OldestServer)}
	if p.bridge != "" && p.server != "" {
		return p
	}
	dir := t.TempDir()
	p.bridge, p.server = filepath.Join(dir, "bridge"), filepath.Join(dir, "nats-server")
	for file, pkg := range map[string]string{p.bridge: "bpcc-nats/cmd/bridge", p.server: "github.com/nats-io/nats-server/v2"} {
		if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", file, pkg).CombinedOutput(); err != nil {
			t.Fatalf("go build %s: %v\n%s", pkg, err, out)
		}
	}
	return p
}

// verify runs bridge verify on the stream; an error has what it prints.
func (f *testFleet) verify(program string) error {
	ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "verify")
	cmd.Env = []string{"NATS_URL=" + f.nc.ConnectedUrl(), "HOME=" + f.dir, "TZ=UTC"}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) } // so that it prints where it waits
	cmd.WaitDelay = 5 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("bridge verify: %w\n%s", err, out)
	}
	return nil
}
