package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/check"
	"bpcc-nats/bridge/svc"
	"bpcc-nats/internal/bridgetest"
	"bpcc-nats/reader"
)

// checkRefused checks that the server does not permit what try tries, and names the subject.
func (r *roleServer) checkRefused(log *bridgetest.Buffer, what, subject string, try func(ctx context.Context) error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := try(ctx); err == nil {
		r.t.Errorf("%s: it is permitted", what)
		return
	}
	for deadline := time.Now().Add(testTimeout); time.Now().Before(deadline); <-time.After(10 * time.Millisecond) {
		if slices.ContainsFunc(permissionErrors(log), func(text string) bool { return strings.Contains(text, subject) }) {
			return
		}
	}
	r.t.Errorf("%s: refused, but not for %s: %q", what, subject, permissionErrors(log))
}

// checkNamesPermission checks that a check of the NATS side names a missing permission.
func (r *roleServer) checkNamesPermission(w *testEnv, js jetstream.JetStream, subject string) {
	r.t.Helper()
	var found strings.Builder
	err := check.Streams(r.t.Context(), w.config(), js.Conn(), js, func(s check.Step) { fmt.Fprintln(&found, s.Outcome, s.Found) })
	if !errors.Is(err, check.ErrFailed) || !strings.Contains(found.String(), subject) {
		r.t.Errorf("a check without the permission %s: %v, %s", subject, err, &found)
	}
}

