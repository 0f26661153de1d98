package main

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/internal/bridgetest"
)

// waiting is a rule that anna, who is ready, breaks at once.
const waiting = `[{"name": "any", "kind": "agent", "stat": "state_duration", "raise": {"op": ">=", "value": 0}}]`

// lastEvent returns the data of the last event on a subject; nil if there is none.
func (s *processTest) lastEvent(t *testing.T, subject string) map[string]any {
	t.Helper()
	stream, err := s.js.Stream(t.Context(), "BPCC_EVENTS")
	if err != nil {
		return nil
	}
	msg, err := stream.GetLastMsgForSubject(t.Context(), subject)
	if err != nil {
		return nil
	}
	var e struct{ Data map[string]any }
	if err := json.Unmarshal(msg.Data, &e); err != nil {
		t.Fatal(err)
	}
	return e.Data
}

// TestReload sends SIGHUP to the real program: what is the same changes nothing, what has faults changes nothing and
// is logged, and what is new is used after an orderly stop.
func TestReload(t *testing.T) {
	t.Parallel()
	s := newProcessTest(t)
	rules := filepath.Join(t.TempDir(), "thresholds.json")
	bridgetest.ReplaceFile(t, rules, "[]")
	subscription := filepath.Join(t.TempDir(), "subscription.json")
	const columns = `{"app": {"agent_grids": [{"id": "a", "columns": [{"id": "1", "stat_name": "login_id"}, {"id": "2", "stat_name": "acd_state"}, {"id": "3", "stat_name": "state_duration"}%s]}]}}`
	bridgetest.ReplaceFile(t, subscription, fmt.Sprintf(columns, ""))
	p := startProcess(t, programFile(t), append(s.env, "BRIDGE_THRESHOLDS_FILE="+rules, "BPCC_SUBSCRIPTION_FILE="+subscription))
	p.waitForLog(`"msg":"leading","tenant":"acme","epoch":1`)
	waitUntil(t, func() bool { return s.lastEvent(t, "bpcc.v1.acme.agent.anna.observed") != nil }, p.stderr.String)

	p.signal(syscall.SIGHUP)
	p.waitForLog(`"msg":"configuration unchanged"`)

	bridgetest.ReplaceFile(t, rules, `[{"name": "any"}]`)
	p.signal(syscall.SIGHUP)
	p.waitForLog(`"msg":"configuration refused, keeping the present one"`)
	if text := p.stderr.String(); !strings.Contains(text, "BRIDGE_THRESHOLDS: ") || strings.Contains(text, `"epoch":2`) {
		t.Errorf("after faults\n%s", text)
	}
	if s.stoppedEvents(t) != 0 {
		t.Error("a refused configuration has stopped the feed")
	}

	bridgetest.ReplaceFile(t, rules, waiting)
	p.signal(syscall.SIGHUP)
	p.waitForLog(`"msg":"leading","tenant":"acme","epoch":2`)
	if d := s.lastEvent(t, "bpcc.v1.acme.feed.stopped"); d["reason"] != "reload" {
		t.Errorf("feed.stopped: %v", d)
	}
	waitUntil(t, func() bool { return s.lastEvent(t, "bpcc.v1.acme.threshold.any.anna.raised") != nil }, p.stderr.String)

	bridgetest.ReplaceFile(t, subscription, fmt.Sprintf(columns, `, {"id": "4", "stat_name": "team_name"}`))
	p.signal(syscall.SIGHUP)
	p.waitForLog(`"msg":"leading","tenant":"acme","epoch":3`)
	waitUntil(t, func() bool {
		d := s.lastEvent(t, "bpcc.v1.acme.agent.anna.stats_changed")
		after, _ := d["after"].(map[string]any)
		return after["team_name"] != nil
	}, p.stderr.String)

	p.signal(syscall.SIGTERM)
	if got := p.waitExit(10 * time.Second); got != exitOK {
		t.Errorf("status %d\n%s", got, p.stderr)
	}
	if text := p.stderr.String(); strings.Contains(text, "not stopped in order") {
		t.Error(text)
	}
}

