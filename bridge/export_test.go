package bridge

import (
	"bpcc-nats/bridge/engine"
)

// Published is what the bridge believes to be published. Its Run must have
// returned.
func (b *Bridge) Published() engine.Published { return b.engine.Published() }
