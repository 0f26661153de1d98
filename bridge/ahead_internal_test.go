package bridge

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bpcc-nats/bpcc"
)

// ahead is a bridge on a floor so large that a poll in which every agent has changed
// goes out in three parts.
type ahead struct {
	*Bridge
	t      *testing.T
	centre *centre
	now    time.Time
}

func newAhead(t *testing.T) *ahead {
	server, err := StartServer(t.TempDir(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	b, c := benchBridgeOn(t, server.URL(), 2*batchLimit+500)
	return &ahead{b, t, c, time.Now()}
}

// observe looks at the floor at a tick, where one agent of the second part has a long
// name.
func (a *ahead) observe(tick int) batch {
	a.t.Helper()
	body := bytes.Replace(a.centre.body(tick, 100, false), []byte(`{"1":"agent01500","2":"`), []byte(`{"1":"agent01500","2":"`+strings.Repeat("x", 3000)), 1)
	a.now = a.now.Add(2 * time.Second)
	b := a.engine.observe(observation{at: a.now, answer: bpcc.Answer{Body: body, Sent: a.now, Received: a.now}})
	if b.err != nil || len(b.events) != a.centre.agents {
		a.t.Fatalf("%d events, error %v", len(b.events), b.err)
	}
	return b
}

// stored commits a batch and tells how many messages that has stored, and how many
// parts were sent ahead. It fails the test if a batch holds on to anything.
func (a *ahead) stored(b batch) (msgs uint64, parts int, err error) {
	a.t.Helper()
	before := a.last()
	err = a.engine.deliver(b, a.config.source(), func(p *part) error {
		if p.ahead != nil {
			parts++
		}
		seq, err := a.store(a.t.Context(), p)
		if err == nil {
			a.fence = seq
		}
		return err
	})
	if g := a.limits.batches; len(g.turn) > 0 || len(g.lines) > 2 {
		a.t.Errorf("%d batches hold a turn, %d lines lie idle; want none, and 2 at most", len(g.turn), len(g.lines))
	}
	return a.last() - before, parts, err
}

// last is the sequence of the stream's last message.
func (a *ahead) last() uint64 {
	a.t.Helper()
	stream, err := a.js.Stream(a.t.Context(), a.config.Stream)
	if err != nil {
		a.t.Fatal(err)
	}
	return stream.CachedInfo().State.LastSeq
}

// TestPartsGoAheadOfTheirTurn: while one is stored, the events of the next are sent;
// all are stored, once.
func TestPartsGoAheadOfTheirTurn(t *testing.T) {
	t.Parallel()
	a := newAhead(t)
	for tick := range 2 {
		msgs, parts, err := a.stored(a.observe(tick))
		if want := uint64(a.centre.agents + 3); msgs != want || parts != 2 || err != nil {
			t.Errorf("%d messages are stored, %d parts were sent ahead, error %v; want %d and 2", msgs, parts, err, want)
		}
	}
}

// TestWhatIsTooLargeIsLeftOutOfAPartSentAhead, and nothing else. That part goes out
// again step by step.
func TestWhatIsTooLargeIsLeftOutOfAPartSentAhead(t *testing.T) {
	t.Parallel()
	a := newAhead(t)
	if _, _, err := a.stored(a.observe(0)); err != nil {
		t.Fatal(err)
	}
	a.msgLimit = 5000 // the long name goes in once, not before and after
	msgs, parts, err := a.stored(a.observe(1))
	if want := uint64(a.centre.agents + 2); msgs != want || parts != 0 || err != nil {
		t.Errorf("%d messages are stored, %d parts were sent ahead, error %v; want %d and none", msgs, parts, err, want)
	}
}

// TestNothingGoesAheadOfARefusedPart: behind another's checkpoint nothing is stored.
// Behind a stray all is, once, but the part that found it is sent without another.
func TestNothingGoesAheadOfARefusedPart(t *testing.T) {
	t.Parallel()
	a := newAhead(t)
	if _, _, err := a.stored(a.observe(0)); err != nil {
		t.Fatal(err)
	}
	subject := a.config.subjectRoot() + checkpointSubject
	if _, err := a.js.Publish(t.Context(), subject, []byte("junk")); err != nil {
		t.Fatal(err)
	}
	msgs, parts, err := a.stored(a.observe(1))
	if want := uint64(a.centre.agents + 3); msgs != want || parts != 1 || err != nil {
		t.Errorf("behind a stray %d messages are stored, %d parts were sent ahead, error %v; want %d and 1", msgs, parts, err, want)
	}
	stream, err := a.js.Stream(t.Context(), a.config.Stream)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := stream.GetLastMsgForSubject(t.Context(), subject)
	if err != nil {
		t.Fatal(err)
	}
	id := strings.Replace(a.engine.previous, "-0-", "-1-", 1)
	data := strings.NewReplacer(a.engine.previous, id, `"epoch":0`, `"epoch":1`).Replace(string(ours.Data))
	theirs := &nats.Msg{Subject: subject, Header: nats.Header{nats.MsgIdHdr: {id}}, Data: []byte(data)}
	if _, err := a.js.PublishMsg(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	if msgs, parts, err = a.stored(a.observe(2)); msgs != 0 || parts != 0 || !errors.Is(err, ErrFenced) {
		t.Errorf("behind another's checkpoint %d messages are stored, %d parts were sent ahead, error %v; want none, and %v", msgs, parts, err, ErrFenced)
	}
}
