package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/stream"
)

func TestOnlyAFreshLiveFeedIsTrusted(t *testing.T) {
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) event.Time { return event.Time{Time: now.Add(-d)} }
	tests := map[string]struct {
		feed feed
		want string // "" = trusted
	}{
		"nothing seen yet":             {feed{}, "has not been seen"},
		"live and fresh":               {feed{status: "live", observedUntil: ago(time.Second)}, ""},
		"live, at the limit":           {feed{status: "live", observedUntil: ago(time.Minute)}, ""},
		"live, but old":                {feed{status: "live", observedUntil: ago(time.Minute + 1)}, "older than 1m0s"},
		"live, but nothing was seen":   {feed{status: "live"}, "older than"},
		"interrupted a moment ago":     {feed{status: "interrupted", observedUntil: ago(0)}, "interrupted"},
		"the bridge died":              {feed{status: "stale", observedUntil: ago(0)}, "stale"},
		"the bridge was stopped":       {feed{status: "stopped", observedUntil: ago(0)}, "stopped"},
		"a word that is not known yet": {feed{status: "resting", observedUntil: ago(0)}, "resting"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := test.feed.staleReason(now, time.Minute)
			if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
				t.Errorf("stale is %q, want %q in it", got, test.want)
			}
		})
	}
}

func TestUnknownAvailabilityIsNoAvailability(t *testing.T) {
	yes, no := true, false
	for available, want := range map[*bool]bool{&yes: true, &no: false, nil: false} {
		if d := decide(available); d.Route != want {
			t.Errorf("available %v: %+v", available, d)
		}
	}
}

// TestALaggingView has a view that no server fills from the stream: it holds what
// the test puts there, and so it can lag for as long as it takes.
func TestALaggingView(t *testing.T) {
	server, err := stream.StartServer(t.TempDir(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	nc, err := nats.Connect(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "BPCC_EVENTS", Subjects: []string{"bpcc.v1.>"}, AllowDirect: true}); err != nil {
		t.Fatal(err)
	}
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "bpcc_state"})
	if err != nil {
		t.Fatal(err)
	}
	encoder := event.NewEncoder("test")
	poll := uint64(0)
	// newMessage gives an event its id, and the message that holds it.
	newMessage := func(name string, base *event.Base, data event.Data) *nats.Msg {
		t.Helper()
		poll++
		*base = event.Base{Tenant: "acme", Poll: poll}
		e := event.Event{ID: event.ID{Epoch: 1, Poll: poll, Index: 1}, Name: name, Time: time.Now(), Data: data}
		body, err := encoder.Append(nil, &e)
		if err != nil {
			t.Fatal(err)
		}
		return &nats.Msg{Subject: e.Subject(), Data: body, Header: nats.Header{nats.MsgIdHdr: {e.MsgID()}}}
	}
	checkpoint := func(status string, age time.Duration) *nats.Msg {
		d := &event.CheckpointData{Status: status, Epoch: 1, Part: 1, Parts: 1, ObservedUntil: event.Floor(time.Now().Add(-age))}
		return newMessage(event.Checkpoint, &d.Base, d)
	}
	availability := func(verb string, yes bool) *nats.Msg {
		d := &event.AvailabilityChangedData{}
		d.Service, d.Available, d.Revision = "Voice Inbound", &yes, 1
		if verb == "observed" {
			return newMessage("availability.observed", &d.Base, &d.AvailabilityObservedData)
		}
		return newMessage("availability.changed", &d.Base, d)
	}
	view := func(m *nats.Msg) {
		t.Helper()
		if _, err := kv.Put(ctx, "acme."+event.ViewKey(strings.TrimPrefix(m.Subject, event.Prefix("acme"))), m.Data); err != nil {
			t.Fatal(err)
		}
	}
	stream := func(m *nats.Msg) {
		t.Helper()
		if _, err := js.PublishMsg(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	router, err := OpenRouter(ctx, js, "acme", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	following, stop := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- router.Follow(following) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	// await decides until the decision is as wanted, for the watcher takes a moment.
	await := func(route bool, reason string) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; {
			d := router.Decide(ctx, "Voice Inbound")
			if d.Route == route && strings.Contains(d.Reason, reason) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the decision stays %+v, want route %v since %q", d, route, reason)
			}
		}
	}
	first := availability("observed", true)
	stream(first)
	view(first)
	view(checkpoint("live", time.Second))
	await(true, "an agent is available")

	stream(checkpoint("live", 2*time.Second))
	view(checkpoint("stale", 2*time.Second))
	await(false, "the stream has no newer checkpoint") // the bridge has died since

	stream(availability("changed", false))
	stream(checkpoint("live", 0))
	await(false, "no agent is available") // it is back, and only the view lags
	stream(availability("changed", true))
	await(true, "an agent is available")

	stream(checkpoint("interrupted", 0))
	await(false, "the stream agrees")

	// What another program writes is no answer, in the view or in the stream.
	view(checkpoint("live", 0))
	await(true, "an agent is available")
	view(&nats.Msg{Subject: first.Subject, Data: []byte(`{"data": {"service": "Voice Inbound", "available": true}}`)})
	await(false, "availability is unknown")
	view(first)
	await(true, "an agent is available")
	view(&nats.Msg{Subject: event.Prefix("acme") + event.Checkpoint, Data: []byte("x")})
	stream(&nats.Msg{Subject: event.Prefix("acme") + event.Checkpoint, Data: []byte("x")})
	await(false, "not an event of the bridge")
}
