//go:build linux

package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// testFleet is all that runs next to the test: three NATS servers that are one
// cluster, and the bridges of one tenant. Everything listens on 127.0.0.1.
type testFleet struct {
	t       *testing.T
	dir     string
	servers []*node
	bridges []*node
	nc      *nats.Conn
	js      jetstream.JetStream
}

// node is one program of the fleet, over all its restarts.
type node struct {
	name     string
	env      []string
	probeURL string     // URL that answers how it is
	log      string     // file
	proxy    *natsProxy // between a bridge and the NATS servers; nil for a server

	mu              sync.Mutex
	args            []string      // guarded by mu
	clockOffset     time.Duration // guarded by mu; how far its clock is ahead, from its next start on
	cmd             *exec.Cmd     // guarded by mu; nil while it does not run
	ended           chan struct{} // guarded by mu; closed when cmd has ended
	stopRequested   bool          // guarded by mu; the test asked it to end
	starts          int           // guarded by mu
	unexpectedExits []string      // guarded by mu; how it ended without a request
	testOver        bool          // guarded by mu; the test ends, it must not start again
}

// start runs the program. It dies with the test process, whatever happens to that.
func (n *node) start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd != nil || n.testOver {
		return nil
	}
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	defer log.Close()
	fmt.Fprintf(log, "--- start %d at %s\n", n.starts+1, time.Now().Format(time.RFC3339Nano))
	cmd := exec.Command(n.args[0], n.args[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = n.env, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	startProgram := cmd.Start
	if n.clockOffset != 0 {
		startProgram = func() error { return startWithClock(cmd, n.clockOffset) }
	}
	if err := startProgram(); err != nil {
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	n.cmd, n.ended, n.stopRequested = cmd, make(chan struct{}), false
	n.starts++
	go n.wait(cmd, n.ended)
	return nil
}

func (n *node) wait(cmd *exec.Cmd, ended chan struct{}) {
	err := cmd.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	defer close(ended)
	n.cmd = nil
	if !n.stopRequested {
		n.unexpectedExits = append(n.unexpectedExits, fmt.Sprintf("%s ended by itself at %s: %v: %s", n.name, time.Now().Format("15:04:05.000"), err, lastLines(n.log, 1)))
		// A supervisor would start it again, and so what follows can be seen.
		time.AfterFunc(time.Second, func() { _ = n.start() })
	}
}

// signal sends a signal to the program's process group, if it runs.
func (n *node) signal(s syscall.Signal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return
	}
	if s == syscall.SIGKILL || s == syscall.SIGTERM {
		n.stopRequested = true
	}
	// A group that is gone already needs no signal.
	_ = syscall.Kill(-n.cmd.Process.Pid, s)
}

// stop sends a signal and waits for the program's end; it is killed if it takes
// longer than patience.
func (n *node) stop(s syscall.Signal, timeout time.Duration) (inTime bool) {
	n.mu.Lock()
	ended, running := n.ended, n.cmd != nil
	n.mu.Unlock()
	if !running {
		return true
	}
	n.signal(s)
	select {
	case <-ended:
		return true
	case <-time.After(timeout):
	}
	n.signal(syscall.SIGCONT)
	n.signal(syscall.SIGKILL)
	<-ended
	return false
}

// setProgram takes another program from the next start on.
func (n *node) setProgram(program string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.args[0] = program
}

// setClock takes another clock from the next start on.
func (n *node) setClock(offset time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.clockOffset = offset
}

func (n *node) running() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cmd != nil
}

// unexpectedExits lists the programs that ended without a request.
func (f *testFleet) unexpectedExits() []string {
	var out []string
	for _, n := range append(f.servers, f.bridges...) {
		n.mu.Lock()
		out = append(out, n.unexpectedExits...)
		n.mu.Unlock()
	}
	return out
}

// newTestFleet starts the servers and waits until they are a cluster.
func newTestFleet(t *testing.T, server string) *testFleet {
	t.Helper()
	f := &testFleet{t: t, dir: t.TempDir()}
	t.Cleanup(f.close)
	ports := freePorts(t, 9)
	var routes, urls []string
	for i := range 3 {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[i*3+1]))
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", ports[i*3]))
	}
	for i := range 3 {
		name := fmt.Sprintf("n%d", i+1)
		conf := filepath.Join(f.dir, name+".conf")
		text := fmt.Sprintf(`server_name: %s
listen: 127.0.0.1:%d
http: 127.0.0.1:%d
jetstream { store_dir: %q, max_memory_store: 64MB, max_file_store: 2GB }
cluster { name: fleet, listen: 127.0.0.1:%d, no_advertise: true, routes: [%s] }
`, name, ports[i*3], ports[i*3+2], filepath.Join(f.dir, name), ports[i*3+1], strings.Join(routes, ", "))
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f.servers = append(f.servers, &node{
			name: name, args: []string{server, "-c", conf}, log: filepath.Join(f.dir, name+".log"),
			probeURL: fmt.Sprintf("http://127.0.0.1:%d/healthz", ports[i*3+2]),
		})
	}
	for _, s := range f.servers {
		if err := s.start(); err != nil {
			t.Fatal(err)
		}
	}
	nc, err := nats.Connect(strings.Join(urls, ","), nats.MaxReconnects(-1), nats.ReconnectWait(200*time.Millisecond),
		nats.RetryOnFailedConnect(true), nats.DontRandomize())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	f.nc = nc
	if f.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	if !f.waitUntil(30*time.Second, f.serversHealthy) {
		t.Fatal("the NATS cluster does not come up")
	}
	return f
}

