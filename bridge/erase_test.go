package bridge_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/erase"
	"bpcc-nats/bridge/scan"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/bridgetest"
	"bpcc-nats/internal/natstest"
)

// erasableDay publishes a day of anna and bob, with all in which an agent can be named, and ends it.
func erasableDay(t *testing.T, url string) *testEnv {
	t.Helper()
	w := newTestEnvOn(t, bpcctest.Config{}, url) // the tests verify it themselves
	w.env["BRIDGE_AUDIT"], w.env["BPCC_DIRECTORY_INTERVAL"], w.env["BPCC_SERVICES"] = "false", "100ms", "Bob Marley direct"
	w.env["BRIDGE_THRESHOLDS"] = `[{"name":"away","kind":"agent","match":["*"],"stat":"in_calls_handled_per_day","raise":{"op":">=","value":1}},
		{"name":"backlog","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":1}}]`
	w.writeSubscription(`{"wall":{"chat_messages":{"filter":"","limit":9},"stats_totals":["agents_logged"],
		"agent_grids":[{"id":"a","columns":[{"id":"1","stat_name":"login_id"},{"id":"2","stat_name":"user_id"},{"id":"3","stat_name":"first_last_name"},{"id":"4","stat_name":"acd_state"},
			{"id":"5","stat_name":"reason"},{"id":"6","stat_name":"state_duration"},{"id":"7","stat_name":"in_calls_handled_per_day"}]}],
		"service_grids":[{"id":"s","columns":[{"id":"8","stat_name":"name"},{"id":"9","stat_name":"in_calls_waiting"}]}]}}`)
	agent := func(login, first, last, state, reason, calls string) {
		w.tenant.SetAgent(bpcctest.Agent{Login: login, First: first, Last: last, Team: "Sales", Services: []string{"Voice"},
			State: state, Reason: reason, Stats: map[string]string{"in_calls_handled_per_day": calls}})
	}
	agent("anna.lopez", "Anna", "Lopez", "ready", "", "0")
	agent("bob.marley", "Bob", "Marley", "ready", "", "0")
	agent("bob", "Robert", "Short", "ready", "", "0") // whose id is the beginning of the other's
	for _, service := range []string{"Voice", "Bob Marley direct"} {
		w.tenant.SetService(bpcctest.Service{Name: service, Stats: map[string]string{"in_calls_waiting": "0"}})
	}
	stop := w.startBridge()
	w.waitFor("directory.agents.changed", 1)
	w.waitFor("availability.Bob=20Marley=20direct.observed", 1)
	agent("bob.marley", "Bob", "Marley", "not_ready", "Lunch", "3")
	w.tenant.AddChatMessage(bpcctest.ChatMessage{ID: "1", LoginID: "bob.marley", Content: "I am away", Sent: time.Now()})
	w.tenant.AddChatMessage(bpcctest.ChatMessage{ID: "2", LoginID: "anna.lopez", Content: "bob marley is away", Sent: time.Now()})
	w.tenant.AddChatMessage(bpcctest.ChatMessage{ID: "3", LoginID: "anna.lopez", Content: "ask bob", Sent: time.Now()})
	w.tenant.SetService(bpcctest.Service{Name: "Bob Marley direct", Stats: map[string]string{"in_calls_waiting": "2"}})
	w.waitFor("threshold.away.bob=2Emarley.raised", 1)
	w.waitFor("threshold.backlog.Bob=20Marley=20direct.raised", 1)
	w.waitFor("chat.message_posted", 3)
	agent("anna.lopez", "Anna", "Lopez", "not_ready", "with Bob Marley", "0")
	w.waitFor("agent.anna=2Elopez.state_changed", 1)
	agent("anna.lopez", "Anna", "Lopez", "ready", "", "0")
	w.waitFor("agent.anna=2Elopez.state_changed", 2)
	agent("anna.lopez", "Anna", "Lopez", "busy", "", "0")
	w.waitFor("agent.anna=2Elopez.state_changed", 3)
	stop()
	return w
}

// bob is whom the tests erase: what of a message shows the person.
var bob = []string{"bob.marley", "bob=2Emarley", "bob marley", "bob=20marley", strings.ToLower(bpcctest.UserID("bob.marley"))}

// namesBob lists the texts of a message that show the person.
func namesBob(subject string, header nats.Header, body []byte) (found []string) {
	var all bytes.Buffer
	all.WriteString(subject)
	for _, values := range header {
		all.WriteString(strings.Join(values, " "))
	}
	all.Write(body)
	text := strings.ToLower(all.String())
	return slices.DeleteFunc(slices.Clone(bob), func(word string) bool { return !strings.Contains(text, word) })
}

