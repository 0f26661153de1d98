package bridge

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// atomically publishes messages as one atomic batch, batchLimit at most, and
// returns the sequence of the last. An error of type [*jetstream.APIError] says
// that none is stored; with any other that is in doubt.
//
// It says on the wire what jetstreamext.PublishMsgBatch says. That makes texts and
// lists for the headers of each message anew; here they are there already. And its
// wait for the first answer does not end with the context.
func (g *grouping) atomically(ctx context.Context, msgs []*nats.Msg) (seq uint64, err error) {
	conn, id, last := g.js.Conn(), []string{nuid.Next()}, len(msgs)-1
	for i, m := range msgs {
		m.Header[jetstreamext.BatchIDHeader] = id
		m.Header[jetstreamext.BatchSeqHeader] = g.places[i : i+1 : i+1]
		switch i {
		case last:
		case 0:
			// A server that takes no batch says so at once.
			if err := g.open(ctx, m); err != nil {
				return 0, fmt.Errorf("open the batch: %w", err)
			}
		default:
			if err := conn.PublishMsg(m); err != nil {
				return 0, fmt.Errorf("publish message %d of the batch: %w", i+1, err)
			}
		}
	}
	m := msgs[last]
	m.Header.Set(jetstreamext.BatchCommitHeader, "1")
	answer, err := conn.RequestMsgWithContext(ctx, m)
	m.Header.Del(jetstreamext.BatchCommitHeader) // it may go along with others next time
	if err != nil {
		return 0, fmt.Errorf("close the batch: %w", err)
	}
	ack, err := batchAnswer(answer.Data)
	if err != nil {
		return 0, fmt.Errorf("close the batch: %w", err)
	}
	if ack.BatchID != id[0] || ack.BatchSize != uint64(len(msgs)) {
		return 0, fmt.Errorf("close the batch: %w", jetstreamext.ErrInvalidBatchAck)
	}
	return ack.Sequence, nil
}

// open publishes the first message of a batch and waits until the server has
// taken it.
func (g *grouping) open(ctx context.Context, m *nats.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	answer, err := g.js.Conn().RequestMsgWithContext(ctx, m)
	if err == nil && len(answer.Data) > 0 {
		_, err = batchAnswer(answer.Data)
	}
	return err
}

// batchAnswer reads a server's answer to a message of a batch.
func batchAnswer(data []byte) (jetstreamext.BatchAck, error) {
	var answer struct {
		Error *jetstream.APIError `json:"error"`
		jetstreamext.BatchAck
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return answer.BatchAck, fmt.Errorf("%w: %w", jetstream.ErrInvalidJSAck, err)
	}
	if answer.Error != nil {
		return answer.BatchAck, answer.Error
	}
	return answer.BatchAck, nil
}

// batchPlaces are the places of messages in a batch, as their headers tell them.
func batchPlaces() []string {
	places := make([]string, batchLimit)
	for i := range places {
		places[i] = strconv.Itoa(i + 1)
	}
	return places
}
