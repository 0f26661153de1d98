package bridge_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/svc"
	"bpcc-nats/schemas"
)

// setAvailable lets a service be checked, with this result.
func (w *testEnv) setAvailable(service string, available bool) {
	w.tenant.SetService(bpcctest.Service{Name: service})
	w.tenant.SetAvailability(service, &available)
}

// ask sends a request about acme and returns the reply's data, which must be valid.
func (w *testEnv) ask(endpoint, request string) (reply []byte, err error) {
	w.t.Helper()
	msg, err := w.nc.Request(svc.Subject("acme", endpoint), []byte(request), testTimeout/10)
	if err != nil {
		return nil, err
	}
	if code := msg.Header.Get(svc.CodeHeader); code != "" {
		n, err := strconv.Atoi(code)
		if err != nil || len(msg.Data) > 0 {
			w.t.Errorf("%s: code %q, body %s", request, code, msg.Data)
		}
		return nil, &svc.Error{Code: n, Description: msg.Header.Get(svc.DescriptionHeader)}
	}
	name := endpoint + ".reply"
	if endpoint == svc.Availability && !strings.Contains(request, "service") {
		name = "availabilities.reply"
	}
	if err := schemas.ValidateMessage(name, msg.Data); err != nil {
		w.t.Errorf("%s: %v\n%s", request, err, msg.Data)
	}
	return msg.Data, nil
}

// askAvailability asks for a service of acme. It fails if the leader refuses to answer.
func (w *testEnv) askAvailability(service string) (svc.AvailabilityReply, error) {
	w.t.Helper()
	var r svc.AvailabilityReply
	request, err := json.Marshal(svc.AvailabilityRequest{Service: &service})
	if err != nil {
		w.t.Fatal(err)
	}
	body, err := w.ask(svc.Availability, string(request))
	if err == nil {
		err = json.Unmarshal(body, &r)
	}
	return r, err
}

// waitForAvailability asks for a service of acme until the reply is as it must be.
func (w *testEnv) waitForAvailability(service, what string, so func(svc.AvailabilityReply) bool) svc.AvailabilityReply {
	w.t.Helper()
	var r svc.AvailabilityReply
	var err error
	for deadline := time.Now().Add(testTimeout); ; <-time.After(10 * time.Millisecond) {
		if r, err = w.askAvailability(service); err == nil && so(r) {
			return r
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("waited in vain for %s: %+v, error %v", what, r, err)
		}
	}
}

func routes(r svc.AvailabilityReply) bool { return r.Route() && r.Feed.Status == "live" }

// expectNoLeader waits until nobody answers.
func (w *testEnv) expectNoLeader(tenant string) {
	w.t.Helper()
	w.waitUntil("no responders", func() bool {
		_, err := svc.AskAvailability(w.t.Context(), w.nc, tenant, "Voice")
		_, stateErr := svc.AskState(w.t.Context(), w.nc, tenant, svc.StateRequest{Kind: "agent", ID: "anna"})
		return errors.Is(err, svc.ErrNoLeader) && errors.Is(stateErr, svc.ErrNoLeader)
	})
}

