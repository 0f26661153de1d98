package main

import (
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"bpcc-nats/bridge/event"
	"bpcc-nats/cmd/bridge/internal/reader"
)

// TestReplaySaysItsZone: a date is taken in the local zone and printed with it, apart from the
// events; and clocks for people have their zone.
func TestReplaySaysItsZone(t *testing.T) {
	t.Parallel()
	_, env := serverWithDay(t)
	midnight := time.Date(2020, 1, 2, 0, 0, 0, 0, time.Local).Format(time.RFC3339)
	for _, command := range []string{"replay", "verify"} {
		r := runCommand(t, t.Context(), env, command, "--since", "2020-01-02")
		if r.status != exitOK || !strings.Contains(r.stderr, "--since is "+midnight) {
			t.Errorf("%s: status %d\n%s", command, r.status, r.stderr)
		}
		if command == "replay" && strings.Count(r.stdout, "\n") != len(goldenDay(t)) {
			t.Errorf("events:\n%s", r.stdout)
		}
	}
	r := runCommand(t, t.Context(), env, "replay", "--human")
	clock := regexp.MustCompile(`^\d\d:\d\d:\d\d[+-]\d\d:\d\d  `)
	for line := range strings.Lines(r.stdout) {
		if !clock.MatchString(line) {
			t.Errorf("no zone: %s", line)
		}
	}
	var first event.Event
	for _, body := range goldenDay(t) {
		v, err := event.ReadEnvelope([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if first, err = v.Event(); err == nil && first.Verb() == "started" {
			break
		}
	}
	if want := first.Time.Local().Format("15:04:05-07:00"); !strings.HasPrefix(r.stdout, want) {
		t.Errorf("want %s at the start of:\n%s", want, r.stdout)
	}
}

// TestEveryInstantHasAZone: each flag that takes an instant refuses one without a zone, or says which one
// it takes.
func TestEveryInstantHasAZone(t *testing.T) {
	t.Parallel()
	_, env := serverWithDay(t)
	midnight := time.Date(2020, 1, 2, 0, 0, 0, 0, time.Local).Format(time.RFC3339)
	var tested []string
	for _, c := range newProgram(env, io.Discard, io.Discard).root().Commands() {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if _, instant := f.Value.(*reader.Time); !instant {
				return
			}
			tested = append(tested, c.Name()+" --"+f.Name)
			r := runCommand(t, t.Context(), env, c.Name(), "--"+f.Name, "2020-01-02")
			refused := r.status == exitUsage && strings.Contains(r.stderr, "zone")
			if said := strings.Contains(r.stderr, "--"+f.Name+" is "+midnight); !refused && !said {
				t.Errorf("%s --%s: status %d\n%s", c.Name(), f.Name, r.status, r.stderr)
			}
		})
	}
	for _, want := range []string{"export --since", "export --until", "replay --since", "replay --until", "report --since", "report --until", "state --at", "verify --since", "verify --until"} {
		if !slices.Contains(tested, want) {
			t.Errorf("%s takes no instant; those are %v", want, tested)
		}
	}
}
