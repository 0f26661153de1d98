package bridge_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/page"
	"bpcc-nats/bridge/state"
	"bpcc-nats/bridge/web"
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
	w.waitUntil("the feed key", func() bool {
		_, err := kv.Get(t.Context(), "north=2Eone.feed")
		return err == nil
	})
	for _, test := range []struct{ configured, query, want string }{
		{"north.one", "", "north=2Eone"},
		{"elsewhere", "", "elsewhere"},
		{"elsewhere", "?tenant=north=2Eone", "north=2Eone"},
		{"north.one", "?tenant=umbrella", "umbrella"},
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
		hosts                              config.List
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
		"a name for others":        {listen: ":8080", hosts: config.List{"bridge.corp.example"}, host: "bridge.corp.example", want: 200},
		"a foreign name, for all":  {listen: ":8080", host: "bridge.corp.example", want: 403},
		"a link from elsewhere":    {origin: "cross-site", want: 200},
		"fed to another site":      {path: "/live/events", origin: "cross-site", want: 403},
		"fed to a sibling":         {path: "/live/events", origin: "same-site", want: 403},
		"not for writing":          {method: "POST", want: 405},
		"not for writing events":   {method: "POST", path: "/live/events", want: 405},
		"the source is not served": {path: "/page/", want: 404},
		"a wildcard tenant":        {path: "/live/events?tenant=*", want: 400},
		"all tenants":              {path: "/live/events?tenant=%3E", want: 400},
		"a tenant with dots":       {path: "/live/events?tenant=a.b", want: 400},
		"several, one with dots":   {path: "/live/events?tenants=a,b.c", want: 400},
		"several, none":            {path: "/live/events?tenants=", want: 400},
		"several, too many":        {path: "/live/events?tenants=a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", want: 400},
		"history of wildcards":     {path: "/live/history?tenant=*", want: 400},
		"history, foreign name":    {host: "evil.example", path: "/live/history", want: 403},
		"history to another site":  {path: "/live/history", origin: "cross-site", want: 403},
		"history, written":         {method: "POST", path: "/live/history", want: 405},
		"state, foreign name":      {host: "evil.example", path: "/api/state", want: 403},
		"state to another site":    {path: "/api/state", origin: "cross-site", want: 403},
		"state to a sibling":       {path: "/api/state", origin: "same-site", want: 403},
		"state, written":           {method: "POST", path: "/api/state", want: 405},
		"state, deleted":           {method: "DELETE", path: "/api/state", want: 405},
		"state of what":            {path: "/api/state?tenants=acme", want: 400},
		"state of an empty name":   {path: "/api/state?tenant=", want: 400},
		"state of two":             {path: "/api/state?tenant=a&tenant=b", want: 400},
		"state, bad query":         {path: "/api/state?tenant=%zz", want: 400},
		"state without a view":     {path: "/api/state", want: 503},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := w.config()
			if test.listen != "" {
				c.HTTP.Listen = test.listen
			}
			c.HTTP.Hosts = test.hosts
			page := web.Guard(c.HTTP, page.New(w.js, c, slog.New(slog.DiscardHandler)), slog.New(slog.DiscardHandler))
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

// TestSeveralTenantsOnOnePage gives one page two tenants by one connection, of which one has published nothing.
func TestSeveralTenantsOnOnePage(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.setAgent("anna", "ready", "")
	w.startBridge()
	w.waitForFeed("live")
	w.compareView(w.events())
	url := w.servePage().URL
	for query, want := range map[string][]string{"acme,umbrella,acme": {"acme", "umbrella"}, "all": {"acme"}} {
		live := openSSE(t, url+"/live/events?tenants="+query)
		var list struct{ Tenants []string }
		live.nextEvent("tenants", &list)
		if !slices.Equal(list.Tenants, want) {
			t.Errorf("%s: %v", query, list.Tenants)
		}
		ready := map[string]bool{}
		agents := 0
		for len(ready) < len(want) {
			var e struct {
				Tenant, Name string
				Data         json.RawMessage
			}
			live.nextEvent("tenant", &e)
			switch e.Name {
			case "ready":
				ready[e.Tenant] = true
			case "snapshot":
				var entries []pageEntry
				if err := json.Unmarshal(e.Data, &entries); err != nil || e.Tenant != "acme" {
					t.Errorf("%s: %v\n%s", e.Tenant, err, e.Data)
				}
				for _, entry := range entries {
					if entry.Key == "agent.anna" {
						agents++
					}
				}
			}
		}
		if agents != 1 {
			t.Errorf("%s: %d snapshots have anna", query, agents)
		}
	}
}

// TestStateOverHTTP reads the state of a running bridge as JSON.
func TestStateOverHTTP(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.setAgent("anna", "ready", "")
	w.tenant.SetService(bpcctest.Service{Name: "Voice"})
	w.startBridge()
	w.waitForFeed("live")
	w.compareView(w.events())
	url := w.servePage().URL + "/api/state"
	get := func(method, query, tag string, want int) (*http.Response, []byte) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("If-None-Match", tag)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		h := resp.Header
		if resp.StatusCode != want || h.Get("Cache-Control") != "no-store" || h.Get("Content-Type") != "application/json" {
			t.Fatalf("%s %s: status %d, want %d; %v\n%s", method, query, resp.StatusCode, want, h, body)
		}
		return resp, body
	}
	for _, query := range []string{"", "?tenant=acme"} {
		_, body := get("GET", query, "", http.StatusOK)
		var v state.View
		if err := json.Unmarshal(body, &v); err != nil || len(v.Tenants) != 1 {
			t.Fatalf("%v\n%s", err, body)
		}
		acme := v.Tenants[0]
		if f := acme.Feed; acme.Tenant != "acme" || f.Status != "live" || !f.Fresh || !f.Complete || f.ObservedUntil == nil || f.Epoch != 1 {
			t.Errorf("%s: feed %+v", query, f)
		}
		if len(acme.Agents) != 1 || acme.Agents[0].ID != "anna" || len(acme.Services) != 1 || len(acme.Totals) == 0 || acme.Thresholds == nil {
			t.Errorf("%s: %s", query, body)
		}
	}
	if _, body := get("GET", "?tenant=umbrella", "", http.StatusNotFound); string(body) != `{"error":"the view bpcc_state has no tenant \"umbrella\""}`+"\n" {
		t.Errorf("umbrella: %s", body)
	}
	if _, body := get("HEAD", "", "", http.StatusOK); len(body) > 0 {
		t.Errorf("HEAD: %s", body)
	}
	// The tag lasts until something happens: a poll that shows nothing new is nothing.
	w.waitUntil("two responses with one tag", func() bool {
		first, _ := get("GET", "?tenant=acme", "", http.StatusOK)
		tag := first.Header.Get("ETag")
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"?tenant=acme", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("If-None-Match", tag)
		again, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		again.Body.Close()
		return tag != "" && again.StatusCode == http.StatusNotModified
	})
	before, _ := get("GET", "?tenant=acme", "", http.StatusOK)
	w.tenant.SetState("anna", "not_ready", "Lunch")
	w.waitFor("agent.anna.state_changed", 1)
	w.compareView(w.events())
	if _, body := get("GET", "?tenant=acme", before.Header.Get("ETag"), http.StatusOK); !bytes.Contains(body, []byte("Lunch")) {
		t.Errorf("after the change: %s", body)
	}
}

