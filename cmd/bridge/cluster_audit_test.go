//go:build linux

package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// record is an event as it lies in the stream, read by code that shares nothing
// with the bridge's.
type record struct {
	seq     uint64
	stored  time.Time
	subject string // below the tenant
	msgID   string
	batch   string // the server's own id of the atomic batch
	removal bool

	ID   string
	Time time.Time
	Data struct {
		Poll, Revision, Epoch uint64
		Observed              *timeRange
		AfterGap              bool `json:"after_gap"`
		Reentered             bool
		Before, After         map[string]string
		Available, Previous   *bool

		Status, Instance    string
		Part, Parts, Events int
		ObservedUntil       *time.Time `json:"observed_until"`
		MissingSince        *time.Time `json:"missing_since"`
		AvailabilityUntil   *time.Time `json:"availability_until"`
	}
}

// timeRange is an event's observed window, or a time without sight.
type timeRange struct {
	After *time.Time
	By    time.Time
}

const eventSubjects = "bpcc.v1.acme."

// readStream reads all events of the tenant that are stored now.
func readStream(ctx context.Context, js jetstream.JetStream) ([]record, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	consumer, err := js.OrderedConsumer(ctx, "BPCC_EVENTS", jetstream.OrderedConsumerConfig{FilterSubjects: []string{eventSubjects + ">"}})
	if err != nil {
		return nil, err
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return nil, err
	}
	// A server has 1,000 consumers of a stream at most, and keeps one for minutes that is not deleted.
	defer func() { _ = js.DeleteConsumer(context.WithoutCancel(ctx), "BPCC_EVENTS", consumer.CachedInfo().Name) }()
	if info.NumPending == 0 {
		return nil, nil
	}
	messages, err := consumer.Messages()
	if err != nil {
		return nil, err
	}
	defer messages.Stop()
	var all []record
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return nil, err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return nil, err
		}
		r, err := readRecord(meta.Sequence.Stream, meta.Timestamp, msg.Subject(), msg.Headers(), msg.Data())
		if err != nil {
			return nil, err
		}
		all = append(all, r)
		if meta.NumPending == 0 {
			return all, nil
		}
	}
}

func readRecord(seq uint64, stored time.Time, subject string, header nats.Header, body []byte) (record, error) {
	r := record{
		seq: seq, stored: stored, subject: strings.TrimPrefix(subject, eventSubjects),
		msgID: header.Get("Nats-Msg-Id"), batch: header.Get("Nats-Batch-Id"), removal: header.Get("KV-Operation") != "",
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return r, fmt.Errorf("sequence %d: %w", seq, err)
	}
	return r, nil
}

// readLast reads the last event on a subject.
func readLast(ctx context.Context, js jetstream.JetStream, subject string) (record, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	stream, err := js.Stream(ctx, "BPCC_EVENTS")
	if err != nil {
		return record{}, err
	}
	msg, err := stream.GetLastMsgForSubject(ctx, eventSubjects+subject)
	if err != nil {
		return record{}, err
	}
	return readRecord(msg.Sequence, msg.Time, msg.Subject, msg.Header, msg.Data)
}

// entity is the view's key of the entity that an event is about, "" for events
// without a revision.
func (r *record) entity() string {
	t := strings.Split(r.subject, ".")
	switch t[0] {
	case "agent", "service", "availability", "totals":
		return t[0] + "." + decodeToken(t[1])
	case "threshold":
		return "threshold." + decodeToken(t[1]) + "." + decodeToken(t[2])
	}
	return ""
}

func (r *record) verb() string { return r.subject[strings.LastIndexByte(r.subject, '.')+1:] }

// decodeToken undoes the =XX of subjects.
func decodeToken(token string) string {
	var out []byte
	for i := 0; i < len(token); i++ {
		if token[i] == '=' && i+2 < len(token) {
			if b, err := strconv.ParseUint(token[i+1:i+3], 16, 8); err == nil {
				out = append(out, byte(b))
				i += 2
				continue
			}
		}
		out = append(out, token[i])
	}
	return string(out)
}

// encodeToken writes the bytes that a token cannot hold as =XX.
func encodeToken(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}

