// Package stream is the JetStream side of the bridge: the connection and the embedded server, the
// streams and the view, what is published and what is read. It knows no tenant's life and no engine.
package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
)

// ErrMismatch is returned by [Provision] for an existing stream that the bridge cannot use. Its text
// lists the differences; the bridge never changes a stream.
var ErrMismatch = errors.New("stream does not fit")

// eventsConfig is the stream of the events: state for recovery and audit trail.
func eventsConfig(c *config.Config) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:               c.Stream,
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
		DenyDelete:         true,
		DenyPurge:          true,
		// SubjectDeleteMarkerTTL must stay 0: its markers would be sourced and delete keys of the
		// view.
	}
}

// viewConfig is the KV bucket that the server fills from the events. It has no subjects of its own,
// so no client can write to it.
func viewConfig(c *config.Config) jetstream.StreamConfig {
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
		Description:       "The present state of contact centres, filled from " + c.Stream,
		MaxMsgsPerSubject: 1,
		Discard:           jetstream.DiscardNew,
		Storage:           jetstream.FileStorage,
		Compression:       jetstream.S2Compression,
		Replicas:          c.Replicas,
		AllowDirect:       true,
		AllowRollup:       true,
		AllowMsgTTL:       true,
		DenyDelete:        true,
		// Duplicates stays unset: sourced ids would be checked a second time.
		Sources: []*jetstream.StreamSource{
			{Name: c.Stream, SubjectTransforms: transforms},
			{Name: watchdogStream(c), SubjectTransforms: []jetstream.SubjectTransformConfig{
				{Source: watchdogPrefix + ".*.stale", Destination: key("feed")},
			}},
		},
	}
}

// leaseConfig is the bucket of leases. Its TTL ends a lease that is not renewed.
func leaseConfig(c *config.Config) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              LeaseStream(c),
		Description:       "Which bridge leads which contact centre",
		Subjects:          []string{"$KV." + c.LeaseBucket + ".>"},
		MaxMsgsPerSubject: 1,
		MaxAge:            c.LeaseTTL,
		Duplicates:        min(2*time.Minute, c.LeaseTTL),
		Discard:           jetstream.DiscardNew,
		Storage:           jetstream.FileStorage,
		Replicas:          c.Replicas,
		AllowDirect:       true,
		AllowRollup:       true,
		DenyDelete:        true,
	}
}

// Configs returns the streams of the bridge: events, watchdog, view and leases.
func Configs(c *config.Config) []jetstream.StreamConfig {
	return []jetstream.StreamConfig{eventsConfig(c), watchdogConfig(c), viewConfig(c), leaseConfig(c)}
}

// Names lists the streams of the bridge: events, watchdog, view and leases.
func Names(c *config.Config) []string {
	var names []string
	for _, stream := range Configs(c) {
		names = append(names, stream.Name)
	}
	return names
}

// ViewStream returns the name of the stream behind the view.
func ViewStream(c *config.Config) string { return "KV_" + c.StateBucket }

// ViewPrefix returns the prefix of all subjects of the view.
func ViewPrefix(c *config.Config) string { return "$KV." + c.StateBucket + "." }

// Provisioned is what [Provision] did with one stream.
type Provisioned struct {
	// Stream is the stream's name, "KV_" before that of a bucket.
	Stream string
	// Created reports whether the stream was missing.
	Created bool
	// Differs lists the settings that differ from the bridge's and that the bridge can work with.
	Differs []string
	// Changed is what was changed in it: the max_bytes of the events in the embedded server, and
	// never anything else.
	Changed string
}

// Provision creates the missing streams and compares the existing ones. It changes none, except
// max_bytes of the events in the embedded server, where the bridge has set it; embedded is that
// server, nil for another one. The error is
// [ErrServerVersion] where a server is too old, [ErrMismatch] where a stream cannot be used,
// [ErrNATSPermission] where the user may not read or create a stream, else that of the server.
func Provision(ctx context.Context, js jetstream.JetStream, c *config.Config, embedded *Server) ([]Provisioned, error) {
	if err := CheckServer(js.Conn()); err != nil {
		return nil, fmt.Errorf("provision streams: %w; %s", err, UnusableHint(c, err))
	}
	var provisioned []Provisioned
	for _, want := range Configs(c) {
		prevErr := js.Conn().LastError()
		p, err := provision(ctx, js, c, want)
		if err = AsPermissionError(js.Conn(), prevErr, err); err != nil {
			if hint := UnusableHint(c, err); hint != "" {
				err = fmt.Errorf("%w; %s", err, hint)
			}
			return provisioned, fmt.Errorf("provision stream %s: %w", want.Name, err)
		}
		provisioned = append(provisioned, p)
	}
	if embedded != nil {
		before, after, err := embedded.fitEvents(ctx, js, c)
		if err != nil {
			return provisioned, fmt.Errorf("provision stream %s: %w", c.Stream, err)
		}
		if before != after && !provisioned[0].Created {
			provisioned[0].Changed = fmt.Sprintf("max_bytes is %d, not %d", after, before)
		}
	}
	return provisioned, nil
}

