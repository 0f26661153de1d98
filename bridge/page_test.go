package bridge_test

import (
	"bufio"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/page"
)

// sseReader reads the Server-Sent Events of a live page.
type sseReader struct {
	t       *testing.T
	scanner *bufio.Scanner
}

func (w *testEnv) servePage(env ...string) *httptest.Server {
	w.t.Helper()
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		w.env[name] = value
	}
	server := httptest.NewServer(page.New(w.js, w.config(), slog.New(slog.DiscardHandler)))
	w.t.Cleanup(server.Close)
	return server
}

func openSSE(t *testing.T, url string) *sseReader {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if got := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || got != "text/event-stream" {
		t.Fatalf("status %d, content type %q", resp.StatusCode, got)
	}
	scanner := bufio.NewScanner(resp.Body)
	scanner.Buffer(nil, 1<<20)
	return &sseReader{t, scanner}
}

// nextEvent reads one event of the given name into v; others before it are skipped.
func (s *sseReader) nextEvent(name string, v any) {
	s.t.Helper()
	at := ""
	for s.scanner.Scan() {
		line := s.scanner.Text()
		if after, ok := strings.CutPrefix(line, "event: "); ok {
			at = after
		}
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok || at != name {
			continue
		}
		if err := json.Unmarshal([]byte(data), v); err != nil {
			s.t.Fatalf("%s: %v\n%s", name, err, data)
		}
		return
	}
	s.t.Fatalf("the stream ended before %s: %v", name, s.scanner.Err())
}

type pageEntry struct {
	Key     string
	Seq     uint64
	Removed bool
	Backlog bool
	Event   storedEvent
}

// waitForEntry reads entries until one fits.
func (s *sseReader) waitForEntry(name string, fits func(pageEntry) bool) pageEntry {
	s.t.Helper()
	for {
		var entries []pageEntry
		s.nextEvent(name, &entries)
		for _, e := range entries {
			if fits(e) {
				return e
			}
		}
	}
}

// TestPageReceivesEvents opens the live page of a running bridge, as on a standby: it
// gets the snapshot, then the changes, and the feed as the view has it.
func TestPageReceivesEvents(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BPCC_SERVICES"], w.env["BPCC_DIRECTORY_INTERVAL"] = "Voice", "1h"
	w.setAgent("anna.b", "ready", "")
	w.setAgent("bob", "ready", "")
	w.tenant.SetService(bpcctest.Service{Name: "Voice"})
	stop := w.startBridge()
	w.waitForFeed("live")
	w.waitFor("agent.anna=2Eb.observed", 1)
	w.waitFor("availability.Voice.observed", 1)
	for _, kind := range []string{"agents", "dispositions", "services", "teams"} {
		w.waitFor("directory."+kind+".changed", 1)
	}
	w.compareView(w.events())

	live := openSSE(t, w.servePage().URL+"/live/events")
	var hello struct {
		Tenant     string
		StaleAfter float64 `json:"stale_after_seconds"`
	}
	live.nextEvent("hello", &hello)
	if hello.Tenant != "acme" || hello.StaleAfter != 35 {
		t.Errorf("hello: %+v", hello)
	}
	var view []pageEntry
	live.nextEvent("snapshot", &view)
	keys := map[string]uint64{}
	for _, e := range view {
		keys[e.Key] = e.Seq
	}
	for _, key := range []string{"agent.anna=2Eb", "agent.bob", "service.Voice", "availability.Voice", "totals.bridge", "directory.agents", "feed"} {
		if keys[key] == 0 {
			t.Errorf("the snapshot has no sequence for %s: %v", key, keys)
		}
	}
	var points []struct {
		Key   string
		Stats map[string]string
	}
	live.nextEvent("series", &points)
	if len(points) == 0 || points[0].Stats == nil {
		t.Errorf("no series: %v", points)
	}
	var ready struct{ Feeds map[string]storedEvent }
	live.nextEvent("ready", &ready)
	if ready.Feeds["acme"].text("status") != "live" {
		t.Errorf("ready: %+v", ready)
	}
	backlog := live.waitForEntry("events", func(e pageEntry) bool { return e.Key == "agent.anna=2Eb" })
	if !backlog.Backlog || backlog.Event.Type != "bpcc.agent.observed.v1" {
		t.Errorf("the first event about anna: %+v", backlog)
	}

	w.tenant.SetState("anna.b", "not_ready", "Lunch")
	changed := live.waitForEntry("events", func(e pageEntry) bool { return e.Event.Type == "bpcc.agent.state_changed.v1" })
	if changed.Backlog || changed.Key != "agent.anna=2Eb" || changed.Seq <= keys["feed"] || changed.Event.text("to", "reason") != "Lunch" {
		t.Errorf("the change: %+v", changed)
	}
	w.tenant.RemoveAgent("bob")
	if removedEntry := live.waitForEntry("events", func(e pageEntry) bool { return e.Key == "agent.bob" && !e.Backlog }); !removedEntry.Removed {
		t.Errorf("bob left: %+v", removedEntry)
	}
	var heartbeat struct {
		Now  time.Time
		Feed storedEvent
	}
	live.nextEvent("heartbeat", &heartbeat)
	if heartbeat.Now.IsZero() || heartbeat.Feed.text("status") != "live" {
		t.Errorf("heartbeat: %+v", heartbeat)
	}
	stop()
	live.waitForEntry("events", func(e pageEntry) bool { return e.Key == "feed" && e.Event.text("status") == "stopped" })

	// One that opens now must neither see who has left nor miss why.
	live = openSSE(t, w.servePage().URL+"/live/events?tenant=acme")
	live.nextEvent("snapshot", &view)
	for _, e := range view {
		if e.Key == "agent.bob" {
			t.Errorf("bob is in the snapshot: %+v", e)
		}
		if e.Key == "feed" && e.Event.text("status") != "stopped" {
			t.Errorf("the feed in the snapshot: %+v", e)
		}
	}
}

