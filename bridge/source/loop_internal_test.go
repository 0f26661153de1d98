package source

import (
	"log/slog"
	"testing"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/config"
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
			sim := bpcctest.NewServer(bpcctest.Config{})
			t.Cleanup(sim.Close)
			sim.SetAgent(bpcctest.Agent{Login: "anna", UserID: "U-1"})
			environ := []string{"BPCC_URL=" + sim.URL, "BPCC_CLIENT_ID=sim", "BPCC_CLIENT_SECRET=sim-secret"}
			for name, value := range test.env {
				environ = append(environ, name+"="+value)
			}
			c, _, err := config.Parse(environ, config.ForSource)
			if err != nil {
				t.Fatal(err)
			}
			l, err := NewLoop(c, Options{}, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			if err := l.session.Login(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !l.directory.pollDirectories(t.Context()) {
				t.Fatal("a directory cannot be listed")
			}
			got, teams := false, false
			for _, s := range l.directory.drainSnapshots() {
				got, teams = got || s.Directory == engine.Agents, teams || s.Directory == engine.Teams
			}
			if got != test.want || !teams {
				t.Errorf("agents are listed: %v, want %v; teams: %v", got, test.want, teams)
			}
		})
	}
}
