package bridge

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/stream"
)

// Error codes of the server for a stream that does not accept a batch.
const (
	codeNoStorage     jetstream.ErrorCode = 10047 // this server's disk
	codeAccountFull   jetstream.ErrorCode = 10002
	codeNoResources   jetstream.ErrorCode = 10023
	codeStoreFailed   jetstream.ErrorCode = 10077 // its max_bytes or max_msgs, with discard new
	codeSealed        jetstream.ErrorCode = 10109
	codeAtomicOff     jetstream.ErrorCode = 10174
	codeBatchTooLarge jetstream.ErrorCode = 10199
	codeDuplicate     jetstream.ErrorCode = 10201
)

// streamHint returns what a person can do about a stream that accepts no events.
func streamHint(c *config.Config, err error) string {
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Sprintf("the stream is recreated empty after it has been missing for %v; to restore a backup, stop the bridges first", c.Times().RecreateAfter)
	}
	if errors.Is(err, nats.ErrNoResponders) {
		return fmt.Sprintf("restore in stream %s the subject %s.>, or enable JetStream for the account", c.Stream, event.SubjectPrefix)
	}
	duplicateIDHint := fmt.Sprintf("another publisher used this bridge's message ids; retries succeed after the duplicate window of stream %s", c.Stream)
	if errors.Is(err, stream.ErrDuplicateID) {
		return duplicateIDHint
	}
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return "publishing resumes when the NATS servers respond"
	}
	switch api.ErrorCode {
	case codeStoreFailed:
		return fmt.Sprintf("raise or remove max_bytes and max_msgs of stream %s", c.Stream)
	case codeNoStorage, codeNoResources, codeAccountFull:
		return "free disk space, or raise the JetStream limits of the server or the account"
	case codeSealed:
		return fmt.Sprintf("stream %s is sealed permanently: choose another name in BRIDGE_STREAM", c.Stream)
	case codeAtomicOff:
		return fmt.Sprintf("enable allow_atomic of stream %s again", c.Stream)
	case jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return fmt.Sprintf("raise or remove max_msg_size of stream %s", c.Stream)
	case codeBatchTooLarge:
		return fmt.Sprintf("raise the server's limit of messages in a batch to %d", event.BatchLimit)
	case codeDuplicate:
		return duplicateIDHint
	}
	return "read the log of the NATS servers"
}
