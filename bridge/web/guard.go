package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"

	"bpcc-nats/bridge/config"
)

// guard decides which requests reach a handler.
type guard struct {
	config  config.HTTP
	machine string        // name of this machine
	token   func() string // nil = none is required
	sites   http.CrossOriginProtection
	next    http.Handler
}

// Guard returns a handler that passes to next what may be served, and refuses the rest: requests for a name that
// is not this server's (DNS rebinding) and requests of other sites' pages with 403, requests without the
// configured token with 401. Without the token /healthz and /readyz give their status alone.
func Guard(c config.HTTP, next http.Handler, log *slog.Logger) http.Handler {
	// Without a name of the machine the configured ones remain.
	machine, _ := os.Hostname()
	return &guard{config: c, machine: machine, token: c.CurrentToken(log), next: next}
}

// ServeHTTP implements [http.Handler].
func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	switch {
	case !g.config.Allows(r.Host, g.machine):
		http.Error(w, fmt.Sprintf("Host %q is not a name of this server. Add it to BRIDGE_HTTP_HOSTS, or use an IP address.", r.Host), http.StatusForbidden)
	case g.foreignSite(r):
		http.Error(w, "Requests from other sites are refused.", http.StatusForbidden)
	case g.authorized(r):
		g.next.ServeHTTP(w, r)
	case r.URL.Path == "/healthz" || r.URL.Path == "/readyz":
		g.next.ServeHTTP(&statusOnly{ResponseWriter: w}, r)
	default:
		h.Add("WWW-Authenticate", `Basic realm="bpcc-bridge", charset="UTF-8"`)
		h.Add("WWW-Authenticate", `Bearer realm="bpcc-bridge"`)
		http.Error(w, "The token of this server is required: as a bearer token, or as the password of any user.", http.StatusUnauthorized)
	}
}

// foreignSite reports whether a page of another site has sent a request. A link on another site may open the live
// page, but only the page itself may read data.
func (g *guard) foreignSite(r *http.Request) bool {
	if r.URL.Path == "/" && r.Method == http.MethodGet {
		return false
	}
	// The check lets all methods pass that change nothing; here they read data.
	checked := r.WithContext(r.Context())
	checked.Method = http.MethodPost
	return g.sites.Check(checked) != nil
}

// authorized reports whether a request has the token, if one is required. Browsers send it as a password.
func (g *guard) authorized(r *http.Request) bool {
	if g.token == nil {
		return true
	}
	_, given, ok := r.BasicAuth()
	if !ok {
		var scheme string
		scheme, given, _ = strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return false
		}
	}
	// Hashes have the same length, so the time of the comparison says nothing about the token.
	want, got := sha256.Sum256([]byte(g.token())), sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// statusOnly replaces the body of a response by its status.
type statusOnly struct {
	http.ResponseWriter
	written bool
}

// WriteHeader writes the status, and a body that says no more.
func (s *statusOnly) WriteHeader(status int) {
	if s.written {
		return
	}
	s.written = true
	s.ResponseWriter.WriteHeader(status)
	// This fails only when the client is gone.
	_, _ = io.WriteString(s.ResponseWriter, fmt.Sprintf("{\"status\":%q}\n", strings.ToLower(http.StatusText(status))))
}

// Write drops the body.
func (s *statusOnly) Write(body []byte) (int, error) {
	s.WriteHeader(http.StatusOK)
	return len(body), nil
}
