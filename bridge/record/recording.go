// Package record records what a bridge polls, and runs recordings through the engine: what would have
// been published, and what rules would have raised.
package record

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/source"
	"bpcc-nats/diff"
	"bpcc-nats/diff/image"
	"bpcc-nats/diff/layout"
)

// ErrInvalid is returned for text that is not a recording, with the line.
var ErrInvalid = errors.New("unusable recording")

const (
	recordingFormat  = "bpcc-recording"
	recordingVersion = 1
	// recordedSuffix replaces the suffix of the recording instance, so that foreign app ids remain
	// foreign.
	recordedSuffix = "recorded"
	// lineLimit is the maximum length of a line of a recording, in bytes: a response, and the
	// fields around it.
	lineLimit = bpcc.MaxBody + 16<<20
	// endMarker is written by a recorder that was not killed.
	endMarker = "stopped"
)

// recordingHeader is the first line of a recording: the tenant, and all settings that an engine
// needs to see what the bridge would have seen.
type recordingHeader struct {
	Format       string            `json:"format"`
	Version      int               `json:"version"`
	Program      string            `json:"program"` // version of the recorder
	Tenant       string            `json:"tenant"`
	Source       string            `json:"source"`
	RecordedAt   time.Time         `json:"recorded_at"`
	Subscription bpcc.Subscription `json:"subscription"`
	AgentKey     string            `json:"agent_key"`

	PollInterval         durationText `json:"poll_interval"`
	CheckpointInterval   durationText `json:"checkpoint_interval"`
	AvailabilityDebounce durationText `json:"availability_debounce"`
	// AvailabilityUnknownAfter is missing in older recordings.
	AvailabilityUnknownAfter durationText `json:"availability_unknown_after,omitempty"`
	Retention                durationText `json:"retention"`

	VolatileStats  []string `json:"volatile_stats"`
	DisappearAfter int      `json:"disappear_after"`
	// Redacted are the patterns of what was removed from the bodies.
	Redacted []string `json:"redacted"`
	// Pseudonyms reports whether agents' ids and names are keyed hashes.
	Pseudonyms bool `json:"pseudonyms"`
}

// durationText is a duration that JSON writes as text such as "2s".
type durationText time.Duration

func (s durationText) MarshalText() ([]byte, error) { return []byte(time.Duration(s).String()), nil }

func (s *durationText) UnmarshalText(b []byte) error {
	d, err := time.ParseDuration(string(b))
	*s = durationText(d)
	return err
}

// pollRecord is one poll in a recording: the body of a response or an error, and the results of the
// other pollers until then. The last line of a complete recording has only an end.
type pollRecord struct {
	At           time.Time               `json:"at"`
	Sent         *time.Time              `json:"sent,omitempty"`
	Received     *time.Time              `json:"received,omitempty"`
	Body         json.RawMessage         `json:"body,omitempty"`
	Error        *errorRecord            `json:"error,omitempty"`
	Refused      map[image.Kind][]string `json:"refused,omitempty"` // statistics, by kind
	Availability []availabilityRecord    `json:"checks,omitempty"`
	UnknownAfter durationText            `json:"availability_unknown_after,omitempty"` // where not as in the header
	Directories  []directoryRecord       `json:"directories,omitempty"`
	End          string                  `json:"end,omitempty"`
}

type availabilityRecord struct {
	Service   string       `json:"service"`
	Available *bool        `json:"available,omitempty"`
	Error     *errorRecord `json:"error,omitempty"`
	Reason    string       `json:"reason,omitempty"` // of an error, as events name it
	Sent      time.Time    `json:"sent"`
	Received  time.Time    `json:"received"`
}

type directoryRecord struct {
	Directory string            `json:"directory"`
	Names     map[string]string `json:"names"`
	Skipped   int               `json:"skipped,omitempty"`
	Sent      time.Time         `json:"sent"`
	Received  time.Time         `json:"received"`
}

// errorRecord is an error in a recording. To errors.Is it is of the same kind as the recorded
// error, and has the same text.
type errorRecord struct {
	Kind   string `json:"kind"`
	Status int    `json:"status,omitempty"`
	Text   string `json:"text"`
}

// errRecorded is the kind of errors that are none of errorKinds.
var errRecorded = errors.New("another error")

// errorKinds returns the kinds of errors that have a name in a recording.
func errorKinds() []struct {
	name string
	kind error
} {
	return []struct {
		name string
		kind error
	}{
		{"not_ready", bpcc.ErrNotReady},
		{"auth", bpcc.ErrAuth},
		{"forbidden", bpcc.ErrForbidden},
		{"no_subscription", bpcc.ErrNoSubscription},
		{"limit", bpcc.ErrLimit},
		{"throttled", bpcc.ErrThrottled},
		{"rejected", bpcc.ErrRejected},
		{"malformed", bpcc.ErrMalformed},
		{"too_large", bpcc.ErrTooLarge},
		{"server", bpcc.ErrServer},
		{"unexpected", bpcc.ErrUnexpected},
		{"transport", bpcc.ErrTransport},
		{"malformed_snapshot", layout.ErrMalformed},
		{"foreign", layout.ErrForeign},
		{"empty", diff.ErrEmpty},
		{"slow", engine.ErrPending},
		{"service_removed", engine.ErrServiceRemoved},
		{"not_configured", engine.ErrNotConfigured},
		{"other", errRecorded},
	}
}

