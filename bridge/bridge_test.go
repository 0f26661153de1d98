package bridge_test

import (
	"fmt"
	"slices"
	"testing"

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

func TestEveryStateChangeIsPublished(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.setAgent("anna", "ready", "")
	w.startBridge()
	w.waitFor("agent.anna.observed", 1)
	states := []string{"not_ready", "ready", "not_ready"}
	for i, state := range states {
		w.tenant.SetState("anna", state, "")
		w.waitFor("agent.anna.state_changed", i+1)
	}
	changes := w.waitFor("agent.anna.state_changed", 3)
	var got []string
	for _, s := range changes {
		got = append(got, s.text("from", "state")+">"+s.text("to", "state"))
	}
	if diff := cmp.Diff([]string{"ready>not_ready", "not_ready>ready", "ready>not_ready"}, got); diff != "" {
		t.Errorf("changes (-want +got)\n%s", diff)
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
