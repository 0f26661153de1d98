package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/stream"
)

// ackInbox receives the acknowledgements of one atomic batch after the other, as long as each batch
// is acknowledged. The server acknowledges the first message of a batch, which reports whether it
// accepts the batch, and the last one, which commits it.
//
// On the wire it does what jetstreamext.PublishMsgBatch does. That function allocates the headers
// of each message again, and waits for the acknowledgement of the first message before it sends the
// second. Here all messages are sent, and acknowledgements are read when they arrive.
type ackInbox struct {
	subject string // acknowledgements arrive on inbox.BATCH.first and inbox.BATCH.last
	acks    *nats.Subscription
	timeout time.Duration // for the acknowledgement of a batch's first message
}

// Last tokens of the subjects on which acknowledgements arrive.
const (
	ackFirst  = ".first"
	ackCommit = ".last"
)

// newAckInbox subscribes to a new inbox.
func newAckInbox(nc *nats.Conn, timeout time.Duration) (*ackInbox, error) {
	inbox := nc.NewInbox()
	acks, err := nc.SubscribeSync(inbox + ".*.*")
	if err != nil {
		return nil, fmt.Errorf("subscribe to batch acknowledgements: %w", err)
	}
	return &ackInbox{subject: inbox, acks: acks, timeout: timeout}, nil
}

// batchWriter writes one atomic batch.
type batchWriter struct {
	ackInbox     *ackInbox
	nc           *nats.Conn
	seqValues    []string // values of Nats-Batch-Sequence
	idHeader     []string // value of Nats-Batch-Id
	replySubject string   // where its acknowledgements arrive
	sent         int      // number of messages
	prevErr      error    // the connection's last error before the batch
}

// newBatch begins a batch. seqValues are the values of Nats-Batch-Sequence.
func (l *ackInbox) newBatch(nc *nats.Conn, seqValues []string) *batchWriter {
	id := nuid.Next()
	return &batchWriter{ackInbox: l, nc: nc, seqValues: seqValues, idHeader: []string{id}, replySubject: l.subject + "." + id, prevErr: nc.LastError()}
}

// writeMessage sends the next message, [event.BatchLimit] at most. The last one commits the batch; the
// server abandons a batch that is not committed.
func (o *batchWriter) writeMessage(m *nats.Msg, last bool) error {
	m.Header[jetstreamext.BatchIDHeader] = o.idHeader
	m.Header[jetstreamext.BatchSeqHeader] = o.seqValues[o.sent : o.sent+1 : o.sent+1]
	switch {
	case last:
		m.Header.Set(jetstreamext.BatchCommitHeader, "1")
		m.Reply = o.replySubject + ackCommit
	case o.sent == 0:
		m.Reply = o.replySubject + ackFirst
	}
	o.sent++
	err := o.nc.PublishMsg(m)
	m.Reply = ""
	if last {
		m.Header.Del(jetstreamext.BatchCommitHeader) // it may be in a larger batch next time
	}
	if err != nil {
		return fmt.Errorf("send message %d: %w", o.sent, err)
	}
	return nil
}

// waitCommitted waits until a batch is committed, and returns the sequence of its last message.
// After an error of type [*jetstream.APIError] no message is stored; after any other error that is
// unknown. After [ErrServerVersion] messages are stored, but not as a batch.
func (o *batchWriter) waitCommitted(ctx context.Context) (uint64, error) {
	ack, err := o.ackInbox.waitAcks(ctx, o.replySubject)
	if err != nil {
		return 0, err
	}
	if ack.BatchID != o.idHeader[0] || ack.BatchSize != uint64(o.sent) {
		return 0, jetstreamext.ErrInvalidBatchAck
	}
	return ack.Sequence, nil
}

// waitAcks waits for the acknowledgements of a batch. It gives up if the server has not
// acknowledged the first message in time.
func (l *ackInbox) waitAcks(ctx context.Context, replySubject string) (jetstreamext.BatchAck, error) {
	firstCtx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	waitCtx := firstCtx
	var firstErr error // why the first message was refused
	for {
		msg, err := l.acks.NextMsgWithContext(waitCtx)
		if err != nil {
			return jetstreamext.BatchAck{}, fmt.Errorf("wait for acknowledgement: %w", errors.Join(firstErr, err))
		}
		suffix, matched := strings.CutPrefix(msg.Subject, replySubject)
		if !matched {
			continue // not of this batch
		}
		ack, err := parseAck(msg)
		switch {
		case suffix == ackCommit && err != nil && firstErr != nil:
			return ack, firstErr // the error of the last message says less after the first one was refused
		case suffix == ackCommit:
			return ack, err
		case err != nil:
			firstErr = err
		}
		waitCtx = ctx
	}
}

// parseAck parses an acknowledgement. The one of a message within a batch is empty, unless the
// server does not support batches ([ErrServerVersion]).
func parseAck(m *nats.Msg) (jetstreamext.BatchAck, error) {
	var reply struct {
		Error *jetstream.APIError `json:"error"`
		jetstreamext.BatchAck
	}
	if len(m.Data) == 0 {
		return reply.BatchAck, nil
	}
	if err := json.Unmarshal(m.Data, &reply); err != nil {
		return reply.BatchAck, fmt.Errorf("%w: %w", jetstream.ErrInvalidJSAck, err)
	}
	if reply.Error != nil {
		return reply.BatchAck, reply.Error
	}
	if reply.Stream != "" && reply.BatchID == "" {
		return reply.BatchAck, fmt.Errorf("%w: server stores the messages of a batch one by one", stream.ErrServerVersion)
	}
	return reply.BatchAck, nil
}

// batchSeqValues returns the values of Nats-Batch-Sequence of a batch.
func batchSeqValues() []string {
	values := make([]string, event.BatchLimit)
	for i := range values {
		values[i] = strconv.Itoa(i + 1)
	}
	return values
}

// IsWrongSequence reports whether the server refused a batch because of the fence. Replicated
// streams use the second code under concurrency.
func IsWrongSequence(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}