// newErrorRecord returns the record of an error. If redacted, the server's text is removed: it may
// contain anything.
func newErrorRecord(err error, redacted bool) *errorRecord {
	r := &errorRecord{Kind: "other", Text: err.Error()}
	var e *bpcc.Error
	answered := errors.As(err, &e)
	if answered {
		r.Status = e.Status
	}
	for _, k := range errorKinds() {
		if !errors.Is(err, k.kind) {
			continue
		}
		r.Kind = k.name
		switch {
		case redacted && answered && e.Kind != bpcc.ErrTransport:
			r.Text = (&bpcc.Error{Op: e.Op, Kind: e.Kind, Status: e.Status}).Error()
		case redacted && (k.kind == layout.ErrMalformed || errors.Is(err, layout.ErrShape)):
			r.Text = k.kind.Error()
		}
		break
	}
	return r
}

func (e *errorRecord) Error() string { return e.Text }

// Unwrap lets errors.Is find the kind.
func (e *errorRecord) Unwrap() error {
	for _, k := range errorKinds() {
		if k.name == e.Kind {
			return k.kind
		}
	}
	return errRecorded
}

func (e *errorRecord) validate() error {
	for _, k := range errorKinds() {
		if k.name == e.Kind {
			return nil
		}
	}
	return fmt.Errorf("unknown kind of error %q", e.Kind)
}

// newRecordingHeader describes what a recorder with this configuration records.
func newRecordingHeader(c *config.Config, at time.Time) recordingHeader {
	return recordingHeader{
		Format: recordingFormat, Version: recordingVersion, Program: c.Version, Tenant: c.Tenant, Source: c.BPCC.CloudEventSource(),
		RecordedAt: at.UTC(), Subscription: c.BPCC.Subscription, AgentKey: c.Events.AgentKey,
		PollInterval: durationText(c.BPCC.PollInterval), CheckpointInterval: durationText(c.Stream.CheckpointInterval),
		AvailabilityDebounce: durationText(c.BPCC.AvailabilityDebounce), AvailabilityUnknownAfter: durationText(c.BPCC.UnknownAfter(c.BPCC.AvailabilityInterval)), Retention: durationText(c.Stream.Retention),
		VolatileStats: c.Events.VolatileStats, DisappearAfter: c.Events.DisappearAfter,
		Redacted: c.Events.RedactStats, Pseudonyms: c.Events.PseudonymKey != "",
	}
}

// config returns the configuration of a bridge that sees what was recorded.
func (h *recordingHeader) config() *config.Config {
	return &config.Config{
		Version: h.Program, Tenant: h.Tenant,
		BPCC: config.BPCC{
			URL: strings.TrimSuffix(h.Source, "/statsapi"), Subscription: h.Subscription, PollInterval: time.Duration(h.PollInterval),
			AvailabilityDebounce: time.Duration(h.AvailabilityDebounce), AvailabilityUnknownAfter: time.Duration(h.AvailabilityUnknownAfter),
		},
		Events: config.Events{AgentKey: h.AgentKey, VolatileStats: h.VolatileStats, DisappearAfter: h.DisappearAfter, RedactStats: h.Redacted},
		Stream: config.Stream{CheckpointInterval: time.Duration(h.CheckpointInterval), Retention: time.Duration(h.Retention)},
	}
}

func (h *recordingHeader) validate() error {
	switch {
	case h.Format != recordingFormat:
		return fmt.Errorf("format is not %q", recordingFormat)
	case h.Version != recordingVersion:
		return fmt.Errorf("version is %d; this program reads version %d", h.Version, recordingVersion)
	case h.Tenant == "" || h.Source == "" || h.RecordedAt.IsZero():
		return errors.New("missing tenant, source or recorded_at")
	case h.AgentKey != "login_id" && h.AgentKey != "user_id":
		return fmt.Errorf("agent_key %q is neither login_id nor user_id", h.AgentKey)
	case h.DisappearAfter < 1 || h.PollInterval <= 0 || h.CheckpointInterval <= 0 || h.Retention <= 0 || h.AvailabilityDebounce < 0 || h.AvailabilityUnknownAfter < 0:
		return errors.New("a count or an interval is not above zero")
	}
	return h.Subscription.Validate()
}

