package bridge

import (
	"time"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/internal/bridgetest"
)

// Published is what the bridge believes to be published. Its Run must have
// returned.
func (b *Bridge) Published() engine.Published { return b.engine.Published() }

// DivideWaits makes the waits of the bridge that is simulated so many times as short.
func (r *Recording) DivideWaits(by time.Duration) { r.timing = bridgetest.Timing(by, 1) }
