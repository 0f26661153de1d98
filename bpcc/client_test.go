package bpcc_test

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"bpcc-nats/bpcc"
	"bpcc-nats/bpcc/bpcctest"
)

// fakeClock is a clock that tests move.
type fakeClock struct {
	mu   sync.Mutex
	now  time.Time
	step time.Duration // how far it advances at each reading
}

func newFakeClock() *fakeClock {
	return &fakeClock{now: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)}
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(c.step)
	return c.now
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// testSubscription is what most of these tests subscribe to.
var testSubscription = bpcc.Subscription{"wall": {AgentGrids: []bpcc.Grid{{ID: "all", Columns: []bpcc.Column{
	{ID: "login", StatName: "login_id"}, {ID: "state", StatName: "acd_state"},
}}}}}

// newClient makes a client, as the simulator's user unless the config says another.
func newClient(t *testing.T, c bpcc.Config) *bpcc.Client {
	t.Helper()
	if c.ClientID == "" {
		c.ClientID, c.ClientSecret = "sim", "sim-secret"
	}
	client, err := bpcc.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// startTenant starts a tenant with one agent, whose data is ready at once.
func startTenant(t *testing.T, c bpcctest.Config) *bpcctest.Server {
	t.Helper()
	if c.NotReadyPolls == 0 {
		c.NotReadyPolls = -1
	}
	sim := bpcctest.NewServer(c)
	t.Cleanup(sim.Close)
	sim.SetAgent(bpcctest.Agent{Login: "diana.yeh", State: "ready", Team: "Sales Team", Services: []string{"Sales"}})
	sim.SetService(bpcctest.Service{Name: "Sales"})
	return sim
}

// startServer starts a server for what the simulator has no switch for.
func startServer(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func logIn(t *testing.T, client *bpcc.Client) {
	t.Helper()
	if _, err := client.AccessToken(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func subscribe(t *testing.T, client *bpcc.Client) {
	t.Helper()
	logIn(t, client)
	if err := client.Subscribe(t.Context(), testSubscription); err != nil {
		t.Fatal(err)
	}
}

func ExampleClient_Data() {
	sim := bpcctest.NewServer(bpcctest.Config{})
	defer sim.Close()
	sim.SetAgent(bpcctest.Agent{Login: "diana.yeh", State: "ready"})

	client, err := bpcc.New(bpcc.Config{URL: sim.URL, ClientID: "sim", ClientSecret: "sim-secret"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	ctx := context.Background()
	if _, err := client.AccessToken(ctx); err != nil {
		fmt.Println(err)
		return
	}
	err = client.Subscribe(ctx, bpcc.Subscription{"wall": {AgentGrids: []bpcc.Grid{{ID: "all", Columns: []bpcc.Column{
		{ID: "login", StatName: "login_id"}, {ID: "state", StatName: "acd_state"},
	}}}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	response, err := client.Data(ctx)
	for errors.Is(err, bpcc.ErrNotReady) { // a real client waits between polls
		fmt.Println(err)
		response, err = client.Data(ctx)
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s\n", response.Body)
	// Output:
	// get data: data not ready yet (HTTP 204)
	// {"wall":{"agent_grids":[{"id":"all","values":[{"login":"diana.yeh","state":"ready"}]}]}}
}

func TestSession(t *testing.T) {
	t.Parallel()
	sim := startTenant(t, bpcctest.Config{NotReadyPolls: 2})
	now := newFakeClock()
	now.step = time.Second
	client := newClient(t, bpcc.Config{URL: sim.URL + "/", Now: now.Now})
	token, err := client.AccessToken(t.Context())
	if want := (bpcc.Token{TTL: time.Hour, Scope: "sim.brightpattern.com"}); err != nil || token.Scope != want.Scope ||
		token.TTL > want.TTL || token.TTL < want.TTL-time.Minute {
		t.Fatalf("token %v, error %v; want %v", token, err, want)
	}
	if err := client.Unsubscribe(t.Context()); err != nil {
		t.Errorf("unsubscribe from nothing: %v", err)
	}
	if err := client.Subscribe(t.Context(), testSubscription); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := client.Data(t.Context()); !errors.Is(err, bpcc.ErrNotReady) {
			t.Errorf("error %v before the first collection, want ErrNotReady", err)
		}
	}
	before := now.Now()
	response, err := client.Data(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := bpcc.Response{
		Body: []byte(`{"wall":{"agent_grids":[{"id":"all","values":[{"login":"diana.yeh","state":"ready"}]}]}}`),
		Sent: before.Add(time.Second), Received: before.Add(2 * time.Second),
	}
	if diff := cmp.Diff(want, response); diff != "" {
		t.Errorf("response (-want +got)\n%s", diff)
	}
	if err := client.Unsubscribe(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := client.Data(t.Context()); !errors.Is(err, bpcc.ErrNoSubscription) {
		t.Errorf("error %v after unsubscribing, want ErrNoSubscription", err)
	}
	if c := sim.Counts(); c.Logins != 1 || c.Subscribes != 1 || c.Deletes != 2 || c.DataRequests() != 4 {
		t.Errorf("counts %+v", c)
	}
}

func TestDirectoryCalls(t *testing.T) {
	t.Parallel()
	sim := startTenant(t, bpcctest.Config{})
	sim.SetAgent(bpcctest.Agent{Login: "john.smith", Team: "Support Team", Services: []string{"Größe & Co?"}})
	sim.SetService(bpcctest.Service{Name: "Größe & Co?"})
	client := newClient(t, bpcc.Config{URL: sim.URL})
	logIn(t, client)
	tests := map[string]struct {
		get  func(context.Context) ([]bpcc.Ref, error)
		want []bpcc.Ref
	}{
		"teams":    {client.Teams, []bpcc.Ref{{ID: bpcctest.TeamID("Sales Team"), Name: "Sales Team"}, {ID: bpcctest.TeamID("Support Team"), Name: "Support Team"}}},
		"services": {client.Services, []bpcc.Ref{{ID: bpcctest.ServiceID("Größe & Co?"), Name: "Größe & Co?"}, {ID: bpcctest.ServiceID("Sales"), Name: "Sales"}}},
		"agents":   {client.Agents, []bpcc.Ref{{ID: bpcctest.UserID("diana.yeh"), Name: "diana.yeh"}, {ID: bpcctest.UserID("john.smith"), Name: "john.smith"}}},
	}
	for name, tt := range tests {
		got, err := tt.get(t.Context())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		// The order of such lists is arbitrary.
		byName := cmpopts.SortSlices(func(a, b bpcc.Ref) bool { return a.Name < b.Name })
		if diff := cmp.Diff(tt.want, got, byName); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
	for service, want := range map[string]bool{"Sales": true, "Größe & Co?": false, "no such": false} {
		if got, err := client.Available(t.Context(), service); err != nil || got != want {
			t.Errorf("available for %s: %v, error %v; want %v", service, got, err, want)
		}
	}
}

func TestDispositions(t *testing.T) {
	t.Parallel()
	sim := startTenant(t, bpcctest.Config{})
	sim.SetDispositions(
		bpcctest.Disposition{Name: "agent", AgentCanSelect: true}, bpcctest.Disposition{Name: "in", Inbound: true},
		bpcctest.Disposition{Name: "out", Outbound: true}, bpcctest.Disposition{Name: "preview", Preview: true},
		bpcctest.Disposition{Name: "agent, in", AgentCanSelect: true, Inbound: true},
	)
	client := newClient(t, bpcc.Config{URL: sim.URL})
	logIn(t, client)
	tests := map[bpcc.DispositionQuery][]string{
		{}:                                    {"agent", "in", "out", "preview", "agent, in"},
		{AgentCanSelect: true}:                {"agent", "agent, in"},
		{Inbound: true}:                       {"in", "agent, in"},
		{Outbound: true}:                      {"out"},
		{Preview: true}:                       {"preview"},
		{AgentCanSelect: true, Inbound: true}: {"agent, in"},
		{Outbound: true, Preview: true}:       nil,
	}
	for query, want := range tests {
		got, err := client.Dispositions(t.Context(), query)
		if err != nil {
			t.Errorf("%+v: %v", query, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%+v (-want +got)\n%s", query, diff)
		}
	}
}

// What is sent, down to the headers: servers are picky, and not all the same.
func TestRequests(t *testing.T) {
	t.Parallel()
	type sent struct {
		Method, Path, Type, Auth string
		Query, Form              url.Values
	}
	got := make(chan sent, 1)
	address := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		got <- sent{r.Method, r.URL.Path, r.Header.Get("Content-Type"), r.Header.Get("Authorization"), r.URL.Query(), r.PostForm}
		fmt.Fprint(w, `{"access_token":"T0K","expires_in":"60","availability":true}`)
	})
	// An address may have a path of its own, such as a proxy's.
	client := newClient(t, bpcc.Config{URL: address + "/tenant/", ClientID: "api", ClientSecret: "s+c/r t"})
	const form, text = "application/x-www-form-urlencoded", "application/json;charset=UTF-8"
	login := url.Values{"grant_type": {"client_credentials"}, "client_id": {"api"}, "client_secret": {"s+c/r t"}, "scope": {"127.0.0.1"}}
	steps := []struct {
		call func(context.Context) error
		want sent
	}{
		{func(ctx context.Context) error { _, err := client.AccessToken(ctx); return err }, sent{"POST", "/tenant/configapi/v2/oauth/token", form, "", nil, login}},
		{func(ctx context.Context) error { return client.Subscribe(ctx, testSubscription) }, sent{"POST", "/tenant/statsapi/subscription", text, "Bearer T0K", nil, nil}},
		{func(ctx context.Context) error { _, err := client.Data(ctx); return err }, sent{"GET", "/tenant/statsapi/subscription/data", "", "Bearer T0K", nil, nil}},
		{client.Unsubscribe, sent{"DELETE", "/tenant/statsapi/subscription/active", "", "Bearer T0K", nil, nil}},
		{func(ctx context.Context) error { _, err := client.Available(ctx, "a&b"); return err }, sent{"GET", "/tenant/statsapi/info/check_available_agents", "", "", url.Values{"service": {"a&b"}, "tenantUrl": {"127.0.0.1"}}, nil}},
		// A token that lives is no reason to send it along with a login.
		{func(ctx context.Context) error { _, err := client.AccessToken(ctx); return err }, sent{"POST", "/tenant/configapi/v2/oauth/token", form, "", nil, login}},
	}
	for _, step := range steps {
		if err := step.call(t.Context()); err != nil {
			t.Errorf("%s: %v", step.want.Path, err)
		}
		if diff := cmp.Diff(step.want, <-got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("request (-want +got)\n%s", diff)
		}
	}
}

func TestGzip(t *testing.T) {
	t.Parallel()
	body := `{"wall":{"agent_grids":[{"id":"all","values":[]}]}}`
	address := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "gzip" {
			t.Errorf("accepts %q, want gzip", r.Header.Get("Accept-Encoding"))
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		fmt.Fprint(z, body)
		if err := z.Close(); err != nil {
			t.Error(err)
		}
	})
	response, err := newClient(t, bpcc.Config{URL: address}).Data(t.Context())
	if diff := cmp.Diff(body, string(response.Body)); diff != "" || err != nil {
		t.Errorf("body (-want +got), error %v\n%s", err, diff)
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"https://acme.brightpattern.com", "https://acme.brightpattern.com/", "http://127.0.0.1:8080", "https://acme.brightpattern.com:8443/proxy//"} {
		if _, err := bpcc.New(bpcc.Config{URL: good}); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "acme.brightpattern.com", "acme.brightpattern.com:443", "ftp://acme.brightpattern.com", "https://", "https:///statsapi",
		"https://acme.brightpattern.com?a=b", "ht tp://acme", "https://acme:port", "https://acme\x7f", "://",
	} {
		if _, err := bpcc.New(bpcc.Config{URL: bad}); err == nil {
			t.Errorf("%q is accepted as an address", bad)
		}
	}
}

// TestBasePath: the path of an address reaches the server as it is written.
func TestBasePath(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]string{
		"":                       "",
		"/":                      "",
		"/bpcc":                  "/bpcc",
		"/bpcc/":                 "/bpcc",
		"/a%2Fb":                 "/a%2Fb",
		"/a%2fb/":                "/a%2fb",
		"/a%2F":                  "/a%2F",
		"/a%20b/%C3%BC/%25/%3Fx": "/a%20b/%C3%BC/%25/%3Fx",
		"/a//b/../c":             "/a//b/../c",
		"/a+b;c=d,e":             "/a+b;c=d,e",
	} {
		var got []string
		address := startServer(t, func(w http.ResponseWriter, r *http.Request) {
			got = append(got, r.RequestURI)
			fmt.Fprint(w, `{"access_token":"T","expires_in":"60","availability":true}`)
		})
		client := newClient(t, bpcc.Config{URL: address + base, Scope: "acme"})
		logIn(t, client)
		if _, err := client.Data(t.Context()); err != nil {
			t.Errorf("%q: %v", base, err)
		}
		if _, err := client.Available(t.Context(), "Sales/EU"); err != nil {
			t.Errorf("%q: %v", base, err)
		}
		all := []string{
			want + "/configapi/v2/oauth/token", want + "/statsapi/subscription/data",
			want + "/statsapi/info/check_available_agents?service=Sales%2FEU&tenantUrl=acme",
		}
		if d := cmp.Diff(all, got); d != "" {
			t.Errorf("%q: requests (-want +got)\n%s", base, d)
		}
	}
}

// TestScopeOfHost: without a scope the tenant is the host, in the form in which tenants are named.
func TestScopeOfHost(t *testing.T) {
	t.Parallel()
	var scope string
	proxy := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		scope = r.FormValue("scope")
		fmt.Fprint(w, `{"access_token":"T","expires_in":"60"}`)
	})
	through, err := url.Parse(proxy)
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"http://ACME.brightpattern.com":      "acme.brightpattern.com",
		"http://acme.brightpattern.com.:80/": "acme.brightpattern.com",
	} {
		logIn(t, newClient(t, bpcc.Config{URL: address, Proxy: http.ProxyURL(through)}))
		if scope != want {
			t.Errorf("%s: the scope is %q, want %q", address, scope, want)
		}
	}
}
