package bridge_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bpcc/bpcctest"
)

func TestFirstSnapshotIsObserved(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.tenant.SetService(bpcctest.Service{Name: "Voice Inbound"})
	w.setAgent("john.smith", "ready", "")
	w.startBridge()
	all := w.waitForEvents("the first picture", func(all []storedEvent) bool { return len(withSubject(all, "totals.bridge.observed")) > 0 })
	want := []string{"feed.started", "agent.john=2Esmith.observed", "service.Voice=20Inbound.observed", "totals.bridge.observed"}
	if diff := cmp.Diff(want, subjectsOf(all)); diff != "" {
		t.Errorf("subjects (-want +got)\n%s", diff)
	}
}

func TestRestartPublishesTheNetDifference(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	for i := range 20 {
		w.setAgent(fmt.Sprintf("agent%02d", i), "ready", "")
	}
	stop := w.startBridge()
	w.waitFor("totals.bridge.observed", 1)
	stop()
	before := lastSeqOf(w.events())
	for i := range 10 {
		w.tenant.SetState(fmt.Sprintf("agent%02d", i), "not_ready", "Lunch")
	}
	w.startBridge()
	all := afterSeq(w.waitForEvents("the difference", func(all []storedEvent) bool {
		return len(withSubject(afterSeq(all, before), "agent.agent09.state_changed")) > 0
	}), before)
	want := []string{"feed.started"}
	for i := range 10 {
		want = append(want, fmt.Sprintf("agent.agent%02d.state_changed", i))
	}
	got := slices.DeleteFunc(subjectsOf(all), func(subject string) bool {
		// A slow machine may take longer over the restart than a feed may be silent.
		return subject == "feed.interrupted" || subject == "feed.resumed"
	})
	if len(got) > 0 && got[len(got)-1] == "totals.bridge.stats_changed" {
		got = got[:len(got)-1] // ready agents are a total
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("subjects (-want +got)\n%s", diff)
	}
	for _, s := range withSubject(all, "agent.agent00.state_changed") {
		if s.field("after_gap") != true {
			t.Errorf("%s does not say after_gap", s.ID)
		}
	}
}

// TestRestartRepeatsNothing stops a bridge that has published something of each kind,
// changes little, and starts again: that alone is published.
func TestRestartRepeatsNothing(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BPCC_SERVICES"], w.env["BPCC_DIRECTORY_INTERVAL"] = "Voice,Chat", "100ms"
	w.env["BRIDGE_THRESHOLDS"] = `[
		{"name":"backlog","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":5}},
		{"name":"gone rule","kind":"service","stat":"in_calls_waiting","raise":{"op":">","value":6}}]`
	w.writeSubscription(`{"wall":{"chat_messages":{"filter":"","limit":3},"stats_totals":["agents_logged"],
		"agent_grids":[{"id":"a","columns":` + columnsOf("login_id", "acd_state", "user_id") + `}],
		"service_grids":[{"id":"s","columns":` + columnsOf("name", "in_calls_waiting") + `}]}}`)
	yes, no := true, false
	w.tenant.Update(func(world *bpcctest.World) {
		world.SetAgent(bpcctest.Agent{Login: "anna", UserID: "U-1", State: "ready"})
		world.SetAgent(bpcctest.Agent{Login: "bob", UserID: "U-2", State: "ready"})
		world.SetService(bpcctest.Service{Name: "Voice", Stats: map[string]string{"in_calls_waiting": "9"}})
		world.SetService(bpcctest.Service{Name: "Chat", Stats: map[string]string{"in_calls_waiting": "0"}})
	})
	w.tenant.SetAvailability("Voice", &yes)
	w.tenant.SetAvailability("Chat", &yes)
	post := func(id string) {
		w.tenant.AddChatMessage(bpcctest.ChatMessage{ID: id, LoginID: "anna", Content: "hello " + id, Sent: time.Now()})
	}
	post("1")
	stop := w.startBridge()
	for _, subject := range []string{
		"totals.wall.observed", "threshold.backlog.Voice.raised", "threshold.gone=20rule.Voice.raised", "chat.message_posted",
		"availability.Voice.observed", "availability.Chat.observed",
		"directory.agents.changed", "directory.dispositions.changed", "directory.services.changed", "directory.teams.changed",
	} {
		w.waitFor(subject, 1)
	}
	post("2")
	w.waitFor("chat.message_posted", 2)
	stop()
	before := lastSeqOf(w.events())

	post("3")
	w.tenant.SetAvailability("Voice", &no)
	w.tenant.Update(func(world *bpcctest.World) {
		world.RemoveAgent("bob")
		world.SetAgent(bpcctest.Agent{Login: "bob", UserID: "U-3", State: "ready"})
	})
	w.env["BRIDGE_THRESHOLDS"] = `[{"name":"backlog","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":5}}]`
	w.startBridge()
	w.waitFor("chat.message_posted", 3)
	w.waitFor("availability.Voice.changed", 1)
	w.waitFor("directory.agents.changed", 2)
	checks := w.tenant.Counts().Availability
	w.waitUntil("more checks", func() bool { return w.tenant.Counts().Availability >= checks+6 })
	w.waitForPolls(3)
	all := afterSeq(w.events(), before)
	got := slices.DeleteFunc(subjectsOf(all), func(subject string) bool {
		// A slow machine may take longer over the restart than a feed may be silent.
		return subject == "feed.interrupted" || subject == "feed.resumed"
	})
	slices.Sort(got)
	want := []string{
		"agent.bob.stats_changed", "availability.Voice.changed", "chat.message_posted", "directory.agents.changed", "feed.started",
		"threshold.gone=20rule.Voice.cleared",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("subjects (-want +got)\n%s", diff)
	}
	for _, s := range all {
		switch s.Subject {
		case "feed.checkpoint", "feed.started", "feed.interrupted", "feed.resumed":
		default:
			if s.field("after_gap") != true || s.field("baseline") != nil {
				t.Errorf("%s: %v; want a change after a gap", s.Subject, s.Data)
			}
		}
	}
	if orphan := withSubject(all, "threshold.gone=20rule.Voice.cleared"); len(orphan) == 1 && orphan[0].text("cleared_by") != "rule_removed" {
		t.Errorf("cleared: %v", orphan[0].Data)
	}
	if chat := withSubject(all, "chat.message_posted"); len(chat) == 1 && (chat[0].text("message", "id") != "3" || chat[0].text("app") != "wall") {
		t.Errorf("chat: %v", chat[0].Data)
	}
}

