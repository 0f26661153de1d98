package export

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
)

// NewestHead reads the newest checkpoint of a tenant.
func NewestHead(ctx context.Context, js jetstream.JetStream, c config.Stream, tenant string) (event.Head, error) {
	stream, err := js.Stream(ctx, c.Name)
	if err != nil {
		return event.Head{}, err
	}
	msg, err := stream.GetLastMsgForSubject(ctx, event.Prefix(tenant)+event.Checkpoint)
	if err != nil {
		return event.Head{}, err
	}
	return event.NewHead(tenant, msg.Subject, msg.Header.Get(nats.MsgIdHdr), msg.Sequence,
		msg.Header.Get(event.SignatureHeader), msg.Header.Get(event.SigningKeyHeader), msg.Data)
}

// ErrHeads is returned for a file that bridge head has not written.
var ErrHeads = errors.New("want the lines that bridge head prints")

// ReadHeads reads the heads of a file.
func ReadHeads(file string) (all []event.Head, err error) {
	text, err := config.ReadFile(file)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	for {
		var h event.Head
		switch err := d.Decode(&h); {
		case errors.Is(err, io.EOF) && len(all) > 0:
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("%s: %w: %w", file, ErrHeads, err)
		case !h.Valid():
			return nil, fmt.Errorf("%s: object %d: %w", file, len(all)+1, ErrHeads)
		}
		all = append(all, h)
	}
}