// TestRequests: what the leader answers is what the stream holds, for every entity of which it holds
// one, and nobody answers before it leads and after it has stopped.
func TestRequests(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BPCC_SERVICES"] = "Voice In,Chat,*.>"
	w.env["BRIDGE_THRESHOLDS"] = `[{"name":"back.log","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":3}}]`
	w.setAgent("anna", "ready", "")
	w.setAgent("bob.x *>", "busy", "")
	w.setAgent("gone", "ready", "")
	w.setAvailable("Voice In", true)
	w.setAvailable("Chat", false)
	w.setAvailable("*.>", true)
	w.tenant.SetService(bpcctest.Service{Name: "Voice In", Stats: map[string]string{"in_calls_waiting": "5"}})
	w.expectNoLeader("acme")
	stop := w.startBridge()
	w.waitFor("threshold.back=2Elog.Voice=20In.raised", 1)
	w.waitForAvailability("Voice In", "a live feed", routes)
	w.waitForAvailability("Chat", "an availability of the other service", func(svc.AvailabilityReply) bool { return true })
	w.tenant.SetState("anna", "not_ready", "Lunch")
	w.tenant.RemoveAgent("gone")
	no := false
	w.tenant.SetAvailability("Voice In", &no)
	w.waitFor("agent.gone.disappeared", 1)
	w.waitFor("agent.anna.state_changed", 1)
	changed := w.waitFor("availability.Voice=20In.changed", 1)[0]
	r := w.waitForAvailability("Voice In", "the change", func(r svc.AvailabilityReply) bool { return *r.Available == false })
	if !r.Fresh || r.Event.ID != changed.ID || r.Event.Revision != 2 || r.CheckedAt.Before(r.Event.Observed.After.Time) || r.Feed.Epoch != 1 {
		t.Errorf("after the change: %+v", r)
	}

	// Every entity of the stream.
	all := w.events()
	last := map[string]storedEvent{}
	for _, s := range all {
		if key := entityKey(s.Subject); key != "" {
			last[key] = s
		}
	}
	for key, s := range last {
		tokens := strings.Split(key, ".")
		request := svc.StateRequest{Kind: tokens[0]}
		var err error
		if request.ID, err = event.ParseToken(tokens[len(tokens)-1]); err == nil && len(tokens) == 3 {
			request.Rule, err = event.ParseToken(tokens[1])
		}
		if err != nil {
			t.Fatal(err)
		}
		w.compareState(request, s)
	}
	if len(last) < 8 {
		t.Errorf("only %d entities were asked for", len(last))
	}
	for service, want := range map[string]bool{"Voice In": false, "Chat": false, "*.>": true} {
		if r, err := w.askAvailability(service); err != nil || r.Service != service || *r.Available != want || !r.Fresh {
			t.Errorf("%s: %+v, error %v", service, r, err)
		}
	}
	var services []string
	body, err := w.ask(svc.Availability, "")
	var reply svc.AvailabilitiesReply
	if err := errors.Join(err, json.Unmarshal(body, &reply)); err != nil {
		t.Fatal(err)
	}
	for _, a := range reply.Services {
		services = append(services, a.Service)
	}
	if d := cmp.Diff([]string{"*.>", "Chat", "Voice In"}, services); d != "" {
		t.Errorf("all services (-want +got)\n%s", d)
	}
	for request, want := range map[[2]string]int{
		{svc.Availability, `{"service":"Sales"}`}: svc.NotFound, {svc.Availability, `{"service":"Voice=20In"}`}: svc.NotFound,
		{svc.Availability, `{`}: svc.BadRequest, {svc.State, ""}: svc.BadRequest, {svc.State, `{"kind":"agent","id":"nobody"}`}: svc.NotFound,
		{svc.State, `{"kind":"agent","id":"gone"}`}: svc.NotFound, {svc.State, `{"kind":"agent","id":"bob=2Ex=20=2A=3E"}`}: svc.NotFound,
	} {
		if body, err := w.ask(request[0], request[1]); !errors.Is(err, &svc.Error{Code: want}) {
			t.Errorf("%s: %s, error %v, want %d", request, body, err, want)
		}
	}
	w.expectNoLeader("beta")
	stop()
	w.expectNoLeader("acme")
}

// compareState compares the reply about an entity with its last event.
func (w *testEnv) compareState(request svc.StateRequest, s storedEvent) {
	w.t.Helper()
	body, err := json.Marshal(request)
	if err != nil {
		w.t.Fatal(err)
	}
	reply, err := w.ask(svc.State, string(body))
	if strings.HasSuffix(s.Subject, ".disappeared") {
		if !errors.Is(err, &svc.Error{Code: svc.NotFound}) {
			w.t.Errorf("%s: %s, error %v, want none", body, reply, err)
		}
		return
	}
	if err != nil {
		w.t.Errorf("%s: %v", body, err)
		return
	}
	var got, want struct {
		Event, Image, Availability, Threshold map[string]any
		Agent, State                          any
		Fresh                                 bool
		Rule                                  string
	}
	if err := json.Unmarshal(reply, &got); err != nil {
		w.t.Fatal(err)
	}
	want.Event = map[string]any{"id": s.ID, "type": s.Type, "time": s.Time.Format("2006-01-02T15:04:05.000Z07:00"), "revision": s.field("revision"), "observed": s.field("observed")}
	for _, optional := range []string{"after_gap", "state_revision"} {
		if value := s.field(optional); value != nil {
			want.Event[optional] = value
		}
	}
	want.Image, _ = s.field("after").(map[string]any)
	want.Fresh = true
	switch request.Kind {
	case "agent":
		want.Agent, want.State = s.field("agent"), got.State
		if state := got.State.(map[string]any)["state"]; state != want.Image["acd_state"] {
			w.t.Errorf("%s: state %v, image %v", body, state, want.Image)
		}
	case "availability":
		want.Availability = map[string]any{"available": s.field("available"), "checked_at": got.Availability["checked_at"]}
	case "threshold":
		want.Threshold = map[string]any{"raised": strings.HasSuffix(s.Subject, ".raised")}
		for _, name := range []string{"severity", "entity", "stat", "value", "limit", "op", "for", "pending_since"} {
			want.Threshold[name] = s.field(name)
		}
		want.Rule = request.Rule
	}
	if d := cmp.Diff(want, got); d != "" {
		w.t.Errorf("%s (-stream +reply)\n%s", body, d)
	}
}

