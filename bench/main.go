// Command bench runs the bridge and its peers on the same work: a plain Go program and Bento with
// two configurations. Each is a separate process that polls a simulated tenant and writes to its
// own NATS server process. From the module's root:
//
//	go run ./bench           everything, about 40 minutes; writes bench/results.md and pictures
//	go run ./bench -smoke    a small floor, without Bento, in seconds; writes nothing
//	go run ./bench -store    what the events of a contact centre take in the store, in a minute; writes nothing
//
// All programs are built first; nats-server and Bento come from the Go module proxy. It runs only
// on Linux, because it reads /proc and its clocks.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the command-line options.
type options struct {
	agents, services     int
	sizes                []int
	polls, warm, rounds  int
	interval, slowest    time.Duration
	contenders           []string
	loads                []load
	out                  string
	programs             string
	skipTable, skipSizes bool
	tenants              int
	span                 time.Duration
	store                bool
	activity             float64
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	o := options{sizes: []int{100, 1000, 10_000, 50_000}, contenders: contenders(), loads: loads()}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.IntVar(&o.agents, "agents", 10_000, "agents of the table")
	f.IntVar(&o.polls, "polls", 8, "polls that are measured in each trial")
	f.IntVar(&o.warm, "warm", 3, "polls before them")
	f.IntVar(&o.rounds, "rounds", 3, "how often every trial of the table is run")
	f.DurationVar(&o.interval, "interval", 2*time.Second, "between polls")
	f.DurationVar(&o.slowest, "slowest", 5*time.Second, "between polls of more than 20,000 agents")
	f.StringVar(&o.out, "out", "bench", "directory for results.md and the pictures; empty for none")
	f.StringVar(&o.programs, "programs", "", "directory with built nats-server and bento, in which the bridge and plain are built")
	f.BoolVar(&o.skipTable, "no-table", false, "skip the table")
	f.BoolVar(&o.skipSizes, "no-sizes", false, "skip the cost against the number of agents")
	f.IntVar(&o.tenants, "tenants", 1000, "tenants of 50 agents in one process; 0 skips them")
	f.DurationVar(&o.span, "span", time.Minute, "how long they are measured")
	f.BoolVar(&o.store, "store", false, "measure alone what the events of a simulated contact centre take in the store, for -span with -agents (1000)")
	f.Float64Var(&o.activity, "activity", 1, "how much happens in the contact centre of -store; 1 is a busy day")
	only := f.String("only", strings.Join(o.contenders, ";"), "contenders, separated by semicolons")
	rows := f.String("loads", "", "rows of the table, such as \"0 %;clocks\"; empty for all")
	smoke := f.Bool("smoke", false, "a small floor, without Bento, to check that it works")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.store {
		given := map[string]bool{}
		f.Visit(func(f *flag.Flag) { given[f.Name] = true })
		if !given["agents"] {
			o.agents = 1000
		}
		if o.agents < 1 || o.activity <= 0 || o.span <= 0 {
			return o, errors.New("-store: -agents, -activity and -span must be above 0")
		}
		return o, nil
	}
	o.contenders = strings.Split(*only, ";")
	for _, name := range o.contenders {
		if !slices.Contains(contenders(), name) {
			return o, fmt.Errorf("-only: unknown contender %q; known are %s", name, strings.Join(contenders(), "; "))
		}
	}
	if *rows != "" {
		wanted := strings.Split(*rows, ";")
		o.loads = slices.DeleteFunc(o.loads, func(l load) bool { return !slices.Contains(wanted, l.Name) })
		if len(o.loads) != len(wanted) {
			return o, fmt.Errorf("-loads: unknown row in %q", wanted)
		}
	}
	if *smoke {
		o.agents, o.sizes, o.polls, o.warm, o.rounds, o.interval = 200, []int{100}, 2, 2, 1, 300*time.Millisecond
		o.contenders, o.out = []string{bridgeContender, plainContender}, ""
		o.tenants, o.span = 5, time.Second
	}
	o.services = o.agents / 20
	return o, nil
}

