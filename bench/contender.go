package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Names of the contenders, in the order of the tables.
const (
	bridgeContender      = "bridge"
	plainContender       = "plain Go"
	dedupeContender      = "Bento, dedupe"
	beforeAfterContender = "Bento, before/after"

	bridgeStream = "BPCC_EVENTS"
	peerStream   = "EV" // the stream of the contenders that create none
)

func contenders() []string {
	return []string{bridgeContender, plainContender, dedupeContender, beforeAfterContender}
}

// programs are the paths of the contenders' programs and of the server.
type programs struct{ bridge, plain, bento, nats, source string }

// buildPrograms builds the wanted programs in dir. The server and Bento come from the module proxy;
// Bento is a separate module and takes minutes. If built is set, only the bridge and plain are
// built.
func buildPrograms(ctx context.Context, dir string, wanted map[string]bool, built bool) (programs, error) {
	p := programs{
		bridge: filepath.Join(dir, "bridge"), plain: filepath.Join(dir, "plain"),
		bento: filepath.Join(dir, "bento"), nats: filepath.Join(dir, "nats-server"),
	}
	root, err := runCommand(ctx, "", nil, "go", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return p, err
	}
	p.source = filepath.Join(root, "bench", "bento")
	const server = "github.com/nats-io/nats-server/v2"
	version, err := runCommand(ctx, root, nil, "go", "list", "-m", "-f", "{{.Version}}", server)
	if err != nil {
		return p, err
	}
	steps := [][]string{
		{root, "go", "build", "-o", p.bridge, "./cmd/bridge"},
		{root, "go", "build", "-o", p.plain, "./bench/plain"},
	}
	if !built {
		steps = append(steps, []string{root, "go", "install", server + "@" + version})
	}
	if !built && (wanted[dedupeContender] || wanted[beforeAfterContender]) {
		steps = append(steps, []string{p.source, "go", "build", "-o", p.bento, "."})
	}
	for _, s := range steps {
		fmt.Fprintln(os.Stderr, strings.Join(s[1:], " "))
		if _, err := runCommand(ctx, s[0], []string{"GOBIN=" + dir, "CGO_ENABLED=0"}, s[1], s[2:]...); err != nil {
			return p, err
		}
	}
	return p, nil
}

func runCommand(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stderr, cmd.Env = dir, os.Stderr, append(os.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

// start creates the stream of a contender and starts the contender. It returns the stream's name.
func (p programs) start(ctx context.Context, name, tenant string, server *natsServer, interval time.Duration) (*process, string, error) {
	if name == bridgeContender {
		env, err := bridgeEnv(server, interval)
		if err != nil {
			return nil, "", err
		}
		started, err := startProcess(server.dir, "bridge", append(env, "BPCC_URL="+tenant, "BRIDGE_TENANT=bench"), p.bridge, "run")
		return started, bridgeStream, err
	}
	// Like the stream that the bridge creates.
	if _, err := server.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: peerStream, Subjects: []string{"ev.>"}, Storage: jetstream.FileStorage, Compression: jetstream.S2Compression,
		MaxAge: 720 * time.Hour, Duplicates: 2 * time.Minute,
	}); err != nil {
		return nil, "", fmt.Errorf("create stream %s: %w", peerStream, err)
	}
	env := []string{"NATS_URL=" + server.nc.ConnectedUrl(), "HTTP_URL=" + tenant + "/statsapi/subscription/data", "INTERVAL=" + interval.String(), "SUBJECT=ev.row"}
	var started *process
	var err error
	switch name {
	case plainContender:
		ignored, jsonErr := json.Marshal(volatile())
		if jsonErr != nil {
			return nil, "", fmt.Errorf("encode volatile columns: %w", jsonErr)
		}
		started, err = startProcess(server.dir, "plain", append(env, "VOLATILE="+string(ignored)), p.plain)
	case dedupeContender:
		started, err = startProcess(server.dir, "bento", env, p.bento, "-c", filepath.Join(p.source, "dedupe.yaml"))
	case beforeAfterContender:
		started, err = startProcess(server.dir, "bento", env, p.bento, "-c", filepath.Join(p.source, "beforeafter.yaml"))
	default:
		err = fmt.Errorf("unknown contender %q", name)
	}
	return started, peerStream, err
}

// bridgeEnv configures a bridge, except its tenant, without the features that the peers lack:
// availability, directories, probes.
func bridgeEnv(server *natsServer, interval time.Duration) ([]string, error) {
	body, err := json.Marshal(subscription())
	file := filepath.Join(server.dir, "subscription.json")
	if err == nil {
		err = os.WriteFile(file, body, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("write subscription: %w", err)
	}
	return []string{
		// The clocks of the simulated agents run in one load alone.
		"BRIDGE_FROZEN_AFTER=0s",
		"NATS_URL=" + server.nc.ConnectedUrl(), "BPCC_CLIENT_ID=bench", "BPCC_CLIENT_SECRET=bench",
		"BPCC_SUBSCRIPTION_FILE=" + file, "BPCC_POLL_INTERVAL=" + interval.String(),
		"BPCC_SERVICES=none", "BPCC_DIRECTORY_INTERVAL=0s", "BRIDGE_HTTP=off",
	}, nil
}