// TestRequestsWhileChecksFail: with the checks failing while polls go on, the age grows, the reply is not
// fresh as soon as the age is more than allowed, and null with a reason in time.
func TestRequestsWhileChecksFail(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BPCC_SERVICES"], w.env["BPCC_AVAILABILITY_UNKNOWN_AFTER"], w.env["BRIDGE_CHECKPOINT_INTERVAL"] = "Voice", "1s", "100ms"
	w.setAgent("anna", "ready", "")
	w.setAvailable("Voice", true)
	w.startBridge()
	good := w.waitForAvailability("Voice", "a live feed", routes)
	w.tenant.Inject(bpcctest.Fault{Services: []string{"Voice"}, Status: 502, Times: -1})
	failing := time.Now()
	var unknownAt time.Time
	unknown := w.waitForAvailability("Voice", "an unknown availability", func(r svc.AvailabilityReply) bool {
		if r.Fresh && time.Since(failing) > 1100*time.Millisecond+50*time.Millisecond || r.Fresh && !r.Age.Within(r.MaxAge) {
			t.Errorf("fresh %v after the last good check: %+v", time.Since(failing), r)
		}
		if r.CheckedAt.Before(good.CheckedAt.Time) {
			t.Errorf("checked at %v, before %v", r.CheckedAt, good.CheckedAt)
		}
		unknownAt = time.Now()
		return r.Available == nil
	})
	if unknown.Fresh || unknown.Reason != "unavailable" || unknown.Feed.Status != "live" || !unknown.Feed.Age.Within(svc.Age(5*time.Second)) || unknown.MaxAge != svc.Age(time.Second) {
		t.Errorf("unknown: %+v", unknown)
	}
	if late := unknownAt.Sub(failing); late > 5*time.Second {
		t.Errorf("unknown only after %v", late)
	}
	changed := w.waitFor("availability.Voice.changed", 1)[0]
	if changed.ID != unknown.Event.ID || changed.text("observed", "after") != unknown.CheckedAt.String() {
		t.Errorf("event %v, reply %+v", changed.Data, unknown)
	}
	for _, s := range withSubject(w.events(), "feed.checkpoint") {
		until, err := time.Parse(time.RFC3339, s.text("availability_until"))
		switch {
		case err == nil && until.After(unknown.CheckedAt.Time):
			t.Errorf("%s: checked until %v, Voice only until %v", s.ID, until, unknown.CheckedAt)
		case err == nil && s.Seq > changed.Seq:
			t.Errorf("%s: checked until %v, and nothing is known", s.ID, until)
		}
	}
	w.tenant.ClearFaults()
	w.waitForAvailability("Voice", "a good check", routes)
}

