package web_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/web"
	"bpcc-nats/internal/bridgetest"
	"bpcc-nats/internal/natstest"
)

const token = "a token of a test: 0123456789"

// parse returns the configuration of a server.
func parse(t *testing.T, env ...string) config.HTTP {
	t.Helper()
	c, _, err := config.Parse(append([]string{
		"BPCC_URL=https://acme.example.com", "BPCC_CLIENT_ID=api", "BPCC_CLIENT_SECRET=a-secret",
	}, env...), config.ForBridge)
	if err != nil {
		t.Fatal(err)
	}
	return c.HTTP
}

// serve starts a server whose handler answers with the path of a request, and 503 on /readyz.
func serve(t *testing.T, log *slog.Logger, env ...string) (*web.Server, config.HTTP) {
	t.Helper()
	c := parse(t, env...)
	s, err := web.Listen(t.Context(), c, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	s.SetHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintf(w, "detail of %s", r.URL.Path)
	}))
	return s, c
}

// request sends one request of a table to a server.
type request struct {
	method, path, host string
	header             http.Header
	want               int
	body               string // must be in the response
}

func (q request) send(t *testing.T, address string) {
	t.Helper()
	method, path := q.method, q.path
	if method == "" {
		method = http.MethodGet
	}
	r, err := http.NewRequest(method, "http://"+web.DialAddress(address)+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = q.host
	if q.header != nil {
		r.Header = q.header
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != q.want || !strings.Contains(string(body), q.body) {
		t.Errorf("status %d, want %d with %q: %s", resp.StatusCode, q.want, q.body, body)
	}
	h := resp.Header
	if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cross-Origin-Resource-Policy") != "same-origin" ||
		h.Get("Content-Security-Policy") == "" || h.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("header %v", h)
	}
	if resp.StatusCode == http.StatusUnauthorized && len(h.Values("WWW-Authenticate")) != 2 {
		t.Errorf("no way to log in: %v", h)
	}
}

func sentBy(site string) http.Header { return http.Header{"Sec-Fetch-Site": {site}} }

func fromOrigin(origin string) http.Header { return http.Header{"Origin": {origin}} }

// TestHostsAndSites: a request must be for a name of the server and not be of another site's page, on every path.
func TestHostsAndSites(t *testing.T) {
	t.Parallel()
	machine, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	loopback, _ := serve(t, slog.New(slog.DiscardHandler), "BRIDGE_HTTP=127.0.0.1:0")
	all, _ := serve(t, slog.New(slog.DiscardHandler), "BRIDGE_HTTP=0.0.0.0:0", "BRIDGE_HTTP_HOSTS=Bridge.Example.com, bridge-a")
	for name, test := range map[string]struct {
		server *web.Server
		request
	}{
		"its address":                {loopback, request{path: "/metrics", want: 200, body: "detail of /metrics"}},
		"localhost":                  {loopback, request{path: "/metrics", host: "LocalHost:8080", want: 200}},
		"localhost, absolute":        {loopback, request{path: "/metrics", host: "localhost.:8080", want: 200}},
		"another address, forwarded": {loopback, request{path: "/healthz", host: "10.1.2.3:9090", want: 200}},
		"IPv6":                       {loopback, request{path: "/healthz", host: "[2001:db8::1]:8080", want: 200}},
		"IPv6 without a port":        {loopback, request{path: "/healthz", host: "[::1]", want: 200}},
		"a foreign name":             {loopback, request{path: "/", host: "evil.example", want: 403, body: "BRIDGE_HTTP_HOSTS"}},
		"a foreign name, metrics":    {loopback, request{path: "/metrics", host: "evil.example:8080", want: 403}},
		"a foreign name, health":     {loopback, request{path: "/healthz", host: "evil.example", want: 403}},
		"a name that begins alike":   {loopback, request{path: "/api/state", host: "localhost.evil.example", want: 403}},
		"a name like an address":     {loopback, request{path: "/api/state", host: "127.0.0.1.evil.example", want: 403}},
		"the machine, on loopback":   {loopback, request{path: "/", host: machine, want: 403}},
		"the machine":                {all, request{path: "/", host: machine + ":8080", want: 200}},
		"a configured name":          {all, request{path: "/metrics", host: "bridge.example.COM:8080", want: 200}},
		"another configured name":    {all, request{path: "/metrics", host: "bridge-a", want: 200}},
		"below a configured name":    {all, request{path: "/metrics", host: "x.bridge.example.com", want: 403}},
		"a foreign name, for others": {all, request{path: "/api/state", host: "evil.example", want: 403}},

		"its own page":                     {loopback, request{path: "/api/state", header: sentBy("same-origin"), want: 200}},
		"typed by a person":                {loopback, request{path: "/metrics", header: sentBy("none"), want: 200}},
		"a link to the page":               {loopback, request{path: "/", header: sentBy("cross-site"), want: 200}},
		"a form to the page":               {loopback, request{method: "POST", path: "/", header: sentBy("cross-site"), want: 403}},
		"state for another site":           {loopback, request{path: "/api/state", header: sentBy("cross-site"), want: 403}},
		"metrics for another site":         {loopback, request{path: "/metrics", header: sentBy("cross-site"), want: 403}},
		"readiness for another site":       {loopback, request{path: "/readyz", header: sentBy("cross-site"), want: 403}},
		"metrics for a sibling":            {loopback, request{path: "/metrics", header: sentBy("same-site"), want: 403}},
		"an old browser":                   {loopback, request{path: "/metrics", header: fromOrigin("https://evil.example"), want: 403}},
		"an old browser, its own page":     {loopback, request{path: "/metrics", host: "localhost:8080", header: fromOrigin("http://localhost:8080"), want: 200}},
		"an old browser, a file":           {loopback, request{path: "/metrics", header: fromOrigin("null"), want: 403}},
		"an old browser, another port":     {loopback, request{path: "/live/events", host: "localhost:8080", header: fromOrigin("http://localhost:9090"), want: 403}},
		"an old browser, head":             {loopback, request{method: "HEAD", path: "/metrics", header: fromOrigin("https://evil.example"), want: 403}},
		"a browser asks what it may do":    {loopback, request{method: "OPTIONS", path: "/api/state", header: fromOrigin("https://evil.example"), want: 403}},
		"both wrong, the name is reported": {loopback, request{path: "/", host: "evil.example", header: sentBy("cross-site"), want: 403, body: "Host"}},
	} {
		t.Run(name, func(t *testing.T) { test.send(t, test.server.Address()) })
	}
}

func basic(user, password string) http.Header {
	return http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))}}
}

