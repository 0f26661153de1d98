package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/page"
	"bpcc-nats/bridge/state"
)

// TestState shows the end of the golden day, which is stopped and long ago.
func TestState(t *testing.T) {
	t.Parallel()
	js, env := serverWithDay(t)
	r := runCommand(t, t.Context(), env, "state")
	if r.status != exitOK {
		t.Fatalf("status %d\n%s", r.status, r.stderr)
	}
	if r.stderr != "" { // the view has directories, too
		t.Errorf("stderr: %s", r.stderr)
	}
	for _, want := range []string{"acme  STOPPED", "do not trust", "Voice Inbound", "WAITING", "anna.lopez", "2 agents: 1 ready, 1 busy", "TOTALS"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("no %q in\n%s", want, r.stdout)
		}
	}
	for _, absent := range []string{"bob", "RAISED", "BEHIND", "\x1b"} {
		if strings.Contains(r.stdout, absent) {
			t.Errorf("%q in\n%s", absent, r.stdout)
		}
	}
	var view state.View
	j := runCommand(t, t.Context(), env, "state", "--json", "--tenant", "acme")
	if err := json.Unmarshal([]byte(j.stdout), &view); err != nil || len(view.Tenants) != 1 || len(view.Tenants[0].Agents) != 2 || view.Tenants[0].Feed.Fresh {
		t.Errorf("%v\n%s", err, j.stdout)
	}
	if other := runCommand(t, t.Context(), env, "state", "--tenant", "umbrella"); other.status != exitFailed || !strings.Contains(other.stderr, "umbrella") {
		t.Errorf("status %d\n%s", other.status, other.stderr)
	}
	// A view that lags is worse than none: it looks like the present.
	if err := js.DeleteStream(t.Context(), "KV_bpcc_state"); err != nil {
		t.Fatal(err)
	}
	if none := runCommand(t, t.Context(), env, "state"); none.status != exitFailed || !strings.Contains(none.stderr, "bpcc_state") {
		t.Errorf("status %d\n%s", none.status, none.stderr)
	}
}

// TestStateIsTheSameOverHTTP compares `bridge state --json` with GET /api/state.
func TestStateIsTheSameOverHTTP(t *testing.T) {
	t.Parallel()
	js, env := serverWithDay(t)
	c, _, err := config.Parse(append(env, "BRIDGE_TENANT=acme"), config.ForStream)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "/api/state", nil)
	r.Host = "127.0.0.1:8080"
	response := httptest.NewRecorder()
	page.New(js, c, slog.New(slog.DiscardHandler)).ServeHTTP(response, r)
	views := make([]state.View, 2)
	for i, body := range []string{runCommand(t, t.Context(), env, "state", "--json").stdout, response.Body.String()} {
		if err := json.Unmarshal([]byte(body), &views[i]); err != nil {
			t.Fatalf("%v\n%s", err, body)
		}
		views[i].At = time.Time{}
		for _, tenant := range views[i].Tenants {
			tenant.Feed.AgeSeconds = 0
			for _, list := range [][]state.Entry{tenant.Agents, tenant.Services, tenant.Totals, tenant.Availability, tenant.Thresholds} {
				for i := range list {
					list[i].Data = json.RawMessage(compactJSON(t, list[i].Data))
				}
			}
		}
	}
	if d := cmp.Diff(views[0], views[1], cmpopts.IgnoreFields(state.Entry{}, "Event")); d != "" || len(views[0].Tenants) == 0 {
		t.Errorf("(-command +HTTP)\n%s", d)
	}
}

