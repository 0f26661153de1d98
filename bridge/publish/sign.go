package publish

import (
	"fmt"

	"github.com/nats-io/nats.go"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
)

// Sign signs the message of a checkpoint, unless the key is nil.
func Sign(key *config.SigningKey, checkpoint *nats.Msg) error {
	if key == nil {
		return nil
	}
	signature, err := key.Sign(checkpoint.Data)
	if err != nil {
		return fmt.Errorf("sign checkpoint: %w", err)
	}
	checkpoint.Header.Set(event.SignatureHeader, signature)
	checkpoint.Header.Set(event.SigningKeyHeader, key.Public())
	return nil
}
