package stream

import (
	"context"
	"log/slog"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
)

// What is lost with a stream, for [Provisioned.Lost].
const (
	lostEvents = "all events"
	lostView   = "state of entities whose events have expired"
)

// history is what the streams show of earlier terms, before any of them is created.
type history struct {
	view  bool // the view holds state that it has sourced from the events
	led   bool // an instance has led, or has armed a watchdog
	begun bool // the stream of events exists, and its first events are gone
}

// fetchHistory looks for traces of earlier terms. A stream that cannot be read shows none: [Provision]
// reports the error of reading it. It must be called before the streams are looked up to be created:
// another instance that does so at the same time leaves no trace before its stream of events exists.
func fetchHistory(ctx context.Context, js jetstream.JetStream, c config.Stream, timing *config.Timing) history {
	ctx, cancel := context.WithTimeout(ctx, timing.CallTimeout)
	defer cancel()
	state := func(name string) jetstream.StreamState {
		s, err := js.Stream(ctx, name)
		if err != nil {
			return jetstream.StreamState{}
		}
		return s.CachedInfo().State
	}
	return history{
		view:  state(ViewStream(c)).Msgs > 0,
		led:   state(LeaseStream(c.Lease)).LastSeq > 0 || state(WatchdogStream(c)).LastSeq > 0,
		begun: state(c.Name).FirstSeq > 1,
	}
}

// lost returns what is lost with a stream that was provisioned; "" for none.
func (h history) lost(c config.Stream, p Provisioned) string {
	switch p.Stream {
	case c.Name:
		// Between the first lease and the first event an existing stream is empty, the view too.
		if p.Created && (h.view || h.led) || p.empty && h.view {
			return lostEvents
		}
	case ViewStream(c):
		if p.Created && h.begun {
			return lostView
		}
	}
	return ""
}

// LogLost logs what is lost with the stream.
func (p Provisioned) LogLost(log *slog.Logger) {
	log.Warn("history lost: stream recreated empty", "stream", p.Stream, "lost", p.Lost, "hint", p.LostHint())
}

// LogEventsLost logs that the stream of events is empty, although it was not.
func LogEventsLost(c config.Stream, log *slog.Logger) {
	Provisioned{Stream: c.Name, Lost: lostEvents}.LogLost(log)
}

// LostHint returns what an operator can do about what is lost.
func (p Provisioned) LostHint() string {
	if p.Lost == lostView {
		return "the server fills it from the stream of events; an entity that is still there appears again, as new, with the next poll"
	}
	return "to restore a backup, stop the bridges, delete the stream, and restore it; readers start again at its beginning"
}
