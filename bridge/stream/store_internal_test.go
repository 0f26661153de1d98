package stream

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sys/unix"

	"bpcc-nats/bridge/config"
)

func TestDefaultStoreMax(t *testing.T) {
	t.Parallel()
	const mib, gib = 1 << 20, 1 << 30
	tests := map[string]struct {
		use  StoreUse
		want config.Size
	}{
		"an empty store: three quarters of the disk, a third of the counted bytes on it": {StoreUse{Free: 80 * gib}, 180 * gib},
		"little is held yet, so how it compresses is not known":                          {StoreUse{Free: 80 * gib, Disk: 10 * mib, held: 500 * mib}, 500*mib + 3*(80*gib-(80*gib+10*mib)/4)},
		"its own events compress to a fifth":                                             {StoreUse{Free: 60 * gib, Disk: 20 * gib, held: 100 * gib}, 300 * gib},
		"they compress to a twentieth, which may not last":                               {StoreUse{Free: 60 * gib, Disk: 20 * gib, held: 400 * gib}, 640 * gib},
		"they do not compress":                                                           {StoreUse{Free: 60 * gib, Disk: 20 * gib, held: 10 * gib}, 50 * gib},
		"the former limit is reached":                                                    {StoreUse{Free: 10 * gib, Disk: 10 * gib, held: 64 * gib}, 64*gib + 5*6*gib},
		"less than a quarter is left: it grows no further, and keeps what is there":      {StoreUse{Free: 2 * gib, Disk: 30 * gib, held: 200 * gib}, 200 * gib},
		"the disk is full":                     {StoreUse{Disk: 30 * gib, held: 200 * gib}, 200 * gib},
		"the disk is full and nothing is held": {StoreUse{}, storeDefaultLeast},
		"an enormous disk":                     {StoreUse{Free: 1 << 60}, 9 << 58},
		"one where they compress":              {StoreUse{Free: 1 << 60, Disk: 20 * gib, held: 400 * gib}, config.StoreMaxMost},
		"a network file system without an end": {StoreUse{Free: freeOf(1<<43-1, 1<<20), Disk: gib}, 9<<58 - gib*3/4},
	}
	for name, test := range tests {
		if got := test.use.DefaultMax(); got != test.want {
			t.Errorf("%s: %d, want %d (%v, %v)", name, got, test.want, got, test.want)
		}
	}
}

// TestFreeBlocks: some network file systems report 8 EiB, which no int64 holds.
func TestFreeBlocks(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		blocks, size uint64
		want         int64
	}{
		{0, 4096, 0}, {1000, 4096, 4096000}, {5, 0, 0}, {1 << 40, 1 << 20, 1 << 60}, {1<<40 + 1, 1 << 20, 1 << 60},
		{1 << 43, 1 << 20, 1 << 60}, {math.MaxUint64, 4096, 1 << 60}, {math.MaxUint64, 1, 1 << 60},
	} {
		if got := freeOf(test.blocks, test.size); got != test.want {
			t.Errorf("%d blocks of %d: %d, want %d", test.blocks, test.size, got, test.want)
		}
	}
}

