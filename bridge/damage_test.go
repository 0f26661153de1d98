package bridge_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/scan"
	"bpcc-nats/internal/natstest"
	"bpcc-nats/internal/variants"
)

// TestDamagedMessages damages messages of the stream on disk while the server is down. The next term names
// them, passes over them and leads; what it publishes follows on what can be read; a standby takes over;
// and the auditor finds nothing wrong but what cannot be read.
func TestDamagedMessages(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		damage []string // subjects whose last message is damaged
		again  string   // the event that is published again, since nobody can read it
	}{
		"last message of the stream":  {damage: []string{"feed.checkpoint"}},
		"first message":               {damage: []string{"agent.bob.observed"}},
		"a state":                     {damage: []string{"agent.anna.state_changed"}},
		"an arrival":                  {damage: []string{"agent.dora.appeared"}},
		"a departure":                 {damage: []string{"agent.bob.disappeared"}, again: "agent.bob.disappeared"},
		"the end of a term":           {damage: []string{"feed.stopped", "feed.checkpoint"}},
		"all that recovery looks for": {damage: []string{"feed.checkpoint", "feed.started", "feed.stopped", "agent.anna.state_changed", "agent.carl.observed", "agent.dora.state_changed"}},
	}
	for name, test := range variants.Select(tests, "first message", "a departure", "all that recovery looks for") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newStoreEnv(t)
			w.start()
			w.waitFor("agent.carl.observed", 1)
			w.live()
			w.stop()
			w.waitForFeed("stopped")
			all := w.readEvents()
			last := w.lastSeq()
			damaged := map[uint64]bool{}
			w.restartServer(func() {
				for _, subject := range test.damage {
					found := withSubject(all, subject)
					s := found[len(found)-1]
					natstest.FlipBit(t, w.dir, "BPCC_EVENTS", []byte(fmt.Sprintf(`"id":"%s"`, s.ID)))
					damaged[s.Seq] = true
				}
			})
			w.bridges = nil
			w.waitUntil("JetStream", func() bool {
				seq, err := scan.LastSeq(t.Context(), w.js, "BPCC_EVENTS")
				return err == nil && seq == last
			})
			w.start()
			w.waitUntil("a live feed", func() bool { return w.lastStatus(last) == "live" })
			w.tenant.SetState("carl", "supervising", "")
			w.waitUntil("the next change", func() bool {
				return len(withSubject(afterSeq(w.readDamaged(), last), "agent.carl.state_changed")) == 1
			})
			w.stop()
			got := countRestored(w.readDamaged(), last)
			for subject, n := range got {
				if subject != test.again && (strings.HasSuffix(subject, ".appeared") || strings.HasSuffix(subject, ".disappeared")) {
					t.Errorf("%d events on %s, which did not happen", n, subject)
				}
			}
			if got["agent.carl.state_changed"] != 1 {
				t.Errorf("events after the damage: %v", got)
			}
			if !strings.Contains(w.log.String(), "unreadable messages passed over") {
				t.Error("the log does not name the messages")
			}
			a, err := audit.New(audit.Options{Whole: true})
			if err != nil {
				t.Fatal(err)
			}
			next := uint64(1)
			for _, s := range w.readDamaged() {
				for ; next < s.Seq; next++ {
					a.AddUnreadable([]uint64{next})
				}
				a.Add(audit.Message{Seq: s.Seq, Stored: s.Stored, Subject: "bpcc.v1.acme." + s.Subject, Header: s.Header, Body: s.Body})
				next = s.Seq + 1
			}
			r := a.Report()
			for _, f := range r.Faults {
				if f.Code != "unreadable" || !damaged[f.Seq] {
					t.Errorf("the auditor finds %+v", f)
				}
			}
			if r.ByCode["unreadable"] != len(damaged) {
				t.Errorf("%d unreadable messages, want %d", r.ByCode["unreadable"], len(damaged))
			}
		})
	}
}

// lastStatus is the status of the last checkpoint after a sequence.
func (w *storeEnv) lastStatus(after uint64) string {
	status := ""
	for _, s := range withSubject(afterSeq(w.readDamaged(), after), "feed.checkpoint") {
		status = s.text("status")
	}
	return status
}

// readDamaged reads what the server can load of the stream.
func (w *storeEnv) readDamaged() []storedEvent {
	w.t.Helper()
	var all []storedEvent
	err := scan.All(w.t.Context(), w.js, "BPCC_EVENTS", jetstream.OrderedConsumerConfig{}, func(msg jetstream.Msg, _ uint64) error {
		all = append(all, w.decode(w.storedMessage(msg)))
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}
