package bridge

import (
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/event"
)

// Any client that may publish on a tenant's subjects can store a foreign message there, and a
// stream without purge cannot delete it. The bridge ignores and reports it. A client can still
// forge an event on purpose; the check is for mistakes.

// foreignMessage is a foreign message that was ignored.
type foreignMessage struct {
	stream, subject string // of events or, with a key's subject, of the view
	hint            string
	seq             uint64 // in the stream of events; 0 = not known
	err             error  // why
}

// What to do about foreign messages in the stream, and in the view.
const (
	foreignMessageHint = "find out who publishes on this subject; the message expires with the stream's retention, and the view recovers with the entity's next event"
	foreignEntryHint   = "the next event about the same entity replaces the entry; if there will be none, purge subject %s from stream %s"
)

// foreignLog logs foreign messages: the first ones by name, then their number. It is used by one
// goroutine at a time.
type foreignLog struct {
	log         *slog.Logger
	countMetric func() // is called for each new subject or key
	known       map[string]bool
	loggedCount int // of known
}

const (
	maxForeignLogged = 5
	maxForeignKnown  = 10_000 // bounds the memory
)

func (s *foreignLog) logForeign(x foreignMessage) {
	if s.known[x.subject] || len(s.known) >= maxForeignKnown {
		return
	}
	s.known[x.subject] = true
	s.countMetric()
	if len(s.known) > maxForeignLogged {
		return
	}
	s.loggedCount = len(s.known)
	s.log.Warn("ignored a foreign message", "stream", x.stream, "subject", x.subject, "sequence", x.seq,
		"err", event.Truncate(x.err.Error(), 200), "hint", x.hint)
}

// logMessage logs a foreign message of the stream of events.
func (s *foreignLog) logMessage(stream string, msg jetstream.Msg, seq uint64, err error) {
	s.logForeign(foreignMessage{stream: stream, subject: msg.Subject(), seq: seq, err: err, hint: foreignMessageHint})
}

// parseMessage parses a message of the stream of events of a tenant. The error is event.ErrForeign.
func parseMessage(tenant string, msg jetstream.Msg) (event.Event, error) {
	return event.Parse(tenant, msg.Subject(), msg.Headers().Get(nats.MsgIdHdr), msg.Data())
}

// logTotal logs how many there are that were not logged by name.
func (s *foreignLog) logTotal() {
	if n := len(s.known); n > s.loggedCount {
		s.loggedCount = n
		s.log.Warn("more foreign messages", "count", n, "hint", "bridge verify lists those of the stream, bridge state those of the view")
	}
}
