package bridge_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/bridge/view"
	"bpcc-nats/internal/natstest"
)

// TestReplicasAreChanged changes the number of copies of every stream while a bridge works, up and
// down, as docs/running.md says. No event is lost, and the view follows.
func TestReplicasAreChanged(t *testing.T) {
	t.Parallel()
	w := newTestEnvOn(t, bpcctest.Config{}, natstest.StartCluster(t), reconnecting()...)
	w.waitsDividedBy = 10 // a view that the server has left is rebuilt after 18 s
	w.setAgent("anna", "ready", "")
	w.provisionStreams()
	p := w.runFleet(w.js)
	w.waitFor("agent.anna.observed", 1)
	states := []string{"busy", "not_ready"}
	for n, replicas := range []int{3, 1} {
		for _, name := range stream.Names(w.config().Stream) {
			w.setReplicas(name, replicas)
		}
		w.tenant.SetState("anna", states[n], "")
		w.waitFor("agent.anna.state_changed", n+1)
	}
	// The server looks for lost sources every ten seconds, and waits longer after each attempt that fails.
	caughtUp := false
	for deadline := time.Now().Add(3 * testTimeout); !caughtUp && time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
		behind, err := view.Behind(t.Context(), w.js, w.config().Stream, testTimeout)
		caughtUp = err == nil && behind == 0
	}
	if !caughtUp {
		t.Errorf("the view does not catch up\n%s", w.log)
	}
	p.stop()
	w.auditStream()
}

// setReplicas gives a stream a number of copies, and waits until they are complete.
func (w *testEnv) setReplicas(name string, replicas int) {
	w.t.Helper()
	var current *jetstream.StreamInfo
	read := func() bool {
		s, err := w.js.Stream(w.t.Context(), name)
		if err == nil {
			current = s.CachedInfo()
		}
		return err == nil
	}
	w.waitUntil("stream "+name, read)
	want := current.Config
	want.Replicas = replicas
	w.waitUntil("another number of copies of "+name, func() bool {
		_, err := w.js.UpdateStream(w.t.Context(), want)
		return err == nil
	})
	w.waitUntil("complete copies of "+name, func() bool {
		if !read() || current.Cluster == nil || current.Cluster.Leader == "" || len(current.Cluster.Replicas) != replicas-1 {
			return false
		}
		for _, peer := range current.Cluster.Replicas {
			if !peer.Current || peer.Active > time.Minute {
				return false
			}
		}
		return true
	})
}
