package reader

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/nats-io/nats.go"

	"bpcc-nats/bridge/event"
	"bpcc-nats/reader/internal/directory"
	"bpcc-nats/reader/internal/track"
)

// kindDirectory is the kind of the directories, which are no entities: their last event alone says little.
const kindDirectory = "directory"

// Directory returns the entries of a directory, ordered by their ids, and whether it is known: teams,
// services, agents or dispositions. It is known if the stream holds its last baseline.
func (p *Picture) Directory(kind string) ([]event.DirectoryEntry, bool) {
	return p.directories[kind].Entries()
}

// withDirectories returns the picture after changes of directories.
func (p *Picture) withDirectories(changes []*event.DirectoryData) *Picture {
	if len(changes) == 0 {
		return p
	}
	next := *p
	if next.directories = maps.Clone(p.directories); next.directories == nil {
		next.directories = map[string]*directory.List{}
	}
	for _, e := range changes {
		next.directories[e.Kind] = next.directories[e.Kind].With(e)
	}
	return &next
}

// listDirectories reads the directories from the stream, as they are before a sequence.
func (v *View) listDirectories(ctx context.Context, before uint64) ([]*event.DirectoryData, error) {
	if len(v.options.Kinds) > 0 && !slices.Contains(v.options.Kinds, kindDirectory) {
		return nil, nil
	}
	var all []*event.DirectoryData
	var last event.ID
	s := v.r.source(v.r.options.Stream, []string{v.r.prefix + kindDirectory + ".*.changed"}, func(_ context.Context, m *track.Message) error {
		e, err := v.r.decoder.Parse(v.r.tenant, m.Subject, m.Header.Get(nats.MsgIdHdr), m.Body)
		d, ok := e.Data.(*event.DirectoryData)
		if err == nil && ok && m.Seq < before && e.ID.Compare(last) > 0 { // else it is foreign, or comes with the messages that are followed
			all, last = append(all, d), e.ID
		}
		return nil
	})
	if err := s.Read(ctx); err != nil {
		return nil, fmt.Errorf("list the directories: %w", err)
	}
	return all, nil
}
