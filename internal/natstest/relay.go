package natstest

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/internal/hostile"
)

// Relay stands before the JetStream API of a real server, under a prefix of its own, and changes
// answers.
type Relay struct {
	// Direct is JetStream without the relay, JetStream by way of it.
	Direct, JetStream jetstream.JetStream

	nc      *nats.Conn
	mu      sync.Mutex
	verb    string                    // which answers are changed, such as "STREAM.INFO"
	change  *hostile.Change           // how; nil = not at all
	changes map[string]hostile.Change // all that the answers so far allow, by their texts
	lost    int                       // requests for messages that are still to be lost
}

const relayPrefix = "RELAY.API"

// NewRelay starts a server and a relay, which live until the test ends.
func NewRelay(t *testing.T) *Relay {
	t.Helper()
	return NewRelayTo(t, Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir()}).ClientURL())
}

// NewRelayTo starts a relay before a server that runs. The relay lives until the test ends.
func NewRelayTo(t *testing.T, url string) *Relay {
	t.Helper()
	r := &Relay{Direct: Connect(t, url), changes: map[string]hostile.Change{}}
	r.nc = r.Direct.Conn()
	if _, err := r.nc.Subscribe(relayPrefix+".>", func(m *nats.Msg) { go r.pass(m) }); err != nil {
		t.Fatal(err)
	}
	if err := r.nc.Flush(); err != nil { // so that the server knows of it
		t.Fatal(err)
	}
	var err error
	if r.JetStream, err = jetstream.NewWithAPIPrefix(Connect(t, url).Conn(), relayPrefix); err != nil {
		t.Fatal(err)
	}
	return r
}

// pass hands a request on, and the answer back.
func (r *Relay) pass(m *nats.Msg) {
	rest := strings.TrimPrefix(m.Subject, relayPrefix+".")
	subject := "$JS.API." + rest
	next := strings.Contains(rest, "MSG.NEXT")
	if next && r.loses() {
		_ = m.RespondMsg(&nats.Msg{Header: nats.Header{"Status": {"503"}}})
		return
	}
	if next || strings.HasPrefix(rest, "DIRECT.") {
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

// LoseRequests loses the next requests for messages, as a server does that does not know yet where the
// consumer is: it responds that nobody does.
func (r *Relay) LoseRequests(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost = n
}

// loses reports whether a request for messages is to be lost.
func (r *Relay) loses() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lost == 0 {
		return false
	}
	r.lost--
	return true
}

func (r *Relay) set(verb string, change *hostile.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verb, r.change = verb, change
}

// Try calls use with wrong values in every place of the answers to a verb of the API that use
// asks for. What use does may fail, and must not panic.
func (r *Relay) Try(t *testing.T, verb string, use func(context.Context)) {
	t.Helper()
	r.set(verb, nil)
	use(t.Context())
	r.mu.Lock()
	changes := maps.Clone(r.changes)
	r.mu.Unlock()
	if len(changes) < 30 {
		t.Fatalf("the answers allow for no more than these: %v", changes)
	}
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		change := changes[name]
		r.set(verb, &change)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		hostile.MustNotPanic(t, name, func() { use(ctx) })
		cancel()
	}
	t.Logf("%d answers", len(changes))
}
