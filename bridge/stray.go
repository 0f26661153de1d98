package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/schemas"
)

// Whoever may publish on a tenant's subjects can store there what the bridge
// never wrote, and nobody can delete it. Such a message is a stray: it is passed
// over as if it were not there, and told of. Somebody who means to deceive can
// forge an event; this is for slips.

// checkpointSubject is that of checkpoints, below the tenant, and their name.
const checkpointSubject = "feed.checkpoint"

// errStray is why a message is no event of the bridge.
var errStray = errors.New("no event of the bridge")

// readStored reads an event of a tenant as its writer must have written it.
// Anything else is errStray.
func readStored(tenant string, header nats.Header, body []byte) (stored, error) {
	s, err := readBody(tenant, body)
	if got := header.Get(nats.MsgIdHdr); err == nil && got != s.ID {
		err = fmt.Errorf("%w: its Nats-Msg-Id is %q and its id %q", errStray, got, s.ID)
	}
	return s, err
}

// readOn is readStored of a message on a subject below the tenant, on which its
// content must belong.
func readOn(tenant, subject string, header nats.Header, body []byte) (stored, error) {
	s, err := readStored(tenant, header, body)
	if err == nil && s.subject != subject {
		err = s.elsewhere()
	}
	return s, err
}

// elsewhere is why an event is a stray where it lies.
func (s *stored) elsewhere() error {
	return fmt.Errorf("%w: its content belongs on %s", errStray, s.subject)
}

// readBody is readStored where headers are not known.
func readBody(tenant string, body []byte) (stored, error) {
	var s stored
	if err := json.Unmarshal(body, &s); err != nil {
		return s, fmt.Errorf("%w: %w", errStray, err)
	}
	if s.Data.Tenant != tenant {
		return s, fmt.Errorf("%w: its tenant is %q", errStray, s.Data.Tenant)
	}
	p, err := readPlace(tenant, s.ID)
	switch {
	case err != nil:
		return s, fmt.Errorf("%w: %w", errStray, err)
	case p.epoch == 0 || p.poll != s.Data.Poll || s.Data.Epoch != 0 && s.Data.Epoch != p.epoch:
		return s, fmt.Errorf("%w: its id %q is not of epoch %d and poll %d", errStray, s.ID, s.Data.Epoch, s.Data.Poll)
	}
	return s, s.locate(body)
}

// locate works out on which subject an event must lie, and whether all is there
// that a start takes back from it.
func (s *stored) locate(body []byte) error {
	name := strings.TrimSuffix(strings.TrimPrefix(s.Type, "bpcc."), ".v1")
	kind, verb, ok := strings.Cut(name, ".")
	if !ok || strings.Contains(verb, ".") || schemas.Type(name) != s.Type {
		return fmt.Errorf("%w: its type is %q", errStray, s.Type)
	}
	d, ids, err := &s.Data, []string(nil), error(nil)
	switch kind {
	case "agent":
		ids = []string{d.Agent.ID}
	case "service":
		ids = []string{d.Service}
	case "totals":
		ids = []string{d.App}
	case "threshold":
		var t struct{ Data thresholdData }
		err = json.Unmarshal(body, &t)
		ids = []string{t.Data.Rule, t.Data.Entity.ID}
	case "directory":
		var l struct{ Data directoryData }
		err = json.Unmarshal(body, &l)
		ids = []string{l.Data.Kind}
	case "chat":
		var c struct{ Data chatData }
		err = json.Unmarshal(body, &c)
	case "feed":
		if d.Epoch == 0 {
			err = errors.New("it has no epoch")
		}
	default:
		err = fmt.Errorf("its type is %q", s.Type)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errStray, err)
	}
	s.subject = kind
	for _, id := range ids {
		if id == "" {
			return fmt.Errorf("%w: it does not say what it is about", errStray)
		}
		s.subject += "." + Token(id)
	}
	s.subject += "." + verb
	key := viewKey(s.subject)
	if key == "" || key == "feed" {
		return nil
	}
	pictured := kind != "threshold" && !strings.HasPrefix(verb, "availability_") && verb != "disappeared"
	switch {
	case d.Revision == 0:
		return fmt.Errorf("%w: it has no revision", errStray)
	case pictured && d.After.IsZero():
		return fmt.Errorf("%w: it has no picture of after", errStray)
	}
	return nil
}

// readEntry reads the value of a key, below the tenant, of the view.
func readEntry(tenant, key string, body []byte) (stored, error) {
	s, err := readBody(tenant, body)
	if err == nil {
		err = s.fits(key)
	}
	return s, err
}

