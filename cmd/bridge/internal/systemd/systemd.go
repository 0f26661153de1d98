// Package systemd reports to the service manager how far the process is, and feeds its watchdog. Without systemd it
// does nothing.
package systemd

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// Notifier sends the notifications of a service of Type=notify.
type Notifier struct{ Log *slog.Logger }

// Ready reports that the service runs: after a start, or after a reload.
func (n Notifier) Ready() { n.send(daemon.SdNotifyReady, "STATUS=Running") }

// Waiting reports what a service that is not ready yet waits for.
func (n Notifier) Waiting(what string) { n.send("STATUS=Waiting for " + what) }

// Reloading reports that the service reads its configuration again; Ready ends that.
func (n Notifier) Reloading() {
	// A service of Type=notify-reload must say when.
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		n.Log.Debug("monotonic clock not read", "err", err)
		return
	}
	n.send(daemon.SdNotifyReloading, fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/int64(time.Microsecond)), "STATUS=Reloading")
}

// Stopping reports that the service ends.
func (n Notifier) Stopping() { n.send(daemon.SdNotifyStopping, "STATUS=Stopping") }

func (n Notifier) send(lines ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(lines, "\n")); err != nil {
		n.Log.Warn("systemd not notified", "err", err, "hint", "the unit needs AF_UNIX in RestrictAddressFamilies")
	}
}

// FeedWatchdog feeds the watchdog until ctx ends, if the unit has one, as long as hung returns nil.
func (n Notifier) FeedWatchdog(ctx context.Context, hung func() error) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		n.Log.Warn("watchdog of systemd not fed", "err", err)
	}
	if err != nil || interval == 0 {
		return
	}
	tick := time.NewTicker(interval / 3)
	defer tick.Stop()
	for {
		if err := hung(); err == nil {
			n.send(daemon.SdNotifyWatchdog)
		} else {
			n.Log.Error("poll loop hangs, watchdog not fed", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
