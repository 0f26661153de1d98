package stream

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"bpcc-nats/bridge/config"
)

// StorageCause is why NATS does not store messages; "" if the storage is not the cause. It is the label
// of a metric.
type StorageCause string

// Causes.
const (
	NoSpace      StorageCause = "no_space"      // no space left on the device of a server, or the quota there is used up
	NotWritable  StorageCause = "not_writable"  // a server cannot write to its disk, and does not say why; or it is read-only, or fails
	ServerLimit  StorageCause = "server_limit"  // JetStream of a server
	AccountLimit StorageCause = "account_limit" // storage of the account
	StreamLimit  StorageCause = "stream_limit"  // max_bytes or max_msgs, with discard new
)

// StorageCauses returns all causes.
func StorageCauses() []StorageCause {
	return []StorageCause{NoSpace, NotWritable, ServerLimit, AccountLimit, StreamLimit}
}

// Error codes of the server for messages that it does not store.
const (
	codeAccountFull jetstream.ErrorCode = 10002
	codeServerFull  jetstream.ErrorCode = 10023
	codeNoStorage   jetstream.ErrorCode = 10047
	codeStoreFailed jetstream.ErrorCode = 10077 // the description says why
	// A server writes the messages of a batch to files before it stores them, and answers so if it cannot:
	// it has no space left on device, most often. It also does after a restart within a batch, once.
	codeIncomplete jetstream.ErrorCode = 10176
)

// ErrStoreFailed is returned by [Server.StoreError].
var ErrStoreFailed = errors.New("store cannot be written")

// StoreError returns why the embedded server's store cannot be written; nil if it can. The error is
// [ErrStoreFailed] and that of the file system.
func (s *Server) StoreError() error {
	if err := s.serverLog.writeError(); err != nil {
		return fmt.Errorf("%w: %w", ErrStoreFailed, err)
	}
	return nil
}

// FindStorageCause returns why NATS did not store a message, as far as its answer, or the embedded
// server, says so.
func FindStorageCause(err error) StorageCause {
	var api *jetstream.APIError
	switch {
	case err == nil:
		return ""
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return NoSpace
	case errors.Is(err, ErrStoreFailed):
		return NotWritable
	case !errors.As(err, &api):
		return ""
	case strings.Contains(api.Description, unix.ENOSPC.Error()), strings.Contains(api.Description, unix.EDQUOT.Error()):
		return NoSpace
	}
	switch api.ErrorCode {
	case codeAccountFull:
		return AccountLimit
	case codeServerFull, codeNoStorage:
		return ServerLimit
	case codeIncomplete:
		return NotWritable
	case codeStoreFailed:
		if strings.Contains(api.Description, "maximum ") {
			return StreamLimit
		}
	}
	return ""
}

// StorageHint returns what a person can do about a disk that is full, or not writable; "" for any other
// error, whose hint is in the table of faults.
func StorageHint(err error) string {
	embedded := errors.Is(err, ErrStoreFailed)
	switch FindStorageCause(err) {
	case NoSpace:
		if embedded {
			return fmt.Sprintf("no space left on device: free %v or more on the disk of BRIDGE_STORE_DIR; the embedded server then restarts by itself", config.Size(restartRoom))
		}
		return "no space left on device: free disk space on the NATS servers; a server that has disabled JetStream must be restarted"
	case NotWritable:
		if !embedded {
			return "the NATS server cannot write a batch to its disk: no space left on device, or not writable; its log says which"
		}
		return "make BRIDGE_STORE_DIR writable for this user; the embedded server then restarts by itself"
	}
	return ""
}