// TestDayOfQueues reads the day of a queue from the stream, where a bridge has started again in the middle.
func TestDayOfQueues(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BRIDGE_THRESHOLDS"] = `[{"name":"backlog","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":5},"severity":"critical"}]`
	set := func(waiting, level string) {
		w.tenant.SetService(bpcctest.Service{Name: "Voice", Stats: map[string]string{"in_calls_waiting": waiting, "service_level": level}})
	}
	set("1", "0.9")
	stop := w.startBridge()
	w.waitFor("service.Voice.observed", 1)
	set("7", "0.8")
	w.waitFor("threshold.backlog.Voice.raised", 1)
	stop()
	set("2", "0.7")
	w.startBridge()
	w.waitFor("threshold.backlog.Voice.cleared", 1)
	url := w.servePage().URL + "/live/history"
	var day struct {
		Tenant string
		Step   float64 `json:"step_seconds"`
		Queues map[string][][4]any
		Raised []struct {
			Rule, Severity string
			From, Until    time.Time
		}
		Gaps [][2]time.Time
	}
	read := func(query string) {
		t.Helper()
		resp, err := http.Get(url + query)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(&day); err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Cache-Control") != "no-store" {
			t.Fatalf("status %d, %v, %v", resp.StatusCode, resp.Header, err)
		}
	}
	read("")
	points := day.Queues["Voice"]
	if n := len(points); n == 0 || points[n-1][2] != 2.0 || points[n-1][3] != "0.7" {
		t.Fatalf("Voice: %v", points)
	}
	peak := 0.0
	for _, p := range points {
		peak = max(peak, p[1].(float64))
	}
	if peak != 7 || day.Step != 300 || day.Tenant != "acme" {
		t.Errorf("peak %v of %+v", peak, day)
	}
	if len(day.Raised) != 1 || day.Raised[0].Rule != "backlog" || !day.Raised[0].Until.After(day.Raised[0].From) || len(day.Gaps) != 1 {
		t.Errorf("raised %+v, gaps %v", day.Raised, day.Gaps)
	}
	day.Queues = nil
	if read("?tenant=umbrella"); len(day.Queues) != 0 {
		t.Errorf("umbrella: %+v", day)
	}
}
