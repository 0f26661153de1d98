package main

import (
	"errors"
	osexec "os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/stream"
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
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(p.stderr.String(), text); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("%q not found in\n%s", text, p.stderr)
		}
	}
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
	nc, err := nats.Connect(s.server.URL(), nats.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if s.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
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
	binary := buildProgram(t)
	lead := func(t *testing.T, s *processTest) *process {
		t.Helper()
		p := startProcess(t, binary, s.env)
		p.waitForLog(`"msg":"subscribed"`)
		for deadline := time.Now().Add(30 * time.Second); s.tenant.Counts().Data[200] < 2; <-time.After(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("no polls\n%s", p.stderr)
			}
		}
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

// serverWithoutQuorum runs one server of a cluster of three: JetStream does not answer
// before there is a second.
func serverWithoutQuorum(t *testing.T) string {
	t.Helper()
	o := &server.Options{
		ServerName: "one", Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir(), Cluster: server.ClusterOpts{Name: "three", Host: "127.0.0.1", Port: server.RANDOM_PORT},
		Routes: server.RoutesFromStr("nats://127.0.0.1:2,nats://127.0.0.1:3"),
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	return s.ClientURL()
}
