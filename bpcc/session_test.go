package bpcc_test

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bpcc"
	"bpcc-nats/bpcc/bpcctest"
)

func TestLoginRefused(t *testing.T) {
	t.Parallel()
	sim := startTenant(t, bpcctest.Config{})
	client := newClient(t, bpcc.Config{URL: sim.URL, ClientID: "sim", ClientSecret: "wrong-secret", Username: "sim", Password: "sim-secret"})
	_, err := client.AccessToken(t.Context())
	checkError(t, err, wantError{op: "get access token", kind: bpcc.ErrAuth, status: 401})
	_, err = client.Authenticate(t.Context()) // BPCC 5.36 and later
	checkError(t, err, wantError{op: "authenticate", kind: bpcc.ErrForbidden, status: 403, detail: "illegal login attempt"})
	if client.LoggedIn() {
		t.Error("logged in after refusals")
	}
	_, err = client.Data(t.Context())
	checkError(t, err, wantError{op: "get data", kind: bpcc.ErrAuth, status: 401})
	if c := sim.Counts(); c.LoginsRefused != 1 {
		t.Errorf("%d logins refused; a client must not repeat them", c.LoginsRefused)
	}
}

func TestTokenEnds(t *testing.T) {
	t.Parallel()
	sim := startTenant(t, bpcctest.Config{})
	client := newClient(t, bpcc.Config{URL: sim.URL})
	subscribe(t, client)
	sim.ExpireTokens()
	if !client.LoggedIn() {
		t.Error("not logged in; the client cannot know yet that the token has ended")
	}
	_, err := client.Data(t.Context())
	checkError(t, err, wantError{op: "get data", kind: bpcc.ErrAuth, status: 401})
	client.Invalidate()
	if client.LoggedIn() {
		t.Error("still logged in after Forget")
	}
	logIn(t, client)
	if _, err := client.Data(t.Context()); err != nil {
		t.Errorf("with a new token: %v", err)
	}
}

// The server hands out the same token again with what is left of its life. A
// short life is no error, and as good as any while it lasts.
func TestShortRemainingLife(t *testing.T) {
	t.Parallel()
	now := newFakeClock()
	sim := startTenant(t, bpcctest.Config{Now: now.Now, TokenTTL: time.Hour})
	logIn(t, newClient(t, bpcc.Config{URL: sim.URL, Now: now.Now}))
	now.advance(time.Hour - 7*time.Second)

	client := newClient(t, bpcc.Config{URL: sim.URL, Now: now.Now})
	if client.LoggedIn() {
		t.Error("logged in before the login")
	}
	token, err := client.AccessToken(t.Context())
	if err != nil || token.TTL != 7*time.Second {
		t.Fatalf("token %v, error %v; want 7s of life", token, err)
	}
	if err := client.Subscribe(t.Context(), testSubscription); err != nil {
		t.Error(err)
	}
	now.advance(7*time.Second - 1)
	if !client.LoggedIn() {
		t.Error("not logged in before the token's end")
	}
	now.advance(1)
	if client.LoggedIn() {
		t.Error("logged in at the token's end")
	}
	_, err = client.Data(t.Context())
	checkError(t, err, wantError{op: "get data", kind: bpcc.ErrAuth, status: 401})
	if token, err = client.AccessToken(t.Context()); err != nil || token.TTL != time.Hour || !client.LoggedIn() {
		t.Errorf("token %v, error %v, logged in %v; want a new one of an hour", token, err, client.LoggedIn())
	}
}

