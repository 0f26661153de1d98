package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// sinks is a stream that a bridge fills, and a database that Bento fills from it.
type sinks struct {
	whole         *testing.T // of which the others are parts
	bridge, bento string
	telegraf      string
	dir           string // of the files
	env           []string
	js            jetstream.JetStream
	postgres      *postgres
	table         *shell // Bento, for the table
}

// TestSinks runs the sinks of deploy/sinks while a bridge publishes. Bento and PostgreSQL are
// killed meanwhile. In the end the table and the files hold what the stream holds, and the queries answer
// as `bridge state --at` does. It needs PostgreSQL, and builds Bento and
// Telegraf.
func TestSinks(t *testing.T) {
	needScripts(t)
	s := &sinks{whole: t, bridge: findBridge(t), dir: t.TempDir(), postgres: startPostgres(t)}
	s.bento, s.telegraf = findModule(t, "CI_BENTO", "../bench/bento"), findModule(t, "CI_TELEGRAF", "../.ci/telegraf")
	env := cleanEnv()
	server := startServer(t, env)
	url, id, secret := startTenant(t, env, s.bridge, "--agents 30 --services 4 --speed 30 --seed 7")
	s.env = append(env, "NATS_URL="+server, "POSTGRES_URL="+s.postgres.url, "DIRECTORY="+s.dir,
		"BPCC_URL="+url, "BPCC_CLIENT_ID="+id, "BPCC_CLIENT_SECRET="+secret, "BPCC_POLL_INTERVAL=200ms", "BPCC_AVAILABILITY_INTERVAL=200ms",
		"BRIDGE_TENANT=acme", "BRIDGE_HTTP=off", "BRIDGE_CHECKPOINT_INTERVAL=1s",
		`BRIDGE_THRESHOLDS=[{"name":"backlog","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":3}}]`)
	nc, err := nats.Connect(server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if s.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	output(t, s.env, s.bridge, "provision")
	s.createConsumer(t, "postgresql")
	s.createConsumer(t, "files")
	s.postgres.run(t, "-f", "../deploy/sinks/schema.sql")
	s.fill(t)
	s.drained(t)
	t.Run("table", s.checkTable)
	t.Run("table, delivered again", s.checkDeliveredAgain)
	t.Run("files", s.checkFiles)
	t.Run("points", s.checkPoints)
	t.Run("missing", s.checkMissing)
	t.Run("state at", s.checkStates)
	t.Run("time in state", s.checkTimes)
	t.Run("queue history", s.checkQueues)
	t.Run("forged events", s.checkForged)
}

// createConsumer creates the durable consumer of a sink as docs/sinks.md does, but for --wait.
func (s *sinks) createConsumer(t *testing.T, name string) {
	t.Helper()
	if _, err := s.js.CreateConsumer(t.Context(), "BPCC_EVENTS", jetstream.ConsumerConfig{
		Durable: name, FilterSubject: "bpcc.v1.>", AckPolicy: jetstream.AckExplicitPolicy, AckWait: 2 * time.Second, MaxAckPending: 2000,
	}); err != nil {
		t.Fatal(err)
	}
}

// findModule returns the program that a variable names, or builds it of another module.
func findModule(t *testing.T, variable, dir string) string {
	t.Helper()
	if file := os.Getenv(variable); file != "" {
		return file
	}
	file := filepath.Join(t.TempDir(), filepath.Base(dir))
	output(t, append(os.Environ(), "CGO_ENABLED=0"), "go", "build", "-C", dir, "-tags", "sinks", "-o", file, ".")
	return file
}

// fill lets a bridge publish, with everything killed and started again meanwhile.
func (s *sinks) fill(t *testing.T) {
	bridge := s.launch(t, s.bridge+" run", "leading")
	table, files := s.startBento(t, "postgresql"), s.startBento(t, "files")
	s.stored(t, 400)
	kill := func(p *shell) { p.stop(syscall.SIGKILL) }
	kill(table)
	kill(files)
	s.stored(t, s.messages(t)+200)
	table = s.startBento(t, "postgresql")
	s.startBento(t, "files")
	// A gap, while the sinks run.
	bridge.stop(syscall.SIGTERM)
	bridge = s.launch(t, s.bridge+" run", "leading")
	s.stored(t, s.messages(t)+200)
	kill(bridge)
	<-time.After(6 * time.Second) // longer than what is no gap
	s.postgres.restart(t)
	bridge = s.launch(t, s.bridge+" run", "leading")
	s.stored(t, s.messages(t)+100)
	kill(table)
	for _, body := range []string{"hello", "{\n}", "\xff", `{"type":"bpcc.agent.observed.v1","id":"acme-1-1-1","data":{}}`} {
		if _, err := s.js.Publish(t.Context(), "bpcc.v1.acme.hello", []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	s.stored(t, s.messages(t)+200)
	s.table = s.startBento(t, "postgresql")
	if !bridge.stop(syscall.SIGTERM) {
		t.Errorf("the bridge does not stop\n%s", bridge.tail())
	}
}

// launch starts a program until it prints a text.
func (s *sinks) launch(t *testing.T, command, text string) *shell {
	t.Helper()
	p, err := startShell("exec "+command, root, s.env, false)
	if err != nil {
		t.Fatal(err)
	}
	s.whole.Cleanup(func() {
		if p.stop(syscall.SIGTERM); s.whole.Failed() {
			s.whole.Logf("%s\n%s", command, p.tail())
		}
	})
	if !p.waitFor(regexp.MustCompile(text), 30*time.Second) {
		t.Fatalf("%s: no %q\n%s", command, text, p.tail())
	}
	return p
}

func (s *sinks) startBento(t *testing.T, name string) *shell {
	t.Helper()
	return s.launch(t, s.bento+" -r deploy/sinks/columns.yaml -c deploy/sinks/"+name+".yaml", "Output type .* is now active")
}

func (s *sinks) messages(t *testing.T) uint64 {
	t.Helper()
	stream, err := s.js.Stream(t.Context(), "BPCC_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().State.Msgs
}

// until waits for something.
func until(t *testing.T, what string, limit time.Duration, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !is(); <-time.After(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within %v", what, limit)
		}
	}
}

// stored waits until the stream holds so many messages.
func (s *sinks) stored(t *testing.T, n uint64) {
	t.Helper()
	until(t, fmt.Sprintf("stream of %d messages", n), 60*time.Second, func() bool { return s.messages(t) >= n })
}

// drained waits until the sinks have acknowledged everything.
func (s *sinks) drained(t *testing.T) {
	t.Helper()
	for _, name := range []string{"postgresql", "files"} {
		until(t, "acknowledgement of everything by "+name, 30*time.Second, func() bool {
			c, err := s.js.Consumer(t.Context(), "BPCC_EVENTS", name)
			if err != nil {
				t.Fatal(err)
			}
			info := c.CachedInfo()
			return info.NumPending == 0 && info.NumAckPending == 0
		})
	}
}

// checkTable compares the table with the stream, as CSV that PostgreSQL reads.
func (s *sinks) checkTable(t *testing.T) {
	file := filepath.Join(s.dir, "stream.csv")
	if err := os.WriteFile(file, []byte(output(t, s.env, s.bridge, "replay", "--format", "csv")), 0o600); err != nil {
		t.Fatal(err)
	}
	s.postgres.run(t, "-c", "DROP TABLE IF EXISTS stream; CREATE TABLE stream (LIKE bpcc_events); ALTER TABLE stream ALTER id DROP NOT NULL, ALTER type DROP NOT NULL",
		"-c", `\copy stream FROM '`+file+`' WITH (FORMAT csv, HEADER)`)
	counts := s.postgres.run(t, "-c", `SELECT
		(SELECT count(*) FROM stream WHERE type IS NULL), (SELECT count(*) FROM stream WHERE type IS NOT NULL), (SELECT count(*) FROM bpcc_events),
		(SELECT count(*) FROM (SELECT * FROM stream WHERE type IS NOT NULL EXCEPT ALL SELECT * FROM bpcc_events) AS lost),
		(SELECT count(*) FROM (SELECT * FROM bpcc_events EXCEPT ALL SELECT * FROM stream) AS more)`)
	t.Logf("foreign messages, events, rows, not in the table, not in the stream: %s", counts)
	n := strings.Split(strings.TrimSpace(counts), "|")
	if n[0] != "4" || n[1] != n[2] || n[3] != "0" || n[4] != "0" {
		t.Errorf("the table differs:\n%s", s.postgres.run(t, "-c", "SELECT * FROM stream WHERE type IS NOT NULL EXCEPT ALL SELECT * FROM bpcc_events LIMIT 3"))
	}
	if events, err := strconv.Atoi(n[1]); err != nil || events < 1000 {
		t.Errorf("%s events are too few", n[1])
	}
}

// checkDeliveredAgain: when every message is delivered again, the table stays as it is.
func (s *sinks) checkDeliveredAgain(t *testing.T) {
	s.table.stop(syscall.SIGKILL)
	if err := s.js.DeleteConsumer(t.Context(), "BPCC_EVENTS", "postgresql"); err != nil {
		t.Fatal(err)
	}
	s.createConsumer(t, "postgresql")
	s.table = s.startBento(t, "postgresql")
	began := time.Now()
	s.drained(t)
	t.Logf("%d messages in %.1f s", s.messages(t), time.Since(began).Seconds())
	s.checkTable(t)
}

// checkFiles compares the files with the stream. A line may be there twice, with the same content.
func (s *sinks) checkFiles(t *testing.T) {
	parse := func(text string, rows map[string]map[string]any) (lines int) {
		for line := range strings.Lines(text) {
			var row map[string]any
			if err := json.Unmarshal([]byte(line), &row); err != nil {
				t.Fatalf("%v: %q", err, line)
			}
			id, ok := row["id"].(string)
			if !ok {
				continue // foreign
			}
			lines++
			for name, v := range row {
				text, _ := v.(string)
				if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
					row[name] = at.UnixNano()
				}
				if name == "data" && ok {
					var data any
					if err := json.Unmarshal([]byte(text), &data); err != nil {
						t.Fatalf("%v: %q", err, text)
					}
					row[name] = data
				}
			}
			if before := rows[id]; before != nil && !cmp.Equal(before, row) {
				t.Errorf("two rows of %s:\n%s", id, cmp.Diff(before, row))
			}
			rows[id] = row
		}
		return lines
	}
	want, got, lines := map[string]map[string]any{}, map[string]map[string]any{}, 0
	parse(output(t, s.env, s.bridge, "replay", "--format", "ndjson"), want)
	names, err := filepath.Glob(filepath.Join(s.dir, "acme", "*.ndjson"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines += parse(string(text), got)
	}
	t.Logf("%d lines of %d events", lines, len(got))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-stream +files)\n%.3000s", diff)
	}
}

// checkPoints compares the points of Telegraf with the table.
func (s *sinks) checkPoints(t *testing.T) {
	want := strings.Split(strings.TrimSpace(s.postgres.run(t, "-c", `
		SELECT 'bpcc_service,service=' || entity_id || ',tenant=acme revision=' || revision || 'i' ||
			coalesce(',in_calls_waiting=' || nullif(data -> 'after' ->> 'in_calls_waiting', '') || 'i', '') ||
			coalesce(',service_level=' || nullif(data -> 'after' ->> 'service_level', '')::float8, '') ||
			' ' || (extract(epoch FROM time) * 1000)::bigint || '000000'
		FROM bpcc_events WHERE kind = 'service'
		UNION ALL
		SELECT 'bpcc_agent_state,agent=' || entity_id || ',tenant=acme state_revision=' || state_revision || 'i,state="' || to_state || '"' ||
			coalesce(',reason="' || to_reason || '"', '') || ' ' || (extract(epoch FROM time) * 1000)::bigint || '000000'
		FROM bpcc_events WHERE type = 'bpcc.agent.state_changed.v1'`)), "\n")
	p := s.launch(t, s.telegraf+" deploy/sinks/telegraf.conf", "bpcc_")
	points := func() []string {
		return slices.DeleteFunc(strings.Split(p.printed(), "\n"), func(line string) bool { return !strings.HasPrefix(line, "bpcc_") })
	}
	until(t, fmt.Sprintf("output of %d points", len(want)), 20*time.Second, func() bool { return len(points()) >= len(want) })
	got := points()
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-table +points)\n%.3000s", diff)
	}
	t.Logf("%d points", len(got))
}

