package page

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/state"
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

// readState reads the view, of one tenant or, if only is "", of all, when it is the request's turn.
func (p *Handler) readState(ctx context.Context, only string) (*state.View, error) {
	select {
	case p.stateReads <- struct{}{}:
		defer func() { <-p.stateReads }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return state.Read(ctx, p.js, p.config.Stream, only, config.CallTimeout)
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