// checkRouterReads reads the view as the router.
func (r *roleServer) checkRouterReads(w *testEnv) {
	t, ctx := r.t, r.t.Context()
	t.Helper()
	if _, err := w.js.Publish(ctx, "bpcc.v1.beta.feed.checkpoint", []byte(`{"data":{"status":"live"}}`)); err != nil {
		t.Fatal(err)
	}
	root, err := w.js.KeyValue(ctx, "bpcc_state")
	if err != nil {
		t.Fatal(err)
	}
	w.waitUntil("the other tenant in the view", func() bool { _, err := root.Get(ctx, "beta.feed"); return err == nil })

	var log bridgetest.Buffer
	nc, js := r.connectAs("router", "_INBOX_readers.router", "ACME.API", &log)
	kv, err := js.KeyValue(ctx, "bpcc_state")
	if err != nil {
		t.Fatalf("the router binds the view: %v", err)
	}
	if _, err := kv.Get(ctx, "acme.agent.anna"); err != nil {
		t.Errorf("the router gets: %v", err)
	}
	watch, err := kv.Watch(ctx, "acme.>")
	if err != nil {
		t.Fatalf("the router watches: %v", err)
	}
	keys := map[string]bool{}
	for entry := range watch.Updates() {
		if entry == nil {
			break
		}
		keys[entry.Key()] = true
	}
	if !keys["acme.agent.anna"] || !keys["acme.feed"] {
		t.Errorf("the router sees %v; want anna and the feed", keys)
	}
	if _, err := w.js.Publish(ctx, "bpcc.v1.acme.agent.anna.state_changed", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	select {
	case entry := <-watch.Updates():
		if entry.Key() != "acme.agent.anna" {
			t.Errorf("the router receives %s; want acme.agent.anna", entry.Key())
		}
	case <-time.After(testTimeout):
		t.Error("the router receives nothing of a change")
	}
	if err := watch.Stop(); err != nil {
		t.Errorf("the router stops its watch: %v", err)
	}
	library, err := reader.Open(js, "acme", reader.Options{})
	if err != nil {
		t.Fatal(err)
	}
	v, err := library.View(ctx, reader.ViewOptions{})
	if err != nil {
		t.Fatal(err)
	}
	readyCtx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	if err := v.Ready(readyCtx); err != nil {
		t.Errorf("the router has no view of the library: %v", err)
	}
	v.Close()
	if refused := permissionErrors(&log); len(refused) > 0 {
		t.Errorf("the router lacks %q", refused)
	}

	r.checkRefused(&log, "another tenant's key", "DIRECT.GET.KV_bpcc_state.$KV.bpcc_state.beta.feed", func(ctx context.Context) error { _, err := kv.Get(ctx, "beta.feed"); return err })
	r.checkRefused(&log, "another tenant's changes", "$KV.bpcc_state.beta.>", func(ctx context.Context) error { _, err := kv.Watch(ctx, "beta.>"); return err })
	r.checkRefused(&log, "everybody's changes", "$KV.bpcc_state.>", func(ctx context.Context) error { _, err := kv.WatchAll(ctx); return err })
	r.checkRefused(&log, "the events", "CONSUMER.CREATE.BPCC_EVENTS", func(ctx context.Context) error {
		_, err := js.OrderedConsumer(ctx, "BPCC_EVENTS", jetstream.OrderedConsumerConfig{})
		return err
	})
	r.checkCannotWrite(w, nc, js, &log)
	// A filter in the body that differs from the one in the subject.
	response, err := nc.Request("ACME.API.CONSUMER.CREATE.KV_bpcc_state.sly.$KV.bpcc_state.acme.feed",
		[]byte(`{"stream_name":"KV_bpcc_state","config":{"name":"sly","filter_subject":"$KV.bpcc_state.beta.>","deliver_subject":"_INBOX_readers.router.x"}}`), testTimeout)
	if err != nil || !strings.Contains(string(response.Data), "10131") {
		t.Errorf("a consumer of another tenant behind a subject of this one: %v, %s; want it refused", err, response.Data)
	}
}

// checkRouterAsks asks as the router: the bridge that leads answers, and if none leads, the server says so to
// another account, too.
func (r *roleServer) checkRouterAsks(w *testEnv, leading bool) {
	t, ctx := r.t, r.t.Context()
	t.Helper()
	var log bridgetest.Buffer
	nc, _ := r.connectAs("router", "_INBOX_readers.router", "ACME.API", &log)
	_, err := svc.AskAvailability(ctx, nc, "acme", "Voice")
	state, stateErr := svc.AskState(ctx, nc, "acme", svc.StateRequest{Kind: "agent", ID: "anna"})
	switch {
	case leading && (!errors.Is(err, &svc.Error{Code: svc.NotFound}) || stateErr != nil || !state.Fresh || state.Agent.ID != "anna"):
		t.Errorf("the router asks: %v; %+v, %v", err, state, stateErr)
	case !leading && (!errors.Is(err, svc.ErrNoLeader) || !errors.Is(stateErr, svc.ErrNoLeader)):
		t.Errorf("the router asks while no bridge leads: %v, %v", err, stateErr)
	}
	if refused := permissionErrors(&log); len(refused) > 0 {
		t.Errorf("the router lacks %q", refused)
	}
	r.checkRefused(&log, "another tenant", "bpcc.svc.beta.availability", func(ctx context.Context) error {
		_, err := svc.AskAvailability(ctx, nc, "beta", "Voice")
		return err
	})
	r.checkRefused(&log, "the health", "bpcc.svc.acme.health", func(ctx context.Context) error {
		_, err := nc.RequestWithContext(ctx, "bpcc.svc.acme.health", nil)
		return err
	})
}

// checkAuditorReads replays the stream as the auditor.
func (r *roleServer) checkAuditorReads(w *testEnv) {
	t, ctx := r.t, r.t.Context()
	t.Helper()
	stream, err := w.js.Stream(ctx, "BPCC_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	all := int(stream.CachedInfo().State.Msgs)
	var log bridgetest.Buffer
	nc, js := r.connectAs("auditor", "_INBOX_readers.auditor", "ACME.API", &log)
	for _, filters := range [][]string{nil, {"bpcc.v1.>"}, {"bpcc.v1.acme.>", "bpcc.v1.beta.>"}} {
		consumer, err := js.OrderedConsumer(ctx, "BPCC_EVENTS", jetstream.OrderedConsumerConfig{FilterSubjects: filters})
		if err != nil {
			t.Fatalf("the auditor opens a consumer of %v: %v", filters, err)
		}
		info, err := consumer.Info(ctx)
		if err != nil || int(info.NumPending) != all {
			t.Fatalf("the auditor sees %v messages in %v (%v); want %d", info, filters, err, all)
		}
		messages, err := consumer.Messages()
		if err != nil {
			t.Fatal(err)
		}
		for n := range all {
			if _, err := messages.Next(jetstream.NextMaxWait(testTimeout)); err != nil {
				t.Fatalf("the auditor reads %d of %d messages in %v: %v", n, all, filters, err)
			}
		}
		messages.Stop()
	}
	if refused := permissionErrors(&log); len(refused) > 0 {
		t.Errorf("the auditor lacks %q", refused)
	}
	r.checkRefused(&log, "the view", "STREAM.INFO.KV_bpcc_state", func(ctx context.Context) error { _, err := js.KeyValue(ctx, "bpcc_state"); return err })
	r.checkCannotWrite(w, nc, js, &log)
}

// checkCannotWrite tries every way to change what is stored.
func (r *roleServer) checkCannotWrite(w *testEnv, nc *nats.Conn, js jetstream.JetStream, log *bridgetest.Buffer) {
	t := r.t
	t.Helper()
	before := w.lastSeq()
	r.checkRefused(log, "an event", "bpcc.v1.acme.feed.checkpoint", func(ctx context.Context) error {
		_, err := js.Publish(ctx, "bpcc.v1.acme.feed.checkpoint", []byte("{}"), jetstream.WithRetryAttempts(0))
		return err
	})
	for _, call := range []string{"STREAM.DELETE.BPCC_EVENTS", "STREAM.PURGE.BPCC_EVENTS", "STREAM.PURGE.KV_bpcc_state", "STREAM.UPDATE.BPCC_EVENTS", "STREAM.MSG.DELETE.BPCC_EVENTS", "STREAM.CREATE.OTHER"} {
		for _, api := range []string{"ACME.API.", "$JS.API."} {
			r.checkRefused(log, call, api+call, func(ctx context.Context) error { _, err := nc.RequestWithContext(ctx, api+call, nil); return err })
		}
	}
	// The answer to a permitted question, sent to where events are stored.
	for _, call := range []string{
		"ACME.API.STREAM.INFO.KV_bpcc_state", "ACME.API.STREAM.INFO.BPCC_EVENTS", "ACME.API.DIRECT.GET.KV_bpcc_state.$KV.bpcc_state.acme.feed",
		"ACME.API.DIRECT.GET.BPCC_EVENTS.bpcc.v1.acme.feed.checkpoint", "ACME.API.CONSUMER.CREATE.BPCC_EVENTS.x",
	} {
		if err := nc.PublishRequest(call, "bpcc.v1.acme.feed.checkpoint", nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, endpoint := range []string{svc.Availability, svc.State} {
		if err := nc.PublishRequest(svc.Subject("acme", endpoint), "bpcc.v1.acme.feed.checkpoint", nil); err != nil {
			t.Fatal(err)
		}
	}
	// A consumer that delivers there.
	for stream, filter := range map[string]string{"KV_bpcc_state": "$KV.bpcc_state.acme.feed", "BPCC_EVENTS": "bpcc.v1.acme.feed.checkpoint"} {
		body := fmt.Sprintf(`{"stream_name":%q,"config":{"name":"sly","filter_subject":%q,"deliver_subject":"bpcc.v1.acme.feed.started","ack_policy":"none"}}`, stream, filter)
		if err := nc.PublishRequest("ACME.API.CONSUMER.CREATE."+stream+".sly."+filter, nc.NewInbox(), []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	// An answer to a last question shows that the server has dealt with the rest.
	if err := nc.FlushTimeout(testTimeout); err != nil {
		t.Fatal(err)
	}
	<-time.After(time.Second)
	if after := w.lastSeq(); after != before {
		t.Errorf("the stream has grown from %d to %d messages", before, after)
	}
}

// lastSeq is that of the last event.
func (w *testEnv) lastSeq() uint64 {
	w.t.Helper()
	stream, err := w.js.Stream(w.t.Context(), "BPCC_EVENTS")
	if err != nil {
		w.t.Fatal(err)
	}
	return stream.CachedInfo().State.LastSeq
}

// checkUsedPermissions checks that a role was refused nothing, and has used all that it may
// publish to.
func (r *roleServer) checkUsedPermissions(role string, used []string, log *bridgetest.Buffer) {
	r.t.Helper()
	for _, text := range permissionErrors(log) {
		r.t.Errorf("the %s lacks: %s", role, text)
	}
	user := r.options.Users[slices.IndexFunc(r.options.Users, func(u *server.User) bool { return u.Username == role })]
	for _, may := range user.Permissions.Publish.Allow {
		if may == "$JS.API.STREAM.LEADER.STEPDOWN.KV_bpcc_state" || strings.HasPrefix(may, "$JS.API.CONSUMER.INFO.") {
			continue // for the weather of clusters, and for messages that the server cannot load
		}
		if !slices.ContainsFunc(used, func(subject string) bool { return server.SubjectMatchesFilter(subject, may) }) {
			r.t.Errorf("the %s may publish to %s and never does", role, may)
		}
	}
}

// subjectRecorder is a list of the subjects that passed the server.
type subjectRecorder struct {
	w    *testEnv
	mu   sync.Mutex
	seen []string
}

// recordSubjects listens to everything in the environment's account.
func (w *testEnv) recordSubjects() *subjectRecorder {
	w.t.Helper()
	s := subjectRecorder{w: w}
	_, err := w.nc.Subscribe(">", func(m *nats.Msg) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.seen = append(s.seen, m.Subject)
	})
	if err == nil {
		err = w.nc.FlushTimeout(testTimeout)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return &s
}

func (s *subjectRecorder) list() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

func (s *subjectRecorder) contains(subject string) bool { return slices.Contains(s.list(), subject) }

// drain forgets, and returns what it had, all that has passed the server so far included.
func (s *subjectRecorder) drain() []string {
	s.w.t.Helper()
	last := nats.NewInbox() // what passed before is recorded before
	if err := s.w.nc.Publish(last, nil); err != nil {
		s.w.t.Fatal(err)
	}
	s.w.waitUntil("the subjects so far", func() bool { return s.contains(last) })
	s.mu.Lock()
	defer s.mu.Unlock()
	had := s.seen
	s.seen = nil
	return had
}
