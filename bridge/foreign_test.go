package bridge_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge"
	"bpcc-nats/bridge/view"
)

// publishForeign publishes what no bridge has written on one of the tenant's subjects.
func (w *testEnv) publishForeign(subject string, body []byte, header nats.Header) {
	w.t.Helper()
	msg := &nats.Msg{Subject: "bpcc.v1.acme." + subject, Data: body, Header: header}
	ack, err := w.js.PublishMsg(w.t.Context(), msg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.foreignSeqs[ack.Sequence] = true
}

// publishHigherEpochCheckpoint writes a checkpoint as another bridge would that has taken the feed over.
func (w *testEnv) publishHigherEpochCheckpoint() {
	w.t.Helper()
	all := withSubject(w.readEvents(), "feed.checkpoint")
	last := all[len(all)-1]
	var epoch, poll int
	if _, err := fmt.Sscanf(last.ID, "acme-%d-%d-", &epoch, &poll); err != nil {
		w.t.Fatal(err)
	}
	text := string(last.Body)
	for _, change := range [][2]string{
		{`"id":"[^"]*"`, fmt.Sprintf(`"id":"acme-%d-%d-1"`, epoch+1, poll+1)},
		{`"poll":\d+`, fmt.Sprintf(`"poll":%d`, poll+1)},
		{`"epoch":\d+`, fmt.Sprintf(`"epoch":%d`, epoch+1)},
		{`"events":\d+`, `"events":0`},
		{`"follows":"[^"]*"`, fmt.Sprintf(`"follows":%q`, last.ID)},
	} {
		text = regexp.MustCompile(change[0]).ReplaceAllString(text, change[1])
	}
	var e struct{ ID string }
	if err := json.Unmarshal([]byte(text), &e); err != nil || e.ID == last.ID {
		w.t.Fatal("cannot make another's checkpoint of ", last.ID, err)
	}
	msg := &nats.Msg{Subject: "bpcc.v1.acme.feed.checkpoint", Data: []byte(text), Header: nats.Header{}}
	msg.Header.Set("Nats-Msg-Id", e.ID)
	msg.Header.Set("Content-Type", "application/cloudevents+json")
	if _, err := w.js.PublishMsg(w.t.Context(), msg); err != nil {
		w.t.Fatal(err)
	}
}

// fenceUntilEnd writes checkpoints as another bridge would that has no lease, one in each term, until
// the bridge ends, and returns how many.
func (w *testEnv) fenceUntilEnd(p *runningFleet) (terms int) {
	w.t.Helper()
	for {
		terms++
		led := strings.Count(w.log.String(), "msg=subscribed") // after its first batch
		w.publishHigherEpochCheckpoint()
		w.tenant.SetState("anna", []string{"supervising", "ready"}[terms%2], "")
		var err error
		w.waitUntil("the end, or another term", func() bool {
			select {
			case err = <-p.ended:
				return true
			default:
				return strings.Count(w.log.String(), "msg=subscribed") > led
			}
		})
		if err != nil {
			if !errors.Is(err, bridge.ErrFenced) {
				w.t.Errorf("it ends with %v; want to be fenced", err)
			}
			return terms
		}
	}
}

// foreignBodies is what people and programs put on subjects that are not theirs.
func foreignBodies(t *testing.T) map[string][]byte {
	t.Helper()
	event := func(typ, tenant, data string) []byte {
		return []byte(`{"specversion":"1.0","id":"` + tenant + `-9-900-1","source":"x","type":"` + typ + `","time":"2026-11-23T10:00:02Z",` +
			`"data":{"tenant":"` + tenant + `","poll":900,"epoch":9,"revision":900,"status":"live",` + data + `}}`)
	}
	return map[string][]byte{
		"no JSON":           []byte("junk"),
		"empty":             nil,
		"not an object":     []byte("[1,2]"),
		"null":              []byte("null"),
		"no fields of ours": []byte(`{"hello":"world"}`),
		"other types":       []byte(`{"id":7,"type":[],"data":"x"}`),
		"foreign event":     event("com.example.thing.v1", "acme", `"after":{"a":"b"}`),
		"another tenant":    event("bpcc.agent.state_changed.v1", "umbrella", `"agent":{"id":"anna"},"after":{"acd_state":"supervising"}`),
		"another subject":   event("bpcc.agent.state_changed.v1", "acme", `"agent":{"id":"someone"},"after":{"acd_state":"supervising"}`),
		"no image":          event("bpcc.agent.state_changed.v1", "acme", `"agent":{"id":"anna"}`),
		"huge":              bytes.Repeat([]byte("x"), 200_000),
	}
}

// foreignSubjects are subjects that recovery reads, and some that are not used.
var foreignSubjects = []string{
	"agent.anna.state_changed", "agent.anna.observed", "agent.anna.stats_changed", "agent.nobody.state_changed", "agent.anna.hello",
	"service.Voice.stats_changed", "availability.Voice.changed", "availability.Voice.observed",
	"totals.bridge.stats_changed", "threshold.backlog.Voice.raised", "threshold.backlog.Voice.cleared",
	"other.Voice.changed", "directory.agents.changed", "directory.services.changed", "chat.message_posted",
	"feed.checkpoint", "feed.interrupted", "feed.resumed", "feed.started", "hello", "agent.*.state_changed",
}

func newForeignMessageEnv(t *testing.T) *testEnv {
	t.Helper()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BPCC_SERVICES"], w.env["BPCC_DIRECTORY_INTERVAL"] = "Voice", "200ms"
	w.env["BRIDGE_THRESHOLDS"] = `[{"name":"backlog","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":1},"clear":{"op":"<=","value":0}}]`
	w.tenant.SetService(bpcctest.Service{Name: "Voice", Stats: map[string]string{"in_calls_waiting": "3"}})
	w.setAgent("anna", "ready", "")
	w.setAgent("bob", "ready", "")
	return w
}

// TestForeignMessages puts every kind of junk on every subject, each of which ends with another
// kind each time, while a leader runs, while a standby reads along, and before a start. Nothing of it may be taken for an
// event, and what the tenant shows goes on without a seam: the harness checks
// revisions, joins and checkpoints, and that the auditor names the junk alone.
func TestForeignMessages(t *testing.T) {
	t.Parallel()
	w := newForeignMessageEnv(t)
	stop := w.startBridge()
	w.waitFor("agent.anna.observed", 1)
	w.waitFor("threshold.backlog.Voice.raised", 1)
	w.waitFor("directory.agents.changed", 1)
	w.waitFor("availability.Voice.observed", 1)
	bodies := foreignBodies(t)
	kinds := slices.Sorted(maps.Keys(bodies))
	round := 0
	publishAll := func() {
		round++
		for i, subject := range foreignSubjects {
			for k := range kinds {
				kind := kinds[(i+k+5*round)%len(kinds)]
				if kind == "huge" && (i+round)%4 > 0 {
					continue // all of them would take long to read
				}
				w.publishForeign(subject, bodies[kind], nil)
			}
		}
	}
	// A leader that runs neither stumbles nor gives its term up.
	publishAll()
	w.tenant.SetState("anna", "supervising", "")
	w.waitFor("agent.anna.state_changed", 1)
	for _, kind := range kinds {
		w.publishForeign("feed.checkpoint", bodies[kind], nil)
	}
	w.tenant.SetState("anna", "not_ready", "Lunch")
	w.waitFor("agent.anna.state_changed", 2)
	if n := len(withSubject(w.events(), "feed.started")); n != 1 {
		t.Errorf("the leader began %d terms; want the one", n)
	}

	// A standby reads along and takes over.
	standby := w.startBridge()
	w.waitUntil("a standby that has read all", func() bool { return strings.Contains(w.log.String(), "standing by") })
	publishAll()
	stop()
	w.waitFor("feed.started", 2)
	w.tenant.SetState("anna", "ready", "")
	w.waitFor("agent.anna.state_changed", 3)
	standby()

	// A start that finds nothing but junk at the end of every subject.
	publishAll()
	publishAll()
	again := w.startBridge()
	w.waitFor("feed.started", 3)
	w.tenant.SetState("bob", "supervising", "")
	w.waitFor("agent.bob.state_changed", 1)
	again()

	all := w.events()
	for subject, want := range map[string]int{
		"agent.anna.observed": 1, "agent.anna.appeared": 0, "agent.anna.disappeared": 0, "agent.anna.state_changed": 3,
		"agent.bob.observed": 1, "agent.bob.appeared": 0, "service.Voice.observed": 1, "service.Voice.appeared": 0, "totals.bridge.observed": 1,
		"availability.Voice.observed": 1, "threshold.backlog.Voice.raised": 1, "threshold.backlog.Voice.cleared": 0,
		"directory.agents.changed": 1,
	} {
		if got := len(withSubject(all, subject)); got != want {
			t.Errorf("%d events on %s; want %d", got, subject, want)
		}
	}
	if log := w.log.String(); !strings.Contains(log, "not an event of the bridge") || !strings.Contains(log, "bpcc.v1.acme.agent.anna") ||
		strings.Contains(log, "cannot be read") || strings.Contains(log, "xxxxxxxxxx") {
		t.Error("the log does not name what was passed over, or repeats it")
	}
	if n := strings.Count(w.log.String(), "ignored a foreign message"); n > 3*6 {
		t.Errorf("%d messages are logged by name: too many", n)
	}
}

// TestForeignMessageBeforeTheFence lets a foreign message and another's checkpoint stand beyond the
// fence: the one is ignored, and does not hide the other.
func TestForeignMessageBeforeTheFence(t *testing.T) {
	t.Parallel()
	w := newTestEnvOn(t, bpcctest.Config{}, startServer(t))
	w.setAgent("anna", "ready", "")
	w.provisionStreams()
	running := w.runFleet(w.js)
	w.waitFor("agent.anna.observed", 1)
	w.publishForeign("feed.checkpoint", []byte("junk"), nil)
	w.publishHigherEpochCheckpoint()
	w.publishForeign("feed.checkpoint", []byte("junk"), nil)
	w.tenant.SetState("anna", "supervising", "")
	// What the first term has not stored the next one does, behind the other's epoch.
	w.waitFor("agent.anna.state_changed", 1)
	all := w.readEvents()
	if first := withSubject(all, "agent.anna.state_changed")[0]; !strings.HasPrefix(first.ID, "acme-3-") {
		t.Errorf("the change is %s; want it of the third epoch", first.ID)
	}
	// One in each term is a writer without the lease.
	if terms := w.fenceUntilEnd(running); terms != 2 {
		t.Errorf("it ends after %d more; want 2", terms)
	}
}

// TestManyForeignMessages buries the last checkpoint and an agent's last event under so
// many foreign messages that they are looked for in several steps.
func TestManyForeignMessages(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.setAgent("anna", "ready", "")
	stop := w.startBridge()
	w.waitFor("agent.anna.observed", 1)
	w.tenant.SetState("anna", "supervising", "")
	w.waitFor("agent.anna.state_changed", 1)
	stop()
	for range 1500 {
		for _, subject := range []string{"feed.checkpoint", "agent.anna.state_changed"} {
			if _, err := w.js.PublishAsync("bpcc.v1.acme."+subject, []byte("junk")); err != nil {
				t.Fatal(err)
			}
		}
	}
	select {
	case <-w.js.PublishAsyncComplete():
	case <-time.After(testTimeout):
		t.Fatal("the junk is not stored")
	}
	before := w.lastSeq()
	for seq := before - 2999; seq <= before; seq++ {
		w.foreignSeqs[seq] = true
	}
	stop = w.startBridge()
	w.waitFor("feed.started", 2)
	w.tenant.SetState("anna", "ready", "")
	w.waitFor("agent.anna.state_changed", 2)
	stop()
	if n := len(withSubject(w.events(), "agent.anna.appeared")); n != 0 {
		t.Errorf("the agent appears %d times; want never", n)
	}
}

// TestForeignEntryInTheView reads a view in which junk has taken the place of entries,
// and purges one as the log advises.
func TestForeignEntryInTheView(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.setAgent("anna", "ready", "")
	w.setAgent("bob", "ready", "")
	stop := w.startBridge()
	w.waitFor("agent.bob.observed", 1)
	w.publishForeign("agent.bob.state_changed", []byte("junk"), nil)
	w.publishForeign("agent.nobody.state_changed", []byte(`{"type":"x"}`), nil)
	measure := func() (good, bad map[string]bool) {
		good, bad = map[string]bool{}, map[string]bool{}
		ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
		defer cancel()
		entries, err := view.Read(ctx, w.js, w.config().Stream, "", 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Err == nil {
				good[e.Key] = true
			} else {
				bad[e.Key] = true
			}
		}
		return good, bad
	}
	w.waitUntil("the view to take the junk", func() bool {
		good, bad := measure()
		return good["agent.anna"] && good["feed"] && bad["agent.bob"] && bad["agent.nobody"]
	})
	w.tenant.SetState("bob", "supervising", "")
	w.waitUntil("an event in its place", func() bool { good, _ := measure(); return good["agent.bob"] })
	view, err := w.js.Stream(t.Context(), "KV_bpcc_state")
	if err != nil {
		t.Fatal(err)
	}
	if err := view.Purge(t.Context(), jetstream.WithPurgeSubject("$KV.bpcc_state.acme.agent.nobody")); err != nil {
		t.Fatal(err)
	}
	if _, bad := measure(); len(bad) > 0 {
		t.Errorf("after the purge %v cannot be read", bad)
	}
	stop()
}

// TestForeignMessageOnThePage opens the live page over junk: it shows the rest.
func TestForeignMessageOnThePage(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.setAgent("anna", "ready", "")
	w.setAgent("bob", "ready", "")
	stop := w.startBridge()
	w.waitForFeed("live")
	bob := w.waitFor("agent.bob.observed", 1)[0]
	stop()
	w.publishForeign("agent.bob.observed", bob.Body, nil) // without the id of an event
	for _, subject := range []string{"agent.bob.state_changed", "agent.anna.hello.more", "service.Voice.stats_changed", "feed.interrupted", "feed.checkpoint"} {
		w.publishForeign(subject, []byte("junk"), nil)
		w.publishForeign(subject, []byte(`{"data":{"status":"live"}}`), nil)
	}
	w.waitUntil("the view to take the junk", func() bool {
		bad := 0
		entries, err := view.Read(t.Context(), w.js, w.config().Stream, "", 10*time.Second)
		for _, e := range entries {
			if e.Err != nil {
				bad++
			}
		}
		return err == nil && bad == 4
	})
	live := openSSE(t, w.servePage().URL+"/live/events")
	var hello struct{ Interrupted json.RawMessage }
	live.nextEvent("hello", &hello)
	if hello.Interrupted != nil {
		t.Errorf("interrupted: %s", hello.Interrupted)
	}
	var view []pageEntry
	live.nextEvent("snapshot", &view)
	keys := map[string]bool{}
	for _, e := range view {
		keys[e.Key] = true
	}
	if !keys["agent.anna"] || keys["agent.bob"] || keys["service.Voice"] || keys["feed"] {
		t.Errorf("the snapshot has %v", keys)
	}
	var backlog []pageEntry
	live.nextEvent("events", &backlog)
	for _, e := range backlog {
		if w.foreignSeqs[e.Seq] {
			t.Errorf("the page shows %+v", e)
		}
	}
	var heartbeat struct{ Feed json.RawMessage }
	live.nextEvent("heartbeat", &heartbeat)
	if heartbeat.Feed != nil {
		t.Errorf("the feed is said to be %s", heartbeat.Feed)
	}
	again := w.startBridge()
	w.tenant.SetState("bob", "supervising", "")
	live.waitForEntry("events", func(e pageEntry) bool { return e.Key == "agent.bob" })
	again()
}
