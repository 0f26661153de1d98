package bpcctest

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Fault is a misbehaviour of the API. A Fault that sets none of the fields below Path only counts
// as met.
type Fault struct {
	// Path is the end of the paths it applies to, such as "/oauth/token"; empty
	// means data requests.
	Path string `json:"path,omitempty"`
	// Service limits the fault to availability checks of that service.
	Service string `json:"service,omitempty"`
	// Status is returned instead of the requested action; 0 performs it, or returns Body with 200
	// if there is one.
	Status int `json:"status,omitempty"`
	// RetryAfter is the header of that name, sent as it is.
	RetryAfter string `json:"retry_after,omitempty"`
	// Body and ContentType are the response's; an empty ContentType is guessed.
	Body        string `json:"body,omitempty"`
	ContentType string `json:"content_type,omitempty"`
	// Close sends headers and half of the body and cuts the connection.
	Close bool `json:"close,omitempty"`
	// Truncate cuts the body in half under a Content-Length that matches, so that only a reader of
	// the JSON notices.
	Truncate bool `json:"truncate,omitempty"`
	// Delay is waited before anything is done. Closing the server, or a client that disconnects,
	// ends it.
	Delay time.Duration `json:"-"`
	// Reset cuts the connection with a TCP reset, before any response.
	Reset bool `json:"reset,omitempty"`
	// Drip sends the body byte by byte, with this pause before each.
	Drip time.Duration `json:"-"`
	// EmptyGrids returns data with all grids empty.
	EmptyGrids bool `json:"empty_grids,omitempty"`
	// Foreign returns the data of another program's subscription.
	Foreign bool `json:"foreign,omitempty"`
	// Nested returns data in which every value of this text is in an array, as no client expects.
	Nested string `json:"nested,omitempty"`
	// ExpiresIn is the JSON text of expires_in in the response to a login, such as -1 or "3600.5";
	// "none" leaves the member out. The token's lifetime stays that of the [Config].
	ExpiresIn string `json:"expires_in,omitempty"`
	// Times is how many requests meet the fault: 0 means one, negative means all
	// until [Tenant.ClearFaults].
	Times int `json:"times,omitempty"`
}

// MarshalJSON writes Delay and Drip as text such as "1.5s".
func (f Fault) MarshalJSON() ([]byte, error) {
	type plain Fault
	out := struct {
		plain
		Delay string `json:"delay,omitempty"`
		Drip  string `json:"drip,omitempty"`
	}{plain: plain(f)}
	if f.Delay != 0 {
		out.Delay = f.Delay.String()
	}
	if f.Drip != 0 {
		out.Drip = f.Drip.String()
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads Delay and Drip from text such as "1.5s". It refuses unknown fields, since a
// misspelt fault would silently do nothing.
func (f *Fault) UnmarshalJSON(b []byte) error {
	type plain Fault
	var in struct {
		plain
		Delay string `json:"delay"`
		Drip  string `json:"drip"`
	}
	dec := json.NewDecoder(strings.NewReader(string(b)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return err
	}
	*f = Fault(in.plain)
	var err error
	if in.Delay != "" {
		if f.Delay, err = time.ParseDuration(in.Delay); err != nil {
			return fmt.Errorf("delay: %w", err)
		}
	}
	if in.Drip != "" {
		if f.Drip, err = time.ParseDuration(in.Drip); err != nil {
			return fmt.Errorf("drip: %w", err)
		}
	}
	return nil
}

// Inject queues a fault. Faults for one path are met in the order in which they
// were injected, one per request.
func (t *Tenant) Inject(f Fault) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f.Times == 0 {
		f.Times = 1
	}
	t.faults = append(t.faults, &f)
}

// ClearFaults removes all injected faults and gives back what
// [Tenant.FillSubscriptions] took.
func (t *Tenant) ClearFaults() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults, t.otherSubscriptions = nil, 0
}

// applies reports whether a request meets the fault.
func (f *Fault) applies(path, service string) bool {
	switch {
	case f.Service != "" && (f.Service != service || path != availabilityPath):
		return false
	case f.Path == "" && f.Service == "":
		return path == dataPath
	}
	return strings.HasSuffix(path, f.Path)
}

// nextFault returns the fault for a request to path, if any, and counts it. service is that of an
// availability check. Needs t.mu.
func (t *Tenant) nextFault(path, service string) (f Fault, ok bool) {
	for i, f := range t.faults {
		if !f.applies(path, service) {
			continue
		}
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				t.faults = append(t.faults[:i:i], t.faults[i+1:]...)
			}
		}
		t.counts.Faults++
		return *f, true
	}
	return Fault{}, false
}
