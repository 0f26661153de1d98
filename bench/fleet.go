package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// fleet is a run of one bridge process with many small tenants.
type fleet struct {
	tenants, agents int
	load            load
	interval        time.Duration
	// warm is the time limit for polling every tenant twice, span is the duration of the
	// measurement after that.
	warm, span time.Duration
}

// fleetResult is the result of a fleet's run.
type fleetResult struct {
	fleet
	started time.Duration // from the start of the process to the second poll of the last tenant
	// cost and server are the processor time used per second of time.
	cost, server float64
	peak         int             // resident, bytes
	polls        int             // in the span
	pollDelays   []time.Duration // of every poll, sorted, see [pollDelays]
	events       int             // stored in the span
}

// runFleet runs a fleet.
func (p programs) runFleet(ctx context.Context, f fleet) (r fleetResult, err error) {
	server, err := startNATS(ctx, p.nats)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, server.close()) }()
	var worlds []*world
	for range f.tenants {
		worlds = append(worlds, newWorld(f.agents, max(f.agents/20, 1), f.load))
	}
	sim, err := serve(worlds...)
	if err != nil {
		return r, err
	}
	defer sim.close()
	var list []map[string]string
	for i, t := range sim.list {
		t.targetPolls = 2
		list = append(list, map[string]string{"tenant": fmt.Sprintf("tenant%d", i), "url": sim.address(i)})
	}
	file := filepath.Join(server.dir, "tenants.json")
	body, err := json.Marshal(list)
	if err == nil {
		err = os.WriteFile(file, body, 0o600)
	}
	if err != nil {
		return r, fmt.Errorf("write tenants file: %w", err)
	}
	env, err := bridgeEnv(server, f.interval)
	if err != nil {
		return r, err
	}
	startedAt := time.Now()
	bridge, err := startProcess(server.dir, "bridge", append(env, "BRIDGE_TENANTS_FILE="+file), p.bridge, "run")
	if err != nil {
		return r, err
	}
	defer bridge.stop()
	limit := time.After(f.warm)
	for i, t := range sim.list {
		select {
		case <-t.targetReached:
		case <-bridge.exited:
			return r, bridge.exitError()
		case <-limit:
			return r, fmt.Errorf("tenant %d of %d was not polled twice in %v", i, f.tenants, f.warm)
		case <-ctx.Done():
			return r, ctx.Err()
		}
	}
	r = fleetResult{fleet: f, started: time.Since(startedAt)}
	from, cost, serverCost := time.Now(), bridge.cost(), server.cost()
	select {
	case <-time.After(f.span):
	case <-bridge.exited:
		return r, bridge.exitError()
	case <-ctx.Done():
		return r, ctx.Err()
	}
	to := time.Now()
	r.cost = float64(bridge.cost()-cost) / float64(to.Sub(from))
	r.server = float64(server.cost()-serverCost) / float64(to.Sub(from))
	if r.peak, err = bridge.peak(); err != nil {
		return r, err
	}
	bridge.stop() // so that the stream ends
	for _, t := range sim.list {
		t.mu.Lock()
		late := pollDelays(t.polls, from, to, f.interval)
		t.mu.Unlock()
		r.polls += len(late)
		r.pollDelays = append(r.pollDelays, late...)
	}
	slices.Sort(r.pollDelays)
	stored, err := readStored(ctx, server.js, bridgeStream, from)
	if err != nil {
		return r, err
	}
	r.events, _ = stored.countEvents(from, to)
	return r, nil
}

// pollDelays returns how much later than its scheduled time each poll between two times arrived.
// The earliest of all polls defines the schedule.
func pollDelays(polls []poll, from, to time.Time, interval time.Duration) []time.Duration {
	var late []time.Duration
	first := -1
	for i, p := range polls {
		if p.arrived.Before(from) || p.arrived.After(to) {
			continue
		}
		if first < 0 {
			first = i
		}
		late = append(late, p.arrived.Sub(polls[first].arrived)-time.Duration(i-first)*interval)
	}
	if len(late) == 0 {
		return nil
	}
	least := slices.Min(late)
	for i := range late {
		late[i] -= least
	}
	return late
}

// percentile returns the value below which a share of sorted values lies.
func percentile(sorted []time.Duration, share float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

// writeFleets writes the table of the runs with many tenants.
func (r *report) writeFleets(w io.Writer) {
	f := r.fleets[0]
	fmt.Fprintf(w, `
## %s tenants of %d agents in one process, a poll of each every %v

| rows changed | polls a second, due %s | events a second | bridge, processors | server, processors | peak MB | late p50, ms | p99, ms | all polled twice after, s |
|---|--:|--:|--:|--:|--:|--:|--:|--:|
`, formatThousands(f.tenants), f.agents, f.interval, formatNumber(float64(f.tenants)/f.interval.Seconds()))
	for _, f := range r.fleets {
		fmt.Fprintf(w, "| %s | %s | %s | %.2f | %.2f | %s | %s | %s | %s |\n", f.load.Name, formatNumber(float64(f.polls)/f.span.Seconds()),
			formatNumber(float64(f.events)/f.span.Seconds()), f.cost, f.server, formatNumber(mb(f.peak)),
			formatNumber(ms(percentile(f.pollDelays, 0.5))), formatNumber(ms(percentile(f.pollDelays, 0.99))), formatNumber(f.started.Seconds()))
	}
	fmt.Fprint(w, `
A processor is one fully busy; the simulated tenants take their share of the machine as well. A poll is late by as much as
its request came after the time that the tenant's interval gives, counted from its earliest poll.
`)
}
