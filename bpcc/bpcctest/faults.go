package bpcctest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Fault is a misbehaviour of the API. Its fields compose. A Fault that sets none of the fields that
// change something only counts as met.
type Fault struct {
	// Path is the end of the paths it applies to, such as "/oauth/token"; empty means token requests
	// with ExpiresIn, checks of available agents with Services, and data requests otherwise.
	Path string `json:"path,omitempty"`
	// Services limits the fault to the checks of these services; empty means all.
	Services []string `json:"services,omitempty"`
	// Every is how many requests that it applies to make one that meets it: with 2 every second one,
	// as behind a load balancer in front of two nodes. 0 means 1. The others are free for faults that
	// were injected later.
	Every int `json:"every,omitempty"`
	// Times is how many requests meet the fault: 0 means one, negative means all
	// until [Tenant.ClearFaults].
	Times int `json:"times,omitempty"`

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
	// Hang gives no response until the client gives up or the server closes.
	Hang bool `json:"hang,omitempty"`
	// Reset cuts the connection with a TCP reset, before any response.
	Reset bool `json:"reset,omitempty"`
	// Drip sends the body byte by byte, with this pause before each.
	Drip time.Duration `json:"-"`
	// BOM puts a UTF-8 byte order mark before the body.
	BOM bool `json:"bom,omitempty"`
	// ExpiresIn is the JSON text of expires_in in the response to a login, such as -1 or "3600.5";
	// "none" leaves the member out. The token's lifetime stays that of the [Config].
	ExpiresIn string `json:"-"`

	// Frozen returns data and availability as they were when the fault was injected, while the world
	// goes on: the same bytes in each response to a subscription.
	Frozen bool `json:"frozen,omitempty"`
	// Lag returns data and availability as they were that long ago by the clock of the world, as a
	// node does that lags behind the others. States from before the fault was injected are not known:
	// until Lag has passed, those of its injection are returned, with younger clocks.
	Lag time.Duration `json:"-"`
	// EmptyGrids returns data with all grids empty.
	EmptyGrids bool `json:"empty_grids,omitempty"`
	// Empty names grids that are empty, by their id or by their section, such as "agent_grids".
	Empty []string `json:"empty,omitempty"`
	// Shuffle returns the rows in another order in each response, where the subscription gives none. A
	// limit then leaves other rows each time.
	Shuffle bool `json:"shuffle,omitempty"`
	// Limit is the maximum number of rows of a grid, whatever its subscription says; 0 for no limit.
	Limit int `json:"limit,omitempty"`
	// Rows changes rows of grids, by the agent's login or the service's name. "*" is all rows that are
	// not named.
	Rows map[string]Row `json:"rows,omitempty"`
	// Foreign returns the data of another program's subscription.
	Foreign bool `json:"foreign,omitempty"`
	// Nested returns data in which every value of this text is in an array, as no client expects.
	Nested string `json:"nested,omitempty"`

	applied int    // requests that it applied to so far
	turn    int    // requests that have met it so far
	world   *World // as returned with Frozen or Lag
}

// Row is how a [Fault] changes a row of a grid.
type Row struct {
	// Missing leaves the row out.
	Missing bool `json:"missing,omitempty"`
	// Without names statistics that the row has no column of.
	Without []string `json:"without,omitempty"`
	// Cells replaces values by statistic name, with any JSON: text, null, an array.
	Cells map[string]json.RawMessage `json:"cells,omitempty"`
	// Duplicate, unless it is nil, is a second row of the same key: the first one with these cells
	// replaced. The two change places with each response.
	Duplicate map[string]json.RawMessage `json:"duplicate,omitzero"`
}

// noExpiresIn is the value of Fault.ExpiresIn that leaves the member out.
const noExpiresIn = "none"

// MarshalJSON writes Delay, Drip and Lag as text such as "1.5s", and ExpiresIn as the JSON that it
// is; none is text.
func (f Fault) MarshalJSON() ([]byte, error) {
	type plain Fault
	out := struct {
		plain
		Delay string `json:"delay,omitempty"`
		Drip  string `json:"drip,omitempty"`
		Lag   string `json:"lag,omitempty"`

		ExpiresIn json.RawMessage `json:"expires_in,omitempty"`
	}{plain: plain(f), ExpiresIn: json.RawMessage(f.ExpiresIn)}
	if f.ExpiresIn == noExpiresIn {
		out.ExpiresIn = json.RawMessage(`"none"`)
	}
	for text, d := range map[*string]time.Duration{&out.Delay: f.Delay, &out.Drip: f.Drip, &out.Lag: f.Lag} {
		if d != 0 {
			*text = d.String()
		}
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON writes. It refuses unknown fields and
// numbers that mean nothing, since such a fault would silently do nothing.
func (f *Fault) UnmarshalJSON(b []byte) error {
	type plain Fault
	var in struct {
		plain
		Delay string `json:"delay"`
		Drip  string `json:"drip"`
		Lag   string `json:"lag"`

		ExpiresIn json.RawMessage `json:"expires_in"`
	}
	dec := json.NewDecoder(strings.NewReader(string(b)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return err
	}
	*f = Fault(in.plain)
	if f.ExpiresIn = string(in.ExpiresIn); f.ExpiresIn == `"none"` {
		f.ExpiresIn = noExpiresIn
	}
	for _, d := range []struct {
		name, text string
		into       *time.Duration
	}{{"delay", in.Delay, &f.Delay}, {"drip", in.Drip, &f.Drip}, {"lag", in.Lag, &f.Lag}} {
		if d.text == "" {
			continue
		}
		var err error
		if *d.into, err = time.ParseDuration(d.text); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
	}
	switch {
	case f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("status %d is not within 200 to 599", f.Status)
	case f.Every < 0, f.Limit < 0, f.Delay < 0, f.Drip < 0, f.Lag < 0:
		return errors.New("every, limit, delay, drip and lag must not be negative")
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
	if f.Frozen {
		f.world = t.world.clone()
	}
	t.faults = append(t.faults, &f)
	t.recordHistory()
}

// ClearFaults removes all injected faults and gives back what
// [Tenant.FillSubscriptions] took.
func (t *Tenant) ClearFaults() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults, t.otherSubscriptions, t.history = nil, 0, nil
}

// nextFault returns the fault for a request, if any, and counts it. Needs t.mu.
func (t *Tenant) nextFault(r *http.Request) (f Fault, ok bool) {
	for i, f := range t.faults {
		if !f.appliesTo(r) {
			continue
		}
		if f.applied++; f.Every > 1 && f.applied%f.Every != 0 {
			continue
		}
		f.turn++
		met := *f
		if f.Lag > 0 && !f.Frozen {
			met.world = t.worldBefore(f.Lag)
		}
		if f.turn == f.Times {
			t.faults = append(t.faults[:i:i], t.faults[i+1:]...)
		}
		t.counts.Faults++
		return met, true
	}
	return Fault{}, false
}

// appliesTo reports whether the fault is one of requests such as r.
func (f *Fault) appliesTo(r *http.Request) bool {
	path := f.Path
	if path == "" {
		switch {
		case f.ExpiresIn != "":
			path = tokenPath
		case len(f.Services) > 0:
			path = availabilityPath
		default:
			path = dataPath
		}
	}
	return strings.HasSuffix(r.URL.Path, path) &&
		(len(f.Services) == 0 || r.URL.Path == availabilityPath && slices.Contains(f.Services, r.URL.Query().Get("service")))
}
