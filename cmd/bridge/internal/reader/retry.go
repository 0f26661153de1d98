package reader

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/scan"
	"bpcc-nats/bridge/stream"
)

// errNoAnswer is returned when the NATS server has not responded within --timeout.
var errNoAnswer = errors.New("no response from the NATS server")

// HintUnreachable is what to check without a connection.
const HintUnreachable = "check NATS_URL, that the server runs, and that this machine reaches it"

// NoAnswer wraps the error of a call without a response of the server in time, with
// what to check. The connection is nil if there was none.
func NoAnswer(nc *nats.Conn, timeout time.Duration, err error) error {
	hint := HintUnreachable
	if nc != nil {
		hint = cmp.Or(stream.Hint(config.Stream{}, err), "read the log of the NATS servers")
	}
	if strings.HasSuffix(err.Error(), hint) { // as that of [stream.Provision]
		return fmt.Errorf("%w (--timeout %v): %w", errNoAnswer, timeout, err)
	}
	return fmt.Errorf("%w (--timeout %v): %w; %s", errNoAnswer, timeout, err, hint)
}

// Retry repeats a call until the server responds, no longer than the timeout.
func Retry(ctx context.Context, nc *nats.Conn, timeout time.Duration, call func(context.Context) error) error {
	callCtx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var cause error // the last one that is not just a timeout
	for {
		prevErr := nc.LastError()
		err := stream.Cause(nc, prevErr, call(callCtx))
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
	return scan.MayPass(err) || stream.IsTransient(err)
}
