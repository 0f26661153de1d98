// Command bridge carries the changes of a Bright Pattern contact centre to NATS
// JetStream.
//
//	bridge             the same as bridge run
//	bridge run         poll BPCC and publish what changes, until a signal
//	bridge demo        run everything on this machine, without configuration
//	bridge check       check BPCC and NATS step by step; publish nothing
//	bridge provision   create the streams and report what differs
//	bridge state       show the current state
//	bridge replay      print stored events, or publish them again under another prefix
//	bridge verify      check the stream, or an export of it
//	bridge record      record the source's responses; publish nothing
//	bridge backtest    run recordings through the bridge's engine, offline
//	bridge schemas     list the event types, or print the schema of one
//	bridge sim         run the simulated contact centre alone
//	bridge health      report whether the bridge on this machine is ready
//	bridge completion  print a shell completion script
//	bridge version     print the version
//
// Configuration is by environment variables; docs/running.md lists them. Logs go to
// standard error, results to standard output. The exit status is 0 for
// success, 1 for a failure, 2 for wrong usage or configuration. The first SIGINT or
// SIGTERM stops the command gracefully, a second one at once.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// errUsage is wrapped by errors of the command line or the configuration.
var errUsage = errors.New("wrong usage")

// program is the environment of a command: variables and standard streams.
type program struct {
	env []string
	// out and err write to standard output and standard error for people.
	out, err *console
	// data is standard output for programs.
	data io.Writer

	current *flag.FlagSet // of the command that runs; nil before it has any
}

func newProgram(env []string, stdout, stderr io.Writer) *program {
	return &program{env: env, out: newConsole(stdout, env), err: newConsole(stderr, env), data: stdout}
}

// gcPercent is by how much, in percent, the heap may grow before it is collected.
// A poll allocates little compared to what is kept: a fifth of Go's default of 100
// costs a few percent of the CPU time and saves a tenth of the memory. GOGC, if set,
// has precedence.
const gcPercent = 20

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// After the first signal the next one has its default effect.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// run is the program: it runs the command and turns its error into a status.
func run(ctx context.Context, args, env []string, stdout, stderr io.Writer) int {
	p := newProgram(env, stdout, stderr)
	name, named := "run", len(args) > 0 && args[0] != "" && args[0][0] != '-'
	if named {
		name, args = args[0], args[1:]
	}
	requested := len(args) > 0 && (args[0] == "-h" || args[0] == "-help" || args[0] == "--help")
	switch {
	case name == "help" && len(args) > 0 && !requested:
		name, args = args[0], []string{"--help"} // bridge help COMMAND
	case name == "help", requested && !named:
		usage(p.out)
		return exitOK
	}
	for _, c := range commands() {
		if c.name != name {
			continue
		}
		err := c.run(p, ctx, args)
		switch {
		case err == nil:
			return exitOK
		case errors.Is(err, flag.ErrHelp):
			c.help(p.out, p.current)
			return exitOK
		}
		p.err.printf("bridge %s: %s\n", name, visibleLines(err.Error()))
		if errors.Is(err, errUsage) {
			return exitUsage
		}
		return exitFailed
	}
	p.err.printf("bridge: unknown command %q; the closest is %s; bridge help lists all\n", name, closestName(name))
	return exitUsage
}

// flags makes the flag set of a command. The set prints nothing; run prints errors and
// help.
func (p *program) flags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	p.current = f
	return f
}

// parseFlags parses a command's flags and refuses more than limit arguments.
func parseFlags(f *flag.FlagSet, args []string, limit int) error {
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w: %w; bridge %s --help lists the flags", errUsage, err, f.Name())
	}
	if f.NArg() > limit {
		return fmt.Errorf("%w: unexpected argument %q", errUsage, f.Arg(limit))
	}
	return nil
}
