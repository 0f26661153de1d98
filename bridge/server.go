package bridge

import (
	"errors"
	"fmt"
	"strings"

	"bpcc-nats/bridge/config"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/mod/semver"
)

// ErrServerVersion is returned when a NATS server is too old for the bridge. Such a
// server stores the messages of an atomic batch one by one and ignores schedules. It
// returns no error for either, so the bridge could not keep any of its guarantees.
var ErrServerVersion = errors.New("the NATS server is too old")

// oldestServer is the first release of the NATS server with all that the bridge needs: atomic
// batches and scheduled messages.
const oldestServer = "2.12.0"

// supported reports whether a server of this version has what the bridge needs. A pre-release
// precedes its release. Text that is not a version is not supported.
func supported(version string) bool {
	v := "v" + strings.TrimPrefix(version, "v")
	return semver.IsValid(v) && semver.Compare(v, "v"+oldestServer) >= 0
}

// checkServer checks the server of a connection; the error is [ErrServerVersion]. A connection that
// is not connected passes: its requests fail by themselves.
func checkServer(nc *nats.Conn) error {
	version := nc.ConnectedServerVersion()
	if version == "" || supported(version) {
		return nil
	}
	return fmt.Errorf("%w: server %s has release %s, the bridge needs %s or later", ErrServerVersion, nc.ConnectedServerName(), version, oldestServer)
}

// checkLeader checks the server that leads a stream, which may be another one than
// the client is connected to; the error is [ErrServerVersion].
func checkLeader(info *jetstream.StreamInfo) error {
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

// unusable is why the bridge cannot work with NATS until an operator changes
// something, or the connection moves to another server. It ends a term, or the wait
// for one.
type unusable struct{ cause error }

func (u *unusable) Error() string { return "NATS is unusable: " + u.cause.Error() }

func (u *unusable) Unwrap() error { return u.cause }

// asUnusable wraps errors that do not pass by waiting; for all others it returns nil.
func asUnusable(err error) error {
	if errors.Is(err, ErrServerVersion) || errors.Is(err, ErrStream) || errors.Is(err, errTTLChanged) {
		return &unusable{err}
	}
	return nil
}

// unusableHint returns what an operator can do about an unusable server or stream; it is empty for any
// other error.
func unusableHint(c *config.Config, err error) string {
	switch {
	case errors.Is(err, ErrServerVersion):
		return "upgrade all NATS servers to release " + oldestServer + " or later"
	case errors.Is(err, errNoTTL):
		return fmt.Sprintf("give the bucket a TTL: nats kv edit %s --ttl %v", c.LeaseBucket, c.LeaseTTL)
	case errors.Is(err, ErrStream):
		return "rename it or choose another name; the bridge does not reshape a stream"
	}
	return ""
}