// addBridge adds a bridge that reaches the servers through a wire of its own.
func (f *testFleet) addBridge(name, program string, env ...string) *node {
	f.t.Helper()
	var backends []string
	for _, s := range f.servers {
		conf, err := os.ReadFile(s.args[2])
		if err != nil {
			f.t.Fatal(err)
		}
		for line := range strings.Lines(string(conf)) {
			if address, ok := strings.CutPrefix(strings.TrimSpace(line), "listen: "); ok {
				backends = append(backends, address)
			}
		}
	}
	w := newNATSProxy(f.t, backends)
	port := freePorts(f.t, 1)[0]
	n := &node{
		name: name, args: []string{program, "run"}, log: filepath.Join(f.dir, name+".log"), proxy: w,
		probeURL: fmt.Sprintf("http://127.0.0.1:%d/readyz", port),
		env: append(env, "NATS_URL="+w.url(), fmt.Sprintf("BRIDGE_HTTP=127.0.0.1:%d", port),
			"BRIDGE_LOG_FORMAT=text", "PATH="+os.Getenv("PATH"), "HOME="+f.dir),
	}
	f.bridges = append(f.bridges, n)
	return n
}

// healthStatus is how a bridge says that it is.
type healthStatus struct {
	Role  string
	Epoch uint64
	Ready bool
	Warm  bool
}

// readHealth reads a bridge's own word; the zero role if it gives none.
func (n *node) readHealth() healthStatus {
	var r healthStatus
	if !n.running() {
		return r
	}
	client := http.Client{Timeout: 500 * time.Millisecond}
	resp, err := client.Get(n.probeURL)
	if err != nil {
		return r
	}
	defer resp.Body.Close()
	// What is not JSON is no word.
	_ = json.NewDecoder(resp.Body).Decode(&r)
	return r
}

// leader is the bridge that leads with the highest epoch, nil if none does.
func (f *testFleet) leader() (leader, standby *node) {
	best := healthStatus{}
	for _, b := range f.bridges {
		if r := b.readHealth(); r.Role == "leader" && r.Epoch > best.Epoch {
			best, leader = r, b
		}
	}
	for _, b := range f.bridges {
		if b != leader {
			standby = b
		}
	}
	return leader, standby
}

// healthText is what a server says of itself; "" if it is well.
func (n *node) healthText() string {
	client := http.Client{Timeout: time.Second}
	resp, err := client.Get(n.probeURL)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode == http.StatusOK && err == nil {
		return ""
	}
	return string(body)
}

func (n *node) healthy() bool { return n.healthText() == "" }

// hasStream reports whether a server has a copy of a stream, or does not say so.
func (n *node) hasStream(stream string) bool {
	client := http.Client{Timeout: time.Second}
	resp, err := client.Get(strings.TrimSuffix(n.probeURL, "healthz") + "jsz?streams=true")
	if err != nil {
		return true
	}
	defer resp.Body.Close()
	var info server.JSInfo
	if json.NewDecoder(resp.Body).Decode(&info) != nil || resp.StatusCode != http.StatusOK {
		return true
	}
	return slices.ContainsFunc(info.AccountDetails, func(a *server.AccountDetail) bool {
		return slices.ContainsFunc(a.Streams, func(s server.StreamDetail) bool { return s.Name == stream })
	})
}

func (f *testFleet) serversHealthy() bool {
	for _, s := range f.servers {
		if !s.healthy() {
			return false
		}
	}
	return true
}

// healthy reports whether the fleet could bear the next fault: all servers are
// well, one bridge leads a live feed and the others are ready to take over.
func (f *testFleet) healthy() bool {
	if !f.serversHealthy() {
		return false
	}
	leads := 0
	for _, b := range f.bridges {
		r := b.readHealth()
		if !r.Ready {
			return false
		}
		if r.Role == "leader" {
			leads++
		}
	}
	return leads == 1
}

// waitUntil waits for a condition, no longer than patience.
func (f *testFleet) waitUntil(timeout time.Duration, condition func() bool) bool {
	for deadline := time.Now().Add(timeout); time.Now().Before(deadline); {
		if condition() {
			return true
		}
		if !sleep(f.t.Context(), 100*time.Millisecond) {
			return false
		}
	}
	return false
}

// streamLeader is the server that leads a stream, nil if none does.
func (f *testFleet) streamLeader(stream string) *node {
	ctx, cancel := context.WithTimeout(f.t.Context(), 2*time.Second)
	defer cancel()
	s, err := f.js.Stream(ctx, stream)
	if err != nil || s.CachedInfo().Cluster == nil {
		return nil
	}
	for _, n := range f.servers {
		if n.name == s.CachedInfo().Cluster.Leader {
			return n
		}
	}
	return nil
}

// close ends all programs and, if the test has failed, prints the ends of their logs.
func (f *testFleet) close() {
	for _, n := range append(f.bridges, f.servers...) {
		n.mu.Lock()
		n.testOver = true
		n.mu.Unlock()
		n.stop(syscall.SIGKILL, time.Second)
		if n.proxy != nil {
			n.proxy.close()
		}
		if f.t.Failed() || os.Getenv("KEEP") != "" {
			f.t.Logf("the end of %s:\n%s", filepath.Base(n.log), lastLines(n.log, 60))
		}
	}
}

func lastLines(file string, lines int) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	all := slices.DeleteFunc(strings.Split(strings.TrimSpace(string(text)), "\n"), func(line string) bool {
		// Probing a server that restarts, and routes that come and go, say nothing.
		return strings.Contains(line, "Healthcheck failed") || strings.Contains(line, "rid:")
	})
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // not before all are found
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// sleep waits for d and reports whether ctx let it.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
