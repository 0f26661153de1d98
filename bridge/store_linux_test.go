package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sys/unix"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/internal/natstest"
)

// smallDisk mounts a file system of that many megabytes.
func smallDisk(t *testing.T, megabytes int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", megabytes)); err != nil {
		t.Skipf("NOT TESTED: a full disk. A small file system cannot be mounted here, which needs root on Linux: %v", err)
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
	e.tenant.SetState("anna", "supervising", "")
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
	e.waitUntil("the bridge to be not ready, and why", func() bool {
		h := p.fleet.Health()[0]
		return !h.Ready && strings.Contains(h.Reason, "no space left on device: free 16 MiB or more on the disk of BRIDGE_STORE_DIR")
	})
	var named bool
	for line := range strings.Lines(e.log.String()) {
		named = named || strings.Contains(line, `level=ERROR msg="store cannot be written"`) &&
			strings.Contains(line, `no space left on device" hint="no space left on device: free 16 MiB or more`)
	}
	if g := gauges(t, p); !named || g[`storage_failed{cause="no_space"}`] != 1 || g[`storage_failed{cause="not_writable"}`] != 0 {
		t.Errorf("the cause has no name in the metric (%v), or in the log:\n%s", g[`storage_failed{cause="no_space"}`], e.log.String())
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	e.waitUntil("the server to be started again", func() bool { return strings.Contains(e.log.String(), "embedded server started again") })
	e.waitForStateOnce(1, "supervising")
	e.waitForFeed("live")
	e.waitUntil("the bridge to be ready", func() bool { return p.fleet.Health()[0].Ready })
	if g := gauges(t, p); g[`storage_failed{cause="no_space"}`] != 0 {
		t.Error("the metric says that there is no space, and there is")
	}
	p.stop()
	e.auditStream()
}

// TestDiskFullElsewhere fills the disk of another server. Its answer names the cause, and so does all
// that the bridge says. Such a server stores again only after a restart; then each change is published
// once.
func TestDiskFullElsewhere(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, 64)
	options := &server.Options{JetStream: true, StoreDir: filepath.Join(dir, "store"), JetStreamMaxStore: 1 << 30}
	s := natstest.Start(t, options)
	w := newTestEnvOn(t, bpcctest.Config{}, s.ClientURL())
	w.setAgent("anna", "ready", "")
	w.provisionStreams()
	p := w.runFleet(w.js)
	w.waitFor("totals.bridge.observed", 1)
	ballast := filepath.Join(dir, "ballast")
	fillDisk(t, ballast)
	// Each change is small, and the present block of a file may have room for some.
	changes := 0
	w.waitUntil("the bridge to be not ready, and why", func() bool {
		for i := range 20 {
			w.setAgent(fmt.Sprintf("agent%d-%d", changes, i), "ready", "")
		}
		changes++
		h := p.fleet.Health()[0]
		return !h.Ready && strings.Contains(h.Reason, "no space left on device")
	})
	if g := gauges(t, p); g[`storage_failed{cause="no_space"}`]+g[`storage_failed{cause="not_writable"}`] != 1 || g[`storage_failed{cause="stream_limit"}`] != 0 {
		t.Errorf("the metric does not name the cause: %v", g)
	}
	// Of a batch the server says only that it is not complete.
	if text := w.log.String(); !strings.Contains(text, `hint="the NATS server cannot write a batch to its disk: no space left on device`) &&
		!strings.Contains(text, `hint="no space left on device: free disk space on the NATS servers`) {
		t.Errorf("the log has no hint:\n%s", text)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	options.Port = s.Addr().(*net.TCPAddr).Port
	s.Shutdown()
	s.WaitForShutdown()
	natstest.Start(t, options)
	w.waitForJetStream()
	w.waitUntil("the bridge to be ready", func() bool { return p.fleet.Health()[0].Ready })
	w.waitForFeed("live")
	if g := gauges(t, p); g[`storage_failed{cause="no_space"}`]+g[`storage_failed{cause="not_writable"}`] != 0 {
		t.Error("the metric says that there is no space, and there is")
	}
	p.stop()
	w.auditStream()
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
