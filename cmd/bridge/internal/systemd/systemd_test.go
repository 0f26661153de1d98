package systemd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestWatchdogIsFed until the process hangs, and again when it goes on.
func TestWatchdogIsFed(t *testing.T) {
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	t.Setenv("NOTIFY_SOCKET", socket.LocalAddr().String())
	t.Setenv("WATCHDOG_USEC", "150000") // fed every 50 ms
	received := func(within time.Duration) string {
		t.Helper()
		if err := socket.SetReadDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		text := make([]byte, 1000)
		n, _ := socket.Read(text)
		return string(text[:n])
	}
	var hangs atomic.Bool
	checked := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		Notifier{slog.New(slog.DiscardHandler)}.FeedWatchdog(ctx, func() error {
			if hangs.Load() {
				checked <- struct{}{}
				return errors.New("hangs")
			}
			return nil
		})
	}()
	for range 3 {
		if got := received(20 * time.Second); got != "WATCHDOG=1" {
			t.Fatalf("received %q", got)
		}
	}
	hangs.Store(true)
	<-checked // what was sent before may be in the socket
	for received(time.Millisecond) != "" {
	}
	for range 3 {
		<-checked
	}
	if got := received(time.Millisecond); got != "" {
		t.Errorf("fed while it hangs: %q", got)
	}
	hangs.Store(false)
	if got := received(20 * time.Second); got != "WATCHDOG=1" {
		t.Errorf("received %q after it goes on", got)
	}
	cancel()
	<-done
}

// TestNotifications: each is one datagram, as systemd wants it.
func TestNotifications(t *testing.T) {
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	t.Setenv("NOTIFY_SOCKET", socket.LocalAddr().String())
	n := Notifier{slog.New(slog.DiscardHandler)}
	for want, send := range map[string]func(){
		"READY=1\nSTATUS=Running":        n.Ready,
		"RELOADING=1\nMONOTONIC_USEC=":   n.Reloading,
		"STOPPING=1\nSTATUS=Stopping":    n.Stopping,
		"STATUS=Waiting for the weekend": func() { n.Waiting("the weekend") },
	} {
		send()
		text := make([]byte, 1000)
		if read, err := socket.Read(text); err != nil || !strings.HasPrefix(string(text[:read]), want) {
			t.Errorf("received %q, %v; want %q", text[:read], err, want)
		}
	}
}
