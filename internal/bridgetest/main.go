package bridgetest

import (
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"bpcc-nats/internal/natstest"
)

// Main is the TestMain of a package whose tests wait more than they compute: so many of them run at
// once, on however few cores. With the race detector, which makes them compute several times as long,
// it is a quarter, lest they miss their deadlines.
func Main(m *testing.M, atOnce int) {
	natstest.ServeIfAsked()
	if race {
		atOnce = max(atOnce/4, 2)
	}
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(atOnce)); err != nil {
		panic(err)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200) // most of the heap is that of NATS servers, and live
	}
	remove := tempDirInMemory()
	status := m.Run()
	remove()
	os.Exit(status)
}

// memoryDir is the file system in memory of every Linux.
const memoryDir = "/dev/shm"

// tempDirInMemory lets [testing.T.TempDir] make directories in memory, unless TMPDIR is set or there
// is little room. The NATS servers of the tests sync each message, and would wait for the disk for most
// of the time. The caller must call remove at the end.
func tempDirInMemory() (remove func()) {
	const enough = 2 << 30 // several times what the stores of all tests hold
	var stat unix.Statfs_t
	if os.Getenv("TMPDIR") != "" || unix.Statfs(memoryDir, &stat) != nil || uint64(stat.Bavail)*uint64(stat.Bsize) < enough {
		return func() {}
	}
	dir, err := os.MkdirTemp(memoryDir, "bpcc-nats-test-")
	if err != nil {
		return func() {} // it is not writable
	}
	if err := os.Setenv("TMPDIR", dir); err != nil {
		panic(err)
	}
	return func() {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}
