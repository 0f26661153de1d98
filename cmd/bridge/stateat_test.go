package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/state"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/natstest"
)

// TestStateAt shows the golden day at instants before, in and after changes, and where nobody looked.
func TestStateAt(t *testing.T) {
	t.Parallel()
	_, env := serverWithDay(t)
	const day = "2026-11-23T21:"
	for name, test := range map[string]struct {
		args   []string
		want   []string
		absent []string
	}{
		"before the first observation": {
			[]string{"--at", day + "13:37Z"}, []string{"acme  at 2026-11-23T21:13:37Z  UNKNOWN  not observed then", "UNKNOWN before_first_observation", "0 agents"}, nil,
		},
		"certain": {
			[]string{"--at", day + "13:43.2Z"},
			[]string{"LIVE  observed without a gap from 2026-11-23T21:13:38Z to 2026-11-23T21:13:53Z  (epoch 1, poll 12, backtest)", "not_ready (Lunch)", "CERTAIN FROM", "2026-11-23T21:13:40Z  2026-11-23T21:13:45Z"},
			[]string{"UNKNOWN", "RAISED", "INCOMPLETE", "BEHIND", "Mail"},
		},
		"another zone": {
			[]string{"--at", "2026-11-23T23:13:43.2+02:00"}, []string{"acme  at 2026-11-23T21:13:43.2Z  LIVE"}, nil,
		},
		"changing": {
			[]string{"--at", day + "13:44Z"}, []string{"backlog  warning", "logged_out or ready", "no: changing", "no?"}, []string{"UNKNOWN"},
		},
		"rows missing": {
			[]string{"--at", day + "13:52Z"}, []string{"UNKNOWN rows_missing", "ready or absent", "no: rows_missing"}, nil,
		},
		"gap": {
			[]string{"--at", day + "14:00Z"}, []string{"INTERRUPTED  not observed then", "UNKNOWN gap: the source was not seen: source (2026-11-23T21:13:53Z to 2026-11-23T21:14:04Z)", "no: gap"}, []string{"bob"},
		},
		"after the end": {
			[]string{"--at", "1s"}, []string{"STOPPED  not observed then", "UNKNOWN stopped", "(since 2026-11-23T21:14:15Z)", "no: stopped"}, nil,
		},
		"one agent": {
			[]string{"--at", day + "13:50Z", "agent/bob"}, []string{"1 agents: 1 ready", "2026-11-23T21:13:44Z  2026-11-23T21:13:51Z"}, []string{"anna", "SERVICE"},
		},
		"one rule": {
			[]string{"--at", day + "13:47Z", "threshold/backlog/Voice Inbound"}, []string{"RAISED", "backlog", "2026-11-23T21:13:43Z  2026-11-23T21:13:49Z"}, []string{"SERVICE"},
		},
		"an agent who had left": {
			[]string{"--at", day + "13:53Z", "agent/bob"}, []string{"0 agents: none"}, []string{"bob"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := runCommand(t, t.Context(), env, append([]string{"state"}, test.args...)...)
			if r.status != exitOK || r.stderr != "" {
				t.Errorf("status %d\n%s", r.status, r.stderr)
			}
			for _, want := range test.want {
				if !strings.Contains(r.stdout, want) {
					t.Errorf("no %q in\n%s", want, r.stdout)
				}
			}
			for _, absent := range test.absent {
				if strings.Contains(r.stdout, absent) {
					t.Errorf("%q in\n%s", absent, r.stdout)
				}
			}
		})
	}
}

