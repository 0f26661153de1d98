package main

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// command is one subcommand.
type command struct {
	name, args, summary string
	examples            string // for people to copy, one a line
	run                 func(p *program, ctx context.Context, args []string) error
}

func commands() []command {
	return []command{
		{"run", "", "poll BPCC and publish what changes", `
BPCC_URL=https://acme.brightpattern.com BPCC_CLIENT_ID=stats.user BPCC_CLIENT_SECRET_FILE=/run/secrets/bpcc bridge run
NATS_URL=nats://nats.example.com:4222 NATS_CREDS=/run/secrets/bridge.creds BRIDGE_REPLICAS=3 bridge run`, (*program).runBridge},
		{"demo", "[--agents N] [--for DURATION] [--http ADDRESS] [--listen ADDRESS]", "all of it at once on this machine, without configuration", `
bridge demo
bridge demo --agents 200 --seed 7 --for 1m
bridge demo --http 127.0.0.1:8180 --listen 127.0.0.1:4322`, (*program).demo},
		{"check", "[--json]", "examine BPCC and NATS step by step; publish nothing", `
BPCC_URL=https://acme.brightpattern.com BPCC_CLIENT_ID=stats.user BPCC_CLIENT_SECRET_FILE=/run/secrets/bpcc bridge check`, (*program).check},
		{"provision", "", "make the streams and say what differs", `
NATS_URL=nats://nats.example.com:4222 BRIDGE_REPLICAS=3 bridge provision`, (*program).provision},
		{"state", "[--tenant NAME] [--all] [--json] [--timeout 10s]", "show the present picture", `
bridge state
bridge state --tenant acme --all
bridge state --json | jq '.tenants[].feed.fresh'`, (*program).state},
		{"replay", "[--since 1h] [--subject FILTER] [--type GLOB] [--human] [--follow] [--into PREFIX] [--timeout 10s]",
			"print stored events as NDJSON, or publish them again under another root", `
bridge replay --since 1h --type 'agent.*' --human
bridge replay --subject 'bpcc.v1.*.threshold.>' --follow
bridge replay --since 2026-11-17 --until 2026-11-18 --with-meta | gzip > tuesday.ndjson.gz
bridge replay --since 2026-11-17 --until 2026-11-18 --into bpcc-replay.v1 --speed 10`, (*program).replay},
		{"verify", "[--since 1h] [--tenant NAME] [--json] [--timeout 10s] [FILE]", "judge the stream, or an export of it, as an auditor would", `
bridge verify
bridge verify --since 24h --json
bridge verify tuesday.ndjson.gz
bridge replay --since 1h | bridge verify -`, (*program).verify},
		{"record", "[--out FILE] [--for DURATION]", "write down what the source shows; publish nothing", `
bridge record --out monday.ndjson.gz --for 8h`, (*program).record},
		{"backtest", "[--rules FILE]... [--events all|thresholds] [--human] RECORDING...", "run recordings through the bridge's engine, offline", `
bridge backtest --human monday.ndjson.gz
bridge backtest --rules now.json --rules stricter.json monday.ndjson.gz > /dev/null`, (*program).backtest},
		{"schemas", "[TYPE]", "list the event types, or print the schema of one", `
bridge schemas
bridge schemas agent.state_changed`, (*program).schemas},
		{"sim", "[--listen ADDR]", "the simulated contact centre alone", `
bridge sim --listen 127.0.0.1:8090
bridge sim --agents 500 --services 20 --speed 2`, (*program).sim},
		{"health", "", "ask the bridge that runs here whether it is ready", `
bridge health`, (*program).health},
		{"completion", "bash|zsh|fish", "make a shell complete these words", `
source <(bridge completion bash)
bridge completion zsh > "${fpath[1]}/_bridge"
bridge completion fish > ~/.config/fish/completions/bridge.fish`, (*program).completion},
		{"version", "[--short]", "what this program is", `
bridge version`, (*program).version},
	}
}

// usage tells what commands there are.
func usage(c *console) {
	c.printf("bridge carries the changes of a Bright Pattern contact centre to NATS JetStream.\n\nCommands:\n")
	for _, each := range commands() {
		c.printf("  bridge %-11s %s\n", each.name, each.summary)
	}
	c.printf("\nbridge COMMAND --help tells more. Try it without any configuration:\n\n  bridge demo\n")
}

// help tells how to use one command.
func (c *command) help(w *console, f *flag.FlagSet) {
	w.printf("bridge %s %s\n    %s\n", c.name, c.args, c.summary)
	heading := safe("\nFlags:\n")
	f.VisitAll(func(v *flag.Flag) {
		word, about := flag.UnquoteUsage(v)
		if word == "value" {
			word = ""
		}
		if v.DefValue != "" && v.DefValue != "0" && v.DefValue != "0s" && v.DefValue != "false" && v.Name != "seed" {
			about += fmt.Sprintf(" (default %s)", v.DefValue)
		}
		w.printf("%s  %-22s %s\n", heading, strings.TrimSpace("--"+v.Name+" "+word), about)
		heading = ""
	})
	if c.examples != "" {
		w.printf("\nExamples:%s\n", visibleLines(strings.ReplaceAll(c.examples, "\n", "\n  ")))
	}
}

// closestName is the command that a mistyped word most looks like.
func closestName(word string) string {
	best := slices.MinFunc(commands(), func(a, b command) int {
		return levenshtein.ComputeDistance(word, a.name) - levenshtein.ComputeDistance(word, b.name)
	})
	return best.name
}
