package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/cmd/bridge/internal/bundle"
	"bpcc-nats/internal/natstest"
)

// writeSeed writes the seed of a new key into a file, and returns the public key.
func writeSeed(t *testing.T, file string) string {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err == nil {
		err = os.WriteFile(file, seed, 0o600)
	}
	public, publicErr := pair.PublicKey()
	if err = errors.Join(err, publicErr); err != nil {
		t.Fatal(err)
	}
	return public
}

// unpack returns the files of a bundle, in their order, and their names.
func unpack(t *testing.T, file string) (names []string, files map[string]string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	zip, err := zstd.NewReader(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	defer zip.Close()
	files = map[string]string{}
	for r := tar.NewReader(zip); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names, files
		}
		body, readErr := io.ReadAll(r)
		if err = errors.Join(err, readErr); err != nil {
			t.Fatal(err)
		}
		names, files[header.Name] = append(names, header.Name), string(body)
	}
}

// pollsOf lets a bridge poll a tenant, which each poll changes.
func pollsOf(t *testing.T, env []string, tenant *bpcctest.Server, polls int) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	ended := make(chan result, 1)
	go func() { ended <- runCommand(t, ctx, env, "run") }()
	for n := range polls {
		tenant.SetAgent(bpcctest.Agent{Login: "john.smith", First: "John", Last: "Smith", State: []string{"ready", "not_ready"}[n%2], Services: []string{"Voice"}})
		tenant.SetAgent(bpcctest.Agent{Login: "jane.roe", First: "Jane", Last: "Roe", State: []string{"busy", "ready"}[n%2], Services: []string{"Voice"}})
		for before := tenant.Counts().DataRequests(); tenant.Counts().DataRequests() < before+2 && ctx.Err() == nil; {
			<-time.After(5 * time.Millisecond)
		}
	}
	stop()
	if r := <-ended; r.status != exitOK {
		t.Fatalf("status %d\n%s", r.status, r.stderr)
	}
}

