package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/natstest"
)

// chainedDay is the golden day, with chains.
func chainedDay(t *testing.T) (all []*nats.Msg) {
	t.Helper()
	var c event.Chain
	c.Begin("", "", nil)
	for _, line := range goldenDay(t) {
		var e struct{ ID, Type, Subject string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		m := nats.NewMsg(subjectOf(e.Type, e.Subject))
		m.Header.Set(nats.MsgIdHdr, e.ID)
		m.Header.Set("Content-Type", event.ContentType)
		if strings.Contains(e.Type, ".disappeared.") {
			m.Header.Set("KV-Operation", "DEL")
		}
		if m.Data = []byte(line); strings.HasSuffix(m.Subject, event.Checkpoint) {
			m.Data = []byte(strings.TrimSuffix(line, "}}") + `,"chain":"` + c.Sum() + `"}}`)
			c.Begin(m.Subject, e.ID, m.Data)
		} else {
			c.Add([]byte(m.Subject), []byte(e.ID), m.Data)
		}
		all = append(all, m)
	}
	return all
}

// TestHead keeps the newest checkpoint, and finds by it that a stream holds another history.
func TestHead(t *testing.T) {
	t.Parallel()
	start := func(messages []*nats.Msg) []string {
		t.Helper()
		server, err := stream.StartServer(t.TempDir(), "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
		env := []string{"NATS_URL=" + server.URL()}
		if r := runCommand(t, t.Context(), env, "provision"); r.status != exitOK {
			t.Fatal(r.stderr)
		}
		js := natstest.Connect(t, server.URL())
		for _, m := range messages {
			if _, err := js.PublishMsg(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		return env
	}
	day := chainedDay(t)
	env := start(day)
	r := runCommand(t, t.Context(), env, "head")
	var head event.Head
	if err := json.Unmarshal([]byte(r.stdout), &head); err != nil || !head.Valid() || head.Tenant != "acme" || head.ID != day[len(day)-1].Header.Get(nats.MsgIdHdr) {
		t.Fatalf("%v: %+v\n%s", err, head, r.stderr)
	}
	heads := writeFile(t, "heads.json", []byte(r.stdout+r.stdout))
	if r := runCommand(t, t.Context(), env, "verify", "--head", heads); r.status != exitOK || !strings.Contains(r.stdout, "SOUND") {
		t.Errorf("%+v", r)
	}
	for name, test := range map[string]struct {
		env    []string
		args   []string
		status int
		want   string
	}{
		"the end is gone":            {start(day[:len(day)-3]), []string{"verify", "--head", heads}, exitFailed, "does not hold this head"},
		"no public key":              {env, []string{"verify", "--signed-by", "UBIQQPOOLPIWE5ADC2EVXNI6NAMRL2ETTUETIHYZGRDMIIRNGYVEZQWZ"}, exitUsage, "not a public nkey"},
		"no file":                    {env, []string{"verify", "--head", "nowhere.json"}, exitUsage, "nowhere.json"},
		"not what head prints":       {env, []string{"verify", "--head", writeFile(t, "x.json", []byte(`{"id":"acme-1-1-2"}`))}, exitUsage, "want the lines that bridge head prints"},
		"nothing":                    {env, []string{"verify", "--head", writeFile(t, "x.json", nil)}, exitUsage, "want the lines that bridge head prints"},
		"a tenant that is not there": {env, []string{"head", "--tenant", "umbrella"}, exitFailed, "umbrella"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := runCommand(t, t.Context(), test.env, test.args...)
			if r.status != test.status || !strings.Contains(r.stdout+r.stderr, test.want) {
				t.Errorf("status %d\n%s%s", r.status, r.stdout, r.stderr)
			}
		})
	}
	_, old := serverWithDay(t)
	if r := runCommand(t, t.Context(), old, "head"); r.status != exitFailed || !strings.Contains(r.stderr, "no checkpoint with a chain") {
		t.Errorf("of an early version: %+v", r)
	}
}
