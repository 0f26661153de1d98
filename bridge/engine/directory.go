package engine

import (
	"maps"
	"slices"
	"time"

	"bpcc-nats/bridge/event"
)

// Directories of a tenant, as named in subjects.
const (
	Teams        = "teams"
	Services     = "services"
	Agents       = "agents"
	Dispositions = "dispositions"
)

// directoryChunk is the maximum number of entries in one event, so that a directory of any size
// stays below the server's limit for messages.
const directoryChunk = 500

// DirectorySnapshot is one directory as the source sent it.
type DirectorySnapshot struct {
	Directory string
	Names     map[string]string // by id
	// Skipped counts the entries that cannot be read. Each may be one that Names lacks.
	Skipped int
	// Sent and Received are when the request was sent and its response received.
	Sent, Received time.Time
}

// directoryPoll is the state of the polls of a directory.
type directoryPoll struct {
	seen    time.Time // when the last listing was requested
	fresh   bool      // listed since the start of this term
	suspect bool      // the last listing lacked more than half, and was not published
	restate bool      // the next listing is published in full
}

// directoryEvents publishes what changed in the directories. The first listing of one is a
// baseline, not a change. The baseline is published again before it expires from the stream, so
// that a consumer who folds the events from the stream's start has all entries.
func (e *Engine) directoryEvents(snapshots []DirectorySnapshot) []event.Event {
	var out []event.Event
	for _, s := range snapshots {
		poll, published := e.observed.directories[s.Directory], e.published.directories[s.Directory]
		if s.Skipped > 0 {
			s.Names = withKnown(s.Names, published.names)
		}
		if lostMajority(published.names, s.Names) && !poll.suspect {
			poll.suspect = true
			e.observed.directories[s.Directory] = poll
			continue
		}
		if published.names == nil || poll.restate || s.Received.Sub(published.baseline) > e.options.RebaselineAfter {
			out = append(out, e.directoryBaseline(s)...)
		} else {
			out = append(out, e.directoryChanges(s, published.names, poll)...)
		}
		e.observed.directories[s.Directory] = directoryPoll{seen: s.Sent, fresh: true}
	}
	return out
}

// withKnown adds the known entries that a listing lacks.
func withKnown(names, known map[string]string) map[string]string {
	all := map[string]string{}
	maps.Copy(all, known)
	maps.Copy(all, names)
	return all
}

// lostMajority reports whether a listing lacks more than half of the known entries. As with rows,
// one such listing is not enough to publish that.
func lostMajority(known, names map[string]string) bool {
	missing := 0
	for id := range known {
		if _, ok := names[id]; !ok {
			missing++
		}
	}
	return 2*missing > len(known)
}

func (e *Engine) directoryBaseline(s DirectorySnapshot) []event.Event {
	var entries []event.DirectoryEntry
	for _, id := range slices.Sorted(maps.Keys(s.Names)) {
		entries = append(entries, event.DirectoryEntry{ID: id, Name: s.Names[id]})
	}
	chunks := slices.Collect(slices.Chunk(entries, directoryChunk))
	if len(chunks) == 0 {
		chunks = [][]event.DirectoryEntry{nil}
	}
	var out []event.Event
	for i, chunk := range chunks {
		out = append(out, e.directoryEvent(s, event.DirectoryData{
			Baseline: true, Part: i + 1, Parts: len(chunks), Added: chunk, Observed: event.Window{By: event.Ceil(s.Received)},
		}))
	}
	return out
}

func (e *Engine) directoryChanges(s DirectorySnapshot, known map[string]string, poll directoryPoll) []event.Event {
	var all event.DirectoryData
	for _, id := range slices.Sorted(maps.Keys(s.Names)) {
		switch name, ok := known[id]; {
		case !ok:
			all.Added = append(all.Added, event.DirectoryEntry{ID: id, Name: s.Names[id]})
		case name != s.Names[id]:
			all.Renamed = append(all.Renamed, event.DirectoryRename{ID: id, From: name, To: s.Names[id]})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(known)) {
		if _, ok := s.Names[id]; !ok {
			all.Removed = append(all.Removed, event.DirectoryEntry{ID: id, Name: known[id]})
		}
	}
	var out []event.Event
	for len(all.Added)+len(all.Removed)+len(all.Renamed) > 0 {
		part := event.DirectoryData{Observed: event.Between(poll.seen, s.Received), AfterGap: !poll.fresh}
		part.Added, all.Added = splitChunk(all.Added)
		part.Removed, all.Removed = splitChunk(all.Removed)
		part.Renamed, all.Renamed = splitChunk(all.Renamed)
		out = append(out, e.directoryEvent(s, part))
	}
	return out
}

func splitChunk[T any](all []T) (head, tail []T) {
	n := min(len(all), directoryChunk)
	return all[:n:n], all[n:]
}

func (e *Engine) directoryEvent(s DirectorySnapshot, d event.DirectoryData) event.Event {
	d.Base, d.Kind = e.base(), s.Directory
	// Consumers expect arrays, not null.
	d.Added, d.Removed, d.Renamed = orEmpty(d.Added), orEmpty(d.Removed), orEmpty(d.Renamed)
	return event.Event{Name: "directory.changed", Time: s.Received, Data: &d}
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
