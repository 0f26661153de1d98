package config

import (
	"reflect"
	"strings"
	"time"
)

const (
	// defaultMaxRequests is the default of BPCC_MAX_REQUESTS, mostMaxRequests its maximum.
	defaultMaxRequests = 50
	mostMaxRequests    = 1000
	// minUnknownAfter is the least default of BPCC_AVAILABILITY_UNKNOWN_AFTER.
	minUnknownAfter = 5 * time.Second
)

// checkDurations checks all durations against their bounds.
func (c *Config) checkDurations(purpose Purpose, fault func(name, format string, args ...any)) {
	v := reflect.ValueOf(c).Elem()
	for _, f := range reflect.VisibleFields(v.Type()) {
		name := f.Tag.Get("env")
		if f.Type != reflect.TypeFor[time.Duration]() || purpose == ForStream && strings.HasPrefix(name, "BPCC_") {
			continue
		}
		d, zero := time.Duration(v.FieldByIndex(f.Index).Int()), f.Tag.Get("zero")
		least, most := boundOf(f, "min"), boundOf(f, "max")
		switch {
		case d >= least && d <= most || d == 0 && zero != "":
		case zero != "":
			fault(name, "%v is not between %s and %s, and not 0 (%s)", d, f.Tag.Get("min"), f.Tag.Get("max"), zero)
		default:
			fault(name, "%v is not between %s and %s", d, f.Tag.Get("min"), f.Tag.Get("max"))
		}
	}
}

// boundOf returns a bound of a field; 0 if it has none, or one that is no duration.
func boundOf(f reflect.StructField, tag string) time.Duration {
	d, err := time.ParseDuration(f.Tag.Get(tag))
	if err != nil {
		return 0
	}
	return d
}

// checkRates checks the settings that bound one another.
func (c *Config) checkRates(fault func(name, format string, args ...any)) {
	if c.MaxRequests == 0 {
		c.MaxRequests = defaultMaxRequests
	}
	switch perSecond := float64(time.Second) / float64(max(c.PollInterval, 1)); {
	case c.MaxRequests < 1 || c.MaxRequests > mostMaxRequests:
		fault("BPCC_MAX_REQUESTS", "%d is not between 1 and %d", c.MaxRequests, mostMaxRequests)
	case 2*perSecond > float64(c.MaxRequests) && c.PollInterval >= 100*time.Millisecond:
		fault("BPCC_MAX_REQUESTS", "%d is too few for polls every %v (BPCC_POLL_INTERVAL): these may take half of the requests at most", c.MaxRequests, c.PollInterval)
	}
	if d := c.AvailabilityUnknownAfter; d > 0 && d < 2*c.AvailabilityInterval {
		fault("BPCC_AVAILABILITY_UNKNOWN_AFTER", "%v is below two intervals of the checks (BPCC_AVAILABILITY_INTERVAL is %v)", d, c.AvailabilityInterval)
	}
}

// UnknownAfter is how old the last good check of a service may be where the services are checked at
// an interval.
func (c *Config) UnknownAfter(interval time.Duration) time.Duration {
	if c.AvailabilityUnknownAfter > 0 {
		return max(c.AvailabilityUnknownAfter, 2*interval)
	}
	return max(3*interval, minUnknownAfter)
}

// CheckInterval is the interval at which so many services are checked: the configured one, or what
// BPCC_MAX_REQUESTS leaves beside the polls, less a tenth for logins and directories.
func (c *Config) CheckInterval(services int) time.Duration {
	left := 0.9*float64(c.MaxRequests) - float64(time.Second)/float64(c.PollInterval)
	if left <= 0 {
		return c.AvailabilityInterval // a test polls more often than a configuration may
	}
	needed := time.Duration(float64(services) / left * float64(time.Second))
	if needed <= c.AvailabilityInterval {
		return c.AvailabilityInterval
	}
	return needed.Truncate(time.Millisecond) + time.Millisecond
}