// checkMissing: nothing is missing; a row that is deleted is, and so is a checkpoint.
func (s *sinks) checkMissing(t *testing.T) {
	if text := s.postgres.run(t, "-f", "../deploy/sinks/missing.sql"); text != "" {
		t.Errorf("missing:\n%s", text)
	}
	text := s.postgres.run(t, "-c", "BEGIN", "-c", `DELETE FROM bpcc_events WHERE sequence IN
		((SELECT max(sequence) - 50 FROM bpcc_events WHERE kind = 'agent'), (SELECT max(sequence) FROM bpcc_events WHERE kind = 'agent'))`,
		"-c", `DELETE FROM bpcc_events WHERE id = (SELECT data ->> 'follows' FROM bpcc_events WHERE type = 'bpcc.feed.checkpoint.v1' ORDER BY sequence DESC LIMIT 1)`,
		"-f", "../deploy/sinks/missing.sql", "-c", "ROLLBACK")
	if !strings.Contains(text, "acme|") || !regexp.MustCompile(`(?m)^acme\|\d+\|\d+\|1\|$`).MatchString(text) || !regexp.MustCompile(`(?m)^acme\|\d+\|\d+\|\|acme-`).MatchString(text) {
		t.Errorf("of a table without some rows is missing:\n%s", text)
	}
}

