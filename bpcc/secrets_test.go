package bpcc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"bpcc-nats/bpcc"
	"bpcc-nats/bpcc/bpcctest"
)

const (
	aSecret   = `s3cret/+"<of>& ours`
	aPassword = `pa$$word;"<of>& ours`
	aToken    = "0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF"
	aSession  = "5E55104D-0000-4000-8000-0123456789AB"
)

// checkNoSecrets fails when an error shows one of the secrets, or a good part of one,
// in any spelling.
func checkNoSecrets(t *testing.T, what string, err error, secrets ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error", what)
		return
	}
	for _, secret := range secrets {
		// A cut text may hold the beginning; six letters are a good part.
		for _, s := range []string{secret, secret[:6]} {
			quoted := strings.Trim(string(quote(t, s)), `"`)
			for _, variant := range []string{s, url.QueryEscape(s), quoted, strings.Trim(strconv.Quote(s), `"`), html.EscapeString(s)} {
				if strings.Contains(err.Error(), variant) {
					t.Errorf("%s: %q shows %q", what, err, variant)
					return
				}
			}
		}
	}
}

// allCalls are all methods of a client that send something.
func allCalls(client *bpcc.Client) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"AccessToken":  func(ctx context.Context) error { _, err := client.AccessToken(ctx); return err },
		"Authenticate": func(ctx context.Context) error { _, err := client.Authenticate(ctx); return err },
		"Subscribe":    func(ctx context.Context) error { return client.Subscribe(ctx, testSubscription) },
		"Data":         func(ctx context.Context) error { _, err := client.Data(ctx); return err },
		"Unsubscribe":  client.Unsubscribe,
		"Dispositions": func(ctx context.Context) error {
			_, err := client.Dispositions(ctx, bpcc.DispositionQuery{})
			return err
		},
		"Available": func(ctx context.Context) error { _, err := client.Available(ctx, aSecret); return err },
		"Teams":     func(ctx context.Context) error { _, err := client.Teams(ctx); return err },
		"Services":  func(ctx context.Context) error { _, err := client.Services(ctx); return err },
		"Agents":    func(ctx context.Context) error { _, err := client.Agents(ctx); return err },
	}
}

// Servers that fail like to print what they were sent.
func TestEchoedSecretsAreRedacted(t *testing.T) {
	t.Parallel()
	// An echo of the secrets that a client has, and of what it has just sent.
	echoes := map[string]func(secrets, sent string) string{
		"what was sent": func(_, sent string) string { return sent },
		"as it is":      func(secrets, _ string) string { return secrets },
		"in JSON":       func(secrets, _ string) string { return string(quote(t, secrets)) },
		"in an object":  func(secrets, _ string) string { return `{"you":` + string(quote(t, secrets)) + "}" },
		"in cut JSON":   func(secrets, _ string) string { return `{"you":` + string(quote(t, secrets)) },
		"in other JSON": func(secrets, _ string) string { return strconv.Quote(secrets) },
		"in HTML":       func(secrets, _ string) string { return "<p>" + html.EscapeString(secrets) },
		"in a form":     func(secrets, _ string) string { return "x=" + url.QueryEscape(secrets) },
		"at the cut":    func(secrets, _ string) string { return strings.Repeat("x", 150) + secrets },
		"across lines":  func(secrets, _ string) string { return strings.ReplaceAll(secrets, "\n", "\r\n\r\n\t") },
	}
	for name, echo := range echoes {
		for _, status := range []int{200, 302, 400, 401, 500} {
			for _, credential := range []string{aToken, aSession} {
				t.Run(fmt.Sprint(name, " ", status, " ", credential), func(t *testing.T) {
					t.Parallel()
					known := []string{credential, aSecret, aPassword}
					client := loggedInClient(t, credential, func(w http.ResponseWriter, r *http.Request) {
						body, err := io.ReadAll(r.Body)
						if err != nil {
							t.Error(err)
						}
						w.Header().Set("Location", "/login?token="+credential+"&secret="+url.QueryEscape(aSecret))
						w.WriteHeader(status)
						fmt.Fprint(w, echo(strings.Join(known, "\n"), fmt.Sprint(string(body), r.Header, r.URL)))
					})
					for method, call := range allCalls(client) {
						err := call(t.Context())
						if err == nil && status == 200 && (method == "Subscribe" || method == "Unsubscribe" || method == "Data") {
							continue // these accept a response of 200 without reading it
						}
						checkNoSecrets(t, method, err, known...)
					}
				})
			}
		}
	}
}

func quote(t *testing.T, s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		t.Error(err)
	}
	return b
}

