package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func change(id string) []byte {
	return fmt.Appendf(nil, `{"id": %q, "type": "bpcc.agent.state_changed.v1", "data": {"agent": {"id": "john.smith"},
		"from": {"state": "ready"}, "to": {"state": "not_ready"}, "observed": {"after": null, "by": "2026-11-23T10:00:02Z"}}}`, id)
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
			if err := l.Write(change(id)); err != nil {
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
	var ids []string
	for line := range strings.Lines(string(text)) {
		id, _, _ := strings.Cut(strings.TrimPrefix(line, `{"id":"`), `"`)
		ids = append(ids, id)
	}
	if got, want := fmt.Sprint(ids), "[acme-1-3-1 acme-1-3-2 acme-1-4-1]"; got != want {
		t.Errorf("the ledger holds %s, want %s", got, want)
	}
}

func TestWhatIsNoChangeOfStateIsRefused(t *testing.T) {
	l, err := OpenLedger(filepath.Join(t.TempDir(), "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, body := range []string{"", "[]", `{"id": "a-1-1-1", "type": "bpcc.agent.state_changed.v2"}`, `{"type": "bpcc.agent.state_changed.v1"}`} {
		if err := l.Write([]byte(body)); !errors.Is(err, errUnreadable) {
			t.Errorf("%q: %v, want %v", body, err, errUnreadable)
		}
	}
	if l.Len() != 0 {
		t.Errorf("%d lines were written", l.Len())
	}
}
