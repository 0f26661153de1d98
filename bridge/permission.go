package bridge

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

// ErrNATSPermission is returned when the NATS user may not do what the bridge
// needs; the text names the subject.
var ErrNATSPermission = errors.New("the NATS user lacks a permission")

const mendPermission = "grant it to the user (deploy/nats shows what each role needs); if it is about _INBOX, set NATS_INBOX_PREFIX to what the user may subscribe to"

// permitted finds out what became of a call that err was returned from: a server
// does not answer what it does not permit, but says so aside. before is the
// connection's last error from before the call.
func permitted(nc *nats.Conn, before, err error) error {
	if err == nil || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrTimeout) {
		return err
	}
	if last := nc.LastError(); last != before && errors.Is(last, nats.ErrPermissionViolation) {
		// Not wrapped: a caller must not take this for a server that is slow.
		return fmt.Errorf("%w: %w (%v); %s", ErrNATSPermission, last, err, mendPermission)
	}
	return err
}

// reporter logs what befalls a NATS connection, and the same thing once only
// until the connection is back.
type reporter struct {
	log  *slog.Logger
	conn atomic.Pointer[nats.Conn] // nil until there is one

	mu   sync.Mutex // guards what follows
	told map[string]bool
}

// reportsKept bounds the memory for what has been told: subjects of consumers
// have random names.
const reportsKept = 100

func (r *reporter) report(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := strings.ToLower(err.Error()) // the library spells the same in two ways
	if r.told[text] {
		return
	}
	if r.told == nil || len(r.told) >= reportsKept {
		r.told = map[string]bool{}
	}
	r.told[text] = true
	switch advice := natsAdvice(err); {
	case refusedCredentials(err):
		r.log.Error("NATS server refused the credentials, retrying", "err", err, "hint", advice)
	case errors.Is(err, nats.ErrPermissionViolation):
		r.log.Error("NATS permission missing", "err", err, "hint", advice)
	case advice != "":
		r.log.Error("NATS error", "err", err, "hint", advice)
	default:
		r.log.Warn("NATS error", "err", err)
	}
}

// waiting is called when no server could be reached again. Of handshakes that
// failed the library tells only here.
func (r *reporter) waiting() {
	if nc := r.conn.Load(); nc != nil {
		if err := nc.LastError(); err != nil {
			r.report(err)
		}
	}
}

// forget makes everything news again.
func (r *reporter) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.told)
}
