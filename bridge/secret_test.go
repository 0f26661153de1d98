package bridge_test

import (
	"crypto/tls"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/internal/bridgetest"
)

// serveOverTLS moves the environment's tenant behind TLS.
func (w *testEnv) serveOverTLS(t *tls.Config) {
	w.t.Helper()
	w.tenant = bpcctest.NewTLSServer(bpcctest.Config{}, t)
	w.t.Cleanup(w.tenant.Close)
	w.env["BPCC_URL"] = w.tenant.URL
	w.setAgent("anna", "ready", "")
}

// waitForLog waits until a log holds an entry with a text.
func waitForLog(t *testing.T, log *bridgetest.Buffer, text string) {
	t.Helper()
	for deadline := time.Now().Add(testTimeout); time.Now().Before(deadline); <-time.After(10 * time.Millisecond) {
		for line := range strings.Lines(log.String()) {
			var entry map[string]any
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				continue // it is being written
			}
			for _, v := range entry {
				if s, ok := v.(string); ok && strings.Contains(s, text) {
					return
				}
			}
		}
	}
	t.Fatalf("the log does not say %q:\n%s", text, log)
}

func TestTLSToTheSource(t *testing.T) {
	t.Parallel()
	ours, theirs := bridgetest.NewCA(t), bridgetest.NewCA(t)
	cert, key := ours.IssueCert("bridge")
	strangeCert, strangeKey := theirs.IssueCert("stranger")
	noClientCert, strict := ours.ServerTLS(false), ours.ServerTLS(true)
	tests := map[string]struct {
		strict  bool // the tenant wants a certificate
		env     map[string]string
		wantLog string // "" = it works
	}{
		"a trusted authority":            {env: map[string]string{"BPCC_CA_FILE": ours.File}},
		"an authority that is not known": {env: map[string]string{"BPCC_CA_FILE": theirs.File}, wantLog: "BPCC_CA_FILE"},
		"the system's authorities alone": {wantLog: "not trusted here; if it is the right server, set that authority's certificate in BPCC_CA_FILE"},
		"mutual": {
			strict: true,
			env:    map[string]string{"BPCC_CA_FILE": ours.File, "BPCC_CERT": cert, "BPCC_KEY": key},
		},
		"mutual without a certificate": {
			strict: true, wantLog: "it may require a client certificate that it trusts, in BPCC_CERT and BPCC_KEY",
			env: map[string]string{"BPCC_CA_FILE": ours.File},
		},
		"mutual with another's certificate": {
			strict: true, wantLog: "it may require a client certificate that it trusts, in BPCC_CERT and BPCC_KEY",
			env: map[string]string{"BPCC_CA_FILE": ours.File, "BPCC_CERT": strangeCert, "BPCC_KEY": strangeKey},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTestEnv(t, bpcctest.Config{})
			if tt.strict {
				w.serveOverTLS(strict.Clone())
			} else {
				w.serveOverTLS(noClientCert.Clone())
			}
			for name, value := range tt.env {
				w.env[name] = value
			}
			log := w.startWithLog()
			if tt.wantLog == "" {
				w.waitFor("agent.anna.observed", 1)
				return
			}
			waitForLog(t, log, tt.wantLog)
			if n := w.tenant.Counts().Logins; n != 0 {
				t.Errorf("%d logins went out nevertheless", n)
			}
		})
	}
}

// A certificate that is renewed while the bridge runs is shown from then on.
func TestRenewedCertificateIsShown(t *testing.T) {
	t.Parallel()
	ours := bridgetest.NewCA(t)
	cert, key := ours.IssueCertUntil("bridge", time.Now().Add(-time.Minute))
	w := newTestEnv(t, bpcctest.Config{})
	w.serveOverTLS(ours.ServerTLS(true))
	w.env["BPCC_CA_FILE"], w.env["BPCC_CERT"], w.env["BPCC_KEY"] = ours.File, cert, key
	log := w.startWithLog()
	waitForLog(t, log, "refused the TLS handshake") // for the certificate has expired
	// Certificate and key are replaced one after the other; between, they do not fit.
	bridgetest.ReplaceFile(t, cert, "")
	waitForLog(t, log, "cannot read file of variable")
	ours.IssueCert("bridge")
	w.waitFor("agent.anna.observed", 1)
}

