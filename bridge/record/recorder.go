package record

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/source"
	"bpcc-nats/diff/layout"
)

// unsubscribeTimeout is how long a stopping recorder may take to unsubscribe. It is within the ten
// seconds after which supervisors kill.
const unsubscribeTimeout = 5 * time.Second

// Recorder polls a tenant as a bridge would, with the same pollers at the same intervals, and
// records the responses. It publishes nothing and needs no NATS. It uses the API user's one
// subscription, as a bridge does.
type Recorder struct {
	config *config.Config
	log    *slog.Logger
	now    func() time.Time
	loop   *source.Loop
	engine *engine.Engine // checks the responses, as in a bridge
	layout *layout.Layout

	appIDSuffix string // of the app ids on the wire
	// What is removed from chat messages.
	redacted   func(field string) bool
	pseudonyms *event.Pseudonyms
	zip        *gzip.Writer

	polls, goodPolls int
}

// NewRecorder returns a recorder that writes to w, compressed with gzip. The caller closes w. The
// configuration must have been checked by [config.Parse].
func NewRecorder(c *config.Config, w io.Writer, log *slog.Logger) (*Recorder, error) {
	log = log.With("tenant", c.Tenant)
	suffix, err := source.NewSuffix()
	if err != nil {
		return nil, err
	}
	loop, err := source.NewLoop(c, source.Options{AppIDSuffix: suffix}, log)
	if err != nil {
		return nil, err
	}
	options := loop.EngineOptions("recorder")
	return &Recorder{
		config: c, log: log, now: time.Now, loop: loop, engine: engine.New(options), layout: options.Layout, appIDSuffix: source.AppIDSeparator + suffix,
		zip: gzip.NewWriter(w), redacted: options.Redacted, pseudonyms: options.Pseudonyms,
	}, nil
}

// Run records until ctx ends, unsubscribes and returns nil. It returns an error when the recording
// cannot be written. Every line is readable as soon as it is written: a killed recorder loses none.
func (r *Recorder) Run(ctx context.Context) error {
	began := r.now()
	err := r.writeLine(newRecordingHeader(r.config, began))
	if err == nil {
		r.warnPersonalData()
		// The engine must see what it would see in a bridge, because it checks the responses.
		// Acknowledging everything at once does not change the result of the check.
		r.acknowledge(r.engine.Start(began))
		err = r.loop.Run(ctx, r.engine, func(o engine.Observation, result *engine.Batch) error {
			r.acknowledge(result)
			if ctx.Err() != nil && o.Err != nil {
				return nil // stopped, not failed
			}
			return r.recordPoll(o, result.Err)
		})
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unsubscribeTimeout)
	defer cancel()
	if unsubscribeErr := r.loop.Unsubscribe(stopCtx); unsubscribeErr != nil {
		r.log.Warn("subscription not deleted", "err", unsubscribeErr)
	}
	if err == nil {
		err = r.writeLine(pollRecord{At: r.now().UTC(), End: endMarker})
	}
	r.log.Info("recorded", "polls", r.polls, "good_polls", r.goodPolls)
	return errors.Join(err, r.zip.Close())
}

// acknowledge acknowledges a batch as the stream would.
func (r *Recorder) acknowledge(result *engine.Batch) {
	for chunk := range r.engine.Chunks(result, event.BatchLimit) {
		r.engine.Ack(chunk)
	}
}

// redacts reports whether anything must be removed from the recording.
func (r *Recorder) redacts() bool {
	return len(r.config.Events.RedactStats) > 0 || r.config.Events.PseudonymKey != ""
}

// warnPersonalData logs what personal data the recording will contain.
func (r *Recorder) warnPersonalData() {
	if !r.redacts() {
		r.log.Warn("recording holds personal data",
			"hint", "it has names, ids and states of agents, and subscribed chat: remove columns with BRIDGE_REDACT_STATS, replace names with BRIDGE_PSEUDONYM_KEY")
		return
	}
	r.log.Warn("recording holds personal data", "hint", "rows keep their key, and the recording shows what agents do",
		"redacted", strings.Join(r.config.Events.RedactStats, ","), "pseudonyms", r.config.Events.PseudonymKey != "")
}

