package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/bridgetest"
	"bpcc-nats/internal/natstest"
)

// connectFromEnv connects as the bridge does, by environment.
func connectFromEnv(t *testing.T, log *bridgetest.Buffer, closed func(error), env ...string) (*nats.Conn, error) {
	t.Helper()
	js, err := openFromEnv(t, log, closed, env...)
	if err != nil {
		return nil, err
	}
	return js.Conn(), nil
}

// openFromEnv is connectFromEnv that returns JetStream.
func openFromEnv(t *testing.T, log *bridgetest.Buffer, closed func(error), env ...string) (jetstream.JetStream, error) {
	t.Helper()
	c, _, err := config.Parse(env, config.ForStream)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	js, err := stream.Connect(ctx, c.NATS, c.Version, slog.New(slog.NewJSONHandler(log, nil)), closed)
	if err == nil {
		t.Cleanup(js.Conn().Close)
	}
	return js, err
}

// operator is a NATS operator with one account, which servers learn of by JWT.
type operator struct {
	t       *testing.T
	key     nkeys.KeyPair
	account nkeys.KeyPair
	claims  *jwt.AccountClaims
	options *server.Options
}

func newOperator(t *testing.T) *operator {
	t.Helper()
	o := &operator{t: t, key: newKeyPair(t, nkeys.CreateOperator), account: newKeyPair(t, nkeys.CreateAccount)}
	token, err := jwt.NewOperatorClaims(publicKeyOf(t, o.key)).Encode(o.key)
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := jwt.DecodeOperatorClaims(token)
	if err != nil {
		t.Fatal(err)
	}
	o.claims = jwt.NewAccountClaims(publicKeyOf(t, o.account))
	resolver := &server.MemAccResolver{}
	o.options = &server.Options{TrustedOperators: []*jwt.OperatorClaims{trusted}, AccountResolver: resolver}
	if err := resolver.Store(publicKeyOf(t, o.account), o.encode()); err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *operator) encode() string {
	o.t.Helper()
	token, err := o.claims.Encode(o.key)
	if err != nil {
		o.t.Fatal(err)
	}
	return token
}

// creds writes credentials of a new user, and returns its public key.
func (o *operator) creds(file string, end time.Time) string {
	o.t.Helper()
	user := newKeyPair(o.t, nkeys.CreateUser)
	claims := jwt.NewUserClaims(publicKeyOf(o.t, user))
	if !end.IsZero() {
		claims.Expires = end.Unix()
	}
	token, err := claims.Encode(o.account)
	if err != nil {
		o.t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		o.t.Fatal(err)
	}
	content, err := jwt.FormatUserConfig(token, seed)
	if err != nil {
		o.t.Fatal(err)
	}
	bridgetest.ReplaceFile(o.t, file, string(content))
	return claims.Subject
}