func authorization(value string) http.Header { return http.Header{"Authorization": {value}} }

// TestToken: everything but the status of the probes needs the token, which may be replaced and is never logged.
func TestToken(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	bridgetest.ReplaceFile(t, file, token+"\n")
	var log bytes.Buffer
	s, c := serve(t, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), "BRIDGE_HTTP=127.0.0.1:0", "BRIDGE_HTTP_TOKEN_FILE="+file)
	c.Listen = s.Address()
	for name, q := range map[string]request{
		"none":                    {path: "/", want: 401},
		"none, metrics":           {path: "/metrics", want: 401},
		"none, state":             {path: "/api/state", want: 401},
		"none, what is not there": {path: "/healthz/x", want: 401},
		"none, alive":             {path: "/healthz", want: 200, body: `{"status":"ok"}`},
		"none, not ready":         {path: "/readyz", want: 503, body: `{"status":"service unavailable"}`},
		"bearer":                  {path: "/metrics", header: authorization("Bearer " + token), want: 200, body: "detail"},
		"bearer, in lower case":   {path: "/metrics", header: authorization("bearer " + token), want: 200},
		"bearer, not ready":       {path: "/readyz", header: authorization("Bearer " + token), want: 503, body: "detail of /readyz"},
		"password":                {path: "/", header: basic("anyone", token), want: 200},
		"password without a user": {path: "/", header: basic("", token), want: 200},
		"as the user":             {path: "/", header: basic(token, ""), want: 401},
		"another":                 {path: "/", header: authorization("Bearer another token of a test"), want: 401},
		"its beginning":           {path: "/", header: authorization("Bearer " + token[:20]), want: 401},
		"more than it":            {path: "/", header: authorization("Bearer " + token + "0"), want: 401},
		"empty":                   {path: "/", header: authorization("Bearer "), want: 401},
		"another scheme":          {path: "/", header: authorization("Token " + token), want: 401},
		"no scheme":               {path: "/", header: authorization(token), want: 401},
		"in the address":          {path: "/?token=0123456789", want: 401},
		"from a foreign site":     {path: "/metrics", header: http.Header{"Authorization": basic("", token)["Authorization"], "Sec-Fetch-Site": {"cross-site"}}, want: 403},
	} {
		t.Run(name, func(t *testing.T) { q.send(t, s.Address()) })
	}
	body, err := web.Probe(t.Context(), c, slog.New(slog.DiscardHandler))
	if !errors.Is(err, web.ErrNotReady) || string(body) != "detail of /readyz" {
		t.Errorf("a probe with the token: %v, %s", err, body)
	}
	const next = "the next token of a test: 0123456789"
	bridgetest.ReplaceFile(t, file, next)
	request{path: "/metrics", header: authorization("Bearer " + token), want: 401}.send(t, s.Address())
	request{path: "/metrics", header: authorization("Bearer " + next), want: 200}.send(t, s.Address())
	bridgetest.ReplaceFile(t, file, "") // no token is no way in
	request{path: "/metrics", header: basic("", ""), want: 401}.send(t, s.Address())
	request{path: "/metrics", header: authorization("Bearer " + next), want: 200}.send(t, s.Address())
	s.Close()
	if text := log.String(); strings.Contains(text, token) || strings.Contains(text, next) || !strings.Contains(text, "BRIDGE_HTTP_TOKEN_FILE") {
		t.Errorf("log\n%s", text)
	}
}