// Error codes of the server for streams that cannot be created.
const (
	codeNoPeers      jetstream.ErrorCode = 10005 // fewer servers than replicas, so far
	codeNoCluster    jetstream.ErrorCode = 10074 // replicas on a server without a cluster
	serverErrorClass                     = 500   // errors that may pass by themselves
)

// IsTransient reports whether an error of [Provision] may pass by itself: no response, no leader,
// fewer servers than replicas. A person must correct all others.
func IsTransient(err error) bool {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, ErrServerVersion), errors.Is(err, ErrMismatch), errors.Is(err, ErrNATSPermission), errors.Is(err, nats.ErrConnectionClosed):
		return false
	case errors.As(err, &api):
		return api.ErrorCode == codeNoPeers || api.Code >= serverErrorClass && api.ErrorCode != codeNoCluster
	}
	return true
}

func provision(ctx context.Context, js jetstream.JetStream, c *config.Config, want jetstream.StreamConfig) (Provisioned, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Times().CallTimeout)
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
	// A new stream is compared too: a server ignores settings that it does not know.
	p.Differs, err = CheckFit(c, want, stream.CachedInfo())
	return p, err
}

// CheckFit reports whether a stream can be used: the error is [ErrServerVersion] or [ErrMismatch] if
// it cannot, and differs lists the differences that the bridge can work with.
func CheckFit(c *config.Config, want jetstream.StreamConfig, info *jetstream.StreamInfo) (differs []string, err error) {
	if err := CheckLeader(info); err != nil {
		return nil, err
	}
	fatal, differs := compareStreams(want, info.Config)
	if len(fatal) > 0 {
		return differs, fmt.Errorf("%w: %s", ErrMismatch, strings.Join(fatal, "; "))
	}
	if want.Name == LeaseStream(c) {
		_, err = LeaseTTL(info.Config)
	}
	return differs, err
}

// compareStreams lists the differences: fatal ones are those that the bridge's guarantees depend
// on.
func compareStreams(want, have jetstream.StreamConfig) (fatal, differs []string) {
	compare := func(list *[]string, setting string, want, have any) {
		if !reflect.DeepEqual(want, have) {
			*list = append(*list, fmt.Sprintf("%s is %v, not %v", setting, have, want))
		}
	}
	for _, subject := range want.Subjects {
		if !slices.Contains(have.Subjects, subject) {
			fatal = append(fatal, fmt.Sprintf("subjects are %v, without %s", have.Subjects, subject))
		}
	}
	if len(want.Subjects) == 0 && len(have.Subjects) > 0 {
		fatal = append(fatal, fmt.Sprintf("subjects are %v instead of none, so any client could write to the view", have.Subjects))
	}
	compare(&fatal, "allow_atomic", want.AllowAtomicPublish, have.AllowAtomicPublish)
	compare(&fatal, "subject_delete_marker_ttl", want.SubjectDeleteMarkerTTL, have.SubjectDeleteMarkerTTL)
	compare(&fatal, "max_msgs_per_subject", max(want.MaxMsgsPerSubject, 0), max(have.MaxMsgsPerSubject, 0))
	compare(&fatal, "allow_msg_schedules", want.AllowMsgSchedules, have.AllowMsgSchedules)
	compare(&fatal, "sources", sourcesOf(want), sourcesOf(have))

	compare(&differs, "storage", want.Storage, have.Storage)
	compare(&differs, "compression", want.Compression, have.Compression)
	compare(&differs, "num_replicas", want.Replicas, have.Replicas)
	compare(&differs, "max_age", want.MaxAge, have.MaxAge)
	compare(&differs, "allow_direct", want.AllowDirect, have.AllowDirect)
	compare(&differs, "allow_msg_ttl", want.AllowMsgTTL, have.AllowMsgTTL)
	compare(&differs, "deny_delete", want.DenyDelete, have.DenyDelete)
	compare(&differs, "deny_purge", want.DenyPurge, have.DenyPurge)
	if have.MaxBytes > 0 && !ownMaxBytes(have) || have.MaxMsgs > 0 {
		differs = append(differs, fmt.Sprintf("max_bytes %d or max_msgs %d may drop events before max_age", have.MaxBytes, have.MaxMsgs))
	}
	if have.MaxMsgSize > 0 {
		differs = append(differs, fmt.Sprintf("max_msg_size is %d: entities with larger events are skipped", have.MaxMsgSize))
	}
	return fatal, differs
}

// sourcesOf formats the sources so that two configurations can be compared.
func sourcesOf(c jetstream.StreamConfig) []string {
	var out []string
	for _, s := range c.Sources {
		if s == nil {
			continue // a response may contain null
		}
		for _, t := range s.SubjectTransforms {
			out = append(out, s.Name+": "+t.Source+" > "+t.Destination)
		}
	}
	slices.Sort(out)
	return out
}

// Recreate recreates deleted streams, by the same rules as at the start of the program.
func Recreate(ctx context.Context, js jetstream.JetStream, c *config.Config, embedded *Server, log *slog.Logger) {
	provisioned, err := Provision(ctx, js, c, embedded)
	for _, p := range provisioned {
		if p.Created {
			log.Warn("stream was deleted; recreated it empty", "stream", p.Stream)
		}
	}
	if err != nil && ctx.Err() == nil {
		log.Error("cannot recreate a deleted stream, retrying", "err", err)
	}
}