// TestReloadedTenants adds a tenant to a running process and removes one.
func TestReloadedTenants(t *testing.T) {
	t.Parallel()
	s := newProcessTest(t)
	second := startTenant(t, bpcctest.Config{})
	tenants := filepath.Join(t.TempDir(), "tenants.json")
	member := func(name, url string) string { return fmt.Sprintf(`{"tenant": %q, "url": %q}`, name, url) }
	bridgetest.ReplaceFile(t, tenants, "["+member("acme", s.tenant.URL)+"]")
	p := startProcess(t, programFile(t), append(s.env, "BRIDGE_TENANTS_FILE="+tenants))
	p.waitForLog(`"msg":"leading","tenant":"acme","epoch":1`)
	bridgetest.ReplaceFile(t, tenants, "["+member("acme", s.tenant.URL)+","+member("globex", second.URL)+"]")
	p.signal(syscall.SIGHUP)
	p.waitForLog(`"msg":"leading","tenant":"globex","epoch":1`)
	p.waitForLog(`"msg":"leading","tenant":"acme","epoch":2`)
	bridgetest.ReplaceFile(t, tenants, "["+member("globex", second.URL)+"]")
	p.signal(syscall.SIGHUP)
	p.waitForLog(`"msg":"leading","tenant":"globex","epoch":2`)
	if d := s.lastEvent(t, "bpcc.v1.acme.feed.stopped"); d["reason"] != "reload" {
		t.Errorf("the removed tenant: %v", d)
	}
}

// TestReloadWithoutNATS: a reload that cannot publish the end of the feed goes on with the new configuration.
func TestReloadWithoutNATS(t *testing.T) {
	t.Parallel()
	s := newProcessTest(t)
	rules := filepath.Join(t.TempDir(), "thresholds.json")
	bridgetest.ReplaceFile(t, rules, "[]")
	p := startProcess(t, programFile(t), append(s.env, "BRIDGE_THRESHOLDS_FILE="+rules))
	p.waitForLog(`"msg":"subscribed"`)
	waitUntil(t, func() bool { return s.lastEvent(t, "bpcc.v1.acme.agent.anna.observed") != nil }, p.stderr.String)
	s.server.Close()
	s.tenant.SetState("anna", "busy", "")
	p.waitForLog("retrying the same batch")
	bridgetest.ReplaceFile(t, rules, waiting)
	p.signal(syscall.SIGHUP)
	p.waitForLog("bridges not stopped in order")
	p.waitForLog("cannot create the streams, retrying") // the new ones wait for NATS
	p.signal(syscall.SIGTERM)
	if got := p.waitExit(10 * time.Second); got != exitOK {
		t.Errorf("status %d\n%s", got, p.stderr)
	}
}

// TestNotifiesSystemd follows the notifications of a process through start, reload and stop.
func TestNotifiesSystemd(t *testing.T) {
	t.Parallel()
	s := newProcessTest(t)
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	if err := socket.SetReadDeadline(time.Now().Add(40 * time.Second)); err != nil {
		t.Fatal(err)
	}
	p := startProcess(t, programFile(t), append(s.env, "NOTIFY_SOCKET="+socket.LocalAddr().String(), "WATCHDOG_USEC=3000000000"))
	expect := func(want string) {
		t.Helper()
		text := make([]byte, 1000)
		for {
			n, err := socket.Read(text)
			if err != nil {
				t.Fatalf("no %q: %v\n%s", want, err, p.stderr)
			}
			if got := string(text[:n]); strings.HasPrefix(got, want) {
				return
			} else if got != "WATCHDOG=1" {
				t.Fatalf("received %q before %q", got, want)
			}
		}
	}
	expect("STATUS=Waiting for NATS")
	expect("READY=1")
	p.signal(syscall.SIGHUP)
	expect("RELOADING=1\nMONOTONIC_USEC=")
	expect("READY=1")
	p.signal(syscall.SIGTERM)
	expect("STOPPING=1")
	if got := p.waitExit(10 * time.Second); got != exitOK {
		t.Errorf("status %d\n%s", got, p.stderr)
	}
}
