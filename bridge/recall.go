package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/diff"
)

// recalled is the last word of the stream on one subject or view key.
type recalled struct {
	seq      uint64 // in the events stream
	inStream bool   // false: it has aged out and only the view still has it
	body     []byte
}

// memory is what the stream and the view tell of a tenant: all that the bridge
// knows at its start. There is no other store.
type memory struct {
	keys                 map[string]recalled // by view key
	interrupted, resumed recalled            // the last feed.interrupted and feed.resumed
	directory, chat      []recalled          // all of them, oldest first

	made  time.Time // when the stream was made: another one's sequences mean nothing
	until uint64    // the sequence up to which the stream has been read
	fence uint64    // of the last message on the checkpoints' subject, whatever it is

	strays *strays // hears what is passed over
}

// recall reads a tenant's memory: the last message of every subject, and from
// the view what has aged out of the stream. The higher stream sequence wins.
// What is no event of the bridge is passed over and told to strays.
func recall(ctx context.Context, js jetstream.JetStream, c *Config, strays *strays) (*memory, error) {
	m := &memory{keys: map[string]recalled{}, strays: strays}
	made, newest, err := lastSequence(ctx, js, c.Stream)
	if err != nil {
		return nil, err
	}
	m.made, m.until = made, newest
	entries, err := m.recallView(ctx, js, c)
	if err != nil {
		return nil, fmt.Errorf("recall from the view: %w", err)
	}
	prefix := c.subjectRoot()
	spoiled := map[string]uint64{}
	err = lastPerSubject(ctx, js, c.Stream, prefix+">", func(msg jetstream.Msg, seq uint64) error {
		subject, ok := m.hear(c, msg, seq)
		if ok {
			m.take(subject, recalled{seq: seq, inStream: true, body: msg.Data()})
		} else if m.wants(subject) {
			spoiled[subject] = seq
		}
		delete(entries, seq) // it has been told where it comes from
		return nil
	})
	if err == nil {
		err = m.reread(ctx, js, c, spoiled)
	}
	if err != nil {
		return nil, fmt.Errorf("recall from the stream: %w", err)
	}
	for _, seq := range sortedKeys(entries) {
		m.strays.tell(entries[seq])
	}
	for subject, list := range map[string]*[]recalled{"directory.*.changed": &m.directory, "chat.message_posted": &m.chat} {
		all := jetstream.OrderedConsumerConfig{FilterSubjects: []string{prefix + subject}, DeliverPolicy: jetstream.DeliverAllPolicy}
		err := visit(ctx, js, c.Stream, all, func(msg jetstream.Msg, seq uint64) error {
			if _, ok := m.hear(c, msg, seq); ok {
				*list = append(*list, recalled{seq: seq, inStream: true, body: msg.Data()})
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("recall %s from the stream: %w", subject, err)
		}
	}
	m.strays.sum()
	return m, nil
}

// recallView takes the view's entries, and returns those that are strays by their
// sequence in the stream.
func (m *memory) recallView(ctx context.Context, js jetstream.JetStream, c *Config) (map[uint64]stray, error) {
	prefix := "$KV." + c.StateBucket + "." + Token(c.Tenant) + "."
	found := map[uint64]stray{}
	err := lastPerSubject(ctx, js, viewStream(c), prefix+">", func(msg jetstream.Msg, _ uint64) error {
		key := strings.TrimPrefix(msg.Subject(), prefix)
		from, seq, err := sourceOf(msg)
		if err == nil && from != c.Stream {
			return nil // the watchdog's news, not an event
		}
		var s stored
		if err == nil {
			s, err = readStored(c.Tenant, msg.Headers(), msg.Data())
		}
		if err == nil {
			err = s.fits(key)
		}
		if err != nil {
			found[seq] = stray{where: "key " + Token(c.Tenant) + "." + key + " of the view " + c.StateBucket, seq: seq, err: err, advice: fmt.Sprintf(mendEntry, msg.Subject(), viewStream(c))}
			return nil
		}
		if seq > m.until {
			seq = 0 // from before the stream was made anew: older than all that is in it
		}
		m.remember(key, recalled{seq: seq, body: msg.Data()})
		return nil
	})
	return found, err
}

// wants tells whether a start takes something back from a subject's last event.
func (m *memory) wants(subject string) bool {
	return viewKey(subject) != "" || subject == "feed.interrupted" || subject == "feed.resumed"
}

// take remembers the stream's last word on a subject below the tenant.
func (m *memory) take(subject string, r recalled) {
	switch subject {
	case "feed.interrupted":
		m.interrupted = r
	case "feed.resumed":
		m.resumed = r
	default:
		if key := viewKey(subject); key != "" {
			m.remember(key, r)
		}
	}
}

// add remembers a message that came after all that is remembered.
func (m *memory) add(subject string, r recalled) {
	list := &m.directory
	switch {
	case strings.HasPrefix(subject, "chat."):
		list = &m.chat
	case !strings.HasPrefix(subject, "directory."):
		m.take(subject, r)
		return
	}
	if n := len(*list); n == 0 || (*list)[n-1].seq < r.seq {
		*list = append(*list, r)
	}
}

// subjectRoot begins all subjects of the tenant's events.
func (c *Config) subjectRoot() string { return subjectRoot(c.Tenant) }

func subjectRoot(tenant string) string { return SubjectPrefix + "." + Token(tenant) + "." }

// lastSequence is that of the newest message of a stream, with when the stream
// was made.
func lastSequence(ctx context.Context, js jetstream.JetStream, name string) (made time.Time, seq uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return made, 0, fmt.Errorf("look at stream %s: %w", name, err)
	}
	info := stream.CachedInfo()
	return info.Created, info.State.LastSeq, nil
}

func (m *memory) remember(key string, r recalled) {
	if r.seq >= m.keys[key].seq {
		m.keys[key] = r
	}
}

// sourceOf reads where a sourced message comes from: "stream sequence …".
func sourceOf(msg jetstream.Msg) (stream string, seq uint64, err error) {
	header := msg.Headers().Get("Nats-Stream-Source")
	fields := strings.Fields(header)
	if len(fields) < 2 {
		return "", 0, fmt.Errorf("%w: it has no source: somebody wrote to the view", errStray)
	}
	if seq, err = strconv.ParseUint(fields[1], 10, 64); err != nil {
		return "", 0, fmt.Errorf("%w: its source: %w", errStray, err)
	}
	return fields[0], seq, nil
}

// lastPerSubject visits the last message of every subject that the filter
// names, in stream order.
func lastPerSubject(ctx context.Context, js jetstream.JetStream, stream, filter string, each func(jetstream.Msg, uint64) error) error {
	return visit(ctx, js, stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{filter},
		DeliverPolicy:  jetstream.DeliverLastPerSubjectPolicy,
	}, each)
}

