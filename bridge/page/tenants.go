package page

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/scan"
	"bpcc-nats/bridge/stream"
)

const (
	// maxTenants is how many tenants one page shows side by side.
	maxTenants = 16
	// sessionRetry is after how long the data of one of several tenants is sent again after an error.
	sessionRetry = 5 * time.Second
	// tenantsTTL is how long pages share a list of tenants, tenantsRetry after how
	// long a list that could not be read is read again.
	tenantsTTL   = 5 * time.Second
	tenantsRetry = 10 * time.Minute
)

// liveWriter writes the Server-Sent Events of one page, to which several sessions may send.
type liveWriter struct {
	w       http.ResponseWriter
	out     *http.ResponseController
	timeout time.Duration // for the page to read what is written

	mu sync.Mutex // held while one event is written
}

// errWrite is returned when the page does not read what is written.
var errWrite = errors.New("write to page")

// send writes one Server-Sent Event.
func (o *liveWriter) send(name string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.out.SetWriteDeadline(time.Now().Add(o.timeout)); err != nil {
		return fmt.Errorf("set write deadline: %w", err)
	}
	if _, err = fmt.Fprintf(o.w, "event: %s\ndata: %s\n\n", name, body); err == nil {
		err = o.out.Flush()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errWrite, err)
	}
	return nil
}

// handleLive handles /live/events?tenant=TOKEN, and ?tenants=TOKEN,TOKEN or ?tenants=all for several at once.
// Of several, each event is in one named "tenant", which says whose it is.
func (p *Handler) handleLive(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	several := query.Has("tenants")
	var tenants []string
	var leftOut int
	var err error
	if several {
		tenants, leftOut, err = p.tenantsQuery(r.Context(), query.Get("tenants"))
	} else {
		tenants = make([]string, 1)
		tenants[0], err = p.tenantQuery(query.Get("tenant"))
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for n := range max(1, len(tenants)) {
		select {
		case p.slots <- struct{}{}:
			defer func() { <-p.slots }()
		default:
			w.Header().Set("Retry-After", "5")
			http.Error(w, fmt.Sprintf("%d pages are open already, and this one needs room for %d more: close one.", cap(p.slots), max(1, len(tenants))-n), http.StatusServiceUnavailable)
			return
		}
	}
	out := &liveWriter{w: w, out: http.NewResponseController(w), timeout: p.writeTimeout}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // proxies must not buffer
	if several {
		err = p.runSessions(r.Context(), out, tenants, leftOut)
	} else {
		l := &liveSession{Handler: p, tenant: tenants[0], out: out}
		err = l.runSession(r.Context())
	}
	if r.Context().Err() == nil {
		p.log.Debug("live page disconnected", "tenants", tenants, "err", err)
		// The page shows the error before it reconnects; it may be closed by now. It is
		// not named error: an EventSource has an event of that name itself.
		_ = out.send("failure", map[string]string{"error": err.Error()})
	}
}

// tenantQuery returns the token of the tenant that a request asks for, by default the configured one.
func (p *Handler) tenantQuery(tenant string) (string, error) {
	if tenant == "" {
		return event.Token(p.config.Tenant), nil
	}
	if _, err := event.ParseToken(tenant); err != nil {
		return "", fmt.Errorf("tenant: %w", err)
	}
	return tenant, nil
}

// tenantsQuery returns the tokens of the tenants that a request asks for, and how many there is no room for.
func (p *Handler) tenantsQuery(ctx context.Context, list string) (tenants []string, leftOut int, err error) {
	if list == "all" {
		tenants = slices.Sorted(maps.Keys(p.listTenants(ctx)))
		shown := min(len(tenants), maxTenants)
		return tenants[:shown], len(tenants) - shown, nil
	}
	for t := range strings.SplitSeq(list, ",") {
		if _, err := event.ParseToken(t); err != nil {
			return nil, 0, fmt.Errorf("tenants: %w", err)
		}
		if !slices.Contains(tenants, t) {
			tenants = append(tenants, t)
		}
	}
	if len(tenants) > maxTenants {
		return nil, 0, fmt.Errorf("%d tenants; at most %d at a time", len(tenants), maxTenants)
	}
	return tenants, 0, nil
}

// runSessions sends several tenants to one page. An error of one is sent in its place and does not disturb the
// others.
func (p *Handler) runSessions(ctx context.Context, out *liveWriter, tenants []string, leftOut int) error {
	err := out.send("tenants", map[string]any{"tenants": append([]string{}, tenants...), "left_out": leftOut, "heartbeat_seconds": p.heartbeat.Seconds()})
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, tenant := range tenants {
		l := &liveSession{Handler: p, tenant: tenant, out: out, shared: true}
		group.Go(func() error { return l.repeatSession(ctx) })
	}
	if len(tenants) == 0 {
		group.Go(func() error { return p.awaitTenants(ctx, out) })
	}
	return group.Wait()
}

// repeatSession runs a session again after errors, until ctx ends or the page does not keep up.
func (l *liveSession) repeatSession(ctx context.Context) error {
	for {
		err := l.runSession(ctx)
		if ctx.Err() != nil || errors.Is(err, errWrite) || errors.Is(err, errSlowClient) {
			return err
		}
		if err := l.sendEvent("failure", map[string]string{"error": err.Error()}); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(sessionRetry):
		}
	}
}

// awaitTenants sends heartbeats until the view has a tenant.
func (p *Handler) awaitTenants(ctx context.Context, out *liveWriter) error {
	for len(p.listTenants(ctx)) == 0 {
		if err := out.send("heartbeat", liveHeartbeat{Now: time.Now()}); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(p.heartbeat):
		}
	}
	return errors.New("the view has tenants now")
}

// sendEvent sends one event of the tenant.
func (l *liveSession) sendEvent(name string, v any) error {
	if !l.shared {
		return l.out.send(name, v)
	}
	return l.out.send("tenant", map[string]any{"tenant": l.tenant, "name": name, "data": v})
}

// listTenants reads the feed keys of all tenants in the view, by tenant, or returns
// those that another page has just read. The user may lack the permission to read
// other tenants: then a page has its own alone.
func (p *Handler) listTenants(ctx context.Context) map[string]json.RawMessage {
	p.tenantsMu.Lock()
	defer p.tenantsMu.Unlock()
	if time.Now().Before(p.tenantsExpire) {
		return p.tenants
	}
	ctx, cancel := context.WithTimeout(ctx, config.CallTimeout/2)
	defer cancel()
	feeds := map[string]json.RawMessage{}
	prefix := stream.ViewPrefix(p.config.Stream)
	err := scan.LastPerSubject(ctx, p.js, stream.ViewStream(p.config.Stream), prefix+"*.feed", func(msg jetstream.Msg, _ uint64) error {
		if tenant := strings.TrimSuffix(strings.TrimPrefix(msg.Subject(), prefix), ".feed"); belongsTo(tenant, msg.Data()) {
			feeds[tenant] = msg.Data()
		}
		return nil
	})
	p.tenants, p.tenantsExpire = feeds, time.Now().Add(tenantsTTL)
	if err != nil {
		p.log.Debug("cannot list tenants of the view", "err", err)
		p.tenantsExpire = time.Now().Add(tenantsRetry)
	}
	return p.tenants
}
