package stream

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// lockDir locks the directory for this process. The lock ends with the process, however that ends.
func lockDir(dir string) (*os.File, error) {
	if dir == "" {
		return nil, errors.New("the embedded NATS server needs a store directory: set BRIDGE_STORE_DIR")
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("create the store directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, fmt.Errorf("lock the store directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s", ErrStoreInUse, dir)
		}
		return nil, fmt.Errorf("lock the store directory: %w", err)
	}
	return lock, nil
}

// formerMost is how many names of instances the lock remembers: an instance may end before it has
// taken the lease of the one before.
const formerMost = 16

// readFormer reads the names of the instances that had the lock before.
func readFormer(lock *os.File) ([]string, error) {
	text, err := io.ReadAll(io.NewSectionReader(lock, 0, 1<<16))
	if err != nil {
		return nil, fmt.Errorf("read the lock of the store directory: %w", err)
	}
	names := strings.Fields(string(text))
	return names[max(len(names)-formerMost, 0):], nil
}

// Claim records in the store's lock that this process runs as an instance, and returns the instances
// of the processes that had the lock before. Those have ended, however they did: the lock of a process
// that lives cannot be taken. If the error is not nil, the next process does not know this one.
func (s *Server) Claim(instance string) (former []string, err error) {
	text := strings.Join(append(slices.Clone(s.former), instance), "\n") + "\n"
	// A crash in between leaves a name incomplete at worst, which is nobody's.
	if _, err = s.lock.WriteAt([]byte(text), 0); err == nil {
		err = s.lock.Truncate(int64(len(text)))
	}
	if err != nil {
		err = fmt.Errorf("write the lock of the store directory: %w", err)
	}
	return s.former, err
}
