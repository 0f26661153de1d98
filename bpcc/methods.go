package bpcc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"
)

// Response is the response to one Get Subscription Data request: a JSON object by app id, and the
// two times that bound when its values were current. The API sends no sample time.
type Response struct {
	Body []byte
	// Sent is when the request was sent, Received when the last byte arrived.
	Sent, Received time.Time
}

// Subscribe creates the user's one active subscription (Create Subscription). There is no
// subscription id: the response is empty. It is not documented whether it replaces an older one, so
// call Unsubscribe first. Errors: [ErrRejected], [ErrAuth], [ErrLimit].
func (c *Client) Subscribe(ctx context.Context, s Subscription) error {
	const op = "create subscription"
	body, err := json.Marshal(s)
	if err != nil {
		return &Error{Op: op, Kind: ErrRejected, Err: err}
	}
	_, err = c.send(ctx, request{
		op: op, method: http.MethodPost, path: "/statsapi/subscription",
		body: body, contentType: "application/json;charset=UTF-8",
	})
	return err
}

// Data requests a snapshot (Get Subscription Data). It checks that the body is a JSON object, but
// does not decode it. Errors: [ErrNotReady], [ErrNoSubscription], [ErrAuth], [ErrMalformed],
// [ErrServer].
func (c *Client) Data(ctx context.Context) (Response, error) {
	const op = "get data"
	a, err := c.send(ctx, request{op: op, method: http.MethodGet, path: "/statsapi/subscription/data", buf: c.takeRecycled()})
	var e *Error
	switch {
	case errors.As(err, &e) && e.Status == http.StatusNotFound:
		e.Kind = ErrNoSubscription
		return Response{}, e
	case err != nil:
		return Response{}, err
	case a.status == http.StatusNoContent:
		return Response{}, &Error{Op: op, Kind: ErrNotReady, Status: a.status}
	}
	if trimmed := bytes.TrimLeft(a.body, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return Response{}, &Error{Op: op, Kind: ErrMalformed, Status: a.status, Detail: c.describeBody(a)}
	}
	return Response{Body: a.body, Sent: a.sent, Received: a.received}, nil
}

// Unsubscribe deletes the active subscription and the server's cache of its data (Delete
// Subscription). Known servers sometimes fail here without consequences.
func (c *Client) Unsubscribe(ctx context.Context) error {
	_, err := c.send(ctx, request{op: "delete subscription", method: http.MethodDelete, path: "/statsapi/subscription/active"})
	return err
}

// DispositionQuery filters Dispositions; the zero value requests all.
type DispositionQuery struct{ AgentCanSelect, Inbound, Outbound, Preview bool }

// Dispositions lists disposition names of all supervised services (Get
// Dispositions). An entry that cannot be read is "".
func (c *Client) Dispositions(ctx context.Context, q DispositionQuery) ([]string, error) {
	const op = "get dispositions"
	query := url.Values{}
	for name, on := range map[string]bool{
		"agentCanSelect": q.AgentCanSelect, "inbound": q.Inbound, "outbound": q.Outbound, "preview": q.Preview,
	} {
		if on {
			query.Set(name, "1")
		}
	}
	a, err := c.send(ctx, request{op: op, method: http.MethodGet, path: "/statsapi/cfg/dispositions", query: query, priority: priorityDirectory})
	if err != nil {
		return nil, err
	}
	return decodeList(c, op, a, func(name flexString) string { return string(name) })
}

// Available reports whether at least one agent is ready for the service (Get Available Agents). It
// needs no login and no subscription. The response for an unknown service is not documented.
func (c *Client) Available(ctx context.Context, service string) (bool, error) {
	a, err := c.CheckAvailability(ctx, service)
	return a.Available, err
}

// Availability is the response to one availability check, and the two times that bound when it was
// current.
type Availability struct {
	Available bool
	// Sent is when the request was sent, Received when the last byte arrived.
	Sent, Received time.Time
}

// CheckAvailability is [Client.Available] with the times of the check.
func (c *Client) CheckAvailability(ctx context.Context, service string) (Availability, error) {
	const op = "check available agents"
	a, err := c.send(ctx, request{
		op: op, method: http.MethodGet, path: "/statsapi/info/check_available_agents", anonymous: true,
		priority: priorityCheck, timeout: c.config.CheckTimeout,
		// Documents differ on tenantUrl; all servers accept both together.
		query: url.Values{"service": {service}, "tenantUrl": {c.config.Scope}},
	})
	if err != nil {
		return Availability{}, err
	}
	var v struct {
		Availability *bool `json:"availability"`
	}
	if err := c.decode(op, a, &v); err != nil {
		return Availability{}, err
	}
	if v.Availability == nil {
		return Availability{}, &Error{Op: op, Kind: ErrMalformed, Status: a.status, Detail: "no availability in " + c.excerpt(a.body)}
	}
	return Availability{Available: *v.Availability, Sent: a.sent, Received: a.received}, nil
}

// Ref is an object of the tenant's configuration. In a listing, an entry that cannot be read is the
// zero Ref.
type Ref struct {
	// ID is a GUID in upper case.
	ID string `json:"id"`
	// Name is the object's name; of an agent it is the login id.
	Name string `json:"name"`
}

// Teams lists the teams that the user supervises (Get Teams).
func (c *Client) Teams(ctx context.Context) ([]Ref, error) {
	return c.listRefs(ctx, "get teams", "/statsapi/cfg/teams")
}

// Services lists the services that the user supervises. The method is not in
// the vendor's documents; it was captured on a live tenant.
func (c *Client) Services(ctx context.Context) ([]Ref, error) {
	return c.listRefs(ctx, "get services", "/statsapi/cfg/services")
}

// Agents lists the tenant's users by login id. The method is not in the
// vendor's documents; it was captured on a live tenant.
func (c *Client) Agents(ctx context.Context) ([]Ref, error) {
	return c.listRefs(ctx, "get agents", "/statsapi/cfg/agents")
}

func (c *Client) listRefs(ctx context.Context, op, path string) ([]Ref, error) {
	a, err := c.send(ctx, request{op: op, method: http.MethodGet, path: path, priority: priorityDirectory})
	if err != nil {
		return nil, err
	}
	return decodeList(c, op, a, func(r struct {
		ID   flexString `json:"id"`
		Name flexString `json:"name"`
	}) Ref {
		return Ref{string(r.ID), string(r.Name)}
	})
}

// decodeList decodes a listing entry by entry. One that cannot be read is the zero Entry, so that it
// does not spoil the others; if none can be read, the response is no listing.
func decodeList[Entry comparable, Wire any](c *Client, op string, a apiResponse, entryOf func(Wire) Entry) ([]Entry, error) {
	var raw []json.RawMessage
	if err := c.decode(op, a, &raw); err != nil {
		return nil, err
	}
	if raw == nil {
		return nil, &Error{Op: op, Kind: ErrMalformed, Status: a.status, Detail: "no listing in " + c.excerpt(a.body)}
	}
	var zero Entry
	list, readable := make([]Entry, len(raw)), 0
	for i, r := range raw {
		var wire Wire
		if json.Unmarshal(r, &wire) == nil {
			list[i] = entryOf(wire)
		}
		if list[i] != zero {
			readable++
		}
	}
	if len(raw) > 0 && readable == 0 {
		return nil, &Error{Op: op, Kind: ErrMalformed, Status: a.status, Detail: "no entry can be read in " + c.excerpt(a.body)}
	}
	return list, nil
}
