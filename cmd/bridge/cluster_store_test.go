//go:build linux

package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// What happens to the streams themselves: older backups are restored, the view is deleted or loses keys,
// and the servers change to another release.

const (
	eventsStream = "BPCC_EVENTS"
	viewStream   = "KV_bpcc_state"
)

// streamBackup is a stream as `nats stream backup` stores it.
type streamBackup struct {
	config, state json.RawMessage
	chunks        [][]byte
}

// streamReply is what the requests of a backup and of a restore are answered with.
type streamReply struct {
	Error          *struct{ Description string }
	Config, State  json.RawMessage
	DeliverSubject string `json:"deliver_subject"`
}

// requestStream sends a request of the JetStream API.
func requestStream(nc *nats.Conn, subject string, request any) (streamReply, error) {
	var reply streamReply
	body, err := json.Marshal(request)
	if err != nil {
		return reply, err
	}
	msg, err := nc.Request(subject, body, 10*time.Second)
	if err != nil {
		return reply, fmt.Errorf("%s: %w", subject, err)
	}
	if err := json.Unmarshal(msg.Data, &reply); err != nil {
		return reply, fmt.Errorf("%s: %w", subject, err)
	}
	if reply.Error != nil {
		return reply, fmt.Errorf("%s: %s", subject, reply.Error.Description)
	}
	return reply, nil
}

// backUpStream makes a backup by the requests of the nats CLI.
func backUpStream(nc *nats.Conn, stream string) (*streamBackup, error) {
	inbox := nats.NewInbox()
	chunks, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer chunks.Unsubscribe()
	reply, err := requestStream(nc, "$JS.API.STREAM.SNAPSHOT."+stream, map[string]any{"deliver_subject": inbox, "no_consumers": true, "chunk_size": 128 << 10})
	if err != nil {
		return nil, err
	}
	b := &streamBackup{config: reply.Config, state: reply.State}
	for {
		chunk, err := chunks.NextMsg(10 * time.Second)
		if err != nil {
			return nil, fmt.Errorf("backup of %s: %w", stream, err)
		}
		if len(chunk.Data) == 0 {
			return b, nil
		}
		b.chunks = append(b.chunks, bytes.Clone(chunk.Data))
		if chunk.Reply != "" {
			if err := chunk.Respond(nil); err != nil {
				return nil, err
			}
		}
	}
}

// restore deletes the stream, if there is one, and restores it as the nats CLI does. No server has it in between:
// a server may still remove it, or what is left of a restore that has failed, when it is there again already,
// and then lacks it after a restart.
func (f *testFleet) restore(ctx context.Context, b *streamBackup, stream string) error {
	// There may be none.
	_ = f.js.DeleteStream(ctx, stream)
	for _, s := range f.servers {
		for s.hasStream(stream) {
			if !sleep(ctx, 100*time.Millisecond) {
				return fmt.Errorf("restore of %s: %s has it after its deletion", stream, s.name)
			}
		}
	}
	nc := f.nc
	reply, err := requestStream(nc, "$JS.API.STREAM.RESTORE."+stream, map[string]any{"config": b.config, "state": b.state})
	if err != nil {
		return err
	}
	for _, chunk := range append(slices.Clone(b.chunks), nil) {
		msg, err := nc.Request(reply.DeliverSubject, chunk, 10*time.Second)
		if err != nil {
			return fmt.Errorf("restore of %s: %w", stream, err)
		}
		if bytes.Contains(msg.Data, []byte(`"error"`)) {
			return fmt.Errorf("restore of %s: %s", stream, msg.Data)
		}
	}
	return nil
}

// replacedStream is what the stream held when an older backup replaced it.
type replacedStream struct {
	records []record
	kept    uint64 // the last sequence of the backup
	// viewToo reports that the view was replaced too. Nothing is left then of what came after the
	// backup, and its ids are given again.
	viewToo bool
}

// lost are the events that the backup does not hold.
func (p *replacedStream) lost() []record {
	return slices.DeleteFunc(slices.Clone(p.records), func(r record) bool { return r.seq <= p.kept })
}

// retry repeats what the servers may refuse for a moment; the last error counts.
func (s *faultInjector) retry(what string, do func(context.Context) error) bool {
	var err error
	if s.fleet.waitUntil(time.Minute, func() bool {
		ctx, cancel := context.WithTimeout(s.fleet.t.Context(), 20*time.Second)
		defer cancel()
		err = do(ctx)
		return err == nil
	}) {
		return true
	}
	s.unrecovered = append(s.unrecovered, fmt.Sprintf("%s: %v", what, err))
	return false
}

// backUp makes backups of stream and view while the bridges work, for later.
func (s *faultInjector) backUp() {
	backups := map[string]*streamBackup{}
	for _, stream := range []string{eventsStream, viewStream} {
		s.retry("backup of "+stream, func(context.Context) (err error) {
			backups[stream], err = backUpStream(s.fleet.nc, stream)
			return err
		})
	}
	if len(backups) == 2 {
		s.backups = backups
		s.fleet.t.Logf("%s backup", time.Now().Format("15:04:05.000"))
	}
}

