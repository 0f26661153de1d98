package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/internal/natstest"
)

// readers are the commands that read from NATS.
var readers = [][]string{{"state"}, {"replay"}, {"replay", "--human"}, {"replay", "--follow"}, {"replay", "--into", "again.v1"}, {"verify"}, {"verify", "--json"}}

// onceOnly are the commands that NATS must answer within --timeout.
var onceOnly = append(readers[:len(readers):len(readers)], []string{"provision"})

// TestReadersDoNotWaitForEver: every command that reads, and provision, ends when the server does not
// answer, with a hint.
func TestReadersDoNotWaitForEver(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		url  func(t *testing.T) string
		want []string // in standard error
	}{
		"nothing listens": {func(*testing.T) string { return "nats://127.0.0.1:1" },
			[]string{"no response from the NATS server (--timeout 300ms)", "check NATS_URL"}},
		"it says nothing": {func(t *testing.T) string { return listening(t, "") },
			[]string{"no response from the NATS server (--timeout 300ms)", "check NATS_URL"}},
		"it does not answer": {func(t *testing.T) string {
			return listening(t, `INFO {"server_id":"x","version":"2.15.2","proto":1,"headers":true,"max_payload":1048576}`+"\r\n")
		}, []string{"no response from the NATS server (--timeout 300ms)", "check NATS_URL"}},
		"it is no NATS server": {func(t *testing.T) string { return listening(t, "HTTP/1.1 400 Bad Request\r\n\r\n") },
			[]string{"INFO not received", "check NATS_URL: what listens there is no NATS server"}},
		"no leader": {serverWithoutQuorum, []string{"no response from the NATS server (--timeout 300ms)", "no server leads: check that more than half of the NATS servers that hold the stream run"}},
		"no JetStream": {func(t *testing.T) string { return bareServer(t, false) },
			[]string{"no response from the NATS server (--timeout 300ms)", "no responders", "enable JetStream on the NATS server"}},
		"no stream": {func(t *testing.T) string { return bareServer(t, true) },
			[]string{"BPCC_EVENTS", "not found", "check BRIDGE_STREAM, and NATS_URL"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := []string{"NATS_URL=" + test.url(t)}
			for _, args := range onceOnly {
				if args[0] == "provision" && name == "no stream" {
					continue // it makes one
				}
				faults := []string{"not run"}
				// A busy machine may take longer than the timeout for what takes no time, but not each time.
				for attempt := 0; attempt < 5 && len(faults) > 0; attempt++ {
					faults = nil
					began := time.Now()
					r := runCommand(t, t.Context(), env, append(args[:len(args):len(args)], "--timeout", "300ms")...)
					if r.status != exitFailed || r.stdout != "" {
						faults = append(faults, fmt.Sprintf("status %d, %q", r.status, r.stdout))
					}
					for _, want := range test.want {
						if !strings.Contains(r.stderr, want) {
							faults = append(faults, fmt.Sprintf("no %q in %s", want, r.stderr))
						}
					}
					if took := time.Since(began); took > 1800*time.Millisecond { // the library alone takes 2 s for a server that says nothing
						faults = append(faults, fmt.Sprintf("it took %v", took))
					}
				}
				if len(faults) > 0 {
					t.Errorf("%v: %s", args, strings.Join(faults, "\n"))
				}
			}
		})
	}
}

// listening accepts connections, writes a text to each, and nothing else.
func listening(t *testing.T, say string) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			_, _ = io.WriteString(c, say) // an error means that the client has closed it
		}
	}()
	return "nats://" + l.Addr().String()
}

// bareServer is a server without streams.
func bareServer(t *testing.T, jetStream bool) (url string) {
	t.Helper()
	return natstest.Start(t, &server.Options{JetStream: jetStream, StoreDir: t.TempDir()}).ClientURL()
}

