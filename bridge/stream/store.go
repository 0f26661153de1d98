package stream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/bits"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"bpcc-nats/bridge/config"
)

const (
	// storeDefaultLeast is the minimum default, on any disk.
	storeDefaultLeast config.Size = 16 << 20

	// The server counts bytes before compression, the disk holds them compressed.
	// Measured, events of the built-in subscription take an eighth on disk. A store
	// with enough events shows how well its own compress; any other is assumed to
	// compress half as well as that. No store is assumed to compress better.
	compressionAssumed = 3
	compressionMost    = 6
	compressionFrom    = 1 << 30
)

// StoreUse is the input for the default limit of a store, in bytes.
type StoreUse struct {
	Free int64 // on the store's file system, for this user
	Disk int64 // size of the store there
	held int64 // size by the server's count, before compression
}

// DefaultMax is the limit of a store without a configured one. The store may use three quarters of
// its present size on disk plus the free space. When less than a quarter is left the store stops
// growing, and never has to shrink.
func (u StoreUse) DefaultMax() config.Size {
	room := max(u.Free-(u.Free+u.Disk)/4, 0)
	return max(u.grown(room), storeDefaultLeast)
}

// MostOnDisk is the limit at which the store is expected to fill the disk.
func (u StoreUse) MostOnDisk() config.Size { return u.grown(u.Free) }

// grown is the size of the store, by the server's count, after it has grown by room on disk.
func (u StoreUse) grown(room int64) config.Size {
	growth := min(float64(room)*u.compression(), float64(config.StoreMaxMost))
	return min(config.Size(u.held)+config.Size(growth), config.StoreMaxMost)
}

// compression is the ratio of the bytes that the server counts to those on disk.
func (u StoreUse) compression() float64 {
	if u.held < compressionFrom || u.Disk == 0 {
		return compressionAssumed
	}
	return min(max(float64(u.held)/float64(u.Disk), 1), compressionMost)
}

// eventsMax is the part of a store's limit for the events when other streams, the view among them,
// hold that much: the view, the leases and the watchdog keep room to grow. It changes in steps, so
// that it does not follow every byte of the others.
//
// Whatever the limit, the events may hold three times as much as the view, which holds one event of
// every entity: events that are dropped before the view has sourced them are missing there.
func eventsMax(limit config.Size, others, view int64) int64 {
	step := max(int64(limit)/16, 1)
	reserve := max(2*step, (max(others, 0)+step-1)/step*step+step)
	grain := int64(1) << max(bits.Len64(uint64(view))-3, 0)
	return max(int64(limit)-reserve, 2*step, 3*((view+grain-1)/grain*grain))
}

// EventsShare is the part of a store's limit for the events while the other streams are small.
func EventsShare(limit config.Size) config.Size { return config.Size(eventsMax(limit, 0, 0)) }

// leastStoreMax is the minimum limit for a store with a view of that size.
func leastStoreMax(view int64) config.Size { return config.Size(5 * view) }

// freeBytes returns what this user can still write to the file system of dir, or of its nearest
// parent that exists.
func freeBytes(dir string) (int64, error) {
	var stat unix.Statfs_t
	err := unix.Statfs(dir, &stat)
	if errors.Is(err, fs.ErrNotExist) {
		absolute, err := filepath.Abs(dir)
		if err != nil || absolute == filepath.Dir(absolute) {
			return 0, fmt.Errorf("find the disk of %s: %w", dir, errors.Join(err, fs.ErrNotExist))
		}
		return freeBytes(filepath.Dir(absolute))
	}
	if err != nil {
		return 0, fmt.Errorf("measure free space of %s: %w", dir, err)
	}
	return freeOf(stat.Bavail, uint64(stat.Bsize)), nil
}

// freeOf returns the bytes of free blocks, at most an exbibyte: network file systems report as many
// as their numbers hold, and the size of the store is added to that.
func freeOf(blocks, size uint64) int64 {
	const most = 1 << 60
	if size > 0 && blocks > most/size {
		return most
	}
	return int64(blocks * size)
}

// diskBytes returns the size of the files below dir on disk, 0 if dir does not exist.
func diskBytes(dir string) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		var info fs.FileInfo
		if err == nil {
			info, err = entry.Info()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the server removes files while they are counted
		}
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			total += stat.Blocks * 512
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("measure store directory: %w", err)
	}
	return total, nil
}

