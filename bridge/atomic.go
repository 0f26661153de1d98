package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// A line carries one atomic batch after the other, as long as all are answered. It hears the server's answers to
// the first message of each, which reports whether the batch was taken on, and to the
// last one, which closes it.
//
// On the wire it is what jetstreamext.PublishMsgBatch does. But that makes texts and
// lists anew for the headers of each message, and lets the server wait: it sends
// nothing more until the first message is answered. Here the answer is looked at
// when there is one.
type ackInbox struct {
	subject string // the answers come to inbox.BATCH.first and inbox.BATCH.last
	acks    *nats.Subscription
}

// The ends of the subjects that answers come to.
const (
	ackFirst  = ".first"
	ackCommit = ".last"
)

// newAckInbox opens one on a connection.
func newAckInbox(nc *nats.Conn) (*ackInbox, error) {
	inbox := nc.NewInbox()
	acks, err := nc.SubscribeSync(inbox + ".*.*")
	if err != nil {
		return nil, fmt.Errorf("subscribe to the answers to batches: %w", err)
	}
	return &ackInbox{subject: inbox, acks: acks}, nil
}

// batchWriter is an atomic batch that is being sent.
type batchWriter struct {
	ackInbox     *ackInbox
	nc           *nats.Conn
	seqValues    []string // of messages in a batch
	idHeader     []string // as a header has it
	replySubject string   // where its answers come to
	sent         int      // messages
	prevErr      error    // the connection's last error from before it
}

// newBatch begins a batch. places are those of messages in one.
func (l *ackInbox) newBatch(nc *nats.Conn, seqValues []string) *batchWriter {
	id := nuid.Next()
	return &batchWriter{ackInbox: l, nc: nc, seqValues: seqValues, idHeader: []string{id}, replySubject: l.subject + "." + id, prevErr: nc.LastError()}
}

// writeMessage sends the next message, batchLimit at most. The last one closes the batch; one
// that is not closed the server forgets.
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
		m.Header.Del(jetstreamext.BatchCommitHeader) // it may go along with others next time
	}
	if err != nil {
		return fmt.Errorf("send message %d: %w", o.sent, err)
	}
	return nil
}

// waitCommitted waits until a batch that is closed is stored, and returns the sequence of the
// last message. An error of type [*jetstream.APIError] says that none is stored; with
// any other that is in doubt. With [ErrServerVersion] messages are stored, but not as a
// batch.
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

// waitAcks waits for the answers to a batch that is sent. A server that has not answered
// its first message within ackTimeout is not waited for any longer.
func (l *ackInbox) waitAcks(ctx context.Context, replySubject string) (jetstreamext.BatchAck, error) {
	firstCtx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	waitCtx := firstCtx
	var firstErr error // why the first message was
	for {
		msg, err := l.acks.NextMsgWithContext(waitCtx)
		if err != nil {
			return jetstreamext.BatchAck{}, fmt.Errorf("wait for the answer: %w", errors.Join(firstErr, err))
		}
		suffix, matched := strings.CutPrefix(msg.Subject, replySubject)
		if !matched {
			continue // somebody else's
		}
		ack, err := parseAck(msg)
		switch {
		case suffix == ackCommit && err != nil && firstErr != nil:
			return ack, firstErr // the server says less when it closes what it has not opened
		case suffix == ackCommit:
			return ack, err
		case err != nil:
			firstErr = err
		}
		waitCtx = ctx
	}
}

// parseAck reads a server's answer to a message of a batch. One in the midst of it
// is empty, unless the server knows nothing of batches ([ErrServerVersion]).
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
		return reply.BatchAck, fmt.Errorf("%w: it stores the messages of a batch one by one", ErrServerVersion)
	}
	return reply.BatchAck, nil
}

// batchSeqValues are the places of messages in a batch, as their headers tell them.
func batchSeqValues() []string {
	values := make([]string, batchLimit)
	for i := range values {
		values[i] = strconv.Itoa(i + 1)
	}
	return values
}
