package stream

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"regexp"
	"slices"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sys/unix"
)

// clientBytes matches where the server quotes what a client has sent, which may be a password.
var clientBytes = regexp.MustCompile(`(proto=|snip: ).*`)

// serverLog is the logger of the embedded server. It logs the server's warnings and errors, and
// discards everything else.
type serverLog struct {
	log    *slog.Logger
	broken chan struct{} // holds one when the server could not write to its store

	mu       sync.Mutex
	starting bool   // until the server is ready; guarded by mu
	fatal    string // why it cannot start; guarded by mu
	failed   error  // the last failed write, until the store is writable again; guarded by mu
}

func newServerLog(log *slog.Logger) *serverLog {
	return &serverLog{log: log, broken: make(chan struct{}, 1)}
}

// begin is called before a server starts.
func (l *serverLog) begin() {
	select {
	case <-l.broken: // of the previous server
	default:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.starting, l.fatal = true, ""
}

// begun is called when the start has ended. It returns why the server could not start; "" if it
// could.
func (l *serverLog) begun() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.starting = false
	return l.fatal
}

// writeError returns why the store cannot be written; nil if it can.
func (l *serverLog) writeError() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// recovered is called when a server runs on a writable store.
func (l *serverLog) recovered() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.broken) == 0 { // else it has failed again
		l.failed = nil
	}
}

func (l *serverLog) isStarting() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.starting
}

func missesStream(arg any) bool {
	err, ok := arg.(error)
	return ok && server.IsNatsErr(err, server.JSStreamNotFoundErr)
}

func serverText(format string, args []any) string {
	return clientBytes.ReplaceAllString(fmt.Sprintf(format, args...), "${1}[left out]")
}

// Warnf logs a warning of the server. During the start a stream may miss one that it sources and
// that is read from the disk after it, which is no cause for a warning.
func (l *serverLog) Warnf(format string, args ...any) {
	if l.isStarting() && slices.ContainsFunc(args, missesStream) {
		return
	}
	l.log.Warn("NATS server warning", "err", serverText(format, args))
	l.note(args)
}

// Errorf logs an error of the server.
func (l *serverLog) Errorf(format string, args ...any) {
	l.log.Error("NATS server error", "err", serverText(format, args))
	l.note(args)
}

// note detects a failed write in a message of the server.
func (l *serverLog) note(args []any) {
	for _, arg := range args {
		if err, ok := arg.(error); ok && failedWrite(err) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.failed = err
			select {
			case l.broken <- struct{}{}:
			default: // signalled already
			}
		}
	}
}

// failedWrite reports whether an error of the server is one after which a stream, or JetStream as a
// whole, accepts no more messages: the disk is full, broken or not writable.
func failedWrite(err error) bool {
	var file *fs.PathError
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EROFS) || errors.Is(err, fs.ErrPermission) ||
		errors.As(err, &file) && file.Op == "write"
}

// Fatalf stores why a server cannot start, for the caller that starts it; afterwards it logs as
// Errorf does. It does not end the process.
func (l *serverLog) Fatalf(format string, args ...any) {
	l.mu.Lock()
	starting := l.starting
	if starting && l.fatal == "" {
		l.fatal = serverText(format, args)
	}
	l.mu.Unlock()
	if !starting {
		l.Errorf(format, args...)
	}
}

// Noticef discards a notice.
func (*serverLog) Noticef(string, ...any) {}

// Debugf discards a debug message.
func (*serverLog) Debugf(string, ...any) {}

// Tracef discards a protocol line.
func (*serverLog) Tracef(string, ...any) {}
