package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge"
	"bpcc-nats/bridge/capacity"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
)

// storeSpeed is how many times as fast as in reality the contact centre is whose events are stored: a
// poll every 100 ms is one every 2 s of its time.
const (
	storeSpeed = 20
	storePoll  = 100 * time.Millisecond
)

// storeGrowth is what a contact centre has stored in some time of its own.
type storeGrowth struct {
	agents  int
	changes uint64        // of the state of an agent
	span    time.Duration // of the contact centre's time
	events  uint64        // messages, checkpoints included
	bytes   int64         // by which the stream has grown, counted before compression
	disk    float64       // bytes on disk for one counted; 0 = not known: too little was stored
	view    int64         // bytes of the view, counted
	keys    uint64        // of the view
}

// perDay returns what a number that grew in the span grows by in a day.
func (g storeGrowth) perDay(n float64) float64 { return n / g.span.Hours() * 24 }

// write writes the result, and what it is for a day and 1,000 agents.
func (g storeGrowth) write(out io.Writer) error {
	thousand := 1000 / float64(g.agents)
	perEvent := float64(g.bytes) / float64(max(g.events, 1))
	bytesADay := g.perDay(float64(g.bytes)) * thousand
	onDisk := func(bytes float64, unit string, per float64) string {
		if g.disk == 0 {
			return "not known, too little was stored"
		}
		return fmt.Sprintf("%.2f %s", bytes*g.disk/per, unit)
	}
	_, err := fmt.Fprintf(out, `%d agents for %v of their time

                       counted        on disk
an event               %-14s %s
1,000 agents, a day    %-14s %s

%.1f changes of state of an agent an hour; %.1f events a second of 1,000 agents
the view holds %.0f bytes, counted, for each of %d keys
`, g.agents, g.span.Round(time.Second),
		fmt.Sprintf("%.0f bytes", perEvent), onDisk(perEvent, "bytes", 1),
		fmt.Sprintf("%.2f GB", bytesADay/1e9), onDisk(bytesADay, "GB", 1e9),
		float64(g.changes)/float64(g.agents)/g.span.Hours(), float64(g.events)/g.span.Seconds()*thousand, float64(g.view)/float64(max(g.keys, 1)), g.keys)
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// measureStore runs a bridge on a simulated contact centre with so many agents for that long, and
// measures by how much the store of the embedded server grows. activity is how much happens there; 1 is
// a busy day.
func measureStore(ctx context.Context, agents int, activity float64, span time.Duration) (g storeGrowth, err error) {
	dir, err := os.MkdirTemp("", "bench-store-")
	if err != nil {
		return g, fmt.Errorf("create directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	sim := bpcctest.NewServer(bpcctest.Config{})
	defer sim.Close()
	floor := bpcctest.NewFloor(sim.Tenant, bpcctest.FloorConfig{Agents: agents, Services: max(agents/7, 1), Seed: 1, Speed: storeSpeed * activity})
	server, err := stream.StartServer(dir, "127.0.0.1:0")
	if err != nil {
		return g, err
	}
	defer server.Close()
	c, _, err := config.Parse([]string{
		"BPCC_URL=" + sim.URL, "BPCC_CLIENT_ID=sim", "BPCC_CLIENT_SECRET=sim-secret", "BPCC_POLL_INTERVAL=" + storePoll.String(),
		"NATS_URL=" + server.URL(), "BRIDGE_TENANT=bench",
	}, config.ForBridge)
	if err != nil {
		return g, err
	}
	nc, err := nats.Connect(server.URL())
	if err != nil {
		return g, fmt.Errorf("connect to the server: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return g, fmt.Errorf("connect to the server: %w", err)
	}
	if _, err := stream.Provision(ctx, js, c.Stream, c.Times(), nil); err != nil {
		return g, err
	}
	fleet, err := bridge.NewFleet([]*config.Config{c}, js, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return g, err
	}
	runCtx, stop := context.WithCancel(ctx)
	floorDone, bridgeDone := make(chan struct{}), make(chan error, 1)
	go func() { defer close(floorDone); floor.Run(runCtx, storePoll/4) }()
	go func() { bridgeDone <- fleet.Run(runCtx) }()
	defer func() { stop(); <-floorDone; err = errors.Join(err, <-bridgeDone) }()

	measure := func() (events, view capacity.Stream, err error) {
		use, err := capacity.Measure(ctx, js, c.Stream, c.Times())
		events, _ = use.Find(capacity.Events)
		view, _ = use.Find(capacity.View)
		return events, view, err
	}
	// The first snapshot is no growth.
	var first capacity.Stream
	for first.Messages < uint64(agents) {
		if first, _, err = measure(); err != nil {
			return g, err
		}
		if err := wait(ctx, storePoll); err != nil {
			return g, err
		}
	}
	if err := wait(ctx, 10*storePoll); err != nil {
		return g, err
	}
	if first, _, err = measure(); err != nil {
		return g, err
	}
	began := time.Now()
	if err := wait(ctx, span); err != nil {
		return g, err
	}
	last, view, err := measure()
	if err != nil {
		return g, err
	}
	changes, err := countChanges(ctx, js, c)
	if err != nil {
		return g, err
	}
	g = storeGrowth{
		changes: changes, agents: agents, span: storeSpeed * time.Since(began), events: last.Messages - first.Messages, bytes: last.Bytes - first.Bytes,
		view: view.Bytes, keys: view.Messages,
	}
	g.disk, err = diskRatio(dir, c.Stream.Name, last.Bytes)
	return g, err
}

// countChanges counts the changes of the state of an agent.
func countChanges(ctx context.Context, js jetstream.JetStream, c *config.Config) (n uint64, err error) {
	events, err := js.Stream(ctx, c.Stream.Name)
	if err != nil {
		return 0, fmt.Errorf("count the changes of state: %w", err)
	}
	info, err := events.Info(ctx, jetstream.WithSubjectFilter("bpcc.v1.*.agent.*.state_changed"))
	if err != nil {
		return 0, fmt.Errorf("count the changes of state: %w", err)
	}
	for _, count := range info.State.Subjects {
		n += count
	}
	return n, nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// diskRatio returns how many bytes of the disk a stream with so many counted bytes takes for each of
// them; 0 if it has one block only. The server compresses a block when it begins the next: the last one
// is left out, on both sides.
func diskRatio(dir, name string, counted int64) (float64, error) {
	blocks, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", name, "msgs", "*.blk"))
	if err != nil {
		return 0, fmt.Errorf("find the blocks of stream %s: %w", name, err)
	}
	var last, lastCounted, disk int64
	for _, block := range blocks {
		info, err := os.Stat(block)
		if err != nil {
			return 0, fmt.Errorf("measure the blocks of stream %s: %w", name, err)
		}
		number, err := strconv.ParseInt(strings.TrimSuffix(filepath.Base(block), ".blk"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("measure the blocks of stream %s: %w", name, err)
		}
		if number > last {
			last, lastCounted = number, info.Size()
		}
	}
	for _, block := range blocks {
		var stat unix.Stat_t
		if err := unix.Stat(block, &stat); err != nil {
			return 0, fmt.Errorf("measure the blocks of stream %s: %w", name, err)
		}
		if filepath.Base(block) != strconv.FormatInt(last, 10)+".blk" {
			disk += stat.Blocks * 512
		}
	}
	if len(blocks) < 2 || counted <= lastCounted {
		return 0, nil
	}
	return float64(disk) / float64(counted-lastCounted), nil
}
