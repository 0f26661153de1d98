package bpcctest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/bpcc/bpcctest"
)

// rawClient is a hand-driven client of one tenant: it sends exactly what a test gives it.
type rawClient struct {
	testing.TB
	*bpcctest.Server
	token string
	http  *http.Client
}

func startTester(tb testing.TB, c bpcctest.Config) *rawClient {
	tb.Helper()
	s := bpcctest.NewServer(c)
	// Connections of its own: a shared pool would outlive the server.
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	tb.Cleanup(func() {
		client.CloseIdleConnections()
		s.Close()
	})
	return &rawClient{TB: tb, Server: s, http: client}
}

// httpResponse is a response read to its end; err is what reading it ended with.
type httpResponse struct {
	*http.Response
	body string
	err  error
}

func (x *rawClient) do(method, path, body string, header ...string) httpResponse {
	x.Helper()
	req, err := http.NewRequestWithContext(x.Context(), method, x.URL+path, strings.NewReader(body))
	if err != nil {
		x.Fatal(err)
	}
	if x.token != "" {
		req.Header.Set("Authorization", "Bearer "+x.token)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := x.http.Do(req)
	if err != nil {
		return httpResponse{Response: &http.Response{Header: http.Header{}}, err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return httpResponse{resp, string(b), err}
}

// expectStatus sends a request and fails unless it is answered with the status.
func (x *rawClient) expectStatus(status int, method, path, body string, header ...string) httpResponse {
	x.Helper()
	a := x.do(method, path, body, header...)
	if a.StatusCode != status {
		x.Fatalf("%s %s: status %d (%v), want %d: %s", method, path, a.StatusCode, a.err, status, a.body)
	}
	return a
}

// injectJSON injects a fault as JSON, as people write it.
func (x *rawClient) injectJSON(text string) {
	x.Helper()
	var f bpcctest.Fault
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		x.Fatalf("%s: %v", text, err)
	}
	x.Inject(f)
}

type tokenResponse struct {
	Token   string `json:"access_token"`
	Type    string `json:"token_type"`
	Expires string `json:"expires_in"`
	Scope   string `json:"scope"`
}

func (x *rawClient) login(id, secret string) tokenResponse {
	x.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}, "scope": {"any"}}
	a := x.expectStatus(200, "POST", "/configapi/v2/oauth/token", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	var t tokenResponse
	if err := json.Unmarshal([]byte(a.body), &t); err != nil {
		x.Fatalf("token: %v in %s", err, a.body)
	}
	x.token = t.Token
	return t
}

// subscribe logs in as the default user and subscribes; with NotReadyPolls of -1
// the next data request has data.
func (x *rawClient) subscribe(sub string) {
	x.Helper()
	if x.token == "" {
		x.login("sim", "sim-secret")
	}
	x.expectStatus(200, "POST", "/statsapi/subscription", sub)
}

func (x *rawClient) data() string {
	x.Helper()
	return x.expectStatus(200, "GET", "/statsapi/subscription/data", "").body
}

const data = "/statsapi/subscription/data"

// agents asks for the logins and states of all agents.
const agents = `{"a":{"agent_grids":[{"id":"g","columns":[{"id":"1","stat_name":"login_id"},{"id":"2","stat_name":"acd_state"}]}]}}`

// app is one app id of a data response.
type app struct {
	Agents   []grid            `json:"agent_grids"`
	Services []grid            `json:"service_grids"`
	Totals   map[string]string `json:"stats_totals"`
}

type grid struct {
	ID     string              `json:"id"`
	Values []map[string]string `json:"values"`
}

// column lists one column of a grid, in the order of its rows.
func (g grid) column(id string) []string {
	var out []string
	for _, row := range g.Values {
		out = append(out, row[id])
	}
	return out
}

func parse(tb testing.TB, body []byte) map[string]app {
	tb.Helper()
	var out map[string]app
	if err := json.Unmarshal(body, &out); err != nil {
		tb.Fatalf("data: %v in %.200s", err, body)
	}
	return out
}

// fakeClock is a clock that stands still until it is moved, by one goroutine.
type fakeClock struct{ now time.Time }

func (c *fakeClock) Now() time.Time { return c.now }

// parseSubscription reads a subscription that the test itself has written.
func parseSubscription(tb testing.TB, text string) bpcc.Subscription {
	tb.Helper()
	sub, err := bpcc.ParseSubscription([]byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return sub
}
