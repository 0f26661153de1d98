package stream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/highwayhash"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"bpcc-nats/bridge/config"
	"bpcc-nats/internal/bridgetest"
	"bpcc-nats/internal/natstest"
)

// serverFault makes a server return an error.
type serverFault struct {
	provoke   func(t *testing.T) error
	transient bool
	hint      string // the beginning of what to do
}

// serverFaults has a row for each of faults, by its name.
func serverFaults() map[string]serverFault {
	return map[string]serverFault{
		"server too old": {func(*testing.T) error {
			// What a server of release 2.10 sends: no version at all. TestOldServer asks a real one.
			return CheckLeader(&jetstream.StreamInfo{Config: jetstream.StreamConfig{Name: "BPCC_EVENTS"}})
		}, false, "upgrade all NATS servers to release 2.12.1"},
		"leases without TTL": {func(t *testing.T) error {
			js := jetStreamOf(t, &server.Options{})
			_, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "bpcc_lease"})
			return cmpErr(t, err, provisionOn(t, js))
		}, false, "give the bucket a TTL: nats kv edit bpcc_lease --ttl 5s"},
		"stream does not fit": {func(t *testing.T) error {
			js := jetStreamOf(t, &server.Options{})
			_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KV_bpcc_state", Subjects: []string{"other"}})
			return cmpErr(t, err, provisionOn(t, js))
		}, false, "change what differs with the nats CLI if the server allows it, else choose another name in BRIDGE_STATE_BUCKET, or delete stream KV_bpcc_state"},
		"permission missing": {func(t *testing.T) error {
			user := &server.User{Username: "a", Password: "b", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"$JS.API.STREAM.INFO.>"}}}}
			return provisionOn(t, jetStreamOf(t, &server.Options{Users: []*server.User{user}}, nats.UserInfo("a", "b")))
		}, false, ""},
		"id already stored": {func(t *testing.T) error {
			js := provisioned(t, &server.Options{})
			m := message("bpcc.v1.acme.feed.checkpoint")
			m.Header.Set(jetstream.MsgIDHeader, "same")
			_, first := js.PublishMsg(t.Context(), m)
			again, err := js.PublishMsg(t.Context(), m)
			if err == nil && again.Duplicate {
				err = ErrDuplicateID // as the publisher returns
			}
			return cmpErr(t, first, err)
		}, true, "another publisher used this bridge's message ids"},
		"subject taken": {func(t *testing.T) error {
			js := provisioned(t, &server.Options{})
			edit(t, js, func(c *jetstream.StreamConfig) { c.Subjects = []string{"elsewhere"} })
			s, err := js.Stream(t.Context(), "BPCC_EVENTS")
			if err != nil {
				t.Fatal(err)
			}
			return CheckSubjects(bridgetest.StreamConfig(t, 1).Stream, s.CachedInfo())
		}, true, "restore in stream BPCC_EVENTS the subject bpcc.v1.>; another stream that has it must give it up: nats stream find --subject 'bpcc.v1.>'"},

		"credentials expired": {func(t *testing.T) error {
			o := newOperator(t)
			js := connectBridge(t, o.start(t), "NATS_CREDS="+o.creds(t, time.Now().Add(time.Second)))
			return interrupted(t, js)
		}, false, "the credentials have expired"},
		"credentials revoked": {func(t *testing.T) error {
			o := newOperator(t)
			s := o.start(t)
			js := connectBridge(t, s, "NATS_CREDS="+o.creds(t, time.Time{}))
			o.revokeAll(t, s)
			return interrupted(t, js)
		}, false, "the credentials have been revoked"},
		"credentials refused": {func(t *testing.T) error {
			s := start(t, &server.Options{Username: "a", Password: "b"})
			_, err := nats.Connect(s.ClientURL(), nats.UserInfo("a", "wrong"))
			return err
		}, false, "check NATS_CREDS"},
		"permission violated": {func(t *testing.T) error {
			user := &server.User{Username: "a", Password: "b", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"x"}}}}
			nc := jetStreamOf(t, &server.Options{Users: []*server.User{user}}, nats.UserInfo("a", "b")).Conn()
			return lastError(t, nc, func() error { return nc.Publish("x", nil) })
		}, false, "grant it to the user"},
		"no TLS": {func(t *testing.T) error {
			_, err := nats.Connect(start(t, &server.Options{}).ClientURL(), nats.Secure())
			return err
		}, false, "the server does not offer TLS"},
		"no NATS server": {func(t *testing.T) error {
			mail, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer mail.Close()
			go func() {
				if conn, err := mail.Accept(); err == nil {
					fmt.Fprint(conn, "220 mail.example.com ESMTP\r\n")
				}
			}()
			_, err = nats.Connect("nats://" + mail.Addr().String())
			return err
		}, false, "check NATS_URL: what listens there is no NATS server"},
		"too many connections": {func(t *testing.T) error {
			s := start(t, &server.Options{MaxConn: 1})
			natstest.Connect(t, s.ClientURL())
			// The server may close before the library has read why.
			_, err := nats.Connect(s.ClientURL(), (&connLogger{log: slog.New(slog.DiscardHandler)}).asDialer)
			return err
		}, true, "raise max_connections"},
		"too many subscriptions": {func(t *testing.T) error {
			nc := jetStreamOf(t, &server.Options{MaxSubs: 1}).Conn()
			return lastError(t, nc, func() error {
				_, first := nc.SubscribeSync("a")
				_, second := nc.SubscribeSync("b")
				return errors.Join(first, second)
			})
		}, true, "raise max_subscriptions"},
		"message above max_payload": {func(t *testing.T) error {
			return provisionOn(t, jetStreamOf(t, &server.Options{MaxPayload: 100}))
		}, false, "raise max_payload of the NATS server"},
		"server shutting down": {func(t *testing.T) error {
			s := start(t, &server.Options{LameDuckDuration: time.Minute, LameDuckGracePeriod: 30 * time.Second})
			js := connectBridge(t, s)
			go s.LameDuckShutdown() // returns when the connections have ended
			return interrupted(t, js)
		}, true, "the bridge continues when it reaches another NATS server"},
		"not connected": {func(t *testing.T) error {
			s := start(t, &server.Options{})
			js := connectBridge(t, s)
			s.Shutdown()
			return interrupted(t, js)
		}, true, "the bridge continues when it reaches a NATS server"},
		"connection closed": {func(t *testing.T) error {
			js := jetStreamOf(t, &server.Options{})
			js.Conn().Close()
			return provisionOn(t, js)
		}, false, ""},

		"JetStream off": {func(t *testing.T) error {
			return provisionOn(t, natstest.Connect(t, natstest.Start(t, &server.Options{}).ClientURL()))
		}, true, "enable JetStream on the NATS server"},
		"JetStream off for the account": {func(t *testing.T) error {
			account := server.NewAccount("ACME")
			o := &server.Options{Accounts: []*server.Account{account}, Users: []*server.User{{Username: "a", Password: "b", Account: account}}}
			return provisionOn(t, jetStreamOf(t, o, nats.UserInfo("a", "b")))
		}, true, "enable JetStream for the account"},
		"too few servers": {func(t *testing.T) error {
			js := natstest.Connect(t, natstest.StartCluster(t))
			return provisionOn(t, js, "BRIDGE_REPLICAS=5")
		}, true, "start as many NATS servers as BRIDGE_REPLICAS"},
		"replicas without a cluster": {func(t *testing.T) error {
			return provisionOn(t, jetStreamOf(t, &server.Options{}), "BRIDGE_REPLICAS=3")
		}, false, "set BRIDGE_REPLICAS=1"},
		"no quorum": {func(t *testing.T) error {
			all := natstest.StartServers(t)
			js := natstest.Connect(t, all[0].ClientURL())
			all[1].Shutdown()
			all[2].Shutdown()
			timing := config.DefaultTiming()
			timing.CallTimeout = time.Second
			_, err := Provision(t.Context(), js, bridgetest.StreamConfig(t, 1).Stream, timing, nil)
			return err
		}, true, "no server leads: check that more than half of the NATS servers"},

		"limit demanded": {func(t *testing.T) error {
			return provisionOn(t, limited(t, server.JetStreamAccountLimits{MaxStore: 1 << 30, MaxBytesRequired: true}))
		}, false, "set BRIDGE_MAX_BYTES: the account demands"},
		"stream larger than allowed": {func(t *testing.T) error {
			return provisionOn(t, limited(t, server.JetStreamAccountLimits{MaxStore: 1 << 30, StoreMaxStreamBytes: 1 << 20}), "BRIDGE_MAX_BYTES=128MiB")
		}, false, "set BRIDGE_MAX_BYTES to what the account allows"},
		"duplicate window too long": {func(t *testing.T) error {
			return provisionOn(t, jetStreamOf(t, &server.Options{JetStreamLimits: server.JSLimitOpts{Duplicates: time.Second}}))
		}, false, "raise max_duplicate_window"},
		"invalid configuration": {func(t *testing.T) error {
			return provisionOn(t, jetStreamOf(t, &server.Options{}), "BRIDGE_STREAM="+strings.Repeat("X", 300))
		}, false, "change the setting that the server names"},
		"subjects overlap": {func(t *testing.T) error {
			js := jetStreamOf(t, &server.Options{})
			_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"bpcc.v1.acme.>"}})
			return cmpErr(t, err, provisionOn(t, js))
		}, false, "another stream has subjects of BPCC_EVENTS: find it with nats stream find --subject 'bpcc.v1.>'"},
		"name in use": {func(t *testing.T) error {
			js := provisioned(t, &server.Options{})
			c := eventsConfig(bridgetest.StreamConfig(t, 1).Stream) // as another instance makes it with other settings, between two requests
			c.MaxAge = time.Hour
			_, err := js.CreateStream(t.Context(), c)
			return err
		}, false, "change what differs with the nats CLI if the server allows it, else choose another name in BRIDGE_STREAM"},
		"too many streams": {func(t *testing.T) error {
			return provisionOn(t, limited(t, server.JetStreamAccountLimits{MaxStore: -1, MaxStreams: 2}))
		}, false, "raise the account's limit of streams"},
		"too many consumers": {func(t *testing.T) error {
			js := limited(t, server.JetStreamAccountLimits{MaxStore: -1, MaxConsumers: 1})
			_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "BPCC_EVENTS", Subjects: []string{"bpcc.v1.>"}})
			_, first := js.CreateConsumer(t.Context(), "BPCC_EVENTS", jetstream.ConsumerConfig{})
			_, second := js.CreateConsumer(t.Context(), "BPCC_EVENTS", jetstream.ConsumerConfig{})
			return cmpErr(t, errors.Join(err, first), second)
		}, true, "raise the limit of consumers of the account or of stream BPCC_EVENTS"},

		"stream full": {func(t *testing.T) error {
			js := provisioned(t, &server.Options{})
			edit(t, js, func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = 1, jetstream.DiscardNew })
			return publish(t, js, 2)
		}, true, "raise or remove max_bytes and max_msgs of stream BPCC_EVENTS"},
		"account full": {func(t *testing.T) error {
			js := limited(t, server.JetStreamAccountLimits{MaxStore: 64 << 10, MaxStreams: -1, MaxConsumers: -1})
			return cmpErr(t, provisionOn(t, js), publishUntilRefused(t, js))
		}, false, "raise the account's limit of storage"},
		"server full": {func(t *testing.T) error {
			return provisionOn(t, jetStreamOf(t, &server.Options{JetStreamMaxStore: 1 << 20}), "BRIDGE_MAX_BYTES=128MiB")
		}, false, "free disk space, raise the JetStream limits of the NATS server"},
		"insufficient resources": {func(t *testing.T) error {
			return publishUntilRefused(t, provisioned(t, &server.Options{JetStreamMaxStore: 64 << 10}))
		}, true, "free disk space, or raise the JetStream limits"},
		"stream offline": {func(t *testing.T) error {
			dir := t.TempDir()
			o := &server.Options{StoreDir: dir}
			s := start(t, o)
			if err := provisionOn(t, natstest.Connect(t, s.ClientURL())); err != nil {
				t.Fatal(err)
			}
			s.Shutdown()
			s.WaitForShutdown()
			requireLevel(t, filepath.Join(dir, "jetstream", "$G", "streams", "BPCC_EVENTS"), "9999")
			return provisionOn(t, jetStreamOf(t, &server.Options{StoreDir: dir}))
		}, true, "the NATS server cannot load stream BPCC_EVENTS: upgrade it"},
		"stream sealed": {func(t *testing.T) error {
			js := provisioned(t, &server.Options{})
			edit(t, js, func(c *jetstream.StreamConfig) { c.Sealed, c.MaxAge = true, 0 })
			return publish(t, js, 1)
		}, false, "stream BPCC_EVENTS is sealed permanently: choose another name in BRIDGE_STREAM"},
		"atomic batches off": {func(t *testing.T) error {
			js := provisioned(t, &server.Options{})
			edit(t, js, func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false })
			return publish(t, js, 2)
		}, false, "enable allow_atomic of stream BPCC_EVENTS again"},
		"message above max_msg_size": {func(t *testing.T) error {
			js := provisioned(t, &server.Options{})
			edit(t, js, func(c *jetstream.StreamConfig) { c.MaxMsgSize = 10 })
			return publish(t, js, 1)
		}, false, "raise or remove max_msg_size of stream BPCC_EVENTS"},
		"batch too large": {func(t *testing.T) error {
			return publish(t, provisioned(t, &server.Options{JetStreamLimits: server.JSLimitOpts{MaxBatchSize: 2}}), 3)
		}, false, "raise max_batch_size in the jetstream.limits of the NATS server to 1000"},
		"stream missing": {func(t *testing.T) error {
			_, err := jetStreamOf(t, &server.Options{}).Stream(t.Context(), "BPCC_EVENTS")
			return err
		}, false, "the bridge recreates it empty"},
		"no responders": {func(t *testing.T) error {
			return publish(t, jetStreamOf(t, &server.Options{}), 1)
		}, true, "check that JetStream is enabled for the account, and that stream BPCC_EVENTS has the subject bpcc.v1.>"},
		"consumer lost": {func(t *testing.T) error {
			js := provisioned(t, &server.Options{})
			consumer, err := js.CreateConsumer(t.Context(), "BPCC_EVENTS", jetstream.ConsumerConfig{Name: "reader"})
			if err != nil {
				t.Fatal(err)
			}
			if err := js.DeleteConsumer(t.Context(), "BPCC_EVENTS", "reader"); err != nil {
				t.Fatal(err)
			}
			_, err = consumer.Info(t.Context())
			return err
		}, true, ""},
	}
}

