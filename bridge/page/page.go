// Package page is the live page and its feed: a reader of the stream and the view like any other.
package page

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"path"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/reader"
)

//go:embed *.html *.css *.js *.svg
var pageFiles embed.FS

const (
	// maxPages is how many live pages one process serves at a time.
	maxPages = 64
	// pageMaxLag is how many events a page may lag; a slower one is disconnected and
	// starts again with a snapshot.
	pageMaxLag = 20_000
)

// pagePolicy lets the page load its own files and connect to its own server, and nothing else: it
// shows texts written by people.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// Handler is the live page and its data. It reads only what any consumer can read, the
// stream and the view, so a standby shows the same as the leader.
type Handler struct {
	js     jetstream.JetStream
	config *config.Config
	log    *slog.Logger
	mux    *http.ServeMux

	slots        chan struct{} // holds one for each open session
	heartbeat    time.Duration // interval of heartbeats
	writeTimeout time.Duration // for the page to read what is written
	maxLag       uint64        // how many events a page may lag
	stateReads   chan struct{} // holds one for each request that reads the view
	histories    histories

	tenantsMu     sync.Mutex // guards the fields below, and lets one session at a time read the list
	tenants       map[string]json.RawMessage
	tenantsExpire time.Time
}

// New makes the handler of the live page: GET / is the page, GET /live/events its
// data as Server-Sent Events, GET /live/history the last day of its queues. GET
// /api/state is the present state as JSON, for programs. It needs the names of streams
// and buckets, and the intervals from c. Who may ask is decided by the server in front of it,
// as of package web.
func New(js jetstream.JetStream, c *config.Config, log *slog.Logger) *Handler {
	p := &Handler{
		js: js, config: c, log: log, mux: http.NewServeMux(),
		slots: make(chan struct{}, maxPages), heartbeat: 2 * time.Second, writeTimeout: 10 * time.Second, maxLag: pageMaxLag,
		stateReads: make(chan struct{}, maxStateReads),
		histories:  histories{reading: make(chan struct{}, historyReaders), byTenant: map[string]*history{}},
	}
	files, err := fs.Glob(pageFiles, "*")
	if err != nil {
		panic(err) // unreachable: the pattern is constant
	}
	for _, name := range files {
		p.serveFile(name)
	}
	p.mux.HandleFunc("GET /live/events", p.handleLive)
	p.mux.HandleFunc("GET /live/history", p.handleHistory)
	p.mux.HandleFunc("GET /api/state", p.handleState)
	return p
}

// open returns a reader of the events of a tenant, which is given by its token.
func (p *Handler) open(token string) (*reader.Reader, error) {
	tenant, err := event.ParseToken(token)
	if err != nil {
		return nil, fmt.Errorf("tenant: %w", err)
	}
	return reader.Open(p.js, tenant, reader.Options{Stream: p.config.Stream.Name, StateBucket: p.config.Stream.StateBucket, Timeout: config.CallTimeout})
}

// serveFile returns the handler of one of the page's files, by its base name; the page itself is at
// "/".
func (p *Handler) serveFile(name string) {
	body, err := pageFiles.ReadFile(name)
	if err != nil {
		panic(err) // listed a moment ago, and embedded in the program
	}
	// Fixed here, since the tables of operating systems differ.
	types := map[string]string{
		".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
		".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
	}
	sum := sha256.Sum256(body)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	pattern := "GET /" + path.Base(name)
	if path.Ext(name) == ".html" {
		pattern = "GET /{$}"
	}
	p.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", types[path.Ext(name)])
		h.Set("ETag", tag)
		// Browsers revalidate each time, so they get the files of the running program.
		h.Set("Cache-Control", "no-cache")
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		// This fails only when the client is gone.
		_, _ = w.Write(body)
	})
}

// ServeHTTP limits what the page may load and where it may be shown.
func (p *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", pagePolicy)
	p.mux.ServeHTTP(w, r)
}
