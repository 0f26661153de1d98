package bridge

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sys/unix"
)

// ErrStoreInUse is returned by [StartServer] when another process uses the
// store directory. The server itself would not notice, and ruin it.
var ErrStoreInUse = errors.New("store directory is in use by another process")

// Server is a NATS server with JetStream inside this process, for a bridge that
// was given none. Every NATS client on this machine can attach to it.
type Server struct {
	server *server.Server
	lock   *os.File
}

// StartServer starts a server on listen (host:port; port 0 picks a free one)
// that keeps its streams below dir and is ready when it returns. An empty dir
// is refused.
func StartServer(dir, listen string) (*Server, error) {
	host, portText, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, fmt.Errorf("listen address of the embedded server: %w", err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, fmt.Errorf("listen address of the embedded server: port %q is no number", portText)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "bpcc-bridge-embedded",
		Host:       host, Port: port,
		JetStream: true, StoreDir: dir,
		// Without limits the server reserves three quarters of memory and disk.
		JetStreamMaxMemory: 256 << 20, JetStreamMaxStore: 64 << 30,
		// An acknowledged event must survive the loss of power; at one batch a
		// poll, syncing each costs nothing that matters.
		SyncAlways: true,
		NoSigs:     true, NoLog: true,
	})
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("make the embedded NATS server: %w", err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		s.Shutdown()
		lock.Close()
		return nil, fmt.Errorf("start the embedded NATS server: it does not listen on %s; is the port in use? Choose another with BRIDGE_EMBEDDED_LISTEN", listen)
	}
	return &Server{s, lock}, nil
}

// lockDir takes the directory for this process, which loses it when it ends,
// however it ends.
func lockDir(dir string) (*os.File, error) {
	if dir == "" {
		return nil, errors.New("the embedded NATS server needs a store directory: set BRIDGE_STORE_DIR")
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make the store directory: %w", err)
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

// URL is where clients connect.
func (s *Server) URL() string { return s.server.ClientURL() }

// Close stops the server and waits until all is on disk.
func (s *Server) Close() {
	s.server.Shutdown()
	s.server.WaitForShutdown()
	s.lock.Close()
}