// restoreFault stops the bridges, restores the last backup of these streams, and starts the bridges.
func restoreFault(streams ...string) func(*faultInjector, context.Context) bool {
	return func(s *faultInjector, _ context.Context) bool {
		if s.backups == nil {
			return false // none could be made, which is noted
		}
		for _, b := range s.fleet.bridges {
			s.stop(b)
		}
		p := replacedStream{viewToo: len(streams) == 2}
		if slices.Contains(streams, eventsStream) {
			s.retry("read the stream before its restore", func(ctx context.Context) (err error) {
				p.records, err = readStream(ctx, s.fleet.js)
				return err
			})
		}
		for _, stream := range streams {
			s.retry("restore of "+stream, func(ctx context.Context) error { return s.fleet.restore(ctx, s.backups[stream], stream) })
		}
		if p.records != nil {
			s.retry("read the restored stream", func(ctx context.Context) error {
				restored, err := readStream(ctx, s.fleet.js)
				if err == nil && len(restored) == 0 {
					err = fmt.Errorf("it is empty")
				}
				if err == nil {
					p.kept = restored[len(restored)-1].seq
				}
				return err
			})
			s.replaced = append(s.replaced, p)
			s.fleet.t.Logf("%d of %d events are lost", len(p.lost()), len(p.records))
		}
		s.viewHarmed, s.backups = true, nil
		s.start(s.fleet.bridges...)
		return false
	}
}

// deleteView deletes the view while the bridges work, which make it again.
func (s *faultInjector) deleteView(context.Context) bool {
	s.viewHarmed = true
	if !s.retry("deletion of the view", func(ctx context.Context) error { return s.fleet.js.DeleteStream(ctx, viewStream) }) {
		return false
	}
	s.retry("the view after its deletion", func(ctx context.Context) error {
		_, err := s.fleet.js.Stream(ctx, viewStream)
		return err
	})
	return false
}

// purgeView purges keys of the view: of an agent to whom nothing happens, so that only the bridge can
// bring it back, and of some others. A threshold comes back with its next event, so none is chosen.
func (s *faultInjector) purgeView(context.Context) bool {
	s.viewHarmed = true
	const prefix = "$KV.bpcc_state.acme."
	var others []string
	if !s.retry("keys of the view", func(ctx context.Context) error {
		view, err := s.fleet.js.Stream(ctx, viewStream)
		if err != nil {
			return err
		}
		info, err := view.Info(ctx, jetstream.WithSubjectFilter(prefix+"*.*"))
		if err == nil {
			others = slices.Sorted(maps.Keys(info.State.Subjects))
		}
		return err
	}) {
		return false
	}
	var subjects []string
	if len(s.quiet) > 0 {
		subjects, s.quiet = append(subjects, prefix+"agent."+encodeToken(s.quiet[0])), s.quiet[1:]
	}
	for range min(5, len(others)) {
		subjects = append(subjects, pickRandom(s.rand, others))
	}
	s.retry("purge of keys of the view", func(ctx context.Context) error {
		view, err := s.fleet.js.Stream(ctx, viewStream)
		for _, subject := range subjects {
			if err == nil {
				err = view.Purge(ctx, jetstream.WithPurgeSubject(subject))
			}
		}
		return err
	})
	return false
}

// changeRelease brings all servers, one after the other, from the oldest release to the newest, or back.
func (s *faultInjector) changeRelease(context.Context) bool {
	program := s.programs.server
	if s.upgraded {
		program = s.programs.oldestServer
	}
	s.upgraded = !s.upgraded
	for _, i := range s.rand.Perm(len(s.fleet.servers)) {
		n := s.fleet.servers[i]
		if s.rand.IntN(2) == 0 {
			s.stop(n)
		} else {
			n.stop(syscall.SIGKILL, time.Second)
		}
		n.setProgram(program)
		s.start(n)
		if !s.settle(s.fleet.serversHealthy) {
			s.unrecovered = append(s.unrecovered, n.name+" is not healthy a minute after its change of release")
		}
	}
	return false
}

// changeClock restarts a bridge with a clock that is off, or with the right one again, and then the other
// bridge, so that it leads.
func (s *faultInjector) changeClock(ctx context.Context) bool {
	if s.skewed == nil {
		s.skewed = pickRandom(s.rand, s.fleet.bridges)
		offset := time.Duration(3+s.rand.IntN(118)) * time.Second
		if s.rand.IntN(2) == 0 {
			offset = -offset
		}
		s.restartWithClock(s.skewed, offset)
	} else {
		s.restartWithClock(s.skewed, 0)
		s.skewed = nil
	}
	s.settle(s.fleet.healthy)
	s.stopLeader(ctx)
	return false
}

func (s *faultInjector) restartWithClock(n *node, offset time.Duration) {
	s.fleet.t.Logf("the clock of %s is %v ahead", n.name, offset)
	s.stop(n)
	n.setClock(offset)
	s.history.setClock(n.name, offset)
	s.start(n)
}
