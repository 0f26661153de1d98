package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// ErrNATSPermission is returned when the NATS user lacks a permission that the bridge needs; the
// text names the subject.
var ErrNATSPermission = errors.New("NATS user lacks a permission")

const permissionHint = "grant it to the user (deploy/nats shows what each role needs); if it is about _INBOX, set NATS_INBOX_PREFIX to what the user may subscribe to"

// AsPermissionError returns the permission error behind err, if there is one: a server does not
// respond to what it does not permit, but reports it on the connection. prevErr is the connection's
// last error before the call.
func AsPermissionError(nc *nats.Conn, prevErr, err error) error {
	if err == nil || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrTimeout) {
		return err
	}
	if last := nc.LastError(); last != prevErr && errors.Is(last, nats.ErrPermissionViolation) {
		// err is not wrapped: a caller must not treat this as a slow server.
		return fmt.Errorf("%w: %w (%v); %s", ErrNATSPermission, last, err, permissionHint)
	}
	return err
}

// connLogger logs the events of a NATS connection, the same event only once until the connection is
// back.
type connLogger struct {
	log  *slog.Logger
	conn atomic.Pointer[nats.Conn] // nil until it is connected

	mu     sync.Mutex // guards the fields below
	logged map[string]bool
}

// maxLoggedReports bounds the memory of logged events: subjects of consumers have random names.
const maxLoggedReports = 100

func (r *connLogger) logOnce(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := strings.ToLower(err.Error()) // the library uses two spellings
	if r.logged[text] {
		return
	}
	if r.logged == nil || len(r.logged) >= maxLoggedReports {
		r.logged = map[string]bool{}
	}
	r.logged[text] = true
	switch hint := natsHint(err); {
	case refusedCredentials(err):
		r.log.Error("NATS server refused the credentials, retrying", "err", err, "hint", hint)
	case errors.Is(err, nats.ErrPermissionViolation):
		r.log.Error("NATS permission missing", "err", err, "hint", hint)
	case hint != "":
		r.log.Error("NATS error", "err", err, "hint", hint)
	default:
		r.log.Warn("NATS error", "err", err)
	}
}

// onReconnectWait is called when no server could be reached again. The library reports failed
// handshakes only here.
func (r *connLogger) onReconnectWait() {
	if nc := r.conn.Load(); nc != nil {
		if err := nc.LastError(); err != nil {
			r.logOnce(err)
		}
	}
}

// resetLogged makes every event be logged again.
func (r *connLogger) resetLogged() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.logged)
}
