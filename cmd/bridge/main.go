// Command bridge carries the changes of a Bright Pattern contact centre to NATS
// JetStream.
//
//	bridge             the same as bridge run
//	bridge run         poll BPCC and publish what changes, until told to stop
//	bridge demo        all of it at once on this machine, without configuration
//	bridge check       examine BPCC and NATS step by step; publish nothing
//	bridge provision   make the streams and say what differs
//	bridge state       show the present picture
//	bridge replay      print stored events, or publish them again elsewhere
//	bridge verify      judge the stream, or an export of it, as an auditor would
//	bridge record      write down what the source shows; publish nothing
//	bridge backtest    run recordings through the bridge's engine, offline
//	bridge schemas     list the event types, or print the schema of one
//	bridge sim         the simulated contact centre alone
//	bridge health      ask the bridge that runs here whether it is ready
//	bridge completion  make a shell complete these words
//	bridge version     what this program is
//
// Configuration is by environment variables; docs/running.md lists them. Logs go to
// standard error, results to standard output. The exit status is 0 when all went
// well, 1 when something failed, 2 for wrong usage or configuration. The first
// SIGINT or SIGTERM ends the work in order, a second one at once.
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

// errUsage is wrapped by errors that a different command line would mend.
var errUsage = errors.New("wrong usage")

// program is what a command may touch of the world outside.
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
// A poll allocates little beside what is kept: a fifth of Go's own 100 costs a few
// hundredths of the processor time, and saves a tenth of the memory. GOGC rules, if set.
const gcPercent = 20

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// Once the first signal has been heard, the next one has its usual effect.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// run is the program: it picks the command and turns its error into a status.
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
	p.err.printf("bridge: there is no command %q; did you mean %s? bridge help lists all\n", name, closestName(name))
	return exitUsage
}

// flags makes the flag set of a command. What it would print by itself is left
// to run.
func (p *program) flags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	p.current = f
	return f
}

// parseFlags reads a command's flags and refuses what is left over.
func parseFlags(f *flag.FlagSet, args []string, limit int) error {
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w: %w; bridge %s --help tells more", errUsage, err, f.Name())
	}
	if f.NArg() > limit {
		return fmt.Errorf("%w: unexpected argument %q", errUsage, f.Arg(limit))
	}
	return nil
}