// relay is a network between a command and its server, which fails when it has passed
// limit bytes to the command.
type relay struct {
	target string
	passed atomic.Int64
	limit  int64                   // 0 = none
	fail   func(client net.Conn)   // what happens then
	before func()                  // before each piece that is passed
	refuse func(passed int64) bool // a new connection; nil = never
	conns  sync.Map                // to be closed
}

const relayPiece = 2 << 10

func (r *relay) start(t *testing.T) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		r.conns.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true })
		serving.Wait()
	})
	serving.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			if r.refuse != nil && r.refuse(r.passed.Load()) {
				client.Close()
				continue
			}
			to, err := net.Dial("tcp", r.target)
			if err != nil {
				client.Close()
				continue
			}
			r.conns.Store(client, nil)
			r.conns.Store(to, nil)
			serving.Go(func() { defer to.Close(); _, _ = io.Copy(to, client) })
			serving.Go(func() { r.pass(client, to) })
		}
	})
	return "nats://" + l.Addr().String()
}

func (r *relay) pass(client, from net.Conn) {
	piece := make([]byte, relayPiece)
	for {
		n, err := from.Read(piece)
		if err != nil {
			client.Close()
			return
		}
		if r.limit > 0 && r.passed.Load() < r.limit && r.passed.Load()+int64(n) >= r.limit {
			r.passed.Add(int64(n))
			r.fail(client)
			return
		}
		if r.before != nil {
			r.before()
		}
		r.passed.Add(int64(n))
		if _, err := client.Write(piece[:n]); err != nil {
			return
		}
	}
}

// TestReadersWhenTheConnectionFails: when the connection is silent or closed in the
// middle of the reading, every command ends with an error and without a verdict.
func TestReadersWhenTheConnectionFails(t *testing.T) {
	t.Parallel()
	js, env := serverWithDay(t)
	target := strings.TrimPrefix(js.Conn().ConnectedUrl(), "nats://")
	whole := &relay{target: target}
	url := whole.start(t)
	for range 2 { // until the view has taken all events
		whole.passed.Store(0)
		if r := runCommand(t, t.Context(), []string{"NATS_URL=" + url}, "state"); r.status != exitOK {
			t.Fatalf("status %d\n%s", r.status, r.stderr)
		}
	}
	day := int64(len(runCommand(t, t.Context(), env, "replay").stdout))
	for _, args := range readers {
		limit := day / 2
		if args[0] == "state" { // it reads less
			limit = whole.passed.Load() - 2*relayPiece
		}
		for name, fail := range map[string]func(net.Conn){"frozen": func(net.Conn) {}, "cut": func(c net.Conn) { c.Close() }} {
			t.Run(strings.Join(args, " ")+" "+name, func(t *testing.T) {
				t.Parallel()
				link := &relay{target: target, limit: limit, fail: fail, refuse: func(passed int64) bool { return passed >= limit }}
				r := runCommand(t, t.Context(), []string{"NATS_URL=" + link.start(t)}, append(args[:len(args):len(args)], "--timeout", "500ms")...)
				if r.status != exitFailed || !strings.Contains(r.stderr, "no response from the NATS server (--timeout 500ms)") {
					t.Errorf("status %d\n%s", r.status, r.stderr)
				}
				if args[0] != "replay" && r.stdout != "" {
					t.Errorf("it prints what it has not read to the end:\n%s", r.stdout)
				}
				if link.passed.Load() < limit {
					t.Errorf("it failed after %d bytes, not %d", link.passed.Load(), limit)
				}
			})
		}
	}
}

