package stream

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/internal/bridgetest"
)

// TestUnfitStreams makes each of the streams by hand with a setting under which it could
// not hold what the bridge stores in it. It is refused, by the name of the setting.
func TestUnfitStreams(t *testing.T) {
	t.Parallel()
	c := bridgetest.StreamConfig(t, 1).Stream
	tests := map[string]func(*jetstream.StreamConfig){
		"retention is Interest, not Limits":  func(s *jetstream.StreamConfig) { s.Retention = jetstream.InterestPolicy },
		"retention is WorkQueue, not Limits": func(s *jetstream.StreamConfig) { s.Retention = jetstream.WorkQueuePolicy },
		"no_ack is true":                     func(s *jetstream.StreamConfig) { s.NoAck = true },
		"discard_new_per_subject is true": func(s *jetstream.StreamConfig) {
			s.Discard, s.DiscardNewPerSubject, s.MaxMsgsPerSubject = jetstream.DiscardNew, true, max(s.MaxMsgsPerSubject, 1)
		},
		"allow_msg_counter is true": func(s *jetstream.StreamConfig) {
			s.AllowMsgCounter, s.AllowMsgTTL, s.Discard = true, false, jetstream.DiscardOld
		},
		"mirror is ": func(s *jetstream.StreamConfig) {
			*s = jetstream.StreamConfig{Name: s.Name, Mirror: &jetstream.StreamSource{Name: "OTHER"}}
		},
		"subject_transform is ": func(s *jetstream.StreamConfig) {
			s.SubjectTransform = &jetstream.SubjectTransformConfig{Source: ">", Destination: "other.>"}
		},
	}
	js := startServer(t)
	for _, want := range Configs(c) {
		refusedAll := true
		for setting, set := range tests {
			unfit := want
			set(&unfit)
			if _, err := js.CreateStream(t.Context(), unfit); err != nil {
				t.Logf("the server makes no %s where %s: %v", want.Name, setting, err)
				continue
			}
			refusedAll = false
			if _, err := provision(t.Context(), js, c, config.DefaultTiming(), want); !errors.Is(err, ErrMismatch) || IsTransient(err) || !strings.Contains(err.Error(), setting) {
				t.Errorf("%s: %v, want %v with %q, for a person", want.Name, err, ErrMismatch, setting)
			}
			if err := js.DeleteStream(t.Context(), want.Name); err != nil {
				t.Fatal(err)
			}
		}
		if refusedAll {
			t.Errorf("%s could be made with none of the settings", want.Name)
		}
		sealed := jetstream.StreamInfo{Config: want}
		sealed.Config.Sealed, sealed.Config.Metadata = true, map[string]string{"_nats.ver": oldestServer}
		if _, err := CheckFit(c, want, &sealed); !errors.Is(err, ErrMismatch) || !strings.Contains(err.Error(), "sealed is true") {
			t.Errorf("%s, sealed: %v, want %v", want.Name, err, ErrMismatch)
		}
	}
}