// TestRequestsWhilePollsFail: polls that fail make the state unfresh, and not what is checked.
func TestRequestsWhilePollsFail(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.waitsDividedBy = 5 // interrupted after a second
	w.env["BPCC_SERVICES"] = "Voice"
	w.setAgent("anna", "ready", "")
	w.setAvailable("Voice", true)
	w.startBridge()
	w.waitForAvailability("Voice", "a live feed", routes)
	anna := svc.StateRequest{Kind: "agent", ID: "anna"}
	if r, err := svc.AskState(t.Context(), w.nc, "acme", anna); err != nil || !r.Fresh || r.State.State != "ready" || r.MaxAge != svc.Age(time.Second) {
		t.Errorf("anna: %+v, error %v", r, err)
	}
	w.tenant.Inject(bpcctest.Fault{Status: 502, Times: -1})
	w.tenant.SetState("anna", "supervising", "")
	r := w.waitForAvailability("Voice", "an interrupted feed", func(r svc.AvailabilityReply) bool {
		state, err := svc.AskState(t.Context(), w.nc, "acme", anna)
		if err != nil || state.Fresh && (!state.Feed.Age.Within(svc.Age(time.Second)) || state.Feed.Status != "live") {
			t.Errorf("anna: %+v, error %v", state, err)
		}
		return r.Feed.Status == "interrupted"
	})
	if !r.Route() || r.Feed.Cause != "source" || r.Feed.Age.Within(svc.Age(time.Second)) {
		t.Errorf("while polls fail: %+v", r)
	}
	w.setAvailable("Voice", false)
	w.waitForAvailability("Voice", "a change while polls fail", func(r svc.AvailabilityReply) bool { return r.Fresh && !*r.Available && r.Feed.Status == "interrupted" })
	if r, err := svc.AskState(t.Context(), w.nc, "acme", anna); err != nil || r.Fresh || r.State.State != "ready" {
		t.Errorf("anna while polls fail: %+v, error %v", r, err)
	}
	w.tenant.ClearFaults()
	w.waitForAvailability("Voice", "a live feed", func(r svc.AvailabilityReply) bool { return r.Feed.Status == "live" && r.Feed.Cause == "" })
	w.waitUntil("anna's change", func() bool {
		r, err := svc.AskState(t.Context(), w.nc, "acme", anna)
		return err == nil && r.Fresh && r.State.State == "supervising"
	})
}

// TestRequestsWhileNothingIsStored: a stream that takes nothing makes replies old, and nothing is said that it does
// not hold.
func TestRequestsWhileNothingIsStored(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.waitsDividedBy, w.timeoutsDividedBy = 5, 5
	w.env["BPCC_SERVICES"], w.env["BPCC_AVAILABILITY_UNKNOWN_AFTER"] = "Voice", "1s"
	w.setAgent("anna", "ready", "")
	w.setAvailable("Voice", true)
	w.startBridge()
	before := w.waitForAvailability("Voice", "a live feed", routes)
	w.updateStream("BPCC_EVENTS", func(c *jetstream.StreamConfig) { c.Discard, c.MaxMsgs = jetstream.DiscardNew, int64(w.lastSeq()) })
	w.setAvailable("Voice", false)
	w.tenant.SetState("anna", "supervising", "")
	old := w.waitForAvailability("Voice", "an old reply", func(r svc.AvailabilityReply) bool {
		if !*r.Available || r.Event.ID != before.Event.ID {
			t.Errorf("it says what is not stored: %+v", r)
		}
		return !r.Fresh && !r.Feed.Age.Within(svc.Age(2*time.Second))
	})
	state, err := svc.AskState(t.Context(), w.nc, "acme", svc.StateRequest{Kind: "agent", ID: "anna"})
	if err != nil || state.Fresh || state.State.State != "ready" || old.Feed.Status != "live" {
		t.Errorf("anna: %+v, error %v; feed %+v", state, err, old.Feed)
	}
	w.updateStream("BPCC_EVENTS", func(c *jetstream.StreamConfig) { c.MaxMsgs = -1 })
	w.waitForAvailability("Voice", "the change", func(r svc.AvailabilityReply) bool { return r.Fresh && !*r.Available })
}

// TestRequestsAfterRestart: the state that was recovered is answered with its real age, and is not fresh before
// the first poll and the first check.
func TestRequestsAfterRestart(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BPCC_SERVICES"] = "Voice"
	w.setAgent("anna", "ready", "")
	w.setAvailable("Voice", true)
	stop := w.startBridge()
	before := w.waitForAvailability("Voice", "a live feed", routes)
	stop()
	w.tenant.Inject(bpcctest.Fault{Status: 502, Times: -1})
	w.tenant.Inject(bpcctest.Fault{Services: []string{"Voice"}, Status: 502, Times: -1})
	w.env["BPCC_AVAILABILITY_UNKNOWN_AFTER"] = "30s"
	w.startBridge()
	r := w.waitForAvailability("Voice", "the next leader", func(svc.AvailabilityReply) bool { return true })
	if r.Feed.Epoch != 2 || r.Feed.Status != "interrupted" || r.Event.ID != before.Event.ID || !*r.Available || r.Fresh || !r.Age.Known() || r.CheckedAt.Before(before.CheckedAt.Time) {
		t.Errorf("recovered: %+v, before %+v", r, before)
	}
	state, err := svc.AskState(t.Context(), w.nc, "acme", svc.StateRequest{Kind: "agent", ID: "anna"})
	if err != nil || state.Fresh || state.State.State != "ready" || state.Event.Revision != 1 || !state.Age.Known() {
		t.Errorf("anna: %+v, error %v", state, err)
	}
	w.tenant.ClearFaults()
	w.waitForAvailability("Voice", "a live feed", func(r svc.AvailabilityReply) bool { return routes(r) && r.CheckedAt.After(before.CheckedAt.Time) })
}