// visit hands what a stream now holds of what a consumer is to see to each, with
// its sequence.
func visit(ctx context.Context, js jetstream.JetStream, stream string, what jetstream.OrderedConsumerConfig, each func(jetstream.Msg, uint64) error) error {
	// The server answers in tens of milliseconds; a reader that hears nothing
	// for this long has lost it and starts anew.
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	what.InactiveThreshold = 30 * time.Second
	// Who may not open one gets no answer; that is to be told soon.
	opening, opened := context.WithTimeout(ctx, callTimeout)
	consumer, err := js.OrderedConsumer(opening, stream, what)
	opened()
	if err != nil {
		return fmt.Errorf("open a consumer: %w", err)
	}
	// Should it not be deleted, it ends by itself. Until then it has one of the
	// places on the stream, which many tenants would use up.
	defer forget(ctx, js, stream, consumer)
	info, err := consumer.Info(ctx)
	if err != nil {
		return fmt.Errorf("look at the consumer: %w", err)
	}
	if info.NumPending == 0 {
		return nil
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("read messages: %w", err)
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("read messages: %w", err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return fmt.Errorf("read messages: %w", err)
		}
		if err := each(msg, meta.Sequence.Stream); err != nil {
			return err
		}
		if meta.NumPending == 0 {
			return nil
		}
	}
}

// forget deletes a consumer that is not needed any more.
func forget(ctx context.Context, js jetstream.JetStream, stream string, c jetstream.Consumer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = js.DeleteConsumer(ctx, stream, c.CachedInfo().Name) // see above
}

