// Package outage decides when an outage is logged: when it begins, when it has another cause, and again at
// growing intervals while it lasts.
package outage

import "time"

// An outage is logged again after firstInterval, and then after twice the time of before, up to maxInterval.
const (
	firstInterval = time.Minute
	maxInterval   = time.Hour
)

// maxCauses bounds the causes of an outage that are logged at once: errors may have numbers in their texts.
const maxCauses = 20

// Outage is a fault that lasts for some time, or not at present. The zero value is not at present. It is used by
// one goroutine at a time.
type Outage struct {
	since    time.Time       // when the first failure was; zero = none
	logged   time.Time       // when a failure was last logged
	interval time.Duration   // until it is logged again
	causes   map[string]bool // those that were logged
}

// Failed records a failure at a time. It reports whether the failure is to be logged, and for how long the
// outage has lasted, as text for the key "lasts".
func (o *Outage) Failed(now time.Time, cause string) (lasts string, due bool) {
	if o.since.IsZero() {
		*o = Outage{since: now, causes: map[string]bool{}}
	}
	isNew := !o.causes[cause] && len(o.causes) < maxCauses
	again := now.Sub(o.logged) >= o.interval && !o.logged.IsZero()
	if !isNew && !again {
		return "", false
	}
	o.causes[cause] = o.causes[cause] || isNew
	switch {
	case o.logged.IsZero():
		o.interval = firstInterval
	case again:
		o.interval = min(2*o.interval, maxInterval)
	}
	if again || o.logged.IsZero() {
		o.logged = now
	}
	return text(now.Sub(o.since)), true
}

// End ends the outage at a time. It reports for how long it has lasted, and whether there was one.
func (o *Outage) End(now time.Time) (lasted string, was bool) {
	if o.since.IsZero() {
		return "", false
	}
	lasted = text(now.Sub(o.since))
	*o = Outage{}
	return lasted, true
}

// text writes a duration in whole seconds. A clock that was set back gives none below 0.
func text(d time.Duration) string { return max(d, 0).Round(time.Second).String() }
