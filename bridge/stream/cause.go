package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"bpcc-nats/bridge/outage"
)

// ErrNATSPermission is returned when the NATS user lacks a permission that the bridge needs; the
// text names the subject.
var ErrNATSPermission = errors.New("NATS user lacks a permission")

const permissionHint = "grant it to the user (deploy/nats shows what each role needs); if it is about _INBOX, set NATS_INBOX_PREFIX to what the user may subscribe to"

var (
	// ErrNotConnected is returned for a request while there is no connection; the error says why.
	ErrNotConnected = errors.New("not connected to NATS")
	// errLameDuck is why a connection is left: its server takes no new connections and has no JetStream.
	errLameDuck = errors.New("NATS server is in lame duck mode")
)

// Cause returns the cause of a request that had no response: a server does not respond to what it does
// not permit, but reports it on the connection, and the connection knows why it is interrupted. Any other
// error stays as it is. prevErr is the connection's last error before the request.
func Cause(nc *nats.Conn, prevErr, err error) error {
	if err == nil || !slices.ContainsFunc([]error{
		context.DeadlineExceeded, nats.ErrTimeout, nats.ErrDisconnected, nats.ErrConnectionReconnecting, nats.ErrReconnectBufExceeded,
	}, func(silent error) bool { return errors.Is(err, silent) }) {
		return err
	}
	// err is not wrapped: a caller must not treat this as a slow server.
	if last := nc.LastError(); last != prevErr && errors.Is(last, nats.ErrPermissionViolation) {
		return fmt.Errorf("%w: %w (%v); %s", ErrNATSPermission, last, err, permissionHint)
	}
	if !nc.IsReconnecting() {
		return err
	}
	if r, ok := nc.Opts.CustomDialer.(*connLogger); ok {
		if reason := r.reason(); reason != nil {
			return fmt.Errorf("%w: %w", ErrNotConnected, reason)
		}
	}
	return ErrNotConnected
}

// connLogger logs the events of a NATS connection, the same event only once until the connection is
// back. It is the connection's dialer, so that [Cause] finds why the connection is interrupted.
type connLogger struct {
	log  *slog.Logger
	next nats.CustomDialer         // of the context, such as that of a SOCKS proxy; else a net.Dialer
	conn atomic.Pointer[nats.Conn] // nil until it is connected

	mu     sync.Mutex // guards the fields below
	logged map[string]bool
	down   error         // why the connection is interrupted
	outage outage.Outage // the present interruption
}

// Dial connects to a server.
func (r *connLogger) Dial(network, address string) (net.Conn, error) {
	conn, err := r.next.Dial(network, address)
	if err != nil {
		return nil, err
	}
	return &refusalConn{Conn: conn}, nil
}

// asDialer is the option that makes it the connection's dialer.
func (r *connLogger) asDialer(o *nats.Options) error {
	if r.next = o.CustomDialer; r.next == nil {
		r.next = &net.Dialer{Timeout: o.Timeout}
	}
	o.CustomDialer = r
	return nil
}

// setDown stores why the connection is interrupted; nil = it is not.
func (r *connLogger) setDown(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// A server says why it ends a connection. What comes after that says less: that it has ended, and
	// that another attempt is refused.
	if known := faultOf(r.down); err != nil && known != nil && (faultOf(err) == nil || errors.Is(err, nats.ErrAuthorization)) {
		return
	}
	r.down = err
}

// reason returns why the connection is interrupted, nil if that is not known.
func (r *connLogger) reason() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.down
}

// maxLoggedReports bounds the memory of logged events: subjects of consumers have random names.
const maxLoggedReports = 100

func (r *connLogger) logOnce(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := loggedText(err)
	if r.logged[text] {
		return
	}
	if r.logged == nil || len(r.logged) >= maxLoggedReports {
		r.logged = map[string]bool{}
	}
	r.logged[text] = true
	r.logError(err)
}

// loggedText returns an error's text as it is compared: the library uses two spellings.
func loggedText(err error) string { return strings.ToLower(err.Error()) }

// logError logs an error of the connection with what to do.
func (r *connLogger) logError(err error, more ...any) {
	args, hint := append([]any{"err", err}, more...), natsHint(err)
	if hint != "" {
		args = append(args, "hint", hint)
	}
	switch {
	case refusedCredentials(err):
		r.log.Error("NATS server refused the credentials, retrying", args...)
	case errors.Is(err, nats.ErrPermissionViolation):
		r.log.Error("NATS permission missing", args...)
	case hint == "", IsTransient(err) && tlsHint(err) == "":
		r.log.Warn("NATS error", args...)
	default:
		r.log.Error("NATS error", args...)
	}
}

// onReconnectWait is called when no server could be reached again. The library reports failed
// handshakes only here.
func (r *connLogger) onReconnectWait() {
	if nc := r.conn.Load(); nc != nil {
		if err := nc.LastError(); err != nil {
			r.logInterruption(err, time.Now())
		}
	}
}

// logInterruption logs why no server can be reached: when that is new, and at growing intervals.
func (r *connLogger) logInterruption(err error, now time.Time) {
	r.setDown(err)
	r.mu.Lock()
	defer r.mu.Unlock()
	if lasts, due := r.outage.Failed(now, loggedText(err)); due {
		r.logError(err, "lasts", lasts)
	}
}

// beginInterruption logs that the connection has ended.
func (r *connLogger) beginInterruption(err error, now time.Time) {
	r.setDown(err)
	r.log.Warn("disconnected from NATS", "err", err, "hint", natsHint(err))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outage.Failed(now, loggedText(err))
}

// endInterruption makes every event be logged again. It returns how long the interruption has lasted.
func (r *connLogger) endInterruption(now time.Time) (lasted string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.logged)
	lasted, _ = r.outage.End(now)
	return lasted
}
