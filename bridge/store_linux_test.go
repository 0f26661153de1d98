package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of that many megabytes.
func smallDisk(t *testing.T, megabytes int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", megabytes)); err != nil {
		t.Skipf("a small disk cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestStoreFollowsTheDisk stores, without a limit of the operator's, twice as much as
// the disk holds, and nothing that compresses. The oldest goes before the disk is full.
func TestStoreFollowsTheDisk(t *testing.T) {
	t.Parallel()
	const disk = 64
	e := newEmbeddedEnv(t, smallDisk(t, disk), nil)
	e.provisioned()
	if limit := e.server.StoreMax(); limit < disk/4*3*2<<20 || limit > disk/4*3*3<<20 {
		t.Errorf("the limit of an empty store on a disk of %d MiB is %v", disk, limit)
	}
	body := make([]byte, 256<<10)
	noise := rand.NewChaCha8([32]byte{})
	for i := range 2 * disk << 20 / len(body) {
		if _, err := noise.Read(body); err != nil {
			t.Fatal(err)
		}
		if _, err := e.js.Publish(t.Context(), "bpcc.v1.noise", body); err != nil {
			t.Fatalf("after %d MiB: %v", i*len(body)>>20, err)
		}
		if i%8 == 0 {
			e.provisioned() // as often as a running bridge would look, were the disk as large as they are
		}
	}
	held := e.stream("BPCC_EVENTS").State
	if held.FirstSeq == 1 || held.Bytes < disk/4<<20 || held.Bytes > disk<<20 {
		t.Errorf("left are %d bytes from sequence %d on", held.Bytes, held.FirstSeq)
	}
	if text := e.log.String(); strings.Contains(text, "NATS server") || strings.Contains(text, "dropping") {
		t.Errorf("logged:\n%s", text)
	}
}

// TestDiskFull fills the disk under the embedded server. The log says so; when there
// is room again, the server serves again, and each change is published once.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, 64)
	e := newEmbeddedEnv(t, filepath.Join(dir, "store"), map[string]string{"BRIDGE_LEASE_TTL": "1s"})
	// What cannot be stored, or only after a new term, takes as long as it takes.
	e.setAgent("anna", "ready", "")
	p := e.run()
	e.waitFor("totals.bridge.observed", 1)
	ballast := filepath.Join(dir, "ballast")
	fillDisk(t, ballast)
	e.tenant.SetState("anna", "busy", "")
	// A small write may fit into what a file has on the disk already.
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := e.js.Publish(ctx, "$KV.bpcc_lease.other", make([]byte, 64<<10)); err == nil {
		t.Fatal("the disk is not full")
	}
	e.waitUntil("a log entry about it", func() bool {
		text := e.log.String()
		return strings.Contains(text, "store cannot be written") && strings.Contains(text, "NATS server error") && strings.Contains(text, "no space left on device")
	})
	e.waitUntil("the bridge to be not ready", func() bool { return !p.fleet.Health()[0].Ready })
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	e.waitUntil("the server to be started again", func() bool { return strings.Contains(e.log.String(), "embedded server started again") })
	e.waitForStateOnce(1, "busy")
	e.waitForFeed("live")
	e.waitUntil("the bridge to be ready", func() bool { return p.fleet.Health()[0].Ready })
	p.stop()
	e.auditStream()
}

// fillDisk writes a file until the disk takes no more.
func fillDisk(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, unix.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
