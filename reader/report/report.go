// Package report sums up for how long agents and services were in which state, from the events of a tenant
// alone. [Read] reads them, and all else has no clock and no network.
//
// An event says that a change happened after one instant and by another, its window. So each duration is a
// range. The least is the time between windows, in which the state is certain; the most has the windows
// beside it, and the time without sight, in which the state may have lasted. What begins and ends between two
// polls is not in the stream: the ranges are those of the states that the polls show.
package report

import "time"

// Options say what is summed up.
type Options struct {
	// Since and Until bound the time; Until is not in it. Zero are the first and the last observation.
	Since, Until time.Time
	// Zone is where days begin and end; nil is UTC.
	Zone *time.Location
}

// Report is what the events of a tenant tell of a time.
type Report struct {
	// Since and Until bound the time.
	Since, Until time.Time
	// First is from when on the events tell anything. The time before is unseen, and in no range.
	First time.Time
	// Days are those that the time has a part of, in their order. Days before First are left out.
	Days []Day
	// Agents and Services are ordered by day and name.
	Agents   []Agent
	Services []Service
	// Missing is how many events are missing in the stream, at least; Foreign how many messages no bridge
	// wrote. Both are passed over.
	Missing, Foreign uint64
}

// Day is a day of a zone.
type Day struct {
	// Date is as 2006-01-02.
	Date string
	// Since and Until bound the part of the day that the report has.
	Since, Until time.Time
	// Unseen is how long the source was not seen.
	Unseen time.Duration
}

// Range bounds a duration.
type Range struct {
	AtLeast, AtMost time.Duration
	// Unseen is the time without sight. AtMost has it, but for the time before the first observation.
	Unseen time.Duration
}

// Agent is the time of an agent in one state on one day, in one team. Who is logged out or absent has no
// time in a state.
type Agent struct {
	Day string
	// Agent is the id, Name the last name that the events tell.
	Agent, Name, Team string
	// State is acd_state. Reason is that of the state not_ready, "" if there is none.
	State, Reason string
	// Times is how often the agent was in the state. A time over midnight counts on both days.
	Times int
	// LogIns is how many of these began with a log-in. RoundTrips is how often the agent left the state and
	// entered it again between two polls.
	LogIns, RoundTrips int
	// Range is the time in the state. Unseen is that of the agent on the day, and the same in all its states.
	Range
}

// Service is what is known of a service on one day.
type Service struct {
	Day     string
	Service string
	// Unavailable is the time in which no agent was available; nil where that is not checked.
	Unavailable *Figure
	// LongestWait bounds the longest wait; nil where in_max_wait_time is not known.
	LongestWait *Range
	// Rules are those that were raised on the service, by their names.
	Rules []Rule
}

// Figure is a time in a state.
type Figure struct {
	// Times is how often the state was entered, or lasted when the day began.
	Times int
	Range
}

// Rule is the time in which a threshold rule was raised: from when its condition had held for its duration
// until it was cleared.
type Rule struct {
	Rule string
	Figure
}