// What can be wrong with a stream.
const (
	missingEvent    = "missing"           // the tenant showed a version that no event reports
	duplicateEvent  = "duplicate"         // reported twice, or reported and never shown
	outOfOrder      = "out of order"      // per entity, per poll, or over polls
	brokenChain     = "broken chains"     // a revision or an image is missing in between
	fencedWriter    = "fenced writers"    // events of a writer that another had followed
	brokenBatch     = "broken batches"    // events that no checkpoint closes, or that it does not count
	wrongWindow     = "untrue windows"    // the change did not happen within observed
	unreportedGap   = "unreported gap"    // a gap without feed.resumed, or changes over it without after_gap
	falseGap        = "false gap"         // a reported gap in which polls succeeded
	viewDiffersKind = "differs from view" // the view or the last snapshot is not the replay
	verifyFault     = "by bridge verify"  // the program's own auditor finds the stream unsound
	falseStale      = "false stale"       // the watchdog declares a feed stale that is published
	wrongReply      = "wrong replies"     // the answer to a request is not what it says of itself
)

var findingKinds = []string{missingEvent, duplicateEvent, outOfOrder, brokenChain, fencedWriter, brokenBatch, wrongWindow, unreportedGap, falseGap, viewDiffersKind, falseStale, wrongReply, verifyFault}

// finding is one thing that is wrong.
type finding struct {
	kind string
	seq  uint64
	text string
}

// auditStream holds a stream to what can be seen from it alone.
func auditStream(all []record) []finding {
	a := streamAudit{ids: map[string]uint64{}, revisions: map[string]uint64{}, images: map[string]map[string]string{}, batches: map[string]bool{}}
	for i := range all {
		a.addRecord(&all[i])
	}
	if len(a.uncommitted) > 0 {
		a.addFinding(brokenBatch, a.uncommitted[0], "%d events at the end have no checkpoint", len(a.uncommitted))
	}
	return a.findings
}

type streamAudit struct {
	findings    []finding
	ids         map[string]uint64
	revisions   map[string]uint64
	images      map[string]map[string]string
	batches     map[string]bool
	uncommitted []*record // events since the last checkpoint

	epoch, poll, nextIndex uint64
	instance               string
	part, parts            int
	until                  time.Time
	interrupted            bool
}

func (a *streamAudit) addFinding(kind string, r *record, format string, args ...any) {
	a.findings = append(a.findings, finding{kind, r.seq, fmt.Sprintf("%s %s: %s", r.ID, r.subject, fmt.Sprintf(format, args...))})
}

func (a *streamAudit) addRecord(r *record) {
	if before, twice := a.ids[r.ID]; twice || r.ID == "" || r.ID != r.msgID {
		a.addFinding(duplicateEvent, r, "the id is empty, not the message id %q, or that of sequence %d", r.msgID, before)
	}
	a.ids[r.ID] = r.seq
	a.checkPosition(r)
	if entity := r.entity(); entity != "" {
		a.checkChain(r, entity)
	}
	switch r.subject {
	case "feed.checkpoint":
		a.addCheckpoint(r)
		return
	case "feed.interrupted":
		if a.interrupted {
			a.addFinding(falseGap, r, "interrupted while interrupted")
		}
		a.interrupted = true
	case "feed.resumed":
		if !a.interrupted {
			a.addFinding(falseGap, r, "resumed without an interruption")
		}
		a.interrupted = false
	}
	a.uncommitted = append(a.uncommitted, r)
}

// checkPosition checks epoch, poll and index, which the id holds.
func (a *streamAudit) checkPosition(r *record) {
	var epoch, poll, index uint64
	if _, err := fmt.Sscanf(r.ID, "acme-%d-%d-%d", &epoch, &poll, &index); err != nil || poll != r.Data.Poll {
		a.addFinding(outOfOrder, r, "the id does not hold tenant, epoch, poll %d and index", r.Data.Poll)
		return
	}
	switch {
	case epoch < a.epoch:
		a.addFinding(fencedWriter, r, "epoch %d after epoch %d", epoch, a.epoch)
		return
	case epoch > a.epoch:
		if r.subject != "feed.started" {
			a.addFinding(fencedWriter, r, "the first event of epoch %d is not feed.started", epoch)
		}
		a.epoch, a.instance = epoch, r.Data.Instance
	case poll < a.poll || poll == a.poll && index != a.nextIndex+1:
		a.addFinding(outOfOrder, r, "poll %d index %d after poll %d index %d", poll, index, a.poll, a.nextIndex)
	case poll > a.poll && len(a.uncommitted) > 0:
		a.addFinding(brokenBatch, r, "poll %d begins before poll %d has its checkpoint", poll, a.poll)
	}
	if poll != a.poll && index != 1 {
		a.addFinding(missingEvent, r, "poll %d begins with index %d", poll, index)
	}
	if poll <= a.poll && index == 1 {
		a.addFinding(outOfOrder, r, "poll %d begins after poll %d", poll, a.poll)
	}
	a.poll, a.nextIndex = poll, index
}