// TestStateAtJSON: the JSON has the fields of that of the present state, and what is certain.
func TestStateAtJSON(t *testing.T) {
	t.Parallel()
	_, env := serverWithDay(t)
	r := runCommand(t, t.Context(), env, "state", "--json", "--tenant", "acme", "--at", "2026-11-23T21:13:44Z")
	var view state.View
	if err := json.Unmarshal([]byte(r.stdout), &view); err != nil || len(view.Tenants) != 1 {
		t.Fatalf("%v\n%s%s", err, r.stdout, r.stderr)
	}
	p := view.Tenants[0]
	if !view.At.Equal(time.Date(2026, 11, 23, 21, 13, 44, 0, time.UTC)) || !p.Feed.Fresh || !p.Feed.Complete || p.Feed.Poll != 14 || p.Feed.Observed == nil || len(p.Thresholds) != 1 {
		t.Errorf("%+v %+v", view, p.Feed)
	}
	anna, bob := p.Agents[0], p.Agents[1]
	if anna.ID != "anna.lopez" || anna.Certain == nil || anna.Unknown != nil || anna.Or != nil || !strings.Contains(string(anna.Data), `"Lunch"`) {
		t.Errorf("%+v", anna)
	}
	if bob.ID != "bob" || bob.Certain != nil || bob.Unknown == nil || bob.Unknown.Reason != "changing" || len(bob.Or) != 1 || bob.Or[0].Revision != bob.Revision+1 {
		t.Errorf("%+v", bob)
	}
	var raw map[string]any
	if err := json.Unmarshal([]byte(runCommand(t, t.Context(), env, "state", "--json").stdout), &raw); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"certain", "unknown", "or", "observed", "absent"} {
		if strings.Contains(r.stdout, `"`+name+`"`) == (name == "absent") {
			t.Errorf("%s: %s", name, r.stdout)
		}
	}
}

// TestStateAtRefuses: wrong usage is status 2, and a stream without the tenant status 1.
func TestStateAtRefuses(t *testing.T) {
	t.Parallel()
	_, env := serverWithDay(t)
	for name, test := range map[string]struct {
		args   []string
		status int
		want   string
	}{
		"future":              {[]string{"--at", time.Now().Add(time.Hour).Format(time.RFC3339)}, exitUsage, "is in the future"},
		"no zone":             {[]string{"--at", "2026-11-23T21:13:44"}, exitUsage, "write the zone"},
		"no time":             {[]string{"--at", "yesterday"}, exitUsage, "want a duration"},
		"entity and no time":  {[]string{"agent/bob"}, exitUsage, "needs --at"},
		"no id":               {[]string{"--at", "1h", "agent"}, exitUsage, "want agent/ID"},
		"no such kind":        {[]string{"--at", "1h", "team/Sales"}, exitUsage, "want agent/ID"},
		"rule without entity": {[]string{"--at", "1h", "threshold/backlog"}, exitUsage, "threshold/RULE/ENTITY"},
		"two entities":        {[]string{"--at", "1h", "agent/bob", "agent/ann"}, exitUsage, "unexpected argument"},
		"no such tenant":      {[]string{"--at", "1h", "--tenant", "umbrella"}, exitFailed, "no checkpoint of tenant umbrella"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := runCommand(t, t.Context(), env, append([]string{"state"}, test.args...)...)
			if r.status != test.status || !strings.Contains(r.stderr, test.want) {
				t.Errorf("status %d, want %d and %q\n%s", r.status, test.status, test.want, r.stderr)
			}
		})
	}
}

// TestStateAtOfMirrorAndStore reads a mirror of the stream, and the store of a bridge that is stopped.
func TestStateAtOfMirrorAndStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server, err := stream.StartServer(dir, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	js := natstest.Connect(t, server.URL())
	env := []string{"NATS_URL=" + server.URL()}
	storeDay(t, js, env)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "COPY", Mirror: &jetstream.StreamSource{Name: "BPCC_EVENTS"}}); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, func() bool {
		copied, err := js.Stream(t.Context(), "COPY")
		return err == nil && copied.CachedInfo().State.LastSeq == uint64(len(goldenDay(t)))
	}, func() string { return "the mirror" })
	args := []string{"state", "--at", "2026-11-23T21:13:50Z", "agent/bob"}
	want := runCommand(t, t.Context(), env, args...)
	if got := runCommand(t, t.Context(), append(env, "BRIDGE_STREAM=COPY"), args...); got.status != exitOK || got.stdout != want.stdout || !strings.Contains(got.stdout, "ready") {
		t.Errorf("of the mirror: status %d\n%s%s", got.status, got.stdout, got.stderr)
	}
	js.Conn().Close()
	server.Close()
	if got := runCommand(t, t.Context(), []string{"BRIDGE_STORE_DIR=" + dir}, args...); got.status != exitOK || got.stdout != want.stdout {
		t.Errorf("of the store: status %d\n%s%s", got.status, got.stdout, got.stderr)
	}
}
