package bridge_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/event"
)

// TestSignedCheckpoints: two instances sign with keys of their own, one after the other. The chain goes on over
// a restart and a takeover, and an auditor accepts what both have signed, and nothing that only one has.
func TestSignedCheckpoints(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BRIDGE_HEAD_LOG_INTERVAL"] = "1s"
	dir := t.TempDir()
	w.env["BRIDGE_SIGNING_KEY_FILE"] = filepath.Join(dir, "first")
	first := seed(t, w.env["BRIDGE_SIGNING_KEY_FILE"])
	w.setAgent("anna", "ready", "")
	stop := w.startBridge()
	w.waitFor("totals.bridge.observed", 1)
	w.env["BRIDGE_SIGNING_KEY_FILE"] = filepath.Join(dir, "second")
	second := seed(t, w.env["BRIDGE_SIGNING_KEY_FILE"])
	standby := w.startBridge()
	stop()
	w.setAgent("anna", "not_ready", "Lunch")
	w.waitFor("agent.anna.state_changed", 1)
	standby()
	restarted := w.startBridge()
	w.setAgent("anna", "ready", "")
	w.waitFor("agent.anna.state_changed", 2)
	restarted()

	all := w.rawMessages()
	for _, s := range all {
		key := s.Header.Get(event.SigningKeyHeader)
		if isCheckpoint := s.Subject == event.Checkpoint; isCheckpoint != (key != "") || key != "" && key != first && key != second {
			t.Errorf("%s at %d is signed by %q", s.Subject, s.Seq, key)
		}
	}
	last := all[len(all)-1]
	head, err := event.NewHead("acme", "bpcc.v1.acme."+last.Subject, last.Header.Get(nats.MsgIdHdr), last.Seq,
		last.Header.Get(event.SignatureHeader), last.Header.Get(event.SigningKeyHeader), last.Body)
	if err != nil || head.SigningKey != second {
		t.Fatalf("%+v: %v", head, err)
	}
	if log := w.log.String(); !strings.Contains(log, "msg=head") || !strings.Contains(log, "chain=") {
		t.Error("no head is logged")
	}
	for name, test := range map[string]struct {
		by    []string
		sound bool
	}{"both": {[]string{first, second}, true}, "the first": {[]string{first}, false}, "the second": {[]string{second}, false}} {
		a, err := audit.New(audit.Options{SignedBy: test.by, Heads: []event.Head{head}})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range all {
			a.Add(audit.Message{Seq: s.Seq, Stored: s.Stored, Subject: "bpcc.v1.acme." + s.Subject, Header: s.Header, Body: s.Body})
		}
		r := a.Report()
		for _, check := range []string{"chain", "signature"} {
			if i := slices.IndexFunc(r.Checks, func(c audit.Check) bool { return c.Check == check }); i < 0 || r.Checks[i].Made != "all" {
				t.Errorf("%s: %s is not checked: %+v", name, check, r.Checks)
			}
		}
		if r.OK != test.sound || !test.sound && r.ByCode["signature"] == 0 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
