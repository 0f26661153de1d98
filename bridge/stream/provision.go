// Package stream is the JetStream side of the bridge: the connection and the embedded server, the
// streams and how they must be, the errors of NATS, the watchdog. It knows no tenant's life and no
// engine.
package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
)

// ErrMismatch is returned by [Provision] for an existing stream that the bridge cannot use. Its text
// lists the differences; the bridge never changes a stream.
var ErrMismatch = errors.New("stream does not fit")

// ErrSubjectMissing is returned for a stream of events that no longer has the subject of the events, so that
// nothing, or another stream, stores what is published.
var ErrSubjectMissing = errors.New("stream lacks its subject")

// CheckSubjects reports whether a stream of events has the subject of the events; the error is
// [ErrSubjectMissing] if not.
func CheckSubjects(c config.Stream, info *jetstream.StreamInfo) error {
	for _, subject := range eventsConfig(c).Subjects {
		if !slices.Contains(info.Config.Subjects, subject) {
			return fmt.Errorf("%w: subjects of stream %s are %v, without %s", ErrSubjectMissing, c.Name, info.Config.Subjects, subject)
		}
	}
	return nil
}

// eventsConfig is the stream of the events: state for recovery and audit trail.
func eventsConfig(c config.Stream) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:               c.Name,
		Description:        "Changes in contact centres, as CloudEvents",
		Subjects:           []string{event.SubjectPrefix + ".>"},
		Storage:            jetstream.FileStorage,
		Compression:        jetstream.S2Compression,
		Replicas:           c.Replicas,
		MaxAge:             c.Retention,
		Duplicates:         min(2*time.Minute, c.Retention),
		AllowAtomicPublish: true,
		AllowDirect:        true,
		AllowMsgTTL:        true,
		DenyDelete:         c.Audit, // the server never allows again what it denies
		DenyPurge:          c.Audit,
		// SubjectDeleteMarkerTTL must stay 0: its markers would be sourced and delete keys of the
		// view.
	}
}

// viewConfig is the KV bucket that the server fills from the events. It has no subjects of its own,
// so no client can write to it.
func viewConfig(c config.Stream) jetstream.StreamConfig {
	key := func(suffix string) string { return ViewPrefix(c) + "{{wildcard(1)}}." + suffix }
	// They must agree with event.ViewKey. The server writes every transform into the
	// header Nats-Stream-Source of each message of the view, so each costs bytes.
	transforms := []jetstream.SubjectTransformConfig{
		{Source: event.SubjectPrefix + ".*.*.*.*", Destination: key("{{wildcard(2)}}.{{wildcard(3)}}")},
		{Source: event.SubjectPrefix + ".*.*.*.*.*", Destination: key("{{wildcard(2)}}.{{wildcard(3)}}.{{wildcard(4)}}")},
		{Source: event.SubjectPrefix + ".*." + event.Checkpoint, Destination: key("feed")},
	}
	return jetstream.StreamConfig{
		Name:              ViewStream(c),
		Description:       "The present state of contact centres, filled from " + c.Name,
		MaxMsgsPerSubject: 1,
		Discard:           jetstream.DiscardNew,
		Storage:           jetstream.FileStorage,
		Compression:       jetstream.S2Compression,
		Replicas:          c.Replicas,
		AllowDirect:       true,
		AllowRollup:       true,
		AllowMsgTTL:       true, // removals end by it
		DenyDelete:        c.Audit,
		// DenyPurge stays unset: a key that has no more events must be removable.
		// Duplicates stays unset: sourced ids would be checked a second time.
		Sources: []*jetstream.StreamSource{
			{Name: c.Name, SubjectTransforms: transforms},
			{Name: WatchdogStream(c), SubjectTransforms: []jetstream.SubjectTransformConfig{
				{Source: WatchdogPrefix + ".*.stale", Destination: key("feed")},
			}},
		},
	}
}

// leaseConfig is the bucket of leases. Its TTL ends a lease that is not renewed.
func leaseConfig(c config.Stream) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              LeaseStream(c.Lease),
		Description:       "Which bridge leads which contact centre",
		Subjects:          []string{"$KV." + c.Lease.Bucket + ".>"},
		MaxMsgsPerSubject: 1,
		MaxAge:            c.Lease.TTL,
		Duplicates:        min(2*time.Minute, c.Lease.TTL),
		Discard:           jetstream.DiscardNew,
		Storage:           jetstream.FileStorage,
		Replicas:          c.Replicas,
		AllowDirect:       true,
		AllowRollup:       true,
		DenyDelete:        true,
	}
}

// Configs returns the streams of the bridge: events, watchdog, view and leases.
func Configs(c config.Stream) []jetstream.StreamConfig {
	all := []jetstream.StreamConfig{eventsConfig(c), watchdogConfig(c), viewConfig(c), leaseConfig(c)}
	for i := range all {
		all[i].Metadata = map[string]string{formatKey: format, versionKey: programVersion()}
		if c.PlacementCluster != "" || len(c.PlacementTags) > 0 {
			all[i].Placement = &jetstream.Placement{Cluster: c.PlacementCluster, Tags: c.PlacementTags}
		}
		if c.MaxBytes > 0 {
			all[i].MaxBytes = maxBytes(c, all[i].Name)
		}
	}
	return all
}

// Metadata of the streams: the format of the events, and the version of the program that has created
// the stream.
const (
	formatKey, format = "bpcc_bridge_format", "v1"
	versionKey        = "bpcc_bridge_version"
)

