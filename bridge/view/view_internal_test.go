package view

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/bridgetest"
	"bpcc-nats/internal/natstest"
)

// TestViewLag measures a view that takes what comes, and one that stands still:
// the server itself calls the lag of the second 0.
func TestViewLag(t *testing.T) {
	t.Parallel()
	js := natstest.Connect(t, natstest.StartAny(t))
	c := bridgetest.StreamConfig(t, 1)
	if _, err := stream.Provision(t.Context(), js, c.Stream, c.Times(), nil); err != nil {
		t.Fatal(err)
	}
	publish := func(n int) {
		t.Helper()
		for range n {
			if _, err := js.Publish(t.Context(), "bpcc.v1.acme.feed.checkpoint", []byte("{}")); err != nil {
				t.Fatal(err)
			}
		}
	}
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	v := &Monitor{js: js, config: c.Stream, timing: c.Times(), log: slog.New(slog.DiscardHandler), now: func() time.Time { return now }}
	measure := func() Lag {
		t.Helper()
		if err := v.measureLag(t.Context()); err != nil {
			t.Fatal(err)
		}
		return v.Lag()
	}
	publish(20)
	bridgetest.WaitUntil(t, "a view that has caught up", func() bool { return measure() == Lag{} })

	// What the view does not source, and what it sources from the watchdog, is no lag.
	for _, subject := range []string{"bpcc.v1.foreign", "bpcc.watchdog.acme.stale"} {
		if _, err := js.Publish(t.Context(), subject, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	bridgetest.WaitUntil(t, "a view that has sourced the watchdog", func() bool {
		view, err := js.Stream(t.Context(), stream.ViewStream(c.Stream))
		if err != nil {
			t.Fatal(err)
		}
		last, err := view.GetLastMsgForSubject(t.Context(), stream.ViewPrefix(c.Stream)+"acme.feed")
		if err != nil {
			t.Fatal(err)
		}
		return strings.HasPrefix(last.Header.Get("Nats-Stream-Source"), stream.WatchdogStream(c.Stream)+" ")
	})
	if got := measure(); got != (Lag{}) {
		t.Errorf("lag %+v of a view that has all, want none", got)
	}
	if behind, err := Behind(t.Context(), js, c.Stream, 5*time.Second); err != nil || behind > 0 {
		t.Errorf("view is %d behind (%v), want 0", behind, err)
	}

	if err := js.DeleteStream(t.Context(), stream.ViewStream(c.Stream)); err != nil {
		t.Fatal(err)
	}
	stalled := stream.Configs(c.Stream)[2]
	stalled.Sources = []*jetstream.StreamSource{{Name: c.Stream.Name, OptStartSeq: 1_000_000}}
	if _, err := js.CreateStream(t.Context(), stalled); err != nil {
		t.Fatal(err)
	}
	publish(5)
	measure()
	now = now.Add(30 * time.Second)
	if got, want := measure(), (Lag{Events: 26, StalledFor: 30 * time.Second}); got != want {
		t.Errorf("lag %+v, want %+v", got, want)
	}
	if !v.stalledLogged || !v.lastStepDown.Equal(now) {
		t.Error("a stalled view was not logged")
	}
}

// TestViewLeaderStepsDown makes the leader of a replicated view step down.
func TestViewLeaderStepsDown(t *testing.T) {
	t.Parallel()
	js, c := natstest.Connect(t, natstest.StartCluster(t)), bridgetest.StreamConfig(t, 3)
	bridgetest.WaitUntil(t, "the streams", func() bool {
		_, err := stream.Provision(t.Context(), js, c.Stream, c.Times(), nil)
		return err == nil
	})
	leader := func() string {
		stream, err := js.Stream(t.Context(), stream.ViewStream(c.Stream))
		if err != nil || stream.CachedInfo().Cluster == nil {
			return "" // between two leaders
		}
		return stream.CachedInfo().Cluster.Leader
	}
	v := &Monitor{js: js, config: c.Stream, timing: c.Times(), log: slog.New(slog.DiscardHandler), now: time.Now}
	before := leader()
	if err := v.stepDownLeader(t.Context(), Lag{Events: 1, StalledFor: viewStallTimeout}, 3); err != nil {
		t.Fatal(err)
	}
	bridgetest.WaitUntil(t, "another leader of the view than "+before, func() bool { now := leader(); return now != before && now != "" })
}
