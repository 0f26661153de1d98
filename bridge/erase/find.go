package erase

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/scan"
	"bpcc-nats/bridge/stream"
)

// Found is what stream and view hold of a person.
type Found struct {
	// Tenant and Agent are whom it is about; AlsoKnownAs are the other ids, and the names, that were
	// searched for.
	Tenant      string   `json:"tenant"`
	Agent       string   `json:"agent"`
	AlsoKnownAs []string `json:"also_known_as"`
	// Messages are in the order of the stream; Shared counts those that hold others, too.
	Messages []Message `json:"messages"`
	Shared   int       `json:"shared"`
	// Keys are those of the view, below the tenant.
	Keys []Key `json:"keys"`
	// Kept counts events about the feed that hold a text that may be the person's. They are not erased:
	// the stream cannot be read without them.
	Kept int `json:"kept"`
}

// Message is a message of the stream that holds the person.
type Message struct {
	Seq     uint64 `json:"sequence"`
	Subject string `json:"subject"`
	// Shared reports whether it holds others, too.
	Shared bool `json:"shared"`
}

// Key is a key of the view that holds the person.
type Key struct {
	Key string `json:"key"`
	// Seq is the sequence of its message in the view.
	Seq uint64 `json:"sequence"`
}

// search is the search for a person. What it reads of others makes the state that remains.
type search struct {
	js     jetstream.JetStream
	config *config.Config
	person *person
	found  Found

	decoder   event.Decoder
	remaining *engine.Engine // that the events of others are applied to
	fence     uint64         // of the last message on the checkpoints' subject
	source    string         // of the last checkpoint: the CloudEvents source
	last      []byte         // body of the last checkpoint
}

// newSearch returns the search for an agent of the tenant of a configuration.
func newSearch(js jetstream.JetStream, c *config.Config, agent string, o engine.Options) *search {
	return &search{
		js: js, config: c, person: newPerson(agent, event.NewPseudonyms(string(c.Events.PseudonymKey)).Hash(agent)), remaining: engine.New(o),
		found: Found{Tenant: c.Tenant, Agent: agent, AlsoKnownAs: []string{}, Messages: []Message{}, Keys: []Key{}},
	}
}

// run searches view and stream up to its present end.
func (s *search) run(ctx context.Context) error {
	last, err := scan.LastSeq(ctx, s.js, s.config.Stream.Name)
	if err != nil {
		return err
	}
	if err := s.identify(ctx, last); err != nil {
		return fmt.Errorf("find the ids and names of the person: %w", err)
	}
	if err := s.searchView(ctx); err != nil {
		return fmt.Errorf("search view %s: %w", s.config.Stream.StateBucket, err)
	}
	err = s.scan(ctx, last, []string{event.Prefix(s.config.Tenant) + ">"}, s.searchMessage)
	if err != nil {
		return fmt.Errorf("search stream %s: %w", s.config.Stream.Name, err)
	}
	for _, text := range slices.Sorted(maps.Keys(s.person.ids)) {
		if text != s.found.Agent {
			s.found.AlsoKnownAs = append(s.found.AlsoKnownAs, text)
		}
	}
	s.found.AlsoKnownAs = append(s.found.AlsoKnownAs, slices.Sorted(maps.Keys(s.person.names))...)
	return nil
}