// TestExport exports signed days of two tenants, and verifies them without the server.
func TestExport(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server, err := stream.StartServer(t.TempDir(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	js := natstest.Connect(t, server.URL())
	seed := filepath.Join(dir, "seed")
	key := writeSeed(t, seed)
	reading := []string{"NATS_URL=" + server.URL()}
	tenants := map[string]*bpcctest.Server{"acme": bpcctest.NewServer(bpcctest.Config{}), "globex": bpcctest.NewServer(bpcctest.Config{})}
	bridgeOf := func(tenant string) []string {
		t.Cleanup(tenants[tenant].Close)
		return slices.Concat(sourceEnv(tenants[tenant].URL), reading, []string{"BRIDGE_TENANT=" + tenant, "BRIDGE_HTTP=off", "BRIDGE_AUDIT=false", "BRIDGE_SIGNING_KEY_FILE=" + seed})
	}
	pollsOf(t, bridgeOf("acme"), tenants["acme"], 4)
	pollsOf(t, bridgeOf("globex"), tenants["globex"], 4)
	pollsOf(t, bridgeOf("acme"), tenants["acme"], 4)
	command := func(args ...string) result {
		t.Helper()
		return runCommand(t, t.Context(), append(reading[:1:1], "BRIDGE_SIGNING_KEY_FILE="+seed), args...)
	}
	sound := func(r result, want ...string) {
		t.Helper()
		for _, text := range append(want, "SOUND") {
			if r.status != exitOK || !strings.Contains(r.stdout, text) || strings.Contains(r.stdout, "UNSOUND") {
				t.Errorf("status %d, no %q\n%s%s", r.status, text, r.stdout, r.stderr)
			}
		}
	}
	heads := writeFile(t, "heads.json", []byte(command("head").stdout))
	all := filepath.Join(dir, "all.tar.zst")
	sound(command("export", "--out", all), "all.tar.zst has ")
	if info, err := os.Stat(all); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, mode %v", err, info.Mode())
	}
	if r := command("export", "--out", all); r.status != exitUsage || !strings.Contains(r.stderr, "all.tar.zst exists") {
		t.Errorf("a second export: %+v", r)
	}
	names, files := unpack(t, all)
	if first, last := names[0], names[len(names)-1]; first != "manifest.json" || last != "events.ndjson" || !slices.Contains(names, "schemas/agent.state_changed.json") {
		t.Errorf("%q", names)
	}
	whole := command("replay", "--with-meta").stdout
	if files["events.ndjson"] != whole {
		t.Error("the events are not those that bridge replay --with-meta prints")
	}
	if want := command("head").stdout; files["heads.json"] != want {
		t.Errorf("heads %s, want %s", files["heads.json"], want)
	}
	if !strings.Contains(files["keys.json"], `"key":"`+key+`"`) || strings.Count(files["keys.json"], "\n") != 1 {
		t.Error(files["keys.json"])
	}
	// Without the server.
	offline := func(args ...string) result {
		t.Helper()
		return runCommand(t, t.Context(), []string{"NATS_URL=nats://127.0.0.1:1"}, append([]string{"verify"}, args...)...)
	}
	sound(offline(all), "bundle of the stream BPCC_EVENTS", "key   "+key, "head  globex", "acme  the end: neither", "acme  the author: neither")
	sound(offline("--signed-by", key, "--head", heads, all))
	if r := offline("--signed-by", key, "--head", heads, all); strings.Contains(r.stdout, "NOT PROVED") {
		t.Errorf("with key and heads all is proved\n%s", r.stdout)
	}
	sound(offline("--tenant", "globex", all), "globex-1-")
	if r := offline("--signed-by", writeSeed(t, filepath.Join(dir, "other")), all); r.status != exitFailed || !strings.Contains(r.stdout, "which is none of the given keys") {
		t.Errorf("another key: %+v", r)
	}
	var report bundle.Report
	if r := offline("--json", all); json.Unmarshal([]byte(r.stdout), &report) != nil || !report.OK || len(report.Tenants) != 2 || len(report.Bundle.Heads) != 2 || report.Bundle.Keys[0].Key != key {
		t.Errorf("%s", r.stdout)
	}

	// A range that begins and ends inside of batches has these batches.
	batch := batchesOf(t, whole, "acme")[3]
	part := filepath.Join(dir, "part.tar.zst")
	sound(command("export", "--from-seq", fmt.Sprint(batch.first+1), "--to-seq", fmt.Sprint(batch.first+2), "--out", part))
	_, files = unpack(t, part)
	events := strings.Split(strings.TrimSpace(files["events.ndjson"]), "\n")
	if !strings.HasPrefix(events[0], fmt.Sprintf(`{"sequence":%d,`, batch.first)) || !strings.HasPrefix(events[len(events)-1], fmt.Sprintf(`{"sequence":%d,`, batch.last)) {
		t.Errorf("it has %d events, want those from %d to %d\n%s", len(events), batch.first, batch.last, files["events.ndjson"])
	}
	if before := files["before.ndjson"]; !strings.Contains(before, `"Nats-Msg-Id":["`+batch.follows+`"]`) || strings.Count(before, "\n") != 1 {
		t.Errorf("before the range: %s", before)
	}
	r := offline(part, "--from", batch.follows, "--to", batch.id)
	sound(r, "the beginning: the range begins after checkpoint "+batch.follows)
	if strings.Contains(r.stdout, "chain  ") {
		t.Errorf("not each chain is compared\n%s", r.stdout)
	}
	if r := offline(part, "--head", heads); r.status != exitFailed || !strings.Contains(r.stdout, "the stream does not hold this head") {
		t.Errorf("a head after the end: %+v", r)
	}
	globex := filepath.Join(dir, "globex.tar.zst")
	sound(command("export", "--since", "1h", "--tenant", "globex", "--out", globex))
	if _, files := unpack(t, globex); strings.Contains(files["events.ndjson"], "bpcc.v1.acme.") || files["events.ndjson"] == "" {
		t.Error("it has the events of another tenant")
	}
	sound(offline("--signed-by", key, globex))

	// A person is erased after the range.
	if r := command("erase", "john.smith", "--tenant", "acme"); r.status != exitOK {
		t.Fatalf("%+v", r)
	}
	erased := filepath.Join(dir, "erased.tar.zst")
	sound(command("export", "--to-seq", fmt.Sprint(report.LastSeq), "--out", erased))
	if _, files := unpack(t, erased); strings.Contains(files["events.ndjson"], "bpcc.v1.acme.agent.john") || !strings.Contains(files["erasures.ndjson"], event.Erased) {
		t.Errorf("erasures: %s", files["erasures.ndjson"])
	}
	sound(offline(erased, "--signed-by", key, "--head", heads), "is not in the range, so no chain proves that messages of the range were erased")
	sound(offline(filepath.Join(dir, "all.tar.zst")))
	erasure := filepath.Join(dir, "erasure.tar.zst")
	sound(command("export", "--out", erasure))
	if _, files := unpack(t, erasure); files["erasures.ndjson"] != "" || !strings.Contains(files["events.ndjson"], event.Erased) {
		t.Errorf("an erasure of the range: %s", files["erasures.ndjson"])
	}
	sound(offline(erasure))

	// The beginning expires.
	s, err := js.Stream(t.Context(), "BPCC_EVENTS")
	if err == nil {
		err = s.Purge(t.Context(), jetstream.WithPurgeSequence(batch.first))
	}
	if err != nil {
		t.Fatal(err)
	}
	expired := filepath.Join(dir, "expired.tar.zst")
	sound(command("export", "--from-seq", "1", "--out", expired))
	if _, files := unpack(t, expired); strings.Contains(files["before.ndjson"], "acme") {
		t.Errorf("before the range: %s", files["before.ndjson"])
	}
	sound(offline(expired, "--signed-by", key), "acme  the beginning: the first checkpoint", "which is not in the range")
	for name, args := range map[string][]string{
		"nothing in it": {"--since", "2020-01-01Z", "--until", "2020-01-02Z"},
		"no tenant":     {"--tenant", "umbrella"},
	} {
		file := filepath.Join(dir, "none.tar.zst")
		if r := command(append([]string{"export", "--out", file}, args...)...); r.status != exitFailed || !strings.Contains(r.stderr, "the range holds no events") {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if r := command("export"); r.status != exitUsage || !strings.Contains(r.stderr, "name the file to write with --out") {
		t.Errorf("no file: %+v", r)
	}
	// Nothing is left of what was not completed.
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") || strings.HasPrefix(entry.Name(), "none") {
			t.Errorf("%s is left", entry.Name())
		}
	}
	if err != nil {
		t.Error(err)
	}
}

// storedBatch is a batch of an export.
type storedBatch struct {
	first, last uint64
	id, follows string // of its checkpoint
}

// batchesOf returns the batches of a tenant that have four messages or more, in order.
func batchesOf(t *testing.T, export, tenant string) (all []storedBatch) {
	t.Helper()
	var b storedBatch
	for line := range strings.Lines(export) {
		var m struct {
			Sequence uint64
			Subject  string
			Event    struct {
				ID   string
				Data struct{ Follows string }
			}
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(m.Subject, "bpcc.v1."+tenant+".") {
			continue
		}
		if b.first == 0 {
			b.first = m.Sequence
		}
		if strings.HasSuffix(m.Subject, event.Checkpoint) {
			b.last, b.id, b.follows = m.Sequence, m.Event.ID, m.Event.Data.Follows
			if b.last-b.first >= 3 {
				all = append(all, b)
			}
			b = storedBatch{}
		}
	}
	if len(all) < 4 {
		t.Fatalf("%d batches", len(all))
	}
	return all
}

// TestExportEnded: a signal, and a server that does not answer, leave no file.
func TestExportEnded(t *testing.T) {
	t.Parallel()
	js, _ := serverWithDay(t)
	frozen := &relay{target: strings.TrimPrefix(js.Conn().ConnectedUrl(), "nats://"), limit: 40 << 10, fail: func(net.Conn) {}}
	url := frozen.start(t)
	for name, test := range map[string]struct {
		url     string
		timeout string
		want    string
	}{
		"a signal while it reads":          {url, "1m", "did not finish: SIGTERM"},
		"a signal while it waits":          {"nats://127.0.0.1:1", "1m", "did not finish: SIGTERM"},
		"the server stops while it reads":  {url, "300ms", "no response from the NATS server (--timeout 300ms)"},
		"there is no server and no answer": {"nats://127.0.0.1:1", "100ms", "no response from the NATS server (--timeout 100ms)"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			limit := 500 * time.Millisecond
			if test.timeout != "1m" {
				limit = time.Minute
			}
			ctx, cancel := context.WithTimeoutCause(t.Context(), limit, errSignal)
			defer cancel()
			frozen.passed.Store(0)
			r := runCommand(t, ctx, []string{"NATS_URL=" + test.url}, "export", "--out", filepath.Join(dir, "day.tar.zst"), "--timeout", test.timeout)
			if r.status != exitFailed || !strings.Contains(r.stderr, test.want) || r.stdout != "" {
				t.Errorf("status %d\n%s%s", r.status, r.stdout, r.stderr)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("%v is left, %v", left, err)
			}
		})
	}
}