// TestReadersGoOn: a reconnect loses no event and repeats none, and a reading may take
// longer than the timeout.
func TestReadersGoOn(t *testing.T) {
	t.Parallel()
	js, env := serverWithDay(t)
	target := strings.TrimPrefix(js.Conn().ConnectedUrl(), "nats://")
	want := runCommand(t, t.Context(), env, "replay").stdout
	for name, test := range map[string]struct {
		link    *relay
		timeout time.Duration
	}{
		"cut":  {&relay{target: target, limit: int64(len(want) / 2), fail: func(c net.Conn) { c.Close() }}, 10 * time.Second},
		"slow": {&relay{target: target, before: func() { <-time.After(50 * time.Millisecond) }}, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := []string{"NATS_URL=" + test.link.start(t)}
			began := time.Now()
			r := runCommand(t, t.Context(), env, "replay", "--timeout", test.timeout.String())
			if r.status != exitOK || r.stdout != want {
				t.Errorf("status %d, %d events of %d\n%s", r.status, strings.Count(r.stdout, "\n"), strings.Count(want, "\n"), r.stderr)
			}
			took := time.Since(began)
			if name == "slow" && took < test.timeout {
				t.Errorf("it was not slow: %v", took)
			}
			if name == "cut" && took > test.timeout/2-500*time.Millisecond {
				t.Errorf("it did not continue at the reconnect, but after %v", took)
			}
		})
	}
}