// measureStore returns how a store with held bytes uses its disk.
func measureStore(dir string, held int64) (StoreUse, error) {
	free, err := freeBytes(dir)
	if err != nil {
		return StoreUse{}, err
	}
	disk, err := diskBytes(dir)
	return StoreUse{Free: free, Disk: disk, held: held}, err
}

// EstimateStore is [measureStore] for a store that is not open: only the server knows what it holds.
func EstimateStore(dir string) (StoreUse, error) {
	use, err := measureStore(dir, 0)
	use.held = use.Disk * compressionAssumed
	return use, err
}

// maxBytesKey is the metadata key of a stream with the max_bytes that the bridge has set. A
// max_bytes that differs from it was set by an operator.
const maxBytesKey = "bpcc_bridge_max_bytes"

// ownMaxBytes reports whether the bridge has set the stream's max_bytes.
func ownMaxBytes(c jetstream.StreamConfig) bool {
	return c.MaxBytes > 0 && c.Metadata[maxBytesKey] == strconv.FormatInt(c.MaxBytes, 10)
}

// StoreStatus is the measured state of the embedded server's store.
type StoreStatus struct {
	// Limit is how much the streams may hold.
	Limit config.Size
	// Oldest is when the oldest event was stored; zero if there is none.
	Oldest time.Time

	tooLow bool // the limit cannot be kept
}

// Used returns what all streams of the server hold, in bytes before compression.
func (s *Server) Used() config.Size {
	info, err := s.current().Jsz(nil)
	if err != nil || info.Disabled {
		return 0
	}
	return config.Size(info.Store)
}

// StoreMax returns how much they may hold: BRIDGE_STORE_MAX, or what the disk allows.
func (s *Server) StoreMax() config.Size { return s.Status().Limit }

// Status returns what was last measured of the store.
func (s *Server) Status() StoreStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// storeMax returns the limit of a store with held bytes.
func (s *Server) storeMax(held config.Size) (config.Size, error) {
	if s.max > 0 {
		return s.max, nil
	}
	use, err := measureStore(s.options.StoreDir, int64(held))
	if err != nil {
		return 0, err
	}
	return use.DefaultMax(), nil
}

// fitEvents sets the max_bytes of the stream of events so that the other streams have room, and its
// oldest events are dropped before the store is full. It returns the max_bytes before and after. It
// does not change a max_bytes that an operator has set.
func (s *Server) fitEvents(ctx context.Context, js jetstream.JetStream, c config.Stream) (before, after int64, err error) {
	held, info, err := s.inspect(ctx, js, c)
	if err != nil {
		return 0, 0, err
	}
	state, settings := info.State, info.Config
	limit, err := s.storeMax(config.Size(held.used))
	if err != nil {
		return 0, 0, err
	}
	least := leastStoreMax(held.view)
	if s.note(limit, least, state) {
		s.log.Warn("store limit too low", "limit_bytes", int64(limit), "view_bytes", held.view,
			"hint", fmt.Sprintf("the streams need more; raise BRIDGE_STORE_MAX to %v or more, or the view may miss events that are dropped at once", least))
	}
	before, after = settings.MaxBytes, s.wantedMaxBytes(limit, held, settings.MaxBytes)
	if after == before || before > 0 && !ownMaxBytes(settings) || settings.Discard != jetstream.DiscardOld {
		return before, before, nil
	}
	if over := held.events - after; over > 0 {
		s.log.Warn("dropping the oldest events", "stream", c.Name, "bytes", over, "max_bytes", after,
			"hint", "raise BRIDGE_STORE_MAX to keep more")
	}
	return before, after, setMaxBytes(ctx, js, settings, after)
}

