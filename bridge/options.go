package bridge

import (
	"cmp"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
)

// engineOptions returns the engine options of a configuration.
func engineOptions(c *Config, p plan, instance string) engine.Options {
	return engine.Options{
		Tenant: c.Tenant, Instance: instance, Version: cmp.Or(c.Version, "unknown"),
		Layout: p.layout, ChatApps: p.chatApps, DisappearAfter: c.DisappearAfter,
		InterruptAfter:       c.interruptAfter(),
		FrozenAfter:          c.frozenAfter(),
		AvailabilityDebounce: c.AvailabilityDebounce, AvailabilityUnknownAfter: c.unknownAfter(c.AvailabilityInterval),
		RebaselineAfter: c.Retention / 2,
		Rules:           c.Rules,
		Pseudonyms:      event.NewPseudonyms(string(c.PseudonymKey)),
		Redacted:        globMatcher(c.RedactStats),
	}
}