// loggedInClient logs a client in, by cookie if the credential is the session, after
// which only h answers.
func loggedInClient(t *testing.T, credential string, h http.HandlerFunc) *bpcc.Client {
	t.Helper()
	var open atomic.Bool
	open.Store(true)
	address := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		if open.Load() {
			fmt.Fprintf(w, `{"access_token":%q,"expires_in":"60","token":%q}`, aToken, aSession)
			return
		}
		h(w, r)
	})
	client := newClient(t, bpcc.Config{URL: address, ClientID: "api", ClientSecret: aSecret, Username: "jane", Password: aPassword})
	var err error
	if credential == aSession {
		_, err = client.Authenticate(t.Context())
	} else {
		_, err = client.AccessToken(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	open.Store(false)
	return client
}

// A credential that arrives in a malformed response is not known, and still secret.
func TestFailedLoginsShowNoSecret(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"access_token":"` + aToken, `{"token":"` + aSession, `["` + aToken + `","` + aSession + `"]`, aToken, aSession,
		`{"access_token":["` + aToken + `"],"expires_in":"an hour","token":["` + aSession + `"]}`,
		`{"access_token":{"value":"` + aToken + `"},"token":{"value":"` + aSession + `"}}`,
	} {
		client := newClient(t, bpcc.Config{
			URL:      startServer(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }),
			ClientID: "api", ClientSecret: aSecret, Username: "jane", Password: aPassword,
		})
		_, err := client.AccessToken(t.Context())
		checkNoSecrets(t, body, err, aToken, aSession)
		_, err = client.Authenticate(t.Context())
		checkNoSecrets(t, body, err, aToken, aSession)
	}
}

func TestAddressesWithSecrets(t *testing.T) {
	t.Parallel()
	password := url.PathEscape(aToken)
	for _, address := range []string{
		"https://john:" + password + "@acme.brightpattern.com", "john:" + password + "@acme.brightpattern.com",
		"https://" + password + "@acme.brightpattern.com", "https://acme.brightpattern.com/?token=" + password,
		"https://john:" + password + "@acme.brightpattern.com:port", "https://john:" + password + "%@acme",
	} {
		_, err := bpcc.New(bpcc.Config{URL: address})
		checkNoSecrets(t, address, err, aToken)
	}
}

// One or two letters are no secret to be kept, and would blot out every text.
func TestShortSecretsAreNotRedacted(t *testing.T) {
	t.Parallel()
	address := startServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, "no privilege")
	})
	_, err := newClient(t, bpcc.Config{URL: address, ClientID: "api", ClientSecret: "no"}).AccessToken(t.Context())
	checkError(t, err, wantError{op: "get access token", kind: bpcc.ErrForbidden, status: 403, detail: "no privilege"})
}

// A replaced credential is still secret: requests may be under way with it.
func TestReplacedCredentialsAreRedacted(t *testing.T) {
	t.Parallel()
	var logins atomic.Int64
	secrets := []string{aSecret, "another-secret", "another-secret-that-is-longer"}
	tokens := []string{"FIRST-" + aToken, "SECOND-" + aToken}
	address := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		if n := logins.Add(1); int(n) <= len(tokens) {
			fmt.Fprintf(w, `{"access_token":%q,"expires_in":"60"}`, tokens[n-1])
			return
		}
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprint(w, strings.Join(append(tokens, secrets...), " "))
	})
	client := newClient(t, bpcc.Config{URL: address, ClientID: "api", Secret: func() string { return secrets[logins.Load()] }})
	if !client.SecretChanged() {
		t.Error("the secret has not changed before the first login")
	}
	for range tokens {
		logIn(t, client)
		if !client.SecretChanged() {
			t.Error("the secret has not changed after it did")
		}
		client.Invalidate()
	}
	_, err := client.AccessToken(t.Context())
	checkNoSecrets(t, "AccessToken", err, append(tokens, secrets...)...)
	if strings.Contains(err.Error(), "longer") {
		t.Errorf("%q shows the end of a secret that begins with another", err)
	}
}

// A secret that stays the same is no reason to log in again.
func TestUnchangedSecret(t *testing.T) {
	t.Parallel()
	sim := startTenant(t, bpcctest.Config{})
	for name, c := range map[string]bpcc.Config{
		"fixed": {URL: sim.URL, ClientID: "sim", ClientSecret: "wrong"},
		"asked": {URL: sim.URL, ClientID: "sim", Secret: func() string { return "wrong" }},
	} {
		client := newClient(t, c)
		if _, err := client.AccessToken(t.Context()); !errors.Is(err, bpcc.ErrAuth) {
			t.Errorf("%s: logged in with a wrong secret: %v", name, err)
		}
		if client.SecretChanged() {
			t.Errorf("%s: the secret has changed by itself", name)
		}
	}
}