func newKeyPair(t *testing.T, create func() (nkeys.KeyPair, error)) nkeys.KeyPair {
	t.Helper()
	k, err := create()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func publicKeyOf(t *testing.T, k nkeys.KeyPair) string {
	t.Helper()
	p, err := k.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// seed writes the seed of a new user, and returns its public key.
func seed(t *testing.T, file string) string {
	t.Helper()
	k := newKeyPair(t, nkeys.CreateUser)
	text, err := k.Seed()
	if err != nil {
		t.Fatal(err)
	}
	bridgetest.ReplaceFile(t, file, string(text))
	return publicKeyOf(t, k)
}

// TestLoginMethods connects to servers that want each kind of proof, with the
// right one and with wrong ones.
func TestLoginMethods(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	ours, theirs := bridgetest.NewCA(t), bridgetest.NewCA(t)
	cert, key := ours.IssueCert("bridge")
	strangeCert, strangeKey := theirs.IssueCert("stranger")
	op, another := newOperator(t), newOperator(t)
	op.creds(in("right.creds"), time.Time{})
	op.creds(in("expired.creds"), time.Now().Add(-time.Minute))
	another.creds(in("wrong.creds"), time.Time{})
	nkey := seed(t, in("right.nk"))
	seed(t, in("wrong.nk"))
	bridgetest.ReplaceFile(t, in("password"), "a/secret:@of ours\n")
	bridgetest.ReplaceFile(t, in("token"), "a-token-of-ours\n")
	user := &server.Options{Username: "bridge", Password: "a/secret:@of ours"}
	for name, password := range map[string]string{"right": user.Password, "wrong": "hunter2"} {
		bridgetest.ReplaceFile(t, in(name+".json"), fmt.Sprintf(`{"url": "URL", "user": "bridge", "password": %q}`, password))
	}

	type attempt struct {
		env  []string // URL stands for the server's address
		want string   // in the error; "" = it connects
	}
	const refused = "NATS server refused the credentials"
	tests := map[string]struct {
		server   *server.Options
		attempts map[string]attempt
	}{
		"TLS": {&server.Options{TLSConfig: ours.ServerTLS(false)}, map[string]attempt{
			"trusted":     {[]string{"NATS_CA=" + ours.File}, ""},
			"not trusted": {[]string{"NATS_CA=" + theirs.File}, "set that authority's certificate in NATS_CA"},
			"by nobody":   {nil, "set that authority's certificate in NATS_CA"},
		}},
		"mutual TLS": {&server.Options{TLSConfig: ours.ServerTLS(true), TLSVerify: true}, map[string]attempt{
			"with a certificate":    {[]string{"NATS_CA=" + ours.File, "NATS_CERT=" + cert, "NATS_KEY=" + key}, ""},
			"without":               {[]string{"NATS_CA=" + ours.File}, "in NATS_CERT and NATS_KEY"},
			"another's certificate": {[]string{"NATS_CA=" + ours.File, "NATS_CERT=" + strangeCert, "NATS_KEY=" + strangeKey}, "in NATS_CERT and NATS_KEY"},
		}},
		"no TLS": {&server.Options{}, map[string]attempt{
			"wanted": {[]string{"NATS_CA=" + ours.File}, "the server does not offer TLS"},
			"nobody": {nil, ""},
		}},
		"password": {user, map[string]attempt{
			"right":          {[]string{"NATS_USER=bridge", "NATS_PASSWORD=" + user.Password}, ""},
			"in a file":      {[]string{"NATS_USER=bridge", "NATS_PASSWORD_FILE=" + in("password")}, ""},
			"in a context":   {[]string{"NATS_URL=", "NATS_CONTEXT=" + in("right.json")}, ""},
			"wrong":          {[]string{"NATS_USER=bridge", "NATS_PASSWORD=hunter2"}, refused},
			"wrong user":     {[]string{"NATS_USER=hunter", "NATS_PASSWORD=" + user.Password}, refused},
			"wrong, context": {[]string{"NATS_URL=", "NATS_CONTEXT=" + in("wrong.json")}, refused},
			"none":           {nil, "check NATS_CREDS, NATS_NKEY, NATS_USER"},
		}},
		"token": {&server.Options{Authorization: "a-token-of-ours"}, map[string]attempt{
			"right":       {[]string{"NATS_TOKEN=a-token-of-ours"}, ""},
			"in a file":   {[]string{"NATS_TOKEN_FILE=" + in("token")}, ""},
			"with a mark": {[]string{"NATS_TOKEN_FILE=" + bridgetest.WithMark(t, in("token"))}, ""},
			"wrong":       {[]string{"NATS_TOKEN=hunter2"}, refused},
		}},
		"nkey": {&server.Options{Nkeys: []*server.NkeyUser{{Nkey: nkey}}}, map[string]attempt{
			"right":       {[]string{"NATS_NKEY=" + in("right.nk")}, ""},
			"with a mark": {[]string{"NATS_NKEY=" + bridgetest.WithMark(t, in("right.nk"))}, ""},
			"wrong":       {[]string{"NATS_NKEY=" + in("wrong.nk")}, refused},
		}},
		"creds": {op.options, map[string]attempt{
			"right":              {[]string{"NATS_CREDS=" + in("right.creds")}, ""},
			"with a mark":        {[]string{"NATS_CREDS=" + bridgetest.WithMark(t, in("right.creds"))}, ""},
			"expired":            {[]string{"NATS_CREDS=" + in("expired.creds")}, refused},
			"of another account": {[]string{"NATS_CREDS=" + in("wrong.creds")}, refused},
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := natstest.Start(t, tt.server).ClientURL()
			for name, a := range tt.attempts {
				env := []string{"NATS_URL=" + url}
				for _, v := range a.env {
					if file, ok := strings.CutPrefix(v, "NATS_CONTEXT="); ok {
						content, err := os.ReadFile(file)
						if err != nil {
							t.Fatal(err)
						}
						bridgetest.ReplaceFile(t, file, strings.Replace(string(content), "URL", url, 1))
					}
					env = append(env, v)
				}
				var log bridgetest.Buffer
				nc, err := connectFromEnv(t, &log, func(error) {}, env...)
				switch {
				case a.want == "" && err != nil:
					t.Errorf("%s: %v", name, err)
				case a.want == "":
					nc.Close()
				case err == nil || !strings.Contains(err.Error(), a.want) || (a.want == refused) != errors.Is(err, stream.ErrNATSAuth) && !strings.HasPrefix(a.want, "check"):
					t.Errorf("%s: error %v; want %q in it", name, err, a.want)
				}
				if text := fmt.Sprint(err, log.String()); strings.Contains(text, "hunter2") || strings.Contains(text, "secret:@") || strings.Contains(text, "a-token") {
					t.Errorf("%s: a secret shows:\n%s", name, text)
				}
			}
		})
	}
}

// TestReplacedCredentials refuses what a connection has shown so far, and lets
// it find the new one in the file.
func TestReplacedCredentials(t *testing.T) {
	t.Parallel()
	type rotation struct {
		server  *server.Server
		env     []string
		refuse  func() // what has been good so far
		restore func() // put the new one into the file
	}
	reload := func(t *testing.T, s *server.Server, o *server.Options) {
		t.Helper()
		o.Host, o.Port, o.NoSigs, o.NoLog = "127.0.0.1", s.Addr().(*net.TCPAddr).Port, true, true
		if err := s.ReloadOptions(o); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]func(t *testing.T, file string) rotation{
		"password": func(t *testing.T, file string) rotation {
			bridgetest.ReplaceFile(t, file, "first")
			s := natstest.Start(t, &server.Options{Username: "bridge", Password: "first"})
			return rotation{s, []string{"NATS_USER=bridge", "NATS_PASSWORD_FILE=" + file}, func() {
				reload(t, s, &server.Options{Username: "bridge", Password: "second"})
			}, func() { bridgetest.ReplaceFile(t, file, "second") }}
		},
		"token": func(t *testing.T, file string) rotation {
			bridgetest.ReplaceFile(t, file, "first")
			s := natstest.Start(t, &server.Options{Authorization: "first"})
			return rotation{s, []string{"NATS_TOKEN_FILE=" + file}, func() {
				reload(t, s, &server.Options{Authorization: "second"})
			}, func() { bridgetest.ReplaceFile(t, file, "second") }}
		},
		"creds": func(t *testing.T, file string) rotation {
			op := newOperator(t)
			user := op.creds(file, time.Time{})
			s := natstest.Start(t, op.options)
			return rotation{s, []string{"NATS_CREDS=" + file}, func() {
				op.claims.Revoke(user)
				account, err := s.LookupAccount(op.claims.Subject)
				if err != nil {
					t.Fatal(err)
				}
				if err := op.options.AccountResolver.Store(op.claims.Subject, op.encode()); err != nil {
					t.Fatal(err)
				}
				s.UpdateAccountClaims(account, op.claims)
			}, func() { op.creds(file, time.Time{}) }}
		},
	}
	for name, prepare := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "secret")
			r := prepare(t, file)
			var log bridgetest.Buffer
			nc, err := connectFromEnv(t, &log, func(err error) { t.Errorf("given up: %v", err) }, append(r.env, "NATS_URL="+r.server.ClientURL())...)
			if err != nil {
				t.Fatal(err)
			}
			r.refuse()
			waitForLog(t, &log, "NATS server refused the credentials, retrying")
			// More than the two tries after which the library would give up.
			for before := connections(t, r.server); connections(t, r.server) < before+3; <-time.After(10 * time.Millisecond) {
				if nc.IsClosed() {
					t.Fatal("the connection was given up")
				}
			}
			r.restore()
			waitForLog(t, &log, "reconnected to NATS")
			if !nc.IsConnected() {
				t.Error("not connected")
			}
			if n := strings.Count(log.String(), "refuses the credentials"); n > 2 {
				t.Errorf("%d log lines say that the credentials are refused; want it once, and once how they were taken back:\n%s", n, &log)
			}
		})
	}
}