// TestWatermarks: while nothing changes a checkpoint alone goes out at every interval,
// and the last one says that the feed has stopped.
func TestWatermarks(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BRIDGE_CHECKPOINT_INTERVAL"] = "200ms"
	w.setAgent("anna", "ready", "")
	stop := w.startBridge()
	w.waitFor("agent.anna.observed", 1)
	all := w.waitForEvents("a watermark that moves", func(all []storedEvent) bool {
		until := map[string]bool{}
		for _, s := range withSubject(all, "feed.checkpoint") {
			until[s.text("observed_until")] = true
		}
		return len(until) > 4
	})
	until := ""
	for _, s := range withSubject(all, "feed.checkpoint") {
		if s.text("status") == "interrupted" && until == "" {
			continue // nothing has been seen yet
		}
		if s.text("status") != "live" || s.text("observed_until") < until {
			t.Errorf("checkpoint %s: status %s, observed until %s after %s", s.ID, s.text("status"), s.text("observed_until"), until)
		}
		until = s.text("observed_until")
	}
	stop()
	checkpoints := withSubject(w.events(), "feed.checkpoint")
	if got := checkpoints[len(checkpoints)-1].text("status"); got != "stopped" {
		t.Errorf("the last checkpoint says %s", got)
	}
	if n := w.tenant.Counts().Deletes; n < 2 {
		t.Errorf("the subscription was deleted %d times, want before and after", n)
	}
}

