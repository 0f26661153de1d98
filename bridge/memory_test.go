package bridge

import (
	"runtime"
	"slices"
	"testing"

	"bpcc-nats/bridge/event"
	"bpcc-nats/internal/hostile"
)

// TestRetainedMemory: what a bridge keeps of a tenant from poll to poll is at
// most 4.5 times the snapshot: the memory for the next answer is included, and what requests are
// answered from, and when the state of each agent began.
func TestRetainedMemory(t *testing.T) {
	// Not parallel: the heap is the whole program's.
	c := newBenchSource(10_000)
	bodies := [][]byte{c.body(0, 0, true), c.body(1, 10, true), c.body(2, 10, true)}
	size := len(bodies[0])
	before := heapBytes()
	stored := 0
	step := c.stepCounter(&stored)
	polls := 12
	buffers := [][]byte{make([]byte, 0, size+size/32+512), make([]byte, 0, size+size/32+512)}
	for n := range polls {
		// As the client does: read into the memory of the body before the last.
		body := append(buffers[n%2][:0], bodies[n%3]...)
		step(t, body)
		buffers[n%2] = body
	}
	retained := heapBytes() - before
	runtime.KeepAlive(buffers)
	runtime.KeepAlive(step)
	ratio := float64(retained) / float64(size)
	t.Logf("%d bytes are kept of a snapshot of %d: %.2f times", retained, size, ratio)
	if ratio > 4.5 {
		t.Errorf("%.2f times the snapshot is kept, want 4.5 at most", ratio)
	}
	if stored == 0 {
		t.Error("nothing was published")
	}
	runtime.KeepAlive(bodies)
}

// TestDecodedMemory: of many events the statistics' names are kept once.
func TestDecodedMemory(t *testing.T) {
	// Not parallel: the heap is the whole program's.
	golden := hostile.FirstOfEachType(t, "testdata/golden/events.ndjson")
	i := slices.IndexFunc(golden, func(e hostile.Event) bool { return e.Type == "bpcc.agent.stats_changed.v1" })
	body := golden[i].Body
	kept := func(d *event.Decoder) int64 {
		events := make([]event.Event, 1000)
		before := heapBytes()
		for i := range events {
			var err error
			if _, events[i], err = d.Decode(body); err != nil {
				t.Fatal(err)
			}
		}
		size := (heapBytes() - before) / int64(len(events))
		runtime.KeepAlive(events)
		return size
	}
	shared, each := kept(&event.Decoder{}), kept(nil)
	t.Logf("event of %d bytes: %d bytes decoded, %d by decoders of their own", len(body), shared, each)
	if shared > int64(len(body)) {
		t.Errorf("%d bytes are kept of an event of %d", shared, len(body))
	}
}

// heapBytes is what the program holds after a collection, in bytes.
func heapBytes() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestUnchangedRowsCostNothing: a poll of running clocks alone allocates a
// handful of small things, however many rows tick.
func TestUnchangedRowsCostNothing(t *testing.T) {
	c := newBenchSource(2_000)
	bodies := [][]byte{c.body(0, 0, true), c.body(1, 0, true)}
	stored, n := 0, 0
	step := c.stepCounter(&stored)
	poll := func() { step(t, bodies[n%2]); n++ }
	for range 4 {
		poll()
	}
	if allocations := testing.AllocsPerRun(20, poll); allocations > 100 {
		t.Errorf("%v allocations in a poll of %d rows, of which none has changed", allocations, c.agents+c.services)
	}
}
