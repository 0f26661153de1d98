package test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// placesVariable holds what stands for a reader's own addresses and files: lines, in turn what the
// documents say and what is there.
const placesVariable = "TEST_PLACES"

// typed is a program for the scripts: it runs one command as a reader of the documents types it.
//
//	typed [flags] COMMAND
//
// The output of the command, both kinds together, goes to the standard output. The status is 0 if the command ends
// within two minutes as the flags say. What a command exports, and where it goes by cd, holds for the
// later ones of the script.
func typed() {
	var (
		change   replacements
		until    = flag.String("until", "", "interrupt the command when its output matches, or close its terminal")
		during   = flag.Duration("for", 0, "interrupt the command after this time")
		status   = flag.Int("status", 0, "the status that it ends with")
		terminal = flag.Bool("terminal", false, "give it a terminal")
	)
	flag.Var(&change, "replace", "`OLD=>NEW`: how it differs from the document")
	flag.Parse()
	s, err := runTyped(flag.Arg(0), change, *until, *during, *status, *terminal)
	if s != nil {
		fmt.Print(s.printed())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

var ownCommand = regexp.MustCompile(`\bbridge [a-z]`)

func runTyped(command string, change replacements, until string, during time.Duration, status int, terminal bool) (*shell, error) {
	script, err := change.apply(command)
	if err != nil {
		return nil, err
	}
	script = strings.NewReplacer(strings.Split(os.Getenv(placesVariable), "\n")...).Replace(script)
	pattern, err := regexp.Compile("(?m)" + until)
	if err != nil {
		return nil, err
	}
	profile := filepath.Join(os.Getenv("WORK"), "profile")
	before, err := os.ReadFile(profile)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	if strings.HasPrefix(script, "export ") || strings.HasPrefix(script, "cd ") {
		if err := os.WriteFile(profile, append(before, script+"\n"...), 0o600); err != nil {
			return nil, err
		}
	}
	s, err := startShell(string(before)+script, "", os.Environ(), terminal)
	if err != nil {
		return nil, err
	}
	if until == "" && during == 0 {
		if !s.waitEnd(2 * time.Minute) {
			s.stop(syscall.SIGINT)
			return s, fmt.Errorf("%s: it does not end", script)
		}
		if got := s.cmd.ProcessState.ExitCode(); got != status {
			return s, fmt.Errorf("%s: status %d, want %d", script, got, status)
		}
		return s, nil
	}
	if during > 0 {
		if s.waitEnd(during) {
			return s, fmt.Errorf("%s: it ended by itself", script)
		}
	} else if !s.waitFor(pattern, time.Minute) {
		s.stop(syscall.SIGINT)
		return s, fmt.Errorf("%s: no output like %s", script, until)
	}
	signal := syscall.SIGINT
	if terminal { // it is closed; what asks on a terminal takes no interrupt
		signal = syscall.SIGHUP
	}
	// Where the parent ignores SIGHUP, as nohup does, so does what asks on a terminal: it is killed.
	if heeded := s.stop(signal); !heeded && !terminal {
		return s, fmt.Errorf("%s: an interrupt does not end it", script)
	}
	// The programs of others end as they like.
	if ownCommand.MatchString(script) && !s.endedWell() {
		return s, fmt.Errorf("%s: status %d after an interrupt", script, s.cmd.ProcessState.ExitCode())
	}
	return s, nil
}
