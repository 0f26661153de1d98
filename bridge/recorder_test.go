package bridge_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"bpcc-nats/bpcc/bpcctest"
)

// TestRecordingRedaction looks for names and secrets in the bytes.
func TestRecordingRedaction(t *testing.T) {
	t.Parallel()
	const subscription = `{"x": {"stats_totals": ["agents_ready"], "chat_messages": {"limit": 5},
		"agent_grids": [{"id": "a", "columns": [{"id": "1", "stat_name": "login_id"}, {"id": "2", "stat_name": "first_last_name"}, {"id": "3", "stat_name": "acd_state"}]}],
		"service_grids": [{"id": "s", "columns": [{"id": "1", "stat_name": "name"}, {"id": "2", "stat_name": "in_calls_waiting"}]}]}}`
	tests := map[string]struct {
		env      map[string]string
		subject  string
		out, not []string // must and must not be found
	}{
		"all":      {nil, "agent.quaxley.observed", []string{"quaxley", "Zzyzx", "Geheimwort"}, nil},
		"redacted": {map[string]string{"BRIDGE_REDACT_STATS": "first_*,last_name,content"}, "agent.quaxley.observed", []string{"quaxley"}, []string{"Zzyzx", "Geheimwort"}},
		"key redacted": {map[string]string{"BRIDGE_REDACT_STATS": "login_id,*_name,content", "BRIDGE_PSEUDONYM_KEY": "0123456789abcdef0123"}, "totals.x.observed",
			nil, []string{"quaxley", "Zzyzx", "Geheimwort", "0123456789abcdef0123"}},
		"pseudonyms": {map[string]string{"BRIDGE_PSEUDONYM_KEY": "0123456789abcdef0123"}, "totals.x.observed",
			[]string{"Geheimwort"}, []string{"quaxley", "Zzyzx", "0123456789abcdef0123"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTestEnv(t, bpcctest.Config{ClientSecret: "hunter2-very-secret"})
			w.env["BPCC_CLIENT_SECRET"] = "hunter2-very-secret"
			w.env["BPCC_DIRECTORY_INTERVAL"] = "1h"
			w.writeSubscription(subscription)
			for name, value := range test.env {
				w.env[name] = value
			}
			w.tenant.SetAgent(bpcctest.Agent{Login: "quaxley", First: "Anna", Last: "Zzyzx", State: "ready"})
			w.tenant.SetService(bpcctest.Service{Name: "Voice"})
			w.tenant.AddChatMessage(bpcctest.ChatMessage{ID: "m1", LoginID: "quaxley", FirstName: "Anna", LastName: "Zzyzx", Sent: time.Now(), Content: "Geheimwort"})
			w.tenant.Inject(bpcctest.Fault{Path: "/oauth/token", Status: 500, Body: "no such secret: hunter2-very-secret, asked by Anna Zzyzx"})
			file, stop := w.startRecorder()
			w.waitForRecorded(file, test.subject, 1)
			w.waitForRecorded(file, "chat.message_posted", 1)
			w.waitForRecorded(file, "directory.agents.changed", 1)
			for i, fault := range []bpcctest.Fault{
				{Truncate: true}, {Status: 500, Body: "cannot see Zzyzx"}, {Status: 200, Body: `["Anna Zzyzx"]`}, {Close: true},
				{Body: `{"error":"cannot see Zzyzx"}`}, {Body: `{"error":{"text":"cannot see Zzyzx"}}`}, {Nested: "ready"}, {Nested: "Anna Zzyzx"}, {Nested: "Geheimwort"},
			} {
				if len(test.not) == 0 {
					break
				}
				w.tenant.Inject(fault)
				w.tenant.SetServiceStat("Voice", "in_calls_waiting", fmt.Sprint(i+1))
				w.waitForRecorded(file, "service.Voice.stats_changed", i+1)
			}
			stop()
			body := decompressed(t, file)
			for _, want := range test.out {
				if !strings.Contains(body, want) {
					t.Errorf("the recording lacks %q", want)
				}
			}
			for _, secret := range append(test.not, "hunter2") {
				if i := strings.Index(body, secret); i >= 0 {
					t.Errorf("%q is in the recording: …%s…", secret, body[max(0, i-100):min(len(body), i+50)])
				}
			}
			all, _ := w.backtest(nil, file)
			if strings.Contains(name, "redacted") {
				for _, s := range all {
					if s.field("after", "first_last_name") != nil {
						t.Errorf("%s contains a column that is removed", s.Subject)
					}
				}
			}
			if i := slices.IndexFunc(all, func(s storedEvent) bool { return strings.HasPrefix(s.Subject, "agent.") }); i < 0 {
				t.Error("the recording shows no agent")
			}
		})
	}
}
