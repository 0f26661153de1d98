package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"
)

// process is a child process, which ends before this one.
type process struct {
	name   string
	cmd    *exec.Cmd
	out    *os.File
	exited chan struct{}
}

// startProcess starts a program with its own environment. Its output goes to a file in dir.
func startProcess(dir, name string, env []string, program string, args ...string) (*process, error) {
	out, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, cmd: exec.Command(program, args...), out: out, exited: make(chan struct{})}
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, env...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, out, out
	// A killed bench must not leave its programs running.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), out.Close())
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait() // the log has the reason
	}()
	return p, nil
}

// stop ends the process and waits for its end.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
	_ = p.out.Close() // the process has written it
}

// exitError returns an error with the last output of the process.
func (p *process) exitError() error {
	output, err := os.ReadFile(p.out.Name())
	if err != nil {
		return fmt.Errorf("%s has ended: %w", p.name, err)
	}
	return fmt.Errorf("%s has ended; output: %s", p.name, bytes.TrimSpace(output[max(0, len(output)-2000):]))
}

// cost is the processor time that the process has used so far, in user mode and kernel together. It
// is the value of stat in /proc, but in nanoseconds instead of hundredths of a second.
func (p *process) cost() time.Duration {
	const scheduled = 2 // the scheduler's clock among Linux's clocks of a process
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^p.cmd.Process.Pid<<3|scheduled), &t); err != nil {
		return 0 // it has ended, which other code reports
	}
	return time.Duration(t.Nano())
}

// peak is the maximum resident memory of the process, in bytes.
func (p *process) peak() (int, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read the memory of %s: %w", p.name, err)
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kilobytes, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), "kB")))
			if err != nil {
				return 0, fmt.Errorf("read the memory of %s: %w", p.name, err)
			}
			return kilobytes << 10, nil
		}
	}
	return 0, fmt.Errorf("read the memory of %s: no VmHWM in its status", p.name)
}

// natsServer is the NATS server of one run, and the connection to it.
type natsServer struct {
	*process
	dir string // of all files of the run
	nc  *nats.Conn
	js  jetstream.JetStream
}

// startNATS starts a server with an empty store, in a new directory, and connects to it.
func startNATS(ctx context.Context, program string) (_ *natsServer, err error) {
	s := &natsServer{}
	if s.dir, err = os.MkdirTemp("", "bench-"); err != nil {
		return nil, fmt.Errorf("create directory: %w", err)
	}
	s.process, err = startProcess(s.dir, "nats-server", nil, program,
		"--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir", s.dir, "--jetstream", "--store_dir", filepath.Join(s.dir, "store"))
	var url string
	if err == nil {
		url, err = portsFile(ctx, s.process, s.dir)
	}
	if err == nil {
		s.nc, err = nats.Connect(url)
	}
	if err == nil {
		s.js, err = jetstream.New(s.nc)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start nats-server: %w", err), s.close())
	}
	return s, nil
}

// close ends the server and removes the directory.
func (s *natsServer) close() error {
	if s.nc != nil {
		s.nc.Close()
	}
	if s.process != nil {
		s.stop()
	}
	return os.RemoveAll(s.dir)
}

// portsFile waits for the file in which a server writes its address.
func portsFile(ctx context.Context, p *process, dir string) (url string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	name := filepath.Join(dir, fmt.Sprintf("%s_%d.ports", filepath.Base(p.cmd.Path), p.cmd.Process.Pid))
	for {
		ports, err := os.ReadFile(name)
		if _, remaining, found := strings.Cut(string(ports), `"nats://`); err == nil && found {
			if address, _, total := strings.Cut(remaining, `"`); total {
				return "nats://" + address, nil
			}
		}
		select {
		case <-tick.C:
		case <-p.exited:
			return "", p.exitError()
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}