func compactJSON(t *testing.T, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, body); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestStateOfIncompleteView purges agents from the view: the command says how many of how many it holds.
func TestStateOfIncompleteView(t *testing.T) {
	t.Parallel()
	js, env := serverWithDay(t)
	whole := runCommand(t, t.Context(), env, "state", "--json")
	var view state.View
	if err := json.Unmarshal([]byte(whole.stdout), &view); err != nil || !view.Tenants[0].Feed.Complete || view.Tenants[0].Feed.Agents != 2 {
		t.Fatalf("%v\n%s", err, whole.stdout)
	}
	state, err := js.Stream(t.Context(), "KV_bpcc_state")
	if err != nil {
		t.Fatal(err)
	}
	if err := state.Purge(t.Context(), jetstream.WithPurgeSubject("$KV.bpcc_state.acme.agent.>")); err != nil {
		t.Fatal(err)
	}
	r := runCommand(t, t.Context(), env, "state")
	if r.status != exitOK || !strings.Contains(r.stdout, "INCOMPLETE the view holds 0 of 2 agents and 2 of 2 services") {
		t.Errorf("status %d\n%s%s", r.status, r.stdout, r.stderr)
	}
	j := runCommand(t, t.Context(), env, "state", "--json")
	if err := json.Unmarshal([]byte(j.stdout), &view); err != nil || view.Tenants[0].Feed.Complete {
		t.Errorf("%v\n%s", err, j.stdout)
	}
}

// TestForeignMessages: what another program has published on the tenant's subjects is
// skipped and named, and the rest is shown; verify names each
// with its sequence and blames nothing else for it.
func TestForeignMessages(t *testing.T) {
	t.Parallel()
	js, env := serverWithDay(t)
	var sequences []string
	for _, m := range []*nats.Msg{
		{Subject: "bpcc.v1.acme.agent.anna=2Elopez.state_changed", Data: []byte("junk")},
		{Subject: "bpcc.v1.acme.agent.x.observed", Data: []byte(`{"data":{"tenant":"acme","agent":{"id":"x"}}}`)},
		{Subject: "bpcc.v1.acme.feed.checkpoint", Data: []byte(`{"data":{"tenant":"umbrella","status":7}}`)},
		{Subject: "bpcc.v1.beta.totals.bridge.observed"},
		{Subject: "bpcc.v1.=zz.agent.x.observed", Data: []byte("[]")},
	} {
		ack, err := js.PublishMsg(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		sequences = append(sequences, fmt.Sprintf("sequence %d ", ack.Sequence))
	}
	r := runCommand(t, t.Context(), env, "state")
	if r.status != exitOK || !strings.Contains(r.stdout, "Voice Inbound") || !strings.Contains(r.stdout, "NO FEED") || strings.Contains(r.stdout, "beta") {
		t.Errorf("status %d\n%s%s", r.status, r.stdout, r.stderr)
	}
	for _, want := range []string{`"agent.anna=2Elopez" of tenant "acme"`, `"agent.x" of tenant "acme"`, `"feed" of tenant "acme"`, `"totals.bridge" of tenant "beta"`, `"=zz"`} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("no %s in\n%s", want, r.stderr)
		}
	}
	var view state.View
	j := runCommand(t, t.Context(), env, "state", "--json", "--tenant", "acme")
	if err := json.Unmarshal([]byte(j.stdout), &view); err != nil || len(view.Unreadable) != 3 || len(view.Tenants) != 1 || len(view.Tenants[0].Agents) != 1 {
		t.Errorf("%v\n%s", err, j.stdout)
	}
	v := runCommand(t, t.Context(), env, "verify")
	if v.status != exitFailed || !strings.Contains(v.stdout, "UNSOUND  foreign 5\n") {
		t.Errorf("status %d\n%s%s", v.status, v.stdout, v.stderr)
	}
	for _, want := range sequences {
		if !strings.Contains(v.stdout, want) {
			t.Errorf("no %s in\n%s", want, v.stdout)
		}
	}
	if own := runCommand(t, t.Context(), env, "verify", "--tenant", "acme"); !strings.Contains(own.stdout, "UNSOUND  foreign 3\n") {
		t.Errorf("the tenant alone:\n%s", own.stdout)
	}
}
