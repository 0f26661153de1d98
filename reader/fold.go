package reader

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/scan"
	"bpcc-nats/reader/internal/track"
)

// fold makes pictures out of a listing and of the messages after it. It belongs to one session of a view,
// and is used by its goroutine.
type fold struct {
	view    *View
	listing listing
	tracker *tracker
	from    uint64                 // sequence of the first message that it needs
	base    *Picture               // with the entries of the listing, or of the last checkpoint
	pending []keyed                // since then
	changed []*event.DirectoryData // since then
	end     uint64                 // of the stream at the beginning
	behind  bool                   // that end is not reached yet
	hidden  bool                   // a foreign message hides the last checkpoint
	listed  bool                   // no picture was made since the listing
	newest  uint64                 // the sequence of the view's present picture, if it is of the same stream
	created time.Time              // of the stream
	err     error                  // why it cannot go on
}

// newFold returns a fold that begins with what is listed.
func newFold(v *View, l listing) *fold {
	f := &fold{
		view: v, listing: l, tracker: newTracker(v.r.tenant, v.subjects, nil), from: l.seq + 1, listed: true, behind: true, hidden: l.hidden,
		base: (&Picture{}).with(nil, event.ID{}, 0, time.Time{}, l.entries),
	}
	for _, k := range l.entries {
		e := &k.entry.event
		f.tracker.StartWith(k.key, e.ID, k.entry.seq, e.EntityBase().Revision, e.Time)
	}
	if l.feed != nil {
		f.from = l.feed.seq + 1
		f.tracker.StartAfter(l.feed.id, l.feed.seq, true)
	}
	return f
}

// begin looks at the stream before its messages come, and makes a picture of the listing if it is that of
// a checkpoint.
func (f *fold) begin(ctx context.Context, stream jetstream.Stream) error {
	v := f.view
	f.created = stream.CachedInfo().Created
	f.tracker.MaxAge, f.end = stream.CachedInfo().Config.MaxAge, stream.CachedInfo().State.LastSeq
	v.mu.Lock()
	line := v.line
	v.hidden = v.hidden || f.listing.hidden
	if v.picture.Checkpoint == nil {
		v.problem, v.cause = nil, nil
	}
	v.mu.Unlock()
	// A server's view that lags must not take the picture back.
	switch err := line.Check(ctx, stream); {
	case err == nil:
		f.newest = line.Seq
	case !errors.Is(err, ErrOtherTimeline):
		return err
	}
	feed := f.listing.feed
	if feed == nil || feed.data.Part < feed.data.Parts || slices.ContainsFunc(f.listing.entries, func(k keyed) bool { return k.entry.seq > feed.seq }) {
		return nil // until the next checkpoint
	}
	stored := feed.stored // in the server's view
	switch msg, err := stream.GetMsg(ctx, feed.seq); {
	case err == nil:
		stored = msg.Time
	case !errors.Is(err, jetstream.ErrMsgNotFound):
		return fmt.Errorf("read the last checkpoint: %w", err)
	}
	f.base = f.base.with(feed.data, feed.id, feed.seq, stored, nil)
	return nil
}

// catchUp publishes the first picture: when the messages are folded that the stream held before it, since
// the server's view may lag.
func (f *fold) catchUp() {
	if f.behind {
		f.behind = false
		f.publish(nil)
	}
}

// handle takes the next message of the stream.
func (f *fold) handle(ctx context.Context, m *track.Message) error {
	switch err := f.tracker.add(ctx, m, f.take); {
	case errors.Is(err, errStop):
		return f.err
	case err != nil:
		return err
	}
	if m.Seq >= f.end { // of a busy stream the reader is never at its end
		f.catchUp()
	}
	return nil
}

// take takes an item, and reports whether it can go on.
func (f *fold) take(item Item) bool {
	switch i := item.(type) {
	case *Hole:
		f.err = fmt.Errorf("%w between messages %d and %d of the stream", errHole, i.AfterSeq, i.BeforeSeq)
		return false
	case *Foreign:
		f.hide(i.Subject)
	case *Event:
		f.takeEvent(i)
	case *Checkpoint:
		f.hidden = false
		if i.Data.Part == i.Data.Parts {
			changed, directories := f.pending, f.changed
			f.base, f.pending, f.changed = f.base.with(i.Data, i.ID, i.Seq, i.Stored, changed).withDirectories(directories), nil, nil
			f.publish(changed, directories...)
		}
	}
	return true
}

