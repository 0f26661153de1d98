package source

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/engine"
)

// TestRedactedDirectory: the directory of agents lists both ids of an agent, so it is not read where
// one of them is redacted.
func TestRedactedDirectory(t *testing.T) {
	t.Parallel()
	const key = "0123456789abcdef"
	for name, test := range map[string]struct {
		env  map[string]string
		want bool // whether it is published
	}{
		"nothing":             {nil, true},
		"other statistics":    {map[string]string{"BRIDGE_REDACT_STATS": "extension"}, true},
		"user id":             {map[string]string{"BRIDGE_REDACT_STATS": "user_id"}, false},
		"login id":            {map[string]string{"BRIDGE_REDACT_STATS": "login_id", "BRIDGE_AGENT_KEY": "user_id"}, false},
		"user id, pseudonyms": {map[string]string{"BRIDGE_REDACT_STATS": "user_id", "BRIDGE_PSEUDONYM_KEY": key}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, p, _, _ := newPollers(t, test.env)
			sim.SetAgent(bpcctest.Agent{Login: "anna", UserID: "U-1"})
			if !p.pollDirectories(t.Context()) {
				t.Fatal("a directory cannot be listed")
			}
			got, teams := false, false
			for _, s := range p.drainSnapshots() {
				got, teams = got || s.Directory == engine.Agents, teams || s.Directory == engine.Teams
			}
			if got != test.want || !teams {
				t.Errorf("agents are listed: %v, want %v; teams: %v", got, test.want, teams)
			}
		})
	}
}

// TestOrderOfObservations: where commits take longer than polls, a response and a tick wait at once. No
// observation is older than the one before it.
func TestOrderOfObservations(t *testing.T) {
	t.Parallel()
	sim := bpcctest.NewServer(bpcctest.Config{})
	t.Cleanup(sim.Close)
	c, _ := parseConfig(t, sim.URL, map[string]string{"BPCC_MAX_REQUESTS": "1000"})
	c.BPCC.PollInterval = time.Millisecond
	l, err := NewLoop(c, Options{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(l.EngineOptions("vm"))
	e.Start(time.Now())
	errEnough := errors.New("enough")
	var last time.Time
	responses, ticks := 0, 0
	err = l.Run(t.Context(), e, func(o engine.Observation, _ *engine.Batch) error {
		if o.At.Before(last) || o.At.Before(o.Received) {
			t.Errorf("observation at %v, received %v, follows one at %v", o.At, o.Received, last)
		}
		if last = o.At; errors.Is(o.Err, engine.ErrPending) {
			ticks++
		} else {
			responses++
		}
		if responses > 20 && ticks > 0 {
			return errEnough
		}
		<-time.After(2 * time.Millisecond) // the commit
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Errorf("the loop ended after %d responses and %d ticks: %v", responses, ticks, err)
	}
}
