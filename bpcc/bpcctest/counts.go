package bpcctest

import "maps"

// Counts is what clients have done so far. Requests are counted when they arrive, whatever their
// response is.
type Counts struct {
	// Logins counts requests for a token; LoginsRefused counts those that got 401.
	Logins        int `json:"logins"`
	LoginsRefused int `json:"logins_refused"`
	// CookieLogins counts requests to POST /statsapi/auth.
	CookieLogins int `json:"cookie_logins"`
	// Subscribes and Deletes count POST and DELETE of a subscription.
	Subscribes int `json:"subscribes"`
	Deletes    int `json:"deletes"`
	// Data counts data requests by the status of the response. A connection cut by a [Fault] counts
	// under the status of its headers, one that was reset under 0.
	Data map[int]int `json:"data"`
	// Availability counts checks of available agents, Config look-ups below /statsapi/cfg.
	Availability int `json:"availability"`
	Config       int `json:"config"`
	// Faults counts injected faults that a request has met.
	Faults int `json:"faults"`
	// MaxInFlightData is the maximum number of concurrent data requests of one user.
	MaxInFlightData int `json:"max_in_flight_data"`
}

// DataRequests is the number of data requests over all statuses.
func (c Counts) DataRequests() int {
	n := 0
	for _, v := range c.Data {
		n += v
	}
	return n
}

// Counts returns what clients have done so far.
func (t *Tenant) Counts() Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.counts
	c.Data = maps.Clone(c.Data)
	return c
}

// count counts an incoming request by its path and method.
func (c *Counts) count(method, path string) {
	switch {
	case path == tokenPath:
		c.Logins++
	case path == "/statsapi/auth" && method == "POST":
		c.CookieLogins++
	case path == "/statsapi/subscription":
		c.Subscribes++
	case path == "/statsapi/subscription/active":
		c.Deletes++
	case path == availabilityPath:
		c.Availability++
	case len(path) > len(cfgPath) && path[:len(cfgPath)] == cfgPath:
		c.Config++
	}
}
