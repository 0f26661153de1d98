package bridge_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge"
)

// tenantClock is a tenant's clock that a test moves.
type tenantClock struct {
	mu     sync.Mutex
	offset time.Duration
}

func (c *tenantClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

func (c *tenantClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}

// writeSubscription gives the bridge a subscription of its own.
func (w *testEnv) writeSubscription(body string) {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), "subscription.json")
	if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.env["BPCC_SUBSCRIPTION_FILE"] = file
}

func TestReentryIsPublished(t *testing.T) {
	t.Parallel()
	var c tenantClock
	w := newTestEnv(t, bpcctest.Config{Now: c.now})
	w.setAgent("anna", "ready", "")
	w.setAgent("bob", "ready", "")
	w.startBridge()
	w.waitFor("agent.anna.observed", 1)
	c.advance(time.Minute) // the clocks of both states run on, which is no round trip
	w.waitTwoPolls()
	w.tenant.Update(func(world *bpcctest.World) {
		world.SetState("anna", "busy", "")
		world.SetState("anna", "ready", "")
	})
	changed := w.waitFor("agent.anna.state_changed", 1)[0]
	if changed.field("reentered") != true || changed.text("from", "state") != "ready" || changed.text("to", "state") != "ready" {
		t.Errorf("not a round trip: %v", changed.Data)
	}
	if diff := cmp.Diff([]any{}, changed.field("changed")); diff != "" {
		t.Errorf("changed (-want +got)\n%s", diff)
	}
	if n := len(withSubject(w.events(), "agent.bob.state_changed")); n > 0 {
		t.Error("bob stayed, and a round trip was told of him")
	}
}

func TestNoReentryOverDailyReset(t *testing.T) {
	t.Parallel()
	var c tenantClock
	w := newTestEnv(t, bpcctest.Config{Now: c.now})
	w.setAgent("anna", "ready", "")
	w.tenant.Update(func(world *bpcctest.World) {
		world.SetAgentStat("anna", "in_calls_handled_per_day", "12")
		world.SetAgentStat("anna", "state_duration", "500")
	})
	w.startBridge()
	w.waitFor("agent.anna.observed", 1)
	w.tenant.Update(func(world *bpcctest.World) {
		world.SetAgentStat("anna", "in_calls_handled_per_day", "0")
		world.SetAgentStat("anna", "state_duration", "0")
	})
	reset := w.waitFor("agent.anna.stats_changed", 1)[0]
	if diff := cmp.Diff([]any{"in_calls_handled_per_day"}, reset.field("reset")); diff != "" {
		t.Errorf("reset (-want +got)\n%s", diff)
	}
	w.waitTwoPolls()
	if n := len(withSubject(w.events(), "agent.anna.state_changed")); n > 0 {
		t.Error("the daily reset was told as a round trip")
	}
}

func TestVolatileColumnsRideAlong(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.tenant.SetAgent(bpcctest.Agent{Login: "anna", State: "busy", Stats: map[string]string{"login_time": "100"}})
	w.startBridge()
	w.waitFor("agent.anna.observed", 1)
	w.tenant.SetAgentStat("anna", "login_time", "200")
	w.waitTwoPolls()
	if n := len(subjectsOf(afterSeq(w.events(), withSubject(w.events(), "agent.anna.observed")[0].Seq))); n > 2 {
		t.Errorf("a running clock made %d events", n)
	}
	w.tenant.SetAgentStat("anna", "extension", "77")
	changed := w.waitFor("agent.anna.stats_changed", 1)[0]
	if got := changed.text("after", "login_time"); got != "200" {
		t.Errorf("login_time %q in the next image, want 200", got)
	}
	if diff := cmp.Diff([]any{"extension"}, changed.field("changed")); diff != "" {
		t.Errorf("changed (-want +got)\n%s", diff)
	}
}