// TestFollowWaitsForEvents: --follow may wait for an event longer than the timeout.
func TestFollowWaitsForEvents(t *testing.T) {
	t.Parallel()
	js, env := serverWithDay(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var stdout, stderr syncBuffer
	status := make(chan int, 1)
	go func() { status <- run(ctx, []string{"replay", "--follow", "--timeout", "3s"}, env, &stdout, &stderr) }()
	shows := func(lines int) {
		t.Helper()
		waitUntil(t, func() bool { return strings.Count(stdout.String(), "\n") >= lines }, func() string {
			return fmt.Sprintf("it shows %d events, not %d\n%s", strings.Count(stdout.String(), "\n"), lines, stderr.String())
		})
	}
	all := len(goldenDay(t))
	shows(all)
	select {
	case got := <-status:
		t.Fatalf("status %d after a silence\n%s", got, stderr.String())
	case <-time.After(3300 * time.Millisecond):
	}
	if _, err := js.Publish(t.Context(), "bpcc.v1.acme.hello", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	shows(all + 1)
	cancel()
	if got := <-status; got != exitOK {
		t.Errorf("status %d\n%s", got, stderr.String())
	}
}

// TestEndedBySignal: a command that a signal ends before it is done says so, and gives
// no verdict.
func TestEndedBySignal(t *testing.T) {
	t.Parallel()
	js, _ := serverWithDay(t)
	frozen := &relay{target: strings.TrimPrefix(js.Conn().ConnectedUrl(), "nats://"), limit: 30 << 10, fail: func(net.Conn) {}}
	for name, url := range map[string]string{"while it waits for the server": "nats://127.0.0.1:1", "while it reads": frozen.start(t)} {
		for _, args := range onceOnly {
			if name == "while it reads" && (args[0] == "state" || args[0] == "provision") {
				continue // it reads less than that
			}
			t.Run(name+" "+strings.Join(args, " "), func(t *testing.T) {
				ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, errSignal)
				defer cancel()
				frozen.passed.Store(0)
				r := runCommand(t, ctx, []string{"NATS_URL=" + url}, append(args[:len(args):len(args)], "--timeout", "1s")...)
				want, status := "did not finish: SIGTERM", exitFailed
				if len(args) > 1 && args[1] == "--follow" { // which only a signal ends
					want, status = "", exitOK
				}
				if r.status != status || !strings.Contains(r.stderr, want) {
					t.Errorf("status %d, want %d and %q\n%s", r.status, status, want, r.stderr)
				}
				if args[0] != "replay" && r.stdout != "" {
					t.Errorf("it prints what it has not read to the end:\n%s", r.stdout)
				}
			})
		}
	}
}

// TestCheckEndedBySignal: what a signal ends is no problem of BPCC or NATS.
func TestCheckEndedBySignal(t *testing.T) {
	t.Parallel()
	silent := listening(t, "")
	info := listening(t, `INFO {"server_id":"x","version":"2.15.2","proto":1,"headers":true,"max_payload":1048576}`+"\r\n")
	for name, test := range map[string]struct {
		source     string // "" is a tenant of the test's own, since a session ends another of the same user
		nats, last string
	}{
		"while BPCC hangs":         {strings.Replace(silent, "nats", "http", 1), silent, "configuration"},
		"while NATS is not there":  {"", "nats://127.0.0.1:1", "NATS\n"},
		"while NATS says nothing":  {"", silent, "NATS\n"},
		"while NATS answers never": {"", info, "NATS\n"},
	} {
		for _, args := range [][]string{{"check"}, {"check", "--json"}} {
			t.Run(name+" "+strings.Join(args, " "), func(t *testing.T) {
				t.Parallel()
				source := test.source
				if source == "" {
					source = startTenant(t, bpcctest.Config{}).URL
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				var stdout, stderr syncBuffer
				status := make(chan int, 1)
				go func() {
					status <- run(ctx, args, append(sourceEnv(source), "NATS_URL="+test.nats), &stdout, &stderr)
				}()
				last := test.last
				if len(args) > 1 && last == "NATS\n" {
					last = "availability" // the last step of the source
				}
				stdout.waitFor(t, last)
				cancel(errSignal)
				got := <-status
				if out := stdout.String(); got != exitFailed || strings.Contains(out, "fail") || strings.Contains(out, "FAILED") || strings.Contains(out, "OK:") {
					t.Errorf("status %d\n%s", got, out)
				}
				if want := "bridge check: did not finish: SIGTERM\n"; !strings.HasSuffix(stderr.String(), want) {
					t.Errorf("no %q in\n%s", want, stderr.String())
				}
			})
		}
	}
}

// errSignal is like the cause of a context that a signal ends.
var errSignal error = signalled{}

type signalled struct{}

func (signalled) Error() string        { return "SIGTERM" }
func (signalled) Is(target error) bool { return target == context.Canceled }

// TestMessageThatCannotBeRead: the client library takes some messages for answers of
// the server. They end a reading with what to do.
func TestMessageThatCannotBeRead(t *testing.T) {
	t.Parallel()
	js, env := serverWithDay(t)
	m := nats.NewMsg("bpcc.v1.acme.hello")
	m.Header.Set("Status", "404")
	for _, m := range []*nats.Msg{m, {Subject: m.Subject, Data: []byte("{}")}} {
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"replay", "verify"} {
		r := runCommand(t, t.Context(), env, name, "--timeout", "5s")
		if r.status != exitFailed || !strings.Contains(r.stderr, "cannot be read after sequence 66: ") || !strings.Contains(r.stderr, "--from-seq 68") {
			t.Errorf("%s: status %d\n%s", name, r.status, r.stderr)
		}
	}
	if r := runCommand(t, t.Context(), env, "replay", "--from-seq", "68"); r.status != exitOK || r.stdout != "{}\n" {
		t.Errorf("status %d\n%s%s", r.status, r.stdout, r.stderr)
	}
}

func TestTimeoutUsage(t *testing.T) {
	t.Parallel()
	for _, args := range onceOnly {
		for value, want := range map[string]string{"0": "must be above 0, not 0s", "-1s": "must be above 0, not -1s", "soon": "soon"} {
			r := runCommand(t, t.Context(), []string{"NATS_URL=nats://127.0.0.1:1"}, append(args[:len(args):len(args)], "--timeout", value)...)
			if r.status != exitUsage || !strings.Contains(r.stderr, want) {
				t.Errorf("%v --timeout %s: status %d\n%s", args, value, r.status, r.stderr)
			}
		}
	}
	for _, name := range []string{"state", "replay", "verify", "provision"} {
		if r := runCommand(t, t.Context(), nil, name, "--help"); !strings.Contains(r.stdout, "--timeout") || !strings.Contains(r.stdout, "(default 10s)") {
			t.Errorf("%s --help says nothing of it:\n%s", name, r.stdout)
		}
		if r := runCommand(t, t.Context(), nil, "__complete", name, "--tim"); !strings.HasPrefix(r.stdout, "--timeout\t") {
			t.Errorf("%s: no completion: %q", name, r.stdout)
		}
	}
}
