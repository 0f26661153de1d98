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
	"bpcc-nats/bridge/config"
	"bpcc-nats/internal/bridgetest"
)

// serveOverTLS moves the world's tenant behind TLS.
func (w *testEnv) serveOverTLS(t *tls.Config) {
	w.t.Helper()
	w.tenant = bpcctest.NewTLSServer(bpcctest.Config{}, t)
	w.t.Cleanup(w.tenant.Close)
	w.env["BPCC_URL"] = w.tenant.URL
	w.setAgent("anna", "ready", "")
}

// waitForLog waits until a log holds an entry with a text.
func waitForLog(t *testing.T, log *safeBuffer, text string) {
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

// waitUntil waits for something that is not in the stream.
func (w *testEnv) waitUntil(what string, so func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(testTimeout); !so(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestTLSErrors(t *testing.T) {
	t.Parallel()
	ours := bridgetest.NewCA(t)
	cert, key := ours.IssueCert("bridge")
	otherCert, _ := ours.IssueCert("other")
	empty := filepath.Join(t.TempDir(), "empty")
	bridgetest.ReplaceFile(t, empty, "\n")
	const local = "http://127.0.0.1:8090"
	tests := map[string]struct {
		env      []string // on top of what is right
		want     string   // in the fault; "" = there is none
		wantWarn string
	}{
		"http to this machine":          {env: []string{"BPCC_URL=" + local}},
		"http to localhost":             {env: []string{"BPCC_URL=http://LocalHost:8090"}},
		"http to this machine, v6":      {env: []string{"BPCC_URL=http://[::1]:8090"}},
		"http to elsewhere":             {env: []string{"BPCC_URL=http://acme.example.com"}, want: "BPCC_ALLOW_HTTP"},
		"http to a misleading name":     {env: []string{"BPCC_URL=http://localhost.example.com"}, want: "BPCC_ALLOW_HTTP"},
		"http to elsewhere, knowingly":  {env: []string{"BPCC_URL=http://acme.example.com", "BPCC_ALLOW_HTTP=true"}, wantWarn: "BPCC_URL is http"},
		"https, http allowed":           {env: []string{"BPCC_ALLOW_HTTP=true"}},
		"allowing what is neither":      {env: []string{"BPCC_ALLOW_HTTP=perhaps"}, want: "BPCC_ALLOW_HTTP: "},
		"certificate":                   {env: []string{"BPCC_CERT=" + cert, "BPCC_KEY=" + key}},
		"certificate without a key":     {env: []string{"BPCC_CERT=" + cert}, want: "BPCC_CERT and BPCC_KEY must be set together"},
		"key of another":                {env: []string{"BPCC_CERT=" + otherCert, "BPCC_KEY=" + key}, want: "BPCC_CERT: "},
		"no authority":                  {env: []string{"BPCC_CA_FILE=" + key}, want: "BPCC_CA_FILE: no PEM certificate in " + key},
		"empty secret":                  {env: []string{"BPCC_CLIENT_SECRET=", "BPCC_CLIENT_SECRET_FILE=" + empty}, want: "BPCC_CLIENT_SECRET_FILE: " + empty + ": file is empty"},
		"NATS certificate without key":  {env: []string{"NATS_CERT=" + cert}, want: "NATS_CERT and NATS_KEY must be set together"},
		"NATS key that is none":         {env: []string{"NATS_CERT=" + cert, "NATS_KEY=" + cert}, want: "NATS_CERT: "},
		"NATS authority that is none":   {env: []string{"NATS_CA=" + empty}, want: "NATS_CA: "},
		"NATS credentials not there":    {env: []string{"NATS_CREDS=/does/not/exist"}, want: "NATS_CREDS: "},
		"two NATS keys":                 {env: []string{"NATS_CREDS=" + empty, "NATS_NKEY=" + empty}, want: "NATS_NKEY: set, and NATS_CREDS too"},
		"user and token":                {env: []string{"NATS_USER=a", "NATS_PASSWORD=b", "NATS_TOKEN=c"}, want: "NATS_TOKEN: set, and NATS_USER too"},
		"password of nobody":            {env: []string{"NATS_PASSWORD=b"}, want: "NATS_USER: "},
		"user without a password":       {env: []string{"NATS_USER=b"}, want: "NATS_PASSWORD: "},
		"a password that breaks a URL":  {env: []string{"NATS_URL=nats://anna:hunter2/x@nats.example.com:4222"}, want: "NATS_URL: "},
		"one of two URLs":               {env: []string{"NATS_URL=nats://one.example.com, nats://anna:hunter2/x@two.example.com"}, want: "NATS_URL: "},
		"a list of URLs":                {env: []string{"NATS_URL=nats://one.example.com:4222, two.example.com:4222"}},
		"inbox prefix":                  {env: []string{"NATS_INBOX_PREFIX=_INBOX_bridge.acme"}},
		"inbox prefix with a wildcard":  {env: []string{"NATS_INBOX_PREFIX=_INBOX.>"}, want: "NATS_INBOX_PREFIX: "},
		"inbox prefix with a last dot":  {env: []string{"NATS_INBOX_PREFIX=_INBOX."}, want: "NATS_INBOX_PREFIX: "},
		"probes for all":                {env: []string{"BRIDGE_HTTP=:8080"}, wantWarn: "BRIDGE_HTTP=:8080 can be reached"},
		"probes for this machine":       {env: []string{"BRIDGE_HTTP=localhost:8080"}},
		"embedded server for all":       {env: []string{"NATS_URL=", "BRIDGE_EMBEDDED_LISTEN=0.0.0.0:4222"}, wantWarn: "BRIDGE_EMBEDDED_LISTEN=0.0.0.0:4222 can be reached"},
		"an embedded server not in use": {env: []string{"BRIDGE_EMBEDDED_LISTEN=0.0.0.0:4222"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			environ := append([]string{
				"BPCC_URL=https://acme.example.com", "BPCC_CLIENT_ID=api", "BPCC_CLIENT_SECRET=a-secret", "NATS_URL=nats://127.0.0.1:4222",
			}, tt.env...)
			_, warnings, err := config.Parse(environ, config.ForBridge)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error %v; want %q in it", err, tt.want)
			case err != nil && strings.Contains(err.Error(), "hunter2"):
				t.Errorf("the error shows the password: %v", err)
			}
			if got := strings.Join(warnings, "\n"); (got == "") != (tt.wantWarn == "") || !strings.Contains(got, tt.wantWarn) {
				t.Errorf("warnings %q; want %q", got, tt.wantWarn)
			}
		})
	}
}
