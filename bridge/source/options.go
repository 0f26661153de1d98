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
		Layout: p.Layout, ChatApps: p.chatApps, DisappearAfter: c.DisappearAfter,
		InterruptAfter:       c.InterruptAfter(),
		FrozenAfter:          c.EffectiveFrozenAfter(),
		AvailabilityDebounce: c.AvailabilityDebounce, AvailabilityUnknownAfter: c.UnknownAfter(c.AvailabilityInterval),
		RebaselineAfter: c.Retention / 2,
		Rules:           c.Rules,
		Pseudonyms:      event.NewPseudonyms(string(c.PseudonymKey)),
		Redacted:        config.GlobMatcher(c.RedactStats),
	}
}