// TestTLS: the certificate is read again when it is replaced, also by the probe, which accepts no other one.
func TestTLS(t *testing.T) {
	t.Parallel()
	ours := bridgetest.NewCA(t)
	cert, key := ours.IssueCert("bridge.example.com")
	s, c := serve(t, slog.New(slog.DiscardHandler), "BRIDGE_HTTP=127.0.0.1:0", "BRIDGE_HTTP_TLS_CERT="+cert, "BRIDGE_HTTP_TLS_KEY="+key, "BRIDGE_HTTP_HOSTS=bridge.example.com")
	c.Listen = s.Address()
	pem, err := os.ReadFile(ours.File)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	shown := func() (serial string) {
		t.Helper()
		client := http.Client{Transport: &http.Transport{
			DisableKeepAlives: true, ForceAttemptHTTP2: true,
			TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "bridge.example.com"},
		}}
		resp, err := client.Get("https://" + s.Address() + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
			t.Errorf("%s, %s", resp.Proto, resp.Status)
		}
		return resp.TLS.PeerCertificates[0].SerialNumber.String()
	}
	first := shown()
	if _, err := web.Probe(t.Context(), c, slog.New(slog.DiscardHandler)); !errors.Is(err, web.ErrNotReady) {
		t.Errorf("probe: %v", err)
	}
	ours.IssueCert("bridge.example.com") // into the same files
	if second := shown(); second == first {
		t.Error("the replaced certificate is not shown")
	}
	if _, err := web.Probe(t.Context(), c, slog.New(slog.DiscardHandler)); !errors.Is(err, web.ErrNotReady) {
		t.Errorf("probe after the replacement: %v", err)
	}
	c.Cert, c.Key = ours.IssueCert("another")
	if _, err := web.Probe(t.Context(), c, slog.New(slog.DiscardHandler)); err == nil || errors.Is(err, web.ErrNotReady) || !strings.Contains(err.Error(), "another certificate") {
		t.Errorf("probe of a server with another certificate: %v", err)
	}
	plain, err := http.Get("http://" + s.Address() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	if plain.Body.Close(); plain.StatusCode != http.StatusBadRequest {
		t.Errorf("without TLS: %s", plain.Status)
	}
}

func TestDialAddress(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]string{
		":8080": "127.0.0.1:8080", "0.0.0.0:8080": "127.0.0.1:8080", "[::]:8080": "[::1]:8080",
		"127.0.0.1:8080": "127.0.0.1:8080", "localhost:80": "localhost:80", "192.0.2.7:8080": "192.0.2.7:8080",
	} {
		if got := web.DialAddress(listen); got != want {
			t.Errorf("web.DialAddress(%q) is %q, want %q", listen, got, want)
		}
	}
}

// TestProfiles are on a server of their own, for this machine's names.
func TestProfiles(t *testing.T) {
	t.Parallel()
	address := natstest.FreeAddress(t)
	stop, err := web.ListenDebug(t.Context(), address, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for name, q := range map[string]request{
		"list":           {path: "/debug/pprof/", want: 200, body: "goroutine"},
		"goroutines":     {path: "/debug/pprof/goroutine?debug=1", want: 200, body: "TestProfiles"},
		"trace":          {path: "/debug/pprof/trace?seconds=0.01", want: 200},
		"a foreign name": {path: "/debug/pprof/", host: "evil.example", want: 403},
		"a foreign site": {path: "/debug/pprof/goroutine", header: sentBy("cross-site"), want: 403},
		"anything else":  {path: "/metrics", want: 404},
	} {
		t.Run(name, func(t *testing.T) { q.send(t, address) })
	}
	stop()
	if _, err := http.Get("http://" + address + "/debug/pprof/"); err == nil {
		t.Error("served after the end")
	}
}