// inspect finds out what the streams hold, and how the stream of events is.
func (s *Server) inspect(ctx context.Context, js jetstream.JetStream, c config.Stream) (holding, *jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, config.CallTimeout)
	defer cancel()
	// The view first, so that its lag is never measured too small.
	var held holding
	var sourced uint64
	view, err := js.Stream(ctx, ViewStream(c))
	switch {
	case err == nil:
		held.view = int64(view.CachedInfo().State.Bytes)
		sourced = SourcedUpTo(view.CachedInfo(), c.Name)
	case !errors.Is(err, jetstream.ErrStreamNotFound):
		return held, nil, fmt.Errorf("look at stream %s: %w", ViewStream(c), err)
	}
	events, err := js.Stream(ctx, c.Name)
	if err != nil {
		return held, nil, fmt.Errorf("look at stream %s: %w", c.Name, err)
	}
	state := events.CachedInfo().State
	held.used, held.events, held.behind = int64(s.Used()), int64(state.Bytes), sourced < state.LastSeq
	return held, events.CachedInfo(), nil
}

// eventsAtFirst is what the events may take at least while they hold less than half of
// what is theirs, or the view is behind them. The first snapshot may be larger than a
// small limit, and the size of the view is not known before it.
const eventsAtFirst = 32 << 20

// holding is what the streams of a store hold, in bytes before compression.
type holding struct {
	used, events, view int64 // in all; in the stream of events; in the view
	behind             bool  // the view has not sourced all events
}

// wantedMaxBytes returns the max_bytes for the stream of events, whose present one is have.
func (s *Server) wantedMaxBytes(limit config.Size, held holding, have int64) int64 {
	want := eventsMax(limit, held.used-held.events, held.view)
	switch {
	case held.events < want/2, held.behind && have <= 0:
		want = max(want, eventsAtFirst)
	case held.behind:
		want = max(want, min(have, eventsAtFirst)) // not lower now
	}
	if s.max > 0 {
		return want
	}
	// Only a limit set by an operator drops stored events. The free space of the disk changes all
	// the time, so the stream is changed only when it matters, and earlier when the events need it.
	want = max(want, held.events)
	slack := have / 16
	if held.events > have/2 {
		slack = have / 64
	}
	if have > 0 && max(want-have, have-want) <= slack {
		return have
	}
	return want
}

// droppingTimeout bounds how long the server may take to drop what exceeds a new max_bytes. It
// drops some hundred megabytes a second.
const droppingTimeout = 30 * time.Minute

// setMaxBytes sets the max_bytes of a stream with that configuration, and marks it as set by the
// bridge.
func setMaxBytes(ctx context.Context, js jetstream.JetStream, config jetstream.StreamConfig, maxBytes int64) error {
	ctx, cancel := context.WithTimeout(ctx, droppingTimeout)
	defer cancel()
	config.MaxBytes, config.Metadata = maxBytes, maps.Clone(config.Metadata)
	if config.Metadata == nil {
		config.Metadata = map[string]string{}
	}
	config.Metadata[maxBytesKey] = strconv.FormatInt(maxBytes, 10)
	if _, err := js.UpdateStream(ctx, config); err != nil {
		return fmt.Errorf("set max_bytes of stream %s: %w", config.Name, err)
	}
	return nil
}

// note stores the measurements for metrics. It reports whether the limit is below the least, and
// was not before.
func (s *Server) note(limit, least config.Size, events jetstream.StreamState) (tooLow bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tooLow = limit < least && !s.status.tooLow
	s.status = StoreStatus{Limit: limit, tooLow: limit < least}
	if events.Msgs > 0 {
		s.status.Oldest = events.FirstTime
	}
	return tooLow
}

// storeInterval is how often the store is compared with its limit; storeSoon is used when little is
// left.
const (
	storeInterval = 30 * time.Second
	storeSoon     = 5 * time.Second
)

// WatchStore keeps the events within the store's limit until ctx ends.
func (s *Server) WatchStore(ctx context.Context, js jetstream.JetStream, c config.Stream) {
	logged := ""
	for {
		next := storeInterval
		before, after, err := s.fitEvents(ctx, js, c)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && err.Error() != logged:
			s.log.Warn("store limit not applied", "stream", c.Name, "err", err)
			logged = err.Error()
		case err == nil:
			logged = ""
			if before != after {
				s.log.Info("stream limit changed", "stream", c.Name, "max_bytes", after, "before", before)
			}
		}
		if status := s.Status(); status.Oldest.IsZero() || s.Used() > status.Limit/2 {
			next = storeSoon
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(next):
		}
	}
}