// programVersion returns the version of this program as the Go toolchain recorded it.
func programVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// maxBytes returns the limit of a stream where that of the events is configured. Accounts that demand
// a limit demand it of each stream. The view has an event of each entity; watchdog and leases have a
// message of some hundred bytes for each tenant.
func maxBytes(c config.Stream, name string) int64 {
	switch name {
	case c.Name:
		return int64(c.MaxBytes)
	case ViewStream(c):
		return max(int64(c.MaxBytes)/4, minViewBytes)
	}
	return serviceBytes
}

const (
	minViewBytes = 16 << 20
	serviceBytes = 4 << 20
)

// Names lists the streams of the bridge: events, watchdog, view and leases.
func Names(c config.Stream) []string {
	var names []string
	for _, stream := range Configs(c) {
		names = append(names, stream.Name)
	}
	return names
}

// ViewStream returns the name of the stream behind the view.
func ViewStream(c config.Stream) string { return config.BucketStream(c.StateBucket) }

// ViewPrefix returns the prefix of all subjects of the view.
func ViewPrefix(c config.Stream) string { return "$KV." + c.StateBucket + "." }

// Provisioned is what [Provision] did with one stream.
type Provisioned struct {
	// Stream is the stream's name, "KV_" before that of a bucket.
	Stream string
	// Created reports whether the stream was missing.
	Created bool
	// Lost says what it held that is lost, for a stream that was missing, or empty, although other streams
	// of the bridge show that it had events; "" for any other.
	Lost string
	// Differs lists the settings that differ from the bridge's and that the bridge can work with.
	Differs []string
	// Changed is what was changed in it: the max_bytes of the events in the embedded server, and
	// never anything else.
	Changed string

	empty bool // no message was ever stored in it
}

// Provision creates the missing streams and compares the existing ones. It changes none, except
// max_bytes of the events in the embedded server, where the bridge has set it; embedded is that
// server, nil for another one. The error is
// [ErrServerVersion] where a server is too old, [ErrMismatch] where a stream cannot be used,
// [ErrNATSPermission] where the user may not read or create a stream, else that of the server.
func Provision(ctx context.Context, js jetstream.JetStream, c config.Stream, timing *config.Timing, embedded *Server) ([]Provisioned, error) {
	if err := CheckServer(js.Conn()); err != nil {
		return nil, fmt.Errorf("provision streams: %w; %s", err, Hint(c, err))
	}
	var provisioned []Provisioned
	past := fetchHistory(ctx, js, c, timing)
	for _, want := range Configs(c) {
		prevErr := js.Conn().LastError()
		p, err := provision(ctx, js, c, timing, want)
		p.Lost = past.lost(c, p)
		if err = AboutStream(want.Name, Cause(js.Conn(), prevErr, err)); err != nil {
			if hint := Hint(c, err); hint != "" {
				err = fmt.Errorf("%w; %s", err, hint)
			}
			return provisioned, fmt.Errorf("provision stream %s: %w", want.Name, err)
		}
		provisioned = append(provisioned, p)
	}
	if embedded != nil {
		before, after, err := embedded.fitEvents(ctx, js, c)
		if err != nil {
			return provisioned, fmt.Errorf("provision stream %s: %w", c.Name, err)
		}
		if before != after && !provisioned[0].Created {
			provisioned[0].Changed = fmt.Sprintf("max_bytes is %d, not %d", after, before)
		}
	}
	return provisioned, nil
}

func provision(ctx context.Context, js jetstream.JetStream, c config.Stream, timing *config.Timing, want jetstream.StreamConfig) (Provisioned, error) {
	ctx, cancel := context.WithTimeout(ctx, timing.CallTimeout)
	defer cancel()
	p := Provisioned{Stream: want.Name}
	stream, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		p.Created = true
		// Another instance may have created it with the same settings.
		stream, err = js.CreateStream(ctx, want)
	}
	if err != nil {
		return p, err
	}
	if p.Created {
		waitForSources(ctx, stream)
	}
	// A new stream is compared too: a server ignores settings that it does not know.
	p.empty = stream.CachedInfo().State.LastSeq == 0
	p.Differs, err = CheckFit(c, want, stream.CachedInfo())
	return p, err
}

// waitForSources waits until the server reads the sources of a new stream. Servers before 2.15 miss what
// is published while they begin to. Where that takes longer than ctx lasts, the view is found to lag.
func waitForSources(ctx context.Context, s jetstream.Stream) {
	starting := func(source *jetstream.StreamSourceInfo) bool { return source != nil && source.Active < 0 }
	for slices.ContainsFunc(s.CachedInfo().Sources, starting) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(10 * time.Millisecond):
		}
		if _, err := s.Info(ctx); err != nil {
			return
		}
	}
}

// Recreate recreates deleted streams, by the same rules as at the start of the program.
func Recreate(ctx context.Context, js jetstream.JetStream, c config.Stream, timing *config.Timing, embedded *Server, log *slog.Logger) {
	provisioned, err := Provision(ctx, js, c, timing, embedded)
	for _, p := range provisioned {
		if p.Created && p.Stream == c.Name {
			p.Lost = lostEvents // this process has provisioned it before
		}
		switch {
		case !p.Created:
		case p.Lost != "":
			p.LogLost(log)
		default:
			log.Warn("stream was deleted; recreated it empty", "stream", p.Stream)
		}
	}
	if err != nil && ctx.Err() == nil {
		log.Error("cannot recreate a deleted stream, retrying", "err", err)
	}
}

// SourcedUpTo is the sequence up to which the view has sourced events of a stream, 0 if the server does
// not report it.
func SourcedUpTo(view *jetstream.StreamInfo, stream string) uint64 {
	for _, source := range view.Sources {
		if source != nil && source.Name == stream {
			return source.Seq
		}
	}
	return 0
}
