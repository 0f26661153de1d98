//go:build linux

package main_test

import (
	"fmt"
	"net/http/httptest"
	"strconv"
	"syscall"
	"testing"
	"time"

	"bpcc-nats/bpcc/bpcctest"
)

// recoveryAgents is how many agents TestClusterRecovery has to take back.
const recoveryAgents = 10_000

// TestClusterRecovery measures how long a large tenant is without sight when
// its bridges die: the lease, what must be read back, and the first poll.
func TestClusterRecovery(t *testing.T) {
	if *clusterFor == 0 {
		t.Skip("needs a cluster: go test ./cmd/bridge -run TestClusterRecovery -cluster.for 1m -v")
	}
	programs := findPrograms(t)
	tenant := bpcctest.New(bpcctest.Config{})
	tenant.Update(func(w *bpcctest.World) {
		w.SetService(bpcctest.Service{Name: "Voice"})
		for i := range recoveryAgents {
			w.SetAgent(bpcctest.Agent{Login: fmt.Sprintf("agent%05d", i), First: "A", Last: strconv.Itoa(i), Team: "Sales", State: "ready", Services: []string{"Voice"}})
		}
	})
	handler := httptest.NewServer(tenant)
	t.Cleanup(handler.Close)
	f := newTestFleet(t, programs.server)
	for _, name := range []string{"a", "b"} {
		f.addBridge(name, programs.bridge, append(clusterEnv(handler.URL, *clusterTTL), "BPCC_SERVICES=none", "BPCC_POLL_INTERVAL=1s", "BPCC_TIMEOUT=10s")...)
	}
	s := &faultInjector{fleet: f}
	table := fmt.Sprintf("\n| %d agents, lease %v | leads again | sees again |\n|---|---|---|\n", recoveryAgents, *clusterTTL)
	measure := func(what string, from time.Time, epoch uint64) {
		led, live, ok := f.waitLive(epoch)
		if !ok {
			t.Fatalf("%s: no live checkpoint after epoch %d within a minute", what, epoch)
		}
		table += fmt.Sprintf("| %s | %.1f s | %.1f s |\n", what, led.Sub(from).Seconds(), live.Sub(from).Seconds())
	}

	began := time.Now()
	s.start(f.bridges...)
	measure("first start, all published as observed", began, 0)
	f.waitUntil(time.Minute, f.healthy)

	tenant.SetState("agent00000", "busy", "")
	epoch := f.epoch()
	leader, _ := f.leader()
	if leader == nil {
		t.Fatal("no instance leads")
	}
	killed := time.Now()
	leader.stop(syscall.SIGKILL, time.Second)
	measure("leading bridge killed", killed, epoch)
	s.start(leader)
	f.waitUntil(time.Minute, f.healthy)

	epoch = f.epoch()
	killed = time.Now()
	for _, b := range f.bridges {
		b.stop(syscall.SIGKILL, time.Second)
	}
	s.start(f.bridges...)
	measure("both killed and started again at once", killed, epoch)
	f.waitUntil(time.Minute, f.healthy)

	epoch = f.epoch()
	leader, _ = f.leader()
	stopped := time.Now()
	leader.stop(syscall.SIGTERM, 12*time.Second)
	measure("leading bridge stopped in good order", stopped, epoch)

	all, err := readStream(t.Context(), f.js)
	if err != nil {
		t.Fatal(err)
	}
	if found := auditStream(all); len(found) > 0 {
		t.Errorf("the stream is not sound:\n%s", firstFindings(found, 5))
	}
	if n := len(all); n > recoveryAgents+200 {
		t.Errorf("%d events are stored: agents have been published again", n)
	}
	fmt.Print(table)
}

// epoch is that of the last checkpoint.
func (f *testFleet) epoch() uint64 {
	epoch, _, _ := f.lastCheckpoint()
	return epoch
}

// lastCheckpoint reads epoch, status and time of storage of the last checkpoint.
func (f *testFleet) lastCheckpoint() (epoch uint64, status string, stored time.Time) {
	r, err := readLast(f.t.Context(), f.js, "feed.checkpoint")
	if err != nil {
		return 0, "", stored
	}
	return r.Data.Epoch, r.Data.Status, r.stored
}

// waitLive waits for the first live checkpoint after an epoch, and returns when
// that epoch's successor began and when it was live.
func (f *testFleet) waitLive(after uint64) (led, live time.Time, ok bool) {
	ok = f.waitUntil(time.Minute, func() bool {
		epoch, status, stored := f.lastCheckpoint()
		if epoch > after && led.IsZero() {
			if r, err := readLast(f.t.Context(), f.js, "feed.started"); err == nil {
				led = r.stored
			}
		}
		live = stored
		return epoch > after && status == "live"
	})
	return led, live, ok
}
