package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/cmd/bridge/internal/reader"
)

// storeFiles lists the files of a store, of one stream or of all, that hold any of these texts.
func storeFiles(t *testing.T, dir string, texts ...string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := os.ReadFile(file)
		if slices.ContainsFunc(texts, func(text string) bool { return bytes.Contains(body, []byte(text)) }) {
			found = append(found, strings.TrimPrefix(file, dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestEraseProcedure is the procedure of docs/running.md: streams made with BRIDGE_AUDIT=false, a bridge that runs
// and is stopped, the erasure, and what is left of the person: nothing, in stream, view and files.
func TestEraseProcedure(t *testing.T) {
	t.Parallel()
	tenant := bpcctest.NewServer(bpcctest.Config{})
	t.Cleanup(tenant.Close)
	dir := t.TempDir()
	env := append(sourceEnv(tenant.URL), "BRIDGE_STORE_DIR="+dir, "BRIDGE_EMBEDDED_LISTEN=127.0.0.1:0", "BRIDGE_TENANT=acme", "BRIDGE_HTTP=off",
		"BRIDGE_AUDIT=false", "BPCC_SERVICES=none", "BPCC_DIRECTORY_INTERVAL=100ms")
	person := []string{"john.smith", "john=2Esmith", "John Smith", bpcctest.UserID("john.smith")}
	if r := runCommand(t, t.Context(), env, "provision"); r.status != exitOK || strings.Contains(r.stdout, "differs") {
		t.Fatalf("status %d\n%s%s", r.status, r.stdout, r.stderr)
	}
	day := func(polls int, change func(int)) {
		t.Helper()
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		ended := make(chan result, 1)
		go func() { ended <- runCommand(t, ctx, env, "run") }()
		for n := range polls {
			change(n)
			for before := tenant.Counts().DataRequests(); tenant.Counts().DataRequests() < before+2 && ctx.Err() == nil; {
				<-time.After(5 * time.Millisecond)
			}
		}
		stop()
		if r := <-ended; r.status != exitOK {
			t.Fatalf("status %d\n%s", r.status, r.stderr)
		}
	}
	day(12, func(n int) {
		tenant.SetAgent(bpcctest.Agent{Login: "john.smith", First: "John", Last: "Smith", State: []string{"ready", "not_ready"}[n%2], Services: []string{"Voice"}})
		tenant.SetAgent(bpcctest.Agent{Login: "jane.roe", First: "Jane", Last: "Roe", State: []string{"busy", "ready"}[n%2], Services: []string{"Voice"}})
	})
	tenant.RemoveAgent("john.smith")
	if files := storeFiles(t, dir, person...); len(files) < 2 {
		t.Fatalf("only %q hold the person", files)
	}

	list := runCommand(t, t.Context(), env, "erase", "john.smith", "--dry-run")
	for _, want := range []string{"bpcc.v1.acme.agent.john=2Esmith.observed", "acme.agent.john=2Esmith", "bpcc.v1.acme.directory.agents.changed", "also known as " + bpcctest.UserID("john.smith") + ", john smith", "would erase"} {
		if list.status != exitOK || !strings.Contains(list.stdout, want) {
			t.Errorf("status %d, no %q in\n%s%s", list.status, want, list.stdout, list.stderr)
		}
	}
	var done erasure
	r := runCommand(t, t.Context(), env, "erase", "john.smith", "--reason", "request 4711", "--json")
	if err := json.Unmarshal([]byte(r.stdout), &done); err != nil || r.status != exitOK || !done.Erased || len(done.Messages) < 12 || len(done.Keys) != 2 {
		t.Fatalf("status %d, error %v\n%s%s", r.status, err, r.stdout, r.stderr)
	}
	if r := runCommand(t, t.Context(), env, "erase", "john.smith"); r.status != exitOK || !strings.Contains(r.stdout, "erased nothing") {
		t.Errorf("a second time: status %d\n%s%s", r.status, r.stdout, r.stderr)
	}
	verify := func(args ...string) {
		t.Helper()
		r := runCommand(t, t.Context(), env, append([]string{"verify"}, args...)...)
		if r.status != exitOK || !strings.Contains(r.stdout, "SOUND") || !strings.Contains(r.stdout, "request 4711") {
			t.Errorf("verify %q: status %d\n%s%s", args, r.status, r.stdout, r.stderr)
		}
	}
	verify()
	export := runCommand(t, t.Context(), env, "replay", "--with-meta")
	verify(writeFile(t, "export", []byte(export.stdout)))
	for _, args := range [][]string{{"replay", "--with-meta"}, {"state", "--json", "--all"}, {"state", "--all"}} {
		r := runCommand(t, t.Context(), env, args...)
		for _, text := range person {
			if r.status != exitOK || strings.Contains(strings.ToLower(r.stdout), strings.ToLower(text)) || !strings.Contains(r.stdout, "jane.roe") {
				t.Errorf("%q: status %d, it shows %q\n%s", args, r.status, text, r.stdout)
			}
		}
	}
	if files := storeFiles(t, filepath.Join(dir, "jetstream", "$G", "streams", "BPCC_EVENTS"), person...); len(files) > 0 {
		t.Errorf("the stream's files still hold the person: %q", files)
	}
	// The view's file holds values that later ones have replaced. They go with the view, which is made anew.
	if files := storeFiles(t, dir, person...); slices.ContainsFunc(files, func(file string) bool { return !strings.Contains(file, "KV_bpcc_state") }) {
		t.Errorf("files still hold the person: %q", files)
	}
	c, _, err := config.Parse(env, config.ForStream)
	if err != nil {
		t.Fatal(err)
	}
	_, l, err := reader.Connect(t.Context(), c, 0, newProgram(env, os.Stdout, os.Stderr).err.Logger("error", "text"))
	if err != nil {
		t.Fatal(err)
	}
	err = l.JS.DeleteStream(t.Context(), stream.ViewStream(c.Stream))
	l.Close()
	if err != nil {
		t.Fatal(err)
	}
	if r := runCommand(t, t.Context(), env, "provision"); r.status != exitOK {
		t.Fatalf("status %d\n%s%s", r.status, r.stdout, r.stderr)
	}
	if files := storeFiles(t, dir, person...); len(files) > 0 {
		t.Errorf("files still hold the person: %q", files)
	}
	day(2, func(int) {
		tenant.SetAgent(bpcctest.Agent{Login: "jane.roe", First: "Jane", Last: "Roe", State: "busy"})
	})
	verify()
	if files := storeFiles(t, dir, person...); len(files) > 0 {
		t.Errorf("files hold the person again: %q", files)
	}
}

// TestEraseUsage: what the command says instead of erasing.
func TestEraseUsage(t *testing.T) {
	t.Parallel()
	_, env := serverWithDay(t)
	for name, test := range map[string]struct {
		args   []string
		status int
		want   string // in standard error
	}{
		"nobody":           {nil, exitUsage, "name one agent"},
		"an empty name":    {[]string{" "}, exitUsage, "name one agent"},
		"two":              {[]string{"a", "b"}, exitUsage, "name one agent"},
		"denied":           {[]string{"bob"}, exitFailed, "BRIDGE_AUDIT=true"},
		"denied, a search": {[]string{"bob", "--dry-run"}, exitFailed, "BRIDGE_AUDIT=true"},
		"no time":          {[]string{"bob", "--timeout", "0s"}, exitUsage, "--timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := runCommand(t, t.Context(), env, append([]string{"erase"}, test.args...)...)
			if r.status != test.status || !strings.Contains(r.stderr, test.want) {
				t.Errorf("status %d, want %d with %q\n%s%s", r.status, test.status, test.want, r.stdout, r.stderr)
			}
			if search := slices.Contains(test.args, "--dry-run"); search != strings.Contains(r.stdout, "would erase") {
				t.Errorf("it prints\n%s", r.stdout)
			}
		})
	}
}