// TestFaults provokes each known error of a NATS server, and compares what it is taken for. A row of
// the table without a test fails, and a test without a row.
func TestFaults(t *testing.T) {
	t.Parallel()
	tests := serverFaults()
	for _, f := range faults() {
		test, ok := tests[f.name]
		if delete(tests, f.name); !ok {
			t.Errorf("no server provokes %q", f.name)
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			err := test.provoke(t)
			if err == nil {
				t.Fatal("no error")
			}
			t.Logf("%v", err)
			if is := faultOf(err); is == nil || is.name != f.name {
				t.Fatalf("%v is taken for %+v", err, is)
			}
			if transient := IsTransient(err); transient != test.transient {
				t.Errorf("transient is %v, want %v", transient, test.transient)
			}
			c := bridgetest.StreamConfig(t, 1).Stream
			if hint := Hint(c, err); !strings.HasPrefix(hint, test.hint) || (hint == "") != (test.hint == "") || strings.Contains(hint, "{") {
				t.Errorf("hint %q, want %q", hint, test.hint)
			}
		})
	}
	for name := range tests {
		t.Errorf("%q is no row", name)
	}
}

// TestUnknownFaults: an error of no known cause may pass if the server says so.
func TestUnknownFaults(t *testing.T) {
	t.Parallel()
	c := bridgetest.StreamConfig(t, 1).Stream
	for code, transient := range map[int]bool{400: false, 503: true} {
		err := fmt.Errorf("read: %w", &jetstream.APIError{Code: code, ErrorCode: 19999, Description: "new"})
		if IsTransient(err) != transient || Hint(c, err) != "read the log of the NATS servers" {
			t.Errorf("%d: %v, %q", code, IsTransient(err), Hint(c, err))
		}
	}
	if err := errors.New("a file is wrong"); IsTransient(err) || Hint(c, err) != "" || Explain(c, err) != err.Error() {
		t.Errorf("%v: %v, %q", err, IsTransient(err), Hint(c, err))
	}
}

