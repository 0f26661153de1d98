package reader

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// errNoAnswer is returned when the NATS server has not responded within --timeout.
var errNoAnswer = errors.New("no response from the NATS server")

// HintUnreachable is what to check without a connection.
const HintUnreachable = "check NATS_URL, that the server runs, and that this machine reaches it"

// NoAnswer wraps the error of a call without a response of the server in time, with
// what to check. The connection is nil if there was none.
func NoAnswer(nc *nats.Conn, timeout time.Duration, err error) error {
	hint := HintUnreachable
	if nc != nil && nc.IsConnected() {
		hint = "check that JetStream is enabled, that the stream has a leader, and that this user may read it"
	}
	return fmt.Errorf("%w (--timeout %v): %w; %s", errNoAnswer, timeout, err, hint)
}

// Retry repeats a call until the server responds, no longer than the timeout.
func Retry(ctx context.Context, nc *nats.Conn, timeout time.Duration, call func(context.Context) error) error {
	callCtx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var cause error // the last one that is not just a timeout
	for {
		err := call(callCtx)
		if err == nil || ctx.Err() != nil || !MayAnswer(err) {
			return err
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			cause = err
		}
		if callCtx.Err() != nil {
			return NoAnswer(nc, timeout, cmp.Or(cause, err))
		}
		select {
		case <-callCtx.Done():
		case <-time.After(retryInterval(timeout)):
		}
	}
}

// retryInterval is the pause between a call and its repetition.
func retryInterval(timeout time.Duration) time.Duration { return min(timeout/10, 100*time.Millisecond) }

// MayAnswer reports whether a call that failed may succeed when it is repeated:
// without a connection, a leader, or this consumer.
func MayAnswer(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.ErrorCode != jetstream.JSErrCodeJetStreamNotEnabled && api.ErrorCode != jetstream.JSErrCodeJetStreamNotEnabledForAccount &&
			api.Code >= http.StatusInternalServerError
	}
	for _, transient := range []error{
		errSilent, errGap, context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected, nats.ErrConnectionReconnecting, nats.ErrReconnectBufExceeded,
		jetstream.ErrNoHeartbeat, jetstream.ErrConsumerNotFound, jetstream.ErrConsumerDeleted, jetstream.ErrConsumerLeadershipChanged, jetstream.ErrServerShutdown,
	} {
		if errors.Is(err, transient) {
			return true
		}
	}
	return false
}