// identify learns the person's ids and names until there are no others: from the person's own events, from
// the directory of agents and from chat.
func (s *search) identify(ctx context.Context, last uint64) error {
	prefix := event.Prefix(s.config.Tenant)
	for more := true; more; {
		more = false
		err := s.readView(ctx, func(_ string, _ jetstream.Msg, _ uint64, e *event.Event, err error) {
			more = err == nil && s.person.learnFrom(e) || more
		})
		if err != nil {
			return err
		}
		subjects := []string{prefix + "directory." + engine.Agents + ".changed", prefix + "chat.message_posted"}
		for _, id := range slices.Sorted(maps.Keys(s.person.ids)) {
			subjects = append(subjects, prefix+event.RowKey(event.Agent, id)+".*")
		}
		err = s.scan(ctx, last, subjects, func(msg jetstream.Msg, _ uint64) error {
			e, err := s.parse(msg)
			more = err == nil && s.person.learnFrom(&e) || more
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// searchView finds the keys that hold the person.
func (s *search) searchView(ctx context.Context) error {
	return s.readView(ctx, func(key string, msg jetstream.Msg, seq uint64, e *event.Event, err error) {
		switch {
		case key == "feed":
			s.source = sourceOf(msg)
			if from, _, err := scan.ParseSource(msg.Headers()); err != nil || from != s.config.Stream.Name {
				return // the watchdog's message
			}
		case err != nil && !s.person.holds(msg.Data()):
		case err != nil || s.person.ownerOf(e, msg.Data()) != others:
			s.found.Keys = append(s.found.Keys, Key{key, seq})
			return
		}
		if err == nil && !readWhole(e) {
			if e.Name == event.Checkpoint {
				s.last = msg.Data()
			}
			s.remaining.Recover(e)
		}
	})
}

// searchMessage judges a message of the stream.
func (s *search) searchMessage(msg jetstream.Msg, seq uint64) error {
	subject := strings.TrimPrefix(msg.Subject(), event.Prefix(s.config.Tenant))
	if subject == event.Checkpoint {
		s.fence = seq
	}
	e, err := s.parse(msg)
	holder := others
	switch {
	case err == nil:
		holder = s.person.ownerOf(&e, msg.Data())
	case s.person.holds(msg.Data()):
		holder = shared
	}
	if strings.HasPrefix(subject, "feed.") {
		if holder != others {
			s.found.Kept++
		}
		holder = others
	}
	if holder != others {
		s.found.Messages = append(s.found.Messages, Message{seq, msg.Subject(), holder == shared})
		if holder == shared {
			s.found.Shared++
		}
		return nil
	}
	if err != nil {
		return nil
	}
	if e.Name == event.Checkpoint {
		s.source, s.last = sourceOf(msg), msg.Data()
	}
	s.remaining.Recover(&e)
	return nil
}

// sourceOf returns the CloudEvents source of an event.
func sourceOf(msg jetstream.Msg) string {
	var envelope struct {
		Source string `json:"source"`
	}
	if json.Unmarshal(msg.Data(), &envelope) != nil {
		return ""
	}
	return envelope.Source
}

// readWhole reports whether the last event of a kind does not give its state.
func readWhole(e *event.Event) bool { return e.Kind() == "directory" || e.Kind() == "chat" }

// readView calls handle with every key of the tenant, removals included, and its event.
func (s *search) readView(ctx context.Context, handle func(key string, msg jetstream.Msg, seq uint64, e *event.Event, err error)) error {
	prefix := stream.ViewPrefix(s.config.Stream) + event.Token(s.config.Tenant) + "."
	return scan.LastPerSubject(ctx, s.js, stream.ViewStream(s.config.Stream), prefix+">", func(msg jetstream.Msg, seq uint64) error {
		key := strings.TrimPrefix(msg.Subject(), prefix)
		e, err := s.decoder.ParseValue(s.config.Tenant, key, msg.Data())
		handle(key, msg, seq, &e, err)
		return nil
	})
}

// scanSize is how many messages are read at once: each such read has a limit of time.
const scanSize = 50_000

// scan calls handle with the messages of subjects up to a sequence.
func (s *search) scan(ctx context.Context, last uint64, subjects []string, handle func(jetstream.Msg, uint64) error) error {
	for next := uint64(1); next <= last; {
		n, from := 0, next
		next = last + 1
		err := scan.All(ctx, s.js, s.config.Stream.Name, jetstream.OrderedConsumerConfig{
			FilterSubjects: subjects,
			DeliverPolicy:  jetstream.DeliverByStartSequencePolicy,
			OptStartSeq:    from,
		}, func(msg jetstream.Msg, seq uint64) error {
			if seq > last {
				return scan.ErrStop
			}
			if n++; n > scanSize {
				next = seq
				return scan.ErrStop
			}
			return handle(msg, seq)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *search) parse(msg jetstream.Msg) (event.Event, error) {
	return s.decoder.Parse(s.config.Tenant, msg.Subject(), msg.Headers().Get(nats.MsgIdHdr), msg.Data())
}

// Tenants lists the tenants of the view.
func Tenants(ctx context.Context, js jetstream.JetStream, c *config.Config) ([]string, error) {
	var tenants []string
	prefix := stream.ViewPrefix(c.Stream)
	err := scan.LastPerSubject(ctx, js, stream.ViewStream(c.Stream), prefix+"*.feed", func(msg jetstream.Msg, _ uint64) error {
		token := strings.TrimSuffix(strings.TrimPrefix(msg.Subject(), prefix), ".feed")
		if tenant, err := event.ParseToken(token); err == nil {
			tenants = append(tenants, tenant)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list tenants of view %s: %w", c.Stream.StateBucket, err)
	}
	slices.Sort(tenants)
	return tenants, nil
}
