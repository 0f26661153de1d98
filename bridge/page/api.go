package page

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/scan"
	"bpcc-nats/bridge/state"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/bridge/view"
)

// maxStateReads is how many requests read the view at a time; others wait.
const maxStateReads = 4

// handleState handles /api/state: the state of all tenants, or of the one whose name is in ?tenant=.
func (p *Handler) handleState(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	tenant, err := stateQuery(r.URL.RawQuery)
	if err != nil {
		writeError(w, http.StatusBadRequest, err)
		return
	}
	v, err := p.readState(r.Context(), tenant)
	switch {
	case errors.Is(err, nats.ErrPermissionViolation) && tenant == "":
		writeError(w, http.StatusForbidden, fmt.Errorf("%w; the NATS user may not read all tenants: name one, as in ?tenant=%s", err, url.QueryEscape(p.config.Tenant)))
		return
	case errors.Is(err, nats.ErrPermissionViolation):
		writeError(w, http.StatusForbidden, err)
		return
	case err != nil:
		w.Header().Set("Retry-After", "5")
		writeError(w, http.StatusServiceUnavailable, err)
		return
	case tenant != "" && len(v.Tenants) == 0 && len(v.Unreadable) == 0:
		writeError(w, http.StatusNotFound, fmt.Errorf("the view %s has no tenant %q", p.config.Stream.StateBucket, tenant))
		return
	}
	body, tag, err := encodeState(v)
	if err != nil {
		writeError(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("ETag", tag)
	if slices.Contains(strings.Split(r.Header.Get("If-None-Match"), ", "), tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	// They fail only when the client is gone.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(3 * p.writeTimeout))
	_, _ = w.Write(body)
}

// stateQuery returns the tenant that a query names; "" is all.
func stateQuery(raw string) (string, error) {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return "", fmt.Errorf("parse query: %w", err)
	}
	for name := range query {
		if name != "tenant" {
			return "", fmt.Errorf("unknown parameter %q; want tenant, or none", event.Truncate(name, 100))
		}
	}
	switch names := query["tenant"]; {
	case names == nil:
		return "", nil
	case len(names) > 1 || names[0] == "":
		return "", errors.New("tenant needs one name; without tenant the response has all")
	default:
		return names[0], nil
	}
}

// readState reads the view, of one tenant or, if only is "", of all.
func (p *Handler) readState(ctx context.Context, only string) (*state.View, error) {
	select {
	case p.stateReads <- struct{}{}:
		defer func() { <-p.stateReads }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	lag, err := view.Behind(ctx, p.js, p.config.Stream)
	if err != nil {
		return nil, err
	}
	v, err := state.Read(ctx, p.config.Stream, func(ctx context.Context) ([]view.Entry, error) { return p.readEntries(ctx, only) })
	if err != nil {
		return nil, fmt.Errorf("read view %s: %w", p.config.Stream.StateBucket, err)
	}
	v.Lag = lag
	return v, nil
}

// readEntries reads the present entries of the view by a pull consumer, which needs the permissions of the live
// page and no others.
func (p *Handler) readEntries(ctx context.Context, only string) ([]view.Entry, error) {
	prefix, keys := stream.ViewPrefix(p.config.Stream), ">"
	if only != "" {
		keys = event.Token(only) + ".>"
	}
	entries := map[string]view.Entry{} // a key that changes meanwhile comes again
	err := scan.LastPerSubject(ctx, p.js, stream.ViewStream(p.config.Stream), prefix+keys, func(msg jetstream.Msg, _ uint64) error {
		key := strings.TrimPrefix(msg.Subject(), prefix)
		if msg.Headers().Get("KV-Operation") != "" {
			delete(entries, key)
			return nil
		}
		entries[key] = view.ParseEntry(key, msg.Data())
		return nil
	})
	return slices.SortedFunc(maps.Values(entries), view.Entry.Compare), err
}

// encodeState encodes a document, and returns its entity tag, which stays the same until something else than
// the times of reading changes.
func encodeState(v *state.View) (body []byte, tag string, err error) {
	unread := *v
	unread.At, unread.Tenants = time.Time{}, nil
	for _, t := range v.Tenants {
		same := *t
		same.Feed.AgeSeconds = 0
		unread.Tenants = append(unread.Tenants, &same)
	}
	sum := sha256.New()
	if err := json.NewEncoder(sum).Encode(unread); err != nil {
		return nil, "", fmt.Errorf("encode state: %w", err)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, "", fmt.Errorf("encode state: %w", err)
	}
	return b.Bytes(), `W/"` + hex.EncodeToString(sum.Sum(nil)[:8]) + `"`, nil
}

// writeError writes an error as JSON.
func writeError(w http.ResponseWriter, status int, err error) {
	w.WriteHeader(status)
	// This fails only when the client is gone.
	_ = json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
}
