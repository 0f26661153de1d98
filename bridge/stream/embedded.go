package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"bpcc-nats/bridge/config"
)

// ErrStoreInUse is returned by [StartServer] when another process uses the store directory. The
// server itself would not notice, and would corrupt it.
var ErrStoreInUse = errors.New("store directory is in use by another process")

// EmbeddedName is the name of the embedded server among NATS servers.
const EmbeddedName = "bpcc-bridge-embedded"

// Server is a NATS server with JetStream inside this process, for a bridge without a configured
// server. Every NATS client on this machine can connect to it.
type Server struct {
	options   server.Options
	max       config.Size // of what is stored; 0 follows the disk
	log       *slog.Logger
	serverLog *serverLog
	lock      *os.File
	former    []string // instances of the processes that had the lock before

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
	return StartEmbedded(context.Background(), config.Embedded{StoreDir: dir, Listen: listen}, slog.New(slog.DiscardHandler))
}

// StartEmbedded is [StartServer] with the settings of a configuration. It logs the server's warnings
// and errors. The error is the cause of ctx if that ends first; then the process should end, since the
// server reads its store on and releases the lock only afterwards.
func StartEmbedded(ctx context.Context, c config.Embedded, log *slog.Logger) (*Server, error) {
	host, portText, err := net.SplitHostPort(c.Listen)
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
	former, err := readFormer(lock)
	if err == nil {
		err = checkListen(ctx, c.Listen)
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	s := &Server{former: former, max: c.StoreMax, log: log, serverLog: newServerLog(log), lock: lock, options: server.Options{
		ServerName: EmbeddedName,
		Host:       host, Port: port,
		JetStream: true, StoreDir: c.StoreDir,
		// Without a limit the server reserves three quarters of memory.
		JetStreamMaxMemory: 256 << 20,
		// With a limit of its own the server refuses all messages at the limit, leases first. So
		// the stream of events limits the store.
		JetStreamMaxStore: int64(config.StoreMaxMost),
		// An acknowledged event must survive the loss of power. With one batch a poll, syncing each
		// one is cheap.
		SyncAlways: true,
		NoSigs:     true, NoLog: true,
	}}
	started := make(chan error, 1)
	go func() { started <- s.start() }()
	select {
	case err = <-started:
	case <-ctx.Done():
		// JetStream reads its store, which can take minutes and cannot be interrupted.
		go func() {
			if <-started == nil {
				s.shutdown()
			}
			lock.Close()
		}()
		return nil, fmt.Errorf("start the embedded NATS server: %w", context.Cause(ctx))
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	if s.status.Limit, err = s.storeMax(s.Used()); err != nil {
		s.shutdown()
		lock.Close()
		return nil, err
	}
	runCtx, end := context.WithCancel(context.Background())
	s.end = end
	s.done.Go(func() { s.keepRunning(runCtx) })
	return s, nil
}

// checkListen checks that the server will be able to listen. The server listens only after it has read
// its store.
func checkListen(ctx context.Context, address string) error {
	var l net.Listener
	var config net.ListenConfig
	err := ctx.Err()
	if err == nil {
		l, err = config.Listen(ctx, "tcp", address)
	}
	if err != nil {
		return fmt.Errorf("listen for NATS clients: %w; set BRIDGE_EMBEDDED_LISTEN to another address", err)
	}
	return l.Close()
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
		err := s.StoreError()
		s.log.Error("store cannot be written", "dir", s.options.StoreDir, "err", err, "hint", StorageHint(err))
		if !s.restart(ctx) {
			return
		}
		s.serverLog.recovered()
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