// restates reports whether an event states again what is published, because the view has lost it.
func (r *record) restates(known bool, image map[string]string) bool {
	return known && r.verb() == "observed" && r.Data.Before == nil && mapsEqual(image, r.Data.After)
}

// checkChain checks that an entity's revisions count on and its images join.
func (a *streamAudit) checkChain(r *record, entity string) {
	last := a.revisions[entity]
	switch {
	case r.Data.Revision <= last:
		a.addFinding(outOfOrder, r, "revision %d after %d", r.Data.Revision, last)
	case r.Data.Revision > last+1:
		a.addFinding(brokenChain, r, "revision %d after %d", r.Data.Revision, last)
	}
	restates := r.restates(last > 0, a.images[entity])
	a.revisions[entity] = r.Data.Revision
	if !restates && !mapsEqual(a.images[entity], r.Data.Before) {
		a.addFinding(brokenChain, r, "before is %v, the last after %v", r.Data.Before, a.images[entity])
	}
	a.images[entity] = r.Data.After
	if r.removal != (r.verb() == "disappeared") {
		a.addFinding(brokenChain, r, "the view's key goes: %v", r.removal)
	}
}

func mapsEqual(a, b map[string]string) bool {
	if len(a) != len(b) || (a == nil) != (b == nil) {
		return false
	}
	for name, text := range a {
		if other, ok := b[name]; !ok || other != text {
			return false
		}
	}
	return true
}

// addCheckpoint closes the events since the one before.
func (a *streamAudit) addCheckpoint(r *record) {
	if r.Data.Events != len(a.uncommitted) {
		a.addFinding(brokenBatch, r, "it counts %d events, there are %d", r.Data.Events, len(a.uncommitted))
	}
	for _, e := range a.uncommitted {
		if e.batch != r.batch || e.Data.Poll != r.Data.Poll {
			a.addFinding(brokenBatch, e, "it is not of the batch of checkpoint %s", r.ID)
		}
	}
	if a.batches[r.batch] && r.batch != "" {
		a.addFinding(brokenBatch, r, "a second checkpoint in one batch")
	}
	a.batches[r.batch] = true
	a.uncommitted = a.uncommitted[:0]
	if r.Data.Epoch != a.epoch || r.Data.Instance != a.instance {
		a.addFinding(fencedWriter, r, "epoch %d of %s within epoch %d of %s", r.Data.Epoch, r.Data.Instance, a.epoch, a.instance)
	}
	if a.part < a.parts && r.Data.Part != a.part+1 && r.Data.Part != 1 {
		a.addFinding(missingEvent, r, "part %d of %d after part %d of %d", r.Data.Part, r.Data.Parts, a.part, a.parts)
	}
	a.part, a.parts = r.Data.Part, r.Data.Parts
	if until := r.Data.ObservedUntil; until != nil {
		if until.Before(a.until) {
			a.addFinding(outOfOrder, r, "observed until %v, after %v", until, a.until)
		}
		a.until = *until
	}
	if r.Data.Status == "live" && a.interrupted {
		a.addFinding(unreportedGap, r, "live while interrupted")
	}
}

// replay folds a stream into what a reader knows at its end, by view key.
func replay(all []record) (ids map[string]string, images map[string]map[string]string) {
	ids, images = map[string]string{}, map[string]map[string]string{}
	for i := range all {
		r := &all[i]
		key := r.entity()
		switch directory, ok := strings.CutSuffix(r.subject, ".changed"); {
		case r.subject == "feed.checkpoint":
			key = "feed"
		case ok && strings.HasPrefix(directory, "directory."):
			key = directory
		}
		switch {
		case key == "":
		case r.removal:
			delete(ids, key)
			delete(images, key)
		default:
			ids[key], images[key] = r.ID, r.Data.After
		}
	}
	return ids, images
}

// countByKind counts findings by kind.
func countByKind(findings []finding) map[string]int {
	n := map[string]int{}
	for _, f := range findings {
		n[f.kind]++
	}
	return n
}

// firstFindings are the first findings of each kind, as text.
func firstFindings(findings []finding, limit int) string {
	n := map[string]int{}
	var lines []string
	for _, f := range findings {
		if n[f.kind]++; n[f.kind] <= limit {
			lines = append(lines, fmt.Sprintf("%s: sequence %d: %s", f.kind, f.seq, f.text))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