// connections is how many a server has taken so far.
func connections(t *testing.T, s *server.Server) uint64 {
	t.Helper()
	v, err := s.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	return v.TotalConnections
}

// TestReplacedCA restarts a server whose certificates, and those it takes,
// are of a new authority.
func TestReplacedCA(t *testing.T) {
	t.Parallel()
	first, second := bridgetest.NewCA(t), bridgetest.NewCA(t)
	cert, key := first.IssueCert("bridge")
	s := natstest.Start(t, &server.Options{TLSConfig: first.ServerTLS(true), TLSVerify: true})
	var log bridgetest.Buffer
	nc, err := connectFromEnv(t, &log, func(err error) { t.Errorf("given up: %v", err) },
		"NATS_URL="+s.ClientURL(), "NATS_CA="+first.File, "NATS_CERT="+cert, "NATS_KEY="+key)
	if err != nil {
		t.Fatal(err)
	}
	port := s.Addr().(*net.TCPAddr).Port
	s.Shutdown()
	s.WaitForShutdown()
	natstest.Start(t, &server.Options{Port: port, TLSConfig: second.ServerTLS(true), TLSVerify: true})
	waitForLog(t, &log, "set that authority's certificate in NATS_CA")
	copyFile(t, second.File, first.File)
	waitForLog(t, &log, "in NATS_CERT and NATS_KEY")
	newCert, newKey := second.IssueCert("bridge")
	copyFile(t, newKey, key)
	copyFile(t, newCert, cert)
	waitForLog(t, &log, "reconnected to NATS")
	nc.Close()
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	bridgetest.ReplaceFile(t, to, string(content))
}

// An nkey is part of the connection: a new one needs a restart.
func TestReplacedNKey(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "user.nk")
	o := func(public string) *server.Options {
		return &server.Options{Nkeys: []*server.NkeyUser{{Nkey: public}}}
	}
	s := natstest.Start(t, o(seed(t, file)))
	var log bridgetest.Buffer
	given := make(chan error, 10)
	if _, err := connectFromEnv(t, &log, func(err error) { given <- err }, "NATS_URL="+s.ClientURL(), "NATS_NKEY="+file); err != nil {
		t.Fatal(err)
	}
	next := o(seed(t, file))
	next.Host, next.Port, next.NoSigs, next.NoLog = "127.0.0.1", s.Addr().(*net.TCPAddr).Port, true, true
	if err := s.ReloadOptions(next); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-given:
		if !errors.Is(err, stream.ErrNATSAuth) || !strings.Contains(err.Error(), "NATS_NKEY now holds a new key") {
			t.Errorf("given up with %v; want the reason", err)
		}
	case <-time.After(testTimeout):
		t.Fatalf("the connection is not given up:\n%s", &log)
	}
}
