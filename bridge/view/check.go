package view

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/scan"
	"bpcc-nats/bridge/stream"
)

// Comparison is what [Compare] finds.
type Comparison struct {
	// Created is when the view was created.
	Created time.Time
	// OtherTimeline says what shows that the view is of another timeline than the stream: of one that
	// was restored, recreated, or has lost its end. "" if nothing does.
	OtherTimeline string
	// Outdated says which key of the view holds an older event than the stream has, although the view has
	// the later checkpoint. "" if none does.
	Outdated string
	// Servers changes when another server may hold the view: it names the leaders, and counts reconnects.
	Servers string
	// OneCopy reports whether the view sources the stream and has one copy: where it stalls, no other server can go on.
	OneCopy bool
	// CaughtUp reports whether the view holds what was published up to the checkpoint; else Missing is
	// not known.
	CaughtUp bool
	// Missing are the keys that the view lacks.
	Missing []string
}

// Compare compares the view with what the leader of a tenant believes to be published: keys, below
// the tenant, after the checkpoint of that epoch at that sequence. It reads no values but that of the
// feed, and the headers of all messages only if the servers are not those of the last comparison.
func Compare(ctx context.Context, js jetstream.JetStream, c *config.Config, keys []string, epoch, checkpoint uint64, lastServers string) (Comparison, error) {
	found, err := compareKeys(ctx, js, c, keys, epoch, checkpoint)
	if err != nil || !found.CaughtUp || found.Servers == lastServers {
		return found, err
	}
	found.Outdated, err = findOutdated(ctx, js, c, checkpoint)
	return found, err
}

// compareKeys compares the keys of the view with those that should be there.
func compareKeys(ctx context.Context, js jetstream.JetStream, c *config.Config, keys []string, epoch, checkpoint uint64) (Comparison, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*c.Times().CallTimeout)
	defer cancel()
	view, err := js.Stream(ctx, stream.ViewStream(c.Stream))
	if err != nil {
		return Comparison{}, fmt.Errorf("compare the view: %w", err)
	}
	found := Comparison{Created: view.CachedInfo().Created, Servers: fmt.Sprint(js.Conn().Stats().Reconnects)}
	config := view.CachedInfo().Config
	found.OneCopy = config.Replicas < 2 && slices.ContainsFunc(config.Sources, func(s *jetstream.StreamSource) bool { return s.Name == c.Stream.Name })
	if cluster := view.CachedInfo().Cluster; cluster != nil {
		found.Servers += " " + cluster.Leader
	}
	prefix := stream.ViewPrefix(c.Stream) + event.Token(c.Tenant) + "."
	feed, err := view.GetLastMsgForSubject(ctx, prefix+"feed")
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return found, nil // until the next checkpoint
	}
	if err != nil {
		return found, fmt.Errorf("compare the view: read its feed: %w", err)
	}
	from, seq, err := scan.ParseSource(feed.Header)
	if err != nil || from != c.Stream.Name {
		return found, nil // of the watchdog, until the next checkpoint
	}
	ev, err := event.ParseValue(c.Tenant, "feed", feed.Data)
	if err != nil {
		return found, nil // foreign, until the next checkpoint
	}
	if ev.ID.Epoch != epoch || seq < checkpoint {
		found.OtherTimeline, err = judgeTimeline(ctx, js, c, seq, feed.Header.Get(nats.MsgIdHdr))
		return found, err
	}
	found.CaughtUp = true
	info, err := view.Info(ctx, jetstream.WithSubjectFilter(prefix+">"))
	if err != nil {
		return Comparison{}, fmt.Errorf("compare the view: list its keys: %w", err)
	}
	for _, key := range keys {
		if info.State.Subjects[prefix+key] == 0 {
			found.Missing = append(found.Missing, key)
		}
	}
	return found, nil
}

// judgeTimeline returns what shows that a message that the view took from the stream is not of this
// stream; "" if it may be.
func judgeTimeline(ctx context.Context, js jetstream.JetStream, c *config.Config, seq uint64, msgID string) (string, error) {
	events, err := js.Stream(ctx, c.Stream.Name)
	if err != nil {
		return "", fmt.Errorf("compare the view: %w", err)
	}
	if last := events.CachedInfo().State.LastSeq; seq > last {
		return fmt.Sprintf("it holds message %d of the stream, which ends at %d", seq, last), nil
	}
	same, err := scan.SameMessage(ctx, events, seq, msgID)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("compare the view: %w", err)
	case same:
		return "", nil
	}
	return fmt.Sprintf("it holds %s as message %d, which is another one", msgID, seq), nil
}

// Rebuild deletes the view and creates it again with its configuration, so that the server fills it
// from the stream as it is now. It does nothing, and returns false, if the view is not the one that was
// created then: another instance has rebuilt it.
func Rebuild(ctx context.Context, js jetstream.JetStream, c *config.Config, created time.Time) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*c.Times().CallTimeout)
	defer cancel()
	name := stream.ViewStream(c.Stream)
	prevErr := js.Conn().LastError()
	view, err := js.Stream(ctx, name)
	if err != nil {
		return false, fmt.Errorf("rebuild view: %w", err)
	}
	info := view.CachedInfo()
	if !info.Created.Equal(created) {
		return false, nil
	}
	if err := js.DeleteStream(ctx, name); err != nil {
		return false, fmt.Errorf("rebuild view: delete stream %s: %w", name, stream.Cause(js.Conn(), prevErr, err))
	}
	if _, err := js.CreateStream(ctx, info.Config); err != nil {
		return false, fmt.Errorf("rebuild view: create stream %s: %w", name, stream.Cause(js.Conn(), prevErr, err))
	}
	return true, nil
}