// fits tells whether the view has an event under the right key.
func (s *stored) fits(key string) error {
	if viewKey(s.subject) != key {
		return s.elsewhere()
	}
	return nil
}

// hear reads a message that the stream holds on a subject below the tenant. It
// is false for a stray.
func (m *memory) hear(c *Config, msg jetstream.Msg, seq uint64) (subject string, ok bool) {
	subject = strings.TrimPrefix(msg.Subject(), c.subjectRoot())
	if subject == checkpointSubject {
		m.fence = max(m.fence, seq) // a stray moves the fence, too
	}
	_, err := readOn(c.Tenant, subject, msg.Headers(), msg.Data())
	if err != nil {
		m.strays.tell(stray{where: "subject " + msg.Subject() + " of stream " + c.Stream, seq: seq, err: err, advice: mendStray})
	}
	return subject, err == nil
}

// rereadAtOnce is how many messages of a subject are read in one go to find the
// last event among them; of more, the newest are read first.
const rereadAtOnce = 1000

// reread takes from the subjects that end with strays what stands before those.
// The newest event on each counts; without one, the subject was never told.
func (m *memory) reread(ctx context.Context, js jetstream.JetStream, c *Config, spoiled map[string]uint64) error {
	if len(spoiled) == 0 {
		return nil
	}
	counts, err := countSubjects(ctx, js, c)
	if err != nil {
		return err
	}
	for _, subject := range sortedKeys(spoiled) {
		if counts[c.subjectRoot()+subject] == 1 {
			continue // the stray itself
		}
		if err := m.rereadSubject(ctx, js, c, subject, spoiled[subject]); err != nil {
			return fmt.Errorf("look on %s for what stands before a stray message: %w", subject, err)
		}
	}
	return nil
}

// countSubjects counts the messages on each of the tenant's subjects.
func countSubjects(ctx context.Context, js jetstream.JetStream, c *Config) (map[string]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stream, err := js.Stream(ctx, c.Stream)
	if err != nil {
		return nil, fmt.Errorf("look at stream %s: %w", c.Stream, err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(c.subjectRoot()+">"))
	if err != nil {
		return nil, fmt.Errorf("count the messages of stream %s: %w", c.Stream, err)
	}
	return info.State.Subjects, nil
}

// errEnough ends a visit.
var errEnough = errors.New("enough")

// rereadSubject looks ever further back from the sequence before. A stream
// cannot be read backwards.
func (m *memory) rereadSubject(ctx context.Context, js jetstream.JetStream, c *Config, subject string, before uint64) error {
	found := recalled{}
	for back := uint64(rereadAtOnce); ; back *= 8 {
		from := max(before, back+1) - back
		err := visit(ctx, js, c.Stream, jetstream.OrderedConsumerConfig{
			FilterSubjects: []string{c.subjectRoot() + subject},
			DeliverPolicy:  jetstream.DeliverByStartSequencePolicy,
			OptStartSeq:    from,
		}, func(msg jetstream.Msg, seq uint64) error {
			if seq >= before {
				return errEnough
			}
			// A subject with wildcards in it would be a filter that sees others.
			if _, err := readOn(c.Tenant, subject, msg.Headers(), msg.Data()); err == nil && msg.Subject() == c.subjectRoot()+subject {
				found = recalled{seq: seq, inStream: true, body: msg.Data()}
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return err
		}
		if found.seq > 0 || from == 1 {
			break
		}
	}
	if found.seq > 0 {
		m.take(subject, found)
	}
	return nil
}

// stray is a message that is passed over.
type stray struct {
	where, advice string
	seq           uint64 // in the stream of events; 0 = not known
	err           error  // why
}

// How to get rid of strays: of those in the stream, and of those in the view.
const (
	mendStray = "find out who publishes there; the message leaves the stream with its retention, and the next event of the same subject hides it from readers of the view"
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
	s.log.Warn("passed over a message that is no event of the bridge", "where", x.where, "sequence", x.seq,
		"err", clipText(x.err.Error(), 200), "advice", x.advice)
}

// sum tells of how many there are that were not named.
func (s *strays) sum() {
	if n := len(s.known); n > s.told {
		s.told = n
		s.log.Warn("more messages that are no events of the bridge", "places", n,
			"advice", "bridge verify lists those of the stream, bridge state those of the view")
	}
}

// clipText cuts a text that somebody else has made up.
func clipText(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most] + "…"
}