// stored is the part of a stored event that the engine takes back.
type stored struct {
	ID   string    `json:"id"`
	Type string    `json:"type"`
	Time time.Time `json:"time"`
	Data struct {
		Tenant        string      `json:"tenant"`
		Revision      uint64      `json:"revision"`
		Agent         agentRef    `json:"agent"`
		Service       string      `json:"service"`
		App           string      `json:"app"`
		After         diff.Image  `json:"after"`
		Available     *bool       `json:"available"`
		Poll          uint64      `json:"poll"`
		Epoch         uint64      `json:"epoch"`
		Status        string      `json:"status"`
		Cause         string      `json:"cause"`
		ObservedUntil *time.Time  `json:"observed_until"`
		MissingSince  time.Time   `json:"missing_since"`
		Observing     []diff.Kind `json:"observing"`
	} `json:"data"`

	subject string // below the tenant, as its content has it
}

// errMemory is returned when what was taken for an event cannot be taken back.
var errMemory = errors.New("stored event cannot be read")

// restore gives the engine back what it believed when the stream was last
// written.
func (e *engine) restore(m *memory) error {
	for _, key := range sortedKeys(m.keys) {
		r := m.keys[key]
		var s stored
		if err := json.Unmarshal(r.body, &s); err != nil {
			return fmt.Errorf("%w: key %s, sequence %d: %w", errMemory, key, r.seq, err)
		}
		if s.Data.Revision > 0 && s.Data.After.IsZero() {
			e.revisions[key] = s.Data.Revision
		}
		switch kind, _, _ := strings.Cut(key, "."); kind {
		case "agent":
			e.state.Set(kindAgent, s.Data.Agent.ID, s.Data.After, s.Data.Revision)
		case "service":
			e.state.Set(kindService, s.Data.Service, s.Data.After, s.Data.Revision)
		case "totals":
			e.state.Set(kindTotals, s.Data.App, s.Data.After, s.Data.Revision)
		case "availability":
			e.availability[s.Data.Service] = availability{told: true, value: s.Data.Available, seen: s.Time}
		case "threshold":
			if err := e.restoreThreshold(r.body, s.Type); err != nil {
				return fmt.Errorf("%w: key %s, sequence %d: %w", errMemory, key, r.seq, err)
			}
		case "feed":
			e.restoreFeed(s)
		}
	}
	if err := e.restoreLists(m); err != nil {
		return err
	}
	return e.restoreCause(m)
}

// restoreLists folds what is told event by event: directories and chat.
func (e *engine) restoreLists(m *memory) error {
	for _, r := range m.directory {
		var s struct {
			Time time.Time
			Data directoryData
		}
		if err := json.Unmarshal(r.body, &s); err != nil {
			return fmt.Errorf("%w: directory, sequence %d: %w", errMemory, r.seq, err)
		}
		// What came before the oldest baseline is gone, and the rest of no use.
		if s.Data.Baseline || e.directories[s.Data.Kind].names != nil {
			e.fold(s.Data.Kind, s.Data, s.Time)
		}
	}
	for _, r := range m.chat {
		var s struct{ Data chatData }
		if err := json.Unmarshal(r.body, &s); err != nil {
			return fmt.Errorf("%w: chat, sequence %d: %w", errMemory, r.seq, err)
		}
		e.chat.add(s.Data.App + "/" + s.Data.Message.ID)
	}
	return nil
}

func (e *engine) restoreThreshold(body []byte, typ string) error {
	if !strings.HasSuffix(typ, ".raised.v1") {
		return nil
	}
	var s struct{ Data thresholdData }
	if err := json.Unmarshal(body, &s); err != nil {
		return err
	}
	key := watchKey{s.Data.Rule, s.Data.Entity}
	e.thresholds.watches[key] = &watch{raised: true, told: s.Data}
	return nil
}

func (e *engine) restoreFeed(s stored) {
	e.epoch, e.poll, e.status, e.previous = s.Data.Epoch, s.Data.Poll, s.Data.Status, s.ID
	if s.Data.ObservedUntil != nil {
		e.observedUntil = *s.Data.ObservedUntil
	}
	e.missingSince = s.Data.MissingSince
	for _, kind := range s.Data.Observing {
		e.baseline[kind] = true
	}
}

// restoreCause finds out whether an interruption was told and is still open.
func (e *engine) restoreCause(m *memory) error {
	if m.interrupted.seq <= m.resumed.seq {
		return nil
	}
	var s stored
	if err := json.Unmarshal(m.interrupted.body, &s); err != nil {
		return fmt.Errorf("%w: feed.interrupted, sequence %d: %w", errMemory, m.interrupted.seq, err)
	}
	e.cause = s.Data.Cause
	return nil
}
