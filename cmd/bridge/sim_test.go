package main

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The simulated tenant begins with the faults of its command line.
func TestSimFault(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var stdout, stderr syncBuffer
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"sim", "--listen", "127.0.0.1:0", "--still", "--fault", `{"path":"/cfg/teams","status":503}`, "--fault", `{"services":["Sales"],"status":403,"times":-1}`}, nil, &stdout, &stderr)
	}()
	address := regexp.MustCompile(`BPCC_URL=(\S+)`)
	var found []string
	for found == nil && ctx.Err() == nil {
		time.Sleep(5 * time.Millisecond)
		found = address.FindStringSubmatch(stdout.String())
	}
	if found == nil {
		t.Fatalf("no address in %s\n%s", stdout.String(), stderr.String())
	}
	for _, request := range []struct {
		path   string
		status int
	}{
		{"/statsapi/cfg/teams", 503}, {"/statsapi/cfg/teams", 401}, {"/sim/counts", 200},
		{"/statsapi/info/check_available_agents?service=Sales", 403}, {"/statsapi/info/check_available_agents?service=Help", 200},
	} {
		resp, err := http.Get(found[1] + request.path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != request.status {
			t.Errorf("%s: %d, want %d", request.path, resp.StatusCode, request.status)
		}
	}
	cancel()
	if status := <-done; status != exitOK {
		t.Errorf("status %d\n%s", status, stderr.String())
	}
	r := runCommand(t, t.Context(), nil, "sim", "--fault", `{"frozn":true}`)
	if r.status != exitUsage || !strings.Contains(r.stderr, "frozn") {
		t.Errorf("misspelt fault: status %d\n%s", r.status, r.stderr)
	}
}
