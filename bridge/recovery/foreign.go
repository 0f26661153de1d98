package recovery

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

// ForeignLog logs foreign messages: the first ones by name, then their number. It is used by one
// goroutine at a time.
type ForeignLog struct {
	log         *slog.Logger
	countMetric func() // is called for each new subject or key
	known       map[string]bool
	loggedCount int // of known

	unreadable      map[uint64]bool // sequences of messages that the server cannot load
	countUnreadable func()          // is called for each of them
}

// NewForeignLog returns a log. countForeign is called for each new subject or key, countUnreadable for each
// message that the server cannot load.
func NewForeignLog(log *slog.Logger, countForeign, countUnreadable func()) *ForeignLog {
	return &ForeignLog{log: log, known: map[string]bool{}, countMetric: countForeign, unreadable: map[uint64]bool{}, countUnreadable: countUnreadable}
}

const (
	maxForeignLogged = 5
	maxForeignKnown  = 10_000 // bounds the memory
)

func (s *ForeignLog) logForeign(x foreignMessage) {
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

// logUnreadable logs and counts messages of a stream that the server cannot load. subjects are those that
// end with one; err is why not all could be looked for.
func (s *ForeignLog) logUnreadable(stream string, sequences []uint64, subjects []string, err error) {
	n := 0
	for _, seq := range sequences {
		if !s.unreadable[seq] && len(s.unreadable) < maxForeignKnown {
			s.unreadable[seq] = true
			s.countUnreadable()
			n++
		}
	}
	if n == 0 && err == nil {
		return
	}
	args := []any{"stream", stream, "count", len(sequences), "sequences", sequences[:min(len(sequences), unreadableNamed)], "subjects", subjects[:min(len(subjects), unreadableNamed)],
		"hint", "the server cannot load them and the bridge passes over them: check the disks of the servers; bridge verify lists all"}
	if err != nil {
		args = append(args, "err", err)
	}
	s.log.Warn("unreadable messages passed over", args...)
}

// LogMessage logs a foreign message of the stream of events.
func (s *ForeignLog) LogMessage(stream string, msg jetstream.Msg, seq uint64, err error) {
	s.logForeign(foreignMessage{stream: stream, subject: msg.Subject(), seq: seq, err: err, hint: foreignMessageHint})
}

// ParseMessage parses a message of the stream of events of a tenant. The error is event.ErrForeign.
func ParseMessage(d *event.Decoder, tenant string, msg jetstream.Msg) (event.Event, error) {
	return d.Parse(tenant, msg.Subject(), msg.Headers().Get(nats.MsgIdHdr), msg.Data())
}

// LogTotal logs how many there are that were not logged by name.
func (s *ForeignLog) LogTotal() {
	if n := len(s.known); n > s.loggedCount {
		s.loggedCount = n
		s.log.Warn("more foreign messages", "count", n, "hint", "bridge verify lists those of the stream, bridge state those of the view")
	}
}