// loads are the rows of the table.
func loads() []load {
	return []load{
		{Name: "0 %"}, {Name: "1 %", Share: 0.01}, {Name: "10 %", Share: 0.1}, {Name: "100 %", Share: 1}, {Name: "clocks", Ticks: true},
	}
}

func run(ctx context.Context, args []string) (err error) {
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if o.store {
		growth, err := measureStore(ctx, o.agents, o.activity, o.span)
		if err != nil {
			return err
		}
		return growth.write(os.Stdout)
	}
	wanted := map[string]bool{}
	for _, name := range o.contenders {
		wanted[name] = true
	}
	dir := o.programs
	if dir == "" {
		if dir, err = os.MkdirTemp("", "bench-programs-"); err != nil {
			return fmt.Errorf("create directory: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	p, err := buildPrograms(ctx, dir, wanted, o.programs != "")
	if err != nil {
		return err
	}
	// The paths of programs on this machine are not written.
	shownArgs := slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a == o.programs || strings.HasPrefix(strings.TrimLeft(a, "-"), "programs") })
	rep := report{options: o, startedAt: time.Now(), args: shownArgs}
	for _, t := range o.benchRuns() {
		r, err := p.run(ctx, t)
		if err != nil {
			return fmt.Errorf("%s, %d agents, %s: %w", t.contender, t.agents, t.load.Name, err)
		}
		fmt.Fprintf(os.Stderr, "%-20s %6d agents  %-7s %8.2f ms a poll (server %6.2f)  stored after %7.2f ms  peak %6.1f MB  events %v\n",
			t.contender, t.agents, t.load.Name, ms(r.cost), ms(r.server), ms(median(r.latency)), mb(r.peak), r.events)
		rep.results = append(rep.results, r)
	}
	for _, f := range o.fleets() {
		r, err := p.runFleet(ctx, f)
		if err != nil {
			return fmt.Errorf("%d tenants, %s: %w", f.tenants, f.load.Name, err)
		}
		fmt.Fprintf(os.Stderr, "%d tenants, %s: %.2f processors (server %.2f), peak %.1f MB, %d polls, %d events, late p50 %.1f ms, p99 %.1f ms\n",
			f.tenants, f.load.Name, r.cost, r.server, mb(r.peak), r.polls, r.events, ms(percentile(r.pollDelays, 0.5)), ms(percentile(r.pollDelays, 0.99)))
		rep.fleets = append(rep.fleets, r)
	}
	return rep.write()
}

// benchRuns lists the runs, with the contenders in turn.
func (o options) benchRuns() []benchRun {
	var list []benchRun
	add := func(name string, agents int, l load) {
		t := benchRun{name, agents, max(agents/20, 1), l, o.interval, o.warm, o.polls}
		if agents > 20_000 {
			t.interval = o.slowest
		}
		list = append(list, t)
	}
	for range o.rounds {
		for _, l := range o.loads {
			for _, name := range o.contenders {
				if !o.skipTable {
					add(name, o.agents, l)
				}
			}
		}
	}
	for _, agents := range o.sizes {
		for _, l := range loads()[:3] {
			for _, name := range o.contenders {
				// The peers' curve is at 1 %; the table already contains the point at its size.
				known := agents == o.agents && !o.skipTable
				if !o.skipSizes && !known && (name == bridgeContender || l.Share == 0.01) {
					add(name, agents, l)
				}
			}
		}
	}
	return list
}

// fleets lists the runs with many tenants: clocks alone, and with one changed row.
func (o options) fleets() []fleet {
	if o.tenants == 0 {
		return nil
	}
	const agents = 50
	result := fleet{o.tenants, agents, load{Name: "clocks", Ticks: true}, o.interval, 2 * time.Minute, o.span}
	two := result
	two.load = load{Name: "clocks, and 1 row", Ticks: true, Share: 0.02}
	return []fleet{result, two}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func mb(bytes int) float64 { return float64(bytes) / (1 << 20) }