func TestEventsMax(t *testing.T) {
	t.Parallel()
	const gib = 1 << 30
	tests := map[string]struct {
		limit        config.Size
		others, view int64
		want         int64
	}{
		"an eighth is the others'":           {16 * gib, 0, 0, 14 * gib},
		"they hold less than half of it":     {16 * gib, gib, gib, 14 * gib},
		"they hold more, and need to grow":   {16 * gib, gib + 1, gib, 13 * gib},
		"it does not follow every byte":      {16 * gib, 2 * gib, gib, 13 * gib},
		"they hold half":                     {16 * gib, 8 * gib, gib, 7 * gib},
		"they leave nothing":                 {16 * gib, 20 * gib, 0, 2 * gib},
		"the view needs more than there is":  {gib, gib, gib, 3 * gib},
		"counted while the stream has grown": {16 * gib, -5, 0, 14 * gib},
		"no limit to speak of":               {math.MaxInt64, 0, 0, math.MaxInt64 - 2*(math.MaxInt64/16)},
	}
	for name, test := range tests {
		if got := eventsMax(test.limit, test.others, test.view); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
	for view := int64(1); view < 1<<40; view = view*3 + 1 {
		least := leastStoreMax(view)
		if got := eventsMax(least, view, view) + view; got > int64(least) {
			t.Errorf("a store of %d with a view of %d takes %d", least, view, got)
		}
	}
}

func TestWantedMaxBytes(t *testing.T) {
	t.Parallel()
	const limit, full = 1600 << 20, 1400 << 20 // what of the limit is the events'
	const mib = 1 << 20
	tests := map[string]struct {
		max              config.Size // what the operator has set
		used, held, have int64       // by all streams, by the events; max_bytes
		want             int64
		behind           bool // the view
	}{
		"a new stream":                         {limit, 0, 0, -1, full, false},
		"as it is":                             {limit, 1000 * mib, 1000 * mib, full, full, false},
		"a byte less":                          {limit, 1000 * mib, 1000 * mib, full - 1, full, false},
		"what is beyond the limit goes":        {limit, 2000 * mib, 2000 * mib, -1, full, false},
		"the others need room":                 {limit, 1600 * mib, 1300 * mib, full, 1200 * mib, false},
		"a small one, before the first events": {limit / 100, 0, 0, -1, eventsAtFirst, false},
		"a small one, when it is half full":    {limit / 100, 7 * mib, 7 * mib, eventsAtFirst, full / 100, false},
		"a small one, and the view behind":     {limit / 100, 20 * mib, 20 * mib, eventsAtFirst + 1, eventsAtFirst, true},
		"a small one, as it was":               {limit / 100, 20 * mib, 20 * mib, full / 100, full / 100, true},
		"a large one, and the view behind":     {limit, 1600 * mib, 1300 * mib, full, 1200 * mib, true},
		"by the disk, a new stream":            {0, 0, 0, -1, full, false},
		"by the disk, about as it is":          {0, 100 * mib, 100 * mib, full - 50*mib, full - 50*mib, false},
		"by the disk, when it matters":         {0, 100 * mib, 100 * mib, full - 200*mib, full, false},
		"by the disk, when little is left":     {0, full - 60*mib, full - 60*mib, full - 50*mib, full, false},
		"by the disk, which is smaller by now": {0, 100 * mib, 100 * mib, full + 200*mib, full, false},
		"by the disk, what is there stays":     {0, 3000 * mib, 2900 * mib, -1, 2900 * mib, false},
		"by the disk, and the others grow":     {0, 3000 * mib, 2000 * mib, 2500 * mib, 2000 * mib, false},
	}
	for name, test := range tests {
		s := &Server{max: test.max}
		if got := s.wantedMaxBytes(cmp.Or(test.max, limit), holding{used: test.used, events: test.held, behind: test.behind}, test.have); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

// TestFailedWrite reads errors as the server hands them to its logger. After some
// of them a stream takes nothing more.
func TestFailedWrite(t *testing.T) {
	t.Parallel()
	on := func(op string, errno unix.Errno) error {
		return fmt.Errorf("1.blk: %w", &fs.PathError{Op: op, Path: "msgs/1.blk", Err: errno})
	}
	tests := map[string]struct {
		err  error
		want bool
	}{
		"disk full":                   {on("write", unix.ENOSPC), true},
		"disk full for another file":  {on("open", unix.ENOSPC), true},
		"quota used up":               {on("write", unix.EDQUOT), true},
		"read-only by now":            {on("open", unix.EROFS), true},
		"not the server's any more":   {on("open", unix.EACCES), true},
		"a disk that fails":           {on("write", unix.EIO), true},
		"a disk that fails to read":   {on("read", unix.EIO), false},
		"a file that is gone":         {on("open", unix.ENOENT), false},
		"a client that went":          {unix.ECONNRESET, false},
		"what a stream does not take": {errors.New("maximum bytes exceeded"), false},
	}
	for name, test := range tests {
		l := newServerLog(slog.New(slog.DiscardHandler))
		l.Errorf("JetStream failed to store a msg on stream '%s > %s': %v", "$G", "S", test.err)
		l.Errorf("again: %v", test.err) // waits for nothing
		if got := len(l.broken) == 1; got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestServerLogAtTheStart warns of a stream that is not read from the disk yet, as
// the server does at every start, and of one that is gone.
func TestServerLogAtTheStart(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	l := newServerLog(slog.New(slog.NewTextHandler(&text, nil)))
	warn := func(err error) bool {
		text.Reset()
		l.Warnf("JetStream error response for stream %s create source consumer %s: %+v", "KV_bpcc_state", "BPCC_EVENTS", err)
		return text.Len() > 0
	}
	gone, other := server.NewJSStreamNotFoundError(), server.NewJSInsufficientResourcesError()
	l.begin()
	if warn(gone) || !warn(other) {
		t.Error("while it starts, it must warn of everything but a stream that is not there")
	}
	if why := l.begun(); why != "" || !warn(gone) {
		t.Errorf("it has started (%q), and must warn of a stream that is not there", why)
	}
}
