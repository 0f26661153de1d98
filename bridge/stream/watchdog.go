package stream

import (
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
)

// WatchdogPrefix begins the watchdog's subjects; the stream of events must not capture it.
const WatchdogPrefix = "bpcc.watchdog"

// watchdogConfig is the stream of the scheduled message that the server publishes to the view's
// feed key if no bridge postpones it: a bridge cannot report its own death. It is a separate stream
// because a stream with schedules needs limits retention with one message per subject.
func watchdogConfig(c config.Stream) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              WatchdogStream(c),
		Description:       "Says in " + c.StateBucket + " that a feed is stale when its bridge does not put it off",
		Subjects:          []string{WatchdogPrefix + ".>"},
		Storage:           jetstream.FileStorage,
		MaxMsgsPerSubject: 1,
		Discard:           jetstream.DiscardOld,
		Replicas:          c.Replicas,
		AllowDirect:       true,
		AllowRollup:       true,
		AllowMsgTTL:       true,
		AllowMsgSchedules: true,
	}
}

// WatchdogStream returns the name of the watchdog's stream.
func WatchdogStream(c config.Stream) string { return c.Name + "_WATCHDOG" }
