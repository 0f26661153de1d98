package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bpcc-nats/bridge/event"
)

const subject = "bpcc.v1.acme.agent.john=2Esmith.state_changed"

func change(id string) []byte {
	return fmt.Appendf(nil, `{"id": %q, "type": "bpcc.agent.state_changed.v1", "data": {"tenant": "acme", "poll": %s, "revision": 2,
		"agent": {"id": "john.smith"}, "from": {"state": "ready"}, "to": {"state": "not_ready"},
		"observed": {"after": null, "by": "2026-11-23T10:00:02.000Z"}, "after": {"acd_state": "not_ready"}}}`, id, strings.Split(id, "-")[2])
}

func TestAChangeIsInTheLedgerOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ledger")
	write := func(ids ...string) {
		t.Helper()
		l, err := OpenLedger(file)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for _, id := range ids {
			e, d, err := readChange("acme", subject, id, change(id))
			if err == nil {
				err = l.Write(e, d)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	write("acme-1-3-1", "acme-1-3-2", "acme-1-3-1")
	// A crash has cut the last line off; its event comes again.
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text[:len(text)-9], 0o600); err != nil {
		t.Fatal(err)
	}
	write("acme-1-3-1", "acme-1-3-2", "acme-1-4-1")
	text, err = os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, id := range []string{"acme-1-3-1", "acme-1-3-2", "acme-1-4-1"} {
		fmt.Fprintf(&want, `{"id":%q,"agent":"john.smith","from":"ready","to":"not_ready","after":null,"by":"2026-11-23T10:00:02.000Z"}`+"\n", id)
	}
	if string(text) != want.String() {
		t.Errorf("the ledger holds\n%s\nwant\n%s", text, want.String())
	}
}

func TestWhatIsNoChangeOfStateIsRefused(t *testing.T) {
	good := string(change("acme-1-3-1"))
	for name, test := range map[string]struct{ tenant, subject, msgID, body string }{
		"empty":           {"acme", subject, "acme-1-3-1", ""},
		"a list":          {"acme", subject, "acme-1-3-1", "[]"},
		"another version": {"acme", subject, "acme-1-3-1", strings.Replace(good, "state_changed.v1", "state_changed.v2", 1)},
		"no id":           {"acme", subject, "acme-1-3-1", strings.Replace(good, `"id": "acme-1-3-1"`, `"id": ""`, 1)},
		"another id":      {"acme", subject, "acme-1-3-2", good},
		"another subject": {"acme", strings.Replace(subject, "john", "anna", 1), "acme-1-3-1", good},
		"another tenant":  {"umbrella", subject, "acme-1-3-1", good},
		"no state":        {"acme", subject, "acme-1-3-1", strings.Replace(good, `"to":`, `"too":`, 1)},
	} {
		if _, _, err := readChange(test.tenant, test.subject, test.msgID, []byte(test.body)); !errors.Is(err, event.ErrForeign) {
			t.Errorf("%s: %v, want %v", name, err, event.ErrForeign)
		}
	}
	if _, _, err := readChange("acme", subject, "acme-1-3-1", []byte(good)); err != nil {
		t.Error(err)
	}
}