// TestRotatedSecret replaces the tenant's secret and the file while the bridge
// runs: it is not to be seen in the feed.
func TestRotatedSecret(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		cookie bool
		env    map[string]string
		file   string // the variable that names the file
		path   string // of the login
	}{
		"oauth":  {env: map[string]string{}, file: "BPCC_CLIENT_SECRET", path: "/oauth/token"},
		"cookie": {cookie: true, env: map[string]string{"BPCC_AUTH": "cookie", "BPCC_USERNAME": "sim"}, file: "BPCC_PASSWORD", path: "/statsapi/auth"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTestEnv(t, bpcctest.Config{ClientSecret: "the-first-secret", CookieLogin: tt.cookie})
			w.setAgent("anna", "ready", "")
			secret := filepath.Join(t.TempDir(), "secret")
			bridgetest.ReplaceFile(t, secret, "the-first-secret\n")
			delete(w.env, "BPCC_CLIENT_SECRET")
			w.env[tt.file+"_FILE"] = secret
			for name, value := range tt.env {
				w.env[name] = value
			}
			log := w.startWithLog()
			w.waitFor("agent.anna.observed", 1)

			bridgetest.ReplaceFile(t, secret, "the-second-secret\n")
			w.tenant.AddUser("sim", "the-second-secret")
			w.tenant.Inject(bpcctest.Fault{Path: tt.path, Status: 500, Body: "what is the-second-secret, was the-first-secret?"})
			w.tenant.ExpireTokens()
			w.tenant.StealSession()
			w.tenant.SetState("anna", "not_ready", "")
			w.waitFor("agent.anna.state_changed", 1)
			if n := w.tenant.Counts().LoginsRefused; n != 0 {
				t.Errorf("%d logins were refused", n)
			}

			// An unreadable file is no reason to stop.
			if err := os.Remove(secret); err != nil {
				t.Fatal(err)
			}
			w.tenant.ExpireTokens()
			w.tenant.StealSession()
			w.tenant.SetState("anna", "ready", "")
			all := w.waitForEvents("the last state", func(all []storedEvent) bool { return len(withSubject(all, "agent.anna.state_changed")) == 2 })
			if n := len(withSubject(all, "feed.interrupted")); n != 0 {
				t.Errorf("%d interruptions; want none", n)
			}
			waitForLog(t, log, "cannot read file of variable")
			if text := log.String(); strings.Contains(text, "-secret") {
				t.Errorf("a secret is in the log:\n%s", text)
			}
		})
	}
}

// TestNewSecretAfterRefusal has the tenant refuse the secret, after which the
// source waits for half a minute at least, unless there is a new one.
func TestNewSecretAfterRefusal(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{ClientSecret: "the-first-secret"})
	w.setAgent("anna", "ready", "")
	secret := filepath.Join(t.TempDir(), "secret")
	bridgetest.ReplaceFile(t, secret, "the-first-secret")
	delete(w.env, "BPCC_CLIENT_SECRET")
	w.env["BPCC_CLIENT_SECRET_FILE"] = secret
	log := w.startWithLog()
	w.waitFor("agent.anna.observed", 1)

	w.tenant.AddUser("sim", "the-second-secret")
	w.tenant.ExpireTokens()
	w.waitFor("feed.interrupted", 1)
	if n := w.tenant.Counts().LoginsRefused; n != 1 {
		t.Errorf("%d logins were refused; want 1, for more may lock the user", n)
	}
	bridgetest.ReplaceFile(t, secret, "a wrong one") // a new secret, and refused as well
	waitForLog(t, log, "secret changed, logging in")
	w.waitUntil("the second refusal", func() bool { return w.tenant.Counts().LoginsRefused == 2 })
	bridgetest.ReplaceFile(t, secret, "the-second-secret")
	w.waitFor("feed.resumed", 1)
	if n := w.tenant.Counts().LoginsRefused; n != 2 {
		t.Errorf("%d logins were refused; want 2", n)
	}
	if n := strings.Count(log.String(), "secret changed, logging in"); n != 2 {
		t.Errorf("%d logins for the sake of a new secret; want 2", n)
	}
}
