package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/parquet-go/parquet-go"

	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/cmd/bridge/internal/reader"
	"bpcc-nats/cmd/bridge/internal/republish"
	"bpcc-nats/internal/natstest"
)

// serverWithDay is a server whose stream holds the golden day, as a bridge would
// have stored it.
func serverWithDay(t *testing.T) (js jetstream.JetStream, env []string) {
	t.Helper()
	server, err := stream.StartServer(t.TempDir(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	js = natstest.Connect(t, server.URL())
	env = []string{"NATS_URL=" + server.URL()}
	storeDay(t, js, env)
	return js, env
}

// storeDay provisions the streams and stores the golden day.
func storeDay(t *testing.T, js jetstream.JetStream, env []string) {
	t.Helper()
	if r := runCommand(t, t.Context(), env, "provision"); r.status != exitOK {
		t.Fatal(r.stderr)
	}
	for _, event := range goldenDay(t) {
		var e struct {
			ID, Type, Subject string
		}
		if err := json.Unmarshal([]byte(event), &e); err != nil {
			t.Fatal(err)
		}
		m := nats.NewMsg(subjectOf(e.Type, e.Subject))
		m.Data = []byte(event)
		m.Header.Set("Nats-Msg-Id", e.ID)
		m.Header.Set("Content-Type", "application/cloudevents+json")
		if strings.Contains(e.Type, ".disappeared.") {
			m.Header.Set("KV-Operation", "DEL")
		}
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
}

// subjectOf is where an event of the golden day lies.
func subjectOf(typ, about string) string {
	name := strings.TrimSuffix(strings.TrimPrefix(typ, "bpcc."), ".v1")
	_, verb, _ := strings.Cut(name, ".")
	var tokens []string
	for part := range strings.SplitSeq(about, "/") {
		tokens = append(tokens, event.Token(part))
	}
	return "bpcc.v1.acme." + strings.Join(tokens, ".") + "." + verb
}

func TestReplayFilters(t *testing.T) {
	t.Parallel()
	_, env := serverWithDay(t)
	all := goldenDay(t)
	count := func(substring string) int {
		n := 0
		for _, e := range all {
			if strings.Contains(e, substring) {
				n++
			}
		}
		return n
	}
	tests := map[string]struct {
		args []string
		want int
	}{
		"all":               {nil, len(all)},
		"one type":          {[]string{"--type", "agent.state_changed"}, count(`"bpcc.agent.state_changed.v1"`)},
		"a type's own name": {[]string{"--type", "bpcc.agent.state_changed.v1"}, count(`"bpcc.agent.state_changed.v1"`)},
		"a pattern":         {[]string{"--type", "agent.*"}, count(`"type":"bpcc.agent.`)},
		"one character":     {[]string{"--type", "agent.?tate_changed"}, count(`"bpcc.agent.state_changed.v1"`)},
		"brackets":          {[]string{"--type", "agent.[s]tate_changed"}, 0}, // stand for themselves, as in rules
		"two patterns":      {[]string{"--type", "agent.*,threshold.*"}, count(`"type":"bpcc.agent.`) + count(`"type":"bpcc.threshold.`)},
		"type twice":        {[]string{"--type", "agent.*", "--type", "threshold.*"}, count(`"type":"bpcc.agent.`) + count(`"type":"bpcc.threshold.`)},
		"two subjects":      {[]string{"--subject", "bpcc.v1.acme.agent.*.appeared,bpcc.v1.acme.agent.*.disappeared"}, 2},
		"from":              {[]string{"--from-seq", "60"}, len(all) - 59},
		"to":                {[]string{"--to-seq", "7"}, 7},
		"from and to":       {[]string{"--from-seq", "3", "--to-seq", "7"}, 5},
		"beyond the end":    {[]string{"--from-seq", "9999"}, 0},
		"since":             {[]string{"--since", "1h"}, len(all)},
		"until":             {[]string{"--until", "1h"}, 0},
		"fast":              {[]string{"--speed", "1000000", "--to-seq", "5"}, 5},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := runCommand(t, t.Context(), env, append([]string{"replay"}, test.args...)...)
			if n := strings.Count(r.stdout, "\n"); r.status != exitOK || n != test.want {
				t.Errorf("status %d, %d events, want %d\n%s", r.status, n, test.want, r.stderr)
			}
		})
	}
	lines := runCommand(t, t.Context(), env, "replay", "--human", "--type", "agent.*,feed.*")
	if !strings.Contains(lines.stdout, "→") || strings.Contains(lines.stdout, "\x1b") {
		t.Errorf("lines for people:\n%s", lines.stdout)
	}
}

// TestReplayOverForeignMessages: what another program has put into the stream, where it
// stays, ends no replay and breaks no line, and verify finds it in an export.
func TestReplayOverForeignMessages(t *testing.T) {
	t.Parallel()
	js, env := serverWithDay(t)
	foreign := []string{"", "hello", "{\n}", "\xff", "7"}
	for _, body := range foreign {
		if _, err := js.Publish(t.Context(), "bpcc.v1.acme.hello", []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	all := len(goldenDay(t))
	if r := runCommand(t, t.Context(), env, "replay", "--type", "*"); r.status != exitOK || strings.Count(r.stdout, "\n") < all {
		t.Errorf("by type: status %d\n%s", r.status, r.stderr)
	}
	r := runCommand(t, t.Context(), env, "replay", "--human", "--subject", "bpcc.v1.acme.hello")
	if r.status != exitOK || strings.Count(r.stdout, "not an event of the bridge") != len(foreign) {
		t.Errorf("for people: status %d\n%s%s", r.status, r.stdout, r.stderr)
	}
	for _, args := range [][]string{{"replay"}, {"replay", "--with-meta"}} {
		r := runCommand(t, t.Context(), env, args...)
		lines := strings.Split(strings.TrimSuffix(r.stdout, "\n"), "\n")
		if r.status != exitOK || len(lines) != all+len(foreign) {
			t.Fatalf("%v: status %d, %d lines, want %d\n%s", args, r.status, len(lines), all+len(foreign), r.stderr)
		}
		for _, line := range lines {
			if !json.Valid([]byte(line)) {
				t.Errorf("%v: no JSON: %q", args, line)
			}
		}
		file := filepath.Join(t.TempDir(), "export.ndjson")
		if err := os.WriteFile(file, []byte(r.stdout), 0o600); err != nil {
			t.Fatal(err)
		}
		result := runCommand(t, t.Context(), nil, "verify", file)
		code := "schema"
		if len(args) > 1 {
			code = "foreign" // since it is known that they have no headers
		}
		if want := fmt.Sprintf("%s %d", code, len(foreign)); result.status != exitFailed || !strings.Contains(result.stdout, want) {
			t.Errorf("%v: verify has status %d, want %q\n%s%s", args, result.status, want, result.stdout, result.stderr)
		}
	}
}

// TestReplayWithMeta: an export keeps what the stream knows, and verify reads it.
func TestReplayWithMeta(t *testing.T) {
	t.Parallel()
	_, env := serverWithDay(t)
	r := runCommand(t, t.Context(), env, "replay", "--with-meta")
	if r.status != exitOK {
		t.Fatal(r.stderr)
	}
	file := writeFile(t, "export.ndjson", []byte(r.stdout))
	if v := runCommand(t, t.Context(), nil, "verify", file); v.status != exitOK || !strings.Contains(v.stdout, "sequences 1 to 66") {
		t.Errorf("status %d\n%s%s", v.status, v.stdout, v.stderr)
	}
	lines := strings.SplitAfter(r.stdout, "\n")
	lines = slices.Delete(lines, 30, 31)
	file = writeFile(t, "export.ndjson", []byte(strings.Join(lines, "")))
	if v := runCommand(t, t.Context(), nil, "verify", file); v.status != exitFailed || !strings.Contains(v.stdout, "sequence 32") {
		t.Errorf("status %d\n%s%s", v.status, v.stdout, v.stderr)
	}
}

// TestReplayInto publishes the day again, twice, into a stream that de-duplicates:
// bodies and order stay, nothing is swallowed, and the truth is not touched.
func TestReplayInto(t *testing.T) {
	t.Parallel()
	js, env := serverWithDay(t)
	received, err := js.Conn().SubscribeSync("again.v1.>")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "AGAIN", Subjects: []string{"again.>"}, Duplicates: time.Minute}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r := runCommand(t, t.Context(), env, "replay", "--into", "again.v1", "--speed", "max")
		if r.status != exitOK || !strings.Contains(r.stderr, "published 66 events under again.v1.>, into stream AGAIN") || r.stdout != "" {
			t.Fatalf("status %d\n%s%s", r.status, r.stdout, r.stderr)
		}
		var got []string
		for i := range goldenDay(t) {
			m, err := received.NextMsg(10 * time.Second)
			if err != nil {
				t.Fatal(err)
			}
			var e struct{ Type, Subject string }
			if err := json.Unmarshal(m.Data, &e); err != nil {
				t.Fatal(err)
			}
			if want := "again" + strings.TrimPrefix(subjectOf(e.Type, e.Subject), "bpcc"); m.Subject != want {
				t.Errorf("subject %s, want %s", m.Subject, want)
			}
			if m.Header.Get("Content-Type") != "application/cloudevents+json" || m.Header.Get(republish.SequenceHeader) != fmt.Sprint(i+1) {
				t.Errorf("headers %v", m.Header)
			}
			got = append(got, string(m.Data))
		}
		if diff := cmp.Diff(goldenDay(t), got); diff != "" {
			t.Fatalf("bodies (-stored +replayed)\n%s", diff)
		}
	}
	again, err := js.Stream(t.Context(), "AGAIN")
	if err != nil {
		t.Fatal(err)
	}
	if n := again.CachedInfo().State.Msgs; n != 132 {
		t.Errorf("the stream holds %d events of two replays of 66", n)
	}
	events, err := js.Stream(t.Context(), "BPCC_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if n := events.CachedInfo().State.Msgs; n != 66 {
		t.Errorf("the stream of the truth holds %d events, not 66", n)
	}
	for into, want := range map[string]string{
		"bpcc.v1": "stream BPCC_EVENTS captures this prefix", "bpcc.v1.acme.agent": "stream BPCC_EVENTS captures this prefix", "bpcc": "captures this prefix",
		"bpcc.watchdog": "stream BPCC_EVENTS_WATCHDOG captures this prefix", "a.*": "invalid subject prefix", "a..b": "invalid subject prefix", "$KV.bpcc_state": "invalid subject prefix",
	} {
		if r := runCommand(t, t.Context(), env, "replay", "--into", into); r.status != exitUsage || !strings.Contains(r.stderr, want) {
			t.Errorf("--into %s: status %d, %s", into, r.status, r.stderr)
		}
	}
}

// TestReplaySpeed: what is a speed.
func TestReplaySpeed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"max": true, "1": true, "0.5": true, "1e9": true, "0": false, "-1": false, "1e10": false, "NaN": false, "Inf": false, "fast": false} {
		var r replayer
		if err := r.setSpeed(text); (err == nil) != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestReplayPace: at a speed, time passes as it passed in the stream.
func TestReplayPace(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var emitted []uint64
	r := replayer{speed: 1, emit: func(_ context.Context, m reader.Message) error {
		if emitted = append(emitted, m.Seq); len(emitted) == 2 {
			cancel()
		}
		return nil
	}}
	begin := time.Now()
	at := func(seq uint64, after time.Duration) reader.Message {
		return reader.Message{Seq: seq, Stored: begin.Add(after - time.Hour)}
	}
	if err := r.handle(ctx, at(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := r.handle(ctx, at(2, 30*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if passed := time.Since(begin); passed < 30*time.Millisecond {
		t.Errorf("30 ms of the stream passed in %v", passed)
	}
	if err := r.handle(ctx, at(3, time.Hour)); err == nil {
		t.Error("the end did not interrupt an hour's wait")
	}
	if diff := cmp.Diff([]uint64{1, 2}, emitted); diff != "" {
		t.Errorf("emitted (-want +got)\n%s", diff)
	}
}

// TestReplayTable: a table has a row for each message that is selected, in each format.
func TestReplayTable(t *testing.T) {
	t.Parallel()
	_, env := serverWithDay(t)
	all := len(goldenDay(t))
	table := func(args ...string) string {
		t.Helper()
		r := runCommand(t, t.Context(), env, append([]string{"replay"}, args...)...)
		if r.status != exitOK || r.stderr != "" {
			t.Fatalf("%v: status %d\n%s", args, r.status, r.stderr)
		}
		return r.stdout
	}
	lines, err := csv.NewReader(strings.NewReader(table("--format", "csv", "--stats", "in_calls_waiting"))).ReadAll()
	if err != nil || len(lines) != all+1 || lines[0][0] != "sequence" || lines[0][len(lines[0])-1] != "after_in_calls_waiting" {
		t.Errorf("%v, %d lines, want %d", err, len(lines), all+1)
	}
	changed := strings.Count(strings.Join(goldenDay(t), "\n"), `"bpcc.agent.state_changed.v1"`)
	rows := strings.Split(strings.TrimSpace(table("--format", "ndjson", "--type", "agent.state_changed", "--since", "1h")), "\n")
	if len(rows) != changed || !strings.Contains(rows[0], `"from_state":"ready"`) {
		t.Errorf("%d rows, want %d: %s", len(rows), changed, rows[0])
	}
	text := table("--format", "parquet", "--to-seq", "7")
	file, err := parquet.OpenFile(strings.NewReader(text), int64(len(text)))
	if err != nil || file.NumRows() != 7 {
		t.Errorf("%v, or not 7 rows", err)
	}
	for _, args := range [][]string{
		{"--format", "xlsx"}, {"--format", "csv", "--human"}, {"--format", "csv", "--with-meta"}, {"--format", "csv", "--into", "x"},
		{"--stats", "reason"}, {"--format", "csv", "--stats", "a,a"}, {"--format", "parquet", "--follow"},
	} {
		if r := runCommand(t, t.Context(), env, append([]string{"replay"}, args...)...); r.status != exitUsage || r.stdout != "" {
			t.Errorf("%v: status %d\n%s", args, r.status, r.stderr)
		}
	}
	for format, want := range map[string]int{"csv": exitUsage, "parquet": exitUsage, "ndjson": exitOK} {
		if r := onTerminal(t, t.Context(), env, "replay", "--format", format); r.status != want {
			t.Errorf("%s on a terminal: status %d\n%s", format, r.status, r.stdout)
		}
	}
	// What did not finish is no Parquet file.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := runCommand(t, ctx, env, "replay", "--format", "parquet")
	if _, err := parquet.OpenFile(strings.NewReader(r.stdout), int64(len(r.stdout))); r.status != exitFailed || err == nil {
		t.Errorf("interrupted: status %d, %v", r.status, err)
	}
}
