package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/scan"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/mod/semver"
)

// ErrServerVersion is returned when a NATS server is too old for the bridge. Such a
// server stores the messages of an atomic batch one by one and ignores schedules. It
// returns no error for either, so the bridge could not keep any of its guarantees.
var ErrServerVersion = errors.New("the NATS server is too old")

// oldestServer is the first release of the NATS server with all that the bridge needs: atomic
// batches and scheduled messages. 2.12.0 has both, but refuses a batch that expects no earlier message
// on the subject of one of its later messages.
const oldestServer = "2.12.1"

// supported reports whether a server of this version has what the bridge needs. A pre-release
// precedes its release. Text that is not a version is not supported.
func supported(version string) bool {
	v := "v" + strings.TrimPrefix(version, "v")
	return semver.IsValid(v) && semver.Compare(v, "v"+oldestServer) >= 0
}

// CheckServer checks the server of a connection; the error is [ErrServerVersion]. A connection that
// is not connected passes: its requests fail by themselves.
func CheckServer(nc *nats.Conn) error {
	version := nc.ConnectedServerVersion()
	if version == "" || supported(version) {
		return nil
	}
	return fmt.Errorf("%w: server %s has release %s, the bridge needs %s or later", ErrServerVersion, nc.ConnectedServerName(), version, oldestServer)
}

// CheckLeader checks the server that leads a stream, which may be another one than
// the client is connected to; the error is [ErrServerVersion].
func CheckLeader(info *jetstream.StreamInfo) error {
	version := info.Config.Metadata["_nats.ver"]
	if supported(version) {
		return nil
	}
	if version == "" {
		version = "2.10 or earlier" // later releases send their version in each response
	}
	leader := ""
	if info.Cluster != nil && info.Cluster.Leader != "" {
		leader = " " + info.Cluster.Leader
	}
	return fmt.Errorf("%w: server%s, which leads stream %s, has release %s, the bridge needs %s or later",
		ErrServerVersion, leader, info.Config.Name, version, oldestServer)
}

// UnusableError is why the bridge cannot work with NATS until an operator changes
// something, or the connection moves to another server. It ends a term, or the wait
// for one.
type UnusableError struct {
	// Cause is what must change; [Hint] says how.
	Cause error
}

func (u *UnusableError) Error() string { return "NATS is unusable: " + u.Cause.Error() }

func (u *UnusableError) Unwrap() error { return u.Cause }

// AsUnusable wraps errors that do not pass by waiting; for all others it returns nil.
func AsUnusable(err error) error {
	if errors.Is(err, ErrServerVersion) || errors.Is(err, ErrMismatch) || errors.Is(err, ErrTTLChanged) {
		return &UnusableError{err}
	}
	return nil
}

// ErrUnavailable ends a term, or the wait for one, that NATS does not allow: no response, no
// permission, no stream.
var ErrUnavailable = errors.New("NATS unavailable")

// AsUnavailable returns err as the reason why a term does not begin or continue.
func AsUnavailable(err error) error {
	if u := AsUnusable(err); u != nil {
		return u
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// EventsInfo returns the state of the stream of events for an instance that leads or wants to
// lead. The error is [ErrServerVersion] if the server does not support atomic batches.
func EventsInfo(ctx context.Context, js jetstream.JetStream, c config.Stream) (*jetstream.StreamInfo, error) {
	info, err := scan.Info(ctx, js, c.Name)
	if err == nil {
		err = CheckLeader(info)
	}
	return info, err
}