func TestMassDepartureIsHeld(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	for i := range 12 {
		w.setAgent(fmt.Sprintf("agent%02d", i), "ready", "")
	}
	w.startBridge()
	w.waitFor("totals.bridge.observed", 1)
	startedAt := time.Now()
	w.tenant.Update(func(world *bpcctest.World) {
		for i := range 8 {
			world.RemoveAgent(fmt.Sprintf("agent%02d", i))
		}
		world.SetState("agent11", "not_ready", "")
	})
	w.waitFor("agent.agent11.state_changed", 1) // the rest goes on
	for time.Since(startedAt) < 25*time.Second {
		<-time.After(time.Second)
		for _, s := range w.events() {
			if strings.HasSuffix(s.Subject, ".disappeared") {
				t.Fatalf("%s after %v", s.Subject, time.Since(startedAt))
			}
		}
	}
	removed := w.waitFor("agent.agent07.disappeared", 1)[0]
	observed := w.waitFor("agent.agent11.state_changed", 1)[0]
	if removed.text("observed", "after") >= observed.text("observed", "by") {
		t.Errorf("the departure's window begins at %s, when the first look without the row was in at %s",
			removed.text("observed", "after"), observed.text("observed", "by"))
	}
}

func TestLastingEmptyGridIsAccepted(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.setAgent("anna", "ready", "")
	w.startBridge()
	w.waitFor("agent.anna.observed", 1)
	w.tenant.RemoveAgent("anna")
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-time.After(time.Second) {
		if len(withSubject(w.events(), "agent.anna.disappeared")) > 0 {
			break
		}
	}
	removed := w.waitFor("agent.anna.disappeared", 1)[0]
	resumed := w.waitFor("feed.resumed", 1)[0]
	if resumed.text("cause") != "empty" || resumed.Seq > removed.Seq {
		t.Errorf("resumed from %q at %d, gone at %d", resumed.text("cause"), resumed.Seq, removed.Seq)
	}
}

func TestTopNIsNoDeparture(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.writeSubscription(`{"top":{"agent_grids":[{"id":"g","limit":2,"order_by":"2","order_dir":"DESC","columns":[
		{"id":"1","stat_name":"login_id"},{"id":"2","stat_name":"in_calls_handled_per_day"}]}]}}`)
	calls := func(login, n string) { w.tenant.SetAgentStat(login, "in_calls_handled_per_day", n) }
	for i, login := range []string{"anna", "bob", "carl"} {
		w.setAgent(login, "ready", "")
		calls(login, fmt.Sprint(30-i))
	}
	w.startBridge()
	w.waitFor("agent.bob.observed", 1)
	calls("carl", "50")
	w.waitFor("agent.carl.observed", 1) // entering the N is no appearance
	w.waitTwoPolls()
	w.waitTwoPolls()
	want := []string{"feed.started", "agent.anna.observed", "agent.bob.observed", "agent.carl.observed"}
	if diff := cmp.Diff(want, subjectsOf(w.events())); diff != "" {
		t.Errorf("subjects (-want +got)\n%s", diff)
	}
}

func TestIdentities(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BRIDGE_AGENT_KEY"] = "user_id"
	w.tenant.SetAgent(bpcctest.Agent{Login: "anna", UserID: "U-1", Team: "Sales", State: "ready"})
	w.tenant.SetService(bpcctest.Service{Name: "1"})
	w.startBridge()
	w.waitFor("totals.bridge.observed", 1)
	if len(withSubject(w.events(), "service.1.observed")) != 1 {
		t.Error("a service that looks like a number is not told as text")
	}
	w.tenant.Update(func(world *bpcctest.World) { // renamed, and moved to another team
		world.RemoveAgent("anna")
		world.SetAgent(bpcctest.Agent{Login: "anna.b", UserID: "U-1", Team: "Support", State: "ready"})
	})
	changed := w.waitFor("agent.U-1.stats_changed", 1)[0]
	if diff := cmp.Diff([]any{"login_id", "team_name"}, changed.field("changed")); diff != "" {
		t.Errorf("changed (-want +got)\n%s", diff)
	}
	if changed.text("agent", "login_id") != "anna.b" || changed.text("agent", "team") != "Support" {
		t.Errorf("agent %v", changed.field("agent"))
	}
}

