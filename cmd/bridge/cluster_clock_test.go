//go:build linux

package main_test

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// startWithClock starts a program whose clock is ahead of the machine's by offset, in whole seconds. Its
// monotonic clock is the machine's. A Go program reads the time by a function of the vDSO, code that the
// kernel maps into each process: neither a library that is loaded before nor a namespace gives it another
// time. So that function is replaced before the program's first instruction.
func startWithClock(cmd *exec.Cmd, offset time.Duration) error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("set the clock of a program: %w on %s", errors.ErrUnsupported, runtime.GOARCH)
	}
	runtime.LockOSThread() // one thread traces
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr.Ptrace = true
	if err := cmd.Start(); errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("set the clock of a program: %w: no process may be traced here", errors.ErrUnsupported)
	} else if err != nil {
		return err
	}
	pid := cmd.Process.Pid
	var status syscall.WaitStatus
	_, err := syscall.Wait4(pid, &status, 0, nil)
	if err == nil && !status.Stopped() {
		err = fmt.Errorf("state %#x instead of stopped", status)
	}
	if err == nil {
		err = replaceClock(pid, offset)
	}
	if err == nil {
		err = syscall.PtraceDetach(pid)
	}
	if err != nil {
		// It is not to run with another clock than asked for.
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return fmt.Errorf("set the clock of a program: %w", err)
	}
	return nil
}

// canSetClocks reports whether programs can be given another clock here.
func canSetClocks(t *testing.T) bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "true")
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	err := startWithClock(cmd, time.Second)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Logf("NOT TESTED: a bridge with another clock: %v", err)
		return false
	}
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}

// replaceClock replaces clock_gettime of the vDSO of a stopped process.
func replaceClock(pid int, offset time.Duration) error {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return err
	}
	lines := strings.Split(string(maps), "\n")
	i := slices.IndexFunc(lines, func(line string) bool { return strings.HasSuffix(line, "[vdso]") })
	if i < 0 {
		return errors.New("the process has no vDSO")
	}
	bounds, _, _ := strings.Cut(lines[i], " ")
	low, high, _ := strings.Cut(bounds, "-")
	begin, err := strconv.ParseUint(low, 16, 64)
	if err != nil {
		return err
	}
	end, err := strconv.ParseUint(high, 16, 64)
	if err != nil {
		return err
	}
	image := make([]byte, end-begin)
	if _, err := syscall.PtracePeekText(pid, uintptr(begin), image); err != nil {
		return err
	}
	file, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return err
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		return err
	}
	i = slices.IndexFunc(symbols, func(s elf.Symbol) bool { return s.Name == "__vdso_clock_gettime" })
	if i < 0 {
		return errors.New("the vDSO has no clock_gettime")
	}
	code := []byte{
		0xb8, 0xe4, 0, 0, 0, // mov eax, 228: the system call clock_gettime, with the caller's arguments
		0x0f, 0x05, // syscall
		0x85, 0xff, // test edi, edi: CLOCK_REALTIME is 0
		0x75, 0x0d, // jne to ret
		0x48, 0xb9, // mov rcx, the seconds
	}
	code = binary.LittleEndian.AppendUint64(code, uint64(int64(offset/time.Second)))
	code = append(code,
		0x48, 0x01, 0x0e, // add [rsi], rcx
		0xc3, // ret
	)
	_, err = syscall.PtracePokeText(pid, uintptr(begin+symbols[i].Value), code)
	return err
}

// staleMessages are the messages of the watchdog, which declare a feed stale: when each was stored, by
// its sequence.
type staleMessages map[uint64]time.Time

// watch notes the watchdog's messages until ctx ends. A bridge deletes them when it works again.
func (m staleMessages) watch(ctx context.Context, js jetstream.JetStream) error {
	consumer, err := js.OrderedConsumer(ctx, "BPCC_EVENTS_WATCHDOG", jetstream.OrderedConsumerConfig{FilterSubjects: []string{"bpcc.watchdog.acme.stale"}})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			return err
		}
		if err != nil { // the library makes the consumer again
			sleep(ctx, 100*time.Millisecond)
			continue
		}
		if meta, err := msg.Metadata(); err == nil {
			m[meta.Sequence.Stream] = meta.Timestamp
		}
	}
}

// falseAlarms finds the messages that came although polls were published shortly before. The watchdog
// waits for 16 s; a server that was away publishes late what was due, and then it says the truth no
// longer.
func (m staleMessages) falseAlarms(published []time.Time) []finding {
	var found []finding
	for seq, at := range m {
		n := 0
		for _, p := range published {
			if p.After(at.Add(-8*time.Second)) && p.Before(at.Add(-500*time.Millisecond)) {
				n++
			}
		}
		if n > 5 {
			found = append(found, finding{falseStale, seq, fmt.Sprintf("the feed is declared stale at %v, and %d polls of the 8 s before are published", at, n)})
		}
	}
	return found
}
