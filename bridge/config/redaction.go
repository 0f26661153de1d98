package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"bpcc-nats/bridge/event"
)

// ServiceKey is the statistic that identifies services.
const ServiceKey = "name"

// chatFields are the fields of chat messages that BRIDGE_REDACT_STATS can remove.
var chatFields = [...]string{"login_id", "first_name", "last_name", "send_time", "content"}

// checkRedaction refuses to redact what identifies a row: subjects, keys and events would hold it
// nevertheless. The warnings name patterns without effect.
func (c *Config) checkRedaction(fault func(name, format string, args ...any)) (warnings []string) {
	const variable = "BRIDGE_REDACT_STATS"
	stats := SubscribedStats(c.Subscription)
	names := slices.Concat(slices.Collect(maps.Values(stats))...)
	for _, app := range c.Subscription {
		if app.ChatMessages != nil {
			names = append(names, chatFields[:]...)
		}
	}
	isAgentKey := func(name string) bool { return name == c.AgentKey || strings.HasPrefix(name, c.AgentKey+"[") }
	for _, pattern := range c.RedactStats {
		redacted := GlobMatcher([]string{pattern})
		agentKey := redacted(c.AgentKey) || slices.ContainsFunc(stats[event.Agent], func(name string) bool { return isAgentKey(name) && redacted(name) })
		serviceName := redacted(ServiceKey) && len(stats[event.Service]) > 0
		if agentKey && c.PseudonymKey == "" {
			fault(variable, "%q redacts %s, which identifies agents, so that subjects, keys and events would hold it nevertheless; "+
				"remove it from the list, and set BRIDGE_PSEUDONYM_KEY to publish keyed hashes instead", pattern, c.AgentKey)
		}
		if serviceName {
			fault(variable, "%q redacts %s, which identifies services, so that subjects, keys and events would hold it nevertheless; "+
				"list the statistics that are meant, such as first_last_name", pattern, ServiceKey)
		}
		if pattern != "" && !agentKey && !serviceName && !slices.ContainsFunc(names, redacted) {
			warnings = append(warnings, fmt.Sprintf("%s: %q matches no subscribed statistic and removes nothing", variable, pattern))
		}
	}
	return warnings
}

// RedactsDirectory reports whether the directory of agents, which lists login ids and user ids,
// would hold what is redacted. With a key it lists their pseudonyms.
func (c *Config) RedactsDirectory() bool {
	return c.PseudonymKey == "" && slices.ContainsFunc([]string{"login_id", "user_id"}, GlobMatcher(c.RedactStats))
}