// eraseBob erases, or finds.
func (w *testEnv) eraseBob(reason string) (erase.Found, error) {
	w.t.Helper()
	return erase.Run(w.t.Context(), w.js, w.config(), erase.Options{Agent: "bob.marley", Reason: reason, Instance: "admin", Timeout: 10 * time.Second}, w.logger())
}

// expectNoBob reads both streams, removals included.
func (w *testEnv) expectNoBob() {
	w.t.Helper()
	for _, s := range w.readAllMessages() {
		if found := namesBob(s.Subject, s.Header, s.Body); len(found) > 0 {
			w.t.Errorf("sequence %d, %s, still shows %q", s.Seq, s.Subject, found)
		}
	}
	err := scan.LastPerSubject(w.t.Context(), w.js, "KV_bpcc_state", ">", func(msg jetstream.Msg, _ uint64) error {
		if found := namesBob(msg.Subject(), msg.Headers(), msg.Data()); len(found) > 0 {
			w.t.Errorf("the view's %s still shows %q", msg.Subject(), found)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// audit verifies the stream as bridge verify does.
func (w *testEnv) audit() audit.Report {
	w.t.Helper()
	a, err := audit.New(audit.Options{Whole: true})
	if err != nil {
		w.t.Fatal(err)
	}
	all := w.readAllMessages()
	for _, s := range all {
		a.ReadErasure("bpcc.v1.acme."+s.Subject, s.Header, s.Body)
	}
	for _, s := range all {
		a.Add(audit.Message{Seq: s.Seq, Stored: s.Stored, Subject: "bpcc.v1.acme." + s.Subject, Header: s.Header, Body: s.Body})
	}
	return a.Report()
}

// TestErase erases one of three agents: nothing of the person remains, all else does, and the stream is sound.
// The bridge goes on, and shows the person, who is still there, as if for the first time.
func TestErase(t *testing.T) {
	t.Parallel()
	w := erasableDay(t, startServer(t))
	before := w.readAllMessages()
	planned, err := erase.Find(t.Context(), w.js, w.config(), erase.Options{Agent: "bob.marley"})
	if err != nil {
		t.Fatal(err)
	}
	if got := w.readAllMessages(); len(got) != len(before) {
		t.Fatalf("a search has changed the stream: %d messages, not %d", len(got), len(before))
	}
	found, err := w.eraseBob("request 4711")
	if err != nil {
		t.Fatal(err)
	}
	if len(found.Messages) != len(planned.Messages) || len(found.Keys) != len(planned.Keys) || found.Kept != 0 {
		t.Errorf("erased %+v, planned %+v", found, planned)
	}
	if want := []string{bpcctest.UserID("bob.marley"), "bob marley"}; !slices.Equal(found.AlsoKnownAs, want) {
		t.Errorf("also known as %q, want %q", found.AlsoKnownAs, want)
	}
	w.expectNoBob()
	after := map[uint64]bool{}
	all := w.readAllMessages()
	for _, s := range all {
		after[s.Seq] = true
	}
	shared := 0
	for _, s := range before {
		holds := len(namesBob(s.Subject, nil, s.Body)) > 0
		if holds == after[s.Seq] {
			t.Errorf("sequence %d, %s, holds the person: %v, is there: %v", s.Seq, s.Subject, holds, after[s.Seq])
		}
		if own := strings.HasPrefix(s.Subject, "agent.bob=2Emarley.") || s.Subject == "threshold.away.bob=2Emarley.raised" || s.text("message", "login_id") == "bob.marley"; holds && !own {
			shared++
		}
	}
	if found.Shared != shared || shared < 5 {
		t.Errorf("%d messages hold others, too, want %d", found.Shared, shared)
	}
	stated := withSubject(all, "feed.erased")
	if len(stated) != 1 || stated[0].text("reason") != "request 4711" || stated[0].text("instance") != "admin" || stated[0].field("messages") != float64(len(found.Messages)) {
		t.Fatalf("stated: %+v", stated)
	}
	if last := all[len(all)-1]; last.Subject != "feed.checkpoint" || last.text("status") != "stopped" || last.field("agents") != 2.0 || last.field("services") != 1.0 {
		t.Errorf("the last checkpoint is %+v", last.Data)
	}
	if r := w.audit(); !r.OK {
		t.Errorf("unsound: %+v", r.Faults)
	}
	again, err := w.eraseBob("")
	if err != nil || len(again.Messages) > 0 || len(again.Keys) > 0 || len(w.readAllMessages()) != len(all) {
		t.Errorf("a second time: %+v, %v", again, err)
	}

	stop := w.startBridge()
	back := w.waitForUnvalidated("agent.bob=2Emarley.appeared", 1)[0]
	if back.field("revision") != 1.0 {
		t.Errorf("the person comes back with revision %v", back.field("revision"))
	}
	for _, subject := range []string{"service.Bob=20Marley=20direct.appeared", "threshold.backlog.Bob=20Marley=20direct.raised", "availability.Bob=20Marley=20direct.observed"} {
		if got := w.waitForUnvalidated(subject, 1)[0]; got.field("revision") != 1.0 {
			t.Errorf("%s has revision %v", subject, got.field("revision"))
		}
	}
	baselines := w.waitForUnvalidated("directory.agents.changed", 1) // those before are erased
	if len(baselines) != 1 || baselines[0].field("baseline") != true {
		t.Errorf("the directory is published as %+v", baselines)
	}
	if changed := withSubject(afterSeq(w.readAllMessages(), stated[0].Seq), "agent.anna=2Elopez.state_changed"); len(changed) > 0 {
		t.Errorf("anna, who did nothing, changes: %+v", changed)
	}
	w.setAgent("anna.lopez", "ready", "")
	w.waitForUnvalidated("agent.anna=2Elopez.state_changed", 2) // two of the three before are erased: each holds the reason
	stop()
	if r := w.audit(); !r.OK {
		t.Errorf("unsound after a restart: %+v", r.Faults)
	}
	w.compareFold(w.readAllMessages())
	// One more message is gone than is stated.
	events, err := w.js.Stream(t.Context(), "BPCC_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	victim := withSubject(all, "agent.anna=2Elopez.state_changed")[0]
	if err := events.DeleteMsg(t.Context(), victim.Seq); err != nil {
		t.Fatal(err)
	}
	if r := w.audit(); r.OK || r.ByCode["sequence"] != 1 || r.ByCode["missing"] != 1 || r.ByCode["count"] == 0 {
		t.Errorf("one message more is gone: %v", r.ByCode)
	}
}

// TestEraseIsRefused: nothing is changed where the server would refuse to delete, where a bridge leads, and for a
// reason that would leave what is erased in the stream.
func TestEraseIsRefused(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.tenant.SetAgent(bpcctest.Agent{Login: "bob.marley", First: "Bob", Last: "Marley"})
	stop := w.startBridge()
	w.waitFor("agent.bob=2Emarley.observed", 1)
	stop()
	unchanged := func(what string, want error, got error) {
		t.Helper()
		if !errors.Is(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
		if all := w.readAllMessages(); len(withSubject(all, "feed.erased")) > 0 || len(withSubject(all, "agent.bob=2Emarley.observed")) != 1 {
			t.Errorf("%s: the stream is changed", what)
		}
	}
	_, err := w.eraseBob("")
	unchanged("a stream that denies deletes", erase.ErrAudit, err)
	found, err := erase.Find(t.Context(), w.js, w.config(), erase.Options{Agent: "bob.marley"})
	unchanged("a search there", erase.ErrAudit, err)
	if len(found.Messages) != 1 || len(found.Keys) != 1 {
		t.Errorf("a search finds %+v nevertheless", found)
	}

	for _, name := range stream.Names(w.config().Stream) {
		if err := w.js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	w.env["BRIDGE_AUDIT"] = "false"
	stop = w.startBridge()
	w.waitFor("agent.bob=2Emarley.observed", 1)
	_, err = w.eraseBob("")
	unchanged("a bridge leads", erase.ErrLeading, err)
	stop()
	_, err = w.eraseBob("asked by Bob Marley")
	unchanged("a reason that names the person", erase.ErrReason, err)
	if _, err = w.eraseBob(""); err != nil {
		t.Error(err)
	}
	w.expectNoBob()
}

// TestEraseAfterACrash: an erasure that is stated and not done, or not done in the view, is sound. So is what a
// bridge publishes in between. Another run finishes it.
func TestEraseAfterACrash(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		deny    string // what the server does not do
		running bool   // a bridge runs before the second attempt
	}{
		"before deleting":                          {deny: "$JS.API.STREAM.MSG.DELETE.BPCC_EVENTS"},
		"before deleting, and a bridge runs":       {deny: "$JS.API.STREAM.MSG.DELETE.BPCC_EVENTS", running: true},
		"before the view is purged":                {deny: "$JS.API.STREAM.MSG.DELETE.KV_bpcc_state"},
		"before the view is purged, and it is run": {deny: "$JS.API.STREAM.MSG.DELETE.KV_bpcc_state", running: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := natstest.Start(t, &server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true, Users: []*server.User{
				{Username: "all", Password: "x"},
				{Username: "less", Password: "x", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{test.deny}}}},
			}})
			as := func(user string) string { return strings.Replace(s.ClientURL(), "nats://", "nats://"+user+":x@", 1) }
			w := erasableDay(t, as("all"))
			c := w.config()
			c.Timing = bridgetest.Timing(1, 5)
			_, err := erase.Run(t.Context(), natstest.Connect(t, as("less")), c, erase.Options{Agent: "bob.marley", Instance: "admin", Timeout: 10 * time.Second}, w.logger())
			if !errors.Is(err, erase.ErrUnfinished) || !errors.Is(err, stream.ErrNATSPermission) {
				t.Fatalf("without the permission: %v", err)
			}
			r := w.audit()
			present := slices.ContainsFunc(r.Notes, func(f audit.Finding) bool { return f.Code == "present" })
			if deleting := strings.HasSuffix(test.deny, "EVENTS"); !r.OK || present != deleting {
				t.Errorf("after it: messages are still present: %v, faults %+v", present, r.Faults)
			}
			if test.running {
				stop := w.startBridge()
				w.setAgent("carl", "ready", "")
				w.waitForUnvalidated("agent.carl.appeared", 1)
				stop()
				if r := w.audit(); !r.OK {
					t.Errorf("unsound after a bridge has run: %+v", r.Faults)
				}
			}
			if _, err := w.eraseBob(""); err != nil {
				t.Fatal(err)
			}
			w.expectNoBob()
			if r := w.audit(); !r.OK {
				t.Errorf("unsound: %+v", r.Faults)
			}
			stop := w.startBridge()
			w.waitForUnvalidated("agent.bob=2Emarley.appeared", 1)
			stop()
			if r := w.audit(); !r.OK {
				t.Errorf("unsound after the restart: %+v", r.Faults)
			}
			w.compareFold(w.readAllMessages())
		})
	}
}

// TestEraseUnderAStandby: a standby that has read the person before takes over after the erasure. It knows nothing
// of the person either.
func TestEraseUnderAStandby(t *testing.T) {
	t.Parallel()
	w := erasableDay(t, startServer(t))
	leases, err := w.js.KeyValue(t.Context(), "bpcc_lease")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leases.Put(t.Context(), "acme", []byte("admin")); err != nil {
		t.Fatal(err)
	}
	stop := w.startBridge()
	standby := w.bridges[len(w.bridges)-1]
	w.waitUntil("the standby to read the stream", func() bool { return standby.Health().Ready })
	if _, err := w.eraseBob(""); err != nil {
		t.Fatal(err)
	}
	back := w.waitForUnvalidated("agent.bob=2Emarley.appeared", 1)[0]
	if back.field("revision") != 1.0 || back.field("before") != nil {
		t.Errorf("the person comes back with %+v", back.Data)
	}
	stop()
	if r := w.audit(); !r.OK {
		t.Errorf("unsound: %+v", r.Faults)
	}
	w.compareFold(w.readAllMessages())
}

// TestFromAuditToErasable: a stream that denies deletes is deleted and made anew. The bridge takes its state from the
// view, and a person can be erased.
func TestFromAuditToErasable(t *testing.T) {
	t.Parallel()
	w := newTestEnvOn(t, bpcctest.Config{}, startServer(t))
	w.tenant.SetAgent(bpcctest.Agent{Login: "bob.marley", First: "Bob", Last: "Marley", State: "ready"})
	w.setAgent("anna", "ready", "")
	stop := w.startBridge()
	w.waitFor("agent.bob=2Emarley.observed", 1)
	w.waitForView("agent.bob=2Emarley", "a value")
	stop()
	if err := w.js.DeleteStream(t.Context(), "BPCC_EVENTS"); err != nil {
		t.Fatal(err)
	}
	w.env["BRIDGE_AUDIT"] = "false"
	stop = w.startBridge()
	w.tenant.SetState("bob.marley", "not_ready", "Lunch")
	if changed := w.waitForUnvalidated("agent.bob=2Emarley.state_changed", 1)[0]; changed.field("revision") != 2.0 {
		t.Errorf("the first change has revision %v, want 2", changed.field("revision"))
	}
	stop()
	w.tenant.RemoveAgent("bob.marley")
	var found erase.Found
	w.waitUntil("the view to read the new stream", func() bool {
		var err error
		found, err = w.eraseBob("")
		return err == nil
	})
	if t.Logf("erased %+v", found); len(found.Messages) == 0 {
		t.Error("nothing is erased")
	}
	w.expectNoBob()
	if r := w.audit(); !r.OK {
		t.Errorf("unsound: %+v", r.Faults)
	}
}
