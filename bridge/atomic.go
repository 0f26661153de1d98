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
// the first message of each, which tells whether the batch was taken on, and to the
// last one, which closes it.
//
// On the wire it is what jetstreamext.PublishMsgBatch does. But that makes texts and
// lists anew for the headers of each message, and lets the server wait: it sends
// nothing more until the first message is answered. Here the answer is looked at
// when there is one.
type line struct {
	inbox   string // the answers come to inbox.BATCH.first and inbox.BATCH.last
	answers *nats.Subscription
}

// The ends of the subjects that answers come to.
const (
	answerFirst = ".first"
	answerLast  = ".last"
)

// newLine opens one on a connection.
func newLine(nc *nats.Conn) (*line, error) {
	inbox := nc.NewInbox()
	answers, err := nc.SubscribeSync(inbox + ".*.*")
	if err != nil {
		return nil, fmt.Errorf("subscribe to the answers to batches: %w", err)
	}
	return &line{inbox: inbox, answers: answers}, nil
}

// opening is an atomic batch that is being sent.
type opening struct {
	line    *line
	nc      *nats.Conn
	places  []string // of messages in a batch
	id      []string // as a header has it
	address string   // where its answers come to
	sent    int      // messages
	before  error    // the connection's last error from before it
}

// open begins a batch. places are those of messages in one.
func (l *line) open(nc *nats.Conn, places []string) *opening {
	id := nuid.Next()
	return &opening{line: l, nc: nc, places: places, id: []string{id}, address: l.inbox + "." + id, before: nc.LastError()}
}

// send sends the next message, batchLimit at most. The last one closes the batch; one
// that is not closed the server forgets.
func (o *opening) send(m *nats.Msg, last bool) error {
	m.Header[jetstreamext.BatchIDHeader] = o.id
	m.Header[jetstreamext.BatchSeqHeader] = o.places[o.sent : o.sent+1 : o.sent+1]
	switch {
	case last:
		m.Header.Set(jetstreamext.BatchCommitHeader, "1")
		m.Reply = o.address + answerLast
	case o.sent == 0:
		m.Reply = o.address + answerFirst
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

// stored waits until a batch that is closed is stored, and returns the sequence of the
// last message. An error of type [*jetstream.APIError] says that none is stored; with
// any other that is in doubt. With [ErrServerVersion] messages are stored, but not as a
// batch.
func (o *opening) stored(ctx context.Context) (uint64, error) {
	ack, err := o.line.await(ctx, o.address)
	if err != nil {
		return 0, err
	}
	if ack.BatchID != o.id[0] || ack.BatchSize != uint64(o.sent) {
		return 0, jetstreamext.ErrInvalidBatchAck
	}
	return ack.Sequence, nil
}

// await waits for the answers to a batch that is sent. A server that has not answered
// its first message within ackTimeout is not waited for any longer.
func (l *line) await(ctx context.Context, address string) (jetstreamext.BatchAck, error) {
	first, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	waiting := first
	var refused error // why the first message was
	for {
		answer, err := l.answers.NextMsgWithContext(waiting)
		if err != nil {
			return jetstreamext.BatchAck{}, fmt.Errorf("wait for the answer: %w", errors.Join(refused, err))
		}
		end, ours := strings.CutPrefix(answer.Subject, address)
		if !ours {
			continue // somebody else's
		}
		ack, err := readAnswer(answer)
		switch {
		case end == answerLast && err != nil && refused != nil:
			return ack, refused // the server says less when it closes what it has not opened
		case end == answerLast:
			return ack, err
		case err != nil:
			refused = err
		}
		waiting = ctx
	}
}

// readAnswer reads a server's answer to a message of a batch. One in the midst of it
// is empty, unless the server knows nothing of batches ([ErrServerVersion]).
func readAnswer(m *nats.Msg) (jetstreamext.BatchAck, error) {
	var answer struct {
		Error *jetstream.APIError `json:"error"`
		jetstreamext.BatchAck
	}
	if len(m.Data) == 0 {
		return answer.BatchAck, nil
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return answer.BatchAck, fmt.Errorf("%w: %w", jetstream.ErrInvalidJSAck, err)
	}
	if answer.Error != nil {
		return answer.BatchAck, answer.Error
	}
	if answer.Stream != "" && answer.BatchID == "" {
		return answer.BatchAck, fmt.Errorf("%w: it stores the messages of a batch one by one", ErrServerVersion)
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
