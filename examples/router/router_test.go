package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge"
)

func TestOnlyAFreshLiveFeedIsTrusted(t *testing.T) {
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) *time.Time { at := now.Add(-d); return &at }
	tests := map[string]struct {
		feed feed
		want string // "" = trusted
	}{
		"nothing seen yet":             {feed{}, "has not been seen"},
		"live and fresh":               {feed{Status: "live", ObservedUntil: ago(time.Second)}, ""},
		"live, at the limit":           {feed{Status: "live", ObservedUntil: ago(time.Minute)}, ""},
		"live, but old":                {feed{Status: "live", ObservedUntil: ago(time.Minute + 1)}, "older than 1m0s"},
		"live, but nothing was seen":   {feed{Status: "live"}, "older than"},
		"interrupted a moment ago":     {feed{Status: "interrupted", ObservedUntil: ago(0)}, "interrupted"},
		"the bridge died":              {feed{Status: "stale", ObservedUntil: ago(0)}, "stale"},
		"the bridge was stopped":       {feed{Status: "stopped", ObservedUntil: ago(0)}, "stopped"},
		"a word that is not known yet": {feed{Status: "resting", ObservedUntil: ago(0)}, "resting"},
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

func TestToken(t *testing.T) {
	for name, want := range map[string]string{
		"sales-1_x": "sales-1_x", "Voice Inbound": "Voice=20Inbound", "a.b": "a=2Eb", "é=*": "=C3=A9=3D=2A",
	} {
		if got := encodeToken(name); got != want {
			t.Errorf("token(%q) is %q, want %q", name, got, want)
		}
	}
}

// TestALaggingView has a view that nobody fills from the stream: what stands in
// it is what the test puts there, and so it can lag for as long as it takes.
func TestALaggingView(t *testing.T) {
	server, err := bridge.StartServer(t.TempDir(), "127.0.0.1:0")
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
	checkpoint := func(status string, age time.Duration) []byte {
		return fmt.Appendf(nil, `{"data": {"status": %q, "observed_until": %q}}`, status, time.Now().Add(-age).Format(time.RFC3339Nano))
	}
	view := func(key string, body []byte) {
		t.Helper()
		if _, err := kv.Put(ctx, "acme."+key, body); err != nil {
			t.Fatal(err)
		}
	}
	stream := func(subject string, body []byte) {
		t.Helper()
		if _, err := js.Publish(ctx, "bpcc.v1.acme."+subject, body); err != nil {
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
	const key = "availability.Voice=20Inbound"
	stream("availability.Voice=20Inbound.observed", []byte(`{"data": {"service": "Voice Inbound", "available": true}}`))
	view(key, []byte(`{"data": {"service": "Voice Inbound", "available": true}}`))
	view("feed", checkpoint("live", time.Second))
	await(true, "somebody")

	stream("feed.checkpoint", checkpoint("live", 2*time.Second))
	view("feed", checkpoint("stale", 2*time.Second))
	await(false, "the stream knows no better") // the bridge has died since

	stream("availability.Voice=20Inbound.changed", []byte(`{"data": {"service": "Voice Inbound", "available": false}}`))
	stream("feed.checkpoint", checkpoint("live", 0))
	await(false, "nobody is available") // it is back, and only the view does not know
	stream("availability.Voice=20Inbound.changed", []byte(`{"data": {"service": "Voice Inbound", "available": true}}`))
	await(true, "somebody")

	stream("feed.checkpoint", checkpoint("interrupted", 0))
	await(false, "so says the stream")
}
