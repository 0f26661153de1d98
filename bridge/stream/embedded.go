package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sys/unix"

	"bpcc-nats/bridge/config"
)

// ErrStoreInUse is returned by [StartServer] when another process uses the store directory. The
// server itself would not notice, and would corrupt it.
var ErrStoreInUse = errors.New("store directory is in use by another process")

// Server is a NATS server with JetStream inside this process, for a bridge without a configured
// server. Every NATS client on this machine can connect to it.
type Server struct {
	options   server.Options
	max       config.Size // of what is stored; 0 follows the disk
	log       *slog.Logger
	serverLog *serverLog
	lock      *os.File

	end  context.CancelFunc
	done sync.WaitGroup

	mu     sync.Mutex
	server *server.Server // guarded by mu; replaced after a failed write
	status StoreStatus    // guarded by mu
}

// StartServer starts a server on listen (host:port; port 0 selects a free one) that stores its
// streams below dir and is ready when it returns. An empty dir is refused. The limit of the store
// is derived from the disk, and nothing is logged.
func StartServer(dir, listen string) (*Server, error) {
	return StartEmbedded(&config.Config{StoreDir: dir, EmbeddedListen: listen}, slog.New(slog.DiscardHandler))
}

// StartEmbedded is [StartServer] with the settings of a configuration. It sets NATSURL to the
// server's address, and logs the server's warnings and errors.
func StartEmbedded(c *config.Config, log *slog.Logger) (*Server, error) {
	host, portText, err := net.SplitHostPort(c.EmbeddedListen)
	if err != nil {
		return nil, fmt.Errorf("parse listen address of the embedded server: %w", err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, fmt.Errorf("parse listen address of the embedded server: port %q is not a number", portText)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	lock, err := lockDir(c.StoreDir)
	if err != nil {
		return nil, err
	}
	s := &Server{max: c.StoreMax, log: log, serverLog: newServerLog(log), lock: lock, options: server.Options{
		ServerName: "bpcc-bridge-embedded",
		Host:       host, Port: port,
		JetStream: true, StoreDir: c.StoreDir,
		// Without a limit the server reserves three quarters of memory.
		JetStreamMaxMemory: 256 << 20,
		// With a limit of its own the server refuses all messages at the limit, leases first. So
		// the stream of events limits the store.
		JetStreamMaxStore: 1 << 62,
		// An acknowledged event must survive the loss of power. With one batch a poll, syncing each
		// one is cheap.
		SyncAlways: true,
		NoSigs:     true, NoLog: true,
	}}
	if err := s.start(); err != nil {
		lock.Close()
		return nil, err
	}
	if s.status.Limit, err = s.storeMax(s.Used()); err != nil {
		s.shutdown()
		lock.Close()
		return nil, err
	}
	ctx, end := context.WithCancel(context.Background())
	s.end = end
	s.done.Go(func() { s.keepRunning(ctx) })
	c.NATSURL = s.URL()
	return s, nil
}

// start starts a server on the store, on the same port as the previous one.
func (s *Server) start() error {
	options := s.options
	ns, err := server.NewServer(&options)
	if err != nil {
		return fmt.Errorf("create the embedded NATS server: %w", err)
	}
	ns.SetLogger(s.serverLog, false, false)
	s.serverLog.begin()
	ns.Start()
	fatal := s.serverLog.begun()
	if fatal == "" && ns.ReadyForConnections(10*time.Second) {
		address, ok := ns.Addr().(*net.TCPAddr)
		if ok {
			s.options.Port = address.Port
			s.mu.Lock()
			defer s.mu.Unlock()
			s.server = ns
			return nil
		}
	}
	ns.Shutdown()
	ns.WaitForShutdown()
	if fatal == "" {
		fatal = "not listening on " + net.JoinHostPort(options.Host, strconv.Itoa(options.Port))
	}
	return fmt.Errorf("start the embedded NATS server: %s (BRIDGE_EMBEDDED_LISTEN, BRIDGE_STORE_DIR)", fatal)
}

const (
	// restartRoom is how much of the disk must be free before a server that could not write is
	// restarted.
	restartRoom = 16 << 20
	// restartWait is the wait before the next attempt.
	restartWait = time.Second
)

// keepRunning starts the server again after it could not write, since a stream that was
// not written once takes nothing more until then.
func (s *Server) keepRunning(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.serverLog.broken:
		}
		s.log.Error("store cannot be written", "dir", s.options.StoreDir,
			"hint", fmt.Sprintf("free %v or more on its disk; the embedded server then restarts by itself", config.Size(restartRoom)))
		if !s.restart(ctx) {
			return
		}
		s.log.Info("embedded server started again", "url", s.URL())
	}
}

// restart waits until the store is writable and replaces the server. It reports whether it did so
// before ctx ended.
func (s *Server) restart(ctx context.Context) bool {
	logged := ""
	for {
		if s.writable() {
			s.shutdown()
			err := s.start()
			if err == nil {
				return true
			}
			if err.Error() != logged {
				logged = err.Error()
				s.log.Error("embedded server not started", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(restartWait):
		}
	}
}

// writable reports whether the store's directory has room and can be written to.
func (s *Server) writable() bool {
	if free, err := freeBytes(s.options.StoreDir); err != nil || free < restartRoom {
		return false
	}
	probe, err := os.CreateTemp(s.options.StoreDir, "probe-")
	if err != nil {
		return false
	}
	defer os.Remove(probe.Name())
	_, err = probe.Write(make([]byte, 4096))
	return errors.Join(err, probe.Sync(), probe.Close()) == nil
}

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

// current returns the server that runs now.
func (s *Server) current() *server.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.server
}

// URL is the address for clients.
func (s *Server) URL() string { return s.current().ClientURL() }

func (s *Server) shutdown() {
	s.current().Shutdown()
	s.current().WaitForShutdown()
}

// Close stops the server and waits until all data is on disk.
func (s *Server) Close() {
	s.end()
	s.done.Wait()
	s.shutdown()
	s.lock.Close()
}
