package bpcctest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"bpcc-nats/bpcc"
)

// subscription is a user's active subscription. Guarded by the tenant's mutex.
type subscription struct {
	plan     *plan
	notReady int       // data requests that will still get 204
	used     time.Time // last created or read
}

// readBody reads a request's body; status is the response's if it cannot.
func readBody(r *http.Request) (io.ReadCloser, int, error) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("body has more than %d bytes", tooLarge.Limit)
		}
		return nil, http.StatusBadRequest, err
	}
	return io.NopCloser(bytes.NewReader(b)), 0, nil
}

// postSubscription is Create Subscription. A second one replaces the first.
func (t *Tenant) postSubscription(u *user, r *http.Request, _ Fault) reply {
	var sub bpcc.Subscription
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return badRequest(err)
	}
	if err := json.Unmarshal(body, &sub); err != nil {
		return badRequest(err)
	}
	if err := sub.Validate(); err != nil {
		return badRequest(err)
	}
	if t.config.RefuseUnknownStats {
		if err := t.world.unknownStat(sub); err != nil {
			return badRequest(err)
		}
	}
	if u.sub == nil && t.active() >= t.config.SubscriptionLimit {
		return errorReply(http.StatusConflict, "limit of active subscriptions exceeded for tenant")
	}
	u.sub = &subscription{plan: newPlan(sub), notReady: t.config.NotReadyPolls, used: t.config.Now()}
	return reply{status: http.StatusOK, chunked: true}
}

// active counts the subscriptions in use of the pool.
func (t *Tenant) active() int {
	n := t.otherSubscriptions
	for _, u := range t.users {
		if t.idle(u); u.sub != nil {
			n++
		}
	}
	return n
}

// idle drops a subscription that was not read for too long.
func (t *Tenant) idle(u *user) {
	if u.sub != nil && t.config.IdleExpiry > 0 && t.config.Now().Sub(u.sub.used) >= t.config.IdleExpiry {
		u.sub = nil
	}
}

// deleteSubscription is Delete Subscription; it succeeds without a subscription too.
func (t *Tenant) deleteSubscription(u *user, _ *http.Request, _ Fault) reply {
	u.sub = nil
	return reply{status: http.StatusOK}
}

// getData is Get Subscription Data.
func (t *Tenant) getData(u *user, _ *http.Request, f Fault) reply {
	t.idle(u)
	if u.sub == nil {
		return errorReply(http.StatusNotFound, "there is no active subscription")
	}
	u.sub.used = t.config.Now()
	if u.sub.notReady > 0 {
		u.sub.notReady--
		return reply{status: http.StatusNoContent}
	}
	p := u.sub.plan
	if f.Foreign {
		p = newPlan(foreignSubscription())
	}
	return jsonReply(http.StatusOK, t.worldOf(f).render(p, u.scope, f))
}

// Snapshot returns the response that a data request of sub would get now for a user who supervises
// all teams, byte for byte.
func (t *Tenant) Snapshot(sub bpcc.Subscription) []byte {
	p := newPlan(sub)
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.world.render(p, scope{}, Fault{})
}

// DropSubscriptions drops all subscriptions, those of FillSubscriptions included, as when the
// server restarts: data requests get 404 until the next subscription.
func (t *Tenant) DropSubscriptions() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.otherSubscriptions = 0
	for _, u := range t.users {
		u.sub = nil
	}
}

// Subscriptions counts the active subscriptions, without those of FillSubscriptions.
func (t *Tenant) Subscriptions() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.active() - t.otherSubscriptions
}

// FillSubscriptions makes other programs use up the pool: a user without a subscription gets 409
// until [Tenant.ClearFaults] or [Tenant.DropSubscriptions].
func (t *Tenant) FillSubscriptions() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.otherSubscriptions = t.config.SubscriptionLimit
}

// ReplaceSubscription replaces every active subscription, or the first user's if there is none,
// with another program's, as when that program uses the same API user: data responses have its app
// ids.
func (t *Tenant) ReplaceSubscription() {
	t.mu.Lock()
	defer t.mu.Unlock()
	replaced := false
	for _, u := range t.users {
		if u.sub != nil {
			u.sub, replaced = &subscription{plan: newPlan(foreignSubscription()), used: t.config.Now()}, true
		}
	}
	if u := t.users[t.config.ClientID]; !replaced {
		u.sub = &subscription{plan: newPlan(foreignSubscription()), used: t.config.Now()}
	}
}

// foreignSubscription is the subscription of another program, a small wallboard.
func foreignSubscription() bpcc.Subscription {
	return bpcc.Subscription{"wallboard-7": {
		StatsTotals: []string{"in_calls_waiting", "agents_ready"},
		AgentGrids: []bpcc.Grid{{ID: "w1", Columns: []bpcc.Column{
			{ID: "c1", StatName: "first_last_name"}, {ID: "c2", StatName: "acd_state"},
		}}},
	}}
}
