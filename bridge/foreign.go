package bridge

import (
	"log/slog"

	"bpcc-nats/bridge/event"
)

// Whoever may publish on a tenant's subjects can store there what the bridge
// never wrote, and nobody can delete it. Such a message is a stray: it is passed
// over as if it were not there, and told of. Somebody who means to deceive can
// forge an event; this is for slips.

// foreignMessage is a message that is passed over.
type foreignMessage struct {
	where, hint string
	seq         uint64 // in the stream of events; 0 = not known
	err         error  // why
}

// How to get rid of strays: of those in the stream, and of those in the view.
const (
	foreignMessageHint = "find out who publishes on this subject; the message expires with the stream's retention, and the view recovers with the entity's next event"
	foreignEntryHint   = "the next event about the same entity replaces the entry; if there will be none, purge subject %s from stream %s"
)

// foreignLog tells of stray messages: the first by name, then how many there are.
// It is for one goroutine at a time.
type foreignLog struct {
	log         *slog.Logger
	countMetric func() // is called for each place that is new
	known       map[string]bool
	loggedCount int // of known
}

const (
	maxForeignLogged = 5
	maxForeignKnown  = 10_000 // bounds what is remembered
)

func (s *foreignLog) logForeign(x foreignMessage) {
	if s.known[x.where] || len(s.known) >= maxForeignKnown {
		return
	}
	s.known[x.where] = true
	s.countMetric()
	if len(s.known) > maxForeignLogged {
		return
	}
	s.loggedCount = len(s.known)
	s.log.Warn("ignored a foreign message", "where", x.where, "sequence", x.seq,
		"err", event.Truncate(x.err.Error(), 200), "hint", x.hint)
}

// logTotal tells of how many there are that were not named.
func (s *foreignLog) logTotal() {
	if n := len(s.known); n > s.loggedCount {
		s.loggedCount = n
		s.log.Warn("more foreign messages", "places", n, "hint", "bridge verify lists those of the stream, bridge state those of the view")
	}
}
