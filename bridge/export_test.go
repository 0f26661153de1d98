package bridge

import (
	"time"

	"bpcc-nats/bridge/clock"
	"bpcc-nats/bridge/engine"
)

// Published is what the bridge believes to be published, nothing if it has not led. Its Run must have
// returned.
func (b *Bridge) Published() engine.Published {
	if b.engine == nil {
		return engine.Published{}
	}
	return b.engine.Published()
}

// SetClock gives a fleet that does not run yet another clock of its machine. wall is the clock that
// can be set; now goes on evenly, as what [time.Now] returns does by its monotonic reading.
func (f *Fleet) SetClock(now, wall func() time.Time) {
	f.shared.clock = clock.New(f.js, f.config.Stream, f.config.Times(), wall, f.log)
	for _, b := range f.bridges {
		b.now = now
	}
}