// checkForged: values that no column takes do not stop the sink.
func (s *sinks) checkForged(t *testing.T) {
	publish := func(id, body string) {
		m := nats.NewMsg("bpcc.v1.forged.agent.x.observed")
		m.Header.Set("Nats-Msg-Id", id)
		m.Data = []byte(body)
		if _, err := s.js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	values := []string{"null", "0", "-1", "1e99", "18446744073709551615", `""`, `"x"`, `"0000-00-00T00:00:00Z"`, `"0000-01-01T00:00:00Z"`, `"2026-02-30T00:00:00Z"`, "true", "[]", "{}", `"a\u0000b"`, `"a\\u0000b"`, `"=1+1"`}
	for i, v := range values {
		publish(fmt.Sprint("forged-", i), fmt.Sprintf(`{"id":"forged-%d","type":"bpcc.agent.observed.v1","time":%[2]s,"data":{"tenant":%[2]s,"poll":%[2]s,"revision":%[2]s,"agent":%[2]s,
			"from":%[2]s,"to":{"state":%[2]s,"reason":%[2]s},"since":%[2]s,"reentered":%[2]s,"after_gap":%[2]s,"observed":{"after":%[2]s,"by":%[2]s},"value":%[2]s,"limit":%[2]s,"available":%[2]s,"after":%[2]s}}`, i, v))
	}
	s.drained(t)
	if n := strings.TrimSpace(s.postgres.run(t, "-c", "SELECT count(*) FROM bpcc_events WHERE id LIKE 'forged-%'")); n != strconv.Itoa(len(values)) {
		t.Errorf("%s rows, want %d", n, len(values))
	}
	// A row that has other columns than its data's beginning would not be found here.
	if text := s.postgres.run(t, "-c", "SELECT to_state FROM bpcc_events WHERE id = 'forged-13'"); text != "a\ufffdb\n" {
		t.Errorf("NUL is %q", text)
	}
}
