package bridge_test

import (
	"strings"
	"testing"
	"time"

	"bpcc-nats/bpcc/bpcctest"
)

// TestHangingCheck lets the checks of one service hang, whatever the polls do meanwhile: that service
// is unknown as soon as its last good check is too old, changes of the other one are published at
// once, and checkpoints say until when both are checked.
func TestHangingCheck(t *testing.T) {
	t.Parallel()
	for name, data := range map[string]*bpcctest.Fault{
		"polls are good": nil,
		"polls fail":     {Status: 502, Times: -1},
		"polls hang":     {Delay: time.Minute, Times: -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTestEnv(t, bpcctest.Config{})
			w.env["BPCC_SERVICES"], w.env["BPCC_AVAILABILITY_UNKNOWN_AFTER"], w.env["BRIDGE_CHECKPOINT_INTERVAL"] = "Voice,Chat", "1s", "100ms"
			w.setAgent("anna", "ready", "")
			yes, no := true, false
			for _, service := range []string{"Voice", "Chat"} {
				w.tenant.SetService(bpcctest.Service{Name: service})
				w.tenant.SetAvailability(service, &yes)
			}
			w.startBridge()
			w.waitFor("totals.bridge.observed", 1)
			for _, service := range []string{"Voice", "Chat"} {
				if first := w.waitFor("availability."+service+".observed", 1)[0]; first.field("available") != true || first.field("reason") != nil {
					t.Errorf("first: %v", first.Data)
				}
			}
			if data != nil {
				w.tenant.Inject(*data)
			}
			w.tenant.Inject(bpcctest.Fault{Services: []string{"Voice"}, Delay: time.Minute, Times: -1})
			w.tenant.SetAvailability("Chat", &no)
			flipped := w.waitFor("availability.Chat.changed", 1)[0]
			unknown := w.waitFor("availability.Voice.changed", 1)[0]
			if flipped.Seq > unknown.Seq {
				t.Error("the other service's change is published only after the one is unknown")
			}
			if unknown.field("available") != nil || unknown.field("previous") != true || unknown.text("reason") != "timeout" {
				t.Errorf("unknown: %v", unknown.Data)
			}
			after, err := time.Parse(time.RFC3339, unknown.text("observed", "after"))
			if age := unknown.Time.Sub(after); err != nil || age < time.Second || age > 5*time.Second {
				t.Errorf("unknown %v after its last good check (%v)", age, err)
			}
			// Until then it holds back what is checked; after that the other service alone counts.
			w.waitForEvents("both services checked after the one was unknown", func(all []storedEvent) bool {
				checkpoints := withSubject(all, "feed.checkpoint")
				until, err := time.Parse(time.RFC3339, checkpoints[len(checkpoints)-1].text("availability_until"))
				return err == nil && until.After(unknown.Time)
			})
			for _, s := range withSubject(w.events(), "feed.checkpoint") {
				until, err := time.Parse(time.RFC3339, s.text("availability_until"))
				if err == nil && s.Seq < unknown.Seq && until.After(after) {
					t.Errorf("%s: checked until %v, Voice only until %v", s.ID, until, after)
				}
			}
			w.tenant.ClearFaults()
			known := w.waitFor("availability.Voice.changed", 2)[1]
			if known.field("available") != true || known.field("previous") != nil || known.field("reason") != nil {
				t.Errorf("known again: %v", known.Data)
			}
			log := w.log.String()
			if n := strings.Count(log, "availability check failed"); n != 1 || !strings.Contains(log, "reason=timeout service=Voice") {
				t.Errorf("logged %d times", n)
			}
		})
	}
}

// TestAvailabilityBetweenPolls: where polls are seldom, availability does not wait for them.
func TestAvailabilityBetweenPolls(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{NotReadyPolls: -1})
	w.env["BPCC_SERVICES"], w.env["BPCC_POLL_INTERVAL"], w.env["BPCC_AVAILABILITY_UNKNOWN_AFTER"] = "Voice", "10m", "1s"
	w.tenant.SetService(bpcctest.Service{Name: "Voice"})
	w.startBridge()
	w.waitFor("totals.bridge.observed", 1)
	w.waitFor("availability.Voice.observed", 1)
	yes := true
	w.tenant.SetAvailability("Voice", &yes)
	w.waitFor("availability.Voice.changed", 1)
	w.tenant.Inject(bpcctest.Fault{Services: []string{"Voice"}, Status: 403, Times: -1})
	if unknown := w.waitFor("availability.Voice.changed", 2)[1]; unknown.field("available") != nil || unknown.text("reason") != "refused" {
		t.Errorf("unknown: %v", unknown.Data)
	}
	if n := w.tenant.Counts().DataRequests(); n != 1 {
		t.Errorf("%d polls", n)
	}
}

// TestRetryAfterHoldsTheTenant: a server that asks the checks to wait is asked for nothing else.
func TestRetryAfterHoldsTheTenant(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{"a check": "/check_available_agents", "a directory": "/cfg/teams", "a poll": "/subscription/data"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTestEnv(t, bpcctest.Config{})
			w.waitsDividedBy = 4
			w.env["BPCC_SERVICES"], w.env["BPCC_DIRECTORY_INTERVAL"], w.env["BPCC_AVAILABILITY_UNKNOWN_AFTER"] = "Voice", "100ms", "2s"
			w.tenant.SetService(bpcctest.Service{Name: "Voice"})
			w.startBridge()
			w.waitFor("totals.bridge.observed", 1)
			w.waitFor("availability.Voice.observed", 1)
			before := w.tenant.Counts().Faults
			w.tenant.Inject(bpcctest.Fault{Path: path, Status: 429, RetryAfter: "60", Times: 1})
			w.waitUntil("it is throttled", func() bool { return w.tenant.Counts().Faults > before })
			w.waitFor("feed.interrupted", 1) // 1.25 s later, that is twelve intervals of everything
			held := w.tenant.Counts()
			unknown := w.waitFor("availability.Voice.changed", 1)[0]
			now := w.tenant.Counts()
			for what, n := range map[string]int{
				"polls": now.DataRequests() - held.DataRequests(), "checks": now.Availability - held.Availability,
				"look-ups": now.Config - held.Config, "logins": now.Logins - held.Logins,
			} {
				if n > 0 {
					t.Errorf("%d %s while the server asked to wait", n, what)
				}
			}
			if unknown.field("available") != nil || unknown.text("reason") != "throttled" {
				t.Errorf("unknown: %v", unknown.Data)
			}
			if e := w.waitFor("feed.interrupted", 1)[0].text("error"); !strings.Contains(e, "asked to wait") && !strings.Contains(e, "429") {
				t.Errorf("interrupted: %s", e)
			}
		})
	}
}