// recordPoll records one poll; engineErr is the engine's error for its response.
func (r *Recorder) recordPoll(o engine.Observation, engineErr error) error {
	l := pollRecord{At: o.At.UTC(), Refused: o.Refused, UnknownAfter: durationText(o.AvailabilityUnknownAfter)}
	pollErr := o.Err
	if errors.Is(engineErr, layout.ErrMalformed) || errors.Is(engineErr, layout.ErrForeign) {
		// In a response that cannot be read, personal data cannot be found, and another program's
		// subscription must not be recorded.
		pollErr = engineErr
	}
	if !errors.Is(pollErr, engine.ErrPending) {
		r.polls++
	}
	if pollErr == nil && engineErr == nil {
		r.goodPolls++
	}
	if pollErr != nil {
		l.Error = newErrorRecord(pollErr, r.redacts())
	} else {
		body, err := r.rewriteBody(o.Body)
		if err != nil {
			return fmt.Errorf("record response: %w", err)
		}
		sent, received := o.Sent.UTC(), o.Received.UTC()
		l.Body, l.Sent, l.Received = body, &sent, &received
	}
	for _, c := range o.Availability {
		out := availabilityRecord{Service: c.Service, Sent: c.Sent.UTC(), Received: c.Received.UTC()}
		if c.Err != nil {
			out.Error, out.Reason = newErrorRecord(c.Err, r.redacts()), c.Reason
		} else {
			out.Available = &c.Available
		}
		l.Availability = append(l.Availability, out)
	}
	for _, d := range o.Directories {
		l.Directories = append(l.Directories, directoryRecord{d.Directory, d.Names, d.Skipped, d.Sent.UTC(), d.Received.UTC()})
	}
	return r.writeLine(l)
}

// writeLine writes one line and flushes it.
func (r *Recorder) writeLine(line any) error {
	text, err := marshalLine(line)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	if _, err := r.zip.Write(text); err != nil {
		return fmt.Errorf("write recording: %w", err)
	}
	if err := r.zip.Flush(); err != nil {
		return fmt.Errorf("write recording: %w", err)
	}
	return nil
}

// marshalLine encodes JSON on one line without HTML escaping.
func marshalLine(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return b.Bytes(), err
}

// rewriteBody returns a response as it is recorded: app ids lose this instance's suffix, and if
// anything must be removed, only what was subscribed is kept. The engine has read the body, so its
// shape is that of the layout.
func (r *Recorder) rewriteBody(body []byte) (json.RawMessage, error) {
	var apps map[string]json.RawMessage
	if err := json.Unmarshal(body, &apps); err != nil {
		return nil, err
	}
	out := map[string]json.RawMessage{}
	for wire, app := range apps {
		if r.redacts() {
			var err error
			if app, err = r.rewriteApp(wire, app); err != nil {
				return nil, err
			}
		}
		out[strings.TrimSuffix(wire, r.appIDSuffix)+source.AppIDSeparator+recordedSuffix] = app
	}
	return marshalLine(out)
}

// rawRow is one row or message as received: columns by id, or members by name.
type rawRow map[string]json.RawMessage

// unreadable replaces what cannot be read in a recording from which something is removed: it may hold
// anything, and must not become readable.
const unreadable = "[]"

// readRow reads a row or a message. It returns false for what is no object.
func readRow(raw json.RawMessage) (row rawRow, ok bool) {
	return row, json.Unmarshal(raw, &row) == nil
}

// rewriteApp keeps the part of one app id that is in the layout.
func (r *Recorder) rewriteApp(wire string, body json.RawMessage) (json.RawMessage, error) {
	var sections map[string]json.RawMessage
	if err := json.Unmarshal(body, &sections); err != nil {
		return nil, err
	}
	filtered := map[string]any{}
	for name, section := range sections {
		grids := slices.DeleteFunc(slices.Clone(r.layout.Grids), func(g layout.Grid) bool { return g.App != wire || g.Section != name })
		list := slices.Contains(r.layout.Lists, layout.List{App: wire, Section: name})
		var err error
		switch {
		case list:
			filtered[name], err = r.rewriteMessages(section)
		case len(grids) == 1 && grids[0].ID == "":
			row, _ := readRow(section) // the engine has read it
			filtered[name] = r.rewriteRow(grids[0], row)
		case len(grids) > 0:
			filtered[name], err = r.rewriteTables(grids, section)
		}
		if err != nil {
			return nil, err
		}
	}
	return marshalLine(filtered)
}