// Recording reads what a [Recorder] wrote. It can be read once.
type Recording struct {
	name   string
	header recordingHeader
	r      *bufio.Reader
	line   int
	ended  bool // the recorder's last line was read
}

// Open reads the beginning of a recording, compressed or plain; name is used in errors,
// which are [ErrInvalid]. The caller closes r.
func Open(name string, r io.Reader) (*Recording, error) {
	text, err := config.NewTextReader(r)
	rec := &Recording{name: name, r: text}
	if err != nil {
		return nil, rec.errorAtLine(err)
	}
	line, err := rec.nextLine()
	switch {
	case errors.Is(err, io.EOF):
		return nil, rec.errorAtLine(errors.New("empty, or truncated in the first line"))
	case err != nil:
		return nil, err
	}
	if err := json.Unmarshal(line, &rec.header); err != nil {
		return nil, rec.errorAtLine(err)
	}
	if err := rec.header.validate(); err != nil {
		return nil, rec.errorAtLine(err)
	}
	return rec, nil
}

// Tenant is the tenant that was recorded.
func (r *Recording) Tenant() string { return r.header.Tenant }

// RecordedAt is when the recording began.
func (r *Recording) RecordedAt() time.Time { return r.header.RecordedAt }

func (r *Recording) errorAtLine(err error) error {
	return fmt.Errorf("%w: %s: line %d: %w", ErrInvalid, r.name, max(r.line, 1), err)
}

// nextLine reads one complete line. It returns io.EOF where a recorder was killed: an incomplete
// last line is ignored.
func (r *Recording) nextLine() ([]byte, error) {
	var line []byte
	for {
		fragment, err := r.r.ReadSlice('\n')
		line = append(line, fragment...)
		switch {
		case len(line) > lineLimit:
			r.line++
			return nil, r.errorAtLine(fmt.Errorf("more than %d bytes", lineLimit))
		case err == nil:
			r.line++
			return line, nil
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil, io.EOF
		case !errors.Is(err, bufio.ErrBufferFull):
			r.line++
			return nil, r.errorAtLine(err)
		}
	}
}

// nextPoll reads the next poll; io.EOF says that there is no more.
func (r *Recording) nextPoll() (engine.Observation, error) {
	line, err := r.nextLine()
	if err != nil {
		return engine.Observation{}, err
	}
	var l pollRecord
	if err := json.Unmarshal(line, &l); err != nil {
		return engine.Observation{}, r.errorAtLine(err)
	}
	if l.At.IsZero() {
		return engine.Observation{}, r.errorAtLine(errors.New("missing time (at)"))
	}
	if l.End != "" {
		r.ended = true
		if _, err := r.nextLine(); !errors.Is(err, io.EOF) {
			return engine.Observation{}, r.errorAtLine(errors.New("unexpected data after the end"))
		}
		return engine.Observation{At: l.At}, io.EOF
	}
	o, err := l.observation()
	if err != nil {
		return engine.Observation{}, r.errorAtLine(err)
	}
	return o, nil
}

// observation returns the observation that the engine received.
func (l *pollRecord) observation() (engine.Observation, error) {
	o := engine.Observation{At: l.At, Refused: l.Refused, AvailabilityUnknownAfter: time.Duration(l.UnknownAfter)}
	switch {
	case l.Error == nil && (len(l.Body) == 0 || l.Sent == nil || l.Received == nil):
		return o, errors.New("neither an error nor a body with sent and received")
	case l.Error == nil:
		o.Body, o.Sent, o.Received = l.Body, *l.Sent, *l.Received
	case len(l.Body) > 0:
		return o, errors.New("both an error and a body")
	default:
		if err := l.Error.validate(); err != nil {
			return o, err
		}
		o.Err, o.Cause = l.Error, source.InterruptCause(l.Error)
	}
	for _, c := range l.Availability {
		out := engine.AvailabilityResult{Service: c.Service, Sent: c.Sent, Received: c.Received}
		switch {
		case c.Service == "" || (c.Available == nil) == (c.Error == nil):
			return o, errors.New("a check must have a service, and available or an error")
		case c.Error != nil:
			if err := c.Error.validate(); err != nil {
				return o, err
			}
			out.Err, out.Reason = c.Error, cmp.Or(c.Reason, source.CheckReason(c.Error))
		default:
			out.Available = *c.Available
		}
		o.Availability = append(o.Availability, out)
	}
	for _, d := range l.Directories {
		if !slices.Contains([]string{engine.Teams, engine.Services, engine.Agents, engine.Dispositions}, d.Directory) {
			return o, fmt.Errorf("unknown directory %q", d.Directory)
		}
		o.Directories = append(o.Directories, engine.DirectorySnapshot{Directory: d.Directory, Names: d.Names, Skipped: max(d.Skipped, 0), Sent: d.Sent, Received: d.Received})
	}
	return o, nil
}
