package engine_test

import (
	"testing"
	"time"
	"unsafe"
)

// setClock sets the clock of the machine: the monotonic one goes on.
func (b *bridge) setClock(by time.Duration) {
	if b.now == b.now.Round(0) { // it has no monotonic reading yet
		now := time.Now() // UTC() would remove the reading
		b.now = now.Add(b.now.Sub(now))
	}
	b.now = b.now.Add(by)
	// The second word of a time that has a monotonic reading is that reading.
	(*[3]int64)(unsafe.Pointer(&b.now))[1] -= int64(by)
}

// TestClockSet: the next checkpoint states that the clock was set, and by how much.
func TestClockSet(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ by, want time.Duration }{
		"back":                            {-time.Hour, -time.Hour},
		"forward, or a suspended machine": {90 * time.Second, 90 * time.Second},
		"by little":                       {200 * time.Millisecond, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			b.setClock(0)
			b.poll(agents("anna=ready"))
			b.poll(agents("anna=busy"))
			b.setClock(test.by)
			b.poll(agents("anna=busy")) // nothing to publish
			for i, want := range []time.Duration{test.want, 0} {
				b.poll(agents("anna=" + []string{"ready", "away"}[i]))
				if got := time.Duration(b.checkpoint().ClockSet); got != want {
					t.Errorf("checkpoint %d: the clock was set by %v, want %v", i+1, got, want)
				}
			}
		})
	}
}