func TestCookieLogin(t *testing.T) {
	t.Parallel()
	sim := startTenant(t, bpcctest.Config{CookieLogin: true})
	client := newClient(t, bpcc.Config{URL: sim.URL, Username: "sim", Password: "sim-secret"})
	session, err := client.Authenticate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	expected := bpcc.Session{
		UserID:     bpcctest.UserID("sim"),
		Privileges: []string{"PUSH_PULL_GLOBAL_WALLBOARDS", "CUSTOMIZE_WALLBOARDS", "SYS_USE_AGENT_SEAT_MAPS"},
	}
	if diff := cmp.Diff(expected, session); diff != "" {
		t.Errorf("session (-want +got)\n%s", diff)
	}
	if !client.LoggedIn() {
		t.Error("not logged in")
	}
	if err := client.Subscribe(t.Context(), testSubscription); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Data(t.Context()); err != nil {
		t.Fatal(err)
	}
	sim.StealSession() // the user has logged in to a wallboard elsewhere
	_, err = client.Data(t.Context())
	checkError(t, err, wantError{op: "get data", kind: bpcc.ErrAuth, status: 401})
	client.Invalidate()
	if client.LoggedIn() {
		t.Error("still logged in after Forget")
	}
	if _, err := client.Authenticate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Data(t.Context()); err != nil {
		t.Errorf("after a new login: %v", err)
	}
	wrong := newClient(t, bpcc.Config{URL: sim.URL, Username: "sim", Password: "not-it"})
	_, err = wrong.Authenticate(t.Context())
	checkError(t, err, wantError{op: "authenticate", kind: bpcc.ErrAuth, status: 401})
}

// A server may set no cookie of its own; the three of the documents are sent in
// any case, and no bearer token in addition.
func TestCookiesOfTheDocuments(t *testing.T) {
	t.Parallel()
	address := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/configapi/v2/oauth/token":
			fmt.Fprint(w, `{"access_token":"T0K","expires_in":"60"}`)
		case "/statsapi/auth":
			fmt.Fprint(w, `{"token":"S3SSION"}`)
		default:
			got := map[string]string{"Authorization": r.Header.Get("Authorization")}
			for _, c := range r.Cookies() {
				got[c.Name] = c.Value
			}
			want := map[string]string{
				"Authorization": "", "X-STATSAPI-TOKEN": "S3SSION", "X-STATSAPI-TENANT": "acme.brightpattern.com", "X-STATSAPI-LOGIN": "jane.doe",
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("headers (-want +got)\n%s", diff)
			}
			fmt.Fprint(w, `{}`)
		}
	})
	client := newClient(t, bpcc.Config{URL: address, Scope: "acme.brightpattern.com", Username: "jane.doe", Password: "pass-word"})
	logIn(t, client) // replaced by the cookie login
	if session, err := client.Authenticate(t.Context()); err != nil || session.UserID != "" || session.Privileges != nil {
		t.Fatalf("session %v, error %v; want a bare one, as of old releases", session, err)
	}
	if _, err := client.Data(t.Context()); err != nil {
		t.Error(err)
	}
}

// Behind a load balancer, POST and GET must reach the same node.
func TestLoadBalancerCookieIsKept(t *testing.T) {
	t.Parallel()
	var unexpected atomic.Int32
	address := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch c, err := r.Cookie("AWSALB"); {
		case r.URL.Path == "/configapi/v2/oauth/token":
			http.SetCookie(w, &http.Cookie{Name: "AWSALB", Value: "node-1", Path: "/"})
		case err != nil || c.Value != "node-1":
			unexpected.Add(1)
		}
		fmt.Fprint(w, `{"access_token":"T0K","expires_in":"60"}`)
	})
	client := newClient(t, bpcc.Config{URL: address})
	subscribe(t, client)
	if _, err := client.Data(t.Context()); err != nil {
		t.Error(err)
	}
	client.Invalidate() // of the session, not of the node
	logIn(t, client)
	if _, err := client.Data(t.Context()); err != nil {
		t.Error(err)
	}
	if n := unexpected.Load(); n > 0 {
		t.Errorf("%d requests would have gone to another node", n)
	}
}

func TestMalformedLogins(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", "{}", "null", "[]", `{"access_token":"","token":"","expires_in":"60"}`, `{"access_token":["T0K"],"token":{"x":1}}`, `{"access_token":"T0K"`} {
		address := startServer(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
		client := newClient(t, bpcc.Config{URL: address})
		_, tokenErr := client.AccessToken(t.Context())
		_, authErr := client.Authenticate(t.Context())
		if !errors.Is(tokenErr, bpcc.ErrMalformed) || !errors.Is(authErr, bpcc.ErrMalformed) || client.LoggedIn() {
			t.Errorf("%q gives errors %v and %v, logged in %v; want ErrMalformed", body, tokenErr, authErr, client.LoggedIn())
		}
	}
}

