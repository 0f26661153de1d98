package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/rule"
)

// ServiceKey is the statistic that identifies services.
const ServiceKey = "name"

// minPseudonymKeyLen is the minimum length of the key, in bytes. There are few names, so with a weak
// key they could be found by trial.
const minPseudonymKeyLen = 16

// chatFields are the fields of chat messages that BRIDGE_REDACT_STATS can remove.
var chatFields = [...]string{"login_id", "first_name", "last_name", "send_time", "content"}

// Events is what the bridge publishes of what it polls.
type Events struct {
	Thresholds    string `env:"BRIDGE_THRESHOLDS"`
	AgentKey      string `env:"BRIDGE_AGENT_KEY" envDefault:"login_id"`
	VolatileStats List   `env:"BRIDGE_VOLATILE_STATS" envDefault:"state_duration,login_time,active_item_talk_duration,active_item_hold_duration,agent_total_*_time,in_max_wait_time"`
	// RedactStats are patterns of statistics, and of fields of chat messages, that are not
	// published.
	RedactStats List `env:"BRIDGE_REDACT_STATS"`
	// MetricsStats are patterns of statistics of services and totals that are metrics, too; none turns
	// all metrics of what is published off.
	MetricsStats List `env:"BRIDGE_METRICS_STATS"`
	// PseudonymKey, if set, replaces agents' ids and names with keyed hashes.
	PseudonymKey   Secret `env:"BRIDGE_PSEUDONYM_KEY"`
	DisappearAfter int    `env:"BRIDGE_DISAPPEAR_AFTER" envDefault:"2"`
	// FrozenAfter is how long nothing must change, not even the clocks of agents, until the feed is
	// interrupted; a shorter time than the source may be silent counts as that time.
	FrozenAfter time.Duration `env:"BRIDGE_FROZEN_AFTER" envDefault:"5s" min:"1s" max:"1h" zero:"never"`
	// SigningKeyFile names the file with the nkey seed that signs checkpoints; "" = none.
	SigningKeyFile string `env:"BRIDGE_SIGNING_KEY_FILE"`
	// HeadLogInterval is how often the newest checkpoint is logged, for safekeeping elsewhere.
	HeadLogInterval time.Duration `env:"BRIDGE_HEAD_LOG_INTERVAL" envDefault:"0s" min:"1s" max:"168h" zero:"never"`

	// SigningKey is the key of SigningKeyFile, where a bridge runs; nil if there is none.
	SigningKey *SigningKey
	// Rules are the parsed Thresholds.
	Rules []rule.Rule
}

func (c *Events) check(fault faultFunc) {
	if c.AgentKey != "login_id" && c.AgentKey != "user_id" {
		fault("BRIDGE_AGENT_KEY", "%q is neither login_id nor user_id", c.AgentKey)
	}
	if c.DisappearAfter < 1 {
		fault("BRIDGE_DISAPPEAR_AFTER", "%d is below 1", c.DisappearAfter)
	}
	if n := len(c.PseudonymKey); n > 0 && n < minPseudonymKeyLen {
		fault("BRIDGE_PSEUDONYM_KEY", "%d bytes are too few to prevent guessing of names; use at least %d", n, minPseudonymKeyLen)
	}
	var err error
	if c.Rules, err = rule.Parse([]byte(c.Thresholds)); err != nil {
		fault("BRIDGE_THRESHOLDS", "%v", err)
	}
}

// checkRedaction refuses to redact what identifies a row: subjects, keys and events would hold it
// nevertheless. The warnings name patterns without effect.
func (c *Events) checkRedaction(sub bpcc.Subscription, fault faultFunc) (warnings []string) {
	const variable = "BRIDGE_REDACT_STATS"
	stats := SubscribedStats(sub)
	names := slices.Concat(slices.Collect(maps.Values(stats))...)
	for _, app := range sub {
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

// checkMetrics removes empty patterns of metrics, and returns warnings about those without effect.
func (c *Events) checkMetrics(sub bpcc.Subscription) (warnings []string) {
	stats := SubscribedStats(sub)
	names := slices.Concat(stats[event.Service], stats[event.Totals])
	c.MetricsStats = slices.DeleteFunc(c.MetricsStats, func(pattern string) bool { return pattern == "" })
	for _, pattern := range c.MetricsStats {
		if !slices.ContainsFunc(names, GlobMatcher([]string{pattern})) {
			warnings = append(warnings, fmt.Sprintf("BRIDGE_METRICS_STATS: %q matches no subscribed statistic of services or totals", pattern))
		}
	}
	return warnings
}

// RedactsDirectory reports whether the directory of agents, which lists login ids and user ids,
// would hold what is redacted. With a key it lists their pseudonyms.
func (c *Events) RedactsDirectory() bool {
	return c.PseudonymKey == "" && slices.ContainsFunc([]string{"login_id", "user_id"}, GlobMatcher(c.RedactStats))
}
