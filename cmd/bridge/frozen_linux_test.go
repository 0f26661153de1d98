package main

import (
	"context"
	"encoding/json"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/svc"
)

// TestFrozenLeaderDoesNotAnswer stops the process of a leader until another one leads, while requests come in.
// When it goes on, it finds them all, and must answer none: what it knows is old.
func TestFrozenLeaderDoesNotAnswer(t *testing.T) {
	t.Parallel()
	binary := programFile(t)
	s := newProcessTest(t)
	yes, no := true, false
	s.tenant.SetService(bpcctest.Service{Name: "Voice"})
	s.tenant.SetAvailability("Voice", &yes)
	env := append(s.env, "BPCC_SERVICES=Voice", "BPCC_AVAILABILITY_INTERVAL=100ms", "BRIDGE_LEASE_TTL=1s")
	waitFor := func(what string, so func(svc.AvailabilityReply) bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); ; <-time.After(10 * time.Millisecond) {
			r, err := svc.AskAvailability(t.Context(), s.js.Conn(), "acme", "Voice")
			if err == nil && so(r) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("waited in vain for %s: %+v, error %v", what, r, err)
			}
		}
	}
	first := startProcess(t, binary, env)
	waitFor("an answer", func(r svc.AvailabilityReply) bool { return r.Route() && r.Feed.Epoch == 1 })
	second := startProcess(t, binary, env)
	second.waitForLog(`"msg":"standing by"`)

	// Requests whose replies all arrive here, however many there are.
	replies := make(chan *nats.Msg, 100_000)
	inbox := nats.NewInbox()
	if _, err := s.js.Conn().ChanSubscribe(inbox, replies); err != nil {
		t.Fatal(err)
	}
	ctx, stopAsking := context.WithCancel(t.Context())
	asked := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			if err := s.js.Conn().PublishRequest(svc.Subject("acme", svc.Availability), inbox, []byte(`{"service":"Voice"}`)); err != nil {
				asked <- err
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
		asked <- nil
	}()
	waitFor("an answer of the first", routeOfEpoch(1))
	first.signal(syscall.SIGSTOP)
	waitFor("an answer of the second", routeOfEpoch(2))
	s.tenant.SetAvailability("Voice", &no)
	waitFor("the change", func(r svc.AvailabilityReply) bool { return r.Feed.Epoch == 2 && r.Fresh && !*r.Available })
	first.signal(syscall.SIGCONT)
	first.waitForLog(`"msg":"stepping down"`)
	waitFor("one more answer", func(r svc.AvailabilityReply) bool { return r.Fresh })
	stopAsking()
	if err := <-asked; err != nil {
		t.Fatal(err)
	}
	if err := s.js.Conn().FlushTimeout(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	byEpoch, changed := map[uint64]int{}, false
	for len(replies) > 0 {
		msg := <-replies
		if len(msg.Data) == 0 {
			continue // nobody led, and the server says so
		}
		var r svc.AvailabilityReply
		if err := json.Unmarshal(msg.Data, &r); err != nil {
			t.Fatalf("%v in %s", err, msg.Data)
		}
		if byEpoch[r.Feed.Epoch]++; r.Feed.Epoch == 1 && byEpoch[2] > 0 {
			t.Errorf("the first leader answers after the second one: %s", msg.Data)
		}
		if changed = changed || !*r.Available; changed && r.Route() {
			t.Errorf("available after the change: %s", msg.Data)
		}
	}
	if byEpoch[1] == 0 || byEpoch[2] == 0 || len(byEpoch) != 2 || !changed {
		t.Errorf("replies by epoch: %v", byEpoch)
	}
	second.signal(syscall.SIGTERM)
	first.signal(syscall.SIGTERM)
	second.waitExit(20 * time.Second)
	first.waitExit(20 * time.Second)
}

func routeOfEpoch(epoch uint64) func(svc.AvailabilityReply) bool {
	return func(r svc.AvailabilityReply) bool { return r.Route() && r.Feed.Epoch == epoch }
}