// TestPageOfSeveralTenants shows the configured tenant or the one that is asked
// for, and says which ones there are.
func TestPageOfSeveralTenants(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BRIDGE_TENANT"] = "north.one"
	w.setAgent("anna", "ready", "")
	w.startBridge()
	kv, err := w.js.KeyValue(t.Context(), "bpcc_state")
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(testTimeout); ; <-time.After(20 * time.Millisecond) {
		if _, err := kv.Get(t.Context(), "north=2Eone.feed"); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("waited in vain for the feed key")
		}
	}
	for _, test := range []struct{ configured, query, want string }{
		{"north.one", "", "north=2Eone"},
		{"elsewhere", "", "elsewhere"},
		{"elsewhere", "?tenant=north=2Eone", "north=2Eone"},
		{"north.one", "?tenant=nobody", "nobody"},
	} {
		live := openSSE(t, w.servePage("BRIDGE_TENANT="+test.configured).URL+"/live/events"+test.query)
		var hello struct{ Tenant string }
		live.nextEvent("hello", &hello)
		var ready struct{ Feeds map[string]storedEvent }
		live.nextEvent("ready", &ready)
		if hello.Tenant != test.want || len(ready.Feeds) != 1 || ready.Feeds["north=2Eone"].text("tenant") != "north.one" {
			t.Errorf("%+v: hello %+v, ready %+v", test, hello, ready)
		}
	}
}

// TestPageGuards tries what a browser may be tricked into.
func TestPageGuards(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	tests := map[string]struct {
		listen, method, path, host, origin string
		want                               int
	}{
		"the page":                 {want: 200},
		"its script":               {path: "/main.js", origin: "same-origin", want: 200},
		"its style":                {path: "/page.css", want: 200},
		"by name":                  {host: "localhost:8080", want: 200},
		"by another port":          {host: "127.0.0.1:9999", want: 200},
		"by IPv6":                  {host: "[::1]:8080", want: 200},
		"a foreign name":           {host: "evil.example", want: 403},
		"a foreign name, fed":      {host: "evil.example:8080", path: "/live/events", want: 403},
		"a name like ours":         {host: "localhost.evil.example", want: 403},
		"no name":                  {host: " ", want: 403},
		"a name for others":        {listen: ":8080", host: "bridge.corp.example", want: 200},
		"a link from elsewhere":    {origin: "cross-site", want: 200},
		"fed to another site":      {path: "/live/events", origin: "cross-site", want: 403},
		"fed to a sibling":         {path: "/live/events", origin: "same-site", want: 403},
		"not for writing":          {method: "POST", want: 405},
		"not for writing events":   {method: "POST", path: "/live/events", want: 405},
		"the source is not served": {path: "/page/", want: 404},
		"a wildcard tenant":        {path: "/live/events?tenant=*", want: 400},
		"all tenants":              {path: "/live/events?tenant=%3E", want: 400},
		"a tenant with dots":       {path: "/live/events?tenant=a.b", want: 400},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := w.config()
			if test.listen != "" {
				c.HTTP = test.listen
			}
			page := page.New(w.js, c, slog.New(slog.DiscardHandler))
			method, path := test.method, test.path
			if method == "" {
				method = http.MethodGet
			}
			if path == "" {
				path = "/"
			}
			r := httptest.NewRequest(method, path, nil)
			r.Host = "127.0.0.1:8080"
			if test.host != "" {
				r.Host = strings.TrimSpace(test.host)
			}
			if test.origin != "" {
				r.Header.Set("Sec-Fetch-Site", test.origin)
			}
			response := httptest.NewRecorder()
			page.ServeHTTP(response, r)
			if response.Code != test.want {
				t.Errorf("status %d, want %d: %s", response.Code, test.want, response.Body)
			}
			h := response.Header()
			if !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") || h.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("header %v", h)
			}
			if tag := h.Get("ETag"); test.want == http.StatusOK {
				r.Header.Set("If-None-Match", tag)
				again := httptest.NewRecorder()
				page.ServeHTTP(again, r)
				if again.Code != http.StatusNotModified || tag == "" {
					t.Errorf("asked again with %s: status %d", tag, again.Code)
				}
			}
		})
	}
}
