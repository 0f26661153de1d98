package reader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
)

// Session is an open connection with JetStream.
type Session struct {
	NC     *nats.Conn
	JS     jetstream.JetStream
	Server *stream.Server // nil if the server is another process
	// Embedded says that the server is inside of this process or of a bridge: there are no permissions.
	Embedded bool

	cancel context.CancelCauseFunc
}

// Close closes the connection, and the server if it runs inside.
func (l *Session) Close() {
	l.cancel(nil)
	if l.NC != nil {
		l.NC.Close()
	}
	if l.Server != nil {
		l.Server.Close()
	}
}

// Connect connects to the configured server, waiting no longer than timeout if that
// is not 0, or starts the embedded one. The returned context ends, with the cause,
// when the connection is closed permanently.
func Connect(ctx context.Context, c *config.Config, timeout time.Duration, log *slog.Logger) (context.Context, *Session, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	l := &Session{cancel: cancel}
	if c.NATS.Embedded() {
		server, err := stream.StartEmbedded(ctx, c.Embedded, log)
		if err != nil {
			cancel(err)
			return ctx, nil, err
		}
		l.Server, l.Embedded, c.NATS.URL = server, true, server.URL()
		log.Info("no NATS_URL: a NATS server runs inside", "url", c.NATS.URL, "store", c.Embedded.StoreDir,
			"used_bytes", int64(server.Used()), "limit_bytes", int64(server.StoreMax()))
	}
	waiting := ctx
	if timeout > 0 {
		var stop context.CancelFunc
		waiting, stop = context.WithTimeout(ctx, timeout)
		defer stop()
	}
	js, err := stream.Connect(waiting, c.NATS, c.Version, log, cancel)
	if err != nil {
		l.Close()
		return ctx, nil, err
	}
	l.NC, l.JS = js.Conn(), js
	return ctx, l, nil
}

// ErrNothingToRead is returned when the configuration names no server, and no bridge has
// had a store on this machine.
var ErrNothingToRead = errors.New("nothing to read")

// ConnectReadOnly connects a command that changes nothing: to the configured server, to
// the embedded server of a running bridge, or to the store of a stopped one. It changes
// the configuration to where it has connected.
func ConnectReadOnly(ctx context.Context, c *config.Config, timeout time.Duration, log *slog.Logger) (context.Context, *Session, error) {
	listen := c.Embedded.Listen
	if c.NATS.Embedded() {
		if _, err := os.Stat(c.Embedded.StoreDir); errors.Is(err, os.ErrNotExist) {
			return ctx, nil, fmt.Errorf("%w: NATS_URL is not set, and there is no store in %s (BRIDGE_STORE_DIR)", ErrNothingToRead, c.Embedded.StoreDir)
		}
		c.Embedded.Listen = "127.0.0.1:0" // no other program connects
	}
	sessionCtx, l, err := Connect(ctx, c, timeout, log)
	if errors.Is(err, stream.ErrStoreInUse) {
		// A bridge with the embedded server runs: connect to it.
		c.NATS.URL = "nats://" + listen
		if sessionCtx, l, err = Connect(ctx, c, timeout, log); err == nil {
			l.Embedded = true
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = NoAnswer(nil, timeout, err)
	}
	return sessionCtx, l, err
}

// StopCause turns the error of work that ended with ctx into why ctx ended: nil for a
// signal.
func StopCause(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, nats.ErrNoServers) {
		return nil
	}
	return err
}

// errUnfinished is returned by a command that a signal ended before its work was
// done.
var errUnfinished = errors.New("did not finish")

// Unfinished turns the error of work that ended with ctx into why ctx ended. Unlike
// [StopCause] it returns an error for a signal, since the work was not completed.
func Unfinished(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	cause := context.Cause(ctx)
	if errors.Is(cause, context.Canceled) {
		return fmt.Errorf("%w: %w", errUnfinished, cause)
	}
	return cause
}
