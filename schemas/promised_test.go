package schemas_test

import "slices"

// A promise is what readers rely on of one event.
type promise struct {
	// name is the event's name.
	name string
	// subject is its subject between the tenant and the verb, key its key in the view
	// below the tenant, "" where it has none.
	subject, key string
	// optional lists the fields that the event may lack. Whatever else its example
	// holds is required; the keys of images are the tenant's choice.
	optional []string
}

// promised lists all events in the order of the reference: those of a kind together,
// in the order in which things happen.
var promised = []promise{
	{"agent.observed", "agent.{agent}", "agent.{agent}", append([]string{"/data/to/state", "/data/since"}, agentRef...)},
	{"agent.appeared", "agent.{agent}", "agent.{agent}", append([]string{"/data/to/state", "/data/to/reason", "/data/since"}, agentRef...)},
	{"agent.state_changed", "agent.{agent}", "agent.{agent}", append([]string{"/data/from/state", "/data/to/state", "/data/to/reason", "/data/since", "/data/previous_duration"}, agentRef...)},
	{"agent.stats_changed", "agent.{agent}", "agent.{agent}", agentRef},
	{"agent.disappeared", "agent.{agent}", "agent.{agent}", append([]string{"/data/from/state"}, agentRef...)},
	{"service.observed", "service.{service}", "service.{service}", []string{"/data/service_id"}},
	{"service.appeared", "service.{service}", "service.{service}", []string{"/data/service_id"}},
	{"service.stats_changed", "service.{service}", "service.{service}", []string{"/data/service_id"}},
	{"service.disappeared", "service.{service}", "service.{service}", []string{"/data/service_id"}},
	{"availability.observed", "availability.{service}", "availability.{service}", nil},
	{"availability.changed", "availability.{service}", "availability.{service}", nil},
	{"totals.observed", "totals.{app}", "totals.{app}", nil},
	{"totals.stats_changed", "totals.{app}", "totals.{app}", []string{"/data/reset"}},
	{"threshold.raised", "threshold.{rule}.{entity}", "threshold.{rule}.{entity}", nil},
	{"threshold.cleared", "threshold.{rule}.{entity}", "threshold.{rule}.{entity}", []string{"/data/value"}},
	{"chat.message_posted", "chat", "", []string{
		"/data/message/login_id", "/data/message/first_name", "/data/message/last_name", "/data/message/send_time",
		"/data/message/urgent", "/data/message/content",
	}},
	{"directory.changed", "directory.{kind}", "directory.{kind}", nil},
	{"feed.checkpoint", "feed", "feed", []string{"/data/follows", "/data/availability_until", "/data/chain", "/data/clock_set"}},
	{"feed.started", "feed", "", nil},
	{"feed.interrupted", "feed", "", nil},
	{"feed.resumed", "feed", "", nil},
	{"feed.stopped", "feed", "", nil},
	{"feed.erased", "feed", "", []string{"/data/reason"}},
}

// agentRef are the optional fields of every event about an agent.
var agentRef = []string{"/data/state_revision", "/data/agent/login_id", "/data/agent/user_id", "/data/agent/name", "/data/agent/team"}

// mayLack reports whether an event may lack a field.
func mayLack(name, field string) bool {
	return slices.ContainsFunc(promised, func(p promise) bool { return p.name == name && slices.Contains(p.optional, field) })
}

// promisedNames lists the names of the events, sorted.
func promisedNames() []string {
	var names []string
	for _, p := range promised {
		names = append(names, p.name)
	}
	slices.Sort(names)
	return names
}