// cmpErr returns the error under test, unless what was to prepare it failed.
func cmpErr(t *testing.T, prepared, err error) error {
	t.Helper()
	if prepared != nil {
		t.Fatal(prepared)
	}
	return err
}

// start starts a server with JetStream.
func start(t *testing.T, o *server.Options) *server.Server {
	t.Helper()
	if o.JetStream = true; o.StoreDir == "" {
		o.StoreDir = t.TempDir()
	}
	return natstest.Start(t, o)
}

func jetStreamOf(t *testing.T, o *server.Options, options ...nats.Option) jetstream.JetStream {
	t.Helper()
	return natstest.Connect(t, start(t, o).ClientURL(), options...)
}

// limited is JetStream of an account with limits.
func limited(t *testing.T, limits server.JetStreamAccountLimits) jetstream.JetStream {
	t.Helper()
	s := start(t, &server.Options{})
	limits.MaxMemory = -1
	if limits.MaxStreams == 0 {
		limits.MaxStreams = -1
	}
	if limits.MaxConsumers == 0 {
		limits.MaxConsumers = -1
	}
	if err := s.GlobalAccount().UpdateJetStreamLimits(map[string]server.JetStreamAccountLimits{"": limits}); err != nil {
		t.Fatal(err)
	}
	return natstest.Connect(t, s.ClientURL())
}