// replies collects all replies to requests for the availability of a service, one every 10 ms, until ctx ends.
func (w *testEnv) replies(ctx context.Context, service string) []svc.AvailabilityReply {
	w.t.Helper()
	inbox := nats.NewInbox()
	s, err := w.nc.SubscribeSync(inbox)
	if err != nil {
		w.t.Error(err)
		return nil
	}
	defer func() { _ = s.Unsubscribe() }() // fails only if the connection is closed
	for n := 0; ctx.Err() == nil; n++ {
		if err := w.nc.PublishRequest(svc.Subject("acme", svc.Availability), inbox, fmt.Appendf(nil, `{"service":%q}`, service)); err != nil {
			w.t.Error(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
	var all []svc.AvailabilityReply
	for {
		msg, err := s.NextMsg(300 * time.Millisecond)
		if err != nil {
			return all
		}
		var r svc.AvailabilityReply
		if len(msg.Data) > 0 { // else nobody leads
			if err := json.Unmarshal(msg.Data, &r); err != nil {
				w.t.Errorf("%s: %v", msg.Data, err)
			}
			all = append(all, r)
		}
	}
}

// TestRequestsOverTakeover: of two bridges one answers, whoever leads. All replies are seen here, the second ones too.
func TestRequestsOverTakeover(t *testing.T) {
	t.Parallel()
	w, p := newProxiedEnv(t)
	w.waitsDividedBy, w.timeoutsDividedBy = 4, 4
	w.env["BPCC_SERVICES"], w.env["BRIDGE_LEASE_TTL"] = "Voice", "1s"
	w.setAgent("anna", "ready", "")
	w.setAvailable("Voice", true)
	w.provisionStreams()
	first := w.startBridgeHandle(p.connect(t))
	w.waitForAvailability("Voice", "a live feed", routes)
	second := w.startBridgeHandle(w.js)
	w.waitUntil("a warm standby", func() bool { return second.Health().Warm })
	ctx, stop := context.WithCancel(t.Context())
	collected := make(chan []svc.AvailabilityReply, 1)
	go func() { collected <- w.replies(ctx, "Voice") }()
	// What the leader sends does not arrive, so its lease ends. It goes on, and receives all requests.
	p.toServer.pause()
	w.waitForAvailability("Voice", "the next leader", func(r svc.AvailabilityReply) bool { return r.Feed.Epoch == 2 && routes(r) })
	p.toServer.resume() // with whatever the former leader has replied meanwhile
	w.waitUntil("a standby again", func() bool { return first.Health().Role == "standby" && first.Health().Ready })
	<-time.After(200 * time.Millisecond)
	stop()
	all := <-collected
	epochs := map[uint64]int{}
	for _, r := range all {
		epochs[r.Feed.Epoch]++
	}
	if epochs[1] == 0 || epochs[2] == 0 || len(epochs) != 2 {
		t.Errorf("replies by epoch: %v", epochs)
	}
	// One reply to each request, now that the former leader stands by.
	ctx, stop = context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer stop()
	for _, r := range w.replies(ctx, "Voice") {
		if r.Feed.Epoch != 2 || r.Feed.Instance != second.Health().Instance {
			t.Errorf("%+v", r)
		}
	}
}

// TestRequestsOverReconnect: a leader that has lost its connection answers again when it is back.
func TestRequestsOverReconnect(t *testing.T) {
	t.Parallel()
	w, p := newProxiedEnv(t)
	w.waitsDividedBy, w.timeoutsDividedBy = 4, 4
	w.env["BPCC_SERVICES"], w.env["BRIDGE_LEASE_TTL"] = "Voice", "30s"
	w.setAgent("anna", "ready", "")
	w.setAvailable("Voice", true)
	w.startOn(p.connect(t))
	w.waitForAvailability("Voice", "a live feed", routes)
	p.setDown(true)
	w.expectNoLeader("acme")
	w.setAvailable("Voice", false)
	p.setDown(false)
	r := w.waitForAvailability("Voice", "an answer", func(r svc.AvailabilityReply) bool {
		if *r.Available && r.Fresh && !r.Age.Within(r.MaxAge) {
			t.Errorf("fresh: %+v", r)
		}
		return !*r.Available && r.Fresh
	})
	if r.Feed.Epoch != 1 {
		t.Errorf("epoch %d", r.Feed.Epoch)
	}
}

// TestRequestsOfManyTenants: each process answers for the tenants that it leads, and for no other.
func TestRequestsOfManyTenants(t *testing.T) {
	t.Parallel()
	m := newMultiTenantEnv(t, 2)
	m.env["BPCC_SERVICES"] = "Voice"
	for _, sim := range m.tenants {
		yes := true
		sim.SetService(bpcctest.Service{Name: "Voice"})
		sim.SetAvailability("Voice", &yes)
	}
	instanceOf := func(tenant string) string {
		r, err := svc.AskAvailability(t.Context(), m.nc, tenant, "Voice")
		if err != nil || !r.Route() {
			return ""
		}
		return r.Feed.Instance
	}
	first, second := m.newFleet(), m.newFleet()
	stopFirst := m.runFleet(first)
	m.waitUntil("answers for both tenants", func() bool { return instanceOf("centre0") != "" && instanceOf("centre1") != "" })
	m.expectNoLeader("centre2")
	// While roles change, no request for the health of a tenant is lost.
	ctx, stop := context.WithCancel(t.Context())
	lost := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			if _, err := m.nc.Request(svc.Subject("centre0", "health"), nil, testTimeout/4); err != nil {
				lost <- err
				return
			}
		}
		lost <- nil
	}()
	m.runFleet(second)
	m.waitUntil("each to lead one", func() bool { return len(leadingTenants(first)) == 1 && len(leadingTenants(second)) == 1 })
	m.waitUntil("answers of both", func() bool {
		a, b := instanceOf("centre0"), instanceOf("centre1")
		return a != "" && b != "" && a != b
	})
	stop()
	if err := <-lost; err != nil {
		t.Errorf("health: %v", err)
	}
	led := leadingTenants(first)
	names := []string{"centre0", "centre1"}
	if instance := instanceOf(led[0]); instance != first.Health()[0].Instance {
		t.Errorf("%s answers for %s, led by %s", instance, led[0], first.Health()[0].Instance)
	}
	stopFirst()
	m.waitUntil("answers of the other for both", func() bool {
		return !slices.ContainsFunc(names, func(name string) bool { return instanceOf(name) != second.Health()[0].Instance })
	})
}

// TestHostileReplySubject: a requester cannot let the bridge publish where it may and the requester may not.
func TestHostileReplySubject(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BPCC_SERVICES"] = "Voice"
	w.setAgent("anna", "ready", "")
	w.setAvailable("Voice", true)
	w.provisionStreams()
	w.runFleet(w.js)
	w.waitForAvailability("Voice", "a live feed", routes)
	used := w.recordSubjects()
	hostile := []string{"bpcc.v1.acme.agent.anna.state_changed", "$KV.bpcc_lease.beta", "$JS.API.STREAM.DELETE.OTHER", "bpcc.svc.acme.other"}
	for _, endpoint := range []string{svc.Availability, svc.State, "health"} {
		for _, reply := range hostile {
			if err := w.nc.PublishRequest(svc.Subject("acme", endpoint), reply, []byte(`{"service":"Voice"}`)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.nc.Publish(svc.Subject("acme", endpoint), nil); err != nil {
			t.Fatal(err)
		}
	}
	w.waitForAvailability("Voice", "an answer to a later request", routes)
	for _, subject := range used.drain() {
		if slices.Contains(hostile, subject) {
			t.Errorf("published on %s", subject)
		}
	}
}

// TestRequestsAreCounted: metrics count requests by what became of them.
func TestRequestsAreCounted(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BPCC_SERVICES"] = "Voice"
	w.setAvailable("Voice", true)
	w.provisionStreams()
	p := w.runFleet(w.js)
	w.waitForAvailability("Voice", "a live feed", routes)
	if _, err := w.ask(svc.State, "x"); err == nil {
		t.Error("no error")
	}
	w.waitUntil("the counts", func() bool {
		all := gauges(t, p)
		return all[`requests_total{endpoint="availability",outcome="answered",tenant="acme"}`] > 0 && all[`requests_total{endpoint="state",outcome="refused",tenant="acme"}`] == 1
	})
}