// rawTable is a table as received.
type rawTable struct {
	ID     json.RawMessage   `json:"id"`
	Values []json.RawMessage `json:"values"`
}

func (r *Recorder) rewriteTables(grids []layout.Grid, section json.RawMessage) ([]rawTable, error) {
	var tables, filtered []rawTable
	if err := json.Unmarshal(section, &tables); err != nil {
		return nil, err
	}
	for _, t := range tables {
		i := slices.IndexFunc(grids, func(g layout.Grid) bool { return g.ID == scalarText(t.ID) })
		if i < 0 {
			continue
		}
		for n, raw := range t.Values {
			row, ok := readRow(raw)
			if !ok {
				t.Values[n] = json.RawMessage(unreadable)
				continue
			}
			var err error
			if t.Values[n], err = marshalLine(r.rewriteRow(grids[i], row)); err != nil {
				return nil, err
			}
		}
		filtered = append(filtered, t)
	}
	return filtered, nil
}

// rewriteRow keeps the published columns and the one that identifies the row.
func (r *Recorder) rewriteRow(g layout.Grid, row rawRow) rawRow {
	if row == nil {
		return nil
	}
	filtered := rawRow{}
	for _, c := range g.Columns {
		if raw, ok := row[c.ID]; ok && (c.Stat != "" || c.ID == g.Key) {
			filtered[c.ID] = r.rewriteScalar(raw, func(text string) string {
				if rewrite := r.layout.Rewrite; rewrite != nil {
					return rewrite(g.Kind, c.Stat, text)
				}
				return text
			})
		}
	}
	return filtered
}

// rewriteMessages keeps the fields of chat messages that the engine publishes.
func (r *Recorder) rewriteMessages(section json.RawMessage) ([]json.RawMessage, error) {
	var messages []json.RawMessage
	if err := json.Unmarshal(section, &messages); err != nil {
		return nil, err
	}
	for i, raw := range messages {
		m, ok := readRow(raw)
		for _, value := range m {
			ok = ok && !isNested(value)
		}
		if !ok {
			messages[i] = json.RawMessage(unreadable)
			continue
		}
		filtered := rawRow{}
		for _, name := range []string{"id", "login_id", "first_name", "last_name", "send_time", "is_urgent", "content"} {
			raw, ok := m[name]
			if !ok || r.redacted(name) && name != "id" {
				continue
			}
			if name == "login_id" || strings.HasSuffix(name, "_name") {
				raw = r.rewriteScalar(raw, r.pseudonyms.Hash)
			}
			filtered[name] = raw
		}
		var err error
		if messages[i], err = marshalLine(filtered); err != nil {
			return nil, err
		}
	}
	return messages, nil
}

// rewriteScalar replaces the text of a value, if rewrite returns another.
func (r *Recorder) rewriteScalar(raw json.RawMessage, rewrite func(string) string) json.RawMessage {
	if isNested(raw) {
		return json.RawMessage(unreadable)
	}
	text := scalarText(raw)
	rewritten := rewrite(text)
	if rewritten == text {
		return raw
	}
	// A string always encodes.
	out, _ := json.Marshal(rewritten)
	return out
}

// isNested reports whether a JSON value is an array or an object.
func isNested(raw json.RawMessage) bool {
	raw = bytes.TrimSpace(raw)
	return len(raw) > 0 && (raw[0] == '[' || raw[0] == '{')
}

// scalarText returns the text of a JSON string, number, boolean or null.
func scalarText(raw json.RawMessage) string {
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || raw[0] == 'n' {
		return ""
	}
	var text string
	if raw[0] == '"' && json.Unmarshal(raw, &text) == nil {
		return text
	}
	return string(raw)
}