func provisionOn(t *testing.T, js jetstream.JetStream, env ...string) error {
	t.Helper()
	timing := config.DefaultTiming()
	timing.CallTimeout = 2 * time.Second
	_, err := Provision(t.Context(), js, limitedConfig(t, env...), timing, nil)
	return err
}

// provisioned is JetStream of a server that has the streams.
func provisioned(t *testing.T, o *server.Options) jetstream.JetStream {
	t.Helper()
	js := jetStreamOf(t, o)
	if err := provisionOn(t, js); err != nil {
		t.Fatal(err)
	}
	return js
}

func edit(t *testing.T, js jetstream.JetStream, change func(*jetstream.StreamConfig)) {
	t.Helper()
	s, err := js.Stream(t.Context(), "BPCC_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	c := s.CachedInfo().Config
	change(&c)
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func message(subject string) *nats.Msg {
	m := nats.NewMsg(subject)
	m.Data = []byte(strings.Repeat("x", 100))
	return m
}

// publish publishes messages as the bridge does, and returns its error.
func publish(t *testing.T, js jetstream.JetStream, count int) error {
	t.Helper()
	var msgs []*nats.Msg
	for i := range count {
		msgs = append(msgs, message(fmt.Sprintf("bpcc.v1.acme.agent.a%d.observed", i)))
	}
	prevErr := js.Conn().LastError()
	ctx, cancel := context.WithTimeout(t.Context(), config.DefaultTiming().CallTimeout)
	defer cancel()
	var err error
	if len(msgs) == 1 {
		_, err = js.PublishMsg(ctx, msgs[0], jetstream.WithRetryAttempts(0))
	} else {
		_, err = jetstreamext.PublishMsgBatch(ctx, js, msgs)
	}
	return Cause(js.Conn(), prevErr, err)
}

// publishUntilRefused fills what limits the stream.
func publishUntilRefused(t *testing.T, js jetstream.JetStream) error {
	t.Helper()
	for range 1000 {
		m := message("bpcc.v1.acme.agent.a.observed")
		m.Data = make([]byte, 10<<10)
		if _, err := js.PublishMsg(t.Context(), m, jetstream.WithRetryAttempts(0)); err != nil {
			return err
		}
	}
	return nil
}

// lastError waits for an error that the server reports on the connection.
func lastError(t *testing.T, nc *nats.Conn, cause func() error) error {
	t.Helper()
	if err := cause(); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return nc.LastError()
}

// connectBridge connects as the bridge does.
func connectBridge(t *testing.T, s *server.Server, env ...string) jetstream.JetStream {
	t.Helper()
	c, _, err := config.Parse(append(env, "NATS_URL="+s.ClientURL()), config.ForStream)
	if err != nil {
		t.Fatal(err)
	}
	js, err := Connect(t.Context(), c.NATS, "test", slog.New(slog.DiscardHandler), func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(js.Conn().Close)
	return js
}

// interrupted waits until the connection is interrupted and its reason is known, and returns what a
// publish says then.
func interrupted(t *testing.T, js jetstream.JetStream) error {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(10 * time.Millisecond) {
		err := publish(t, js, 1)
		if errors.Is(err, ErrNotConnected) && strings.Contains(err.Error(), ErrNotConnected.Error()+": ") {
			return err
		}
		if time.Now().After(deadline) {
			t.Fatalf("the connection is not interrupted: %v", err)
		}
	}
}

// requireLevel changes a stream on disk as if a later release had made it.
func requireLevel(t *testing.T, dir, level string) {
	t.Helper()
	file := filepath.Join(dir, "meta.inf")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var meta map[string]any
	if err := json.Unmarshal(content, &meta); err != nil {
		t.Fatal(err)
	}
	meta["metadata"] = map[string]string{"_nats.req.level": level}
	if content, err = json.Marshal(meta); err != nil {
		t.Fatal(err)
	}
	key := sha256.Sum256([]byte(filepath.Base(dir)))
	hash, err := highwayhash.NewDigest64(key[:])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hash.Write(content); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{file: string(content), filepath.Join(dir, "meta.sum"): hex.EncodeToString(hash.Sum(nil))} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// operator is a NATS operator with one account, which servers learn of by JWT.
type operator struct {
	key, account nkeys.KeyPair
	claims       *jwt.AccountClaims
	options      *server.Options
}

func newOperator(t *testing.T) *operator {
	t.Helper()
	o := &operator{}
	var err error
	if o.key, err = nkeys.CreateOperator(); err != nil {
		t.Fatal(err)
	}
	if o.account, err = nkeys.CreateAccount(); err != nil {
		t.Fatal(err)
	}
	token, err := jwt.NewOperatorClaims(publicOf(t, o.key)).Encode(o.key)
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := jwt.DecodeOperatorClaims(token)
	if err != nil {
		t.Fatal(err)
	}
	o.claims = jwt.NewAccountClaims(publicOf(t, o.account))
	o.options = &server.Options{TrustedOperators: []*jwt.OperatorClaims{trusted}, AccountResolver: &server.MemAccResolver{}}
	return o
}

func publicOf(t *testing.T, pair nkeys.KeyPair) string {
	t.Helper()
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// store gives the account's present claims to servers.
func (o *operator) store(t *testing.T) {
	t.Helper()
	token, err := o.claims.Encode(o.key)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.options.AccountResolver.Store(o.claims.Subject, token); err != nil {
		t.Fatal(err)
	}
}

func (o *operator) start(t *testing.T) *server.Server {
	t.Helper()
	o.store(t)
	return natstest.Start(t, o.options)
}

func (o *operator) revokeAll(t *testing.T, s *server.Server) {
	t.Helper()
	o.claims.Revoke(jwt.All)
	o.store(t)
	account, err := s.LookupAccount(o.claims.Subject)
	if err != nil {
		t.Fatal(err)
	}
	s.UpdateAccountClaims(account, o.claims)
}

// creds writes credentials of a new user.
func (o *operator) creds(t *testing.T, end time.Time) string {
	t.Helper()
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.NewUserClaims(publicOf(t, user))
	if !end.IsZero() {
		claims.Expires = end.Unix()
	}
	token, err := claims.Encode(o.account)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	content, err := jwt.FormatUserConfig(token, seed)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "user.creds")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