// TestThreshold raises and clears a rule over the whole way, with the clock of the
// bridge.
func TestThreshold(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BRIDGE_THRESHOLDS"] = `[
		{"name":"backlog","kind":"service","match":["Voice*"],"stat":"in_calls_waiting",
		 "raise":{"op":">=","value":5},"clear":{"op":"<=","value":2},"for":"300ms","severity":"critical"}]`
	w.tenant.SetService(bpcctest.Service{Name: "Voice", Stats: map[string]string{"in_calls_waiting": "1"}})
	w.tenant.SetService(bpcctest.Service{Name: "Chat", Stats: map[string]string{"in_calls_waiting": "9"}})
	w.startBridge()
	w.waitFor("service.Voice.observed", 1)
	w.tenant.SetServiceStat("Voice", "in_calls_waiting", "5")
	raised := w.waitFor("threshold.backlog.Voice.raised", 1)[0]
	want := map[string]any{
		"rule": "backlog", "severity": "critical", "stat": "in_calls_waiting", "value": "5", "limit": 5.0, "op": ">=", "for": "300ms",
		"entity": map[string]any{"kind": "service", "id": "Voice"},
	}
	for name, value := range want {
		if diff := cmp.Diff(value, raised.field(name)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
	pending, err := time.Parse(time.RFC3339, raised.text("pending_since"))
	if err != nil || raised.Time.Sub(pending) < 300*time.Millisecond {
		t.Errorf("raised at %v, pending since %v, before 300ms were over (%v)", raised.Time, pending, err)
	}
	w.tenant.SetServiceStat("Voice", "in_calls_waiting", "2")
	cleared := w.waitFor("threshold.backlog.Voice.cleared", 1)[0]
	if cleared.text("cleared_by") != "condition" || cleared.text("op") != "<=" || cleared.field("limit") != 2.0 || cleared.text("value") != "2" {
		t.Errorf("cleared: %v", cleared.Data)
	}
}

// TestAvailability checks a service over the whole way.
func TestAvailability(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	delete(w.env, "BPCC_SERVICES")
	w.setAgent("anna", "ready", "")
	w.tenant.SetService(bpcctest.Service{Name: "Voice"})
	w.startBridge()
	first := w.waitFor("availability.Voice.observed", 1)[0]
	if first.field("available") != true || first.field("observed", "after") != nil {
		t.Errorf("first: %v", first.Data)
	}
	w.tenant.SetState("anna", "not_ready", "")
	changed := w.waitFor("availability.Voice.changed", 1)[0]
	if changed.field("previous") != true || changed.field("available") != false || changed.field("after_gap") != nil {
		t.Errorf("changed: %v", changed.Data)
	}
}

// TestDirectory lists the tenant's directories over the whole way.
func TestDirectory(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BPCC_DIRECTORY_INTERVAL"] = "100ms"
	w.tenant.SetAgent(bpcctest.Agent{Login: "anna", UserID: "U-1", Team: "Sales"})
	w.tenant.SetAgent(bpcctest.Agent{Login: "bob", UserID: "U-2", Team: "Sales"})
	w.tenant.SetService(bpcctest.Service{Name: "Voice", ID: "S-1"})
	w.startBridge()
	for _, kind := range []string{"agents", "dispositions", "services", "teams"} {
		first := w.waitFor("directory."+kind+".changed", 1)[0]
		if first.field("baseline") != true || first.field("observed", "after") != nil {
			t.Errorf("%s: the first listing is published as a change: %v", kind, first.Data)
		}
	}
	w.tenant.Update(func(world *bpcctest.World) {
		world.RemoveAgent("bob")
		world.SetAgent(bpcctest.Agent{Login: "bob.b", UserID: "U-2", Team: "Sales"})
	})
	changed := w.waitFor("directory.agents.changed", 2)[1]
	want := []any{map[string]any{"id": "U-2", "from": "bob", "to": "bob.b"}}
	if diff := cmp.Diff(want, changed.field("renamed")); diff != "" || changed.field("observed", "after") == nil {
		t.Errorf("renamed (-want +got)\n%s", diff)
	}
	w.tenant.SetTeams("Sales", "Support")
	if diff := cmp.Diff("Support", w.waitFor("directory.teams.changed", 2)[1].field("added").([]any)[0].(map[string]any)["name"]); diff != "" {
		t.Errorf("added (-want +got)\n%s", diff)
	}
}

// TestPrivacy looks for people's names in every byte of the stream.
func TestPrivacy(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BRIDGE_PSEUDONYM_KEY"] = "0123456789abcdef-key"
	w.env["BRIDGE_REDACT_STATS"] = "extension, team_*"
	w.env["BPCC_DIRECTORY_INTERVAL"] = "100ms"
	w.tenant.SetAgent(bpcctest.Agent{Login: "anna.lopez", First: "Annabel", Last: "Lopez", Team: "Kraken", Extension: "4242", State: "ready"})
	stop := w.startBridge()
	w.waitFor("directory.agents.changed", 1)
	w.tenant.SetState("anna.lopez", "supervising", "")
	all := w.waitForEvents("a change of state", func(all []storedEvent) bool {
		return len(all) > 0 && strings.HasSuffix(subjectsOf(all)[len(subjectsOf(all))-1], "stats_changed") || len(stateChanges(all)) > 0
	})
	stop()
	id := stateChanges(all)[0].text("agent", "id")
	w.startBridge()
	w.tenant.SetState("anna.lopez", "ready", "")
	all = w.waitForEvents("another change of state", func(all []storedEvent) bool { return len(stateChanges(all)) > 1 })
	if again := stateChanges(all)[1].text("agent", "id"); again != id || id == "" {
		t.Errorf("the same agent is %q and then %q", id, again)
	}
	for _, s := range all {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"anna", "Annabel", "Lopez", "4242", bpcctest.UserID("anna.lopez")} {
			if strings.Contains(string(text), secret) {
				t.Errorf("%s contains %q: %s", s.Subject, secret, text)
			}
		}
		if s.field("after", "team_name") != nil {
			t.Errorf("%s contains the redacted team", s.Subject)
		}
	}
}

func stateChanges(all []storedEvent) []storedEvent {
	var out []storedEvent
	for _, s := range all {
		if strings.HasSuffix(s.Subject, ".state_changed") {
			out = append(out, s)
		}
	}
	return out
}
