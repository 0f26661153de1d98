package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"bpcc-nats/internal/natstest"
)

// TestUnreadableMessages damages messages of the golden day on disk while the server is down: verify has
// one code for them and names their sequences, replay passes over them and names them, and neither waits.
func TestUnreadableMessages(t *testing.T) {
	t.Parallel()
	day := goldenDay(t)
	tests := map[string]struct {
		damage []string // ids
		fault  string
		count  int
	}{
		"the last":       {[]string{"acme-1-82-2"}, fmt.Sprintf("message %d: the server cannot load it", len(day)), 1},
		"the first":      {[]string{"acme-1-1-1"}, "message 1: the server cannot load it", 1},
		"two in between": {[]string{"acme-1-8-1", "acme-1-8-2"}, "the server cannot load it", 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: dir})
			js := natstest.Connect(t, s.ClientURL())
			storeDay(t, js, []string{"NATS_URL=" + s.ClientURL()})
			js.Conn().Close()
			s.Shutdown()
			s.WaitForShutdown()
			for _, id := range test.damage {
				natstest.FlipBit(t, dir, "BPCC_EVENTS", []byte(`"id":"`+id+`"`))
			}
			s = natstest.Start(t, &server.Options{JetStream: true, StoreDir: dir})
			env := []string{"NATS_URL=" + s.ClientURL()}
			// At once, since each waits for the server at the message.
			for command, right := range map[string]func(r result) bool{
				"verify": func(r result) bool {
					return r.status == exitFailed && strings.Contains(r.stdout, test.fault) && strings.Contains(r.stdout, fmt.Sprintf("UNSOUND  unreadable %d\n", test.count))
				},
				"verify --tenant acme": func(r result) bool { return r.status == exitFailed && strings.Contains(r.stdout, "unreadable 1") },
				"replay": func(r result) bool {
					return r.status == exitOK && strings.Count(r.stdout, "\n") == len(day)-len(test.damage) && strings.Contains(r.stderr, "skipped, unreadable: message")
				},
				"state": func(r result) bool { return r.status == exitOK },
			} {
				t.Run(command, func(t *testing.T) {
					t.Parallel()
					if r := runCommand(t, t.Context(), env, strings.Fields(command)...); !right(r) {
						t.Errorf("status %d\n%s%s", r.status, r.stdout, r.stderr)
					}
				})
			}
		})
	}
}