// TestTokenLifetimes reads expires_in in every spelling. What is no lifetime does not end a token: only
// a 401 does.
func TestTokenLifetimes(t *testing.T) {
	t.Parallel()
	const month = 30 * 24 * time.Hour
	tests := map[string]time.Duration{ // 0 = unknown
		`3600`: time.Hour, `"3600"`: time.Hour, `3600.0`: time.Hour, `"3600.5"`: time.Hour + time.Second/2, `" 3600 "`: time.Hour,
		`36e2`: time.Hour, `"+3600"`: time.Hour, `1`: time.Second, `"1"`: time.Second, `0.5`: time.Second / 2,
		`2591999`: month - time.Second, `2592000`: month, `1e10`: month, `"1e10"`: month, `9223372037`: month, `18446744073709551616`: month, `1e400`: month,
		`0`: 0, `"0"`: 0, `0.0`: 0, `-0`: 0, `-1`: 0, `"-3600"`: 0, `-1e400`: 0, `1e-400`: 0, `1e-12`: 0,
		`none`: 0, `null`: 0, `""`: 0, `" "`: 0, `"null"`: 0, `"an hour"`: 0, `"1h"`: 0, `"NaN"`: 0, `"Inf"`: 0, `"-Infinity"`: 0, `"0x10"`: 0, `"1_000"`: 0,
		`"1e"`: 0, `"--1"`: 0, `"3600,5"`: 0, `true`: 0, `[]`: 0, `[3600]`: 0, `{}`: 0, `{"seconds":3600}`: 0,
	}
	for expiresIn, want := range tests {
		t.Run(expiresIn, func(t *testing.T) {
			t.Parallel()
			now := newFakeClock()
			sim := startTenant(t, bpcctest.Config{Now: now.Now, TokenTTL: 10 * month})
			client := newClient(t, bpcc.Config{URL: sim.URL, Now: now.Now})
			sim.Inject(bpcctest.Fault{Path: "/oauth/token", ExpiresIn: expiresIn})
			token, err := client.AccessToken(t.Context())
			if err != nil || token.TTL != want {
				t.Fatalf("lifetime %v, error %v; want %v", token.TTL, err, want)
			}
			if want == 0 {
				now.advance(2 * month)
			} else {
				now.advance(want - 1)
			}
			if !client.LoggedIn() {
				t.Error("not logged in though the token has not ended")
			}
			if err := client.Subscribe(t.Context(), testSubscription); err != nil {
				t.Error(err)
			}
			now.advance(1)
			if got := client.LoggedIn(); got != (want == 0) {
				t.Errorf("logged in %v after %v", got, want)
			}
		})
	}
}

// The lifetime of a token begins when the server makes it, before the response arrives. A client that
// counted from there would use a token that has ended.
func TestLifetimeBeginsWithTheRequest(t *testing.T) {
	t.Parallel()
	now := newFakeClock()
	address := startServer(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"access_token":"T0K","expires_in":"3"}`)
		now.advance(2 * time.Second)
	})
	client := newClient(t, bpcc.Config{URL: address, Now: now.Now})
	logIn(t, client)
	now.advance(time.Second - 1)
	if !client.LoggedIn() {
		t.Error("not logged in before the token's end")
	}
	now.advance(1)
	if client.LoggedIn() {
		t.Error("logged in though the server has ended the token")
	}
}

// What nothing depends on does not make a login fail.
func TestLoginsOfOtherTypes(t *testing.T) {
	t.Parallel()
	address := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"access_token":"T0K","scope":["acme"],"token":"S3SSION","privileges":"all","user_id":7}`)
	})
	client := newClient(t, bpcc.Config{URL: address})
	if token, err := client.AccessToken(t.Context()); err != nil || token != (bpcc.Token{}) {
		t.Errorf("token %+v, error %v", token, err)
	}
	if session, err := client.Authenticate(t.Context()); err != nil || session.UserID != "" || session.Privileges != nil {
		t.Errorf("session %+v, error %v", session, err)
	}
}
