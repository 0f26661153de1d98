package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/internal/hostile"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/internal/natstest"
)

// relay stands before the JetStream API of a real server, under a prefix of its own,
// and changes answers.
type relay struct {
	nc *nats.Conn

	mu      sync.Mutex
	verb    string                    // which answers are changed, such as "STREAM.INFO"
	change  *hostile.Change           // how; nil = not at all
	changes map[string]hostile.Change // all that the answers so far allow, by their texts
}

const relayPrefix = "RELAY.API"

// relayed opens JetStream by way of a relay, with the streams of a bridge there.
func relayed(t *testing.T) (*relay, jetstream.JetStream, *config.Config) {
	t.Helper()
	server, direct := startServer(t)
	c := streamConfig(t, 1)
	if _, err := Provision(t.Context(), direct, c, nil); err != nil {
		t.Fatal(err)
	}
	r := &relay{nc: direct.Conn(), changes: map[string]hostile.Change{}}
	if _, err := r.nc.Subscribe(relayPrefix+".>", func(m *nats.Msg) { go r.pass(m) }); err != nil {
		t.Fatal(err)
	}
	if err := r.nc.Flush(); err != nil { // so that the server knows of it
		t.Fatal(err)
	}
	js, err := jetstream.NewWithAPIPrefix(natstest.Connect(t, server.URL()).Conn(), relayPrefix)
	if err != nil {
		t.Fatal(err)
	}
	return r, js, c
}

// pass hands a request on, and the answer back.
func (r *relay) pass(m *nats.Msg) {
	rest := strings.TrimPrefix(m.Subject, relayPrefix+".")
	subject := "$JS.API." + rest
	if strings.Contains(rest, "MSG.NEXT") || strings.HasPrefix(rest, "DIRECT.") {
		_ = r.nc.PublishRequest(subject, m.Reply, m.Data) // messages, not an answer
		return
	}
	answer, err := r.nc.Request(subject, m.Data, 5*time.Second)
	if err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	body, verb := answer.Data, rest
	if parts := strings.SplitN(rest, ".", 3); len(parts) == 3 {
		verb = parts[0] + "." + parts[1]
	}
	switch {
	case verb != r.verb:
	case r.change != nil:
		body = r.change.Apply(body)
	default:
		for c := range hostile.Changes(body) {
			r.changes[c.String()] = c
		}
	}
	_ = m.Respond(body)
}

func (r *relay) set(verb string, change *hostile.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verb, r.change = verb, change
}

// TestHostileAnswers puts every kind of wrong value in every place of every answer
// of the JetStream API that the bridge uses. What it does with them may fail, and
// must not panic.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	tests := map[string]func(ctx context.Context, js jetstream.JetStream, c *config.Config){
		"INFO": func(ctx context.Context, js jetstream.JetStream, c *config.Config) { _ = checkJetStream(ctx, js, c) },
		"STREAM.INFO": func(ctx context.Context, js jetstream.JetStream, c *config.Config) {
			_, _ = Provision(ctx, js, c, nil)
			_ = CheckStreams(ctx, c, js.Conn(), js, func(Step) {})
			b := &Bridge{config: c, js: js, log: slog.New(slog.DiscardHandler), now: time.Now, shared: newSharedResources(js, c, nil), self: identity{instance: "one"}, foreignLog: discardForeign()}
			if l, err := b.openLease(ctx); err == nil {
				_, _ = l.isOwner(ctx)
				_ = l.bucketMissing(ctx, nats.ErrNoResponders)
				_ = l.check(ctx)
			}
			_, _ = b.confirmCheckpoint(ctx, nats.NewMsg("bpcc.v1.acme.feed.checkpoint"))
			v := &viewMonitor{js: js, config: c, log: slog.New(slog.DiscardHandler), now: time.Now}
			_ = v.measureLag(ctx)
			_, _ = ViewBehind(ctx, js, c)
			_, _ = countSubjects(ctx, js, c)
		},
		"STREAM.CREATE": func(ctx context.Context, js jetstream.JetStream, c *config.Config) {
			other := *c
			other.LeaseBucket = "other"
			_, _ = provision(ctx, js, &other, leaseConfig(&other))
			_ = js.DeleteStream(ctx, leaseStream(&other))
		},
		"CONSUMER.CREATE": readAll,
		"CONSUMER.INFO":   readAll,
	}
	for verb, use := range tests {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			r, js, c := relayed(t)
			if _, err := js.Publish(t.Context(), "bpcc.v1.acme.feed.checkpoint", []byte("{}")); err != nil {
				t.Fatal(err)
			}
			r.set(verb, nil)
			use(t.Context(), js, c)
			r.mu.Lock()
			changes := maps.Clone(r.changes)
			r.mu.Unlock()
			if len(changes) < 100 {
				t.Fatalf("the answers allow for no more than these: %v", changes)
			}
			for _, name := range slices.Sorted(maps.Keys(changes)) {
				change := changes[name]
				r.set(verb, &change)
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				mustNotPanic(t, name, func() { use(ctx, js, c) })
				cancel()
			}
			t.Logf("%d answers", len(changes))
		})
	}
}

// mustNotPanic calls do, and reports a panic as an error of the test.
func mustNotPanic(t *testing.T, what string, do func()) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("%s: panic: %v\n%s", what, p, debug.Stack())
		}
	}()
	do()
}

// readAll reads the events and the view as a start does.
func readAll(ctx context.Context, js jetstream.JetStream, c *config.Config) {
	tenant := *c
	tenant.Tenant = "acme"
	_, _ = recoverState(ctx, js, &tenant, engine.New(engine.Options{}), discardForeign())
	_ = ReadView(ctx, js, c, "", time.Second, func(ViewEntry) error { return nil })
}

// discardForeign logs no foreign message.
func discardForeign() *foreignLog {
	return &foreignLog{log: slog.New(slog.DiscardHandler), known: map[string]bool{}, countMetric: func() {}}
}

// TestHostileAcknowledgements answers a batch with whatever is no acknowledgement.
func TestHostileAcknowledgements(t *testing.T) {
	t.Parallel()
	g, _ := newPublisherTest(t)
	nc := g.js.Conn()
	for i, body := range []string{
		"null", "[]", "{}", `"x"`, "0", "{", "\x00", `{"error":null}`, `{"error":{}}`, `{"error":[]}`, `{"error":{"err_code":-1}}`,
		`{"stream":"GROUP","seq":-1,"batch":"x"}`, `{"stream":"GROUP","seq":18446744073709551615,"batch":"x","count":18446744073709551615}`,
		`{"stream":null,"seq":null,"batch":null,"count":null}`, `{"stream":"GROUP"}`,
	} {
		subject := fmt.Sprintf("hostile.%d", i)
		sub, err := nc.Subscribe(subject, func(m *nats.Msg) {
			if m.Reply != "" {
				_ = m.Respond([]byte(body))
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		msgs := newCommit("a", 2, 0)
		for _, m := range msgs {
			m.Subject = subject
		}
		if seq, err := g.publishAtomic(t.Context(), msgs); err == nil {
			t.Errorf("%s is taken for an acknowledgement, of sequence %d", body, seq)
		}
		if err := sub.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
	}
}
