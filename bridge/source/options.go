package source

import (
	"cmp"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
)

// EngineOptions returns the engine options of a configuration.
func EngineOptions(c *config.Config, p Plan, instance string) engine.Options {
	return engine.Options{
		Tenant: c.Tenant, Instance: instance, Version: cmp.Or(c.Version, "unknown"),
		Layout: p.Layout, ChatApps: p.chatApps, DisappearAfter: c.Events.DisappearAfter,
		InterruptAfter:       c.InterruptAfter(),
		FrozenAfter:          c.EffectiveFrozenAfter(),
		AvailabilityDebounce: c.BPCC.AvailabilityDebounce, AvailabilityUnknownAfter: c.BPCC.UnknownAfter(c.BPCC.AvailabilityInterval),
		RebaselineAfter: c.Stream.Retention / 2,
		Rules:           c.Events.Rules,
		Pseudonyms:      event.NewPseudonyms(string(c.Events.PseudonymKey)),
		Redacted:        config.GlobMatcher(c.Events.RedactStats),
	}
}
