package main

import (
	"context"
	"errors"
	"net"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/bridgetest"
	"bpcc-nats/internal/natstest"
)

// process is the program as supervisors see it.
type process struct {
	t      *testing.T
	cmd    *osexec.Cmd
	stderr *syncBuffer
	ended  chan error
}

// startProcess runs the program; it is killed when the test ends, if not before.
func startProcess(t *testing.T, binary string, env []string) *process {
	t.Helper()
	p := &process{t: t, cmd: osexec.Command(binary, "run"), stderr: &syncBuffer{}, ended: make(chan error, 1)}
	p.cmd.Env, p.cmd.Stderr = append(env, "BRIDGE_HTTP=off", "BRIDGE_LOG_FORMAT=json"), p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	t.Cleanup(func() { _ = p.cmd.Process.Kill() }) // it has mostly ended by then
	return p
}

// waitForLog waits until the log holds text.
func (p *process) waitForLog(text string) {
	p.t.Helper()
	p.stderr.waitFor(p.t, text)
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// waitExit waits for the process; the status is -1 if a signal has killed it.
func (p *process) waitExit(within time.Duration) (status int) {
	p.t.Helper()
	select {
	case err := <-p.ended:
		var exit *osexec.ExitError
		if err != nil && !errors.As(err, &exit) {
			p.t.Fatal(err)
		}
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		p.t.Fatalf("still there after %v\n%s", within, p.stderr)
		return 0
	}
}

// processTest is a tenant and a NATS server for one process.
type processTest struct {
	tenant *bpcctest.Server
	server *stream.Server
	js     jetstream.JetStream
	env    []string
}

func newProcessTest(t *testing.T) *processTest {
	t.Helper()
	s := &processTest{tenant: startTenant(t, bpcctest.Config{})}
	var err error
	if s.server, err = stream.StartServer(t.TempDir(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.server.Close)
	s.js = natstest.Connect(t, s.server.URL(), nats.MaxReconnects(-1))
	s.env = append(sourceEnv(s.tenant.URL), "NATS_URL="+s.server.URL(), "BRIDGE_TENANT=acme")
	return s
}

// stoppedEvents counts feed.stopped in the stream.
func (s *processTest) stoppedEvents(t *testing.T) uint64 {
	t.Helper()
	stream, err := s.js.Stream(t.Context(), "BPCC_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter("bpcc.v1.acme.feed.stopped"))
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Subjects["bpcc.v1.acme.feed.stopped"]
}

// TestTermination sends SIGTERM to the real program in every state that it can be
// in, as a supervisor does that kills after ten seconds.
func TestTermination(t *testing.T) {
	t.Parallel()
	binary := programFile(t)
	lead := func(t *testing.T, s *processTest) *process {
		t.Helper()
		p := startProcess(t, binary, s.env)
		p.waitForLog(`"msg":"subscribed"`)
		waitUntil(t, func() bool { return s.tenant.Counts().Data[200] >= 2 }, p.stderr.String)
		return p
	}
	tests := map[string]struct {
		begin   func(t *testing.T, s *processTest) *process
		status  int
		wantLog string
		stopped uint64
	}{
		"at work": {lead, exitOK, `"msg":"stopped"`, 1},
		"while the source hangs": {func(t *testing.T, s *processTest) *process {
			p := lead(t, s)
			for _, path := range []string{"", "/active"} {
				s.tenant.Inject(bpcctest.Fault{Path: path, Delay: time.Hour, Times: -1})
			}
			<-time.After(300 * time.Millisecond) // three intervals
			return p
		}, exitOK, `"msg":"stopped"`, 1},
		"while standing by": {func(t *testing.T, s *processTest) *process {
			lead(t, s)
			p := startProcess(t, binary, s.env)
			p.waitForLog(" leads")
			return p
		}, exitOK, "standing by", 0},
		"while NATS is away": {func(t *testing.T, s *processTest) *process {
			p := lead(t, s)
			s.server.Close()
			s.tenant.SetState("anna", "busy", "")
			p.waitForLog("retrying the same batch")
			return p
		}, exitFailed, "shutdown: last batch was not acknowledged", 0},
		"while it waits for NATS": {func(t *testing.T, s *processTest) *process {
			p := startProcess(t, binary, append(s.env, "NATS_URL=nats://127.0.0.1:1"))
			p.waitForLog("does not answer, retrying")
			return p
		}, exitOK, "", 0},
		"while it waits for a leader": {func(t *testing.T, s *processTest) *process {
			p := startProcess(t, binary, append(s.env, "NATS_URL="+serverWithoutQuorum(t)))
			p.waitForLog("cannot create the streams, retrying")
			return p
		}, exitOK, "", 0},
		"while it reads its store": {func(t *testing.T, s *processTest) *process {
			dir := t.TempDir()
			own, err := stream.StartServer(dir, "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			_, err = natstest.Connect(t, own.URL()).CreateStream(t.Context(), jetstream.StreamConfig{Name: "ANY"})
			own.Close()
			if err != nil {
				t.Fatal(err)
			}
			bridgetest.BlockRead(t, filepath.Join(dir, "jetstream", "$G", "streams", "ANY", "meta.inf"))
			p := startProcess(t, binary, append(s.env, "NATS_URL=", "BRIDGE_STORE_DIR="+dir, "BRIDGE_EMBEDDED_LISTEN=127.0.0.1:0"))
			<-time.After(time.Second) // it reads
			return p
		}, exitOK, "", 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newProcessTest(t)
			p := test.begin(t, s)
			p.signal(syscall.SIGTERM)
			if got := p.waitExit(10 * time.Second); got != test.status {
				t.Errorf("status %d, want %d\n%s", got, test.status, p.stderr)
			}
			if !strings.Contains(p.stderr.String(), test.wantLog) {
				t.Errorf("did not say %q\n%s", test.wantLog, p.stderr)
			}
			if strings.HasPrefix(name, "while NATS") || strings.HasPrefix(name, "while it") {
				return // there is no stream to ask
			}
			if got := s.stoppedEvents(t); got != test.stopped {
				t.Errorf("said goodbye %d times, want %d", got, test.stopped)
			}
		})
	}
	t.Run("a second signal ends it at once", func(t *testing.T) {
		t.Parallel()
		s := newProcessTest(t)
		p := lead(t, s)
		s.server.Close() // the first signal would take seconds
		s.tenant.SetState("anna", "busy", "")
		p.waitForLog("retrying the same batch")
		p.signal(syscall.SIGTERM)
		<-time.After(200 * time.Millisecond) // the program must have heard the first one
		p.signal(syscall.SIGTERM)
		if got := p.waitExit(2 * time.Second); got != -1 {
			t.Errorf("status %d, want an end by the signal\n%s", got, p.stderr)
		}
	})
}

// TestKilledAlone kills the only bridge, with the embedded server. The next start leads at once, whatever
// the lease lasts.
func TestKilledAlone(t *testing.T) {
	t.Parallel()
	binary := programFile(t)
	tenant := startTenant(t, bpcctest.Config{})
	env := append(sourceEnv(tenant.URL), "BRIDGE_TENANT=acme", "BRIDGE_STORE_DIR="+t.TempDir(), "BRIDGE_EMBEDDED_LISTEN=127.0.0.1:0", "BRIDGE_LEASE_TTL=10m")
	for n := range 3 {
		p := startProcess(t, binary, env)
		p.waitForLog(`"msg":"subscribed"`)
		if text := p.stderr.String(); strings.Contains(text, "standing by") {
			t.Errorf("start %d stands by\n%s", n, text)
		}
		p.signal(syscall.SIGKILL)
		p.waitExit(10 * time.Second)
	}
}

// TestWrongAddress starts the program on addresses that it cannot listen on.
func TestWrongAddress(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	used := taken.Addr().String()
	both := natstest.FreeAddress(t)
	for name, test := range map[string]struct {
		env    []string
		status int
		want   string
	}{
		"page taken":     {[]string{"BRIDGE_HTTP=" + used}, exitFailed, "address already in use; set BRIDGE_HTTP to another address or to off"},
		"page elsewhere": {[]string{"BRIDGE_HTTP=192.0.2.1:8080"}, exitFailed, "cannot assign requested address; set BRIDGE_HTTP"},
		"page wrong":     {[]string{"BRIDGE_HTTP=8080"}, exitUsage, "BRIDGE_HTTP: "},
		"profiles taken": {[]string{"BRIDGE_DEBUG_HTTP=" + used}, exitFailed, "address already in use; set BRIDGE_DEBUG_HTTP to another address or to off"},
		"NATS taken":     {[]string{"BRIDGE_EMBEDDED_LISTEN=" + used}, exitFailed, "address already in use; set BRIDGE_EMBEDDED_LISTEN to another address"},
		"NATS elsewhere": {[]string{"BRIDGE_EMBEDDED_LISTEN=192.0.2.1:4222"}, exitFailed, "cannot assign requested address; set BRIDGE_EMBEDDED_LISTEN"},
		"NATS wrong":     {[]string{"BRIDGE_EMBEDDED_LISTEN=127.0.0.1:nats"}, exitUsage, "BRIDGE_EMBEDDED_LISTEN: "},
		"one for both":   {[]string{"BRIDGE_HTTP=" + both, "BRIDGE_EMBEDDED_LISTEN=" + both}, exitFailed, "address already in use; set BRIDGE_EMBEDDED_LISTEN"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := append(sourceEnv("http://127.0.0.1:1"), "BRIDGE_TENANT=acme", "BRIDGE_STORE_DIR="+t.TempDir(), "BRIDGE_HTTP=off", "BRIDGE_EMBEDDED_LISTEN=127.0.0.1:0")
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			r := runCommand(t, ctx, append(env, test.env...), "run")
			if r.status != test.status || !strings.Contains(r.stderr, test.want) {
				t.Errorf("status %d, want %d with %q\n%s", r.status, test.status, test.want, r.stderr)
			}
		})
	}
}

// serverWithoutQuorum runs one server of a cluster of three: JetStream does not answer
// before there is a second.
func serverWithoutQuorum(t *testing.T) string {
	t.Helper()
	return natstest.Start(t, &server.Options{
		ServerName: "one", JetStream: true, StoreDir: t.TempDir(),
		Cluster: server.ClusterOpts{Name: "three", Host: "127.0.0.1", Port: server.RANDOM_PORT},
		Routes:  server.RoutesFromStr("nats://127.0.0.1:2,nats://127.0.0.1:3"),
	}).ClientURL()
}
