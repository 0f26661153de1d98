package stream

import (
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"
)

// TestStorageCause: what servers answer, and what the file system of the embedded server says, has a
// name and a hint. Other errors have neither.
func TestStorageCause(t *testing.T) {
	t.Parallel()
	answer := func(code jetstream.ErrorCode, description string) error {
		return fmt.Errorf("publish: %w", &jetstream.APIError{Code: 503, ErrorCode: code, Description: description})
	}
	embedded := func(errno unix.Errno) error {
		return fmt.Errorf("publish: timeout; %w: %w", ErrStoreFailed, &fs.PathError{Op: "write", Path: "1.blk", Err: errno})
	}
	tests := map[string]struct {
		err  error
		want StorageCause
		hint string
	}{
		"no error":                    {nil, "", ""},
		"another answer":              {answer(10071, "wrong last sequence: 7"), "", ""},
		"another error":               {fs.ErrClosed, "", ""},
		"a disk of another server":    {answer(10077, "write /data/jetstream/1.blk: no space left on device"), NoSpace, "no space left on device: free disk space on the NATS servers"},
		"a quota of another server":   {answer(10077, "write 1.blk: disk quota exceeded"), NoSpace, "no space left on device: free disk space on the NATS servers"},
		"a batch it cannot write":     {answer(10176, "atomic publish batch is incomplete"), NotWritable, "no space left on device, or not writable"},
		"max_bytes with discard new":  {answer(10077, "maximum bytes exceeded"), StreamLimit, ""},
		"max_msgs with discard new":   {answer(10077, "maximum messages exceeded"), StreamLimit, ""},
		"a store that has failed":     {answer(10077, "store is closed"), "", ""},
		"the account":                 {answer(10002, "resource limits exceeded for account"), AccountLimit, ""},
		"the server":                  {answer(10023, "insufficient resources"), ServerLimit, ""},
		"the server, for a stream":    {answer(10047, "insufficient storage resources available"), ServerLimit, ""},
		"the embedded server's disk":  {embedded(unix.ENOSPC), NoSpace, "free 16 MiB or more on the disk of BRIDGE_STORE_DIR"},
		"the embedded server's quota": {embedded(unix.EDQUOT), NoSpace, "free 16 MiB or more on the disk of BRIDGE_STORE_DIR"},
		"a disk that is read-only":    {embedded(unix.EROFS), NotWritable, "make BRIDGE_STORE_DIR writable"},
		"a disk that fails":           {embedded(unix.EIO), NotWritable, "make BRIDGE_STORE_DIR writable"},
	}
	for name, test := range tests {
		cause, hint := FindStorageCause(test.err), StorageHint(test.err)
		if cause != test.want || !strings.Contains(hint, test.hint) || (hint == "") != (test.hint == "") {
			t.Errorf("%s: %q, want %q; hint %q, want %q", name, cause, test.want, hint, test.hint)
		}
	}
}

// TestWriteErrorUntilRecovery: the last failed write is the error of the store until a server runs on it
// again, unless that has failed by then.
func TestWriteErrorUntilRecovery(t *testing.T) {
	t.Parallel()
	s := &Server{serverLog: newServerLog(slog.New(slog.DiscardHandler))}
	fail := func(errno unix.Errno) { s.serverLog.Errorf("not stored: %v", error(errno)) }
	if err := s.StoreError(); err != nil {
		t.Error(err)
	}
	fail(unix.ENOSPC)
	<-s.serverLog.broken
	s.serverLog.begin()
	if err := s.StoreError(); FindStorageCause(err) != NoSpace {
		t.Errorf("while it starts: %v", err)
	}
	fail(unix.EROFS) // the new server, at once
	s.serverLog.recovered()
	if err := s.StoreError(); FindStorageCause(err) != NotWritable {
		t.Errorf("a server that failed again: %v", err)
	}
	<-s.serverLog.broken
	s.serverLog.recovered()
	if err := s.StoreError(); err != nil {
		t.Errorf("after recovery: %v", err)
	}
}
