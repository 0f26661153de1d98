package bridge_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/stream"
)

// TestStalledViewIsRebuilt lets a view without copies take nothing more, although it has its source. It is
// rebuilt, since no other leader can go on there, but only once in a while.
func TestStalledViewIsRebuilt(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.waitsDividedBy = 50 // a stall of 3.6 s
	w.setAgent("anna", "ready", "")
	w.provisionStreams()
	view := stream.ViewStream(w.config().Stream)
	p := w.runFleet(w.js)
	w.waitForFeed("live")
	s, err := w.js.Stream(t.Context(), view)
	if err != nil {
		t.Fatal(err)
	}
	config := s.CachedInfo().Config
	config.Sources = []*jetstream.StreamSource{{Name: "BPCC_EVENTS", OptStartSeq: 1_000_000}}
	if err := w.js.DeleteStream(t.Context(), view); err != nil {
		t.Fatal(err)
	}
	stalled, err := w.js.CreateStream(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	w.waitUntil("a rebuilt view", func() bool {
		s, err := w.js.Stream(t.Context(), view)
		return err == nil && !s.CachedInfo().Created.Equal(stalled.CachedInfo().Created)
	})
	w.waitUntil("another stall", func() bool { return gauges(t, p)["view_stalled_seconds"] > 5 })
	w.waitTwoPolls()
	if n := gauges(t, p)[`view_rebuilds_total{tenant="acme"}`]; n != 1 {
		t.Errorf("the view was rebuilt %v times", n)
	}
	p.stop()
	if n := strings.Count(w.log.String(), "it has taken nothing for"); n != 1 {
		t.Errorf("a rebuild is logged %d times", n)
	}
}
