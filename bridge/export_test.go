package bridge

import (
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
