// Command bridge carries the changes of a Bright Pattern contact centre to NATS
// JetStream.
//
//	bridge             the same as bridge run
//	bridge run         poll BPCC and publish what changes, until a signal
//	bridge demo        run everything on this machine, without configuration
//	bridge check       check BPCC and NATS step by step; publish nothing
//	bridge provision   create the streams and report what differs
//	bridge state       show the current state, or that of a time in the past
//	bridge report      sum up who was in which state for how long
//	bridge replay      print stored events, or publish them again under another prefix
//	bridge export      write a range of the stream into a bundle of evidence
//	bridge verify      check the stream, or an export of it
//	bridge head        print the newest checkpoint, for safekeeping elsewhere
//	bridge erase       erase one person from stream and view
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
// SIGTERM stops the command gracefully, a second one at once. At SIGHUP bridge run reads
// its configuration again.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"bpcc-nats/cmd/bridge/internal/console"
	"bpcc-nats/cmd/bridge/internal/reader"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// program is the environment of a command: variables and standard streams.
type program struct {
	env []string
	// out and err write to standard output and standard error for people.
	out, err *console.Console
	// data is standard output for programs, byte for byte.
	data io.Writer
}

func newProgram(env []string, stdout, stderr io.Writer) *program {
	return &program{env: env, out: console.New(stdout, env), err: console.New(stderr, env), data: stdout}
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

// endAtHangup returns a context that ends, too, when the terminal is closed (SIGHUP), so that a command stops in
// order. After nohup the signal is ignored.
func endAtHangup(ctx context.Context) (context.Context, func()) {
	if signal.Ignored(syscall.SIGHUP) {
		return ctx, func() {}
	}
	return signal.NotifyContext(ctx, syscall.SIGHUP)
}

// twoDashes writes flags such as -human as --human: the commands have no flags of one letter but -h,
// and no name of a flag begins with a digit.
func twoDashes(args []string) []string {
	out := slices.Clone(args)
	for i, arg := range out {
		if arg == "--" {
			break
		}
		if len(arg) > 2 && arg[0] == '-' && arg[1] >= 'a' && arg[1] <= 'z' {
			out[i] = "-" + arg
		}
	}
	return out
}

// run is the program: it runs the command and turns its error into a status.
func run(ctx context.Context, args, env []string, stdout, stderr io.Writer) int {
	p := newProgram(env, stdout, stderr)
	if len(args) == 0 {
		args = []string{"run"}
	}
	args = twoDashes(args)
	if args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd {
		// The library writes errors of completion to os.Stderr itself, with what was typed.
		for i := range args {
			args[i] = console.Visible(args[i])
		}
	}
	root := p.root()
	root.SetArgs(args)
	c, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	// There is nobody to report to if this fails.
	_ = p.err.Error(c.CommandPath(), err)
	if errors.Is(err, reader.ErrUsage) {
		return exitUsage
	}
	return exitFailed
}