// takeEvent takes an event until the checkpoint that closes its poll.
func (f *fold) takeEvent(i *Event) {
	e, err := i.Decode()
	if err != nil {
		f.hide(i.Subject)
		return
	}
	switch d := e.Data.(type) {
	case *event.ErasedData:
		f.erase(d)
		return
	case *event.DirectoryData:
		f.changed = append(f.changed, d)
		return
	}
	k := keyed{e.ViewKey(), &entry{e, i.Seq}}
	switch known := f.base.entries[k.kind()][k.key]; {
	case e.EntityBase() == nil, known != nil && known.seq >= i.Seq: // or it is listed
		return
	case e.Removes():
		k.entry = nil
	}
	f.pending = append(f.pending, k)
}

// erase takes back what is known by messages that are erased. Their keys leave the server's view, too.
func (f *fold) erase(d *event.ErasedData) {
	for _, entries := range f.base.entries {
		for key, e := range entries {
			if slices.ContainsFunc(d.Sequences, func(s event.SequenceRange) bool { return s.First <= e.seq && e.seq <= s.Last }) {
				f.pending = append(f.pending, keyed{key, nil})
			}
		}
	}
}

// hide takes back what is known of the entity of a subject: a message there that the bridge did not write
// hides the bridge's last event in the server's view, so that a reader of that knows nothing either.
func (f *fold) hide(subject string) {
	key := event.ViewKey(strings.TrimPrefix(subject, f.view.r.prefix))
	if key == "feed" {
		f.hidden = true
		f.view.mu.Lock()
		f.view.hidden = true
		f.view.mu.Unlock()
		return
	}
	k := keyed{key, nil}
	if len(f.pending) > 0 {
		f.pending = append(f.pending, k)
		return
	}
	if p := f.base; p.entries[k.kind()][key] != nil {
		f.base = p.with(p.Checkpoint, p.ID, p.Seq, p.Stored, []keyed{k})
		if !f.listed {
			f.publish([]keyed{k})
		}
	}
}

// publish makes the picture that of the view, unless that is later. Only what is in changed differs from
// the one before, unless the picture was listed.
func (f *fold) publish(changed []keyed, directories ...*event.DirectoryData) {
	v := f.view
	if f.behind || f.base.Checkpoint == nil || f.base.Seq < f.newest {
		return
	}
	v.mu.Lock()
	before := v.picture
	v.picture, v.problem, v.cause = f.base, nil, nil
	v.hidden = f.hidden
	v.line = scan.Timeline{Created: f.created, Seq: f.base.Seq, MsgID: string(f.base.ID.Append(nil, v.r.tenant))}
	v.mu.Unlock()
	u := Update{Picture: f.base, Listed: f.listed}
	if f.listed {
		u.Changes = differences(before, f.base)
	} else {
		u.Changes = changes(before, f.base, changed)
		for _, d := range directories {
			if !slices.Contains(u.Directories, d.Kind) {
				u.Directories = append(u.Directories, d.Kind)
			}
		}
	}
	f.listed = false
	if before.Checkpoint == nil {
		close(v.ready)
	}
	if v.options.OnUpdate != nil {
		v.options.OnUpdate(u)
	}
}

// changes returns the changes of these keys between two pictures, in the order of the last event about
// each.
func changes(before, after *Picture, keys []keyed) []Change {
	last := map[string]int{}
	for i, k := range keys {
		last[k.key] = i
	}
	var all []Change
	for i, k := range keys {
		if last[k.key] == i {
			all = appendChange(all, k.key, before.entries[k.kind()][k.key], after.entries[k.kind()][k.key])
		}
	}
	return all
}

// differences returns all that differs between two pictures, first what is not known any more.
func differences(before, after *Picture) []Change {
	var all []Change
	for kind, entries := range before.entries {
		for key, was := range entries {
			if after.entries[kind][key] == nil {
				all = appendChange(all, key, was, nil)
			}
		}
	}
	slices.SortFunc(all, func(a, b Change) int { return cmp.Compare(a.Key, b.Key) })
	var known []keyed
	for _, entries := range after.entries {
		for key, e := range entries {
			known = append(known, keyed{key, e})
		}
	}
	slices.SortFunc(known, func(a, b keyed) int { return cmp.Compare(a.entry.seq, b.entry.seq) })
	return append(all, changes(before, after, known)...)
}

func appendChange(all []Change, key string, before, after *entry) []Change {
	c := Change{Key: key}
	if before != nil {
		c.Before = &before.event
	}
	if after != nil {
		c.After = &after.event
	}
	if before == after || before != nil && after != nil && before.event.ID == after.event.ID {
		return all
	}
	return append(all, c)
}
