// Command bridge carries the changes of a Bright Pattern contact centre to NATS
// JetStream.
//
//	bridge            the same as bridge run
//	bridge run        poll BPCC and publish what changes, until told to stop
//	bridge demo       all of it at once on this machine, without configuration
//	bridge check      look at the source step by step; publish nothing
//	bridge provision  make the streams and say what differs
//	bridge replay     print stored events as NDJSON
//	bridge verify     judge the stream, or an export of it, as an auditor would
//	bridge record     write down what the source shows; publish nothing
//	bridge backtest   run recordings through the bridge's engine, offline
//	bridge schemas    list the event types, or print the schema of one
//	bridge sim        the simulated contact centre alone
//	bridge health     ask the bridge that runs here whether it is ready
//	bridge version    what this program is
//
// Configuration is by environment variables; README.md lists them. Logs go to
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
	env            []string
	stdout, stderr io.Writer
}

// command is one subcommand.
type command struct {
	name, args, about string
	run               func(p *program, ctx context.Context, args []string) error
}

func commands() []command {
	return []command{
		{"run", "", "poll BPCC and publish what changes", (*program).runBridge},
		{"demo", "[--agents N] [--for DURATION]", "all of it at once on this machine, without configuration", (*program).demo},
		{"check", "", "look at the source step by step; publish nothing", (*program).check},
		{"provision", "", "make the streams and say what differs", (*program).provision},
		{"replay", "[--since 1h] [--subject FILTER] [--follow]", "print stored events as NDJSON", (*program).replay},
		{"verify", "[--since 1h] [--tenant NAME] [--json] [FILE]", "judge the stream, or an export of it, as an auditor would", (*program).verify},
		{"record", "[--out FILE] [--for DURATION]", "write down what the source shows; publish nothing", (*program).record},
		{"backtest", "[--rules FILE]... [--events all|thresholds] [--human] RECORDING...", "run recordings through the bridge's engine, offline", (*program).backtest},
		{"schemas", "[TYPE]", "list the event types, or print the schema of one", (*program).schemas},
		{"sim", "--listen ADDR", "the simulated contact centre alone", (*program).sim},
		{"health", "", "ask the bridge that runs here whether it is ready", (*program).health},
		{"version", "", "what this program is", (*program).version},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// Once the first signal has been heard, the next one has its usual effect.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// run is the program: it picks the command and turns its error into a status.
func run(ctx context.Context, args, env []string, stdout, stderr io.Writer) int {
	p := &program{env: env, stdout: stdout, stderr: stderr}
	name := "run"
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		name, args = args[0], args[1:]
	}
	if name == "help" || len(args) > 0 && (args[0] == "-h" || args[0] == "-help" || args[0] == "--help") && name == "run" {
		usage(stdout)
		return exitOK
	}
	for _, c := range commands() {
		if c.name != name {
			continue
		}
		err := c.run(p, ctx, args)
		switch {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return exitOK
		case errors.Is(err, errUsage):
			fmt.Fprintf(stderr, "bridge %s: %v\n", name, err)
			return exitUsage
		default:
			fmt.Fprintf(stderr, "bridge %s: %v\n", name, err)
			return exitFailed
		}
	}
	fmt.Fprintf(stderr, "bridge: there is no command %q\n\n", name)
	usage(stderr)
	return exitUsage
}

func usage(w io.Writer) {
	fmt.Fprint(w, "bridge carries the changes of a Bright Pattern contact centre to NATS JetStream.\n\nCommands:\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  bridge %-10s %s\n", c.name, c.about)
	}
	fmt.Fprint(w, "\nbridge COMMAND --help tells more. Try it without any configuration:\n\n  bridge demo\n")
}

// flags makes the flag set of a command; its --help tells the command's use.
func (p *program) flags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(p.stderr)
	f.Usage = func() {
		for _, c := range commands() {
			if c.name == name {
				fmt.Fprintf(p.stderr, "bridge %s %s\n    %s\n", c.name, c.args, c.about)
			}
		}
		f.PrintDefaults()
	}
	return f
}

// parse reads a command's flags and refuses what is left over.
func parse(f *flag.FlagSet, args []string, most int) error {
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if f.NArg() > most {
		return fmt.Errorf("%w: unexpected argument %q", errUsage, f.Arg(most))
	}
	return nil
}

// buildVersion is the module's version as the Go toolchain recorded it.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}

func (p *program) version(_ context.Context, args []string) error {
	if err := parse(p.flags("version"), args, 0); err != nil {
		return err
	}
	_, err := fmt.Fprintln(p.stdout, "bridge", buildVersion())
	return err
}