func TestGridsAreMergedByKey(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.writeSubscription(`{
		"a":{"agent_grids":[{"id":"1","columns":[{"id":"1","stat_name":"login_id"},{"id":"2","stat_name":"acd_state"}]}],"stats_totals":["agents_logged"]},
		"b":{"agent_grids":[{"id":"1","columns":[{"id":"9","stat_name":"login_id"},{"id":"8","stat_name":"team_name"}]}],"stats_totals":["agents_ready"]}}`)
	w.setAgent("anna", "ready", "")
	w.startBridge()
	w.waitFor("totals.b.observed", 1)
	want := map[string]any{"login_id": "anna", "acd_state": "ready", "team_name": "Sales"}
	if diff := cmp.Diff(want, w.waitFor("agent.anna.observed", 1)[0].field("after")); diff != "" {
		t.Errorf("image (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"feed.started", "agent.anna.observed", "totals.a.observed", "totals.b.observed"}, subjectsOf(w.events())); diff != "" {
		t.Errorf("subjects (-want +got)\n%s", diff)
	}
}

func TestAgentThreshold(t *testing.T) {
	t.Parallel()
	var c tenantClock
	w := newTestEnv(t, bpcctest.Config{Now: c.now})
	w.env["BRIDGE_THRESHOLDS"] = `[{"name":"long break","kind":"agent","stat":"state_duration","when":{"acd_state":["not_ready"]},"raise":{"op":">","value":900}}]`
	w.setAgent("anna", "not_ready", "Lunch")
	w.setAgent("bob", "ready", "")
	w.startBridge()
	w.waitFor("agent.anna.observed", 1)
	c.advance(16 * time.Minute)
	w.waitFor("threshold.long=20break.anna.raised", 1)
	w.tenant.SetState("anna", "ready", "")
	w.waitFor("threshold.long=20break.anna.cleared", 1)
	for _, s := range w.events() {
		if strings.HasPrefix(s.Subject, "threshold.long=20break.bob") {
			t.Errorf("%s: bob is ready", s.Subject)
		}
	}
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BPCC_DIRECTORY_INTERVAL"] = "100ms"
	w.tenant.SetAgent(bpcctest.Agent{Login: "anna", UserID: "U-1", Team: "Sales"})
	w.tenant.SetAgent(bpcctest.Agent{Login: "bob", UserID: "U-2", Team: "Sales"})
	w.tenant.SetService(bpcctest.Service{Name: "Voice", ID: "S-1"})
	stop := w.startBridge()
	for _, kind := range []string{"agents", "dispositions", "services", "teams"} {
		first := w.waitFor("directory."+kind+".changed", 1)[0]
		if first.field("baseline") != true || first.field("observed", "after") != nil {
			t.Errorf("%s: the first listing is told as a change: %v", kind, first.Data)
		}
	}
	rename := func(login string) func(*bpcctest.World) {
		return func(world *bpcctest.World) {
			world.RemoveAgent("bob")
			world.RemoveAgent("bob.b")
			world.SetAgent(bpcctest.Agent{Login: login, UserID: "U-2", Team: "Sales"})
		}
	}
	w.tenant.Update(rename("bob.b"))
	changed := w.waitFor("directory.agents.changed", 2)[1]
	want := []any{map[string]any{"id": "U-2", "from": "bob", "to": "bob.b"}}
	if diff := cmp.Diff(want, changed.field("renamed")); diff != "" || changed.field("observed", "after") == nil {
		t.Errorf("renamed (-want +got)\n%s", diff)
	}
	w.tenant.SetTeams("Sales", "Support")
	if diff := cmp.Diff("Support", w.waitFor("directory.teams.changed", 2)[1].field("added").([]any)[0].(map[string]any)["name"]); diff != "" {
		t.Errorf("added (-want +got)\n%s", diff)
	}
	stop()
	before := len(w.events())
	w.tenant.Update(rename("bob"))
	w.startBridge()
	restored := w.waitFor("directory.agents.changed", 3)[2]
	if restored.field("after_gap") != true || restored.field("baseline") != nil {
		t.Errorf("after a restart: %v", restored.Data)
	}
	for _, s := range w.events()[before:] {
		if strings.HasPrefix(s.Subject, "directory.") && s.ID != restored.ID {
			t.Errorf("%s was told again", s.Subject)
		}
	}
}

func TestChatIsPublishedOnce(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.writeSubscription(`{"wall":{"chat_messages":{"filter":"","limit":3},"stats_totals":["agents_logged"]}}`)
	post := func(id string) {
		w.tenant.AddChatMessage(bpcctest.ChatMessage{ID: id, LoginID: "anna", FirstName: "Anna", Content: "hello " + id, Urgent: id == "2", Sent: time.Now()})
	}
	post("1")
	stop := w.startBridge()
	w.waitFor("chat.message_posted", 1)
	post("2")
	w.waitFor("chat.message_posted", 2)
	stop()
	post("3")
	w.startBridge()
	var got []any
	for _, s := range w.waitFor("chat.message_posted", 3) {
		got = append(got, s.field("message", "id"), s.field("message", "content"), s.field("message", "urgent"), s.field("app"))
	}
	w.waitTwoPolls()
	want := []any{"1", "hello 1", false, "wall", "2", "hello 2", true, "wall", "3", "hello 3", false, "wall"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("messages (-want +got)\n%s", diff)
	}
	if n := len(withSubject(w.events(), "chat.message_posted")); n != 3 {
		t.Errorf("%d messages told, 3 were posted", n)
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
	w.tenant.SetState("anna.lopez", "busy", "")
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
				t.Errorf("%s tells %q: %s", s.Subject, secret, text)
			}
		}
		if s.field("after", "team_name") != nil {
			t.Errorf("%s tells the redacted team", s.Subject)
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

// TestAvailabilityOfARemovedService must not stay as it was for ever.
func TestAvailabilityOfARemovedService(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	delete(w.env, "BPCC_SERVICES")
	w.env["BPCC_DIRECTORY_INTERVAL"] = "100ms"
	w.setAgent("anna", "ready", "")
	w.tenant.SetService(bpcctest.Service{Name: "Voice"})
	w.tenant.SetService(bpcctest.Service{Name: "Chat"})
	w.tenant.SetService(bpcctest.Service{Name: "Mail"})
	stop := w.startBridge()
	for _, name := range []string{"Voice", "Chat", "Mail"} {
		w.waitFor("availability."+name+".observed", 1)
	}
	w.tenant.RemoveService("Chat")
	if removed := w.waitFor("availability.Chat.changed", 1)[0]; removed.field("available") != nil {
		t.Errorf("available %v, want null", removed.field("available"))
	}
	stop()
	w.tenant.RemoveService("Mail")
	w.startBridge()
	if removed := w.waitFor("availability.Mail.changed", 1)[0]; removed.field("available") != nil || removed.field("after_gap") != true {
		t.Errorf("after a restart: %v", removed.Data)
	}
	if n := len(withSubject(w.events(), "availability.Chat.changed")); n != 1 {
		t.Errorf("the end of Chat is told %d times", n)
	}
}

func TestAvailabilityDebounce(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	delete(w.env, "BPCC_SERVICES")
	w.env["BPCC_AVAILABILITY_DEBOUNCE"] = "1s"
	w.setAgent("anna", "ready", "")
	w.tenant.SetService(bpcctest.Service{Name: "Voice"})
	w.startBridge()
	w.waitFor("availability.Voice.observed", 1)
	flip := func(state string) {
		checks := w.tenant.Counts().Availability
		w.tenant.SetState("anna", state, "")
		for w.tenant.Counts().Availability < checks+2 {
			<-time.After(10 * time.Millisecond)
		}
	}
	flip("not_ready")
	flip("ready") // back within the debounce: nothing happened
	flip("not_ready")
	changed := w.waitFor("availability.Voice.changed", 1)
	if len(changed) != 1 || changed[0].field("available") != false {
		t.Errorf("%d changes, the first to %v", len(changed), changed[0].field("available"))
	}
}

func TestAvailabilityFaultsStayWithTheirService(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BPCC_SERVICES"] = "Voice,Chat,Typo"
	yes := true
	w.tenant.SetService(bpcctest.Service{Name: "Voice"})
	w.tenant.SetService(bpcctest.Service{Name: "Chat"})
	w.tenant.SetAvailability("Voice", &yes)
	w.startBridge()
	var got []any
	for _, name := range []string{"Voice", "Chat", "Typo"} {
		got = append(got, w.waitFor("availability."+name+".observed", 1)[0].field("available"))
	}
	if diff := cmp.Diff([]any{true, false, false}, got); diff != "" {
		t.Errorf("available (-want +got)\n%s", diff)
	}
}

func TestAvailabilityIsUnknownWhenChecksFail(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BPCC_SERVICES"] = "Voice"
	w.tenant.SetService(bpcctest.Service{Name: "Voice"})
	w.startBridge()
	w.waitFor("availability.Voice.observed", 1)
	w.tenant.Inject(bpcctest.Fault{Path: "/check_available_agents", Status: 500, Times: -1})
	for deadline := time.Now().Add(28 * time.Second); time.Now().Before(deadline); <-time.After(time.Second) {
		if len(withSubject(w.events(), "availability.Voice.changed")) > 0 {
			t.Fatal("told before the checks had failed for 30 s")
		}
	}
	unknown := w.waitFor("availability.Voice.changed", 1)[0]
	if available, present := unknown.Data["available"]; available != nil || !present || unknown.field("previous") != false {
		t.Errorf("available %v, previous %v, want null after false", available, unknown.field("previous"))
	}
	w.tenant.ClearFaults()
	known := w.waitFor("availability.Voice.changed", 2)[1]
	if known.field("available") != false || known.field("previous") != nil {
		t.Errorf("available %v, previous %v, want false after null", known.field("available"), known.field("previous"))
	}
}

func TestThresholdOnMissingValues(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BRIDGE_THRESHOLDS"] = `[
		{"name":"hold","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":5}},
		{"name":"clear","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":5},"missing":"clear"}]`
	w.tenant.SetService(bpcctest.Service{Name: "Voice", Stats: map[string]string{"in_calls_waiting": "7"}})
	w.startBridge()
	w.waitFor("threshold.clear.Voice.raised", 1)
	w.tenant.SetServiceStat("Voice", "in_calls_waiting", "")
	w.waitFor("threshold.clear.Voice.cleared", 1)
	w.tenant.SetServiceStat("Voice", "in_calls_waiting", "none")
	w.waitFor("service.Voice.stats_changed", 2)
	if n := len(withSubject(w.events(), "threshold.hold.Voice.cleared")); n > 0 {
		t.Error("a value that is none cleared the rule that holds")
	}
}

// TestRuleOnUnsubscribedStatistic is a fault of the configuration, not a silence.
func TestRuleOnUnsubscribedStatistic(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	environ := []string{
		"BPCC_URL=" + w.env["BPCC_URL"], "BPCC_CLIENT_ID=a", "BPCC_CLIENT_SECRET=b",
		`BRIDGE_THRESHOLDS=[{"name":"hold time","kind":"agent","stat":"active_item_hold_duration","raise":{"op":">","value":5}}]`,
	}
	_, _, err := bridge.ParseConfig(environ, bridge.ForBridge)
	for _, want := range []string{`rule "hold time"`, "active_item_hold_duration", "BPCC_SUBSCRIPTION_FILE"} {
		if !errors.Is(err, bridge.ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}
