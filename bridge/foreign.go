package bridge

import (
	"log/slog"

	"bpcc-nats/bridge/event"
)

// Whoever may publish on a tenant's subjects can store there what the bridge
// never wrote, and nobody can delete it. Such a message is a stray: it is passed
// over as if it were not there, and told of. Somebody who means to deceive can
// forge an event; this is for slips.

// stray is a message that is passed over.
type stray struct {
	where, advice string
	seq           uint64 // in the stream of events; 0 = not known
	err           error  // why
}

// How to get rid of strays: of those in the stream, and of those in the view.
const (
	mendStray = "find out who publishes on this subject; the message expires with the stream's retention, and the view recovers with the entity's next event"
	mendEntry = "the next event about the same entity replaces the entry; if there will be none, purge subject %s from stream %s"
)

// strays tells of stray messages: the first by name, then how many there are.
// It is for one goroutine at a time.
type strays struct {
	log   *slog.Logger
	count func() // is called for each place that is new
	known map[string]bool
	told  int // of known
}

const (
	straysNamed = 5
	straysKept  = 10_000 // bounds what is remembered
)

func (s *strays) tell(x stray) {
	if s.known[x.where] || len(s.known) >= straysKept {
		return
	}
	s.known[x.where] = true
	s.count()
	if len(s.known) > straysNamed {
		return
	}
	s.told = len(s.known)
	s.log.Warn("ignored a foreign message", "where", x.where, "sequence", x.seq,
		"err", event.Truncate(x.err.Error(), 200), "hint", x.advice)
}

// sum tells of how many there are that were not named.
func (s *strays) sum() {
	if n := len(s.known); n > s.told {
		s.told = n
		s.log.Warn("more foreign messages", "places", n, "hint", "bridge verify lists those of the stream, bridge state those of the view")
	}
}
