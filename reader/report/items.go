package report

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"bpcc-nats/bridge/event"
	"bpcc-nats/reader"
	"bpcc-nats/reader/internal/track"
)

// ErrNoObservation is returned where no checkpoint says that the source was observed, so that nothing can be
// summed up.
var ErrNoObservation = errors.New("no checkpoint says that the source was observed")

// Read reads the stream of a reader's tenant once, from its beginning, and sums it up. The error is
// [ErrNoObservation], or one of [reader.Reader.Events].
func Read(ctx context.Context, r *reader.Reader, o Options) (*Report, error) {
	f := New(o)
	for item, err := range r.Events(ctx, reader.Beginning(), reader.EventsOptions{}) {
		if err != nil {
			return nil, err
		}
		f.Add(item)
	}
	return f.Report()
}

// Add adds the next item of a reading of all subjects of the tenant.
func (f *Fold) Add(item reader.Item) {
	switch i := item.(type) {
	case *reader.Event:
		f.event(viewKey(i.Subject), i.Seq, i.Body)
	case *reader.Checkpoint:
		decoded, _ := i.Decode() // it is
		f.checkpoint(i.Data, decoded.Time)
	case *reader.Gap:
		f.gap(i.Data)
	case *reader.Hole:
		f.hole(i.Missing, i.BeforeSeq)
	case *reader.Foreign:
		f.foreign++
	}
}

// viewKey is the key in the view, below the tenant, of a subject.
func viewKey(subject string) string {
	_, rest, _ := strings.Cut(strings.TrimPrefix(subject, event.SubjectPrefix+"."), ".")
	return event.ViewKey(rest)
}

// Message is a message of a stream.
type Message struct {
	Seq     uint64
	Subject string
	// ID is the header Nats-Msg-Id.
	ID   string
	Body []byte
}

// Messages sums up messages that were read elsewhere, such as those of an export: all of one tenant.
type Messages struct {
	tenant  string
	fold    *Fold
	tracker *track.Tracker
	heads   track.HeadReader
}

// NewMessages returns an empty sum.
func NewMessages(tenant string, o Options) *Messages {
	f := New(o)
	return &Messages{tenant, f, track.New(tenant, nil), track.NewHeadReader(tenant, &f.decoder)}
}

// Add adds the next message of the stream. What no bridge wrote is passed over, and counted.
func (s *Messages) Add(m Message) {
	t := track.Message{Seq: m.Seq, Subject: m.Subject, Header: nats.Header{nats.MsgIdHdr: {m.ID}}, Body: m.Body}
	h, err := s.heads.Read(&t)
	if last, begun := s.tracker.Last(); err != nil || begun && h.ID.Compare(last) <= 0 {
		s.fold.foreign++
		return
	}
	var e event.Event
	var closed *track.Checkpoint
	if h.Name == event.Checkpoint || h.Name == event.Resumed {
		if e, err = s.fold.decoder.Parse(s.tenant, m.Subject, m.ID, m.Body); err != nil {
			s.fold.foreign++
			return
		}
		if d, ok := e.Data.(*event.CheckpointData); ok {
			closed = &track.Checkpoint{ID: h.ID, Seq: m.Seq, Follows: d.Follows}
		}
	}
	holes := s.tracker.Find(&h, &t, closed)
	for _, found := range holes {
		s.fold.hole(found.Missing, found.BeforeSeq)
	}
	s.tracker.Advance(&h, &t, closed, holes)
	switch d := e.Data.(type) {
	case *event.CheckpointData:
		s.fold.checkpoint(d, e.Time)
	case *event.ResumedData:
		s.fold.gap(d)
	default:
		s.fold.event(viewKey(m.Subject), m.Seq, m.Body)
	}
}

// Report returns the sums. The error is [ErrNoObservation].
func (s *Messages) Report() (*Report, error) { return s.fold.Report() }

// BeginOfDay is the first instant of the day that an instant is in.
func BeginOfDay(t time.Time, zone *time.Location) time.Time {
	y, m, d := t.In(zone).Date()
	return beginOfDay(y, m, d, zone)
}
